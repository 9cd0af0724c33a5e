package fhir

import (
	"bytes"
	"math/big"
	"strconv"
	"strings"
)

// Decimal is a FHIR decimal (or integer), exact and with the precision it was
// written in: 1.00 and 1.0 are equal in value and differ in precision. The zero
// Decimal is 0.
type Decimal struct {
	negative bool
	digits   string // significant digits without leading zeros; "" for zero
	exponent int    // power of ten of the last digit
	powered  bool   // written with an exponent
}

// maxMagnitude bounds the power of ten of the first digit: that of an IEEE
// double, so that every client can read the number.
const maxMagnitude = 308

// ParseDecimal reads a JSON number ("-1.50", "1e2"). It refuses, at no cost, more
// than 256 characters and magnitudes outside 1e±308.
func ParseDecimal(text string) (Decimal, error) {
	if len(text) > maxNumber {
		return Decimal{}, Errorf(400, CodeTooLong, "a number is longer than %d characters", maxNumber)
	}
	d := Decimal{}
	mantissa := text
	if at := strings.IndexAny(text, "eE"); at >= 0 {
		e, ok := smallInt(text[at+1:])
		if !ok {
			return Decimal{}, badDecimal()
		}
		mantissa, d.exponent, d.powered = text[:at], e, true
	}
	mantissa, d.negative = strings.CutPrefix(mantissa, "-")
	whole, fraction, point := strings.Cut(mantissa, ".")
	if !allDigits(whole) || len(whole) > 1 && whole[0] == '0' || point && !allDigits(fraction) {
		return Decimal{}, badDecimal()
	}
	d.digits = strings.TrimLeft(joined(mantissa, whole, fraction), "0")
	d.exponent -= len(fraction)
	if m := d.magnitude(); m > maxMagnitude || m < -maxMagnitude {
		return Decimal{}, Errorf(400, CodeValue, "a number is outside the range of decimals")
	}
	return d, nil
}

func badDecimal() *Error { return Errorf(400, CodeValue, "not a decimal number") }

// joined is whole+fraction, without a copy where there is no point.
func joined(mantissa, whole, fraction string) string {
	if fraction == "" {
		return mantissa
	}
	return whole + fraction
}

// smallInt reads a signed exponent of at most four digits.
func smallInt(s string) (int, bool) {
	bare := strings.TrimPrefix(strings.TrimPrefix(s, "+"), "-")
	if len(s)-len(bare) > 1 || !allDigits(bare) {
		return 0, false
	}
	if bare = strings.TrimLeft(bare, "0"); len(bare) > 4 {
		return 0, false
	}
	n, _ := strconv.Atoi("0" + bare)
	if s[0] == '-' {
		n = -n
	}
	return n, true
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// magnitude is the power of ten of the first digit.
func (d Decimal) magnitude() int { return d.exponent + max(len(d.digits), 1) - 1 }

// Sign is -1, 0 or 1.
func (d Decimal) Sign() int {
	switch {
	case d.digits == "":
		return 0
	case d.negative:
		return -1
	default:
		return 1
	}
}

// String is the number without an exponent, in its precision.
func (d Decimal) String() string {
	s := d.digits
	if s == "" {
		s = "0"
	}
	if d.exponent > 0 && d.digits != "" {
		s += strings.Repeat("0", d.exponent)
	}
	if d.exponent < 0 {
		if pad := 1 - d.exponent - len(s); pad > 0 {
			s = strings.Repeat("0", pad) + s
		}
		s = s[:len(s)+d.exponent] + "." + s[len(s)+d.exponent:]
	}
	if d.Sign() < 0 {
		s = "-" + s
	}
	return s
}

// Float is the nearest float64: for statistics, never for comparing or storing.
func (d Decimal) Float() float64 {
	f, _ := strconv.ParseFloat(d.String(), 64)
	return f
}

// Implied is the range [lo, hi) of the numbers that d stands for in its written
// precision (R4 search.html, "number"): half a unit of the last place to both
// sides. 100 is [99.5, 100.5), 100.00 is [99.995, 100.005); with a positive
// exponent the unit is a tenth of the last written place: 1e2 is [95, 105).
func (d Decimal) Implied() (lo, hi Decimal) {
	place := d.exponent - 1 // where half a unit is a five
	if d.powered && d.exponent > 0 {
		place--
	}
	n := d.unscaled()
	for at := d.exponent; at > place; at-- {
		n.Mul(n, big.NewInt(10))
	}
	five := big.NewInt(5)
	return fromInt(new(big.Int).Sub(n, five), place), fromInt(new(big.Int).Add(n, five), place)
}

func (d Decimal) unscaled() *big.Int {
	n := new(big.Int)
	if d.digits != "" {
		n.SetString(d.digits, 10)
	}
	if d.negative {
		n.Neg(n)
	}
	return n
}

func fromInt(n *big.Int, exponent int) Decimal {
	digits := new(big.Int).Abs(n).String()
	return Decimal{negative: n.Sign() < 0, digits: strings.TrimLeft(digits, "0"), exponent: exponent}
}

// Plus is the exact sum, in the finer precision of both.
func (d Decimal) Plus(o Decimal) Decimal {
	place := min(d.exponent, o.exponent)
	return fromInt(new(big.Int).Add(d.unscaledAt(place), o.unscaledAt(place)), place)
}

// Times is the exact product.
func (d Decimal) Times(o Decimal) Decimal {
	negative, exponent := d.negative != o.negative, d.exponent+o.exponent
	switch {
	case d.digits == "" || o.digits == "1":
		return Decimal{negative: negative, digits: d.digits, exponent: exponent}
	case len(d.digits)+len(o.digits) <= 19: // below 1e19 a product fits into 64 bits
		a, _ := strconv.ParseUint(d.digits, 10, 64)
		b, _ := strconv.ParseUint("0"+o.digits, 10, 64)
		return Decimal{negative: negative, digits: strings.TrimLeft(strconv.FormatUint(a*b, 10), "0"), exponent: exponent}
	}
	return fromInt(new(big.Int).Mul(d.unscaled(), o.unscaled()), d.exponent+o.exponent)
}

// Rounded is d in at most n significant digits, halves away from zero.
func (d Decimal) Rounded(n int) Decimal {
	if len(d.digits) <= n {
		return d
	}
	cut := len(d.digits) - n
	up := d.digits[n] >= '5'
	out := Decimal{negative: d.negative, digits: d.digits[:n], exponent: d.exponent + cut}
	if up {
		one := Decimal{negative: d.negative, digits: "1", exponent: out.exponent}
		out = out.Plus(one)
	}
	return out
}

// Approximate is the range that R4 search recommends for "about d": a tenth of d
// to both sides.
func (d Decimal) Approximate() (lo, hi Decimal) {
	nine, eleven := Decimal{digits: "9", exponent: -1}, Decimal{digits: "11", exponent: -1}
	lo, hi = d.Times(nine), d.Times(eleven)
	if d.negative {
		lo, hi = hi, lo
	}
	return lo, hi
}

// unscaledAt is the number in units of ten to the power of place, which is not
// above the exponent.
func (d Decimal) unscaledAt(place int) *big.Int {
	f := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(d.exponent-place)), nil)
	return f.Mul(f, d.unscaled())
}

