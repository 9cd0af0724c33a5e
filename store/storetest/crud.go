package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"candela/store"
)

func testCRUD(t *testing.T, open Opener) {
	steps(t, open, map[string]func(*env){
		"versions":       crudVersions,
		"delete":         crudDelete,
		"unchanged":      crudUnchanged,
		"create":         crudCreate,
		"absent":         crudAbsent,
		"bytes":          crudBytes,
		"names":          crudNames,
		"clock backward": crudClockBackward,
		"cancelled":      crudCancelled,
		"closed":         crudClosed,
	})
}

// check compares what a version says of itself.
func (e *env) check(v store.Version, k store.Key, number int64, raw string) {
	e.Helper()
	if v.Key != k || v.Number != number || string(v.Raw) != raw {
		e.Fatalf("got %v version %d %.80q, want %v version %d %.80q", v.Key, v.Number, v.Raw, k, number, raw)
	}
}

func crudVersions(e *env) {
	k := key("A", "1")
	first := e.put(k, "one")
	second := e.put(k, "two")
	if !first.Created || second.Created || first.Number != 1 || second.Number != 2 {
		e.Fatalf("first %+v, second %+v", first, second)
	}
	if first.RID == 0 || first.RID != second.RID {
		e.Fatalf("rid was %d and is %d", first.RID, second.RID)
	}
	if second.Seq <= first.Seq || !second.Time.After(first.Time) {
		e.Fatalf("order: %d %v, then %d %v", first.Seq, first.Time, second.Seq, second.Time)
	}
	v, err := e.store.Get(e.ctx, k)
	e.ok(err)
	e.check(v, k, 2, "two")
	if v.Action != store.Put || v.Seq != second.Seq || !v.Time.Equal(second.Time) || v.RID != first.RID {
		e.Fatalf("got %+v, want %+v", v, second.Version)
	}
	if !v.Time.Equal(e.clock.now().Truncate(time.Millisecond)) || v.Time.Location() != time.UTC {
		e.Fatalf("time %v, clock %v", v.Time, e.clock.now())
	}
	v, err = e.store.GetVersion(e.ctx, k, 1)
	e.ok(err)
	e.check(v, k, 1, "one")
}

func crudDelete(e *env) {
	k := key("A", "1")
	first := e.put(k, "one", word("code", "x"))
	gone := e.commit(remove(k))[0]
	if gone.Number != 2 || gone.Action != store.Delete || gone.Unchanged {
		e.Fatalf("delete gave %+v", gone)
	}
	v, err := e.store.Get(e.ctx, k)
	e.wants(err, store.ErrGone)
	e.check(v, k, 2, "")
	_, err = e.store.GetVersion(e.ctx, k, 2)
	e.wants(err, store.ErrGone)
	v, err = e.store.GetVersion(e.ctx, k, 1)
	e.ok(err)
	e.check(v, k, 1, "one")
	same(e, "deleted is not found", e.ids(store.Query{Types: []string{"A"}}), []string{})

	again := e.commit(remove(k))[0]
	if !again.Unchanged || again.Number != 2 {
		e.Fatalf("second delete gave %+v", again)
	}
	back := e.put(k, "one", word("code", "x"))
	if !back.Created || back.Unchanged || back.Number != 3 || back.RID != first.RID {
		e.Fatalf("put after delete gave %+v", back)
	}
	same(e, "put again is found", e.ids(named("A", "code", "x")), []string{"1"})
}

func crudUnchanged(e *env) {
	k := key("A", "1")
	first := e.put(k, "one")
	head, err := e.store.Head(e.ctx)
	e.ok(err)
	again := e.put(k, "one")
	if !again.Unchanged || again.Created || again.Number != 1 || again.Seq != first.Seq || !again.Time.Equal(first.Time) {
		e.Fatalf("put of the same content gave %+v", again)
	}
	after, err := e.store.Head(e.ctx)
	e.ok(err)
	if after != head {
		e.Fatalf("head went from %d to %d", head, after)
	}
	if r := e.put(k, "one "); r.Unchanged || r.Number != 2 {
		e.Fatalf("other content gave %+v", r)
	}
}

func crudCreate(e *env) {
	k := key("A", "1")
	op := store.Op{Action: store.Create, Key: k, Raw: []byte("one")}
	if r := e.commit(op)[0]; !r.Created || r.Number != 1 || r.Action != store.Create {
		e.Fatalf("create gave %+v", r)
	}
	_, err := e.store.Commit(e.ctx, op)
	e.wants(err, store.ErrConflict)
	e.commit(remove(k))
	_, err = e.store.Commit(e.ctx, op)
	e.wants(err, store.ErrConflict)
}

