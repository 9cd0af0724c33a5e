package storetest

import (
	"fmt"
	"testing"
	"time"

	"candela/store"
)

func testQuery(t *testing.T, open Opener) {
	steps(t, open, map[string]func(*env){
		"tests":   queryTests,
		"trees":   queryTrees,
		"chains":  queryChains,
		"builtin": queryBuiltin,
		"shape":   queryShape,
		"refused": queryRefused,
		"many or": queryManyOr,
		"total":   queryTotal,
	})
}

// people are four owners, notes are what hangs on them.
func (e *env) people() {
	e.Helper()
	a := func(id string, entries ...store.Entry) store.Op { return put(key("A", id), "a"+id, entries...) }
	b := func(id string, entries ...store.Entry) store.Op { return put(key("B", id), "b"+id, entries...) }
	owner := func(id string) store.Entry { return with(store.Anchor, link("owner", key("A", id))) }
	kind := func(space, name string) store.Entry { return with(store.Hot, code("kind", space, name, name+" Text")) }
	on := func(lo, hi int64) store.Entry { return with(store.Clock, span("date", lo, hi)) }
	e.commit(
		a("1", text("name", "Anna Maria Lund"), code("sex", "s", "f", "Female"), span("born", 10, 19), place("spot", 52.5, 13.4), link("friend", key("A", "2"))),
		a("2", text("name", "Bo Annable"), code("sex", "s", "m", "Male"), span("born", 20, 20), place("spot", 52.5, 13.5), uri("page", "http://x.org/bo/me")),
		a("3", text("name", "O'Brien-Lund"), text("name", "Çelik"), code("sex", "t", "f", ""), uri("page", "http://x.org/bo"), link("friend", key("A", "1")), link("friend", key("", "http://else/A/9"))),
		a("4"),
		b("1", owner("1"), kind("s", "bp"), on(100, 100), amount("value", 120.5, "u", "mm"), tuple("both", word("", "bp"), amount("", 120.5, "u", "mm"))),
		b("2", owner("1"), kind("s", "bp"), on(200, 209), based(amount("value", 140, "u", "mm"), 14), tuple("both", word("", "bp"), based(amount("", 140, "u", "mm"), 14))),
		b("3", owner("1"), kind("t", "bp"), on(150, 150), amount("value", -3, "w", "mm")),
		b("4", owner("2"), kind("s", "bp"), kind("s", "hr"), on(120, 120), based(amount("value", 140, "u", "cm"), 140), tuple("both", word("", "hr"), amount("", 140, "u", "cm")), tuple("both", word("", "bp"), amount("", 7, "u", "cm"))),
		b("5", owner("2"), kind("s", "hr")),
		b("6", kind("s", "hr"), store.Entry{Param: "date", Role: store.Clock, Value: store.Value{Kind: store.Range, Lo: store.OrderedInt(50)}}),
	)
}

func (e *env) table(typ string, rows []row) {
	e.Helper()
	for _, r := range rows {
		same(e, fmt.Sprintf("%s %+v", typ, r.x), e.ids(store.Query{Types: []string{typ}, Where: r.x}), r.want)
	}
}

type row struct {
	x    store.Expr
	want []string
}

func ids(s ...string) []string { return append([]string{}, s...) }

func queryTests(e *env) {
	e.people()
	e.table("A", append(namesTable(), pagesTable()...))
	e.table("B", rangesTable())
	e.table("B", unitsTable())
}

