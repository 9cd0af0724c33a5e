package search

import (
	"maps"
	"math"
	"strings"
	"sync"
	"sync/atomic"

	"candela/fhir"
	"candela/fhir/fhirpath"
	"candela/fhir/fhirpath/ucum"
	"candela/store"
)

// date gives what a date, Period or Timing covers.
func (x *extraction) date(dst []store.Value, item fhirpath.Item) []store.Value {
	n := item.Node
	switch item.Type {
	case "date", "dateTime", "instant", "System.Date", "System.DateTime":
		d, err := fhir.ParseDate(item.Text(), x.zone)
		if err != nil {
			return dst
		}
		if item.Type == "instant" {
			d.Hi = d.Lo
		}
		return x.window(dst, d.Lo, d.Hi)
	case "Period":
		lo, hi, ok := x.period(n)
		if !ok {
			return dst
		}
		return x.window(dst, lo, hi)
	case "Timing":
		return x.timing(dst, n)
	}
	return dst
}

// The open ends of a period.
const (
	longAgo = math.MinInt64
	forever = math.MaxInt64
)

func (x *extraction) window(dst []store.Value, lo, hi int64) []store.Value {
	v := store.Value{Kind: store.Range}
	if lo != longAgo {
		v.Lo = x.moment(lo)
	}
	if hi != forever {
		v.Hi = x.moment(hi)
	}
	return append(dst, v)
}

// period reads start and end; a missing one is open.
func (x *extraction) period(n fhir.Node) (lo, hi int64, ok bool) {
	start, err1 := fhir.ParseDate(n.Get("start").Text(), x.zone)
	end, err2 := fhir.ParseDate(n.Get("end").Text(), x.zone)
	lo, hi = longAgo, forever
	if err1 == nil {
		lo = start.Lo
	}
	if err2 == nil {
		hi = end.Hi
	}
	return lo, hi, err1 == nil || err2 == nil
}

// timing gives the outer bounds of a schedule: its events and its bounds period.
func (x *extraction) timing(dst []store.Value, n fhir.Node) []store.Value {
	lo, hi, found := int64(forever), int64(longAgo), false
	for e := range n.Get("event").Elements() {
		if d, err := fhir.ParseDate(e.Text(), x.zone); err == nil {
			lo, hi, found = min(lo, d.Lo), max(hi, d.Hi), true
		}
	}
	if from, to, ok := x.period(n.Path("repeat", "boundsPeriod")); ok {
		lo, hi, found = min(lo, from), max(hi, to), true
	}
	if !found {
		return dst
	}
	return x.window(dst, lo, hi)
}

func (x *extraction) moment(micros int64) []byte {
	from := len(x.bytes)
	x.bytes = append(x.bytes, store.OrderedInt(micros)...)
	return x.bytes[from:len(x.bytes):len(x.bytes)]
}

// dateConds reads [prefix]date.
func (r reader) dateConds(name, value string) ([]store.Cond, error) {
	how, rest, err := cutPrefix(name, value)
	if err != nil {
		return nil, err
	}
	// A space can only be the plus of an offset that was not percent-encoded.
	d, err := fhir.ParseDate(strings.Replace(rest, " ", "+", 1), r.zone)
	if err != nil {
		return nil, invalid(name, "not a date; use yyyy, yyyy-mm, yyyy-mm-dd or yyyy-mm-ddThh:mm[:ss[.sss]][Z|±hh:mm]")
	}
	if how == store.Overlaps {
		margin := (r.now.UnixMicro() - d.Lo) / 10 // a tenth of the distance from now
		d.Lo, d.Hi = d.Lo-max(margin, -margin), d.Hi+max(margin, -margin)
	}
	return []store.Cond{{How: how, Lo: store.OrderedInt(d.Lo), Hi: store.OrderedInt(d.Hi)}}, nil
}

// currencies is the system of the codes of Money.
const currencies = "urn:iso:std:iso:4217"

// quantity gives numbers as exact points and ranges by their ends, with the
// unit as written and, where that is of UCUM, the same in base units beside it.
// Several parameters and composites read one element, so the last are kept.
func (x *extraction) quantity(dst []store.Value, item fhirpath.Item) []store.Value {
	raw := item.Node.Raw()
	if len(raw) == 0 { // computed by the expression
		return x.amount(dst, item)
	}
	for i := range x.seen {
		if x.seen[i].at == &raw[0] {
			return append(dst, x.seen[i].value)
		}
	}
	from := len(dst)
	dst = x.amount(dst, item)
	if len(dst) == from+1 && len(x.seen) < lookBack {
		x.seen = append(x.seen, sighting{&raw[0], dst[from]})
	}
	return dst
}

