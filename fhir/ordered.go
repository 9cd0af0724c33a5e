package fhir

import (
	"bytes"
	"strings"
)

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
// the first byte, each further byte holds two digits, so that eight bytes tell
// fourteen digits apart:
//
//	  1.5  C0 02 33      pairs 01 50, each plus one
//	  150  C1 02 33
//	-1.5   3F FD CC FF   complement, ended by FF so that longer sorts first
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