func namesTable() []row {
	how := func(h store.How, c store.Cond) store.Cond { c.How = h; return c }
	return []row{
		{test("name", how(store.Present, store.Cond{})), ids("1", "2", "3")},
		{is("sex", "s", "f"), ids("1")},
		{is("sex", "", "f"), ids()},
		{isNamed("sex", "f"), ids("1", "3")},
		{test("sex", how(store.Within, store.Cond{Space: "s"})), ids("1", "2")},
		{test("sex", how(store.Starts, store.Cond{Text: "fem"})), ids("1")},
		{test("sex", how(store.Contains, store.Cond{Text: "male"})), ids("1", "2")},
		{startsWith("name", "ann"), ids("1", "2")},
		{startsWith("name", "anna maria l"), ids("1")},
		{startsWith("name", "maria"), ids("1")},
		{test("name", how(store.Whole, store.Cond{Text: "bo annable"})), ids("2")},
		{test("name", how(store.Whole, store.Cond{Text: "bo"})), ids()},
		{test("name", how(store.Leads, store.Cond{Text: "bo a"})), ids("2")},
		{test("name", how(store.Leads, store.Cond{Text: "maria"})), ids()},
		{test("name", how(store.Ends, store.Cond{Text: "lund"})), ids("1", "3")},
		{test("sex", how(store.Whole, store.Cond{Text: "male"})), ids("2")},
		{startsWith("name", "aria"), ids()},
		{startsWith("name", "lund"), ids("1", "3")},
		{startsWith("name", "brien"), ids()},
		{startsWith("name", "o'b"), ids("3")},
		{startsWith("name", "anna maria lund and somebody else"), ids()},
		{test("name", how(store.Contains, store.Cond{Text: "nna"})), ids("1", "2")},
		{test("name", how(store.Exactly, store.Cond{Raw: "Çelik", Text: fold("Çelik")})), ids("3")},
		{test("name", how(store.Exactly, store.Cond{Raw: "anna maria lund", Text: "anna maria lund"})), ids()},
		{test("name", how(store.Exactly, store.Cond{Raw: "Bo Annable"})), ids("2")},
		{is("friend", "A", "2"), ids("1")},
		{is("friend", "", "http://else/A/9"), ids("3")},
		{isNamed("friend", "1"), ids()},
		{test("friend", how(store.Within, store.Cond{Space: "A"})), ids("1", "3")},
	}
}

func pagesTable() []row {
	page := func(h store.How, name string) store.Test { return test("page", store.Cond{How: h, Name: name}) }
	near := func(radius float64) store.Test {
		return test("spot", store.Cond{How: store.Near, Lo: store.OrderedFloat(52.5), Hi: store.OrderedFloat(13.4), Radius: radius})
	}
	return []row{
		{page(store.Is, "http://x.org/bo"), ids("3")},
		{page(store.Starts, "http://x.org/bo"), ids("2", "3")},
		{page(store.Starts, "http://x.org/b"), ids()},
		{page(store.Starts, "http://x.org/"), ids("2", "3")},
		{page(store.Above, "http://x.org/bo/me"), ids("2", "3")},
		{page(store.Above, "http://x.org/bo/you/too"), ids("3")},
		{page(store.Above, "http://x.org/bob"), ids()},
		{near(10), ids("1")},
		{near(7_000), ids("1", "2")},
		{near(20_100_000), ids("1", "2")},
	}
}

func rangesTable() []row {
	open := test("date", store.Cond{How: store.Inside, Lo: store.OrderedInt(100), Hi: store.OrderedInt(120), HiOpen: true})
	return []row{
		{within("date", store.Inside, 100, 120), ids("1", "4")},
		{open, ids("1")},
		{within("date", store.Inside, 201, 220), ids()},
		{within("date", store.Outside, 100, 120), ids("2", "3", "6")},
		{within("date", store.Overlaps, 205, 300), ids("2", "6")},
		{within("date", store.Greater, 150, 150), ids("2", "6")},
		{within("date", store.Greater, 205, 205), ids("2", "6")},
		{within("date", store.Less, 120, 120), ids("1", "6")},
		{within("date", store.AtLeast, 150, 150), ids("2", "3", "6")},
		{within("date", store.AtMost, 120, 120), ids("1", "4", "6")},
		{within("date", store.After, 120, 149), ids("2", "3")},
		{within("date", store.After, 205, 206), ids()},
		{within("date", store.Before, 200, 201), ids("1", "3", "4")},
		{within("date", store.Before, 210, 211), ids("1", "2", "3", "4")},
		{test("date", store.Cond{How: store.Inside}), ids("1", "2", "3", "4", "6")},
		{test("date", store.Cond{How: store.Inside, Lo: store.OrderedInt(50)}), ids("1", "2", "3", "4", "6")},
		{test("date", store.Cond{How: store.Greater}), ids()},
		{within("nothing", store.Inside, 0, 1000), ids()},
	}
}