// Compare orders decimals by value: -1, 0 or 1. 1.0 equals 1.00.
func (d Decimal) Compare(o Decimal) int {
	var a, b [64]byte
	return bytes.Compare(d.AppendOrdered(a[:0]), o.AppendOrdered(b[:0]))
}

// Ordered is AppendOrdered to a slice of its own.
func (d Decimal) Ordered() []byte { return d.AppendOrdered(make([]byte, 0, 12)) }

// The first byte of the ordered form of positive numbers: the power of a
// hundred of the first pair of digits, when it lies within ±50. Negative numbers
// have the complement of their positive form.
const (
	orderedZero  = 0x80
	orderedTiny  = 0x81 // powers below -50; two bytes of power follow
	orderedOne   = 0xC0 // power 0
	orderedHuge  = 0xF4 // powers above 50; two bytes of power follow
	orderedBound = 50
)

// AppendOrdered appends bytes that bytes.Compare orders as the numbers,
// whatever their size; equal values give equal bytes. Sign and magnitude take
// the first byte, each further byte holds two digits:
//
//	 1.5  C0 02 33      pairs 01 50, each plus one
//	 150  C1 02 33
//	-1.5  3F FD CC FF   complement, ended by FF so that longer sorts first
//
// Eight bytes tell at least thirteen digits apart.
func (d Decimal) AppendOrdered(dst []byte) []byte {
	digits := strings.TrimRight(d.digits, "0")
	if digits == "" {
		return append(dst, orderedZero)
	}
	from := len(dst)
	magnitude := d.magnitude()
	dst = appendPower(dst, magnitude>>1)
	if magnitude&1 == 0 { // an even power of ten: the first pair has one digit
		dst = append(dst, digits[0]-'0'+1)
		digits = digits[1:]
	}
	for len(digits) > 1 {
		dst = append(dst, (digits[0]-'0')*10+digits[1]-'0'+1)
		digits = digits[2:]
	}
	if digits != "" {
		dst = append(dst, (digits[0]-'0')*10+1)
	}
	if d.negative {
		for i := from; i < len(dst); i++ {
			dst[i] = ^dst[i]
		}
		dst = append(dst, 0xFF)
	}
	return dst
}

func appendPower(dst []byte, power int) []byte {
	switch {
	case power < -orderedBound:
		biased := uint16(power + 1<<15)
		return append(dst, orderedTiny, byte(biased>>8), byte(biased))
	case power > orderedBound:
		return append(dst, orderedHuge, byte(power>>8), byte(power))
	default:
		return append(dst, byte(orderedOne+power))
	}
}
