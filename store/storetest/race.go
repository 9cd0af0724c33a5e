package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"candela/store"
)

func testRace(t *testing.T, open Opener) {
	steps(t, open, map[string]func(*env){
		"one key":        raceOneKey,
		"if match":       raceIfMatch,
		"one claim":      raceClaim,
		"create":         raceCreate,
		"crossing pairs": racePairs,
		"readers":        raceReaders,
	})
}

func testReopen(t *testing.T, open Opener) {
	steps(t, open, map[string]func(*env){
		"keeps everything": reopenKeeps,
		"many times":       reopenMany,
	})
}

func isOne(err error, of []error) bool {
	return slices.ContainsFunc(of, func(target error) bool { return errors.Is(err, target) })
}

// raceOneKey: 64 unconditional writers all succeed, and the numbers have no gap.
func raceOneKey(e *env) {
	k := key("A", "1")
	won := e.crowd(64, nil, func(ctx context.Context, i int) error {
		_, err := e.store.Commit(ctx, put(k, fmt.Sprint("writer ", i), word("code", fmt.Sprint(i))))
		return err
	})
	if won != 64 {
		e.Fatalf("%d of 64 wrote", won)
	}
	v, err := e.store.Get(e.ctx, k)
	e.ok(err)
	if v.Number != 64 {
		e.Fatalf("64 writes made version %d", v.Number)
	}
	page := e.history(store.Span{Key: k, Count: 100})
	for i, v := range page.Versions {
		if v.Number != int64(64-i) || i > 0 && v.Time.After(page.Versions[i-1].Time) {
			e.Fatalf("history row %d is version %d at %v", i, v.Number, v.Time)
		}
	}
	for i := range 64 {
		want := ids()
		if string(v.Raw) == fmt.Sprint("writer ", i) {
			want = ids("1")
		}
		same(e, fmt.Sprint("entries of writer ", i), e.ids(named("A", "code", fmt.Sprint(i))), want)
	}
}

func raceIfMatch(e *env) {
	k := key("A", "1")
	e.put(k, "start")
	won := e.crowd(64, []error{store.ErrPrecondition, store.ErrConflict}, func(ctx context.Context, i int) error {
		op := put(k, fmt.Sprint("writer ", i))
		op.IfMatch = 1
		_, err := e.store.Commit(ctx, op)
		return err
	})
	if won != 1 {
		e.Fatalf("%d of 64 replaced version 1", won)
	}
}

// raceClaim: 64 creators with one IfNone make one resource.
func raceClaim(e *env) {
	entry := code("identifier", "urn:s", "7", "")
	for round := range 3 {
		typ := fmt.Sprint("A", round)
		won := e.crowd(64, []error{store.ErrPrecondition, store.ErrConflict}, func(ctx context.Context, i int) error {
			_, err := e.store.Commit(ctx, ifNone(put(key(typ, fmt.Sprint(i)), "one", entry), typ, is("identifier", "urn:s", "7")))
			return err
		})
		if found := e.ids(store.Query{Types: []string{typ}}); won != 1 || len(found) != 1 {
			e.Fatalf("%d of 64 created, found %q", won, found)
		}
	}
}

func raceCreate(e *env) {
	won := e.crowd(64, []error{store.ErrConflict}, func(ctx context.Context, i int) error {
		_, err := e.store.Commit(ctx, store.Op{Action: store.Create, Key: key("A", "1"), Raw: []byte(fmt.Sprint(i))})
		return err
	})
	if won != 1 {
		e.Fatalf("%d of 64 created one key", won)
	}
}

// racePairs: commits over the same keys in different orders neither block each
// other for good nor mix.
func racePairs(e *env) {
	const pairs = 6
	won := e.crowd(64, nil, func(ctx context.Context, i int) error {
		a, b := key("A", fmt.Sprint(i%pairs)), key("A", fmt.Sprint((i+1)%pairs))
		if i%2 == 1 {
			a, b = b, a
		}
		_, err := e.store.Commit(ctx, put(a, fmt.Sprint("by ", i)), put(b, fmt.Sprint("by ", i)))
		return err
	})
	if won != 64 {
		e.Fatalf("%d of 64 pairs were written", won)
	}
	total := int64(0)
	for i := range pairs {
		v, err := e.store.Get(e.ctx, key("A", fmt.Sprint(i)))
		e.ok(err)
		total += v.Number
	}
	if total != 128 {
		e.Fatalf("64 pairs made %d versions", total)
	}
}

