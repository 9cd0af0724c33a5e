package system

import (
	"errors"
	"testing"
	"time"

	"candela/fhir"
)

func read(t *testing.T, kind Kind, text string) *Value {
	t.Helper()
	v := new(Value)
	if !v.Read(kind, text) {
		t.Fatalf("%s is no %s", text, kind.Name())
	}
	return v
}

// TestMomentsCompared: what is known of two partly known moments.
func TestMomentsCompared(t *testing.T) {
	for _, c := range []struct{ a, want, b string }{
		{"2018", "<", "2019"},
		{"2018", "?", "2018-05"},
		{"2018-05-01", "?", "2018-05-01T10:00:00Z"},
		{"2018-05-01", "<", "2018-05-02T10:00:00Z"},
		{"2018-05-01T10:00:00Z", "=", "2018-05-01T12:00:00+02:00"},
		{"2018-05-01T10:00:00Z", ">", "2018-05-01T12:00:00.5+03:00"},
		{"2018-05-01T10:00:00", "?", "2018-05-01T12:00:00Z"},
		{"2018-05-01T10:00:00", "<", "2018-05-03T12:00:00Z"},
		{"2018-05-01T10:00:00.0", "=", "2018-05-01T10:00:00"},
		{"2018-05-01T10:00:00.01", ">", "2018-05-01T10:00:00.009"},
		{"2018-12-31T23:30:00-02:00", "=", "2019-01-01T01:30:00Z"},
	} {
		a, b := read(t, KindDateTime, c.a), read(t, KindDateTime, c.b)
		order, known, err := Compare(a, b)
		back, _, _ := Compare(b, a)
		got := "?"
		if known {
			got = string("<=>"[order+1])
		}
		if err != nil || got != c.want || back != -order {
			t.Errorf("%s %s %s, wanted %s (%v)", c.a, got, c.b, c.want, err)
		}
	}
}

func TestMomentsRefused(t *testing.T) {
	for kind, texts := range map[Kind][]string{
		KindDate:     {"", "18", "2018-", "2018-1", "2018-00", "2018-13", "2018-02-30", "2018-05-01T", "0000", "2018-05-01Z"},
		KindDateTime: {"2018-05T10", "2018-05-01T24", "2018-05-01T10:60", "2018-05-01T10:00:61", "2018-05-01T10:00:00.", "2018-05-01T10:00:00+15:00", "2018-05-01T10:00:00z", "2018-05-01 10:00"},
		KindTime:     {"", "1", "24", "10:", "10:00:00Z", "10:00:00.x"},
	} {
		for _, text := range texts {
			if new(Value).Read(kind, text) {
				t.Errorf("%q was read as %s", text, kind.Name())
			}
		}
	}
}

func TestCalculate(t *testing.T) {
	q := func(n, unit string) *Value {
		v, err := ReadNumber(n)
		if err != nil {
			t.Fatal(err)
		}
		return OfQuantity(v, unit, false)
	}
	n := func(text string) *Value { return read(t, KindDecimal, text) }
	for _, c := range []struct {
		a    *Value
		op   string
		b    *Value
		want string // "": empty
	}{
		{n("0.1"), "+", n("0.2"), "0.3"},
		{n("1e-20"), "+", n("1e20"), "100000000000000000000.00000000000000000001"},
		{n("1"), "/", n("3"), "0.3333333333333333333333333333"},
		{n("7.5"), "div", n("2"), "3"},
		{n("-7.5"), "mod", n("2"), "-1.5"},
		{n("1"), "mod", n("0"), ""},
		{OfInt(1 << 62), "+", OfInt(1 << 62), ""},
		{OfInt(-1 << 62), "-", OfInt(1<<62 + 1), ""},
		{OfInt(1 << 62), "*", OfInt(4), ""},
		{OfInt(7), "div", OfInt(-2), "-3"},
		{q("1", "kg"), "+", q("250", "g"), "1.250 'kg'"},
		{q("1", "kg"), "-", q("1", "m"), ""},
		{read(t, KindDate, "2020-01-31"), "+", q("1", "months"), "2020-02-29"},
		{read(t, KindDate, "2020-02-29"), "+", q("1", "year"), "2021-02-28"},
		{read(t, KindDate, "2020"), "+", q("25", "months"), "2022"},
		{read(t, KindDate, "2020-03"), "-", q("31", "days"), "2020-02"},
		{read(t, KindDate, "2020-03-01"), "-", q("49", "hours"), "2020-02-28"},
		{read(t, KindTime, "23:30:00"), "+", q("45", "min"), "00:15:00"},
		{read(t, KindTime, "00:15"), "-", q("1", "h"), "23:15"},
		{read(t, KindDateTime, "2020-01-01T00:00:00-05:00"), "-", q("1", "s"), "2019-12-31T23:59:59-05:00"},
		{read(t, KindDate, "9999-12-31"), "+", q("1", "d"), ""},
	} {
		got, err := Calculate(c.op, c.a, c.b)
		text := ""
		if got != nil {
			text = got.String()
		}
		if err != nil || text != c.want {
			t.Errorf("%s %s %s = %q (%v), wanted %q", c.a, c.op, c.b, text, err, c.want)
		}
	}
}

func TestCalculateRefused(t *testing.T) {
	date := read(t, KindDate, "2020-01-01")
	for _, c := range []struct {
		a  *Value
		op string
		b  *Value
	}{
		{date, "+", OfInt(1)},
		{date, "+", OfQuantity(OfInt(1), "mo", false)},
		{date, "+", OfQuantity(OfInt(1), "cm", false)},
		{date, "*", OfQuantity(OfInt(1), "day", true)},
		{OfText("a"), "-", OfText("b")},
		{OfBool(true), "+", OfBool(true)},
		{date, "+", OfQuantity(OfInt(1<<62), "day", true)},
	} {
		var refused *fhir.Error
		if v, err := Calculate(c.op, c.a, c.b); !errors.As(err, &refused) || refused.Status != 422 {
			t.Errorf("%s %s %s = %v, %v", c.a, c.op, c.b, v, err)
		}
	}
}

// TestNumbersBounded: a few characters can't become a gigabyte of digits.
func TestNumbersBounded(t *testing.T) {
	for _, text := range []string{"1e999999", "1e-999999", "", "e", "1e", "0x1", "NaN", "Infinity", "1_0"} {
		if new(Value).Read(KindDecimal, text) {
			t.Errorf("%q was read", text)
		}
	}
	start := time.Now()
	big := read(t, KindDecimal, "9e900")
	for _, f := range []string{"exp", "ln", "sqrt", "floor"} {
		big.Math(f)
	}
	Power(big, OfInt(1<<40))
	Log(big, big)
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("functions of a large number took %v", took)
	}
}
