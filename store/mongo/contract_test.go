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

// TestContract holds the store to the contract of all backends.
func TestContract(t *testing.T) {
	uri := mongotest.URI(t)
	storetest.Run(t, func(t *testing.T, dir string, now func() time.Time) store.Store {
		t.Helper()
		sum := sha256.Sum256([]byte(dir))
		s, err := mongo.Open(context.Background(), uri, mongo.Options{Now: now, Database: "candela_test_" + hex.EncodeToString(sum[:8])})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
