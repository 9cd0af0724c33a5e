package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"candela/store"
)

func testErase(t *testing.T, open Opener) {
	steps(t, open, map[string]func(*env){
		"live":       eraseLive,
		"deleted":    eraseDeleted,
		"versions":   eraseManyVersions,
		"absent":     eraseAbsent,
		"if match":   eraseIfMatch,
		"again":      eraseAgain,
		"together":   eraseTogether,
		"twice":      eraseTwice,
		"follower":   eraseFollower,
		"cursors":    eraseCursors,
		"reopen":     eraseReopen,
		"race":       eraseRace,
		"many":       eraseMany,
		"former":     formerKeys,
		"former one": formerEndings,
		"former end": formerEnds,
	})
}

func erase(k store.Key) store.Op { return store.Op{Action: store.Erase, Key: k} }

// rich are entries of every kind that a backend keeps keys for.
func rich(owner store.Key) []store.Entry {
	return []store.Entry{
		with(store.Hot, code("code", "s", "x", "Display")), with(store.Anchor, link("owner", owner)), uri("site", "http://a/b"),
		text("name", "Anna Maria"), with(store.Clock, span("date", 5, 1<<40)), place("spot", 1, 2), tuple("pair", word("", "x"), word("", "y")),
	}
}

// richTests are conditions each of which rich entries of owner B/1 meet.
func richTests() []store.Expr {
	return []store.Expr{
		nil, isNamed("code", "x"), hot(isNamed("code", "x")), is("owner", "B", "1"), test("site", store.Cond{How: store.Starts, Name: "http://a"}),
		startsWith("name", "maria"), within("date", store.Inside, 0, 1<<41), ahead("date", 1),
		store.And{anchor(is("owner", "B", "1")), hot(isNamed("code", "x"))}, store.Not{Of: isNamed("code", "z")},
		test("spot", store.Cond{How: store.Near, Lo: store.OrderedFloat(1), Hi: store.OrderedFloat(2), Radius: 10}),
		test("pair", store.Cond{How: store.All, Parts: []store.Cond{{How: store.Named, Name: "x"}, {How: store.Named, Name: "y"}}}),
	}
}

// neverWas wants that no reading call knows k, and that versions 1 to n are gone.
func (e *env) neverWas(k store.Key, n int64) {
	e.Helper()
	if v, err := e.store.Get(e.ctx, k); !errors.Is(err, store.ErrNotFound) || v.Raw != nil {
		e.Fatalf("get of the erased %v gives %+v, %v", k, v, err)
	}
	for i := range n + 2 {
		if v, err := e.store.GetVersion(e.ctx, k, i); !errors.Is(err, store.ErrNotFound) || v.Raw != nil {
			e.Fatalf("version %d of the erased %v gives %+v, %v", i, k, v, err)
		}
	}
	for i, x := range richTests() {
		for _, sort := range [][]store.Sort{nil, {{Param: "date", Desc: true, Role: store.Clock}}, {{Param: store.ParamUpdated}}} {
			e.leavesOut(k, fmt.Sprint("condition ", i), store.Query{Types: []string{k.Type}, Where: x, Sort: sort})
		}
	}
	e.leavesOut(k, "all types", store.Query{})
	e.leavesOut(k, "its id", store.Query{Types: []string{k.Type}, Where: isNamed("_id", k.ID)})
	e.noHistory(k)
}

func (e *env) leavesOut(k store.Key, what string, q store.Query) {
	e.Helper()
	q.Count, q.Total = 1000, true
	page := e.find(q)
	if slices.ContainsFunc(page.Versions, func(v store.Version) bool { return v.Key == k }) || page.Total != int64(len(page.Versions)) {
		e.Fatalf("%s: the erased %v is found or counted: %q, total %d", what, k, lines(page.Versions), page.Total)
	}
}

