package embedded_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"candela/store"
	"candela/store/embedded"
	"candela/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T, dir string, now func() time.Time) store.Store {
		t.Helper()
		s, err := embedded.Open(dir, embedded.Options{Now: now})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