func unitsTable() []row {
	value := func(how store.How, v float64, unit store.Unit, space, name string) store.Test {
		b := store.OrderedFloat(v)
		return test("value", store.Cond{How: how, Lo: b, Hi: b, Unit: unit, Space: space, Name: name})
	}
	both := func(name string, least float64) store.Test {
		b := store.OrderedFloat(least)
		return test("both", store.Cond{How: store.All, Parts: []store.Cond{{How: store.Named, Name: name}, {How: store.AtLeast, Lo: b, Hi: b}}})
	}
	return []row{
		{value(store.Inside, 140, store.AnyUnit, "", ""), ids("2", "4")},
		{value(store.Inside, 140, store.UnitIs, "u", "mm"), ids("2")},
		{value(store.Greater, -1000, store.UnitIs, "w", "mm"), ids("3")},
		{value(store.Less, 140, store.UnitName, "", "mm"), ids("1", "3")},
		{value(store.Outside, 140, store.UnitName, "", "mm"), ids("1", "3")},
		{both("bp", 130), ids("2")},
		{both("bp", 1), ids("1", "2", "4")},
		{both("hr", 1), ids("4")},
		{both("xx", 1), ids()},
		{test("both", store.Cond{How: store.All, Parts: []store.Cond{{How: store.Named, Name: "bp"}}}), ids()},
		{value(store.Inside, 14, store.UnitBase, "", "m"), ids("2")},
		{value(store.Greater, 0, store.UnitBase, "", "m"), ids("2", "4")},
		{value(store.Outside, 14, store.UnitBase, "", "m"), ids("4")},
		{value(store.Before, 20, store.UnitBase, "", "s"), ids()},
		{test("both", store.Cond{How: store.All, Parts: []store.Cond{{How: store.Named, Name: "bp"},
			{How: store.Less, Lo: store.OrderedFloat(15), Hi: store.OrderedFloat(15), Unit: store.UnitBase, Name: "m"}}}), ids("2")},
		{test("kind", store.Cond{How: store.Inside, Unit: store.UnitBase}), ids()},
	}
}

func queryTrees(e *env) {
	e.people()
	bp, hr, of1 := hot(is("kind", "s", "bp")), hot(isNamed("kind", "hr")), anchor(is("owner", "A", "1"))
	e.table("B", []row{
		{nil, ids("1", "2", "3", "4", "5", "6")},
		{store.And{}, ids("1", "2", "3", "4", "5", "6")},
		{store.Or{}, ids()},
		{store.Not{Of: store.Or{}}, ids("1", "2", "3", "4", "5", "6")},
		{store.And{bp, hr}, ids("4")},
		{store.And{of1, bp}, ids("1", "2")},
		{store.And{of1, hot(isNamed("kind", "bp"))}, ids("1", "2", "3")},
		{store.Or{of1, hr}, ids("1", "2", "3", "4", "5", "6")},
		{store.Not{Of: bp}, ids("3", "5", "6")},
		{store.Not{Of: test("owner", store.Cond{How: store.Present})}, ids("6")},
		{store.And{store.Not{Of: store.And{bp, of1}}, store.Or{hr, within("date", store.Inside, 140, 160)}}, ids("3", "4", "5", "6")},
		{store.And{bp, store.And{store.Or{store.And{of1}, store.Not{Of: store.Not{Of: hr}}}}}, ids("1", "2", "4")},
		{store.And{of1, bp, ahead("date", 150)}, ids("2")},
	})
}

