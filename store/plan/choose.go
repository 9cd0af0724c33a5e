package plan

import (
	"slices"

	"candela/store"
)

// source yields rids that include every match of a part of the query.
type source struct {
	name  string // the parameter
	label string
	n     int64   // estimated hits
	cost  int64   // of opening, in index entries
	sel   float64 // share of the type that matches; 0: not known
	tight bool    // every hit is a match
	byRID bool    // hits come in rid order, each once
	list  *uint64 // the one Equal list that it reads, nil when it is none
	open  func(r *run, desc bool, hint int) (stream, error)
}

// few is how many hits are so few that comparing plans costs more than running one.
const few = 4096

// arm is the query on one type.
type arm struct {
	r      *run
	typ    string
	parts  []store.Expr // all must hold; normal
	nodes  []node       // compiled parts
	filter allNode
	total  int64 // resources of the type; 0: not estimated
	found  []*source
	whole  []*source // the source of each part, nil where it has none
	sure   *source   // a set in memory that holds exactly the matches, if one was asked for
}

func newArm(r *run, typ string, x store.Expr) *arm {
	a := &arm{r: r, typ: typ}
	switch x := normal(x, false, typ).(type) {
	case store.And:
		a.parts = x
	default:
		a.parts = []store.Expr{x}
	}
	var chains allNode
	for _, part := range a.parts {
		n := compile(part, typ)
		a.nodes = append(a.nodes, n)
		if _, cheap := part.(store.Test); cheap {
			a.filter = append(a.filter, n)
		} else {
			chains = append(chains, n)
		}
	}
	a.filter = append(a.filter, chains...)
	return a
}

// never says whether no resource of the type can match.
func (a *arm) never() bool {
	if len(a.parts) != 1 {
		return false
	}
	some, ok := a.parts[0].(store.Or)
	return ok && len(some) == 0
}

// estimate adds up scans, exactly enough up to limit.
func (a *arm) estimate(scans []Scan, limit int64) (int64, error) {
	const sample = 8
	n := int64(0)
	for i, s := range scans {
		if i == sample {
			return n * int64(len(scans)) / sample, nil
		}
		e, err := a.r.snap.Estimate(a.r.ctx, s, limit)
		if err != nil {
			return 0, err
		}
		n += e
	}
	return n, nil
}

// size is how many resources the type has.
func (a *arm) size() (int64, error) {
	if a.total > 0 {
		return a.total, nil
	}
	n, err := a.estimate(equal(HashOfType(a.typ)), 1<<40)
	a.total = max(n, 1)
	return a.total, err
}

// everything is the list of all resources of the type.
func (a *arm) everything() (*source, error) {
	n, err := a.size()
	if err != nil {
		return nil, err
	}
	s := scanSource(a.typ, a.typ, equal(HashOfType(a.typ)), n)
	s.tight, s.sel = true, 1
	return s, nil
}

// scanSource reads scans: one list in rid order, or several.
func scanSource(name, label string, scans []Scan, n int64) *source {
	s := &source{name: name, label: label, n: n}
	lists := !slices.ContainsFunc(scans, func(s Scan) bool { return s.Index != Equal })
	s.byRID = lists && len(scans) <= mostMerged
	if lists && len(scans) == 1 && len(scans[0].More) == 0 {
		s.list = &scans[0].Hash
	}
	s.open = func(r *run, desc bool, hint int) (stream, error) {
		streams := make([]stream, len(scans))
		for i, scan := range scans {
			scan.Desc = desc
			scan.Hint = hint
			streams[i] = &scanStream{scan: scan, name: name}
		}
		return join(streams, s.byRID, desc), nil
	}
	return s
}

// mostMerged is how many lists are merged by comparing their heads.
const mostMerged = 16

func join(streams []stream, byRID, desc bool) stream {
	switch {
	case len(streams) == 1:
		return streams[0]
	case byRID && len(streams) > 0:
		return &mergeStream{heads: headsOf(streams), desc: desc, byRID: true}
	}
	return &chainStream{streams: streams}
}

// setSource is rids that are gathered when it is opened.
func setSource(name, label string, n, cost int64, gather func(r *run) ([]store.RID, error)) *source {
	s := &source{name: name, label: label, n: n, cost: cost, byRID: true}
	s.open = func(r *run, desc bool, _ int) (stream, error) {
		rids, err := gather(r)
		return &setStream{rids: rids, desc: desc}, err
	}
	return s
}

// sources finds the sources of all parts. Chains are only looked at when the
// others are not small already.
func (a *arm) sources() ([]*source, error) {
	if a.whole != nil {
		return a.found, nil
	}
	found, err := a.sourcesWithin(few)
	if err == nil && least(found) >= few {
		if _, err = a.size(); err == nil {
			found, err = a.sourcesWithin(1 << 40)
		}
	}
	a.found = found
	return found, err
}

func least(sources []*source) int64 {
	n := int64(few)
	for _, s := range sources {
		n = min(n, s.n)
	}
	return n
}

