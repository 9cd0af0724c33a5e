package fhirpath

import (
	"math"

	"github.com/cockroachdb/apd/v3"
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

// arithmetic compiles + - * / div mod &.
func arithmetic(op string, x, y evaluator) evaluator {
	return pair(x, y, func(r *run, a, b, out []Item) ([]Item, error) {
		var va, vb value
		hasA, err := r.single(a, op, &va)
		if err != nil {
			return out, err
		}
		hasB, err := r.single(b, op, &vb)
		if err != nil {
			return out, err
		}
		if op == "&" {
			return concat(&va, &vb, out)
		}
		if !hasA || !hasB {
			return out, nil
		}
		v, err := calculate(op, &va, &vb)
		if err != nil || v == nil {
			return out, err
		}
		return append(out, v.item()), nil
	})
}

// concat is &, for which empty is ”.
func concat(a, b *value, out []Item) ([]Item, error) {
	for _, v := range [...]*value{a, b} {
		if v.kind != kindString && v.kind != kindNone {
			return out, errorf("& needs strings, got %s", systemTypes[v.kind])
		}
	}
	return appendText(out, a.text+b.text), nil
}

// calculate gives nil where the result is empty (division by zero, overflow).
func calculate(op string, a, b *value) (*value, error) {
	switch {
	case a.kind == kindInteger && b.kind == kindInteger && op != "/":
		return integers(op, a.number, b.number), nil
	case a.isNumber() && b.isNumber():
		return decimalsOf(op, a, b), nil
	case a.kind == kindString && b.kind == kindString && op == "+":
		return stringValue(a.text + b.text), nil
	case a.isMoment() && b.kind == kindQuantity && (op == "+" || op == "-"):
		return shift(a, b, op == "-")
	case a.kind == kindQuantity && (b.kind == kindQuantity || b.isNumber()), a.isNumber() && b.kind == kindQuantity:
		return quantities(op, a, b)
	}
	return nil, errorf("%s is not defined for %s and %s", op, systemTypes[a.kind], systemTypes[b.kind])
}

func integers(op string, a, b int64) *value {
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
	return intValue(n)
}

func decimalsOf(op string, a, b *value) *value {
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
func finite(d *apd.Decimal, err error) *value {
	if err != nil || d.Form != apd.Finite || d.Exponent > maxExponent || d.Exponent < -2*maxExponent {
		return nil
	}
	return decimalValue(d)
}

// whole is d without fraction as an integer, nil when it does not fit.
func whole(d *apd.Decimal) *value {
	var z apd.Decimal
	if _, err := decimals().Quantize(&z, d, 0); err != nil {
		return nil
	}
	n, err := z.Int64()
	if err != nil {
		return nil
	}
	return intValue(n)
}

// numeric: functions on one number.
func numeric(name string) (function, bool) {
	switch name {
	case "abs", "ceiling", "floor", "truncate", "exp", "ln", "sqrt":
		return function{0, 0, onContext, givesAny, false, unaryMath}, true
	case "log", "power":
		return function{1, 1, onContext, givesAny, false, binaryMath}, true
	case "round":
		return function{0, 1, onContext, givesAny, false, round}, true
	}
	return function{}, false
}

// numberInput is the one number a function works on.
func (r *run) numberInput(k *call, in []Item, v *value) (ok bool, err error) {
	if ok, err = r.single(in, k.name+"()", v); err != nil || !ok {
		return false, err
	}
	if !v.isNumber() && (v.kind != kindQuantity || k.name != "abs") {
		return false, errorf("%s() needs a number, got %s", k.name, systemTypes[v.kind])
	}
	return true, nil
}

func unaryMath(r *run, k *call, _ *Item, in, out []Item) ([]Item, error) {
	var v value
	ok, err := r.numberInput(k, in, &v)
	if err != nil || !ok {
		return out, err
	}
	to := v.calculated(k.name)
	if to == nil {
		return out, nil
	}
	return append(out, to.item()), nil
}

// calculated is a function of one number; nil when it has no result.
func (v *value) calculated(name string) *value {
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

func (v *value) absolute() *value {
	to := new(value)
	*to = *v
	to.number = max(v.number, -v.number)
	to.decimal.Abs(&v.decimal)
	return to
}

// logarithm of x to a base, natural when base is nil.
func logarithm(x, base *apd.Decimal) *value {
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

func binaryMath(r *run, k *call, this *Item, in, out []Item) ([]Item, error) {
	var v, arg value
	ok, err := r.numberInput(k, in, &v)
	if err != nil || !ok {
		return out, err
	}
	if ok, err = r.one(k.args[0], this, k.name+"()", &arg); err != nil || !ok {
		return out, err
	}
	if !arg.isNumber() {
		return out, errorf("%s() needs a number, got %s", k.name, systemTypes[arg.kind])
	}
	var x, y apd.Decimal
	v.toDecimal(&x)
	arg.toDecimal(&y)
	to := power(&v, &arg, &x, &y)
	if k.name == "log" {
		to = logarithm(&x, &y)
	}
	if to == nil {
		return out, nil
	}
	return append(out, to.item()), nil
}

func power(v, arg *value, x, y *apd.Decimal) *value {
	var z apd.Decimal
	if _, err := rounded().Pow(&z, x, y); err != nil || z.Form != apd.Finite {
		return nil
	}
	if v.kind == kindInteger && arg.kind == kindInteger && arg.number >= 0 {
		return whole(&z)
	}
	return finite(&z, nil)
}

func round(r *run, k *call, this *Item, in, out []Item) ([]Item, error) {
	var v value
	ok, err := r.numberInput(k, in, &v)
	if err != nil || !ok {
		return out, err
	}
	to := 0
	if len(k.args) == 1 {
		if to, _, err = r.intArg(k, this, 0); err != nil {
			return out, err
		}
	}
	if to < 0 || to > places {
		return out, errorf("round() takes 0 to %d places", places)
	}
	var x, z apd.Decimal
	v.toDecimal(&x)
	if _, err := decimals().Quantize(&z, &x, int32(-to)); err != nil {
		return out, nil
	}
	return append(out, decimalValue(&z).item()), nil
}

// polarity compiles -x and +x.
func (c *compiler) polarity(a *ast, ctx typeSet) (compiled, error) {
	of, err := c.expr(a.args[0], ctx)
	if err != nil {
		return compiled{}, err
	}
	operand, sign := of.evaluator(), a.text
	return compiled{types: of.types, base: func(r *run, this *Item, out []Item) ([]Item, error) {
		v := new(value)
		ok, err := r.one(operand, this, sign, v)
		if err != nil || !ok {
			return out, err
		}
		if !v.isNumber() && v.kind != kindQuantity {
			return out, errorf("%s needs a number, got %s", sign, systemTypes[v.kind])
		}
		if sign == "-" {
			v.number = -v.number
			v.decimal.Neg(&v.decimal)
		}
		return append(out, v.item()), nil
	}}, nil
}
