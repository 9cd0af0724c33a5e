package plan

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"

	"candela/store"
)

// normal pushes Not down to tests and chains and flattens And in And, Or in Or,
// so that drivers are seen wherever they stand. What all resources of typ meet,
// or none, is settled.
func normal(x store.Expr, not bool, typ string) store.Expr {
	switch x := x.(type) {
	case nil:
		return constant(!not)
	case store.Not:
		return normal(x.Of, !not, typ)
	case store.And:
		return flatten(x, not, !not, typ)
	case store.Or:
		return flatten(x, not, not, typ)
	case store.Test:
		if x.Param == store.ParamID && (x.Cond.How == store.Within || x.Cond.How == store.Is && x.Cond.Space != typ) {
			return constant((x.Cond.Space == typ) != not)
		}
	}
	if not {
		return store.Not{Of: x}
	}
	return x
}

// constant is what always or never holds.
func constant(holds bool) store.Expr {
	if holds {
		return store.And{}
	}
	return store.Or{}
}

// flatten makes an And or an Or of normal parts; of one part, that part.
func flatten(parts []store.Expr, not, and bool, typ string) store.Expr {
	var out []store.Expr
	for _, p := range parts {
		n := normal(p, not, typ)
		inner, isAnd := n.(store.And)
		some, isOr := n.(store.Or)
		switch {
		case and && isAnd:
			out = append(out, inner...)
		case !and && isOr:
			out = append(out, some...)
		case isAnd && len(inner) == 0, isOr && len(some) == 0:
			return n // settles all
		default:
			out = append(out, n)
		}
	}
	if len(out) == 1 {
		return out[0]
	}
	if and {
		return store.And(out)
	}
	return store.Or(out)
}

// formulaOf is a normal expression on a type as a formula of lists; ok is false
// where they do not answer it exactly.
func formulaOf(x store.Expr, typ string) (f Formula, ok bool) {
	switch x := x.(type) {
	case store.And:
		return everyOf(x, typ)
	case store.Or:
		f.Op = SomeOf
		for _, part := range x {
			p, ok := formulaOf(part, typ)
			if !ok {
				return f, false
			}
			f.Of = append(f.Of, p)
		}
		return f, true
	case store.Not:
		return everyOf([]store.Expr{x}, typ)
	case store.Test:
		return testFormula(&x, typ)
	}
	return f, false
}

func testFormula(t *store.Test, typ string) (Formula, bool) {
	if t.Cond.How == store.Present && t.Param != store.ParamID && t.Param != store.ParamUpdated {
		return Formula{Op: Held, Hash: HashOfHeld(typ, t.Param), Type: typ, Param: t.Param}, true
	}
	d, ok := driverOf(typ, t)
	if !ok || !d.tight || d.none || t.Param == store.ParamID {
		return Formula{}, false
	}
	f := Formula{Op: SomeOf}
	for i := range d.scans {
		if d.scans[i].Index != Equal {
			return Formula{}, false
		}
		f.Of = append(f.Of, Formula{Op: List, Hash: d.scans[i].Hash})
	}
	if len(f.Of) == 1 {
		return f.Of[0], true
	}
	return f, true
}

// everyOf is what is in the lists of all parts, less those of parts that say Not.
func everyOf(parts []store.Expr, typ string) (Formula, bool) {
	var with, without []Formula
	for _, part := range parts {
		not, isNot := part.(store.Not)
		if isNot {
			part = not.Of
		}
		p, ok := formulaOf(part, typ)
		switch {
		case !ok:
			return Formula{}, false
		case isNot:
			without = append(without, p)
		default:
			with = append(with, p)
		}
	}
	f := Formula{Op: EveryOf, Of: with}
	switch len(with) {
	case 0:
		f = Formula{Op: List, Hash: HashOfType(typ)}
	case 1:
		f = with[0]
	}
	if len(without) == 0 {
		return f, true
	}
	return Formula{Op: FirstBut, Of: append([]Formula{f}, without...)}, true
}

// driver is how an index answers a test: the union of scans holds every match.
type driver struct {
	scans []Scan
	tight bool // and nothing else
	none  bool // nothing can match
}