func (a *arm) sourcesWithin(limit int64) (found []*source, err error) {
	a.whole = make([]*source, len(a.parts))
	for _, chains := range [...]bool{false, true} {
		for i, part := range a.parts {
			if isChain(part) != chains || chains && least(found) < 64 {
				continue
			}
			if a.whole[i], err = a.sourceOf(part, a.nodes[i], limit); err != nil {
				return nil, err
			}
			if s := a.whole[i]; s != nil {
				a.share(s)
				found = append(found, s)
			}
		}
		if chains {
			break
		}
		if found, err = a.withImplied(found, limit); err != nil {
			return nil, err
		}
		for _, joint := range [...]func([]*source, int64) (*source, error){a.ownedSource, a.periodSource} {
			s, err := joint(found, limit)
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

// ownedSource is the Timed list of an owner's hot values with what Timed lists
// miss: where an owner has much, the shortest list, also when nobody asks for its order.
func (a *arm) ownedSource(found []*source, limit int64) (*source, error) {
	owners, hots := a.roleTests(store.Anchor), a.roleTests(store.Hot)
	if len(owners) == 0 || len(hots) == 0 || least(found) < 64 {
		return nil, nil
	}
	scans, name, _, err := a.timedScans(0)
	if err != nil || scans == nil {
		return nil, err
	}
	scans = append(scans, equal(HashOfOdd(a.typ), HashOfUnclocked(a.typ))...)
	n, err := a.estimate(scans, limit)
	return scanSource(name, label(&owners[0][0])+" and "+label(&hots[0][0]), scans, n), err
}

// periodSource answers several range tests on a parameter with one value
// together: from here to there.
func (a *arm) periodSource(found []*source, limit int64) (*source, error) {
	tests := map[string]int{}
	for _, part := range a.parts {
		t, ok := part.(store.Test)
		if !ok || !single(t.Param, t.Role) || t.Cond.Unit == store.UnitBase || !boundsOf(&t).ok {
			continue
		}
		if tests[t.Param]++; tests[t.Param] < 2 || least(found) < 64 {
			continue
		}
		low, high := FieldHash(a.typ, t.Param, Low), FieldHash(a.typ, t.Param, High)
		d, ok := rangeDriver(low, high, a.clockBounds(t.Param))
		if !ok || d.none {
			continue
		}
		if t.Param != store.ParamUpdated {
			d.scans = append(d.scans, equal(HashOfOdd(a.typ))...)
		}
		n, err := a.estimate(d.scans, limit)
		return scanSource(t.Param, t.Param+" from, to", d.scans, n), err
	}
	return nil, nil
}

// share estimates which part of the type a source matches, where that is known.
func (a *arm) share(s *source) {
	if a.total > 0 && s.sel == 0 {
		s.sel = min(1, float64(s.n)/float64(a.total))
	}
}

// isChain says whether finding x's source means to look at other resources.
func isChain(x store.Expr) bool {
	switch x := x.(type) {
	case store.Via, store.Has:
		return true
	case store.Or:
		return slices.ContainsFunc(x, isChain)
	}
	return false
}

// sourceOf is a source for one expression, or nil when no index helps.
func (a *arm) sourceOf(x store.Expr, n node, limit int64) (*source, error) {
	if keys, ok := a.keysOf(x); ok {
		return setSource(store.ParamID, store.ParamID, int64(len(keys)), a.r.opt.SeekCost, func(r *run) ([]store.RID, error) {
			return r.lookupAll(keys)
		}), nil
	}
	switch x := x.(type) {
	case store.Test:
		return a.testSource(x, limit)
	case store.And:
		return a.narrowest(x, limit)
	case store.Or:
		return a.orSource(x, n, limit)
	case store.Via:
		via, _ := n.(*viaNode)
		return a.viaSource(via, limit)
	case store.Has:
		has, _ := n.(*hasNode)
		return a.hasSource(has)
	}
	return nil, nil
}

// keysOf reads an _id test, or many of them.
func (a *arm) keysOf(x store.Expr) (keys []store.Key, ok bool) {
	switch x := x.(type) {
	case store.Test:
		if x.Param != store.ParamID || x.Cond.How != store.Is && x.Cond.How != store.Named {
			return nil, false
		}
		if x.Cond.How == store.Is && x.Cond.Space != a.typ {
			return nil, true
		}
		return []store.Key{{Type: a.typ, ID: x.Cond.Name}}, true
	case store.Or:
		for _, part := range x {
			k, ok := a.keysOf(part)
			if !ok {
				return nil, false
			}
			keys = append(keys, k...)
		}
		return keys, true // the empty Or: none
	}
	return nil, false
}

// lookupAll gives the rids of many keys, ascending.
func (r *run) lookupAll(keys []store.Key) ([]store.RID, error) {
	var set ridSet
	for part := range slices.Chunk(keys, r.opt.Batch) {
		rids, err := r.lookup(part)
		if err != nil {
			return nil, err
		}
		set.add(rids...)
	}
	return set.list(), nil
}

func (a *arm) testSource(t store.Test, limit int64) (*source, error) {
	if t.Param == store.ParamID {
		return nil, nil
	}
	d, ok := driverOf(a.typ, &t)
	if !ok {
		return nil, nil
	}
	if d.none {
		return setSource(t.Param, label(&t), 0, 0, func(*run) ([]store.RID, error) { return nil, nil }), nil
	}
	if overTexts(&t.Cond) {
		// a code's display has no keys: only a parameter of texts is driven by them
		if texts, err := a.any(Scan{Index: Prefix, Hash: d.scans[0].Hash}); err != nil || !texts {
			return nil, err
		}
	}
	scans := a.r.united(d.scans)
	n, err := a.estimate(scans, limit)
	s := scanSource(t.Param, label(&t), scans, n)
	s.tight = d.tight
	return s, err
}

// narrowest is the smallest source of an And inside an Or.
func (a *arm) narrowest(parts store.And, limit int64) (best *source, err error) {
	for _, part := range parts {
		s, err := a.alternative(part, limit)
		if err != nil {
			return nil, err
		}
		if s != nil && (best == nil || s.n < best.n) {
			narrowed := *s
			narrowed.tight = false
			best = &narrowed
		}
	}
	return best, nil
}

// orSource unites the sources of all alternatives; one without a source leaves none.
func (a *arm) orSource(parts store.Or, n node, limit int64) (*source, error) {
	if s, err := a.unitedSource(parts, limit); s != nil || err != nil {
		return s, err
	}
	u := &source{name: "or", label: "or", tight: true, byRID: len(parts) <= mostMerged}
	all := make([]*source, len(parts))
	chains := chainsIn(n)
	for i, part := range parts {
		s, err := (*source)(nil), error(nil)
		if direct(part) && len(chains) > 0 { // what its source learns, the filter knows
			s, err = a.sourceOf(part, chains[0], limit)
			chains = chains[1:]
		} else {
			s, err = a.orPart(part, i, limit)
		}
		if s == nil || err != nil {
			return nil, err
		}
		all[i] = s
		u.name, u.label = s.name, s.label+" or …"
		u.n, u.cost = u.n+s.n, u.cost+s.cost+a.r.opt.SeekCost
		u.tight = u.tight && s.tight
		u.byRID = u.byRID && s.byRID
	}
	if !u.byRID {
		return setSource(u.name, u.label, u.n, u.cost+u.n, func(r *run) ([]store.RID, error) { return gatherAll(r, all) }).tightAs(u.tight), nil
	}
	u.open = func(r *run, desc bool, hint int) (stream, error) {
		streams, err := openAll(r, all, desc, hint)
		return join(streams, true, desc), err
	}
	return u, nil
}

// orPart is the source of an alternative. Of very many only the first are
// estimated; the others count as one of those.
func (a *arm) orPart(x store.Expr, i int, limit int64) (*source, error) {
	t, ok := x.(store.Test)
	if i < 8 || !ok || t.Cond.How != store.Is && t.Cond.How != store.Named {
		return a.alternative(x, limit)
	}
	d, ok := driverOf(a.typ, &t)
	if !ok || t.Param == store.ParamID {
		return a.alternative(x, limit)
	}
	s := scanSource(t.Param, label(&t), d.scans, 8)
	s.tight = d.tight
	return s, nil
}

func (s *source) tightAs(tight bool) *source {
	s.tight = tight
	return s
}

func openAll(r *run, sources []*source, desc bool, hint int) ([]stream, error) {
	streams := make([]stream, len(sources))
	for i, s := range sources {
		var err error
		if streams[i], err = s.open(r, desc, hint); err != nil {
			return nil, err
		}
	}
	return streams, nil
}

// gatherAll unites sources in memory, eight bytes a hit.
func gatherAll(r *run, sources []*source) ([]store.RID, error) {
	var set ridSet
	for _, s := range sources {
		st, err := s.open(r, false, 0)
		if err == nil {
			err = r.drain(st, func(rid store.RID) { set.add(rid) })
		}
		if err != nil {
			return nil, err
		}
	}
	return set.list(), nil
}

// viaSource: all matches of the chain's end, then the postings of each.
func (a *arm) viaSource(n *viaNode, limit int64) (*source, error) {
	inner := newArm(a.r, n.Type, n.Of)
	best, err := inner.best()
	if err != nil {
		return nil, err
	}
	hits, sel := best.n*8, 0.0
	if limit > few { // worth knowing the types' sizes
		size, err := inner.size()
		if err != nil {
			return nil, err
		}
		sel = min(1, float64(best.n)/float64(size))
		hits = int64(float64(a.total) * sel)
	}
	cost := best.cost + best.n*(a.r.opt.RowCost+a.r.opt.SeekCost)
	s := setSource(n.Param, n.Param+"."+best.label, hits, cost, func(r *run) ([]store.RID, error) { return n.gather(r, a.typ) })
	s.sel = sel
	return s, nil
}

// hasSource: the resources that the matches on the other side name.
func (a *arm) hasSource(n *hasNode) (*source, error) {
	best, err := newArm(a.r, n.Type, n.Of).best()
	if err != nil {
		return nil, err
	}
	cost := best.cost + best.n*2*a.r.opt.RowCost
	return setSource(n.Param, n.Type+":"+n.Param+":"+best.label, best.n, cost, n.gather), nil
}
