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
	for name, opt := range map[string]embedded.Options{
		"encrypted": {Owners: []string{"A"}}, "clear": {Unencrypted: true},
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T, dir string, now func() time.Time) store.Store {
				t.Helper()
				opt := opt
				opt.Now = now
				s, err := embedded.Open(dir, opt)
				if err != nil {
					t.Fatal(err)
				}
				return s
			})
		})
	}
}
