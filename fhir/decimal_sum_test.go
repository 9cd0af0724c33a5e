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