func queryChains(e *env) {
	e.people()
	female := isNamed("sex", "f")
	e.table("B", []row{
		{store.Via{Param: "owner", Type: "A", Of: female}, ids("1", "2", "3")},
		{store.Via{Param: "owner", Type: "A"}, ids("1", "2", "3", "4", "5")},
		{store.Not{Of: store.Via{Param: "owner", Type: "A", Of: female}}, ids("4", "5", "6")},
		{store.And{isNamed("kind", "hr"), store.Via{Param: "owner", Type: "A", Of: startsWith("name", "bo")}}, ids("4", "5")},
		{store.Via{Param: "owner", Type: "A", Of: store.Via{Param: "friend", Type: "A", Of: isNamed("sex", "m")}}, ids("1", "2", "3")},
		{store.Via{Param: "owner", Type: "A", Of: store.Has{Type: "A", Param: "friend", Of: isNamed("sex", "m")}}, ids()},
		{store.Via{Param: "owner", Type: "B"}, ids()},
		{store.Or{store.Via{Param: "owner", Type: "A", Of: startsWith("name", "bo")}, within("date", store.Inside, 100, 100)}, ids("1", "4", "5")},
	})
	tree := func(param, id string, above bool, of store.Expr) store.Tree {
		return store.Tree{Param: param, Type: "A", ID: id, Up: "friend", Above: above, Of: of}
	}
	e.table("B", []row{ // friends: 3 of 1, 1 of 2
		{tree("owner", "2", false, nil), ids("1", "2", "3", "4", "5")},
		{tree("owner", "1", false, nil), ids("1", "2", "3")},
		{tree("owner", "3", false, nil), ids()},
		{tree("owner", "3", true, nil), ids("1", "2", "3", "4", "5")},
		{tree("owner", "1", true, female), ids("1", "2", "3", "4", "5")},
		{tree("owner", "3", true, isNamed("sex", "m")), ids()},
		{tree("owner", "2", false, isNamed("sex", "m")), ids("4", "5")},
		{store.Not{Of: tree("owner", "1", false, nil)}, ids("4", "5", "6")},
		{tree("owner", "gone", false, nil), ids()},
		{store.Via{Param: "owner", Type: "A", Of: tree("friend", "2", false, nil)}, ids("1", "2", "3")},
	})
	bp := store.Has{Type: "B", Param: "owner", Of: isNamed("kind", "bp")}
	e.table("A", []row{
		{bp, ids("1", "2")},
		{store.Has{Type: "B", Param: "owner"}, ids("1", "2")},
		{store.Not{Of: bp}, ids("3", "4")},
		{store.And{bp, store.Has{Type: "B", Param: "owner", Of: isNamed("kind", "hr")}}, ids("2")},
		{store.Has{Type: "B", Param: "owner", Of: store.And{isNamed("kind", "bp"), isNamed("kind", "hr")}}, ids("2")},
		{store.Has{Type: "A", Param: "friend", Of: bp}, ids("2")},
		{store.Has{Type: "A", Param: "friend", Of: store.Has{Type: "A", Param: "friend"}}, ids("2")},
	})
	e.commit(remove(key("A", "1")))
	e.table("B", []row{{store.Via{Param: "owner", Type: "A", Of: female}, ids()}, {store.Via{Param: "owner", Type: "A"}, ids("4", "5")}})
	e.commit(remove(key("B", "4")))
	e.table("A", []row{{bp, ids()}})
}

func queryBuiltin(e *env) {
	e.people()
	updated := e.put(key("A", "2"), "again").Time
	since := store.OrderedTime(updated)
	e.table("A", []row{
		{is("_id", "A", "2"), ids("2")},
		{store.Or{is("_id", "A", "3"), is("_id", "A", "1"), is("_id", "B", "2"), is("_id", "A", "none")}, ids("1", "3")},
		{isNamed("_id", "4"), ids("4")},
		{store.Not{Of: is("_id", "A", "2")}, ids("1", "3", "4")},
		{test("_lastUpdated", store.Cond{How: store.AtLeast, Lo: since, Hi: since}), ids("2")},
		{test("_lastUpdated", store.Cond{How: store.Less, Lo: since, Hi: since}), ids("1", "3", "4")},
	})
	both := store.Query{Types: []string{"A", "B"}, Where: isNamed("_id", "2")}
	if got := e.find(store.Query{Types: both.Types, Where: both.Where, Count: 10}); len(got.Versions) != 2 {
		e.Fatalf("two types gave %+v", got.Versions)
	}
	if got := e.ids(store.Query{}); len(got) != 10 {
		e.Fatalf("all types gave %q", got)
	}
	same(e, "newest first", e.ids(store.Query{Types: []string{"A"}, Sort: []store.Sort{{Param: "_lastUpdated", Desc: true}}})[:1], ids("2"))
	e.clock.move(time.Hour)
	e.put(key("A", "3"), "again")
	same(e, "newest first", e.ids(store.Query{Types: []string{"A"}, Sort: []store.Sort{{Param: "_lastUpdated", Desc: true}}})[:2], ids("3", "2"))
}

