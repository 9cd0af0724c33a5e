package embedded_test

import (
	"testing"
	"time"

	"candela/store"
	"candela/store/embedded"
	"candela/store/storetest"
)

// R47: what was acknowledged is there after a kill.
func TestKilledWriterLosesNothingAcknowledged(t *testing.T) {
	storetest.Crash(t, func(t *testing.T, dir string, now func() time.Time) store.Store {
		t.Helper()
		s, err := embedded.Open(dir, embedded.Options{Now: now})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