func crudAbsent(e *env) {
	e.put(key("A", "1"), "one")
	for _, k := range []store.Key{key("A", "2"), key("B", "1"), key("A", ""), key("", "1")} {
		_, err := e.store.Get(e.ctx, k)
		e.wants(err, store.ErrNotFound)
		_, err = e.store.GetVersion(e.ctx, k, 1)
		e.wants(err, store.ErrNotFound)
	}
	for _, n := range []int64{-1, 0, 2, 1 << 40} {
		_, err := e.store.GetVersion(e.ctx, key("A", "1"), n)
		e.wants(err, store.ErrNotFound)
	}
	_, err := e.store.Commit(e.ctx, remove(key("A", "2")))
	e.wants(err, store.ErrNotFound)
}

// crudBytes stores bodies of every size up to some megabytes that do not compress.
func crudBytes(e *env) {
	rnd := rand.NewChaCha8([32]byte{1})
	for i, size := range []int{1, 2, 100, 4095, 4096, 70_000, 4 << 20} {
		raw := make([]byte, size)
		_, _ = rnd.Read(raw) // ChaCha8 never fails
		k := key("A", string(rune('a'+i)))
		e.commit(store.Op{Action: store.Put, Key: k, Raw: bytes.Clone(raw)})
		v, err := e.store.Get(e.ctx, k)
		e.ok(err)
		if !bytes.Equal(v.Raw, raw) {
			e.Fatalf("%d bytes came back as %d others", size, len(v.Raw))
		}
	}
}

func crudNames(e *env) {
	ids := []string{"Zoë-東京.1", "a b", "a/b", "a%2Fb", "it's \"quoted\"", "😀", "$where", "a.b$c", "-", "ﬀ"}
	for _, id := range ids {
		e.put(key("Тип", id), id, word("code", id), text("name", id))
	}
	for _, id := range ids {
		v, err := e.store.Get(e.ctx, key("Тип", id))
		e.ok(err)
		e.check(v, key("Тип", id), 1, id)
		same(e, "by code "+id, e.ids(named("Тип", "code", id)), []string{id})
		starts := e.ids(store.Query{Types: []string{"Тип"}, Where: startsWith("name", id)})
		if len(starts) == 0 {
			e.Fatalf("%q is not found by its own text", id)
		}
	}
	same(e, "all", e.ids(store.Query{Types: []string{"Тип"}}), ids)
}

// crudClockBackward: a clock set back never makes a later version earlier.
func crudClockBackward(e *env) {
	k := key("A", "1")
	first := e.put(k, "one")
	e.clock.move(-time.Hour)
	second := e.put(k, "two")
	if second.Time.Before(first.Time) {
		e.Fatalf("version 2 at %v lies before version 1 at %v", second.Time, first.Time)
	}
	third := e.commit(remove(k))[0]
	if third.Time.Before(second.Time) {
		e.Fatalf("delete at %v lies before version 2 at %v", third.Time, second.Time)
	}
}

func crudCancelled(e *env) {
	e.put(key("A", "1"), "one")
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	_, commit := e.store.Commit(ctx, put(key("A", "2"), "two"))
	_, find := e.store.Find(ctx, store.Query{Types: []string{"A"}, Count: 10})
	_, history := e.store.History(ctx, store.Span{Count: 10})
	for _, err := range []error{commit, find, history} {
		if !errors.Is(err, context.Canceled) && !errors.Is(err, store.ErrUnavailable) {
			e.Fatalf("with a cancelled context: %v", err)
		}
	}
	same(e, "after a cancelled commit", e.ids(store.Query{Types: []string{"A"}}), []string{"1"})
}

func crudClosed(e *env) {
	k := key("A", "1")
	e.put(k, "one")
	e.ok(e.store.Close())
	_, get := e.store.Get(e.ctx, k)
	_, version := e.store.GetVersion(e.ctx, k, 1)
	_, find := e.store.Find(e.ctx, store.Query{Count: 1})
	_, history := e.store.History(e.ctx, store.Span{Count: 1})
	_, commit := e.store.Commit(e.ctx, put(k, "two"))
	_, head := e.store.Head(e.ctx)
	_, kv := e.store.KVGet(e.ctx, "b", "k")
	for _, err := range []error{get, version, find, history, commit, head, kv, e.store.Ping(e.ctx), e.changesError(), e.listError()} {
		e.wants(err, store.ErrUnavailable)
	}
}

func (e *env) changesError() error {
	for _, err := range e.store.Changes(e.ctx, 0) {
		return err
	}
	return nil
}

func (e *env) listError() error {
	for _, err := range e.store.KVList(e.ctx, "b", "") {
		return err
	}
	return nil
}

// former is what the store says belonged to owner once, sorted.
func (e *env) former(owner store.Key) []string {
	e.Helper()
	out := ids()
	for k, err := range e.store.Former(e.ctx, owner) {
		e.ok(err)
		out = append(out, k.String())
	}
	slices.Sort(out)
	if len(slices.Compact(slices.Clone(out))) != len(out) {
		e.Fatalf("a key comes twice: %q", out)
	}
	return out
}

