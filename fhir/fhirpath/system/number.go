package system

import (
	"math"

	"github.com/cockroachdb/apd/v3"

	"candela/fhir"
)

// places is the precision of results that don't come out even, in digits.
const places = 28

// decimals is exact arithmetic: no sum or product of two literals needs more digits.
func decimals() *apd.Context {
	ctx := apd.BaseContext.WithPrecision(3 * maxExponent)
	ctx.Rounding = apd.RoundHalfUp
	ctx.Traps = 0
	return ctx
}

// rounded is arithmetic to places digits.
func rounded() *apd.Context {
	ctx := decimals()
	ctx.Precision = places
	return ctx
}

// Calculate does a op b for + - * / div mod. It gives nil where the result is empty (division by zero, overflow).
func Calculate(op string, a, b *Value) (*Value, error) {
	switch {
	case a.Kind == KindInteger && b.Kind == KindInteger && op != "/":
		return integers(op, a.Number, b.Number), nil
	case a.IsNumber() && b.IsNumber():
		return decimalsOf(op, a, b), nil
	case a.Kind == KindString && b.Kind == KindString && op == "+":
		return OfText(a.Text + b.Text), nil
	case a.IsMoment() && b.Kind == KindQuantity && (op == "+" || op == "-"):
		return shift(a, b, op == "-")
	case a.Kind == KindQuantity && (b.Kind == KindQuantity || b.IsNumber()), a.IsNumber() && b.Kind == KindQuantity:
		return quantities(op, a, b)
	}
	return nil, Errorf("%s is not defined for %s and %s", op, a.Kind.Name(), b.Kind.Name())
}

func integers(op string, a, b int64) *Value {
	if b == 0 && (op == "div" || op == "mod") {
		return nil
	}
	var n int64
	switch op {
	case "+":
		n = a + b
	case "-":
		n = a - b
	case "*":
		n = a * b
		if a != 0 && (n/a != b || a == -1 && b == math.MinInt64) {
			return nil
		}
	case "div":
		n = a / b
	case "mod":
		n = a % b
	}
	if op == "+" && (n > a) != (b > 0) && b != 0 || op == "-" && (n < a) != (b > 0) && b != 0 {
		return nil
	}
	return OfInt(n)
}

func decimalsOf(op string, a, b *Value) *Value {
	var x, y, z apd.Decimal
	a.toDecimal(&x)
	b.toDecimal(&y)
	if y.IsZero() && (op == "/" || op == "div" || op == "mod") {
		return nil
	}
	ctx := decimals()
	var err error
	switch op {
	case "+":
		_, err = ctx.Add(&z, &x, &y)
	case "-":
		_, err = ctx.Sub(&z, &x, &y)
	case "*":
		_, err = ctx.Mul(&z, &x, &y)
	case "/":
		_, err = rounded().Quo(&z, &x, &y)
	case "div":
		if _, err = ctx.QuoInteger(&z, &x, &y); err == nil {
			return whole(&z)
		}
	case "mod":
		_, err = ctx.Rem(&z, &x, &y)
	}
	return finite(&z, err)
}

// finite is nil for results that are no numbers or too large to write down.
func finite(d *apd.Decimal, err error) *Value {
	if err != nil || d.Form != apd.Finite || d.Exponent > maxExponent || d.Exponent < -2*maxExponent {
		return nil
	}
	return decimalValue(d)
}

// whole is d without fraction as an integer, nil when it does not fit.
func whole(d *apd.Decimal) *Value {
	var z apd.Decimal
	if _, err := decimals().Quantize(&z, d, 0); err != nil {
		return nil
	}
	n, err := z.Int64()
	if err != nil {
		return nil
	}
	return OfInt(n)
}

// Math does abs, ceiling, floor, truncate, exp, ln or sqrt of a number; nil when
// it has no result. abs is defined for quantities too.
func (v *Value) Math(name string) *Value {
	var x, z apd.Decimal
	v.toDecimal(&x)
	ctx := rounded()
	var err error
	switch name {
	case "abs":
		return v.absolute()
	case "ceiling":
		_, err = decimals().Ceil(&z, &x)
	case "floor":
		_, err = decimals().Floor(&z, &x)
	case "truncate":
		ctx = decimals()
		ctx.Rounding = apd.RoundDown
		_, err = ctx.Quantize(&z, &x, 0)
	case "exp":
		_, err = ctx.Exp(&z, &x)
		return finite(&z, err)
	case "ln":
		return logarithm(&x, nil)
	case "sqrt":
		if x.Negative && !x.IsZero() {
			return nil
		}
		_, err = ctx.Sqrt(&z, &x)
		return finite(&z, err)
	}
	if err != nil {
		return nil
	}
	return whole(&z)
}

func (v *Value) absolute() *Value {
	to := new(Value)
	*to = *v
	to.Number = max(v.Number, -v.Number)
	to.decimal.Abs(&v.decimal)
	return to
}

// logarithm of x to a base, natural when base is nil.
func logarithm(x, base *apd.Decimal) *Value {
	if x.Sign() <= 0 {
		return nil
	}
	var z, b apd.Decimal
	wide := rounded()
	wide.Precision = places + 12
	if _, err := wide.Ln(&z, x); err != nil {
		return nil
	}
	if base != nil {
		if base.Sign() <= 0 {
			return nil
		}
		if _, err := wide.Ln(&b, base); err != nil || b.IsZero() {
			return nil
		}
		if _, err := wide.Quo(&z, &z, &b); err != nil {
			return nil
		}
	}
	_, err := rounded().Round(&z, &z)
	return finite(&z, err)
}

// Log is the logarithm of v to a base; nil when it has none.
func Log(v, base *Value) *Value {
	var x, y apd.Decimal
	v.toDecimal(&x)
	base.toDecimal(&y)
	return logarithm(&x, &y)
}

// Power is v to the exponent; nil when it is no real number or too large.
func Power(v, exponent *Value) *Value {
	var x, y, z apd.Decimal
	v.toDecimal(&x)
	exponent.toDecimal(&y)
	if _, err := rounded().Pow(&z, &x, &y); err != nil || z.Form != apd.Finite {
		return nil
	}
	if v.Kind == KindInteger && exponent.Kind == KindInteger && exponent.Number >= 0 {
		return whole(&z)
	}
	return finite(&z, nil)
}

// Round is v to a number of decimal places, halves away from zero.
func (v *Value) Round(to int) (*Value, error) {
	if to < 0 || to > places {
		return nil, Errorf("round() takes 0 to %d places", places)
	}
	var x, z apd.Decimal
	v.toDecimal(&x)
	if _, err := decimals().Quantize(&z, &x, int32(-to)); err != nil {
		return nil, nil //nolint:nilerr // a result beyond the decimals is empty in FHIRPath
	}
	return decimalValue(&z), nil
}

// Negate is -v for a number or quantity.
func (v *Value) Negate() *Value {
	to := new(Value)
	*to = *v
	to.Number = -v.Number
	to.decimal.Neg(&v.decimal)
	return to
}

// Errorf is an evaluation error: a *fhir.Error with status 422.
func Errorf(format string, args ...any) *fhir.Error {
	return fhir.Errorf(422, fhir.CodeInvariant, "FHIRPath: "+format, args...)
}
