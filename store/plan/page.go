package plan

import (
	"slices"

	"candela/store"
)

// strategy is how an arm finds the rows of a page: first what stands in no
// order, then an ordered walk that may stop early, last what has no value to be
// walked by. Without a walk there is only late.
type strategy struct {
	early []*source
	walk  *walk
	late  *source
}

// expected is how many hits of n must be read to fill a page when a share of
// them matches; where not all do, half as many again, since matches cluster.
func expected(n int64, share float64, rows int) int64 {
	switch {
	case share <= 0:
		return n
	case share > 0.95:
		return min(n, int64(rows))
	}
	return min(n, int64(float64(rows)*1.5/share)+1)
}

// matches guesses how many rows of the type match all parts.
func (a *arm) matches(found []*source) float64 {
	if a.sure != nil {
		return float64(a.sure.n)
	}
	n := float64(a.total)
	low := n
	for _, s := range found {
		if a.total > 0 && s.sel > 0 {
			n *= s.sel
		}
		if low == 0 || float64(s.n) < low {
			low = float64(s.n)
		}
	}
	if a.total == 0 {
		return low
	}
	return min(n, low)
}

// collect adds the arm's rows to the page.
func (a *arm) collect(t *top) error {
	plan, err := a.strategy(t)
	if err != nil {
		return err
	}
	if plan.walk == nil {
		a.r.explains(plan.late)
		return a.feedRest(t, plan.late, false)
	}
	a.r.explains(plan.walk.source)
	missing := len(t.sort) > 0 && (t.at.end > 0 || t.at.set && !t.at.at.keys[0].ok)
	if t.at.back && missing {
		if err := a.feedRest(t, plan.late, true); err != nil || t.full() && !t.items[t.size-1].at.keys[0].ok {
			return err
		}
	}
	if !missing || t.at.back {
		if err := a.feedWalk(t, plan); err != nil {
			return err
		}
	}
	if t.at.back || plan.late == nil || t.full() && t.items[t.size-1].at.keys[0].ok {
		return nil
	}
	return a.feedRest(t, plan.late, true)
}

// feedWalk reads what stands in no order, then walks.
func (a *arm) feedWalk(t *top, plan strategy) error {
	for _, s := range plan.early {
		if err := a.feed(t, s, nil, a.r.opt.Batch); err != nil {
			return err
		}
	}
	return a.feed(t, plan.walk.source, plan.walk, t.size)
}

// feedRest reads a source to its end, or in rid order as far as the page needs:
// without sort keys, and where all that have a key were walked already.
func (a *arm) feedRest(t *top, s *source, walked bool) error {
	if s == nil {
		return nil
	}
	if s.byRID && len(t.sort) == 0 {
		return a.feed(t, s, &walk{source: s, exact: true}, a.firstRead(t, s))
	}
	if s.byRID && len(t.sort) == 1 && walked {
		return a.feed(t, s, &walk{source: s, exact: true, rest: true}, a.r.opt.Batch)
	}
	return a.feed(t, s, nil, int(min(max(s.n+1, 16), int64(a.r.opt.Batch)*16)))
}

// firstRead is how many rows a walk in rid order begins with.
func (a *arm) firstRead(t *top, s *source) int {
	return int(min(expected(s.n+1, a.matches(a.found)/float64(s.n+1), t.size), int64(a.r.opt.Batch)))
}

// strategy compares what the ways to the page cost.
func (a *arm) strategy(t *top) (strategy, error) {
	if a.owned(t) {
		plan, _, err := a.timed(t)
		return plan, err
	}
	base, err := a.best()
	if err == nil {
		base, err = a.sharper(base, 0)
	}
	if err != nil {
		return strategy{}, err
	}
	if len(t.sort) == 0 {
		return a.unsorted(t, base)
	}
	cost := a.price(base)
	plan := strategy{late: base}
	timed, price, err := a.timed(t)
	if err == nil && timed.walk != nil && price < cost {
		plan, cost = timed, price
	}
	if err != nil || cost < few*a.r.opt.RowCost {
		return plan, err
	}
	sorted, price, err := a.sortWalk(t, base)
	if err == nil && sorted.walk != nil && price < cost {
		plan = sorted
	}
	return plan, err
}

