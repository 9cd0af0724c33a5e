package search

import (
	"strings"

	"candela/fhir"
	"candela/fhir/fhirpath"
	"candela/store"
)

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
