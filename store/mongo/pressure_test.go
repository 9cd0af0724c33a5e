package mongo_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"candela/store"
	"candela/store/mongo"
	"candela/store/mongo/mongotest"
)

// TestLargeCommitsAtOnce: together these transactions are more than the
// server's cache takes of what is not committed, which it answers by rolling
// them back; all succeed, and small writes do not wait for them all.
func TestLargeCommitsAtOnce(t *testing.T) {
	const bundles, size = 8, 2000
	server := mongotest.Small(t)
	s := open(t, server.URI(t), mongo.Options{})
	gen, ctx := newSample(), context.Background()
	var large, small sync.WaitGroup
	begin := time.Now()
	for range bundles {
		ops := make([]store.Op, size)
		for i := range ops {
			ops[i] = gen.observation(i % 100)
		}
		large.Go(func() {
			if _, err := s.Commit(ctx, ops...); err != nil {
				t.Errorf("after %v: %v", time.Since(begin), err)
			}
		})
	}
	time.Sleep(200 * time.Millisecond)
	var longest time.Duration
	small.Go(func() {
		for range 20 {
			began := time.Now()
			if _, err := s.Commit(ctx, gen.observation(1)); err != nil {
				t.Errorf("small: %v", err)
			}
			longest = max(longest, time.Since(began))
		}
	})
	small.Wait()
	beside := time.Since(begin)
	large.Wait()
	all := time.Since(begin)
	t.Logf("small writes: the longest took %v, all were done after %v of %v", longest, beside, all)
	if longest > all/2 {
		t.Errorf("a small write took %v, the large ones together %v", longest, all)
	}
	page, err := s.Find(ctx, store.Query{Types: []string{"Observation"}, Total: true})
	if want := int64(bundles*size + 20); err != nil || page.Total != want {
		t.Fatalf("%d resources, want %d, %v", page.Total, want, err)
	}
}

// TestCallerLeavesTheQueue: a commit that its caller gives little time gives up
// its place in the queue; the others keep theirs.
func TestCallerLeavesTheQueue(t *testing.T) {
	s := open(t, mongotest.Small(t).URI(t), mongo.Options{})
	gen := newSample()
	var wg sync.WaitGroup
	for n := range 3 {
		ops := make([]store.Op, 2000)
		for i := range ops {
			ops[i] = gen.observation(i % 100)
		}
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if n == 2 {
				time.Sleep(20 * time.Millisecond)
				ctx, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
				defer cancel()
			}
			if _, err := s.Commit(ctx, ops...); (err != nil) != (n == 2) {
				t.Errorf("commit %d: %v", n, err)
			}
		})
	}
	wg.Wait()
}
