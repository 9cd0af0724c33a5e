package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"candela/cmd/app"
	"candela/fhir"
	"candela/fhir/search"
	"candela/store"
)

// ownBase is the base of the servers of random worlds; the same on both stores.
const ownBase = "http://us.example/fhir"

// step is one write of a world: a resource put, or deleted where raw is empty.
// Steps of one commit go in as one transaction.
type step struct {
	commit int
	key    string // Type/id
	raw    string
}

// thing is a live resource as the naive matcher sees it.
type thing struct {
	key     store.Key
	raw     string
	entries []store.Entry
}

// world is a set of resources, in the order in which they were first written,
// and what search knows of them.
type world struct {
	steps    []step
	things   []*thing
	registry *search.Registry
	values   map[string]map[string][]store.Value // type, parameter -> values that occur
	now      time.Time
	broken   error // an expression that the naive matcher does not know
}

// clockOf is when a commit happens; searches come after the last one.
func clockOf(commit int) time.Time {
	return time.Date(2024, 2, 28, 22, 15, 30, 250e6, time.UTC).Add(time.Duration(commit) * 7 * time.Hour)
}

// newWorld indexes steps naively: the last state of every key that is not deleted.
func newWorld(t *testing.T, registry *search.Registry, steps []step) *world {
	t.Helper()
	w := &world{steps: steps, registry: registry, values: map[string]map[string][]store.Value{}, now: clockOf(100)}
	last, order := map[string]step{}, []string{}
	for _, s := range steps {
		before, known := last[s.key]
		if !known && s.raw != "" {
			order = append(order, s.key)
		}
		if s.raw != before.raw { // what changes nothing makes no version
			last[s.key] = s
		}
	}
	for _, key := range order {
		if s := last[key]; s.raw != "" {
			w.add(t, s)
		}
	}
	return w
}

func (w *world) add(t *testing.T, s step) {
	t.Helper()
	res, err := fhir.ParseResource([]byte(s.raw), fhir.DefaultLimits())
	if err != nil {
		t.Fatalf("%s: %v", s.raw, err)
	}
	entries, err := w.registry.Entries(res)
	if err != nil {
		t.Fatalf("%s: %v", s.raw, err)
	}
	typ, id, _ := strings.Cut(s.key, "/")
	key := store.Key{Type: typ, ID: id}
	entries = append(entries, store.Builtin(key, clockOf(s.commit))...)
	w.things = append(w.things, &thing{key, s.raw, entries})
	if w.values[typ] == nil {
		w.values[typ] = map[string][]store.Value{}
	}
	for _, e := range entries {
		w.values[typ][e.Param] = append(w.values[typ][e.Param], e.Value)
	}
}

// answer is what a search must give, and how R4 search reads it: every resource
// tested one by one, chains followed by looking at every other.
func (w *world) answer(p program) (keys []string, err error) {
	s, err := w.parse(p)
	if err != nil {
		return nil, err
	}
	where := s.Query.Where
	if p.owner != "" {
		where = store.And{w.registry.Compartment(fhir.ParseReference(p.owner), p.typ), where}
	}
	var found []*thing
	for _, one := range w.things {
		if slices.Contains(s.Query.Types, one.key.Type) && w.holds(where, one) {
			found = append(found, one)
		}
	}
	sorts := s.Query.Sort
	if len(sorts) > 0 && sorts[0].Desc {
		slices.Reverse(found)
	}
	slices.SortStableFunc(found, func(a, b *thing) int { return compareThings(sorts, a, b) })
	for _, one := range found {
		keys = append(keys, one.key.String())
	}
	return keys, w.broken
}

// parse reads a program, or gives the refusal that it must meet.
func (w *world) parse(p program) (search.Search, error) {
	s, err := w.registry.Parse(p.types(), p.params, search.Options{Now: w.now})
	switch {
	case err != nil:
		return s, err
	case len(s.Warnings) > 0:
		return s, fhir.Errorf(400, fhir.CodeNotSupported, "%s", s.Warnings[0].Diagnostics)
	case w.ambiguous(s.Bare):
		return s, fhir.Errorf(400, fhir.CodeMultiple, "an id without its type is that of several resources")
	}
	return s, nil
}

// compareThings sorts as R4 says: by the first value in the direction asked
// for, what has none last.
func compareThings(sorts []store.Sort, a, b *thing) int {
	for _, s := range sorts {
		x, hasX := s.Value(a.entries)
		y, hasY := s.Value(b.entries)
		switch {
		case hasX != hasY && hasX:
			return -1
		case hasX != hasY:
			return 1
		case x != y && s.Desc:
			return strings.Compare(y, x)
		case x != y:
			return strings.Compare(x, y)
		}
	}
	return 0
}

func (w *world) holds(x store.Expr, one *thing) bool {
	switch x := x.(type) {
	case nil:
		return true
	case store.And:
		return !slices.ContainsFunc(x, func(part store.Expr) bool { return !w.holds(part, one) })
	case store.Or:
		return slices.ContainsFunc(x, func(part store.Expr) bool { return w.holds(part, one) })
	case store.Not:
		return !w.holds(x.Of, one)
	case store.Via:
		return slices.ContainsFunc(w.things, func(to *thing) bool {
			return to.key.Type == x.Type && one.pointsTo(x.Param, to.key) && w.holds(x.Of, to)
		})
	case store.Has:
		return slices.ContainsFunc(w.things, func(from *thing) bool {
			return from.key.Type == x.Type && from.pointsTo(x.Param, one.key) && w.holds(x.Of, from)
		})
	case store.Tree:
		return slices.ContainsFunc(w.tree(x), func(to store.Key) bool { return one.pointsTo(x.Param, to) })
	}
	ok, err := store.Holds(x, one.entries)
	if err != nil {
		w.broken = err
	}
	return ok
}

