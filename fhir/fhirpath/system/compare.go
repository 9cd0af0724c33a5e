package system

import (
	"strings"

	"github.com/cockroachdb/apd/v3"
)

// Equal is = on two values; known is false when their precision or units leave
// it open.
func Equal(a, b *Value) (equal, known bool) {
	switch {
	case a.IsNumber() && b.IsNumber():
		return a.compareNumber(b) == 0, true
	case a.Kind == KindQuantity && (b.IsNumber() || b.Kind == KindQuantity), b.Kind == KindQuantity && a.IsNumber():
		order, known := compareQuantities(a, b)
		return order == 0, known
	case a.IsMoment() && b.IsMoment():
		if (a.Kind == KindTime) != (b.Kind == KindTime) {
			return false, true
		}
		order, known := compareMoments(a.moment, b.moment)
		return order == 0, known || order != 0
	case a.Kind != b.Kind:
		return false, true
	case a.Kind == KindBoolean:
		return a.Truth == b.Truth, true
	default:
		return a.Text == b.Text && a.Unit == b.Unit, true
	}
}

// Equivalent is ~ on two values.
func Equivalent(a, b *Value) bool {
	switch {
	case a.Kind == KindString && b.Kind == KindString:
		return strings.EqualFold(strings.Join(strings.Fields(a.Text), " "), strings.Join(strings.Fields(b.Text), " "))
	case a.IsNumber() && b.IsNumber():
		return equivalentNumbers(a, b)
	case a.Kind == KindQuantity && b.Kind == KindQuantity:
		return equivalentQuantities(a, b)
	default:
		equal, known := Equal(a, b)
		return equal && known
	}
}

// Compare orders two values; known is false when precision or units leave it
// open. Values of different families are an error.
func Compare(a, b *Value) (order int, known bool, err error) {
	switch {
	case a.IsNumber() && b.IsNumber():
		return a.compareNumber(b), true, nil
	case a.Kind == KindQuantity && (b.IsNumber() || b.Kind == KindQuantity), b.Kind == KindQuantity && a.IsNumber():
		order, known = compareQuantities(a, b)
		return order, known, nil
	case a.IsMoment() && b.IsMoment() && (a.Kind == KindTime) == (b.Kind == KindTime):
		order, known = compareMoments(a.moment, b.moment)
		return order, known || order != 0, nil
	case a.Kind == KindString && b.Kind == KindString:
		return strings.Compare(a.Text, b.Text), true, nil
	default:
		return 0, false, Errorf("can't compare %s with %s", a.Kind.Name(), b.Kind.Name())
	}
}

// Comparable says whether two quantities have units of the same kind.
func Comparable(a, b *Value) bool {
	var x, y apd.Decimal
	return a.Kind == KindQuantity && b.Kind == KindQuantity && a.variable() == b.variable() && align(a, b, &x, &y)
}

// compareNumber orders two numbers exactly.
func (v *Value) compareNumber(o *Value) int {
	if v.Kind == KindInteger && o.Kind == KindInteger {
		switch {
		case v.Number < o.Number:
			return -1
		case v.Number > o.Number:
			return 1
		}
		return 0
	}
	var a, b apd.Decimal
	v.toDecimal(&a)
	o.toDecimal(&b)
	return a.Cmp(&b)
}

// equivalentNumbers rounds to the lesser precision of the two.
func equivalentNumbers(a, b *Value) bool {
	if a.Kind == KindInteger && b.Kind == KindInteger {
		return a.Number == b.Number
	}
	var x, y apd.Decimal
	a.toDecimal(&x)
	b.toDecimal(&y)
	x.Reduce(&x)
	y.Reduce(&y)
	least := min(max(max(x.Exponent, y.Exponent), -maxExponent), 0)
	ctx := decimals()
	_, err1 := ctx.Quantize(&x, &x, least)
	_, err2 := ctx.Quantize(&y, &y, least)
	return err1 == nil && err2 == nil && x.Cmp(&y) == 0
}
