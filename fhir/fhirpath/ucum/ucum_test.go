package ucum

import (
	"strings"
	"testing"

	"github.com/cockroachdb/apd/v3"
)

// TestSame: one times the first unit is factor times the second.
func TestSame(t *testing.T) {
	for _, c := range []struct{ one, factor, other string }{
		{"g", "1000", "mg"},
		{"kg", "1000", "g"},
		{"mg/dL", "0.01", "g/L"},
		{"m2", "10000", "cm2"},
		{"wk", "7", "d"},
		{"d", "86400", "s"},
		{"a", "365.25", "d"},
		{"mo", "30.4375", "d"},
		{"[lb_av]", "453.59237", "g"},
		{"[in_i]", "2.54", "cm"},
		{"[ft_i]", "0.3048", "m"},
		{"mm[Hg]", "133.322", "Pa"},
		{"10*3/uL", "1000", "/uL"},
		{"10*-3", "0.001", "1"},
		{"%", "0.01", "1"},
		{"mmol/L", "0.001", "mol/L"},
		{"meq/L", "1", "mmol/L"},
		{"J", "1", "kg.m2/s2"},
		{"N", "1000", "g.m.s-2"},
		{"/min", "1", "{beats}/min"},
		{"mL/min/{1.73_m2}", "1", "mL/min"},
		{"kcal/(24.h)", "1", "kcal/d"},
		{"L", "1000", "mL"},
		{"cm[H2O]", "98.0665", "Pa"},
		{"m[IU]/mL", "1", "[iU]/L"},
		{"[degF]", "1", "[degF]"},
		{"mCel", "0.001", "Cel"},
	} {
		one, ok1 := Parse(c.one)
		other, ok2 := Parse(c.other)
		if !ok1 || !ok2 || !one.SameBase(other) {
			t.Errorf("%s and %s: read %v %v, bases %s and %s", c.one, c.other, ok1, ok2, one.Base(), other.Base())
			continue
		}
		want, _, _ := apd.NewFromString(c.factor)
		ratio := one.Div(other)
		if ratio.Factor.Cmp(want) != 0 {
			t.Errorf("1 %s is %s %s, wanted %s", c.one, &ratio.Factor, c.other, c.factor)
		}
	}
}

func TestDifferent(t *testing.T) {
	for _, c := range [][2]string{{"g", "m"}, {"s", "m"}, {"Cel", "K"}, {"[IU]", "g"}, {"mg/dL", "mg"}, {"m", "m2"}, {"1", "d"}} {
		one, ok1 := Parse(c[0])
		other, ok2 := Parse(c[1])
		if !ok1 || !ok2 || one.SameBase(other) {
			t.Errorf("%s and %s can't be compared (%v %v)", c[0], c[1], ok1, ok2)
		}
	}
}

func TestUnknown(t *testing.T) {
	for _, code := range []string{"", "days", "mg/", "/", "kkg", "m[in_i", "(m", "m)", "{open", "m 2", "m\n", "0", "lbs", "m99", "10*99", "m-31", "mm[Hg", ".m", strings.Repeat("m.", 70) + "m", strings.Repeat("(", 50)} {
		if u, ok := Parse(code); ok {
			t.Errorf("%q was read as %s %s", code, &u.Factor, u.Base())
		}
	}
}

// TestAtoms: every line of the table can be read.
func TestAtoms(t *testing.T) {
	count := 0
	for line := range strings.Lines(atoms) {
		code, _, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			continue
		}
		count++
		if u, ok := Parse(code); !ok || u.Factor.Sign() <= 0 {
			t.Errorf("%s can't be read", code)
		}
	}
	if count < 100 {
		t.Errorf("only %d units", count)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"mg/dL", "10*3/uL", "{a}", "m[H2O]", "(m.s)-1", "kg.m2/s2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, ok := Parse(s)
		if !ok {
			return
		}
		for _, n := range u.base {
			if max(n, -n) > maxPower { // can't be written in one unit
				return
			}
		}
		again, ok := Parse(u.Base())
		if len(u.Base()) <= maxCode && (!ok || !again.SameBase(u)) {
			t.Errorf("%q has base %q, which reads as %q", s, u.Base(), again.Base())
		}
	})
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Parse("mg/dL")
	}
}