// sighting is the value of an element that was read before.
type sighting struct {
	at    *byte // the first byte of the element
	value store.Value
}

func (x *extraction) amount(dst []store.Value, item fhirpath.Item) []store.Value {
	n := item.Node
	switch item.Type {
	case "decimal", "integer", "positiveInt", "unsignedInt", "System.Decimal", "System.Integer":
		return x.point(dst, store.Value{Kind: store.Range}, item.Text(), "")
	case "Money":
		v := store.Value{Kind: store.Range, Space: currencies, Name: x.names.of(n.Get("currency"))}
		return x.point(dst, v, n.Get("value").Text(), "")
	case "Range":
		return x.between(dst, n.Get("low"), n.Get("high"))
	case "SampledData":
		return x.sampled(dst, n)
	}
	if n.Kind() == fhir.Object && n.Get("value").Exists() {
		return x.point(dst, x.unit(n), n.Get("value").Text(), n.Get("comparator").Text())
	}
	return dst
}

// unit reads system, code and printed unit of a Quantity.
func (x *extraction) unit(n fhir.Node) store.Value {
	v := store.Value{Kind: store.Range}
	v.Space, v.Name, v.Text = x.names.of(n.Get("system")), x.names.of(n.Get("code")), x.names.of(n.Get("unit"))
	return v
}

// point is one number; a comparator opens the end that it leaves unknown.
func (x *extraction) point(dst []store.Value, v store.Value, number, comparator string) []store.Value {
	d, err := fhir.ParseDecimal(number)
	if err != nil {
		return dst
	}
	switch comparator {
	case "<", "<=":
		return x.span(dst, v, nil, &d)
	case ">", ">=":
		return x.span(dst, v, &d, nil)
	}
	return x.span(dst, v, &d, &d)
}

// span finishes a value with its ends, nil open, as written and in base units.
func (x *extraction) span(dst []store.Value, v store.Value, lo, hi *fhir.Decimal) []store.Value {
	v.Lo, v.Hi = x.ends(lo, hi, nil)
	if scale := x.units.of(v.Space, v.Name); scale != nil {
		base := store.Value{Kind: store.Range, Name: scale.base}
		base.Lo, base.Hi = x.ends(lo, hi, scale)
		x.bases = append(x.bases, base)
		at := len(x.bases)
		v.Parts = x.bases[at-1 : at : at]
	}
	return append(dst, v)
}

// ends keeps ordered bytes in the arena of this resource; a point has them once.
func (x *extraction) ends(lo, hi *fhir.Decimal, s *scale) (from, to []byte) {
	if lo != nil {
		from = x.ordered(s.base10(*lo))
	}
	switch {
	case hi == lo:
		to = from
	case hi != nil:
		to = x.ordered(s.base10(*hi))
	}
	return from, to
}

func (x *extraction) between(dst []store.Value, low, high fhir.Node) []store.Value {
	of := low
	if !of.Exists() {
		of = high
	}
	var lo, hi *fhir.Decimal
	if d, err := fhir.ParseDecimal(low.Get("value").Text()); err == nil {
		lo = &d
	}
	if d, err := fhir.ParseDecimal(high.Get("value").Text()); err == nil {
		hi = &d
	}
	if lo == nil && hi == nil {
		return dst
	}
	return x.span(dst, x.unit(of), lo, hi)
}

// sampled gives the range that the measured points span: origin + factor × point.
func (x *extraction) sampled(dst []store.Value, n fhir.Node) []store.Value {
	origin, err := fhir.ParseDecimal(n.Path("origin", "value").Text())
	if err != nil {
		return dst
	}
	factor, noFactor := fhir.ParseDecimal(n.Get("factor").Text())
	var lo, hi fhir.Decimal
	found := false
	for _, word := range strings.Fields(n.Get("data").Text()) {
		d, err := fhir.ParseDecimal(word)
		if err != nil { // E, L and U: error, below and above the limits
			continue
		}
		if noFactor == nil {
			d = d.Times(factor)
		}
		d = d.Plus(origin)
		if !found || d.Compare(lo) < 0 {
			lo = d
		}
		if !found || d.Compare(hi) > 0 {
			hi = d
		}
		found = true
	}
	if !found {
		return dst
	}
	return x.span(dst, x.unit(n.Get("origin")), &lo, &hi)
}

// ordered keeps d's ordered bytes in the arena of this resource.
func (x *extraction) ordered(d fhir.Decimal) []byte {
	from := len(x.bytes)
	x.bytes = d.AppendOrdered(x.bytes)
	return x.bytes[from:len(x.bytes):len(x.bytes)]
}

