package mongo_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"candela/store"
	"candela/store/mongo"
	"candela/store/mongo/mongotest"
)

// raw is the database of uri without a Store.
func raw(t testing.TB, uri string) *driver.Database {
	t.Helper()
	c, err := driver.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Disconnect(context.Background()) })
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	return c.Database(strings.TrimPrefix(u.Path, "/"))
}

// read takes n changes behind after, or fails when they do not come in time.
func read(t testing.TB, s *mongo.Store, after store.Seq, n int, wait time.Duration) []store.Version {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	var got []store.Version
	for v, err := range s.Changes(ctx, after) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, v); len(got) == n {
			return got
		}
	}
	t.Fatalf("%d of %d changes came in %v", len(got), n, wait)
	return nil
}

// TestFeedOfTwoProcesses: two stores write, also into each other's way, and two
// readers, one on each, see every version once and in order.
func TestFeedOfTwoProcesses(t *testing.T) {
	const writers, each = 6, 40
	uri := mongotest.URI(t)
	ctx := context.Background()
	stores := []*mongo.Store{open(t, uri, mongo.Options{}), open(t, uri, mongo.Options{})}
	var wg sync.WaitGroup
	total := 0
	var mu sync.Mutex
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				ops := []store.Op{put("Hot", fmt.Sprint(i%3), fmt.Sprint(w, " ", i))}
				for j := range i % 4 {
					ops = append(ops, put("T", fmt.Sprint(w, "-", i, "-", j), "x"))
				}
				if i%10 == 9 { // fails after others have begun
					ops = append(ops, store.Op{Action: store.Create, Key: store.Key{Type: "T", ID: fmt.Sprint(w, "-", 1, "-", 0)}, Raw: []byte("twin")})
				}
				_, err := stores[w%2].Commit(ctx, ops...)
				if (err != nil) != (i%10 == 9) {
					t.Errorf("writer %d, commit %d: %v", w, i, err)
				}
				if err == nil {
					mu.Lock()
					total += len(ops)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	for _, s := range stores {
		got := read(t, s, 0, total, 20*time.Second)
		numbers := map[store.Key]int64{}
		for i, v := range got {
			if i > 0 && v.Seq <= got[i-1].Seq {
				t.Fatalf("change %d has seq %d after %d", i, v.Seq, got[i-1].Seq)
			}
			if numbers[v.Key]++; v.Number != numbers[v.Key] {
				t.Fatalf("%v version %d came as its change number %d", v.Key, v.Number, numbers[v.Key])
			}
			if i > 0 && v.Time.Before(got[i-1].Time) {
				t.Fatalf("change %d at %v, the one before at %v", i, v.Time, got[i-1].Time)
			}
		}
		if head, err := s.Head(ctx); err != nil || head != got[total-1].Seq {
			t.Fatalf("head %d (%v), want %d", head, err, got[total-1].Seq)
		}
	}
}

// TestFeedWakesAcrossProcesses: a commit of one process reaches a reader of
// another within the poll.
func TestFeedWakesAcrossProcesses(t *testing.T) {
	uri := mongotest.URI(t)
	ctx := context.Background()
	reader, writer := open(t, uri, mongo.Options{}), open(t, uri, mongo.Options{})
	got := make(chan time.Time, 1)
	done, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for range reader.Changes(done, 0) {
			got <- time.Now()
		}
	})
	var best time.Duration = time.Hour
	for i := range 5 {
		time.Sleep(200 * time.Millisecond) // long enough for the poll to slow down
		if _, err := writer.Commit(ctx, put("T", "1", fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		best = min(best, (<-got).Sub(begin))
	}
	cancel()
	wg.Wait()
	if best > 100*time.Millisecond {
		t.Fatalf("a change took %v at best", best)
	}
}

// TestFeedPassesAWriterThatDied: a granted number without its commit holds the
// feed for a lease, then it is void; the late commit starts anew and is read.
func TestFeedPassesAWriterThatDied(t *testing.T) {
	uri := mongotest.URI(t)
	ctx := context.Background()
	s := open(t, uri, mongo.Options{Lease: 300 * time.Millisecond})
	db := raw(t, uri)
	if _, err := s.Commit(ctx, put("T", "1", "one")); err != nil {
		t.Fatal(err)
	}
	// Another process takes two numbers and dies.
	if _, err := db.Collection("counter").UpdateByID(ctx, "main", bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: int64(2)}}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(ctx, put("T", "2", "two")); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 150*time.Millisecond)
	defer cancel()
	for v, err := range s.Changes(short, 1) {
		t.Fatalf("%v %v was read before the gap was settled", v.Key, err)
	}
	got := read(t, s, 0, 2, 10*time.Second)
	if got[0].Seq != 1 || got[1].Seq != 4 {
		t.Fatalf("sequence %d, %d", got[0].Seq, got[1].Seq)
	}
	_, err := db.Collection("res").InsertOne(ctx, bson.D{{Key: "_id", Value: int64(77)}, {Key: "s", Value: int64(2)}, {Key: "t", Value: "T"}, {Key: "i", Value: "late"}})
	if !driver.IsDuplicateKeyError(err) {
		t.Fatalf("a commit with a void number: %v", err)
	}
}