// owned is the hot pattern: a value of an owner in clock order. Its Timed list
// is so short that nothing needs to be estimated.
func (a *arm) owned(t *top) bool {
	return len(t.sort) > 0 && t.sort[0].Role&store.Clock != 0 && len(a.timedHashes()) > 0 &&
		len(a.roleTests(store.Anchor)) > 0 && len(a.roleTests(store.Hot)) > 0
}

// unsorted: lists in rid order may stop early, so that a larger one can be cheaper.
func (a *arm) unsorted(t *top, base *source) (strategy, error) {
	if base.n < few && !a.rivalled(base) {
		return strategy{late: base}, nil
	}
	all, err := a.everything()
	if err != nil {
		return strategy{}, err
	}
	m := a.matches(a.found)
	best, cost := base, a.price(base)
	for _, s := range append(slices.Clone(a.found), base, all) {
		if !s.byRID || s.n == 0 {
			continue
		}
		if c := s.cost + expected(s.n, m/float64(s.n), t.size)*a.r.opt.RowCost; c < cost {
			best, cost = s, c
		}
	}
	return strategy{late: best}, nil
}

// rivalled says that a list which may stop early is so little longer than base,
// which must be read to its end, that the two are worth comparing.
func (a *arm) rivalled(base *source) bool {
	return !base.byRID && base.n > 256 && slices.ContainsFunc(a.found, func(s *source) bool { return s.byRID && s.n < 8*base.n })
}

// sortWalk walks the index of the sort parameter, tests each row, and then
// looks for what has no value in base.
func (a *arm) sortWalk(t *top, base *source) (strategy, int64, error) {
	param := t.sort[0].Param
	scan, cut, err := a.sortIndex(param)
	if err != nil || cut == nil {
		return strategy{}, 0, err
	}
	plan := strategy{late: base}
	if single(t.sort[0].Param, t.sort[0].Role) {
		a.bounded(&plan, &scan, param)
	}
	n, err := a.estimate([]Scan{scan}, 1<<40)
	if err != nil {
		return strategy{}, 0, err
	}
	t.bound(&scan, cut)
	exact := param == store.ParamUpdated // one value of eight bytes each
	if exact {
		t.resume(&scan)
	}
	plan.walk = &walk{source: scanSource(param, "in order of "+param, []Scan{scan}, n), cut: cut, exact: exact}
	price := expected(n, a.matches(a.found)/float64(max(n, 1)), t.size) * a.r.opt.RowCost
	for _, s := range plan.early {
		price += a.price(s)
	}
	return plan, price, nil
}

// single says whether a parameter has at most one value, odd clocks aside: then
// bounds of several tests on it can be put together.
func single(param string, role store.Role) bool {
	return param == store.ParamUpdated || role&store.Clock != 0
}

// bounded narrows a walk over a parameter with one value to where its tests
// leave matches. Ranges that begin outside and reach in come early, as odd clocks do.
func (a *arm) bounded(plan *strategy, scan *Scan, param string) {
	b := a.clockBounds(param)
	if !b.ok {
		return
	}
	scan.From, scan.To = b.from, b.to
	plan.late = nil // what has no value meets no test
	if param == store.ParamUpdated {
		return
	}
	plan.early = append(plan.early, a.narrowed(HashOfOdd(a.typ), "odd clock"))
	if b.high != nil {
		high := Scan{Index: Ordered, Hash: FieldHash(a.typ, param, High), From: b.high}
		plan.early = append(plan.early, scanSource(param, param+" to", []Scan{high}, 0))
	}
}

// sortIndex is the one index that a parameter's values are ordered in, if there is.
func (a *arm) sortIndex(param string) (Scan, func(string) string, error) {
	ordered := Scan{Index: Ordered, Hash: FieldHash(a.typ, param, Low)}
	words := Scan{Index: Prefix, Hash: FieldHash(a.typ, param, Words)}
	hasOrdered, err := a.any(ordered)
	if err != nil {
		return Scan{}, nil, err
	}
	hasWords, err := a.any(words)
	switch {
	case err != nil || hasOrdered == hasWords:
		return Scan{}, nil, err
	case hasOrdered:
		return ordered, func(s string) string { return string(eight([]byte(s))) }, nil
	}
	return words, coarse, nil
}

