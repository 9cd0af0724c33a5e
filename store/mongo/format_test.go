package mongo

import (
	"fmt"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"candela/store/mongo/mongotest"
)

// TestForeignLayoutIsRefused opens a database that another layout was written
// into: it must say so instead of reading index entries wrong.
func TestForeignLayoutIsRefused(t *testing.T) {
	uri := mongotest.URI(t)
	s, err := Open(t.Context(), uri, Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.counter.coll.UpdateOne(t.Context(), bson.D{{Key: "_id", Value: "main"}},
		bson.D{{Key: "$set", Value: bson.D{{Key: "format", Value: int32(format + 1)}}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(t.Context(), uri, Options{})
	if err == nil {
		t.Fatal("opened", again.Close())
	}
	if !strings.Contains(err.Error(), fmt.Sprintf("layout %d, this program reads %d", format+1, format)) {
		t.Error(err)
	}
}