func numberConds(name, value string) ([]store.Cond, error) {
	how, d, err := number(name, value)
	if err != nil {
		return nil, err
	}
	return []store.Cond{around(how, d, nil)}, nil
}

// number reads [prefix]number.
func number(name, value string) (how store.How, d fhir.Decimal, err error) {
	how, rest, err := cutPrefix(name, value)
	if err != nil {
		return how, d, err
	}
	if d, err = fhir.ParseDecimal(rest); err != nil {
		return how, d, invalid(name, "not a number")
	}
	return how, d, nil
}

// around is the range that a number stands for in a comparison: its implied
// precision in eq and ne, a tenth around it in ap, else the exact number. The
// precision is that of the unit it is written in; s then takes it to base units.
func around(how store.How, d fhir.Decimal, s *scale) store.Cond {
	c := store.Cond{How: how}
	lo, hi := d, d
	switch how {
	case store.Inside, store.Outside:
		lo, hi = d.Implied()
		c.HiOpen = true
	case store.Overlaps:
		lo, hi = d.Approximate()
	default: // exact
	}
	c.Lo, c.Hi = s.base10(lo).Ordered(), s.base10(hi).Ordered()
	return c
}

// quantityConds reads n, n|system|code and n||code. A UCUM unit that is known
// is compared in base units, any other as written.
func (r reader) quantityConds(name, value string) ([]store.Cond, error) {
	parts := split(value, '|')
	if len(parts) != 1 && len(parts) != 3 {
		return nil, invalid(name, "a quantity is number, number|system|code or number||code")
	}
	how, d, err := number(name, unescape(parts[0]))
	if err != nil {
		return nil, err
	}
	if len(parts) == 1 {
		return []store.Cond{around(how, d, nil)}, nil
	}
	system, code := unescape(parts[1]), unescape(parts[2])
	if code == "" && system != "" {
		return nil, invalid(name, "a unit system needs a unit code behind it")
	}
	scale := r.units.of(system, code)
	c := around(how, d, scale)
	switch {
	case scale != nil:
		c.Unit, c.Name = store.UnitBase, scale.base
	case system != "":
		c.Unit, c.Space, c.Name = store.UnitIs, system, code
	case code != "":
		c.Unit, c.Name = store.UnitName, code
	}
	return []store.Cond{c}, nil
}

// unitsOfMeasure is the system of UCUM codes.
const unitsOfMeasure = "http://unitsofmeasure.org"

// scale takes numbers of a unit to base units.
type scale struct {
	base           string
	factor, offset fhir.Decimal
	shifted        bool
}

// baseDigits is the precision in base units: more than any measurement has, and
// so few that the error of factors like 1/60 is rounded away.
const baseDigits = 18

// base10 is d in base units; without a scale it is d.
func (s *scale) base10(d fhir.Decimal) fhir.Decimal {
	if s == nil {
		return d
	}
	if s.shifted {
		d = d.Plus(s.offset)
	}
	return d.Times(s.factor).Rounded(baseDigits)
}

// units remembers the scales of unit codes; it is bounded and read without a lock.
type units struct {
	mu    sync.Mutex
	known atomic.Pointer[map[string]*scale]
}

// maxUnits bounds what is remembered: health data has some hundred units.
const maxUnits = 4096

func newUnits() *units {
	u := &units{}
	u.known.Store(&map[string]*scale{})
	return u
}

// of is the scale of a unit, nil when it is none of UCUM or not known.
func (u *units) of(system, code string) *scale {
	if system != unitsOfMeasure {
		return nil
	}
	s, ok := (*u.known.Load())[code]
	if ok {
		return s
	}
	s = scaleOf(code)
	u.mu.Lock()
	defer u.mu.Unlock()
	if known := *u.known.Load(); len(known) < maxUnits {
		more := maps.Clone(known)
		more[code] = s
		u.known.Store(&more)
	}
	return s
}

func scaleOf(code string) *scale {
	from, ok := ucum.ScaleOf(code)
	if !ok {
		return nil
	}
	s := &scale{base: from.Base, shifted: from.Offset != ""}
	var err1, err2 error
	s.factor, err1 = fhir.ParseDecimal(from.Factor)
	s.offset, err2 = fhir.ParseDecimal("0" + from.Offset)
	if s.shifted {
		s.offset, err2 = fhir.ParseDecimal(from.Offset)
	}
	if err1 != nil || err2 != nil {
		return nil
	}
	return s
}
