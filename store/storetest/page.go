package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"candela/store"
)

func testPage(t *testing.T, open Opener) {
	steps(t, open, map[string]func(*env){
		"sort":       pageSort,
		"there":      pageThereAndBack,
		"cursor":     pageCursor,
		"writes":     pageUnderWrites,
		"newest":     pageNewest,
		"no repeats": pageManyValues,
		"bytes":      pageBytes,
	})
}

// walk follows Next from the first page and gives all ids, then follows Prev
// from the last page and wants the same pages.
func (e *env) walk(q store.Query) []string {
	e.Helper()
	var all []string
	var pages [][]string
	for {
		page := e.find(q)
		pages = append(pages, idsOf(page.Versions))
		all = append(all, pages[len(pages)-1]...)
		if (page.Prev == "") != (len(pages) == 1) {
			e.Fatalf("page %d has Prev %q", len(pages), page.Prev)
		}
		if page.Next == "" {
			e.walkBack(q, page.Prev, pages)
			e.walkLast(q, pages)
			return all
		}
		if q.After = page.Next; len(pages) > 10_000 || len(page.Versions) != q.Count {
			e.Fatalf("page %d has %d rows and a next one", len(pages), len(page.Versions))
		}
	}
}

// walkLast jumps from the first page to the last one, and wants that to be what
// pages by Next end with, also on the way back; a page with a next one leads there.
func (e *env) walkLast(q store.Query, pages [][]string) {
	e.Helper()
	q.After, q.Of = "", int64(len(slices.Concat(pages...)))
	first := e.find(q)
	if (first.Last == "") != (len(pages) == 1) {
		e.Fatalf("the first of %d pages has Last %q", len(pages), first.Last)
	}
	if len(pages) == 1 {
		return
	}
	q.After = first.Last
	last := e.find(q)
	same(e, "the last page", idsOf(last.Versions), pages[len(pages)-1])
	if last.Next != "" || last.Last != "" {
		e.Fatalf("the last page has Next %q, Last %q", last.Next, last.Last)
	}
	q.Of = 0
	e.walkBack(q, last.Prev, pages)
}

func (e *env) walkBack(q store.Query, prev string, pages [][]string) {
	e.Helper()
	for i := len(pages) - 2; i >= 0; i-- {
		if prev == "" {
			e.Fatalf("page %d has no way back", i+1)
		}
		q.After = prev
		page := e.find(q)
		same(e, fmt.Sprintf("page %d of %d on the way back", i, len(pages)), idsOf(page.Versions), pages[i])
		if page.Next == "" {
			e.Fatalf("page %d has no next on the way back", i)
		}
		prev = page.Prev
	}
	if prev != "" {
		e.Fatalf("the first page has a Prev on the way back")
	}
}

func pageSort(e *env) {
	e.people()
	sorted := func(s ...store.Sort) store.Query { return store.Query{Types: []string{"B"}, Sort: s} }
	up := func(p string) store.Sort { return store.Sort{Param: p} }
	down := func(p string) store.Sort { return store.Sort{Param: p, Desc: true} }
	clock := store.Sort{Param: "date", Desc: true, Role: store.Clock}
	for _, c := range []struct {
		q    store.Query
		want string
	}{
		{sorted(up("date")), "6 1 4 3 2 5"},
		{sorted(down("date")), "2 3 4 1 6 5"},
		{sorted(clock), "2 3 4 1 6 5"},
		{sorted(up("value")), "3 1 2 4 5 6"},
		{sorted(down("value"), up("date")), "4 2 1 3 6 5"},
		{sorted(up("owner"), down("date")), "2 3 1 4 5 6"},
		{sorted(up("kind"), up("value")), "1 2 4 3 5 6"},
		{sorted(down("kind")), "6 5 4 3 2 1"},
		{sorted(up("nothing")), "1 2 3 4 5 6"},
		{sorted(down("_id")), "6 5 4 3 2 1"},
		{store.Query{Types: []string{"B"}, Where: isNamed("kind", "hr"), Sort: []store.Sort{clock}}, "4 6 5"},
		{store.Query{Types: []string{"A"}, Sort: []store.Sort{up("name")}}, "1 2 3 4"},
		{store.Query{Types: []string{"A"}, Sort: []store.Sort{down("name")}}, "3 2 1 4"},
	} {
		for _, count := range []int{1, 2, 3, 100} {
			c.q.Count = count
			same(e, fmt.Sprintf("%+v", c.q), e.walk(c.q), strings.Fields(c.want))
		}
	}
}

