package plan

import (
	"slices"

	"candela/store"
)

// price is what reading all of a source and its rows costs.
func (a *arm) price(s *source) int64 { return s.cost + s.n*a.r.opt.RowCost }

// best is the cheapest source of every match of the arm: one list, several of
// them intersected, or the whole type.
func (a *arm) best() (*source, error) {
	found, err := a.sources()
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return a.everything()
	}
	best := a.both(a.lists(found))
	for _, s := range found {
		if best == nil || a.price(s) < a.price(best) {
			best = s
		}
	}
	if best.n < few {
		return best, nil
	}
	all, err := a.everything()
	if err == nil && a.price(all) < a.price(best) {
		best = all
	}
	return best, err
}

// withImplied adds the sources of what tests imply. What share of the type they
// match is left open: it is none beside that of the test.
func (a *arm) withImplied(found []*source, limit int64) ([]*source, error) {
	for _, part := range a.parts {
		t, ok := part.(store.Test)
		if !ok || len(t.Implied) == 0 || least(found) < 64 {
			continue
		}
		for _, also := range a.sharpening(&t) {
			s, err := a.testSource(also, limit)
			if err != nil {
				return nil, err
			}
			if s != nil {
				found = append(found, s)
			}
		}
	}
	return found, nil
}

// sharpening are the implied tests that may have fewer hits than t: where the
// names in t share a key, each of them alone has more.
func (a *arm) sharpening(t *store.Test) []store.Test {
	if _, ok := driverOf(a.typ, t); !ok {
		return t.Implied
	}
	return slices.DeleteFunc(slices.Clone(t.Implied), func(also store.Test) bool {
		return also.Cond.How == store.Is || also.Cond.How == store.Named
	})
}

// alternative is the source of an expression inside an Or, which may be that of
// something it implies.
func (a *arm) alternative(x store.Expr, limit int64) (*source, error) {
	t, ok := x.(store.Test)
	if !ok || len(t.Implied) == 0 {
		return a.sourceOf(x, compile(x, a.typ), limit)
	}
	parts := store.And{}
	for _, also := range a.sharpening(&t) {
		parts = append(parts, also)
	}
	t.Implied = nil
	return a.narrowest(append(parts, t), limit)
}

// unitedSource walks alternatives that are all Equal lists as one, where the
// engine can.
func (a *arm) unitedSource(parts store.Or, limit int64) (*source, error) {
	if _, ok := a.r.snap.(Uniter); !ok || len(parts) < 2 {
		return nil, nil
	}
	var scans []Scan
	tight := true
	for _, part := range parts {
		t, ok := part.(store.Test)
		if !ok || t.Param == store.ParamID || len(t.Implied) > 0 {
			return nil, nil
		}
		d, ok := driverOf(a.typ, &t)
		if !ok || d.none || slices.ContainsFunc(d.scans, func(s Scan) bool { return s.Index != Equal }) {
			return nil, nil
		}
		scans, tight = append(scans, d.scans...), tight && d.tight
	}
	scans = a.r.united(scans)
	n, err := a.estimate(scans, limit)
	first, _ := parts[0].(store.Test)
	return scanSource(first.Param, label(&first)+" or …", scans, n).tightAs(tight), err
}

// lists are the sources in rid order, smallest first.
func (a *arm) lists(found []*source) []*source {
	lists := slices.DeleteFunc(slices.Clone(found), func(s *source) bool { return !s.byRID })
	slices.SortStableFunc(lists, func(x, y *source) int {
		return int(min(max(a.price(x)-a.price(y), -1), 1))
	})
	return lists
}

// both intersects the first list with those that cost less to leap through than
// the rows cost that they spare.
func (a *arm) both(lists []*source) *source {
	if len(lists) < 2 {
		return nil
	}
	used := lists[:1:1]
	n, cost := lists[0].n, lists[0].cost
	for _, s := range lists[1:] {
		sel := 0.5
		if s.sel > 0 {
			sel = s.sel
		}
		leap := s.cost + min(s.n, n*a.r.opt.SeekCost)
		if float64(leap) < float64(n*a.r.opt.RowCost)*(1-sel) {
			used = append(used, s)
			cost += leap
			n = max(1, int64(float64(n)*sel))
		}
	}
	if len(used) < 2 {
		return nil
	}
	return intersect(used, n, cost)
}

