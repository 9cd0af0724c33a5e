package storetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"candela/store"
)

// Random, a part of Run, runs random programs of commits and queries against the store and
// against a naive model: both must say the same. Each program has types of its
// own, so that one store serves all.
func Random(t *testing.T, open Opener) {
	e := newEnv(t, open)
	e.ctx = context.Background()
	var programs atomic.Int64
	rapid.Check(t, func(r *rapid.T) {
		n := programs.Add(1)
		p := program{env: e, r: r, model: model{}, types: []string{fmt.Sprint("P", n, "x"), fmt.Sprint("P", n, "y")}}
		for range rapid.IntRange(1, 4).Draw(r, "rounds") {
			for range rapid.IntRange(1, 5).Draw(r, "commits") {
				p.commit()
			}
			for range rapid.IntRange(1, 4).Draw(r, "queries") {
				p.query()
			}
		}
		p.history()
		p.former()
	})
}

// program is one run: what the model says the store must hold.
type program struct {
	*env
	r     *rapid.T
	model model
	types []string
	past  []store.Version
}

func (p *program) typ() string { return rapid.SampledFrom(p.types).Draw(p.r, "type") }

func (p *program) key() store.Key {
	return key(p.typ(), fmt.Sprint(rapid.IntRange(0, 9).Draw(p.r, "id")))
}

func (p *program) op() store.Op {
	op := store.Op{Key: p.key()}
	switch rapid.IntRange(0, 19).Draw(p.r, "action") {
	case 0, 1:
		op.Action = store.Delete
	case 2:
		op.Action = store.Create
	case 3:
		op.Action = store.Erase
	default:
		op.Action = store.Put
	}
	if op.Action == store.Create || op.Action == store.Put {
		op.Raw = []byte(fmt.Sprint("body ", rapid.IntRange(0, 30).Draw(p.r, "raw")))
		op.Entries = p.entries()
	}
	if op.Action != store.Create && rapid.IntRange(0, 15).Draw(p.r, "conditional") == 0 {
		op.IfMatch = rapid.Int64Range(-1, 3).Draw(p.r, "match")
	}
	return op
}

// commit does some ops on both sides and compares results or errors.
func (p *program) commit() {
	var ops []store.Op
	for range rapid.IntRange(1, 8).Draw(p.r, "ops") {
		op := p.op()
		twice := slices.ContainsFunc(ops, func(o store.Op) bool { return o.Key == op.Key })
		if !twice || rapid.IntRange(0, 30).Draw(p.r, "twice") == 0 {
			ops = append(ops, op)
		}
	}
	want, refused := p.model.commit(ops)
	p.clock.move(1_234_000)
	got, err := p.store.Commit(p.ctx, ops...)
	if refused != nil || err != nil {
		p.sameError(err, refused)
		return
	}
	for i := range want {
		w, g := want[i], got[i]
		if g.Key != w.Key || g.Number != w.Number || g.Created != w.Created || g.Unchanged != w.Unchanged {
			p.r.Fatalf("op %d of %+v\n gave %+v\n want %+v", i, ops, g, w)
		}
		p.model.done(g.Version, ops[i])
		switch {
		case g.Action == store.Erase:
			p.past = slices.DeleteFunc(p.past, func(v store.Version) bool { return v.Key == g.Key })
		case !g.Unchanged:
			v := g.Version
			v.Raw = ops[i].Raw
			p.past = append(p.past, v)
		}
	}
}

func (p *program) sameError(err error, want []error) {
	var at *store.OpError
	if !isOne(err, want) || !errors.As(err, &at) {
		p.r.Fatalf("commit: error %v, want %v", err, want)
	}
}

// query compares all pages of a random query, there and back, and the total.
func (p *program) query() {
	q := store.Query{Types: []string{p.typ()}, Where: p.expr(2), Sort: p.sorts()}
	if rapid.IntRange(0, 4).Draw(p.r, "both types") == 0 {
		q.Types = p.types
	}
	q.Count = rapid.IntRange(1, 12).Draw(p.r, "count")
	want := p.model.find(q)
	var pages [][]store.Key
	var got []store.Key
	prev := ""
	for page := p.page(q); ; page = p.page(q) {
		pages = append(pages, keysOf(page.Versions))
		got = append(got, keysOf(page.Versions)...)
		prev = page.Prev
		if q.After = page.Next; q.After == "" || len(got) > len(want) {
			break
		}
	}
	p.sameKeys(q, "forward", got, want)
	for i := len(pages) - 2; i >= 0; i-- {
		q.After = prev
		page := p.page(q)
		p.sameKeys(q, "backward", keysOf(page.Versions), pages[i])
		prev = page.Prev
	}
	if prev != "" {
		p.r.Fatalf("%s: the first page has a page before it", show(q))
	}
	q.After, q.Count, q.Total = "", 0, true
	if page := p.page(q); page.Total != int64(len(want)) {
		p.r.Fatalf("%s: total %d, want %d", show(q), page.Total, len(want))
	}
}

