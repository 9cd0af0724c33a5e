package mongo_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"testing"
	"time"

	"go.uber.org/goleak"

	"candela/store"
	"candela/store/mongo"
	"candela/store/mongo/mongotest"
	"candela/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(mongotest.Around(m)) }

// opener opens stores whose databases are named after their folders.
func opener(uri string, opt mongo.Options) storetest.Opener {
	return func(t *testing.T, dir string, now func() time.Time) store.Store {
		t.Helper()
		sum := sha256.Sum256([]byte(dir))
		opt := opt
		opt.Now, opt.Database = now, "candela_test_"+hex.EncodeToString(sum[:8])
		s, err := mongo.Open(context.Background(), uri, opt)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

// TestContract holds the store to the contract of all backends.
func TestContract(t *testing.T) { storetest.Run(t, opener(mongotest.URI(t), mongo.Options{})) }

// TestKilledProcess: a server process is killed while it writes; the database
// lives on and the next process finds it whole.
func TestKilledProcess(t *testing.T) {
	uri := mongotest.URI(t)
	storetest.Crash(t, opener(uri, mongo.Options{Lease: time.Second}), "CANDELA_TEST_MONGO_URI="+uri)
}
