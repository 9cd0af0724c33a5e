package search

import (
	"math"
	"math/big"
	"strconv"
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
		return x.point(dst, item.Text(), fhir.Node{}, "")
	case "Money":
		v := store.Value{Kind: store.Range, Space: currencies, Name: x.names.of(n.Get("currency"))}
		return x.point1(dst, v, n.Get("value"))
	case "Range":
		return x.between(dst, n.Get("low"), n.Get("high"))
	case "SampledData":
		return x.sampled(dst, n)
	}
	if n.Kind() == fhir.Object && n.Get("value").Exists() {
		return x.point(dst, n.Get("value").Text(), n, n.Get("comparator").Text())
	}
	return dst
}

// unit reads system, code and printed unit of a Quantity.
func (x *extraction) unit(n fhir.Node) store.Value {
	v := store.Value{Kind: store.Range}
	if !n.Exists() {
		return v
	}
	v.Space, v.Name, v.Text = x.names.of(n.Get("system")), x.names.of(n.Get("code")), x.names.of(n.Get("unit"))
	return v
}

func (x *extraction) point1(dst []store.Value, v store.Value, n fhir.Node) []store.Value {
	d, ok := parseDecimal(n.Text())
	if !ok {
		return dst
	}
	v.Lo = x.ordered(d)
	v.Hi = v.Lo
	return append(dst, v)
}

// point is one number; a comparator opens the end that it leaves unknown.
func (x *extraction) point(dst []store.Value, number string, unit fhir.Node, comparator string) []store.Value {
	d, ok := parseDecimal(number)
	if !ok {
		return dst
	}
	v := x.unit(unit)
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
	if d, ok := parseDecimal(low.Get("value").Text()); ok {
		v.Lo = x.ordered(d)
	}
	if d, ok := parseDecimal(high.Get("value").Text()); ok {
		v.Hi = x.ordered(d)
	}
	if v.Lo == nil && v.Hi == nil {
		return dst
	}
	return append(dst, v)
}