func (p *program) page(q store.Query) store.Page {
	page, err := p.store.Find(p.ctx, q)
	if err != nil {
		p.r.Fatalf("%s: %v", show(q), err)
	}
	return page
}

func (p *program) sameKeys(q store.Query, what string, got, want []store.Key) {
	if fmt.Sprint(got) != fmt.Sprint(want) {
		p.r.Fatalf("%s, %s:\n got %v\nwant %v\n%s", what, show(q), got, want, p.model)
	}
}

// history compares what both know of the past.
func (p *program) history() {
	for _, typ := range p.types {
		want := newest(p.past, func(v store.Version) bool { return v.Key.Type == typ })
		page, err := p.store.History(p.ctx, store.Span{Key: key(typ, ""), Count: len(want) + 1})
		if err != nil {
			p.r.Fatalf("history: %v", err)
		}
		if got := lines(page.Versions); fmt.Sprint(got) != fmt.Sprint(want) {
			p.r.Fatalf("history of %s:\n got %q\nwant %q", typ, got, want)
		}
	}
}

// former compares, for every owner there can be, what once belonged to it.
func (p *program) former() {
	for _, typ := range p.types {
		for id := range 10 {
			owner := key(typ, fmt.Sprint(id))
			must, may := p.model.former(owner)
			seen := map[string]bool{}
			for k, err := range p.store.Former(p.ctx, owner) {
				if err != nil || seen[k.String()] || !slices.Contains(may, k.String()) {
					p.r.Fatalf("former of %v: %v (%v), want once each of %q", owner, k, err, may)
				}
				seen[k.String()] = true
			}
			for _, k := range must {
				if !seen[k] {
					p.r.Fatalf("former of %v misses %s, has %v", owner, k, seen)
				}
			}
		}
	}
}

func keysOf(versions []store.Version) []store.Key {
	out := make([]store.Key, 0, len(versions))
	for _, v := range versions {
		out = append(out, v.Key)
	}
	return out
}

// show prints a query so that a failing one can be read.
func show(q store.Query) string {
	return fmt.Sprintf("types %v count %d sort %+v where %#v", q.Types, q.Count, q.Sort, q.Where)
}

// params are the parameters of random programs: one kind of value each.
var params = [...]string{"code", "status", "owner", "other", "site", "name", "date", "when", "amount", "pair", "spot"}

func (p *program) entries() []store.Entry {
	var out []store.Entry
	for _, param := range params {
		n := rapid.IntRange(0, 2).Draw(p.r, param)
		for range n {
			out = append(out, p.entry(param))
		}
	}
	return out
}

func (p *program) pick(from ...string) string { return rapid.SampledFrom(from).Draw(p.r, "pick") }

func (p *program) entry(param string) store.Entry {
	switch param {
	case "code", "status":
		return with(store.Hot, code(param, p.pick("", "s", "t"), p.pick("a", "b", "c"), p.pick("", "One", "Two Three")))
	case "owner":
		return with(store.Anchor, link(param, p.key()))
	case "other":
		e := link(param, p.key())
		e.Text = p.pick("", "1", "1.2", "10")
		return e
	case "site":
		return uri(param, p.path())
	case "name":
		return text(param, p.pick("Ann", "Bo Ann", "ann-marie O'Neil", "", "a very long text that is cut somewhere", "a very long text that is cut elsewhere", "Ünal ünal"))
	case "date":
		return with(store.Clock, p.span(param))
	case "pair":
		return tuple(param, word("", p.pick("a", "b")), p.span(""))
	case "spot":
		return place(param, p.degrees(), p.degrees())
	}
	e := p.span(param)
	if param == "amount" && rapid.Bool().Draw(p.r, "based") {
		e.Parts = []store.Value{p.span("").Value}
	}
	return e
}

func (p *program) path() string {
	return p.pick("http://x/a", "http://x/a/b", "http://x/ab", "https://x/a", "urn:oid:1.2", "")
}

func (p *program) degrees() float64 {
	return float64(rapid.IntRange(-3, 3).Draw(p.r, "degrees")) / 10
}

// span is a range: a point, a short one, one wider than any index allows for
// cheaply, or one without an end.
func (p *program) span(param string) store.Entry {
	lo := rapid.Int64Range(0, 6).Draw(p.r, "lo") * rapid.SampledFrom([]int64{1, 1 << 38}).Draw(p.r, "scale")
	wide := rapid.SampledFrom([]int64{0, 0, 2, 1 << 37, 1 << 40, math.MaxInt64 / 2}).Draw(p.r, "wide")
	e := span(param, lo, lo+wide)
	switch rapid.IntRange(0, 14).Draw(p.r, "ends") {
	case 0:
		e.Lo = nil
	case 1:
		e.Hi = nil
	case 2:
		e.Lo = append(e.Lo, byte(lo))
		e.Hi = append(e.Hi, 0xff)
	}
	e.Space, e.Name = p.pick("", "u"), p.pick("", "m")
	return e
}