// coarse is as much of a text as truncation keeps in order: it cuts whole runes.
func coarse(s string) string { return s[:min(len(s), PrefixLen-3)] }

// bound lets a walk begin at the cursor.
func (t *top) bound(s *Scan, cut func(string) string) {
	if !t.at.set || !t.at.at.keys[0].ok {
		return
	}
	at := []byte(cut(t.at.at.keys[0].text))
	switch {
	case t.desc() && (s.To == nil || string(at) < string(s.To)):
		s.To = at
	case !t.desc() && (s.From == nil || string(at) > string(s.From)):
		s.From = at
	}
}

// timed walks (owner, value) or (value) in clock order, when the page is sorted
// by the clock and the query has such tests.
func (a *arm) timed(t *top) (strategy, int64, error) {
	if t.sort[0].Role&store.Clock == 0 {
		return strategy{}, 0, nil
	}
	limit := int64(few)
	switch {
	case a.owned(t):
		limit = 0
	case least(a.found) >= few: // so are these
		limit = 1 << 40
	}
	scans, name, n, err := a.timedScans(limit)
	if err == nil && limit == few && n >= few {
		scans, name, n, err = a.timedScans(1 << 40)
	}
	if err != nil || scans == nil {
		return strategy{}, 0, err
	}
	b := a.clockBounds(t.sort[0].Param)
	if b.none || b.crossed() {
		scans = nil
	}
	for i := range scans {
		scans[i].From, scans[i].To = b.from, b.to
		t.bound(&scans[i], func(s string) string { return s })
		t.resume(&scans[i])
	}
	w := &walk{source: timedSource(name, scans, n), cut: func(s string) string { return s }, exact: true}
	plan := strategy{walk: w}
	a.untimed(&plan, b)
	return plan, expected(n, a.matches(a.found)/float64(max(n, 1)), t.size) * a.r.opt.RowCost, nil
}

// resume lets a walk in the exact order of the rows begin behind the cursor.
func (t *top) resume(s *Scan) {
	if k := t.at.at; t.at.set && len(t.sort) == 1 && k.keys[0].ok && len(k.keys[0].text) == 8 {
		s.After = Hit{Order: []byte(k.keys[0].text), RID: k.rid}
	}
}

func timedSource(name string, scans []Scan, n int64) *source {
	s := &source{name: name, label: name + " by time", n: n}
	s.open = func(_ *run, desc bool, hint int) (stream, error) {
		streams := make([]stream, len(scans))
		for i, scan := range scans {
			scan.Desc, scan.Hint = desc, hint
			streams[i] = &scanStream{scan: scan, name: name}
		}
		if len(streams) == 1 {
			return streams[0], nil
		}
		return &mergeStream{heads: headsOf(streams), desc: desc}, nil
	}
	return s
}

// untimed adds what Timed lists miss: clocks that are missing come late, odd
// ones and, where the walk is bounded below, wide ones early.
func (a *arm) untimed(plan *strategy, b bounds) {
	plan.early = append(plan.early, a.narrowed(HashOfOdd(a.typ), "odd clock"))
	if b.high != nil {
		plan.early = append(plan.early, a.narrowed(HashOfWide(a.typ), "wide clock"))
	}
	if !b.ok {
		plan.late = a.narrowed(HashOfUnclocked(a.typ), "no clock")
	}
}

// narrowed is a list that is short or, if it turns out long, intersected with
// the arm's own lists.
func (a *arm) narrowed(h uint64, name string) *source {
	const short = 64
	s := &source{name: name, label: name, n: short, byRID: true}
	s.open = func(r *run, desc bool, hint int) (stream, error) {
		scan := Scan{Index: Equal, Hash: h, Desc: desc, Hint: short}
		rids, err := r.take(&scanStream{scan: scan, name: name}, short)
		if err != nil || len(rids) < short {
			slices.Sort(rids)
			return &setStream{rids: rids, desc: desc}, err
		}
		long, err := a.narrow(h, name)
		if err != nil {
			return nil, err
		}
		return long.open(r, desc, hint)
	}
	return s
}