// noHistory wants k in no span. A span of its own is empty or unknown.
func (e *env) noHistory(k store.Key) {
	e.Helper()
	for _, of := range []store.Key{{}, key(k.Type, ""), k} {
		for _, since := range []time.Time{{}, e.clock.now().Add(-time.Hour)} {
			page, err := e.store.History(e.ctx, store.Span{Key: of, Since: since, Count: 1000, Total: true})
			if of == k && errors.Is(err, store.ErrNotFound) {
				continue
			}
			e.ok(err)
			shown := slices.ContainsFunc(page.Versions, func(v store.Version) bool { return v.Key == k })
			if shown || page.Total != int64(len(page.Versions)) {
				e.Fatalf("history of %v shows or counts the erased %v: %q, total %d", of, k, lines(page.Versions), page.Total)
			}
		}
	}
}

// erases erases k, whose record was rid, and wants the result to say so.
func (e *env) erases(k store.Key, rid store.RID) store.Result {
	e.Helper()
	before, err := e.store.Head(e.ctx)
	e.ok(err)
	r := e.commit(erase(k))[0]
	e.erased(r.Version, k, rid)
	if r.Created || r.Unchanged || r.Seq <= before {
		e.Fatalf("erase gave %+v; head was %d", r, before)
	}
	return r
}

// erased wants v to tell that k was erased, and nothing else of it.
func (e *env) erased(v store.Version, k store.Key, rid store.RID) {
	e.Helper()
	if v.Action != store.Erase || v.Key != k || v.RID != rid || v.Number != 0 || v.Raw != nil || v.Entries != nil || v.Time.IsZero() {
		e.Fatalf("got %+v, want the erase of %v, rid %d", v, k, rid)
	}
}

func eraseLive(e *env) {
	k := key("A", "1")
	e.put(key("A", "0"), "stays", rich(key("B", "1"))...)
	r := e.put(k, "one", rich(key("B", "1"))...)
	e.put(key("A", "2"), "stays", rich(key("B", "1"))...)
	gone := e.erases(k, r.RID)
	e.neverWas(k, 1)
	if !gone.Time.Equal(e.clock.now()) {
		e.Fatalf("erased at %v, clock %v", gone.Time, e.clock.now())
	}
	for i, x := range richTests() {
		same(e, fmt.Sprint("neighbours, condition ", i), e.ids(store.Query{Types: []string{"A"}, Where: x}), ids("0", "2"))
	}
	got := e.take(0, 3)
	same(e, "changes", lines(got[:2]), ids("A/0 1 put stays", "A/2 1 put stays"))
	e.erased(got[2], k, r.RID)
	if head, err := e.store.Head(e.ctx); err != nil || head != gone.Seq || got[2].Seq != gone.Seq {
		e.Fatalf("head is %d (%v), the erase has %d in the feed and %d in its result", head, err, got[2].Seq, gone.Seq)
	}
}

func eraseDeleted(e *env) {
	k := key("A", "1")
	r := e.put(k, "one", rich(key("B", "1"))...)
	e.commit(remove(k))
	e.erases(k, r.RID)
	e.neverWas(k, 2)
	e.fails(store.ErrNotFound, 0, remove(k))
	e.fails(store.ErrNotFound, 0, erase(k))
}

// eraseManyVersions: a key with more versions than any backend reads at a time.
func eraseManyVersions(e *env) {
	const n = 1500
	k := key("A", "1")
	var rid store.RID
	for i := range n {
		if i%500 == 250 {
			e.commit(remove(k))
			continue
		}
		rid = e.put(k, fmt.Sprint("version ", i), append(rich(key("B", fmt.Sprint(i%7))), word("n", fmt.Sprint(i)))...).RID
	}
	other := e.put(key("A", "2"), "stays")
	e.erases(k, rid)
	e.neverWas(k, n)
	got := e.take(0, 2)
	same(e, "changes", lines(got[:1]), ids("A/2 1 put stays"))
	e.erased(got[1], k, rid)
	if got[0].Seq != other.Seq {
		e.Fatalf("the change before has seq %d, had %d", got[0].Seq, other.Seq)
	}
}

