package fhir

import "testing"

func TestDecimalSumAndProductAreExact(t *testing.T) {
	for _, c := range [][4]string{
		{"0.1", "0.2", "0.3", "0.02"},
		{"-1.50", "1.5", "0", "-2.25"},
		{"1e3", "0.001", "1000.001", "1"},
		{"0", "7", "7", "0"},
		{"123456789012345678901234567890", "1", "123456789012345678901234567891", "123456789012345678901234567890"},
	} {
		a, b := number(t, c[0]), number(t, c[1])
		if sum := a.Plus(b); sum.Compare(number(t, c[2])) != 0 {
			t.Errorf("%s + %s = %s, want %s", c[0], c[1], sum, c[2])
		}
		if product := a.Times(b); product.Compare(number(t, c[3])) != 0 {
			t.Errorf("%s × %s = %s, want %s", c[0], c[1], product, c[3])
		}
	}
}

func TestDecimalApproximateIsATenthToBothSides(t *testing.T) {
	for _, c := range [][3]string{{"100", "90", "110"}, {"-5", "-5.5", "-4.5"}, {"0", "0", "0"}} {
		lo, hi := number(t, c[0]).Approximate()
		if lo.Compare(number(t, c[1])) != 0 || hi.Compare(number(t, c[2])) != 0 {
			t.Errorf("about %s is %s to %s, want %s to %s", c[0], lo, hi, c[1], c[2])
		}
	}
}

func number(t *testing.T, text string) Decimal {
	t.Helper()
	d, err := ParseDecimal(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestRounded: halves go away from zero, carries included, and what is short stays.
func TestRounded(t *testing.T) {
	for _, c := range [][2]string{{"1.25", "1.3"}, {"-1.25", "-1.3"}, {"99.6", "100"}, {"1.2", "1.2"}, {"123456", "120000"}, {"0", "0"}, {"0.00949", "0.0095"}} {
		d, err := ParseDecimal(c[0])
		if err != nil {
			t.Fatal(err)
		}
		want, err := ParseDecimal(c[1])
		if got := d.Rounded(2); err != nil || got.Compare(want) != 0 {
			t.Errorf("%s is rounded to %s, not %s", c[0], got, c[1])
		}
	}
}

// TestTimesWidths: products on both sides of 64 bits are exact.
func TestTimesWidths(t *testing.T) {
	for _, c := range [][3]string{
		{"9999999999", "999999999", "9999999989000000001"},
		{"99999999999", "9999999999", "999999999890000000001"},
		{"-1.50", "0.1", "-0.150"}, {"0", "-5", "0"}, {"12", "0", "0"}, {"-3", "-7", "21"},
	} {
		a, err1 := ParseDecimal(c[0])
		b, err2 := ParseDecimal(c[1])
		want, err3 := ParseDecimal(c[2])
		if got := a.Times(b); err1 != nil || err2 != nil || err3 != nil || got.Compare(want) != 0 {
			t.Errorf("%s times %s is %s, not %s", c[0], c[1], got, c[2])
		}
	}
}
