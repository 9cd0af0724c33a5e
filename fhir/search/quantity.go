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
// unit. Units are as written here; a canonical unit would be a further value.
func (x *extraction) quantity(dst []store.Value, item fhirpath.Item) []store.Value {
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
	v.Lo = x.ordered(d)
	v.Hi = v.Lo
	switch comparator {
	case "<", "<=":
		v.Lo = nil
	case ">", ">=":
		v.Hi = nil
	}
	return append(dst, v)
}

func (x *extraction) between(dst []store.Value, low, high fhir.Node) []store.Value {
	of := low
	if !of.Exists() {
		of = high
	}
	v := x.unit(of)
	if d, err := fhir.ParseDecimal(low.Get("value").Text()); err == nil {
		v.Lo = x.ordered(d)
	}
	if d, err := fhir.ParseDecimal(high.Get("value").Text()); err == nil {
		v.Hi = x.ordered(d)
	}
	if v.Lo == nil && v.Hi == nil {
		return dst
	}
	return append(dst, v)
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
	v := x.unit(n.Get("origin"))
	v.Lo, v.Hi = x.ordered(lo), x.ordered(hi)
	return append(dst, v)
}

// ordered keeps d's ordered bytes in the arena of this resource.
func (x *extraction) ordered(d fhir.Decimal) []byte {
	from := len(x.bytes)
	x.bytes = d.AppendOrdered(x.bytes)
	return x.bytes[from:len(x.bytes):len(x.bytes)]
}

func numberConds(name, value string) ([]store.Cond, error) {
	how, rest, err := cutPrefix(name, value)
	if err != nil {
		return nil, err
	}
	d, err := fhir.ParseDecimal(rest)
	if err != nil {
		return nil, invalid(name, "not a number")
	}
	return []store.Cond{around(how, d)}, nil
}

// around is the range that a number stands for in a comparison: its implied
// precision in eq and ne, a tenth around it in ap, else the exact number.
func around(how store.How, d fhir.Decimal) store.Cond {
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
	c.Lo, c.Hi = lo.Ordered(), hi.Ordered()
	return c
}

// quantityConds reads n, n|system|code and n||code.
func quantityConds(name, value string) ([]store.Cond, error) {
	parts := split(value, '|')
	if len(parts) != 1 && len(parts) != 3 {
		return nil, invalid(name, "a quantity is number, number|system|code or number||code")
	}
	out, err := numberConds(name, unescape(parts[0]))
	if err != nil || len(parts) == 1 {
		return out, err
	}
	c := &out[0]
	c.Space, c.Name = unescape(parts[1]), unescape(parts[2])
	switch {
	case c.Name == "" && c.Space != "":
		return nil, invalid(name, "a unit system needs a unit code behind it")
	case c.Space != "":
		c.Unit = store.UnitIs
	case c.Name != "":
		c.Unit = store.UnitName
	}
	return out, nil
}