func intersect(lists []*source, n, cost int64) *source {
	s := &source{name: lists[0].name, label: lists[0].label, n: n, cost: cost, byRID: true, tight: true}
	for _, l := range lists {
		s.tight = s.tight && l.tight
		if l != lists[0] {
			s.label += " and " + l.label
		}
	}
	s.open = func(r *run, desc bool, hint int) (stream, error) {
		first, err := lists[0].open(r, desc, hint)
		if err != nil {
			return nil, err
		}
		others, err := openAll(r, lists[1:], desc, 0)
		return &bothStream{heads: headsOf(append([]stream{first}, others...)), desc: desc}, err
	}
	return s
}

// wholeHint is that of a source which is read to its end: where it is short, one
// batch is to be enough.
func wholeHint(s *source) int {
	const short = 200
	if s.n >= short {
		return 0
	}
	return int(s.n) + 1
}

// each hands on all matches of the arm in batches, each once.
func (a *arm) each(do func([]Row) error) error {
	base, err := a.best()
	if err == nil {
		base, err = a.sharper(base, a.price(base))
	}
	if err != nil {
		return err
	}
	s, err := base.open(a.r, false, wholeHint(base))
	if err != nil {
		return err
	}
	if !base.byRID {
		var set ridSet
		if err := a.r.drain(s, func(rid store.RID) { set.add(rid) }); err != nil {
			return err
		}
		s = &setStream{rids: set.list()}
	}
	for {
		a.r.reading = base.name
		rids, err := a.r.take(s, a.r.opt.Batch)
		if err != nil || len(rids) == 0 {
			return err
		}
		rows, err := a.r.rows(rids)
		if err != nil {
			return err
		}
		if rows, err = kept(a.r, a.filter, rows); err != nil {
			return err
		}
		if err := do(rows); err != nil {
			return err
		}
	}
}

// total counts the matches of all arms, unless the page has shown them all.
func (r *run) total(page *store.Page, arms []*arm) error {
	if r.q.Count > 0 && page.Next == "" && page.Prev == "" {
		page.Total = int64(len(page.Versions))
		return nil
	}
	page.Total = 0
	for _, a := range arms {
		n, err := a.count()
		if err != nil {
			return err
		}
		page.Total += n
	}
	return nil
}

// count needs no rows where every part is a list that holds nothing else.
func (a *arm) count() (n int64, err error) {
	lists, tight, err := a.tightLists()
	if err != nil {
		return 0, err
	}
	if n, ok, err := a.countSet(lists); ok || err != nil {
		return n, err
	}
	if !tight {
		err = a.each(func(rows []Row) error {
			for i := range rows {
				if rows[i].RID <= a.r.top {
					n++
				}
			}
			return nil
		})
		return n, err
	}
	if n, ok, err := a.countLists(lists); ok || err != nil {
		return n, err
	}
	s := lists[0]
	if len(lists) > 1 {
		s = intersect(lists, s.n, 0)
	}
	st, err := s.open(a.r, false, 0)
	if err != nil {
		return 0, err
	}
	a.r.explains(s)
	err = a.r.drain(st, func(rid store.RID) {
		if rid <= a.r.top {
			n++
		}
	})
	return n, err
}

// countLists lets the engine count, where it can and each list is one of its own.
func (a *arm) countLists(lists []*source) (n int64, ok bool, err error) {
	counter, ok := a.r.snap.(Counter)
	if !ok {
		return 0, false, nil
	}
	hashes := make([]uint64, len(lists))
	for i, s := range lists {
		if s.list == nil {
			return 0, false, nil
		}
		hashes[i] = *s.list
	}
	a.r.reading = lists[0].name
	n, ok, err = counter.Count(a.r.ctx, hashes)
	if ok && err == nil {
		a.r.explains(lists[0])
	}
	return n, ok, err
}

// tightLists is a list for every part, if each has one that is exact.
func (a *arm) tightLists() ([]*source, bool, error) {
	if len(a.parts) == 0 {
		s, err := a.everything()
		return []*source{s}, err == nil, err
	}
	found, err := a.sources()
	if err != nil {
		return nil, false, err
	}
	for _, s := range a.whole {
		if s == nil || !s.tight || !s.byRID {
			return nil, false, nil
		}
	}
	return a.lists(found), true, nil
}