// driverOf is the index of a test on a type; ok is false when there is none.
func driverOf(typ string, t *store.Test) (d driver, ok bool) {
	c := &t.Cond
	switch c.How {
	case store.Is:
		return driver{scans: equal(HashOf(typ, t.Param, c.Space, c.Name)), tight: c.Text == ""}, c.Space != "" || c.Name != ""
	case store.Versioned:
		return driver{scans: equal(HashOf(typ, t.Param, c.Space, c.Name))}, true
	case store.Named:
		return driver{scans: equal(HashOfName(typ, t.Param, c.Name)), tight: true}, c.Name != ""
	case store.Starts:
		return startsDriver(typ, t)
	case store.Exactly, store.Whole, store.Leads:
		return driver{scans: prefix(typ, t.Param, Words, c.Text)}, c.Text != ""
	case store.Above:
		return driver{scans: ancestors(typ, t.Param, c.Name)}, true
	case store.All:
		return tupleDriver(typ, t)
	case store.Near:
		return nearDriver(typ, t)
	case store.Present, store.Within, store.Contains, store.Ends, store.Outside:
		return driver{}, false
	default:
		low, high := edgesOf(c.Unit)
		return rangeDriver(FieldHash(typ, t.Param, low), FieldHash(typ, t.Param, high), boundsOf(t))
	}
}

func equal(hashes ...uint64) []Scan {
	scans := make([]Scan, len(hashes))
	for i, h := range hashes {
		scans[i] = Scan{Index: Equal, Hash: h}
	}
	return scans
}

// united are Equal scans as few walks, where the engine can.
func (r *run) united(scans []Scan) []Scan {
	u, ok := r.snap.(Uniter)
	if !ok || len(scans) < 2 || slices.ContainsFunc(scans, func(s Scan) bool { return s.Index != Equal }) {
		return scans
	}
	hashes := make([]uint64, 0, len(scans))
	for i := range scans {
		hashes = append(append(hashes, scans[i].Hash), scans[i].More...)
	}
	slices.Sort(hashes)
	hashes = slices.Compact(hashes)
	out := scans[:0:0]
	for part := range slices.Chunk(hashes, u.Unite()) {
		out = append(out, Scan{Index: Equal, Hash: part[0], More: part[1:]})
	}
	return out
}

func prefix(typ, param string, edge byte, start string) []Scan {
	key := []byte(truncate(start))
	return []Scan{{Index: Prefix, Hash: FieldHash(typ, param, edge), From: key, To: key}}
}

// startsDriver: a Name asks for URIs, a Text for texts.
func startsDriver(typ string, t *store.Test) (driver, bool) {
	c := &t.Cond
	if c.Name != "" {
		return driver{scans: prefix(typ, t.Param, Paths, withoutScheme(c.Name))}, !schemeOnly(c.Name)
	}
	return driver{scans: prefix(typ, t.Param, Words, c.Text)}, c.Text != ""
}

// schemeOnly says whether a URI is (the beginning of) nothing but a scheme that
// keys do not hold.
func schemeOnly(uri string) bool {
	return slices.ContainsFunc(schemes[:], func(s string) bool { return strings.HasPrefix(s, uri) })
}

// ancestors are the lists of all URIs that name lies below or is.
func ancestors(typ, param, name string) []Scan {
	hashes := []uint64{HashOf(typ, param, "", name)}
	for i := range len(name) {
		if name[i] != '/' {
			continue
		}
		for _, root := range [...]string{name[:i], name[:i+1]} {
			if h := HashOf(typ, param, "", root); root != "" && !slices.Contains(hashes, h) {
				hashes = append(hashes, h)
			}
		}
	}
	return equal(hashes...)
}

// tupleDriver: the named parts share one key.
func tupleDriver(typ string, t *store.Test) (driver, bool) {
	var names []string
	for i := range t.Cond.Parts {
		switch c := &t.Cond.Parts[i]; {
		case c.How == store.Is || c.How == store.Named:
			names = append(names, c.Name)
		case c.How < store.Inside || c.How > store.Before:
			return driver{}, false // may be met by a part that has a name
		}
	}
	return driver{scans: equal(HashOfTuple(typ, t.Param, names...))}, len(names) > 0
}

// nearDriver is the band of latitudes within the radius.
func nearDriver(typ string, t *store.Test) (driver, bool) {
	lat, ok := store.FloatOf(t.Cond.Lo)
	if !ok || t.Cond.Radius < 0 || math.IsNaN(t.Cond.Radius) {
		return driver{none: true}, true
	}
	const metresPerDegree = 111_000 // a little less than any, so that the band is wide enough
	d := t.Cond.Radius/metresPerDegree + 1e-6
	s := Scan{Index: Ordered, Hash: FieldHash(typ, t.Param, Low), From: store.OrderedFloat(lat - d), To: store.OrderedFloat(lat + d)}
	return driver{scans: []Scan{s}}, true
}

