package storetest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"candela/store"
)

func testKV(t *testing.T, open Opener) {
	steps(t, open, map[string]func(*env){
		"values":     kvValues,
		"swap":       kvSwap,
		"take once":  kvTakeOnce,
		"swap races": kvSwapRaces,
		"expiry":     kvExpiry,
		"list":       kvList,
		"reopen":     kvReopen,
	})
}

// holds wants a value, or its absence when want is nil.
func (e *env) holds(bucket, k string, want []byte) {
	e.Helper()
	got, err := e.store.KVGet(e.ctx, bucket, k)
	if want == nil {
		e.wants(err, store.ErrNotFound)
		return
	}
	e.ok(err)
	if string(got) != string(want) {
		e.Fatalf("%s/%s is %q, want %q", bucket, k, got, want)
	}
}

func kvValues(e *env) {
	e.holds("b", "k", nil)
	e.ok(e.store.KVPut(e.ctx, "b", "k", []byte("one"), 0))
	e.ok(e.store.KVPut(e.ctx, "c", "k", []byte{0, 255, 0}, 0))
	e.ok(e.store.KVPut(e.ctx, "b", "ключ/ /1", []byte("two"), 0))
	e.ok(e.store.KVPut(e.ctx, "bk", "", []byte("edge"), 0))
	e.ok(e.store.KVPut(e.ctx, "b", "empty", []byte{}, 0))
	e.holds("b", "k", []byte("one"))
	e.holds("c", "k", []byte{0, 255, 0})
	e.holds("b", "ключ/ /1", []byte("two"))
	e.holds("b", "empty", []byte{})
	e.ok(e.store.KVPut(e.ctx, "b", "k", []byte("three"), 0))
	e.holds("b", "k", []byte("three"))
	e.ok(e.store.KVDelete(e.ctx, "b", "k"))
	e.ok(e.store.KVDelete(e.ctx, "b", "k"))
	e.holds("b", "k", nil)
	e.holds("c", "k", []byte{0, 255, 0})
	got, err := e.store.KVTake(e.ctx, "c", "k")
	e.ok(err)
	if string(got) != "\x00\xff\x00" {
		e.Fatalf("took %q", got)
	}
	_, err = e.store.KVTake(e.ctx, "c", "k")
	e.wants(err, store.ErrNotFound)
}

func kvSwap(e *env) {
	swap := func(old, new string) error {
		var o []byte
		if old != "" {
			o = []byte(old)
		}
		return e.store.KVSwap(e.ctx, "b", "k", o, []byte(new), 0)
	}
	e.wants(swap("one", "two"), store.ErrConflict)
	e.ok(swap("", "one"))
	e.wants(swap("", "two"), store.ErrConflict)
	e.wants(swap("two", "three"), store.ErrConflict)
	e.holds("b", "k", []byte("one"))
	e.ok(swap("one", "two"))
	e.holds("b", "k", []byte("two"))
	e.ok(e.store.KVPut(e.ctx, "b", "e", []byte{}, 0))
	e.wants(e.store.KVSwap(e.ctx, "b", "e", nil, []byte("x"), 0), store.ErrConflict)
	e.ok(e.store.KVSwap(e.ctx, "b", "e", []byte{}, []byte("x"), 0))
}

// crowd runs n at once and counts those that succeed; the others must fail with lost.
func (e *env) crowd(n int, lost []error, run func(ctx context.Context, i int) error) int {
	e.Helper()
	var wg sync.WaitGroup
	var won atomic.Int64
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			err := run(e.ctx, i)
			if err == nil {
				won.Add(1)
			} else if !isOne(err, lost) {
				e.Errorf("racer %d: %v", i, err)
			}
		})
	}
	close(start)
	wg.Wait()
	return int(won.Load())
}

func kvTakeOnce(e *env) {
	for round := range 3 {
		e.ok(e.store.KVPut(e.ctx, "codes", "c", []byte(fmt.Sprint(round)), time.Hour))
		won := e.crowd(64, []error{store.ErrNotFound}, func(ctx context.Context, _ int) error {
			v, err := e.store.KVTake(ctx, "codes", "c")
			if err == nil && string(v) != fmt.Sprint(round) {
				return fmt.Errorf("took %q", v)
			}
			return err
		})
		if won != 1 {
			e.Fatalf("%d of 64 took one value", won)
		}
	}
}

