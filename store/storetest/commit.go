package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"candela/store"
)

func testCommit(t *testing.T, open Opener) {
	steps(t, open, map[string]func(*env){
		"together":    commitTogether,
		"if match":    commitIfMatch,
		"if none":     commitIfNone,
		"identities":  commitIdentities,
		"spelled":     commitSpelled,
		"atomic":      commitAtomic,
		"twice":       commitTwice,
		"big":         commitBig,
		"reindex":     commitReindex,
		"index moves": commitIndexMoves,
		"nothing":     commitNothing,
	})
}

func commitTogether(e *env) {
	e.put(key("A", "2"), "old")
	e.put(key("A", "3"), "gone soon")
	r := e.commit(put(key("A", "1"), "new"), put(key("A", "2"), "newer"), remove(key("A", "3")), put(key("B", "1"), "b"))
	wants := []store.Key{key("A", "1"), key("A", "2"), key("A", "3"), key("B", "1")}
	for i, want := range wants {
		if r[i].Key != want || i > 0 && r[i].Seq <= r[i-1].Seq {
			e.Fatalf("result %d is %+v", i, r[i])
		}
	}
	if !r[0].Created || r[1].Created || r[1].Number != 2 || r[2].Action != store.Delete {
		e.Fatalf("results %+v", r)
	}
}

// fails commits ops, wants an OpError on index and that nothing was written.
func (e *env) fails(target error, index int, ops ...store.Op) {
	e.Helper()
	head, err := e.store.Head(e.ctx)
	e.ok(err)
	_, err = e.store.Commit(e.ctx, ops...)
	e.wants(err, target)
	var at *store.OpError
	if !errors.As(err, &at) || at.Index != index {
		e.Fatalf("error %v does not name op %d", err, index)
	}
	after, err := e.store.Head(e.ctx)
	e.ok(err)
	if after != head {
		e.Fatalf("a failed commit moved head from %d to %d", head, after)
	}
}

func commitIfMatch(e *env) {
	k := key("A", "1")
	matching := func(n int64, raw string) store.Op {
		op := put(k, raw)
		op.IfMatch = n
		return op
	}
	e.fails(store.ErrPrecondition, 0, matching(1, "one"))
	e.fails(store.ErrPrecondition, 0, matching(-1, "one"))
	e.put(k, "one")
	e.fails(store.ErrPrecondition, 0, matching(2, "two"))
	e.commit(matching(1, "two"))
	e.commit(matching(-1, "three"))
	e.fails(store.ErrPrecondition, 0, matching(2, "three"))
	stale := remove(k)
	stale.IfMatch = 1
	e.fails(store.ErrPrecondition, 0, stale)
	stale.IfMatch = 3
	e.commit(stale)
	e.fails(store.ErrPrecondition, 0, matching(-1, "four"))
	e.fails(store.ErrPrecondition, 0, matching(3, "four"))
}

func ifNone(op store.Op, typ string, x store.Expr) store.Op {
	op.IfNone = &store.Query{Types: []string{typ}, Where: x, Count: 1}
	return op
}

func commitIfNone(e *env) {
	x := is("identifier", "urn:s", "7")
	entry := code("identifier", "urn:s", "7", "")
	e.put(key("B", "1"), "another type", entry)
	e.put(key("A", "0"), "another space", code("identifier", "urn:t", "7", ""))
	e.commit(ifNone(put(key("A", "1"), "one", entry), "A", x))
	e.fails(store.ErrPrecondition, 0, ifNone(put(key("A", "2"), "two", entry), "A", x))
	e.commit(remove(key("A", "1")))
	e.commit(ifNone(put(key("A", "3"), "three", entry), "A", x))
	e.fails(store.ErrPrecondition, 1, put(key("A", "4"), "four"), ifNone(put(key("A", "5"), "five", entry), "A", x))
	e.fails(store.ErrTwice, 1,
		ifNone(put(key("A", "6"), "six"), "A", is("identifier", "urn:s", "8")),
		ifNone(put(key("A", "7"), "seven"), "A", is("identifier", "urn:s", "8")))
	same(e, "what is left", e.ids(store.Query{Types: []string{"A"}}), []string{"0", "3"})
}