// dated puts n notes: two owners, three codes, a date that repeats, and of the
// first hundred every tenth without one.
func (e *env) dated(n int) {
	e.Helper()
	var ops []store.Op
	for i := range n {
		entries := []store.Entry{
			with(store.Anchor, link("owner", key("A", fmt.Sprint(i%2)))),
			with(store.Hot, code("kind", "s", fmt.Sprint("k", i%3), "")),
			text("name", fmt.Sprintf("name %d of a long common beginning %d", i%4, i)),
		}
		if i%10 != 9 || i >= 100 {
			entries = append(entries, with(store.Clock, span("date", int64(i*7%40), int64(i*7%40))))
		}
		ops = append(ops, put(key("N", fmt.Sprintf("%04d", i)), "n", entries...))
	}
	e.commit(ops...)
}

func pageThereAndBack(e *env) {
	e.dated(200)
	owned := store.And{anchor(is("owner", "A", "1")), hot(is("kind", "s", "k2"))}
	sorts := [][]store.Sort{nil, {{Param: "date", Desc: true, Role: store.Clock}}, {{Param: "date", Role: store.Clock}}, {{Param: "name"}}, {{Param: "kind", Desc: true}, {Param: "date"}}}
	for _, where := range []store.Expr{nil, owned, hot(isNamed("kind", "k0")), ahead("date", 20), store.Not{Of: owned}} {
		for _, sort := range sorts {
			q := store.Query{Types: []string{"N"}, Where: where, Sort: sort}
			want := e.ids(q)
			for _, count := range []int{7, 64} {
				q.Count = count
				same(e, fmt.Sprintf("%+v", q), e.walk(q), want)
			}
		}
	}
}

func pageCursor(e *env) {
	e.dated(20)
	q := store.Query{Types: []string{"N"}, Where: hot(isNamed("kind", "k1")), Count: 2}
	next := e.find(q).Next
	if next == "" {
		e.Fatalf("no next page")
	}
	others := []store.Query{
		{Types: []string{"N"}, Where: hot(isNamed("kind", "k2")), Count: 2},
		{Types: []string{"N"}, Where: hot(isNamed("kind", "k1")), Count: 2, Sort: []store.Sort{{Param: "date"}}},
		{Types: []string{"M"}, Where: hot(isNamed("kind", "k1")), Count: 2},
	}
	for _, other := range others {
		other.After = next
		_, err := e.store.Find(e.ctx, other)
		e.wants(err, store.ErrCursor)
	}
	for _, bad := range []string{"x", "AAAA", "%%%", next + "A", next[:len(next)-2], strings.Repeat("A", 5000), "\x00"} {
		q.After = bad
		_, err := e.store.Find(e.ctx, q)
		e.wants(err, store.ErrCursor)
	}
	middle := []byte(next)
	if middle[len(middle)/2]++; middle[len(middle)/2] > 'z' {
		middle[len(middle)/2] = 'a'
	}
	q.After = string(middle)
	_, err := e.store.Find(e.ctx, q)
	e.wants(err, store.ErrCursor)
}

// pageUnderWrites: between pages others write; what existed and was not touched
// comes exactly once, what is new does not come.
func pageUnderWrites(e *env) {
	for round, sort := range [][]store.Sort{nil, {{Param: "date", Desc: true, Role: store.Clock}}, {{Param: "name"}}} {
		e.dated(60)
		q := store.Query{Types: []string{"N"}, Sort: sort, Count: 7}
		all := e.ids(q)
		var seen []string
		for n := 0; ; n++ {
			page := e.find(q)
			seen = append(seen, idsOf(page.Versions)...)
			if page.Next == "" {
				break
			}
			q.After = page.Next
			e.commit(put(key("N", fmt.Sprint("new", round, "-", n)), "n", with(store.Clock, span("date", int64(n*5), int64(n*5))), text("name", "name 2 new")),
				put(key("N", all[n]), fmt.Sprint("gone and back", n)), remove(key("M", e.fresh(n, round))))
		}
		e.once(all, seen)
		for n := range 20 {
			if k := key("N", fmt.Sprint("new", round, "-", n)); e.lives(k) {
				e.commit(remove(k))
			}
		}
	}
}

// fresh makes a resource of another type and gives its id, to be deleted.
func (e *env) fresh(n, m int) string {
	e.Helper()
	id := fmt.Sprint(n, "-", m)
	e.put(key("M", id), "m")
	return id
}

func (e *env) lives(k store.Key) bool {
	_, err := e.store.Get(e.ctx, k)
	return err == nil
}

// once: rows that were changed while paging (the first ones) may have moved;
// all others are seen exactly once and no new one is.
func (e *env) once(all, seen []string) {
	e.Helper()
	for i, id := range all {
		n := 0
		for _, s := range seen {
			if s == id {
				n++
			}
		}
		if n != 1 && i > 12 {
			e.Fatalf("%s was seen %d times in %q", id, n, seen)
		}
	}
	for _, s := range seen {
		if !slices.Contains(all, s) {
			e.Fatalf("%s was written after the first page and seen", s)
		}
	}
}

