package sets_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"candela/store"
	"candela/store/embedded/sets"
	"candela/store/plan"
)

// shelf is a store of lists whose snapshots are copies.
type shelf struct {
	mu    sync.Mutex
	lists map[uint64]map[store.RID]bool
	top   store.RID
	reads int
	fault error
	work  sync.WaitGroup
}

func newShelf() *shelf { return &shelf{lists: map[uint64]map[store.RID]bool{}} }

func (s *shelf) set(hash uint64, rid store.RID, in bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lists[hash] == nil {
		s.lists[hash] = map[store.RID]bool{}
	}
	if in {
		s.lists[hash][rid] = true
	} else {
		delete(s.lists[hash], rid)
	}
	s.top = max(s.top, rid)
}

type snapshot struct {
	s     *shelf
	lists map[uint64][]uint64
	top   store.RID
}

func (s *shelf) snapshot() *snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := &snapshot{s: s, lists: map[uint64][]uint64{}, top: s.top}
	for hash, list := range s.lists {
		for rid := range list {
			v.lists[hash] = append(v.lists[hash], uint64(rid))
		}
		slices.Sort(v.lists[hash])
	}
	return v
}

func (s *shelf) Fresh(context.Context) (sets.Reader, func() error, error) {
	return s.snapshot(), func() error { return nil }, s.fault
}

func (s *shelf) Later(work func(ctx context.Context)) {
	s.work.Go(func() { work(context.Background()) })
}

func (v *snapshot) Top() store.RID { return v.top }

func (v *snapshot) Cost(_ context.Context, leaf *plan.Formula) (int64, error) {
	return int64(len(v.lists[leaf.Hash])), nil
}

func (v *snapshot) Read(_ context.Context, leaf *plan.Formula, from, to store.RID, add func([]uint64)) error {
	v.s.mu.Lock()
	v.s.reads++
	v.s.mu.Unlock()
	for _, rid := range v.lists[leaf.Hash] {
		if from <= store.RID(rid) && store.RID(rid) <= to {
			add([]uint64{rid})
		}
	}
	return nil
}

func list(hash uint64) plan.Formula { return plan.Formula{Op: plan.List, Hash: hash} }

func every(parts ...plan.Formula) *plan.Formula { return &plan.Formula{Op: plan.EveryOf, Of: parts} }

func all(s plan.Set) []store.RID {
	return s.Take(make([]store.RID, 0, s.Len(^store.RID(0))+1), 0, false)
}

// hall has n records: list 1 all, list 2 the even ones, list 3 the multiples of 1,000.
func hall(n store.RID) *shelf {
	s := newShelf()
	for rid := store.RID(1); rid <= n; rid++ {
		s.set(1, rid, true)
		s.set(2, rid, rid%2 == 0)
		s.set(3, rid, rid%1000 == 0)
	}
	return s
}

const enough = 1 << 40

func match(t *testing.T, k *sets.Keeper, s *shelf, m sets.Mark, f *plan.Formula) plan.Match {
	t.Helper()
	found, ok, err := k.Match(t.Context(), s, s.snapshot(), m, f, enough)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	return found
}

// TestFormulas: the operations are those of sets, on kept lists and on short ones.
func TestFormulas(t *testing.T) {
	s, k := hall(20_000), sets.New(1<<20)
	for name, c := range map[string]struct {
		f    *plan.Formula
		want int64
	}{
		"list":     {&plan.Formula{Op: plan.List, Hash: 2}, 10_000},
		"short":    {&plan.Formula{Op: plan.List, Hash: 3}, 20},
		"none":     {&plan.Formula{Op: plan.List, Hash: 9}, 0},
		"every":    {every(list(1), list(2), list(3)), 20},
		"some":     {&plan.Formula{Op: plan.SomeOf, Of: []plan.Formula{list(2), list(3)}}, 10_000},
		"no part":  {&plan.Formula{Op: plan.SomeOf}, 0},
		"firstbut": {&plan.Formula{Op: plan.FirstBut, Of: []plan.Formula{list(1), list(2), list(3)}}, 10_000},
		"nested":   {every(list(2), plan.Formula{Op: plan.FirstBut, Of: []plan.Formula{list(1), list(3)}}), 9_980},
	} {
		for range 2 {
			m := match(t, k, s, k.Mark(), c.f)
			if n := m.Set.Len(^store.RID(0)); n != c.want || len(m.Unsure) != 0 {
				t.Errorf("%s: %d, unsure %v, want %d", name, n, m.Unsure, c.want)
			}
		}
	}
	if kept, size := k.Kept(); kept != 2 || size < 1000 {
		t.Errorf("%d lists in %d bytes are kept", kept, size)
	}
}