// TestCommitWithAVoidNumberStartsAnew: a reader took the writer for dead.
func TestCommitWithAVoidNumberStartsAnew(t *testing.T) {
	uri := mongotest.URI(t)
	ctx := context.Background()
	s := open(t, uri, mongo.Options{})
	if _, err := s.Commit(ctx, put("T", "1", "one"), put("T", "2", "one")); err != nil {
		t.Fatal(err)
	}
	var marks []any
	for q := int64(3); q < 12; q++ {
		marks = append(marks, bson.D{{Key: "_id", Value: -q}, {Key: "s", Value: q}})
	}
	if _, err := raw(t, uri).Collection("res").InsertMany(ctx, marks); err != nil {
		t.Fatal(err)
	}
	for i, ops := range [][]store.Op{
		{put("T", "1", "two")}, {put("T", "3", "one")}, {put("T", "2", "two"), put("T", "4", "one")},
	} {
		if _, err := s.Commit(ctx, ops...); err != nil {
			t.Fatalf("commit %d: %v", i, err)
		}
	}
	got := read(t, s, 2, 4, 10*time.Second)
	if got[0].Seq < 12 || got[3].Key.ID != "4" {
		t.Fatalf("changes %+v", got)
	}
}

// TestFeedWaitsForNobodyAfterFailures: failed commits void their numbers
// themselves; the lease is an hour.
func TestFeedWaitsForNobodyAfterFailures(t *testing.T) {
	ctx := context.Background()
	s := open(t, mongotest.URI(t), mongo.Options{Lease: time.Hour})
	create := func(id string) store.Op {
		return store.Op{Action: store.Create, Key: store.Key{Type: "T", ID: id}, Raw: []byte("x")}
	}
	if _, err := s.Commit(ctx, create("1")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := s.Commit(ctx, create("1")); err == nil {
			t.Fatal("created twice")
		}
		if _, err := s.Commit(ctx, create("2"), create("1")); err == nil {
			t.Fatal("created twice")
		}
	}
	if _, err := s.Commit(ctx, create("3")); err != nil {
		t.Fatal(err)
	}
	if got := read(t, s, 0, 2, 5*time.Second); got[1].Key.ID != "3" || got[1].Seq <= 2 {
		t.Fatalf("changes %+v", got)
	}
}

// TestFeedBeginsWhereItWasSettled: a long past is not walked again for gaps.
func TestFeedBeginsWhereItWasSettled(t *testing.T) {
	uri := mongotest.URI(t)
	ctx := context.Background()
	s, err := mongo.Open(ctx, uri, mongo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(ctx, put("T", "1", "one"), put("T", "2", "two")); err != nil {
		t.Fatal(err)
	}
	read(t, s, 0, 2, 5*time.Second)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var saved struct {
		N int64 `bson:"n"`
	}
	if err := raw(t, uri).Collection("counter").FindOne(ctx, bson.D{{Key: "_id", Value: "settled"}}).Decode(&saved); err != nil || saved.N != 2 {
		t.Fatalf("settled %d, %v", saved.N, err)
	}
	if got := read(t, open(t, uri, mongo.Options{}), 1, 1, 5*time.Second); got[0].Key.ID != "2" {
		t.Fatalf("changes %+v", got)
	}
}