func kvSwapRaces(e *env) {
	e.ok(e.store.KVPut(e.ctx, "b", "n", []byte("start"), 0))
	won := e.crowd(64, []error{store.ErrConflict}, func(ctx context.Context, i int) error {
		return e.store.KVSwap(ctx, "b", "n", []byte("start"), []byte(fmt.Sprint(i)), 0)
	})
	if won != 1 {
		e.Fatalf("%d of 64 swapped one value", won)
	}
	won = e.crowd(64, []error{store.ErrConflict}, func(ctx context.Context, i int) error {
		return e.store.KVSwap(ctx, "b", "absent", nil, []byte(fmt.Sprint(i)), 0)
	})
	if won != 1 {
		e.Fatalf("%d of 64 made one value", won)
	}
}

func kvExpiry(e *env) {
	e.ok(e.store.KVPut(e.ctx, "b", "short", []byte("s"), time.Minute))
	e.ok(e.store.KVPut(e.ctx, "b", "long", []byte("l"), time.Hour))
	e.ok(e.store.KVPut(e.ctx, "b", "forever", []byte("f"), 0))
	e.clock.move(59 * time.Second)
	e.holds("b", "short", []byte("s"))
	e.clock.move(2 * time.Second)
	e.holds("b", "short", nil)
	same(e, "list", e.keys("b", ""), ids("forever", "long"))
	_, err := e.store.KVTake(e.ctx, "b", "short")
	e.wants(err, store.ErrNotFound)
	e.wants(e.store.KVSwap(e.ctx, "b", "short", []byte("s"), []byte("t"), 0), store.ErrConflict)
	e.ok(e.store.KVSwap(e.ctx, "b", "short", nil, []byte("t"), time.Minute))
	e.holds("b", "short", []byte("t"))
	e.ok(e.store.KVPut(e.ctx, "b", "long", []byte("l"), 0))
	e.clock.move(1000 * time.Hour)
	e.holds("b", "long", []byte("l"))
	e.holds("b", "forever", []byte("f"))
	e.holds("b", "short", nil)
}

func (e *env) keys(bucket, prefix string) []string {
	e.Helper()
	got := []string{}
	for k, err := range e.store.KVList(e.ctx, bucket, prefix) {
		e.ok(err)
		got = append(got, k)
	}
	return got
}

func kvList(e *env) {
	for _, k := range []string{"b", "a/2", "a/10", "a", "a/1", "ä", "a/1\xf4\x8f\xbf\xbf", ""} {
		e.ok(e.store.KVPut(e.ctx, "list", k, []byte("v"), 0))
		e.ok(e.store.KVPut(e.ctx, "list2", k+"x", []byte("v"), 0))
	}
	same(e, "all", e.keys("list", ""), ids("", "a", "a/1", "a/10", "a/1\xf4\x8f\xbf\xbf", "a/2", "b", "ä"))
	same(e, "prefix", e.keys("list", "a/1"), ids("a/1", "a/10", "a/1\xf4\x8f\xbf\xbf"))
	same(e, "nothing", e.keys("list", "zz"), ids())
	for k, err := range e.store.KVList(e.ctx, "list", "a") {
		e.ok(err)
		if k != "a" {
			e.Fatalf("first is %q", k)
		}
		break
	}
	var ops []string
	for i := range 500 {
		k := fmt.Sprintf("many/%04d", i)
		ops = append(ops, k)
		e.ok(e.store.KVPut(e.ctx, "list", k, []byte("v"), 0))
	}
	same(e, "many", e.keys("list", "many/"), ops)
}

func kvReopen(e *env) {
	e.ok(e.store.KVPut(e.ctx, "b", "k", []byte("v"), time.Hour))
	e.ok(e.store.KVPut(e.ctx, "b", "short", []byte("v"), time.Minute))
	e.reopen()
	e.clock.move(2 * time.Minute)
	e.holds("b", "k", []byte("v"))
	e.holds("b", "short", nil)
}