// TestTake: parts of a set upwards and downwards are its members in order.
func TestTake(t *testing.T) {
	s, k := hall(20_000), sets.New(1<<20)
	set := match(t, k, s, k.Mark(), &plan.Formula{Op: plan.List, Hash: 2}).Set
	for _, c := range []struct {
		from store.RID
		desc bool
		want []store.RID
	}{{0, false, []store.RID{2, 4, 6}}, {5, false, []store.RID{6, 8, 10}}, {19_999, false, []store.RID{20_000}}, {20_001, false, nil},
		{^store.RID(0), true, []store.RID{20_000, 19_998, 19_996}}, {5, true, []store.RID{4, 2}}, {2, true, []store.RID{2}}, {1, true, nil}, {0, true, nil}} {
		if got := set.Take(make([]store.RID, 0, 3), c.from, c.desc); !slices.Equal(got, c.want) {
			t.Errorf("from %d (downwards %v): %v, want %v", c.from, c.desc, got, c.want)
		}
	}
	if n := set.Len(101); n != 50 {
		t.Errorf("%d up to 101", n)
	}
}

// TestUnsure: what commits change after a snapshot, or during it, is left to be looked at.
func TestUnsure(t *testing.T) {
	s, k := hall(20_000), sets.New(1<<20)
	f := every(list(1), list(2))
	open := k.Begin([]store.RID{4})
	mark, before := k.Mark(), s.snapshot()
	later := k.Begin([]store.RID{6, 30_000})
	s.set(2, 6, false)
	k.End(later, func(_ bool, changed func(uint64, store.RID, bool)) { changed(2, 6, true) })
	m, ok, err := k.Match(t.Context(), s, before, mark, f, enough)
	if err != nil || !ok || !slices.Equal(m.Unsure, []store.RID{4, 6}) || m.Set.Len(10) != 3 {
		t.Fatalf("%v %v: unsure %v, %d up to 10", ok, err, m.Unsure, m.Set.Len(10))
	}
	k.End(open, func(bool, func(uint64, store.RID, bool)) {})
	if m := match(t, k, s, k.Mark(), f); len(m.Unsure) != 0 || m.Set.Len(10) != 4 {
		t.Errorf("when all is done: unsure %v, %v", m.Unsure, all(m.Set)[:5])
	}
}

// TestTooMuchUnderWay: a snapshot with too many changes behind it is not answered.
func TestTooMuchUnderWay(t *testing.T) {
	s, k := hall(20_000), sets.New(1<<20)
	f := every(list(1), list(2))
	match(t, k, s, k.Mark(), f)
	stray, mark, before := k.Begin([]store.RID{1}), k.Mark(), s.snapshot()
	rids := make([]store.RID, 5000)
	for i := range rids {
		rids[i] = store.RID(i + 1)
	}
	for range 20 {
		k.End(k.Begin(rids), func(bool, func(uint64, store.RID, bool)) {})
	}
	if _, ok, err := k.Match(t.Context(), s, before, mark, f, enough); ok || err != nil {
		t.Errorf("old snapshot: %v %v", ok, err)
	}
	if _, ok, err := k.Match(t.Context(), s, s.snapshot(), k.Mark(), f, enough); ok || err != nil {
		t.Errorf("beside a commit that never ends: %v %v", ok, err)
	}
	k.End(stray, func(bool, func(uint64, store.RID, bool)) {})
	match(t, k, s, k.Mark(), f)
}

// TestMemory: no more is kept than allowed, the lists used last.
func TestMemory(t *testing.T) {
	s := newShelf()
	for rid := store.RID(1); rid <= 60_000; rid++ {
		s.set(uint64(rid%6), rid, true)
	}
	k := sets.New(40_000)
	for hash := range uint64(6) {
		match(t, k, s, k.Mark(), &plan.Formula{Op: plan.List, Hash: hash})
	}
	if kept, size := k.Kept(); kept == 0 || kept == 6 || size > 40_000 {
		t.Errorf("%d lists in %d bytes are kept", kept, size)
	}
	reads := s.reads
	match(t, k, s, k.Mark(), &plan.Formula{Op: plan.List, Hash: 5})
	if s.reads != reads {
		t.Error("the list used last is read again")
	}
	if _, ok, err := sets.New(-1).Match(t.Context(), s, s.snapshot(), sets.New(-1).Mark(), every(list(1)), enough); ok || err != nil {
		t.Errorf("without memory: %v %v", ok, err)
	}
}

// TestDear: what costs much more than it is worth is made in the background.
func TestDear(t *testing.T) {
	s, k := hall(20_000), sets.New(1<<20)
	f := every(list(1), list(2))
	if _, ok, err := k.Match(t.Context(), s, s.snapshot(), k.Mark(), f, 10); ok || err != nil {
		t.Fatal(ok, err)
	}
	s.work.Wait()
	if m, ok, err := k.Match(t.Context(), s, s.snapshot(), k.Mark(), f, 0); !ok || err != nil || m.Set.Len(20_000) != 10_000 {
		t.Fatal(ok, err)
	}
}