func eraseAbsent(e *env) {
	e.put(key("A", "1"), "one")
	e.fails(store.ErrNotFound, 0, erase(key("A", "2")))
	e.fails(store.ErrNotFound, 0, erase(key("B", "1")))
	e.fails(store.ErrNotFound, 1, erase(key("A", "1")), erase(key("A", "2")))
	same(e, "after the failures", e.ids(store.Query{Types: []string{"A"}}), ids("1"))
}

// eraseIfMatch: a number is that of the present version, were it a delete.
func eraseIfMatch(e *env) {
	k := key("A", "1")
	matching := func(n int64) store.Op {
		op := erase(k)
		op.IfMatch = n
		return op
	}
	e.fails(store.ErrPrecondition, 0, matching(-1))
	e.fails(store.ErrPrecondition, 0, matching(1))
	e.put(k, "one")
	e.put(k, "two")
	e.fails(store.ErrPrecondition, 0, matching(1))
	e.fails(store.ErrPrecondition, 0, matching(3))
	e.commit(matching(2))
	e.neverWas(k, 2)
	e.put(k, "one")
	e.commit(matching(-1))
	e.neverWas(k, 1)
	e.put(k, "one")
	e.commit(remove(k))
	e.fails(store.ErrPrecondition, 0, matching(-1))
	e.fails(store.ErrPrecondition, 0, matching(1))
	e.commit(matching(2))
	e.neverWas(k, 2)
	e.put(key("A", "2"), "two", word("code", "x"))
	e.put(k, "one")
	e.fails(store.ErrPrecondition, 0, ifNone(erase(k), "A", isNamed("code", "x")))
	e.commit(ifNone(erase(k), "A", isNamed("code", "y")))
}

// eraseAgain: a key begins anew behind its erase, as often as one likes.
func eraseAgain(e *env) {
	k := key("A", "1")
	rids := map[store.RID]bool{}
	for round := range 4 {
		op := put(k, "same bytes", rich(key("B", "1"))...)
		if round%2 == 1 {
			op.Action = store.Create
		}
		r := e.commit(op)[0]
		if r.Number != 1 || !r.Created || r.Unchanged || rids[r.RID] {
			e.Fatalf("round %d: after an erase: %+v", round, r)
		}
		rids[r.RID] = true
		if two := e.put(k, fmt.Sprint("two", round)); two.Number != 2 || two.RID != r.RID {
			e.Fatalf("round %d: version 2 is %+v", round, two)
		}
		same(e, "history", lines(e.history(store.Span{Key: k, Count: 10}).Versions), ids(fmt.Sprint("A/1 2 put two", round), lines([]store.Version{{Key: k, Number: 1, Action: op.Action, Raw: op.Raw}})[0]))
		e.erases(k, r.RID)
		e.neverWas(k, 2)
	}
	e.put(k, "last", rich(key("B", "1"))...)
	same(e, "found again", e.ids(store.Query{Types: []string{"A"}, Where: startsWith("name", "maria")}), ids("1"))
	got := e.take(0, 5)
	same(e, "changes", lines(got[4:]), ids("A/1 1 put last"))
	for _, v := range got[:4] {
		e.erased(v, k, v.RID)
		if !rids[v.RID] {
			e.Fatalf("the erase of a record %d that never was", v.RID)
		}
		delete(rids, v.RID)
	}
}

// eraseTogether: an erase and what tells of it are one commit.
func eraseTogether(e *env) {
	k, gone, log := key("A", "1"), key("A", "2"), store.Op{Action: store.Create, Key: key("Log", "1"), Raw: []byte("who erased"), Entries: []store.Entry{word("code", "erase")}}
	a := e.put(k, "one", rich(key("B", "1"))...)
	e.put(gone, "two", rich(key("B", "1"))...)
	e.commit(remove(gone))
	e.fails(store.ErrNotFound, 2, log, erase(k), erase(key("A", "3")))
	stale := put(key("A", "4"), "four")
	stale.IfMatch = 9
	e.fails(store.ErrPrecondition, 3, erase(k), erase(gone), log, stale)
	v, err := e.store.Get(e.ctx, k)
	e.ok(err)
	e.check(v, k, 1, "one")
	same(e, "found", e.ids(named("A", "code", "x")), ids("1"))
	_, err = e.store.Get(e.ctx, log.Key)
	e.wants(err, store.ErrNotFound)
	head, err := e.store.Head(e.ctx)
	e.ok(err)
	r := e.commit(erase(k), log, erase(gone), put(key("A", "5"), "five"))
	e.erased(r[0].Version, k, a.RID)
	if r[1].Number != 1 || !r[1].Created || r[2].Action != store.Erase || r[3].Number != 1 {
		e.Fatalf("results %+v", r)
	}
	for i, v := range e.take(head, 4) {
		if v.Key != r[i].Key || v.Action != r[i].Action || v.Seq != r[i].Seq || i > 0 && v.Seq <= r[i-1].Seq {
			e.Fatalf("change %d is %+v, result %+v", i, v, r[i])
		}
	}
	e.neverWas(k, 1)
	e.neverWas(gone, 2)
	same(e, "the log", e.ids(named("Log", "code", "erase")), ids("1"))
}

