package mongo_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"

	"candela/store"
	"candela/store/mongo"
	"candela/store/mongo/mongotest"
)

func erase(id string) store.Op {
	return store.Op{Action: store.Erase, Key: store.Key{Type: "A", ID: id}}
}

// bare fails when a document of c that f finds has more fields than those named.
func bare(t *testing.T, c *driver.Collection, f bson.D, fields ...string) (n int) {
	t.Helper()
	ctx := context.Background()
	cur, err := c.Find(ctx, f)
	if err != nil {
		t.Fatal(err)
	}
	for cur.Next(ctx) {
		n++
		all, err := cur.Current.Elements()
		if err != nil {
			t.Fatal(err)
		}
		if len(all) != len(fields) {
			t.Fatalf("%s keeps %s", c.Name(), cur.Current)
		}
		for i, e := range all {
			if e.Key() != fields[i] {
				t.Fatalf("%s keeps %s", c.Name(), cur.Current)
			}
		}
	}
	if err := cur.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestEraseLeavesNumbersOnly: what is left in the database of an erased resource
// is its key, when that was, and numbers.
func TestEraseLeavesNumbersOnly(t *testing.T) {
	uri := mongotest.URI(t)
	s, db, ctx := open(t, uri, mongo.Options{}), raw(t, uri), context.Background()
	owner := store.Entry{Param: "owner", Role: store.Anchor, Value: store.Value{Kind: store.Link, Space: "P", Name: "1"}}
	for i := range 3 {
		if _, err := s.Commit(ctx, put("A", "1", fmt.Sprint("body ", i), owner)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Commit(ctx, erase("1")); err != nil {
		t.Fatal(err)
	}
	if n := bare(t, db.Collection("hist"), bson.D{}, "_id", "s"); n != 3 {
		t.Errorf("hist keeps %d documents", n)
	}
	if n := bare(t, db.Collection("res"), bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: 0}}}}, "_id", "et", "ei", "s", "lu", "a"); n != 1 {
		t.Errorf("res keeps %d documents", n)
	}
	late := open(t, uri, mongo.Options{}) // knows nothing of what was settled before
	if got := read(t, late, 0, 1, 5*time.Second); got[0].Action != store.Erase {
		t.Errorf("a late reader gets %+v", got)
	}
}

// TestTwoProcessesEraseAndWrite: writers of one process that have read a record
// which the other erases bring nothing of it back.
func TestTwoProcessesEraseAndWrite(t *testing.T) {
	uri := mongotest.URI(t)
	stores := [2]*mongo.Store{open(t, uri, mongo.Options{}), open(t, uri, mongo.Options{})}
	ctx := context.Background()
	done := make(chan error, 2)
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		for erased := 0; erased < 30; {
			switch _, err := stores[1].Commit(ctx, erase("1")); {
			case err == nil:
				erased++
				time.Sleep(time.Duration(erased) * time.Millisecond) // more versions each time
			case !errors.Is(err, store.ErrNotFound):
				done <- err
				return
			}
		}
		done <- nil
	}()
	go func() {
		for i := 0; ; i++ {
			ops := []store.Op{put("A", "1", fmt.Sprint("body ", i))}
			if i%3 == 2 {
				ops = append(ops, put("B", "1", fmt.Sprint(i)))
			}
			if _, err := stores[0].Commit(ctx, ops...); err != nil {
				done <- err
				return
			}
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
		}
	}()
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if _, err := stores[1].Commit(ctx, erase("1")); err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	bare(t, raw(t, uri).Collection("hist"), bson.D{{Key: "t", Value: bson.D{{Key: "$ne", Value: "B"}}}}, "_id", "s")
	for _, s := range stores {
		page, err := s.History(ctx, store.Span{Key: store.Key{Type: "A"}, Count: 10, Total: true})
		if err != nil || page.Total != 0 {
			t.Fatalf("history has %d of the erased, %v", page.Total, err)
		}
		head, err := s.Head(ctx)
		if err != nil {
			t.Fatal(err)
		}
		within, cancel := context.WithTimeout(ctx, 10*time.Second) // a gap would keep the feed for a lease of 30 s
		for v, err := range s.Changes(within, 0) {
			if err != nil {
				t.Fatal(err)
			}
			if v.Key.Type == "A" && v.Action != store.Erase {
				t.Errorf("the feed has %+v", v)
			}
			if v.Seq == head {
				break
			}
		}
		if within.Err() != nil {
			t.Error("the feed does not come to its head")
		}
		cancel()
	}
}

// TestLargeErase: the record of one owner, in one commit.
func TestLargeErase(t *testing.T) {
	const n = 4000
	s, ctx := open(t, mongotest.URI(t), mongo.Options{}), context.Background()
	gen := newSample()
	var puts, erases []store.Op
	for range n {
		op := gen.observation(1)
		op.Action = store.Put
		puts = append(puts, op)
		erases = append(erases, store.Op{Action: store.Erase, Key: op.Key})
	}
	for round := range 2 { // every other one has two versions
		for from := 0; from < n; from += 1000 {
			if _, err := s.Commit(ctx, puts[from:from+1000]...); err != nil {
				t.Fatal(err)
			}
		}
		for i := round; i < n; i += 2 {
			puts[i].Raw = append(puts[i].Raw, ' ')
		}
	}
	begin := time.Now()
	if _, err := s.Commit(ctx, erases...); err != nil {
		t.Fatalf("after %v: %v", time.Since(begin), err)
	}
	t.Logf("%d resources in %v", n, time.Since(begin))
	page, err := s.Find(ctx, store.Query{Total: true})
	if err != nil || page.Total != 0 {
		t.Fatalf("%d are left, %v", page.Total, err)
	}
}