// tree is what a hierarchy reaches: whatever one more step finds, until nothing
// new comes.
func (w *world) tree(x store.Tree) []store.Key {
	reached := []store.Key{{Type: x.Type, ID: x.ID}}
	for before := 0; before < len(reached); {
		before = len(reached)
		for _, from := range w.things {
			if from.key.Type != x.Type || !w.holds(x.Of, from) {
				continue
			}
			for _, e := range from.entries {
				to := store.Key{Type: e.Space, ID: e.Name}
				if e.Param != x.Up || to.Type != x.Type {
					continue
				}
				start, end := to, from.key
				if x.Above {
					start, end = end, start
				}
				if slices.Contains(reached, start) && !slices.Contains(reached, end) {
					reached = append(reached, end)
				}
			}
		}
	}
	return reached
}

// ambiguous says whether one of the ids without a type is that of two living
// resources: such a search is refused (item 63).
func (w *world) ambiguous(bare []search.Bare) bool {
	return slices.ContainsFunc(bare, func(b search.Bare) bool {
		alive := 0
		for _, one := range w.things {
			if one.key.ID == b.ID && slices.Contains(b.Types, one.key.Type) {
				alive++
			}
		}
		return alive > 1
	})
}

func (one *thing) pointsTo(param string, to store.Key) bool {
	return slices.ContainsFunc(one.entries, func(e store.Entry) bool {
		return e.Param == param && e.Kind == store.Link && e.Space == to.Type && e.Name == to.ID
	})
}

// door is a server in this process, loaded with a world.
type door struct {
	fhir.Doer
	name string
}

// open loads a world into a fresh server on a store.
func (w *world) open(t *testing.T, name, address string) door {
	t.Helper()
	var now atomic.Pointer[time.Time]
	c := testConfig(address)
	c.Base, c.Relaxed = ownBase, true
	c.Now = func() time.Time { return *now.Load() }
	first := clockOf(0)
	now.Store(&first)
	a, err := app.Open(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	d := door{a.Door, name}
	for from := 0; from < len(w.steps); {
		to := from
		for to < len(w.steps) && w.steps[to].commit == w.steps[from].commit {
			to++
		}
		at := clockOf(w.steps[from].commit)
		now.Store(&at)
		d.commit(t, w.steps[from:to])
		from = to
	}
	now.Store(&w.now)
	return d
}

// commit writes steps as one transaction.
func (d door) commit(t *testing.T, steps []step) {
	t.Helper()
	var entries []string
	for _, s := range steps {
		if s.raw == "" {
			entries = append(entries, fmt.Sprintf(`{"request":{"method":"DELETE","url":%q}}`, s.key))
			continue
		}
		entries = append(entries, fmt.Sprintf(`{"resource":%s,"request":{"method":"PUT","url":%q}}`, s.raw, s.key))
	}
	raw := `{"resourceType":"Bundle","type":"transaction","entry":[` + strings.Join(entries, ",") + `]}`
	bundle, err := fhir.ParseResource([]byte(raw), fhir.BundleLimits())
	if err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	r := fhir.Request{Interaction: fhir.Batch, Resource: bundle, Base: ownBase, Caller: fhir.Caller{Access: fhir.Full()}}
	if _, err := d.Do(context.Background(), r); err != nil {
		text, _ := json.Marshal(err)
		t.Fatalf("%s: loading the world: %v %s", d.name, err, text)
	}
}

// dice draws; the same seed draws the same.
type dice struct{ *rand.Rand }

func throw(seed uint64) dice { return dice{rand.New(rand.NewPCG(seed, 0x5eed))} }

func (d dice) in(hundred int) bool { return d.IntN(100) < hundred }

func (d dice) of(list ...string) string { return list[d.IntN(len(list))] }

// some is text in so many of a hundred cases, else nothing.
func (d dice) some(hundred int, text string) string {
	if d.in(hundred) {
		return text
	}
	return ""
}

// object is a JSON object of the members that are there.
func object(members ...string) string {
	return "{" + strings.Join(slices.DeleteFunc(members, func(m string) bool { return m == "" }), ",") + "}"
}

// randomSteps are the writes of one world: resources of every kind, then some
// of them written again, deleted, and brought back.
func randomSteps(d dice, size int) []step {
	var steps []step
	for i := range size {
		steps = append(steps, d.put(i/(size/3+1), fmt.Sprint(1+d.IntN(9))))
	}
	slices.SortStableFunc(steps, func(a, b step) int { return a.commit - b.commit })
	for commit := 3; commit < 6; commit++ {
		for range size / 12 {
			old := steps[d.IntN(len(steps))]
			typ, id, _ := strings.Cut(old.key, "/")
			again := step{commit: commit, key: old.key}
			if d.in(60) {
				again.raw = d.resource(typ, id)
			}
			steps = append(steps, again)
		}
	}
	return once(steps)
}

// once leaves, of several writes of one key in one commit, the last; a commit
// may not write a key twice, nor delete what was never there.
func once(steps []step) []step {
	var out []step
	for i, s := range steps {
		same := func(o step) bool { return o.key == s.key }
		later := slices.ContainsFunc(steps[i+1:], func(o step) bool { return o.commit == s.commit && same(o) })
		if !later && (s.raw != "" || slices.ContainsFunc(out, same)) {
			out = append(out, s)
		}
	}
	return out
}