// set lets the engine answer, from memory, all parts that are formulas of lists.
// whole says that there are no others; ok that the engine did. worth is what it
// costs to do without.
func (a *arm) set(worth int64) (m Match, whole, ok bool, err error) {
	engine, ok := a.r.snap.(Sets)
	if !ok {
		return m, false, false, nil
	}
	var parts []store.Expr
	for _, part := range a.parts {
		if _, ok := formulaOf(part, a.typ); ok {
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 && len(a.parts) > 0 {
		return m, false, false, nil
	}
	f, _ := everyOf(parts, a.typ)
	m, ok, err = engine.Match(a.r.ctx, &f, worth)
	if ok && err == nil {
		err = a.r.scanned(int(m.Read))
	}
	return m, len(parts) == len(a.parts), ok, err
}

// countSet counts long lists in memory. lists are those of tightLists, if there are.
func (a *arm) countSet(lists []*source) (n int64, ok bool, err error) {
	if _, ok := formulaOf(store.And(a.parts), a.typ); !ok {
		return 0, false, nil
	}
	base, err := a.counted(lists)
	if err != nil || base.cost < few {
		return 0, false, err
	}
	a.r.reading = base.name
	m, _, ok, err := a.set(base.cost)
	if !ok || err != nil {
		return 0, false, err
	}
	rows, err := a.unsure(&m)
	if err != nil {
		return 0, false, err
	}
	if rows, err = kept(a.r, a.filter, rows); err != nil {
		return 0, false, err
	}
	for i := range rows {
		if rows[i].RID <= a.r.top {
			n++
		}
	}
	a.r.explains(base)
	return n + m.Set.Len(a.r.top), true, nil
}

// counted is what drives a count without sets; its cost is that of the whole count.
func (a *arm) counted(lists []*source) (*source, error) {
	if lists == nil {
		best, err := a.best()
		if err != nil {
			return nil, err
		}
		s := *best
		s.cost = a.price(best)
		return &s, nil
	}
	s := *lists[0]
	s.cost += s.n
	for _, l := range lists[1:] {
		s.cost += l.cost + min(l.n, s.n*a.r.opt.SeekCost)
	}
	return &s, nil
}

// unsure are the rows of the type that the engine could not tell of.
func (a *arm) unsure(m *Match) ([]Row, error) {
	rows, err := a.r.rows(m.Unsure)
	return slices.DeleteFunc(rows, func(row Row) bool { return row.Key.Type != a.typ }), err
}

// sharper is base or, where that is long, the set of what meets all parts that
// are formulas, or what both have.
func (a *arm) sharper(base *source, worth int64) (*source, error) {
	if base.n < few || len(a.parts) == 0 {
		return base, nil
	}
	m, whole, ok, err := a.set(worth)
	if !ok || err != nil {
		return base, err
	}
	s, err := a.setOf(base, &m)
	if err != nil {
		return nil, err
	}
	if whole {
		a.sure = s
		return s, nil
	}
	best := base
	if a.price(s) < a.price(best) {
		best = s
	}
	size, err := a.size()
	if err != nil || base.tight { // base is one of the formulas
		return best, err
	}
	n := int64(float64(base.n) * float64(s.n) / float64(max(size, 1)))
	if both := intersect([]*source{gathered(base), s}, max(n, 1), base.cost+base.n); a.price(both) < a.price(best) {
		best = both
	}
	return best, nil
}

// gathered is base in rid order.
func gathered(base *source) *source {
	if base.byRID {
		return base
	}
	return setSource(base.name, base.label, base.n, base.cost+base.n, func(r *run) ([]store.RID, error) {
		return gatherAll(r, []*source{base})
	})
}

// setOf is a set of the engine with what it is unsure of, named as base.
func (a *arm) setOf(base *source, m *Match) (*source, error) {
	rows, err := a.unsure(m)
	if err != nil {
		return nil, err
	}
	unsure := make([]store.RID, len(rows))
	for i := range rows {
		unsure[i] = rows[i].RID
	}
	n := m.Set.Len(a.r.top) + int64(len(unsure))
	s := &source{name: base.name, label: base.label, n: n, cost: 1, byRID: true}
	s.open = func(_ *run, desc bool, hint int) (stream, error) {
		sure := &listStream{set: m.Set, name: s.name, desc: desc, size: hint}
		if len(unsure) == 0 {
			return sure, nil
		}
		return join([]stream{sure, &setStream{rids: unsure, desc: desc}}, true, desc), nil
	}
	return s, nil
}

// explains notes what drives, the first time.
func (r *run) explains(s *source) {
	if r.explain.Driver == "" {
		r.explain.Driver, r.explain.Estimate = s.label, s.n
	}
}