// TestFaults: a list that cannot be read is not kept; after Spoil nothing is.
func TestFaults(t *testing.T) {
	s, k := hall(20_000), sets.New(1<<20)
	f := every(list(1), list(2))
	s.fault = errors.New("no disk")
	if _, _, err := k.Match(t.Context(), s, s.snapshot(), k.Mark(), f, enough); !errors.Is(err, s.fault) {
		t.Fatal(err)
	}
	s.fault = nil
	match(t, k, s, k.Mark(), f)
	k.Spoil()
	if _, ok, err := k.Match(t.Context(), s, s.snapshot(), k.Mark(), f, enough); ok || err != nil {
		t.Errorf("spoilt: %v %v", ok, err)
	}
}

// TestSave: a keeper takes up what another saved, unless it is of another state or damaged.
func TestSave(t *testing.T) {
	s, k := hall(20_000), sets.New(1<<20)
	f := every(list(1), list(2))
	match(t, k, s, k.Mark(), f)
	saved := map[uint64][]byte{}
	if err := k.Save(42, func(hash uint64, data []byte) error { saved[hash] = data; return nil }); err != nil || len(saved) != 2 {
		t.Fatal(err, len(saved))
	}
	next := sets.New(1 << 20)
	for hash, data := range saved {
		next.Load(41, hash, data)
		next.Load(42, hash+1, data)
		for i := range data {
			bad := bytes.Clone(data)
			bad[i] ^= 0x10
			next.Load(42, hash, bad)
			next.Load(42, hash, data[:i])
		}
	}
	if kept, _ := next.Kept(); kept != 0 {
		t.Fatalf("%d bad lists were taken up", kept)
	}
	for hash, data := range saved {
		next.Load(42, hash, data)
	}
	reads := s.reads
	if m := match(t, next, s, next.Mark(), f); m.Set.Len(20_000) != 10_000 || s.reads != reads {
		t.Errorf("%d members, %d lists read", m.Set.Len(20_000), s.reads-reads)
	}
}

// TestManyAtOnce: while commits move records from one list to the other and lists
// are made and let go, each snapshot sees every record in exactly one.
func TestManyAtOnce(t *testing.T) {
	const n = 10_000
	s := newShelf()
	for rid := store.RID(1); rid <= n; rid++ {
		s.set(uint64(rid%2), rid, true)
	}
	k := sets.New(9_000) // not enough for both lists
	var stripes [64]sync.Mutex
	done := make(chan struct{})
	var writers sync.WaitGroup
	for w := range uint64(2) {
		writers.Go(func() {
			rnd := rand.New(rand.NewPCG(w, 1))
			for {
				select {
				case <-done:
					return
				default:
				}
				rid := store.RID(rnd.IntN(n) + 1)
				stripe := &stripes[rid%64]
				stripe.Lock()
				move(s, k, rid)
				stripe.Unlock()
			}
		})
	}
	matched := 0
	for i := range uint64(200) {
		mark := k.Mark()
		view := s.snapshot()
		hash := i / 4 % 2
		m, ok, err := k.Match(t.Context(), s, view, mark, &plan.Formula{Op: plan.List, Hash: hash}, enough)
		if err != nil {
			t.Error(err)
		}
		if ok {
			matched++
			exact(t, view.lists[hash], m)
		}
	}
	close(done)
	writers.Wait()
	if matched < 100 {
		t.Errorf("%d of 200 were answered", matched)
	}
}

// move takes a record from the list that it is in to the other, as a commit does.
func move(s *shelf, k *sets.Keeper, rid store.RID) {
	s.mu.Lock()
	from := uint64(0)
	if s.lists[1][rid] {
		from = 1
	}
	s.mu.Unlock()
	c := k.Begin([]store.RID{rid})
	s.mu.Lock()
	delete(s.lists[from], rid)
	s.lists[1-from][rid] = true
	s.mu.Unlock()
	k.End(c, func(_ bool, changed func(uint64, store.RID, bool)) {
		changed(from, rid, true)
		changed(1-from, rid, false)
	})
}

// exact: outside of what is unsure, the set is what the snapshot holds.
func exact(t *testing.T, want []uint64, m plan.Match) {
	t.Helper()
	unsure := func(rid store.RID) bool { _, found := slices.BinarySearch(m.Unsure, rid); return found }
	var sure []store.RID
	for _, rid := range want {
		if !unsure(store.RID(rid)) {
			sure = append(sure, store.RID(rid))
		}
	}
	if got := all(m.Set); !slices.Equal(got, sure) {
		t.Errorf("%d members, want %d (%d unsure)", len(got), len(sure), len(m.Unsure))
	}
}