// bounds is where the low ends of ranges that meet a condition lie, for ranges
// no wider than Slack; wider ones may also lie below from when their high end
// is at or behind high.
type bounds struct {
	from, to []byte // inclusive, eight bytes; nil: unbounded
	high     []byte // nil: wider ones lie within from and to, too
	none     bool
	points   bool // no range is wider than a point
	ok       bool // false: says nothing
}

func boundsOf(t *store.Test) bounds {
	c, b := &t.Cond, bounds{ok: true}
	slack := uint64(Slack)
	if t.Param == store.ParamUpdated { // always a point
		slack, b.points = 0, true
	}
	switch c.How {
	case store.Inside:
		b.from, b.to = orNil(c.Lo), orNil(c.Hi)
	case store.Overlaps:
		b.from, b.high, b.to = slacked(c.Lo, slack), orNil(c.Lo), orNil(c.Hi)
	case store.Greater:
		b.from, b.high, b.none = slacked(c.Hi, slack), orNil(c.Hi), c.Hi == nil
	case store.AtLeast:
		b.from = orNil(c.Lo)
		if c.Hi == nil {
			break
		}
		if b.high = orNil(c.Hi); b.from != nil && string(slacked(c.Hi, slack)) < string(b.from) {
			b.from = slacked(c.Hi, slack)
		}
	case store.Less, store.Before:
		b.to, b.none = orNil(c.Lo), c.Lo == nil
	case store.AtMost:
		b.to = orNil(c.Hi)
		if b.to != nil && string(orNil(c.Lo)) > string(b.to) {
			b.to = orNil(c.Lo)
		}
	case store.After:
		b.from, b.none = orNil(c.Hi), c.Hi == nil
	default:
		b.ok = false
	}
	return b
}

func orNil(v []byte) []byte {
	if v == nil {
		return nil
	}
	return eight(v)
}

// slacked is where ranges that reach v and are no wider than slack begin.
func slacked(v []byte, slack uint64) []byte {
	if v == nil {
		return nil
	}
	n := binary.BigEndian.Uint64(eight(v))
	return binary.BigEndian.AppendUint64(nil, n-min(n, slack))
}

// within narrows b to what also lies in o; right only where there is one range.
func (b bounds) within(o bounds) bounds {
	if o.from != nil && (b.from == nil || string(o.from) > string(b.from)) {
		b.from = o.from
	}
	if o.to != nil && (b.to == nil || string(o.to) < string(b.to)) {
		b.to = o.to
	}
	if o.high != nil && (b.high == nil || string(o.high) < string(b.high)) {
		b.high = o.high // the lesser: an end may satisfy one condition only
	}
	b.points = b.points || o.points
	b.none = b.none || o.none || b.crossed() && b.high == nil
	b.ok = b.ok || o.ok
	return b
}

func (b bounds) crossed() bool {
	return b.from != nil && b.to != nil && string(b.from) > string(b.to)
}

// edgesOf names the indexes of ranges as written, or in base units.
func edgesOf(u store.Unit) (low, high byte) {
	if u == store.UnitBase {
		return BaseLow, BaseHigh
	}
	return Low, High
}

// rangeDriver walks the low ends within b, and the high ends of wide ranges.
func rangeDriver(low, high uint64, b bounds) (driver, bool) {
	if !b.ok || b.none {
		return driver{none: b.none}, b.none
	}
	if b.from == nil && b.to == nil {
		return driver{}, false
	}
	var d driver
	if !b.crossed() {
		d.scans = append(d.scans, Scan{Index: Ordered, Hash: low, From: b.from, To: b.to})
	}
	if b.high != nil && b.from != nil && !b.points {
		d.scans = append(d.scans, Scan{Index: Ordered, Hash: high, From: b.high})
	}
	return d, len(d.scans) > 0
}

// overTexts says whether a condition is driven by the words of texts.
func overTexts(c *store.Cond) bool {
	switch c.How {
	case store.Exactly, store.Whole, store.Leads:
		return true
	default:
		return c.How == store.Starts && c.Name == ""
	}
}

// any says whether an index has a hit; it is asked once in a run.
func (a *arm) any(s Scan) (bool, error) {
	is := field{s.Index, s.Hash}
	if known, ok := a.r.held[is]; ok {
		return known, nil
	}
	s.Hint = 1
	_, has, err := (&scanStream{scan: s}).next(a.r)
	if err == nil {
		a.r.held[is] = has
	}
	return has, err
}

// label names a test for Explain.
func label(t *store.Test) string {
	return strings.TrimSpace(t.Param + " " + strings.TrimPrefix(t.Cond.Space+"|"+t.Cond.Name, "|") + t.Cond.Text)
}
