// Package storetest is the contract of store.Store as tests: a backend is done
// when Run passes on it, not before.
//
// It knows the store's vocabulary and a naive model of it. It must not know any
// backend: there is no case for one that cannot.
package storetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"candela/store"
)

// Opener opens the store that lives in dir, with now as its clock, and fails
// the test when it cannot. dir is a fresh empty folder for each new store;
// opening the same dir again after Close is a reopen and must find everything.
// A backend without a folder of its own derives a name from dir. Opener may
// register clean-up with t; Run closes what it opens.
type Opener func(t *testing.T, dir string, now func() time.Time) store.Store

// Run holds a backend to the whole contract.
func Run(t *testing.T, open Opener) {
	for _, suite := range []struct {
		name string
		run  func(*testing.T, Opener)
	}{
		{"CRUD", testCRUD},
		{"Commit", testCommit},
		{"Query", testQuery},
		{"Page", testPage},
		{"History", testHistory},
		{"Changes", testChanges},
		{"Erase", testErase},
		{"KV", testKV},
		{"Race", testRace},
		{"Reopen", testReopen},
		{"Random", Random},
	} {
		t.Run(suite.name, func(t *testing.T) { suite.run(t, open) })
	}
}

// steps runs named tests, each on a fresh store.
func steps(t *testing.T, open Opener, tests map[string]func(*env)) {
	names := make([]string, 0, len(tests))
	for name := range tests {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		t.Run(name, func(t *testing.T) { tests[name](newEnv(t, open)) })
	}
}

// clock is the injected time: it stands still until told to move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// env is one test's store and clock.
type env struct {
	*testing.T
	ctx   context.Context
	clock *clock
	open  Opener
	dir   string
	store store.Store
}

func newEnv(t *testing.T, open Opener) *env {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	c := &clock{at: time.Date(2024, 2, 29, 23, 59, 58, 123_000_000, time.UTC)}
	e := &env{T: t, ctx: ctx, clock: c, open: open, dir: t.TempDir()}
	e.store = open(t, e.dir, c.now)
	t.Cleanup(func() { _ = e.store.Close() }) // closed already where a test closes
	return e
}

// reopen closes the store and opens it again.
func (e *env) reopen() {
	e.Helper()
	e.ok(e.store.Close())
	e.store = e.open(e.T, e.dir, e.clock.now)
}

func (e *env) ok(err error) {
	e.Helper()
	if err != nil {
		e.Fatalf("unexpected error: %v", err)
	}
}

func (e *env) wants(err, target error) {
	e.Helper()
	if !errors.Is(err, target) {
		e.Fatalf("error is %v, want %v", err, target)
	}
}

// commit does ops a second after what was before.
func (e *env) commit(ops ...store.Op) []store.Result {
	e.Helper()
	e.clock.move(time.Second)
	results, err := e.store.Commit(e.ctx, ops...)
	e.ok(err)
	if len(results) != len(ops) {
		e.Fatalf("%d results for %d ops", len(results), len(ops))
	}
	return results
}

func (e *env) put(k store.Key, raw string, entries ...store.Entry) store.Result {
	e.Helper()
	return e.commit(put(k, raw, entries...))[0]
}

func (e *env) find(q store.Query) store.Page {
	e.Helper()
	page, err := e.store.Find(e.ctx, q)
	e.ok(err)
	return page
}

// ids finds all ids of q in order, in one page.
func (e *env) ids(q store.Query) []string {
	e.Helper()
	q.Count = 10_000
	return idsOf(e.find(q).Versions)
}

// same fails unless got is exactly want.
func same(e *env, what string, got, want []string) {
	e.Helper()
	if !slices.Equal(got, want) {
		e.Fatalf("%s:\n got %q\nwant %q", what, got, want)
	}
}

func idsOf(versions []store.Version) []string {
	ids := make([]string, 0, len(versions))
	for i := range versions {
		ids = append(ids, versions[i].Key.ID)
	}
	return ids
}