// expr draws an expression of at most this depth.
func (p *program) expr(depth int) store.Expr {
	n := rapid.IntRange(-1, 9).Draw(p.r, "node")
	if depth == 0 {
		n = 9
	}
	switch n {
	case -1:
		k := p.key()
		return store.Tree{Param: p.pick("owner", "other"), Type: k.Type, ID: k.ID, Up: "other", Above: rapid.Bool().Draw(p.r, "above"), Of: p.expr(depth - 1)}
	case 0:
		return store.Not{Of: p.expr(depth - 1)}
	case 1:
		return store.Or(p.exprs(depth))
	case 2:
		return store.Via{Param: p.pick("owner", "other"), Type: p.typ(), Of: p.expr(depth - 1)}
	case 3:
		return store.Has{Param: p.pick("owner", "other"), Type: p.typ(), Of: p.expr(depth - 1)}
	case 4, 5, 6:
		return store.And(p.exprs(depth))
	case 7:
		return nil
	}
	return p.test(rapid.SampledFrom(append(params[:], "_id", "_lastUpdated")).Draw(p.r, "param"))
}

func (p *program) exprs(depth int) (out []store.Expr) {
	for range rapid.IntRange(0, 3).Draw(p.r, "parts") {
		out = append(out, p.expr(depth-1))
	}
	return out
}

func (p *program) test(param string) store.Test {
	t := store.Test{Param: param}
	t.Cond = p.cond(param)
	switch param {
	case "code", "status":
		t.Role = store.Hot
	case "owner":
		t.Role = store.Anchor
	case "date":
		t.Role = store.Clock
	}
	return t
}

func (p *program) how(of ...store.How) store.How { return rapid.SampledFrom(of).Draw(p.r, "how") }

func (p *program) cond(param string) store.Cond {
	switch param {
	case "code", "status":
		return store.Cond{How: p.how(store.Is, store.Named, store.Within, store.Starts, store.Present, store.Whole, store.Leads, store.Ends), Space: p.pick("", "s"), Name: p.pick("a", "b", "z"), Text: p.pick("on", "t")}
	case "owner", "other", "_id":
		k := p.key()
		return store.Cond{How: p.how(store.Is, store.Is, store.Named, store.Within, store.Present, store.Versioned), Space: k.Type, Name: k.ID, Text: p.pick("", "", "1")}
	case "site":
		return store.Cond{How: p.how(store.Is, store.Starts, store.Above, store.Present), Name: p.path()}
	case "name":
		s := p.pick("a", "ann", "o'n", "a very long text that is cut some", "bo", "", "ün")
		return store.Cond{How: p.how(store.Starts, store.Starts, store.Contains, store.Exactly, store.Present, store.Whole, store.Leads, store.Ends), Text: s, Raw: s}
	case "pair":
		return store.Cond{How: store.All, Parts: []store.Cond{{How: p.how(store.Named, store.Is), Name: p.pick("a", "b")}, p.rangeCond()}}
	case "spot":
		return store.Cond{How: store.Near, Lo: store.OrderedFloat(p.degrees()), Hi: store.OrderedFloat(p.degrees()), Radius: float64(rapid.SampledFrom([]int{0, 12_000, 40_000, 1 << 40}).Draw(p.r, "radius"))}
	case store.ParamUpdated:
		c := p.rangeCond()
		at := store.OrderedTime(p.clock.now())
		c.Lo, c.Hi = at, at
		return c
	}
	return p.rangeCond()
}

func (p *program) rangeCond() store.Cond {
	v := p.span("")
	c := store.Cond{Lo: v.Lo, Hi: v.Hi, HiOpen: rapid.Bool().Draw(p.r, "open")}
	c.How = store.How(rapid.IntRange(int(store.Inside), int(store.Before)).Draw(p.r, "range how"))
	c.Unit = rapid.SampledFrom([]store.Unit{0, 0, 0, store.UnitIs, store.UnitName, store.UnitBase}).Draw(p.r, "unit")
	c.Space, c.Name = v.Space, v.Name
	return c
}

func (p *program) sorts() (out []store.Sort) {
	for range rapid.IntRange(0, 2).Draw(p.r, "sorts") {
		s := store.Sort{Param: rapid.SampledFrom(append(params[:], "_id", "_lastUpdated")).Draw(p.r, "sort"), Desc: rapid.Bool().Draw(p.r, "desc")}
		if s.Param == "date" {
			s.Role = store.Clock
		}
		out = append(out, s)
	}
	return out
}
