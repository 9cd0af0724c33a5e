package fhirpath

import "github.com/cockroachdb/apd/v3"

func numeric(name string) (function, bool)    { return function{}, false }
func boundaries(name string) (function, bool) { return function{}, false }
func texts(name string) (function, bool)      { return function{}, false }
func encodings(name string) (function, bool)  { return function{}, false }
func converting(name string) (function, bool) { return function{}, false }

// decimals is the arithmetic of decimals.
func decimals() *apd.Context {
	ctx := apd.BaseContext.WithPrecision(100)
	ctx.Rounding = apd.RoundHalfUp
	return ctx
}
func arithmetic(op string, x, y evaluator) evaluator                { return nothing }
func (c *compiler) arithmeticTypes(op string, a, b typeSet) typeSet { return typeSet{} }
func equalQuantities(a, b *value) truth {
	return truthOf(a.unit == b.unit && a.decimal.Cmp(&b.decimal) == 0)
}
func equivalentQuantities(a, b *value) bool     { return equalQuantities(a, b) == yes }
func compareQuantities(a, b *value) (int, bool) { return a.decimal.Cmp(&b.decimal), a.unit == b.unit }
func calendarUnit(word string) (string, bool)   { return word, word == "day" || word == "days" }

// polarity compiles -x and +x.
func (c *compiler) polarity(a *ast, ctx typeSet) (compiled, error) {
	of, err := c.expr(a.args[0], ctx)
	if err != nil {
		return compiled{}, err
	}
	operand, sign := of.evaluator(), a.text
	return compiled{types: of.types, base: func(r *run, this *Item, out []Item) ([]Item, error) {
		var v value
		ok, err := r.one(operand, this, sign, &v)
		if err != nil || !ok {
			return out, err
		}
		n := new(value)
		*n = v
		switch {
		case v.kind != kindInteger && v.kind != kindDecimal && v.kind != kindQuantity:
			return out, errorf("%s needs a number, got %s", sign, systemTypes[v.kind])
		case sign == "-" && v.kind == kindInteger:
			n.number = -n.number
		case sign == "-":
			n.decimal.Neg(&v.decimal)
		}
		return append(out, n.item()), nil
	}}, nil
}
