package mongo_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"candela/store"
	"candela/store/mongo"
	"candela/store/mongo/mongotest"
)

// two opens two stores on one database, as two server processes do.
func two(t *testing.T) [2]*mongo.Store {
	uri := mongotest.URI(t)
	return [2]*mongo.Store{open(t, uri, mongo.Options{}), open(t, uri, mongo.Options{})}
}

// race runs n racers at once and counts outcomes.
func race(t *testing.T, n int, f func(i int) error, loses error) (won int) {
	t.Helper()
	var wins atomic.Int64
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			switch err := f(i); {
			case err == nil:
				wins.Add(1)
			case !errors.Is(err, loses):
				t.Errorf("racer %d: %v", i, err)
			}
		})
	}
	close(start)
	wg.Wait()
	return int(wins.Load())
}

func TestTwoProcessesRaceForOneClaim(t *testing.T) {
	stores := two(t)
	ctx := context.Background()
	entry := store.Entry{Param: "identifier", Value: store.Value{Kind: store.Code, Space: "s", Name: "7"}}
	for round := range 3 {
		entry.Name = fmt.Sprint(round)
		q := &store.Query{Types: []string{"A"}, Where: store.Test{Param: "identifier", Cond: store.Cond{How: store.Is, Space: "s", Name: entry.Name}}}
		won := race(t, 64, func(i int) error {
			op := put("A", fmt.Sprint(round, "-", i), "x", entry)
			op.IfNone = q
			_, err := stores[i%2].Commit(ctx, op)
			return err
		}, store.ErrPrecondition)
		if won != 1 {
			t.Fatalf("%d of 64 created", won)
		}
		page, err := stores[0].Find(ctx, store.Query{Types: []string{"A"}, Where: q.Where, Count: 10, Total: true})
		if err != nil || page.Total != 1 {
			t.Fatalf("%d are there, %v", page.Total, err)
		}
	}
}

func TestTwoProcessesRaceForOneKey(t *testing.T) {
	stores := two(t)
	ctx := context.Background()
	if won := race(t, 64, func(i int) error {
		_, err := stores[i%2].Commit(ctx, store.Op{Action: store.Create, Key: store.Key{Type: "A", ID: "1"}, Raw: []byte(fmt.Sprint(i))})
		return err
	}, store.ErrConflict); won != 1 {
		t.Fatalf("%d of 64 created", won)
	}
	if won := race(t, 64, func(i int) error {
		_, err := stores[i%2].Commit(ctx, put("A", "1", fmt.Sprint("put ", i)))
		return err
	}, nil); won != 64 {
		t.Fatalf("%d of 64 put", won)
	}
	matching := put("A", "1", "matched")
	matching.IfMatch = 65
	if won := race(t, 64, func(i int) error {
		op := matching
		op.Raw = []byte(fmt.Sprint("matched ", i))
		_, err := stores[i%2].Commit(ctx, op)
		return err
	}, store.ErrPrecondition); won != 1 {
		t.Fatalf("%d of 64 matched", won)
	}
	checkNumbers(t, stores[1], store.Key{Type: "A", ID: "1"}, 66)
}

// checkNumbers wants n versions in history and feed.
func checkNumbers(t *testing.T, s *mongo.Store, k store.Key, n int) {
	t.Helper()
	page, err := s.History(context.Background(), store.Span{Key: k, Count: 1000, Total: true})
	if err != nil || page.Total != int64(n) || len(page.Versions) != n {
		t.Fatalf("%d versions, total %d, want %d: %v", len(page.Versions), page.Total, n, err)
	}
	for i, v := range page.Versions {
		if v.Number != int64(n-i) {
			t.Fatalf("place %d holds version %d", i, v.Number)
		}
	}
}

// TestTwoProcessesRaceInBundles: bundles that share resources, from two
// processes, beside single updates of the same ones.
func TestTwoProcessesRaceInBundles(t *testing.T) {
	stores := two(t)
	ctx := context.Background()
	won := race(t, 48, func(i int) error {
		text := fmt.Sprint(i)
		ops := []store.Op{put("Shared", "1", text), put("Shared", "2", text), put("Own", text, text)}
		if i%3 == 0 {
			ops = ops[:1]
		}
		_, err := stores[i%2].Commit(ctx, ops...)
		return err
	}, nil)
	if won != 48 {
		t.Fatalf("%d of 48 done", won)
	}
	checkNumbers(t, stores[0], store.Key{Type: "Shared", ID: "1"}, 48)
	checkNumbers(t, stores[0], store.Key{Type: "Shared", ID: "2"}, 32)
	page, err := stores[0].Find(ctx, store.Query{Types: []string{"Own"}, Total: true})
	if err != nil || page.Total != 32 {
		t.Fatalf("%d own resources, %v", page.Total, err)
	}
}

// TestTransactionOfADeadProcess: it holds a resource, and nobody will ever end
// it but the server, after a minute. Single and bundled updates pass sooner.
func TestTransactionOfADeadProcess(t *testing.T) {
	uri := mongotest.URI(t)
	s := open(t, uri, mongo.Options{})
	ctx := context.Background()
	if _, err := s.Commit(ctx, put("A", "1", "one"), put("A", "2", "one")); err != nil {
		t.Fatal(err)
	}
	dead, err := driver.Connect(options.Client().ApplyURI(uri).SetAppName("candela"))
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Disconnect(ctx)
	db := dead.Database(raw(t, uri).Name())
	for id, ops := range map[string][]store.Op{"1": {put("A", "1", "two")}, "2": {put("A", "2", "two"), put("A", "3", "two")}} {
		sess, err := dead.StartSession()
		if err != nil {
			t.Fatal(err)
		}
		if err := sess.StartTransaction(); err != nil {
			t.Fatal(err)
		}
		_, err = db.Collection("res").UpdateOne(driver.NewSessionContext(ctx, sess), bson.D{{Key: "t", Value: "A"}, {Key: "i", Value: id}}, bson.D{{Key: "$set", Value: bson.D{{Key: "x", Value: 1}}}})
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if _, err := s.Commit(ctx, ops...); err != nil {
			t.Fatalf("after %v: %v", time.Since(begin), err)
		}
	}
}