func owned(owners ...store.Key) (out []store.Entry) {
	for _, o := range owners {
		out = append(out, with(store.Anchor, link("owner", o)))
	}
	return out
}

// formerKeys: a key stands under an owner it had, until it is erased. Whether
// one that has the owner still stands there too is the backend's choice.
func formerKeys(e *env) {
	one, two, none := key("B", "1"), key("B", "2"), key("B", "3")
	e.put(key("A", "moved"), "v1", owned(one)...)
	e.put(key("A", "moved"), "v2", owned(two)...)
	e.put(key("A", "moved"), "v3", owned(two)...)
	e.put(key("A", "dropped"), "v1", owned(one, two)...)
	e.put(key("A", "dropped"), "v2", append(owned(two), link("other", one))...)
	e.put(key("C", "deleted"), "v1", owned(one)...)
	e.commit(remove(key("C", "deleted")))
	e.put(key("A", "created"), "v1", owned(one)...)
	e.put(key("A", "linked"), "v1", link("owner", one)) // no owner: the entry has not that role
	e.put(key("A", "linked"), "v2")
	e.put(key("A", "1"), "v1", owned(key("B", "11"))...)
	e.put(key("A", "1"), "v2")
	want := ids("A/dropped", "A/moved", "C/deleted")
	same(e, "former of one", e.former(one), want)
	moreOrLess := func(want ...string) { // A/dropped had two before and still has
		e.Helper()
		same(e, "former of two", slices.DeleteFunc(e.former(two), func(k string) bool { return k == "A/dropped" }), want)
	}
	same(e, "former of another", e.former(none), ids())
	same(e, "former of a longer id", e.former(key("B", "11")), ids("A/1"))
	same(e, "of another type", e.former(key("B1", "1")), ids())
	e.put(key("A", "moved"), "v4")
	moreOrLess("A/moved")
	e.commit(store.Op{Action: store.Reindex, Key: key("A", "moved"), IfMatch: 4, Entries: []store.Entry{word("code", "new")}})
	same(e, "after a reindex", e.former(one), want)
	e.put(key("C", "renewed"), "v1", owned(none)...)
	e.put(key("C", "renewed"), "v2", owned(none)...)
	e.commit(store.Op{Action: store.Reindex, Key: key("C", "renewed"), IfMatch: 2})
	same(e, "only its present version was renewed", e.former(none), ids("C/renewed"))
	e.commit(erase(key("C", "renewed")))
	e.commit(erase(key("A", "moved")), erase(key("C", "deleted")))
	same(e, "after erases", e.former(one), ids("A/dropped"))
	moreOrLess(ids()...)
	_, err := e.store.Commit(e.ctx, store.Op{Action: store.Reindex, Key: key("A", "moved"), IfMatch: 4})
	if !isOne(err, []error{store.ErrNotFound, store.ErrPrecondition}) {
		e.Fatalf("a reindex of what was erased gives %v", err)
	}
	e.put(key("A", "moved"), "anew", owned(none)...)
	same(e, "begun anew", e.former(one), ids("A/dropped"))
	e.commit(remove(key("A", "moved")))
	same(e, "begun anew and deleted", e.former(none), ids("A/moved"))
	e.commit(erase(key("A", "dropped")))
	same(e, "the last", e.former(one), ids())
}

// formerEndings: each key once, however often it comes and goes.
func formerEndings(e *env) {
	k, owner := key("A", "1"), key("B", "1")
	for i := range 3 {
		e.put(k, fmt.Sprint("with", i), owned(owner)...)
		e.put(k, fmt.Sprint("without", i))
		e.put(k, fmt.Sprint("again", i), owned(owner)...)
		e.commit(remove(k))
		same(e, "former", e.former(owner), ids("A/1"))
	}
	e.erases(k, e.put(k, "last", owned(owner)...).RID)
	same(e, "erased", e.former(owner), ids())
}

// formerEnds: the list is long, and a reader may stop or be stopped.
func formerEnds(e *env) {
	const n = 700
	owner := key("B", "1")
	var puts, removes []store.Op
	for i := range n {
		puts = append(puts, put(key("A", fmt.Sprint(i)), "body", owned(owner)...))
		removes = append(removes, remove(key("A", fmt.Sprint(i))))
	}
	e.commit(puts...)
	e.commit(removes...)
	if got := e.former(owner); len(got) != n {
		e.Fatalf("%d former, want %d", len(got), n)
	}
	read := 0
	for k, err := range e.store.Former(e.ctx, owner) { // erased while being read
		e.ok(err)
		e.commit(erase(k))
		if read++; read == 3 {
			break
		}
	}
	if got := e.former(owner); len(got) != n-3 {
		e.Fatalf("%d former are left, want %d", len(got), n-3)
	}
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	failed := false
	for _, err := range e.store.Former(ctx, owner) {
		failed = failed || err != nil
	}
	if !failed {
		e.Fatal("a cancelled reader took a part for all")
	}
}
