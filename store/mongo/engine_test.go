package mongo_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"candela/store"
	"candela/store/mongo"
	"candela/store/mongo/mongotest"
	"candela/store/plan"
)

func open(t testing.TB, uri string, opt mongo.Options) *mongo.Store {
	t.Helper()
	s, err := mongo.Open(context.Background(), uri, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func put(typ, id, raw string, entries ...store.Entry) store.Op {
	return store.Op{Action: store.Put, Key: store.Key{Type: typ, ID: id}, Raw: []byte(raw), Entries: entries}
}

// things are resources with keys of all indexes, several per index, many equal.
func things(n int) []store.Op {
	rnd := rand.New(rand.NewPCG(7, 7))
	var ops []store.Op
	for i := range n {
		name := [...]string{"anna", "anna maria", "ann", "zoë", "東京", "o'brien smith", "a very long name that is cut somewhere é", ""}[rnd.IntN(8)]
		day := store.OrderedInt(int64(rnd.IntN(12)) << 38)
		other := store.OrderedInt(int64(rnd.IntN(12)) << 38)
		entries := []store.Entry{
			{Param: "code", Role: store.Hot, Value: store.Value{Kind: store.Code, Space: "s", Name: fmt.Sprint("c", rnd.IntN(3))}},
			{Param: "name", Value: store.Value{Kind: store.Text, Text: name, Raw: name}},
			{Param: "range", Value: store.Value{Kind: store.Range, Lo: day, Hi: day}},
			{Param: "range", Value: store.Value{Kind: store.Range, Lo: other}},
		}
		if rnd.IntN(4) > 0 {
			entries = append(entries, store.Entry{Param: "date", Role: store.Clock, Value: store.Value{Kind: store.Range, Lo: day, Hi: day}})
		}
		ops = append(ops, put("T", fmt.Sprint(i), fmt.Sprint("raw ", i), entries...))
	}
	return ops
}

// physical is every key of every index, as the walk of sc must meet it.
func physical(sc plan.Scan, keys map[store.RID]plan.Keys) []plan.Hit {
	var all []plan.Hit
	for rid, k := range keys {
		switch sc.Index {
		case plan.Equal:
			if slices.ContainsFunc(append(sc.More, sc.Hash), func(h uint64) bool { return slices.Contains(k.Equal, h) }) {
				all = append(all, plan.Hit{RID: rid})
			}
		case plan.Timed:
			if slices.Contains(k.Timed, sc.Hash) {
				all = append(all, plan.Hit{RID: rid, Order: k.Clock})
			}
		case plan.Ordered, plan.Prefix:
			points := k.Ordered
			if sc.Index == plan.Prefix {
				points = k.Prefix
			}
			for _, p := range points {
				if p.Field == sc.Hash {
					all = append(all, plan.Hit{RID: rid, Order: p.Order})
				}
			}
		}
	}
	all = slices.DeleteFunc(all, func(h plan.Hit) bool { return !inside(sc, h) })
	slices.SortFunc(all, compare)
	if sc.Desc {
		slices.Reverse(all)
	}
	return all
}

func inside(sc plan.Scan, h plan.Hit) bool {
	if sc.From != nil && bytes.Compare(h.Order, sc.From) < 0 {
		return false
	}
	if sc.To != nil && bytes.Compare(h.Order, sc.To) > 0 && !(sc.Index == plan.Prefix && bytes.HasPrefix(h.Order, sc.To)) {
		return false
	}
	if sc.After.RID != 0 {
		return (compare(h, sc.After) > 0) != sc.Desc && compare(h, sc.After) != 0
	}
	return true
}

func compare(a, b plan.Hit) int {
	if c := bytes.Compare(a.Order, b.Order); c != 0 {
		return c
	}
	return int(int64(a.RID) - int64(b.RID))
}

// firsts keeps the first hit of each resource: what a walk must give at least.
func firsts(hits []plan.Hit) []plan.Hit {
	seen := map[store.RID]bool{}
	var out []plan.Hit
	for _, h := range hits {
		if !seen[h.RID] {
			out = append(out, h)
		}
		seen[h.RID] = true
	}
	return out
}

func TestScansGiveEveryKeyInOrder(t *testing.T) {
	ctx := context.Background()
	s := open(t, mongotest.URI(t), mongo.Options{})
	ops := things(300)
	results, err := s.Commit(ctx, ops...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = s.Commit(ctx, store.Op{Action: store.Delete, Key: ops[5].Key}); err != nil {
		t.Fatal(err)
	}
	keys := map[store.RID]plan.Keys{}
	for i, r := range results {
		if i != 5 {
			keys[r.RID] = plan.KeysOf("T", ops[i].Entries, r.Time)
		}
	}
	snap, err := s.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	n := 0
	for _, sc := range scansToTry() {
		for _, sc.Desc = range []bool{false, true} {
			for _, sc.Hint = range []int{0, 1, 7, 500} {
				checkScan(t, snap, sc, keys)
				n++
			}
		}
	}
	if n < 100 {
		t.Fatalf("only %d scans tried", n)
	}
}

func scansToTry() []plan.Scan {
	day := func(n int64) []byte { return store.OrderedInt(n << 38) }
	scans := []plan.Scan{
		{Index: plan.Equal, Hash: plan.HashOfType("T")},
		{Index: plan.Equal, Hash: plan.HashOfName("T", "code", "c1")},
		{Index: plan.Equal, Hash: plan.HashOfName("T", "code", "none")},
		{Index: plan.Equal, Hash: plan.HashOfName("T", "code", "c1"), More: []uint64{plan.HashOf("T", "code", "s", "c1"), plan.HashOfName("T", "code", "c2")}},
		{Index: plan.Equal, Hash: plan.HashOfName("T", "code", "none"), More: []uint64{plan.HashOfName("T", "code", "c0")}},
	}
	many := plan.Scan{Index: plan.Equal, Hash: plan.HashOfName("T", "code", "c1")}
	for i := range 99 { // as many as one walk may have
		many.More = append(many.More, plan.HashOfName("T", "code", fmt.Sprint("d", i)))
	}
	scans = append(scans, many)
	timed, low, high := plan.HashOfName("T", "code", "c2"), plan.FieldHash("T", "range", plan.Low), plan.FieldHash("T", "range", plan.High)
	for _, b := range [][2][]byte{{nil, nil}, {day(3), nil}, {nil, day(3)}, {day(3), day(5)}, {day(4), day(4)}, {day(5), day(4)}} {
		for _, at := range []plan.Scan{{Index: plan.Timed, Hash: timed}, {Index: plan.Ordered, Hash: low}, {Index: plan.Ordered, Hash: high}} {
			at.From, at.To = b[0], b[1]
			scans = append(scans, at)
		}
	}
	words := plan.FieldHash("T", "name", plan.Words)
	for _, b := range [][2]string{{"", ""}, {"ann", "ann"}, {"anna", "anna"}, {"o", "o"}, {"z", ""}, {"zoë", "zoë"}, {"東", "東"}, {"b", "s"}} {
		sc := plan.Scan{Index: plan.Prefix, Hash: words}
		if b[0] != "" {
			sc.From = []byte(b[0])
		}
		if b[1] != "" {
			sc.To = []byte(b[1])
		}
		scans = append(scans, sc)
	}
	return scans
}

func checkScan(t *testing.T, snap plan.Snapshot, sc plan.Scan, keys map[store.RID]plan.Keys) {
	t.Helper()
	all := collect(t, snap, sc)
	checkHits(t, sc, all, physical(sc, keys))
	for _, at := range []int{0, len(all) / 3, len(all) - 1} {
		if at < 0 || at >= len(all) {
			continue
		}
		rest := sc
		rest.After = all[at]
		checkHits(t, rest, collect(t, snap, rest), physical(rest, keys))
	}
	limit := int64(20)
	n, err := snap.Estimate(context.Background(), sc, limit)
	if err != nil || n != min(limit, int64(len(firsts(physical(sc, keys))))) {
		t.Fatalf("%+v: estimate %d (%v), want %d up to %d", sc, n, err, len(firsts(all)), limit)
	}
}

func collect(t *testing.T, snap plan.Snapshot, sc plan.Scan) []plan.Hit {
	t.Helper()
	var all []plan.Hit
	for h, err := range snap.Scan(context.Background(), sc) {
		if err != nil {
			t.Fatalf("%+v: %v", sc, err)
		}
		all = append(all, plan.Hit{Order: slices.Clone(h.Order), RID: h.RID})
	}
	return all
}

// checkHits wants real keys only, in order, none twice, and of each resource
// its first.
func checkHits(t *testing.T, sc plan.Scan, got, want []plan.Hit) {
	t.Helper()
	at := 0
	for _, h := range got {
		for at < len(want) && compare(want[at], h) != 0 {
			at++
		}
		if at == len(want) {
			t.Fatalf("%+v: hit %x %d is no key, or not in order", sc, h.Order, h.RID)
		}
		at++
	}
	a, b := firsts(got), firsts(want)
	if !slices.EqualFunc(a, b, func(x, y plan.Hit) bool { return compare(x, y) == 0 }) {
		t.Fatalf("%+v: %d first hits, want %d", sc, len(a), len(b))
	}
}

func TestSnapshotStandsStill(t *testing.T) {
	ctx := context.Background()
	s := open(t, mongotest.URI(t), mongo.Options{})
	first, err := s.Commit(ctx, put("T", "1", "one"), put("T", "2", "two"))
	if err != nil {
		t.Fatal(err)
	}
	snap, err := s.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	if snap.Top() != first[1].RID {
		t.Fatalf("top %d, want %d", snap.Top(), first[1].RID)
	}
	if _, err = s.Commit(ctx, put("T", "1", "changed"), put("U", "3", "new"), store.Op{Action: store.Delete, Key: store.Key{Type: "T", ID: "2"}}); err != nil {
		t.Fatal(err)
	}
	rids := []store.RID{first[1].RID, 999, first[0].RID}
	got, err := snap.Bodies(ctx, rids)
	if err != nil || len(got) != 2 || string(got[0].Raw) != "two" || string(got[1].Raw) != "one" {
		t.Fatalf("bodies %+v, %v", got, err)
	}
	rows, err := snap.Rows(ctx, rids)
	if err != nil || len(rows) != 2 || rows[0].Key.ID != "2" || rows[1].Number != 1 {
		t.Fatalf("rows %+v, %v", rows, err)
	}
	found, err := snap.Lookup(ctx, []store.Key{{Type: "U", ID: "3"}, {Type: "T", ID: "2"}, {Type: "T", ID: "1"}})
	if err != nil || found[0] != 0 || found[1] != first[1].RID || found[2] != first[0].RID {
		t.Fatalf("lookup %v, %v", found, err)
	}
	types, err := snap.Types(ctx)
	if err != nil || !slices.Equal(types, []string{"T"}) {
		t.Fatalf("types %v, %v", types, err)
	}
	later, err := s.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer later.Close()
	if got, err = later.Bodies(ctx, rids); err != nil || len(got) != 1 || string(got[0].Raw) != "changed" {
		t.Fatalf("bodies after %+v, %v", got, err)
	}
	if rows, err = later.Rows(ctx, rids); err != nil || len(rows) != 1 {
		t.Fatalf("rows after %+v, %v", rows, err)
	}
}

var _ plan.Engine = (*mongo.Store)(nil)

// TestEstimatesOfLongListsAreSampled: near enough to choose by, without
// counting, and remembered.
func TestEstimatesOfLongListsAreSampled(t *testing.T) {
	ctx := context.Background()
	s := open(t, mongotest.URI(t), mongo.Options{})
	const n = 15_000
	for from := 0; from < n; from += 5000 {
		var ops []store.Op
		for i := range 5000 {
			day := store.OrderedInt(int64(i))
			ops = append(ops, put("T", fmt.Sprint(from+i), "x",
				store.Entry{Param: "code", Value: store.Value{Kind: store.Code, Name: fmt.Sprint("c", i%3)}},
				store.Entry{Param: "rare", Value: store.Value{Kind: store.Code, Name: fmt.Sprint("c", i)}},
				store.Entry{Param: "day", Value: store.Value{Kind: store.Range, Lo: day, Hi: day}}))
		}
		if _, err := s.Commit(ctx, ops...); err != nil {
			t.Fatal(err)
		}
	}
	snap, err := s.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	for _, c := range []struct {
		scan plan.Scan
		want int64
		slip float64
	}{
		{plan.Scan{Index: plan.Equal, Hash: plan.HashOfType("T")}, n, 1.01},
		{plan.Scan{Index: plan.Equal, Hash: plan.HashOfName("T", "code", "c1")}, n / 3, 1.5},
		{plan.Scan{Index: plan.Equal, Hash: plan.HashOfName("T", "rare", "c7")}, 3, 1},
		{plan.Scan{Index: plan.Ordered, Hash: plan.FieldHash("T", "day", plan.Low), To: store.OrderedInt(2499)}, n / 2, 1.5},
		{plan.Scan{Index: plan.Ordered, Hash: plan.FieldHash("T", "day", plan.Low), To: store.OrderedInt(9)}, 30, 1},
	} {
		for _, limit := range []int64{10, 4096, 1 << 40, 4096} {
			got, err := snap.Estimate(ctx, c.scan, limit)
			want := min(float64(c.want), float64(limit))
			if limit < 1<<40 && want > 1000 {
				want = max(1000, float64(got)) // that it is long is all that is asked
			}
			if err != nil || float64(got) > want*c.slip || float64(got) < want/c.slip {
				t.Fatalf("%+v up to %d: %d (%v), want about %v", c.scan, limit, got, err, want)
			}
		}
	}
}

// TestServerCounts: lists are counted by the server, as they are at the
// moment of the snapshot, in whichever order of length.
func TestServerCounts(t *testing.T) {
	s := open(t, mongotest.URI(t), mongo.Options{})
	ctx := context.Background()
	token := func(param, name string) store.Entry {
		return store.Entry{Param: param, Value: store.Value{Kind: store.Code, Space: "s", Name: name}}
	}
	var ops []store.Op
	for i := range 1200 {
		ops = append(ops, put("T", fmt.Sprint(i), fmt.Sprint(i), token("all", "x"), token("tenth", fmt.Sprint(i%10)), token("third", fmt.Sprint(i%3))))
	}
	if _, err := s.Commit(ctx, ops...); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(ctx, store.Op{Action: store.Delete, Key: store.Key{Type: "T", ID: "10"}}); err != nil {
		t.Fatal(err)
	}
	snap, err := s.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = snap.Close() }()
	if _, err := s.Commit(ctx, put("T", "new", "new", token("all", "x"), token("tenth", "0"))); err != nil {
		t.Fatal(err)
	}
	counter, can := snap.(plan.Counter)
	if !can {
		t.Fatal("the snapshot does not count")
	}
	h := func(param, name string) uint64 { return plan.HashOf("T", param, "s", name) }
	for name, c := range map[string]struct {
		lists []uint64
		want  int64
		ok    bool
	}{
		"one":          {[]uint64{h("all", "x")}, 1199, true},
		"none":         {[]uint64{h("all", "y")}, 0, true},
		"two":          {[]uint64{h("tenth", "0"), h("all", "x")}, 119, true},
		"three":        {[]uint64{h("tenth", "0"), h("third", "0"), h("all", "x")}, 40, true},
		"none of two":  {[]uint64{h("tenth", "11"), h("all", "x")}, 0, true},
		"as long":      {[]uint64{h("all", "x"), plan.HashOfType("T")}, 0, false},
		"disjoint two": {[]uint64{h("tenth", "3"), h("tenth", "4"), h("all", "x")}, 0, false},
	} {
		n, ok, err := counter.Count(ctx, c.lists)
		if n != c.want || ok != c.ok || err != nil {
			t.Errorf("%s: %d, %v, %v; want %d, %v", name, n, ok, err, c.want, c.ok)
		}
	}
}