// queryShape: what the rows carry.
func queryShape(e *env) {
	e.put(key("A", "1"), "zero")
	r := e.put(key("A", "1"), "one", word("code", "x"), text("name", "Ann"))
	page := e.find(store.Query{Types: []string{"A"}, Count: 5, Entries: true})
	if len(page.Versions) != 1 || page.Total != -1 || page.Next != "" || page.Prev != "" {
		e.Fatalf("page %+v", page)
	}
	v := page.Versions[0]
	e.check(v, key("A", "1"), 2, "one")
	if v.RID != r.RID || v.Seq != r.Seq || !v.Time.Equal(r.Time) {
		e.Fatalf("row %+v, want %+v", v, r.Version)
	}
	for _, x := range []store.Expr{isNamed("code", "x"), startsWith("name", "ann")} {
		if ok, err := store.Holds(x, v.Entries); err != nil || !ok {
			e.Fatalf("entries %+v: %v %v", v.Entries, ok, err)
		}
	}
	v = e.find(store.Query{Types: []string{"A"}, Count: 5, NoRaw: true}).Versions[0]
	if v.Raw != nil || v.Key != key("A", "1") || v.Number != 2 || v.RID != r.RID {
		e.Fatalf("row without body %+v", v)
	}
	if page = e.find(store.Query{Types: []string{"A"}}); len(page.Versions) != 0 {
		e.Fatalf("a count gave rows %+v", page.Versions)
	}
}

func queryRefused(e *env) {
	e.people()
	for _, x := range []store.Expr{
		test("kind", store.Cond{}), test("kind", store.Cond{How: 99}), store.Not{Of: test("kind", store.Cond{How: 99})},
		store.Via{}, store.Has{Type: "A"}, store.Tree{Param: "owner", Type: "A", Up: "friend"}, store.Via{Param: "owner", Type: "A", Of: test("name", store.Cond{How: 77})},
	} {
		_, err := e.store.Find(e.ctx, store.Query{Types: []string{"B"}, Where: x, Count: 3})
		e.wants(err, store.ErrQuery)
	}
	_, err := e.store.Find(e.ctx, store.Query{Types: []string{"B"}, Count: -1})
	e.wants(err, store.ErrQuery)
}

// queryManyOr: thousands of alternatives are one query like any other.
func queryManyOr(e *env) {
	var ops []store.Op
	var codes, known store.Or
	for i := range 600 {
		ops = append(ops, put(key("A", fmt.Sprint(i)), "a", word("code", fmt.Sprint("c", i))))
	}
	e.commit(ops...)
	for i := range 3_000 {
		codes = append(codes, isNamed("code", fmt.Sprint("c", i*2)))
		known = append(known, is("_id", "A", fmt.Sprint(i*2)))
	}
	for _, x := range []store.Expr{codes, known, store.And{codes, known}, store.Not{Of: codes}} {
		page := e.find(store.Query{Types: []string{"A"}, Where: x, Count: 1000, Total: true})
		if len(page.Versions) != 300 || page.Total != 300 {
			e.Fatalf("%d rows, total %d, want 300", len(page.Versions), page.Total)
		}
	}
}

func queryTotal(e *env) {
	e.people()
	bp := store.And{isNamed("kind", "bp"), is("kind", "s", "bp")}
	for _, count := range []int{0, 1, 2, 50} {
		page := e.find(store.Query{Types: []string{"B"}, Where: bp, Count: count, Total: true})
		if page.Total != 3 || len(page.Versions) != min(count, 3) {
			e.Fatalf("count %d gave %d rows, total %d", count, len(page.Versions), page.Total)
		}
	}
	totals := map[int64]store.Query{
		6:  {Types: []string{"B"}},
		10: {Types: []string{"A", "B"}},
		4:  {Types: []string{"B"}, Where: store.Or{isNamed("kind", "hr"), isNamed("kind", "hr"), is("owner", "A", "2"), within("date", store.Inside, 100, 100)}},
		5:  {Types: []string{"B"}, Where: test("date", store.Cond{How: store.Present})},
		0:  {Types: []string{"nothing"}},
	}
	for want, q := range totals {
		q.Total = true
		if got := e.find(q).Total; got != want {
			e.Fatalf("%+v: total %d, want %d", q, got, want)
		}
	}
}