func eraseTwice(e *env) {
	k := key("A", "1")
	e.put(k, "one")
	e.fails(store.ErrTwice, 1, erase(k), erase(k))
	e.fails(store.ErrTwice, 1, erase(k), put(k, "two"))
	e.fails(store.ErrTwice, 2, put(k, "two"), put(key("A", "2"), "x"), erase(k))
	e.fails(store.ErrTwice, 1, erase(k), store.Op{Action: store.Create, Key: k, Raw: []byte("two")})
	v, err := e.store.Get(e.ctx, k)
	e.ok(err)
	e.check(v, k, 1, "one")
}

// eraseFollower: who has read the versions hears of the erase once; who comes
// later hears of nothing else. Both keep their order.
func eraseFollower(e *env) {
	all := e.past() // A/1 versions 1, 2, 4 (3 is a delete), B/1 deleted, A/2
	follow := make(chan store.Version, 100)
	ctx, cancel := context.WithCancel(e.ctx)
	var group sync.WaitGroup
	group.Go(func() {
		for v, err := range e.store.Changes(ctx, 0) {
			if err != nil {
				e.Errorf("the follower: %v", err)
				return
			}
			follow <- v
		}
	})
	defer group.Wait()
	defer cancel()
	next := func() store.Version {
		select {
		case v := <-follow:
			return v
		case <-time.After(20 * time.Second):
			e.Fatalf("a change did not arrive")
		}
		return store.Version{}
	}
	for range all {
		next()
	}
	e.erases(key("A", "1"), all[0].RID)
	e.put(key("A", "3"), "after")
	e.erases(key("B", "1"), all[1].RID)
	e.erased(next(), key("A", "1"), all[0].RID)
	same(e, "followed", lines([]store.Version{next()}), ids("A/3 1 put after"))
	e.erased(next(), key("B", "1"), all[1].RID)
	for i := range all { // from every place in what is gone
		want := 3
		if i <= 3 {
			want = 4 // A/2, the fourth, is still there
		}
		got := e.take(all[i].Seq-1, want)
		if !slices.IsSortedFunc(got, func(a, b store.Version) int { return int(a.Seq) - int(b.Seq) }) {
			e.Fatalf("out of order: %+v", got)
		}
		got = got[want-3:]
		e.erased(got[0], key("A", "1"), all[0].RID)
		same(e, "between", lines(got[1:2]), ids("A/3 1 put after"))
		e.erased(got[2], key("B", "1"), all[1].RID)
	}
}