// commitIdentities: what one op asks not to be there, no other op of the commit
// may write, however it is asked; what only looks alike may stand side by side.
func commitIdentities(e *env) {
	seven, eight := code("identifier", "urn:s", "7", ""), code("identifier", "urn:s", "8", "")
	other := code("identifier", "urn:t", "7", "")
	system, bare := is("identifier", "urn:s", "7"), isNamed("identifier", "7")
	asks := func(id string, x store.Expr, entries ...store.Entry) store.Op {
		return ifNone(put(key("A", id), id, entries...), "A", x)
	}
	for _, c := range [][]store.Op{
		{put(key("A", "1"), "plain", seven), asks("2", system, seven)},
		{asks("1", system, seven), put(key("A", "2"), "plain", eight, seven)},
		{asks("1", system, seven), asks("2", bare, seven)},
		{asks("1", system, eight), asks("2", store.And{bare, isNamed("active", "true")}, seven), asks("3", is("identifier", "urn:s", "8"), eight)},
		{asks("1", system, seven), asks("2", store.Or{isNamed("identifier", "9"), bare}, seven)},
		{put(key("A", "1"), "plain", text("name", "Anna")), asks("2", startsWith("name", "an"))},
		{put(key("A", "1"), "plain"), asks("2", is(store.ParamID, "A", "1"))},
		{put(key("A", "1"), "plain", word("kind", "x")), asks("2", store.Not{Of: isNamed("kind", "y")}, word("kind", "y"))},
	} {
		e.fails(store.ErrTwice, len(c)-1, c...)
	}
	same(e, "nothing was written", e.ids(store.Query{Types: []string{"A"}}), []string{})
	e.commit(
		asks("1", system, seven),
		asks("2", is("identifier", "urn:t", "7"), other),
		asks("3", store.And{bare, isNamed("active", "true")}, eight, word("active", "true")),
		put(key("B", "1"), "another type", seven),
	)
}

// commitSpelled: 64 creators of one identity, who ask for it in different ways,
// make one resource.
func commitSpelled(e *env) {
	named := func(name string) store.Test {
		t := isNamed("identifier", name)
		t.Role = store.Identity
		return t
	}
	system := is("identifier", "urn:s", "7")
	system.Role = store.Identity
	ways := []store.Expr{
		system, named("7"), store.And{system, isNamed("active", "true")}, store.Or{named("8"), named("7")},
		store.And{anchor(is("subject", "Patient", "1")), named("7")},
	}
	entries := []store.Entry{code("identifier", "urn:s", "7", ""), word("active", "true"), with(store.Anchor, link("subject", key("Patient", "1")))}
	for round := range 3 {
		typ := fmt.Sprint("A", round)
		won := e.crowd(64, []error{store.ErrPrecondition, store.ErrConflict}, func(ctx context.Context, i int) error {
			_, err := e.store.Commit(ctx, ifNone(put(key(typ, fmt.Sprint(i)), "one", entries...), typ, ways[i%len(ways)]))
			return err
		})
		if found := e.ids(store.Query{Types: []string{typ}}); won != 1 || len(found) != 1 {
			e.Fatalf("%d of 64 created, found %q", won, found)
		}
	}
}

// commitAtomic: the last op fails and nothing of the others is seen anywhere.
func commitAtomic(e *env) {
	e.put(key("A", "old"), "old", word("code", "old"))
	ops := []store.Op{put(key("A", "old"), "changed", word("code", "new")), put(key("A", "1"), "one", word("code", "new"))}
	for i := range 50 {
		ops = append(ops, put(key("B", fmt.Sprint(i)), "b", word("code", "new")))
	}
	failing := put(key("A", "2"), "two")
	failing.IfMatch = 5
	e.fails(store.ErrPrecondition, len(ops), append(ops, failing)...)
	e.fails(store.ErrNotFound, len(ops), append(ops, remove(key("A", "none")))...)
	v, err := e.store.Get(e.ctx, key("A", "old"))
	e.ok(err)
	e.check(v, key("A", "old"), 1, "old")
	_, err = e.store.Get(e.ctx, key("B", "7"))
	e.wants(err, store.ErrNotFound)
	same(e, "new entries", e.ids(store.Query{Types: []string{"A", "B"}, Where: isNamed("code", "new")}), []string{})
	same(e, "old entries", e.ids(named("A", "code", "old")), []string{"old"})
	if r := e.commit(ops...); r[1].Number != 1 || !r[1].Created {
		e.Fatalf("after the failure: %+v", r[1])
	}
}