func key(typ, id string) store.Key { return store.Key{Type: typ, ID: id} }

func put(k store.Key, raw string, entries ...store.Entry) store.Op {
	return store.Op{Action: store.Put, Key: k, Raw: []byte(raw), Entries: entries}
}

func remove(k store.Key) store.Op { return store.Op{Action: store.Delete, Key: k} }

// Entries and conditions, as short as a table of tests needs them.

func code(param, space, name, display string) store.Entry {
	return store.Entry{Param: param, Value: store.Value{Kind: store.Code, Space: space, Name: name, Text: fold(display), Raw: display}}
}

func word(param, name string) store.Entry { return code(param, "", name, "") }

func link(param string, to store.Key) store.Entry {
	return store.Entry{Param: param, Value: store.Value{Kind: store.Link, Space: to.Type, Name: to.ID}}
}

func uri(param, name string) store.Entry {
	return store.Entry{Param: param, Value: store.Value{Kind: store.URI, Name: name}}
}

func text(param, raw string) store.Entry {
	return store.Entry{Param: param, Value: store.Value{Kind: store.Text, Text: fold(raw), Raw: raw}}
}

func span(param string, lo, hi int64) store.Entry {
	return store.Entry{Param: param, Value: store.Value{Kind: store.Range, Lo: store.OrderedInt(lo), Hi: store.OrderedInt(hi)}}
}

func amount(param string, v float64, space, unit string) store.Entry {
	b := store.OrderedFloat(v)
	return store.Entry{Param: param, Value: store.Value{Kind: store.Range, Lo: b, Hi: b, Space: space, Name: unit, Text: unit}}
}

// based gives an amount its form in the base unit m.
func based(e store.Entry, v float64) store.Entry {
	e.Parts = []store.Value{{Kind: store.Range, Name: "m", Lo: store.OrderedFloat(v), Hi: store.OrderedFloat(v)}}
	return e
}

func tuple(param string, parts ...store.Entry) store.Entry {
	e := store.Entry{Param: param, Value: store.Value{Kind: store.Tuple}}
	for _, p := range parts {
		e.Parts = append(e.Parts, p.Value)
	}
	return e
}

func place(param string, lat, lon float64) store.Entry {
	return store.Entry{Param: param, Value: store.Value{Kind: store.Place, Lo: store.OrderedFloat(lat), Hi: store.OrderedFloat(lon)}}
}

func with(role store.Role, e store.Entry) store.Entry {
	e.Role = role
	return e
}

// fold is what these tests take for folding: ASCII lower case.
func fold(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func test(param string, c store.Cond) store.Test { return store.Test{Param: param, Cond: c} }

func is(param, space, name string) store.Test {
	return test(param, store.Cond{How: store.Is, Space: space, Name: name})
}

func isNamed(param, name string) store.Test {
	return test(param, store.Cond{How: store.Named, Name: name})
}

func startsWith(param, s string) store.Test {
	return test(param, store.Cond{How: store.Starts, Text: fold(s)})
}

func within(param string, how store.How, lo, hi int64) store.Test {
	return test(param, store.Cond{How: how, Lo: store.OrderedInt(lo), Hi: store.OrderedInt(hi)})
}

func hot(t store.Test) store.Test {
	t.Role = store.Hot
	return t
}

func anchor(t store.Test) store.Test {
	t.Role = store.Anchor
	return t
}

// named asks one type for one code.
func named(typ, param, name string) store.Query {
	return store.Query{Types: []string{typ}, Where: isNamed(param, name)}
}

// ahead asks for what starts or lies at or behind lo.
func ahead(param string, lo int64) store.Test {
	t := test(param, store.Cond{How: store.AtLeast, Lo: store.OrderedInt(lo), Hi: store.OrderedInt(lo)})
	t.Role = store.Clock
	return t
}