// pageNewest: a page of the newest reads about as many entries as it has rows.
func pageNewest(e *env) {
	e.dated(900)
	for _, where := range []store.Expr{
		hot(is("kind", "s", "k1")),
		store.And{anchor(is("owner", "A", "1")), hot(isNamed("kind", "k1"))},
		anchor(is("owner", "A", "1")),
	} {
		q := store.Query{Types: []string{"N"}, Where: where, Sort: []store.Sort{{Param: "date", Desc: true, Role: store.Clock}}, Count: 10}
		page := e.find(q)
		limit := int64(60) // ten rows, and those without a date that must be known to come last
		if page.Explain.Examined > limit || len(page.Versions) != 10 {
			e.Fatalf("%d rows, examined %d, want at most %d: %+v", len(page.Versions), page.Explain.Examined, limit, page.Explain)
		}
	}
}

// pageManyValues: a resource with many values of the sort parameter comes once.
func pageManyValues(e *env) {
	var ops []store.Op
	for i := range 40 {
		ops = append(ops, put(key("N", fmt.Sprintf("%02d", i)), "n",
			span("date", int64(i), int64(i)), span("date", int64(100-i), int64(100-i)), span("date", int64(i), int64(1<<50)),
			text("name", fmt.Sprintf("zz%02d", i)), text("name", fmt.Sprintf("aa%02d bb cc", 50-i))))
	}
	e.commit(ops...)
	e.clock.move(time.Second)
	up := make([]string, 0, 40)
	for i := range 40 {
		up = append(up, fmt.Sprintf("%02d", i))
	}
	down := slices.Clone(up)
	slices.Reverse(down)
	for _, c := range []struct {
		sort store.Sort
		want []string
	}{{store.Sort{Param: "date"}, up}, {store.Sort{Param: "date", Desc: true}, up}, {store.Sort{Param: "name"}, down}, {store.Sort{Param: "name", Desc: true}, down}} {
		for _, where := range []store.Expr{nil, within("date", store.AtLeast, 0, 0), startsWith("name", "aa"), within("date", store.Greater, 10, 10)} {
			q := store.Query{Types: []string{"N"}, Where: where, Sort: []store.Sort{c.sort}, Count: 9}
			same(e, fmt.Sprintf("%+v", q), e.walk(q), c.want)
		}
	}
}

// pageBytes: a page ends where its bodies would be more than Bytes; one that is
// larger alone makes a page; nothing is lost there or on the way back.
func pageBytes(e *env) {
	var ops []store.Op
	var want []string
	for i := range 150 {
		id, size := fmt.Sprintf("%03d", i), 100
		if i%50 == 20 {
			size = 5000
		}
		want = append(want, id)
		ops = append(ops, put(key("N", id), strings.Repeat("x", size)))
	}
	e.commit(ops...)
	for _, c := range []struct{ bytes, count, pages int }{{1000, 100, 18}, {100_000, 100, 2}, {1, 100, 150}, {1000, 3, 54}, {0, 100, 2}} {
		for _, desc := range []bool{false, true} {
			q := store.Query{Types: []string{"N"}, Sort: []store.Sort{{Param: store.ParamID, Desc: desc}}, Count: c.count, Bytes: c.bytes}
			there, last := e.pages(q, c.bytes)
			ids := slices.Concat(there...)
			if desc {
				slices.Reverse(ids)
			}
			same(e, fmt.Sprintf("pages of %d bytes", c.bytes), ids, want)
			if len(there) != c.pages {
				e.Errorf("%d pages of %d and %d bytes, want %d", len(there), c.count, c.bytes, c.pages)
			}
			q.After = last
			back, _ := e.pages(q, c.bytes)
			slices.Reverse(back)
			same(e, "and back", slices.Concat(back...), slices.Concat(there[:len(there)-1]...))
		}
	}
}

// pages follows Next, or from a Prev on that; last is the last page's Prev.
func (e *env) pages(q store.Query, bytes int) (all [][]string, last string) {
	e.Helper()
	back := q.After != ""
	for {
		page := e.find(q)
		size := 0
		for _, v := range page.Versions {
			size += len(v.Raw)
		}
		if len(page.Versions) == 0 || bytes > 0 && size > bytes && len(page.Versions) > 1 || len(all) > 1000 {
			e.Fatalf("page %d has %d rows and %d bytes, want %d at most", len(all), len(page.Versions), size, bytes)
		}
		all, last = append(all, idsOf(page.Versions)), page.Prev
		if q.After = page.Next; back {
			q.After = page.Prev
		}
		if q.After == "" {
			return all, last
		}
	}
}