// sampled gives the range that the measured points span: origin + factor × point.
func (x *extraction) sampled(dst []store.Value, n fhir.Node) []store.Value {
	origin, ok := parseDecimal(n.Path("origin", "value").Text())
	if !ok {
		return dst
	}
	factor, scaled := parseDecimal(n.Get("factor").Text())
	var lo, hi decimal
	found := false
	for _, word := range strings.Fields(n.Get("data").Text()) {
		d, ok := parseDecimal(word)
		if !ok { // E, L and U: error, below and above the limits
			continue
		}
		if scaled {
			d = d.times(factor)
		}
		d = d.plus(origin)
		if !found || d.less(lo) {
			lo = d
		}
		if !found || hi.less(d) {
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
func (x *extraction) ordered(d decimal) []byte {
	from := len(x.bytes)
	x.bytes = d.appendOrdered(x.bytes)
	return x.bytes[from:len(x.bytes):len(x.bytes)]
}

func numberConds(name, value string) ([]store.Cond, error) {
	how, rest, err := cutPrefix(name, value)
	if err != nil {
		return nil, err
	}
	d, ok := parseDecimal(rest)
	if !ok {
		return nil, invalid(name, "not a number")
	}
	return []store.Cond{around(how, d)}, nil
}

// around is the range that a number stands for in a comparison: its implied
// precision in eq and ne, a tenth around it in ap, else the exact number.
func around(how store.How, d decimal) store.Cond {
	c := store.Cond{How: how}
	lo, hi := d, d
	switch how {
	case store.Inside, store.Outside:
		lo, hi = d.implied()
		c.HiOpen = true
	case store.Overlaps:
		lo, hi = d.approximately()
	}
	c.Lo, c.Hi = lo.bytes(), hi.bytes()
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

// decimal is an exact decimal number: unscaled × 10^-scale. The scale keeps
// the precision as written: 100 has scale 0, 1.00 scale 2, 1e2 scale -2.
type decimal struct {
	unscaled *big.Int
	scale    int
}

// maxExponent bounds e-notation: FHIR numbers stay far below, and a number such
// as 1e999999999 must not cost memory.
const maxExponent = 4096

// parseDecimal reads a FHIR decimal or integer, e-notation included.
func parseDecimal(s string) (decimal, bool) {
	mantissa, exponent := s, 0
	if at := strings.IndexAny(s, "eE"); at >= 0 {
		e, err := strconv.Atoi(s[at+1:])
		if err != nil || e > maxExponent || e < -maxExponent {
			return decimal{}, false
		}
		mantissa, exponent = s[:at], e
	}
	whole, frac, point := strings.Cut(mantissa, ".")
	sign := strings.TrimPrefix(strings.TrimPrefix(whole, "-"), "+")
	if sign == "" || point && frac == "" || len(mantissa) > 1024 || !allDigits(sign) || !allDigits(frac) {
		return decimal{}, false
	}
	n := new(big.Int)
	if v, err := strconv.ParseInt(whole+frac, 10, 64); err == nil {
		n.SetInt64(v)
	} else if _, ok := n.SetString(whole+frac, 10); !ok {
		return decimal{}, false
	}
	return decimal{n, len(frac) - exponent}, true
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// implied is the range of numbers that d stands for at its written precision:
// from half a unit of the last place below it (inclusive) to half a unit above
// (exclusive).
func (d decimal) implied() (lo, hi decimal) {
	ten := new(big.Int).Mul(d.unscaled, big.NewInt(10))
	five := big.NewInt(5)
	return decimal{new(big.Int).Sub(ten, five), d.scale + 1}, decimal{new(big.Int).Add(ten, five), d.scale + 1}
}

// approximately is d widened by a tenth of its size on both sides.
func (d decimal) approximately() (lo, hi decimal) {
	ten := new(big.Int).Mul(d.unscaled, big.NewInt(10))
	tenth := new(big.Int).Abs(d.unscaled)
	return decimal{new(big.Int).Sub(ten, tenth), d.scale + 1}, decimal{new(big.Int).Add(ten, tenth), d.scale + 1}
}

func (d decimal) times(f decimal) decimal {
	return decimal{new(big.Int).Mul(d.unscaled, f.unscaled), d.scale + f.scale}
}

func (d decimal) plus(o decimal) decimal {
	a, b := d.at(max(d.scale, o.scale)), o.at(max(d.scale, o.scale))
	return decimal{new(big.Int).Add(a, b), max(d.scale, o.scale)}
}

func (d decimal) less(o decimal) bool {
	s := max(d.scale, o.scale)
	return d.at(s).Cmp(o.at(s)) < 0
}

// at is the unscaled value at a finer scale.
func (d decimal) at(scale int) *big.Int {
	if scale == d.scale {
		return d.unscaled
	}
	f := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale-d.scale)), nil)
	return f.Mul(f, d.unscaled)
}

// appendOrdered appends bytes that sort as the numbers do, equal numbers alike
// (1.0 and 1.00): sign and decimal exponent in three bytes, then two digits a
// byte, so that eight bytes hold ten digits.
func (d decimal) appendOrdered(dst []byte) []byte {
	if d.unscaled.Sign() == 0 {
		return append(dst, 0x80)
	}
	var room [40]byte
	text := d.unscaled.Append(room[:0], 10)
	negative := text[0] == '-'
	if negative {
		text = text[1:]
	}
	exponent := len(text) - d.scale
	for text[len(text)-1] == '0' {
		text = text[:len(text)-1]
	}
	from := len(dst)
	biased := uint16(min(max(exponent, math.MinInt16), math.MaxInt16) - math.MinInt16)
	dst = append(dst, 0xC0, byte(biased>>8), byte(biased))
	for i := 0; i < len(text); i += 2 {
		pair := (text[i]-'0')*10 + 1
		if i+1 < len(text) {
			pair += text[i+1] - '0'
		}
		dst = append(dst, pair)
	}
	if negative {
		for i := from; i < len(dst); i++ {
			dst[i] = ^dst[i]
		}
		dst = append(dst, 0xFF)
	}
	return dst
}

func (d decimal) bytes() []byte { return d.appendOrdered(make([]byte, 0, 12)) }