// eraseCursors: pages go on across an erase, without the erased.
func eraseCursors(e *env) {
	all := ids("00", "01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11")
	for _, q := range []store.Query{
		{Types: []string{"A"}}, {Types: []string{"A"}, Where: startsWith("name", "maria")},
		{Types: []string{"A"}, Sort: []store.Sort{{Param: "n"}}}, {Types: []string{"A"}, Where: isNamed("code", "x"), Sort: []store.Sort{{Param: "date", Role: store.Clock}}},
	} {
		for i, id := range all {
			e.put(key("A", id), "body", append(rich(key("B", "1")), span("n", int64(i), int64(i)))...)
		}
		q.Count = 3
		first := e.find(q)
		spans := []store.Span{{Count: 3}, {Key: key("A", ""), Count: 3}}
		pages := []store.Page{e.history(spans[0]), e.history(spans[1])}
		for _, id := range []string{"03", "06", "11", "02"} {
			e.commit(erase(key("A", id)))
		}
		q.After = first.Next
		second := e.find(q)
		same(e, "the second page", idsOf(second.Versions), ids("04", "05", "07"))
		q.After = second.Prev
		same(e, "back on the first", idsOf(e.find(q).Versions), ids("00", "01"))
		for i, s := range spans {
			s.After = pages[i].Next
			page := e.history(s)
			same(e, "history goes on", idsOf(page.Versions), ids("08", "07", "05"))
			s.After = page.Next
			same(e, "history ends", idsOf(e.history(s).Versions), ids("04", "01", "00"))
		}
		for _, id := range ids("00", "01", "04", "05", "07", "08", "09", "10") {
			e.commit(erase(key("A", id)))
		}
	}
	e.cursorOfErased()
}

// cursorOfErased: a cursor of a key's own history shows nothing of the life it
// is from, and leads to no error but the key's absence.
func (e *env) cursorOfErased() {
	e.Helper()
	k := key("A", "own")
	for i := range 4 {
		e.put(k, fmt.Sprint("old ", i))
	}
	s := store.Span{Key: k, Count: 2}
	s.After = e.history(s).Next
	for _, life := range []bool{false, true} {
		if e.commit(erase(k)); life {
			e.put(k, "new")
		}
		page, err := e.store.History(e.ctx, s)
		if life || !errors.Is(err, store.ErrNotFound) {
			e.ok(err)
		}
		for _, v := range page.Versions {
			e.check(v, k, 1, "new")
		}
		e.put(k, "x")
	}
}

func eraseReopen(e *env) {
	k, owner := key("A", "1"), key("B", "1")
	e.put(k, "one", rich(owner)...)
	e.put(k, "two")
	newest := e.put(key("A", "2"), "two", rich(owner)...)
	e.put(key("A", "2"), "three")
	before := e.erases(key("A", "2"), newest.RID)
	e.reopen()
	e.neverWas(key("A", "2"), 2)
	same(e, "former", e.former(owner), ids("A/1"))
	if head, err := e.store.Head(e.ctx); err != nil || head != before.Seq {
		e.Fatalf("head was %d and is %d (%v)", before.Seq, head, err)
	}
	r := e.put(key("A", "2"), "new") // the erased record was the newest: its id is not given again
	if r.Number != 1 || r.Seq <= before.Seq || r.RID <= newest.RID {
		e.Fatalf("after reopen: %+v; erased rid %d", r, newest.RID)
	}
	got := e.take(0, 4)
	same(e, "changes", lines(append(got[:2:2], got[3])), ids("A/1 1 put one", "A/1 2 put two", "A/2 1 put new"))
	e.erased(got[2], key("A", "2"), newest.RID)
}

// eraseMany: a whole owner's records in one commit.
func eraseMany(e *env) {
	const n = 600
	var puts, erases []store.Op
	for i := range n {
		puts = append(puts, put(key("A", fmt.Sprint(i)), fmt.Sprint("body ", i), rich(key("B", "1"))...))
		if i%2 == 0 {
			erases = append(erases, erase(key("A", fmt.Sprint(i))))
		}
	}
	e.commit(puts...)
	e.commit(erases...)
	for i, x := range richTests() {
		if page := e.find(store.Query{Types: []string{"A"}, Where: x, Total: true}); page.Total != n/2 {
			e.Fatalf("condition %d: total %d, want %d", i, page.Total, n/2)
		}
	}
	if page := e.history(store.Span{Key: key("A", ""), Total: true}); page.Total != n/2 {
		e.Fatalf("history has %d, want %d", page.Total, n/2)
	}
	got := e.take(0, n)
	for i, v := range got {
		if (v.Action == store.Erase) != (i >= n/2) {
			e.Fatalf("change %d is %+v", i, v)
		}
	}
}
