package ucum

import (
	"testing"

	"github.com/cockroachdb/apd/v3"
)

// in is n of a unit in base units, to 18 digits.
func in(t *testing.T, n, code string) (amount, base string) {
	t.Helper()
	s, ok := ScaleOf(code)
	if !ok {
		t.Fatalf("%s is unknown", code)
	}
	ctx := apd.BaseContext.WithPrecision(60)
	var sum, product, offset, factor, number apd.Decimal
	for text, d := range map[string]*apd.Decimal{n: &number, s.Factor: &factor, "0" + s.Offset: &offset} {
		if _, _, err := d.SetString(text); err != nil {
			t.Fatalf("%s: %q: %v", code, text, err)
		}
	}
	if _, err := ctx.Add(&sum, &number, &offset); err != nil {
		t.Fatal(err)
	}
	if _, err := ctx.Mul(&product, &sum, &factor); err != nil {
		t.Fatal(err)
	}
	if _, err := apd.BaseContext.WithPrecision(18).Round(&product, &product); err != nil {
		t.Fatal(err)
	}
	product.Reduce(&product)
	return product.Text('f'), s.Base
}

// TestScale: two ways to say one amount have one form in base units.
func TestScale(t *testing.T) {
	for _, c := range [][4]string{
		{"5.4", "mg", "0.0054", "g"},
		{"37", "Cel", "98.6", "[degF]"},
		{"0", "Cel", "273.15", "K"},
		{"-40", "Cel", "-40", "[degF]"},
		{"37", "Cel", "310.15", "K"},
		{"80", "[degRe]", "100", "Cel"},
		{"491.67", "[degR]", "0", "Cel"},
		{"180", "[lb_av]", "81.6466266", "kg"},
		{"72", "/min", "1.2", "/s"},
		{"72", "{beats}/min", "1.2", "Hz"},
		{"120", "mm[Hg]", "15.99864", "kPa"},
		{"100", "mg/dL", "1", "g/L"},
		{"140", "mmol/L", "140", "meq/L"},
		{"7.5", "10*3/uL", "7.5", "10*9/L"},
		{"70", "[in_i]", "177.8", "cm"},
		{"6.5", "%", "0.065", "1"},
		{"40", "U/L", "0.04", "U/mL"},
		{"3", "d", "72", "h"},
		{"1", "[oz_av]", "28.349523125", "g"},
		{"1", "[foz_us]", "29.5735295625", "mL"},
		{"90", "mL/min/{1.73_m2}", "1.5", "mL/s"},
		{"2", "m[IU]/L", "2", "u[IU]/mL"},
		{"7.4", "[pH]", "7.4", "[pH]"},
		{"30", "kg/m2", "3", "g/cm2"},
		{"15", "ug/(24.h)", "15", "ug/d"},
	} {
		a, base := in(t, c[0], c[1])
		b, other := in(t, c[2], c[3])
		if a != b || base != other {
			t.Errorf("%s %s is %s %s, %s %s is %s %s", c[0], c[1], a, base, c[2], c[3], b, other)
		}
	}
	for _, code := range []string{"", "mgg", "milligram", "mg dL", "(", "m["} {
		if s, ok := ScaleOf(code); ok {
			t.Errorf("%q is read as %+v", code, s)
		}
	}
}