func commitTwice(e *env) {
	e.fails(store.ErrTwice, 2, put(key("A", "1"), "one"), put(key("B", "1"), "b"), put(key("A", "1"), "two"))
	e.put(key("A", "1"), "one")
	e.fails(store.ErrTwice, 1, put(key("A", "1"), "two"), remove(key("A", "1")))
}

func commitBig(e *env) {
	var ops []store.Op
	for i := range 2_000 {
		ops = append(ops, put(key("A", fmt.Sprint(i)), fmt.Sprintf(`{"n":%d}`, i), word("code", fmt.Sprint(i%10))))
	}
	results := e.commit(ops...)
	for i := 1; i < len(results); i++ {
		if results[i].Seq <= results[i-1].Seq || results[i].RID == results[i-1].RID {
			e.Fatalf("result %d: %+v after %+v", i, results[i], results[i-1])
		}
	}
	if got := e.find(store.Query{Types: []string{"A"}, Where: isNamed("code", "3"), Total: true}).Total; got != 200 {
		e.Fatalf("total %d, want 200", got)
	}
}

func commitReindex(e *env) {
	k := key("A", "1")
	e.put(k, "one", word("code", "old"))
	before, err := e.store.Head(e.ctx)
	e.ok(err)
	op := store.Op{Action: store.Reindex, Key: k, IfMatch: 1, Entries: []store.Entry{word("code", "new")}}
	r := e.commit(op)[0]
	if r.Number != 1 {
		e.Fatalf("reindex gave %+v", r)
	}
	same(e, "old entries", e.ids(named("A", "code", "old")), []string{})
	same(e, "new entries", e.ids(named("A", "code", "new")), []string{"1"})
	after, err := e.store.Head(e.ctx)
	e.ok(err)
	if before != after {
		e.Fatalf("reindex moved head from %d to %d", before, after)
	}
	v, err := e.store.Get(e.ctx, k)
	e.ok(err)
	e.check(v, k, 1, "one")
	e.put(k, "two", word("code", "newest"))
	e.fails(store.ErrPrecondition, 0, op)
	same(e, "after a late reindex", e.ids(named("A", "code", "newest")), []string{"1"})
}

// commitIndexMoves: entries follow the current version.
func commitIndexMoves(e *env) {
	k := key("A", "1")
	rich := []store.Entry{
		with(store.Hot, word("code", "x")), with(store.Anchor, link("owner", key("B", "1"))), uri("site", "http://a/b"),
		text("name", "Anna Maria"), with(store.Clock, span("date", 5, 9)), place("spot", 1, 2), tuple("pair", word("", "x"), word("", "y")),
	}
	tests := []store.Expr{
		isNamed("code", "x"), is("owner", "B", "1"), test("site", store.Cond{How: store.Starts, Name: "http://a"}),
		startsWith("name", "maria"), within("date", store.Inside, 0, 10), within("date", store.Greater, 6, 7),
		test("spot", store.Cond{How: store.Near, Lo: store.OrderedFloat(1), Hi: store.OrderedFloat(2), Radius: 10}),
		test("pair", store.Cond{How: store.All, Parts: []store.Cond{{How: store.Named, Name: "x"}, {How: store.Named, Name: "y"}}}),
	}
	for round, want := range [][]string{{"1"}, {}, {"1"}, {}} {
		switch {
		case len(want) == 1:
			e.put(k, fmt.Sprint("with", round), rich...)
		case round == 1:
			e.put(k, "without")
		default:
			e.commit(remove(k))
		}
		for i, x := range tests {
			same(e, fmt.Sprintf("round %d, test %d", round, i), e.ids(store.Query{Types: []string{"A"}, Where: x}), want)
		}
	}
}

func commitNothing(e *env) {
	results, err := e.store.Commit(e.ctx)
	e.ok(err)
	if len(results) != 0 {
		e.Fatalf("an empty commit gave %+v", results)
	}
}