func (a *arm) narrow(h uint64, name string) (*source, error) {
	n, err := a.estimate(equal(h), 1<<40)
	if err != nil {
		return nil, err
	}
	found, err := a.sources()
	if err != nil {
		return nil, err
	}
	s := scanSource(name, name, equal(h), n)
	a.share(s)
	if both := a.both(a.lists(append(slices.Clone(found), s))); both != nil {
		return both, nil
	}
	return s, nil
}

// clockBounds is where tests of the clock leave matches.
func (a *arm) clockBounds(param string) bounds {
	var b bounds
	for _, part := range a.parts {
		if t, ok := part.(store.Test); ok && t.Param == param && t.Cond.Unit != store.UnitBase {
			if o := boundsOf(&t); o.ok {
				b = b.within(o)
			}
		}
	}
	return b
}

// timedScans are the shortest Timed lists that hold every match but the untimed:
// of an owner and a hot value, of an owner, or of a hot value. With limit 0 one
// choice alone is not estimated.
func (a *arm) timedScans(limit int64) (best []Scan, name string, n int64, err error) {
	choices := a.timedHashes()
	for _, c := range choices {
		scans := make([]Scan, len(c.list))
		for i, h := range c.list {
			scans[i] = Scan{Index: Timed, Hash: h}
		}
		if len(choices) == 1 && limit == 0 {
			return scans, c.name, 0, nil
		}
		e, err := a.estimate(scans, max(limit, few))
		if err != nil {
			return nil, "", 0, err
		}
		if best == nil || e < n {
			best, name, n = scans, c.name, e
		}
	}
	return best, name, n, nil
}

type namedHashes struct {
	name string
	list []uint64
}

// timedHashes are the choices of lists: each holds every match.
func (a *arm) timedHashes() (out []namedHashes) {
	owners, hots := a.roleTests(store.Anchor), a.roleTests(store.Hot)
	if len(owners) == 0 {
		for _, hot := range hots {
			h := namedHashes{name: hot[0].Param}
			for _, t := range hot {
				h.list = append(h.list, HashOfName(a.typ, t.Param, t.Cond.Name))
			}
			out = append(out, h)
		}
	} else {
		out = a.ownedHashes(owners, hots)
	}
	return slices.DeleteFunc(out, func(h namedHashes) bool { return len(h.list) > mostMerged })
}

func (a *arm) ownedHashes(owners, hots [][]store.Test) (out []namedHashes) {
	if len(hots) == 0 {
		hots = [][]store.Test{{{}}}
	}
	for _, owner := range owners {
		for _, hot := range hots {
			h := namedHashes{name: owner[0].Param}
			for _, o := range owner {
				for _, t := range hot {
					of := store.Value{Space: o.Cond.Space, Name: o.Cond.Name}
					h.list = append(h.list, HashOfAnchored(a.typ, of, t.Param, "", t.Cond.Name, true))
				}
			}
			out = append(out, h)
		}
	}
	return out
}

// roleTests are the parts that are tests, or an Or of tests, of a role by
// equality: each a list of alternatives.
func (a *arm) roleTests(role store.Role) (out [][]store.Test) {
	for _, part := range a.parts {
		alternatives := []store.Expr{part}
		if or, ok := part.(store.Or); ok {
			alternatives = or
		}
		if tests := roleTests(alternatives, role); len(tests) > 0 {
			out = append(out, tests)
		}
	}
	return out
}

func roleTests(alternatives []store.Expr, role store.Role) (tests []store.Test) {
	for _, x := range alternatives {
		t, ok := x.(store.Test)
		if i := slices.IndexFunc(t.Implied, func(also store.Test) bool { return also.Role&role != 0 }); i >= 0 {
			t = t.Implied[i]
		}
		if !ok || t.Role&role == 0 || t.Cond.Name == "" {
			return nil
		}
		if t.Cond.How != store.Is && (t.Cond.How != store.Named || role == store.Anchor) {
			return nil
		}
		tests = append(tests, t)
	}
	return tests
}
