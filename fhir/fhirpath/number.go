package fhirpath

import (
	"strings"

	"candela/fhir/fhirpath/syntax"
	"candela/fhir/fhirpath/system"
)

// arithmetic compiles + - * / div mod &.
func arithmetic(op string, x, y evaluator) evaluator {
	return pair(x, y, func(r *run, a, b, out []Item) ([]Item, error) {
		var va, vb system.Value
		hasA, err := r.single(a, op, &va)
		if err != nil {
			return out, err
		}
		hasB, err := r.single(b, op, &vb)
		if err != nil {
			return out, err
		}
		if op == "&" {
			if err := r.chargeText(len(va.Text) + len(vb.Text)); err != nil {
				return out, err
			}
			return concat(&va, &vb, out)
		}
		if !hasA || !hasB {
			return out, nil
		}
		if err := r.chargeText(len(va.Text) + len(vb.Text)); err != nil {
			return out, err
		}
		v, err := system.Calculate(op, &va, &vb)
		return appendValue(out, v), err
	})
}

// concat is &, for which empty is ”.
func concat(a, b *system.Value, out []Item) ([]Item, error) {
	for _, v := range [...]*system.Value{a, b} {
		if v.Kind != system.KindString && v.Kind != system.KindNone {
			return out, system.Errorf("& needs strings, got %s", v.Kind.Name())
		}
	}
	return appendText(out, a.Text+b.Text), nil
}

// polarity compiles -x and +x.
func (c *compiler) polarity(a *syntax.Node, ctx typeSet) (compiled, error) {
	of, err := c.expr(a.Args[0], ctx)
	if err != nil {
		return compiled{}, err
	}
	operand, sign := of.evaluator(), a.Text
	return compiled{base: func(r *run, this *Item, out []Item) ([]Item, error) {
		var v system.Value
		ok, err := r.one(operand, this, sign, &v)
		if err != nil || !ok {
			return out, err
		}
		if !v.IsNumber() && v.Kind != system.KindQuantity {
			return out, system.Errorf("%s needs a number, got %s", sign, v.Kind.Name())
		}
		if sign == "-" {
			return appendValue(out, v.Negate()), nil
		}
		kept := v
		return appendValue(out, &kept), nil
	}}, nil
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
func (r *run) numberInput(k *call, in []Item, v *system.Value) (ok bool, err error) {
	if ok, err = r.single(in, k.name+"()", v); err != nil || !ok {
		return false, err
	}
	if !v.IsNumber() && (v.Kind != system.KindQuantity || k.name != "abs") {
		return false, system.Errorf("%s() needs a number, got %s", k.name, v.Kind.Name())
	}
	return true, nil
}

func unaryMath(r *run, k *call, _ *Item, in, out []Item) ([]Item, error) {
	var v system.Value
	ok, err := r.numberInput(k, in, &v)
	if err != nil || !ok {
		return out, err
	}
	return appendValue(out, v.Math(k.name)), nil
}

func binaryMath(r *run, k *call, this *Item, in, out []Item) ([]Item, error) {
	var v, arg system.Value
	ok, err := r.numberInput(k, in, &v)
	if err != nil || !ok {
		return out, err
	}
	if ok, err = r.one(k.args[0], this, k.name+"()", &arg); err != nil || !ok {
		return out, err
	}
	if !arg.IsNumber() {
		return out, system.Errorf("%s() needs a number, got %s", k.name, arg.Kind.Name())
	}
	if k.name == "log" {
		return appendValue(out, system.Log(&v, &arg)), nil
	}
	return appendValue(out, system.Power(&v, &arg)), nil
}

func round(r *run, k *call, this *Item, in, out []Item) ([]Item, error) {
	var v system.Value
	ok, err := r.numberInput(k, in, &v)
	if err != nil || !ok {
		return out, err
	}
	places := 0
	if len(k.args) == 1 {
		if places, _, err = r.intArg(k, this, 0); err != nil {
			return out, err
		}
	}
	to, err := v.Round(places)
	return appendValue(out, to), err
}

// boundaries: the limits of what a partly known value can be, and the clock.
func boundaries(name string) (function, bool) {
	switch name {
	case "lowBoundary", "highBoundary":
		return function{0, 1, onContext, givesAny, false, boundary}, true
	case "precision":
		return function{0, 0, onContext, givesInteger, false, precision}, true
	case "comparable":
		return function{1, 1, onContext, givesBoolean, false, comparableTo}, true
	case "now", "today", "timeOfDay":
		return function{0, 0, onContext, givesAny, false, clock}, true
	}
	return function{}, false
}

func clock(r *run, k *call, _ *Item, _, out []Item) ([]Item, error) {
	return appendValue(out, system.Clock(k.name, r.now())), nil
}

func boundary(r *run, k *call, this *Item, in, out []Item) ([]Item, error) {
	var v system.Value
	ok, err := r.single(in, k.name+"()", &v)
	if err != nil || !ok {
		return out, err
	}
	digits, given := 0, false
	if len(k.args) == 1 {
		if digits, given, err = r.intArg(k, this, 0); err != nil {
			return out, err
		}
	}
	to, err := v.Boundary(k.name == "highBoundary", digits, given)
	return appendValue(out, to), err
}

func precision(r *run, _ *call, _ *Item, in, out []Item) ([]Item, error) {
	var v system.Value
	ok, err := r.single(in, "precision()", &v)
	if err != nil || !ok {
		return out, err
	}
	n, err := v.Precision()
	if err != nil {
		return out, err
	}
	return appendInt(out, n), nil
}

func comparableTo(r *run, k *call, this *Item, in, out []Item) ([]Item, error) {
	var v, other system.Value
	ok, err := r.single(in, "comparable()", &v)
	if err != nil || !ok {
		return out, err
	}
	if ok, err = r.one(k.args[0], this, "comparable()", &other); err != nil || !ok {
		return out, err
	}
	return appendBool(out, system.Comparable(&v, &other)), nil
}

// converting: toX and convertsToX.
func converting(name string) (function, bool) {
	short, asks := strings.CutPrefix(name, "convertsTo")
	if !asks {
		var ok bool
		if short, ok = strings.CutPrefix(name, "to"); !ok {
			return function{}, false
		}
	}
	target := system.KindOf(short)
	if target == system.KindNone {
		return function{}, false
	}
	f := function{0, 0, onContext, givesAny, false, conversion(target, asks)}
	if target == system.KindQuantity {
		f.most = 1 // the unit that is wanted
	}
	if asks {
		f.gives = givesBoolean
	}
	return f, true
}

func conversion(target system.Kind, asks bool) body {
	return func(r *run, k *call, this *Item, in, out []Item) ([]Item, error) {
		if len(in) == 0 {
			return out, nil
		}
		if len(in) > 1 {
			return out, system.Errorf("%s() needs one item, got %d", k.name, len(in))
		}
		var v system.Value
		to := new(system.Value)
		ok := r.load(&in[0], &v) && system.Convert(&v, target, to)
		if ok && len(k.args) == 1 {
			unit, given, err := r.textArg(k, this, 0)
			if err != nil {
				return out, err
			}
			ok = !given || to.InUnit(unit)
		}
		if asks {
			return appendBool(out, ok), nil
		}
		if !ok {
			return out, nil
		}
		return appendValue(out, to), nil
	}
}
