package fhir_test

import (
	"bytes"
	"math/big"
	"strings"
	"testing"

	"candela/fhir"

	"pgregory.net/rapid"
)

func decimal(t testing.TB, text string) fhir.Decimal {
	t.Helper()
	d, err := fhir.ParseDecimal(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return d
}

// The first four rows are the examples of the specification (R4 search, number).
func TestDecimalImpliedRange(t *testing.T) {
	for _, c := range []struct{ text, lo, hi string }{
		{"100", "99.5", "100.5"},
		{"100.00", "99.995", "100.005"},
		{"1e2", "95", "105"},
		{"0.0", "-0.05", "0.05"},
		{"-5.4", "-5.45", "-5.35"},
		{"0", "-0.5", "0.5"},
		{"1.5e1", "14.5", "15.5"},
		{"1e-2", "0.005", "0.015"},
		{"9.99", "9.985", "9.995"},
	} {
		lo, hi := decimal(t, c.text).Implied()
		if lo.Compare(decimal(t, c.lo)) != 0 || hi.Compare(decimal(t, c.hi)) != 0 {
			t.Errorf("%s is [%s, %s), want [%s, %s)", c.text, lo, hi, c.lo, c.hi)
		}
	}
}

func TestDecimalKeepsPrecisionInText(t *testing.T) {
	for in, want := range map[string]string{
		"1.00": "1.00", "-0.50": "-0.50", "0.000": "0.000", "-0": "0", "1e2": "100", "1.5E-3": "0.0015", "12.5e1": "125", "0e5": "0", "007e0": "",
	} {
		d, err := fhir.ParseDecimal(in)
		if want == "" {
			if err == nil {
				t.Errorf("%s must be refused", in)
			}
			continue
		}
		if err != nil || d.String() != want {
			t.Errorf("%s reads as %s (%v), want %s", in, d, err, want)
		}
	}
}

func TestDecimalRefuses(t *testing.T) {
	for _, text := range []string{
		"", "-", ".5", "1.", "+1", "01", "-01", "1e", "1e+", "1e+-2", "1.2.3", "1e2.5", "0x10", "1_000", " 1", "1 ", "NaN", "Infinity", "１",
		"1e400", "1e-400", "1e400000000", "1e99999999999999999999", "-1e309", strings.Repeat("9", 257),
	} {
		if d, err := fhir.ParseDecimal(text); err == nil {
			t.Errorf("%.40q was read as %s", text, d)
		}
	}
}

var decimalText = rapid.StringMatching(`-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?`)

func rational(t *rapid.T, text string) *big.Rat {
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		t.Fatalf("%s is no number", text)
	}
	return r
}

// Bytes order as the numbers do, whatever their form.
func TestDecimalOrderedBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := decimalText.Draw(t, "a"), decimalText.Draw(t, "b")
		x, err1 := fhir.ParseDecimal(a)
		y, err2 := fhir.ParseDecimal(b)
		if err1 != nil || err2 != nil {
			t.Fatalf("%v %v", err1, err2)
		}
		want := rational(t, a).Cmp(rational(t, b))
		if got := bytes.Compare(x.Ordered(), y.Ordered()); got != want {
			t.Fatalf("%s (% x) against %s (% x): %d, want %d", a, x.Ordered(), b, y.Ordered(), got, want)
		}
		if rational(t, x.String()).Cmp(rational(t, a)) != 0 {
			t.Fatalf("%s prints as %s", a, x)
		}
		if f, _ := rational(t, a).Float64(); f != x.Float() {
			t.Fatalf("%s as float is %v, want %v", a, x.Float(), f)
		}
	})
}

// Neighbours that differ in one digit, one place or the sign only.
func TestDecimalOrderedLadder(t *testing.T) {
	ladder := strings.Fields("-1e300 -1e103 -1e102 -1e101 -100.01 -100 -99.99 -10 -1.53 -1.5 -1.01 -1 -0.1 -0.01 -1e-101 -1e-300 0 " +
		"1e-300 1e-104 1e-103 1e-102 1e-101 0.01 0.0100001 0.1 0.99 1 1.0000000000001 1.01 1.5 1.53 9.9 10 10.01 99 99.99 100 101 1e101 1e102 1e103 1e104 1e300")
	for i := 1; i < len(ladder); i++ {
		if decimal(t, ladder[i-1]).Compare(decimal(t, ladder[i])) != -1 {
			t.Errorf("%s must sort before %s: % x, % x", ladder[i-1], ladder[i], decimal(t, ladder[i-1]).Ordered(), decimal(t, ladder[i]).Ordered())
		}
	}
	first8 := func(text string) string { return string(append(decimal(t, text).Ordered(), make([]byte, 8)...)[:8]) }
	if first8("120.0000000001") == first8("120.0000000002") {
		t.Error("eight bytes must tell thirteen digits apart")
	}
}
