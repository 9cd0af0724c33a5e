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

// each hands on all matches of the arm in batches, each once.
func (a *arm) each(do func([]Row) error) error {
	base, err := a.best()
	if err != nil {
		return err
	}
	s, err := base.open(a.r, false, 0)
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

// explains notes what drives, the first time.
func (r *run) explains(s *source) {
	if r.explain.Driver == "" {
		r.explain.Driver, r.explain.Estimate = s.label, s.n
	}
}