// raceReaders: what is committed together is seen together.
func raceReaders(e *env) {
	write := func(n int) error {
		_, err := e.store.Commit(e.ctx, put(key("A", "1"), fmt.Sprint(n), word("n", fmt.Sprint(n))), put(key("A", "2"), fmt.Sprint(n), word("n", fmt.Sprint(n))))
		return err
	}
	e.ok(write(0))
	e.crowd(8, nil, func(ctx context.Context, i int) error {
		for n := range 25 {
			if i == 0 {
				if err := write(n + 1); err != nil {
					return err
				}
				continue
			}
			page, err := e.store.Find(ctx, store.Query{Types: []string{"A"}, Count: 5})
			if err != nil {
				return err
			}
			if v := page.Versions; len(v) != 2 || string(v[0].Raw) != string(v[1].Raw) {
				return fmt.Errorf("saw half a commit: %q", lines(v))
			}
		}
		return nil
	})
}

func reopenKeeps(e *env) {
	e.dated(10)
	all := e.past()
	want := func() []string {
		out := lines(e.history(store.Span{Count: 1000}).Versions)
		out = append(out, e.ids(store.Query{Types: []string{"N"}, Where: isNamed("kind", "k1"), Sort: []store.Sort{{Param: "date", Desc: true, Role: store.Clock}}})...)
		out = append(out, e.ids(store.Query{Types: []string{"N"}, Where: startsWith("name", "beginning 2")})...)
		return append(out, lines(e.take(0, 17))...)
	}
	before := want()
	head, err := e.store.Head(e.ctx)
	e.ok(err)
	e.reopen()
	same(e, "after reopen", want(), before)
	if now, err := e.store.Head(e.ctx); err != nil || now != head {
		e.Fatalf("head was %d and is %d (%v)", head, now, err)
	}
	r := e.put(key("A", "brand new"), "new")
	if last := all[len(all)-1]; r.Seq <= last.Seq || r.RID <= last.RID {
		e.Fatalf("after reopen: %+v, before: %+v", r.Version, last)
	}
}

func reopenMany(e *env) {
	k := key("A", "1")
	for i := range 5 {
		if r := e.put(k, fmt.Sprint(i), word("code", fmt.Sprint(i))); r.Number != int64(i+1) {
			e.Fatalf("round %d made version %d", i, r.Number)
		}
		e.reopen()
		same(e, "new entries", e.ids(named("A", "code", fmt.Sprint(i))), ids("1"))
		same(e, "old entries", e.ids(named("A", "code", fmt.Sprint(i-1))), ids())
	}
}

// eraseRace: 64 puts and erases of one key leave what one order of them leaves.
func eraseRace(e *env) {
	k := key("A", "1")
	e.put(k, "start", rich(key("B", "1"))...)
	won := make([]bool, 64)
	e.crowd(64, []error{store.ErrNotFound}, func(ctx context.Context, i int) error {
		op := put(k, fmt.Sprint("writer ", i), append(rich(key("B", "1")), word("n", fmt.Sprint(i)))...)
		if i%3 == 0 {
			op = erase(k)
		}
		_, err := e.store.Commit(ctx, op)
		won[i] = err == nil
		return err
	})
	erases := 0
	for i, ok := range won {
		if ok && i%3 == 0 {
			erases++
		}
		if !ok && i%3 != 0 {
			e.Fatalf("put %d failed", i)
		}
	}
	e.put(key("Z", "1"), "the end")
	e.consistent(k, e.until(key("Z", "1")), erases)
}

// until reads all changes up to the first of k.
func (e *env) until(k store.Key) []store.Version {
	e.Helper()
	var got []store.Version
	for v, err := range e.store.Changes(e.ctx, 0) {
		e.ok(err)
		if v.Key == k {
			break
		}
		got = append(got, v)
	}
	return got
}

// consistent wants that changes, history, index and state of k tell one story
// that has so many erases.
func (e *env) consistent(k store.Key, changes []store.Version, erases int) {
	e.Helper()
	var left []store.Version
	for _, v := range changes {
		if v.Action == store.Erase {
			erases--
			if len(left) > 0 {
				e.Fatalf("versions before an erase: %q", lines(left))
			}
			continue
		}
		if left = append(left, v); v.Number != int64(len(left)) || v.RID != left[0].RID {
			e.Fatalf("version %d, rid %d is number %d of its key", v.Number, v.RID, len(left))
		}
	}
	if erases != 0 {
		e.Fatalf("the feed misses %d erases", erases)
	}
	if len(left) == 0 {
		e.neverWas(k, 64)
		return
	}
	same(e, "history", lines(e.history(store.Span{Key: k, Count: 100}).Versions), newest(left, func(store.Version) bool { return true }))
	last := left[len(left)-1]
	v, err := e.store.Get(e.ctx, k)
	e.ok(err)
	e.check(v, k, last.Number, string(last.Raw))
	for i := range 64 {
		want := ids()
		if string(last.Raw) == fmt.Sprint("writer ", i) {
			want = ids(k.ID)
		}
		same(e, fmt.Sprint("entries of writer ", i), e.ids(named(k.Type, "n", fmt.Sprint(i))), want)
	}
}
