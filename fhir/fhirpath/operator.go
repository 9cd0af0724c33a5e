package fhirpath

import (
	"strings"

	"github.com/cockroachdb/apd/v3"

	"candela/fhir"
)

// binary compiles an infix operator other than is and as.
func (c *compiler) binary(a *ast, ctx typeSet) (compiled, error) {
	left, err := c.expr(a.args[0], ctx)
	if err != nil {
		return compiled{}, err
	}
	right, err := c.expr(a.args[1], ctx)
	if err != nil {
		return compiled{}, err
	}
	x, y := left.evaluator(), right.evaluator()
	truths := only(systemTypes[kindBoolean])
	switch a.text {
	case "and", "or", "xor", "implies":
		return compiled{base: logic(a.text, x, y), types: truths}, nil
	case "=", "!=", "~", "!~":
		return compiled{base: equality(a.text, x, y), types: truths}, nil
	case "<", "<=", ">", ">=":
		return compiled{base: comparison(a.text, x, y), types: truths}, nil
	case "in":
		return compiled{base: membership(x, y), types: truths}, nil
	case "contains":
		return compiled{base: membership(y, x), types: truths}, nil
	case "|":
		return compiled{base: union(x, y), types: left.types.union(right.types)}, nil
	default:
		return compiled{base: arithmetic(a.text, x, y)}, nil
	}
}

// logic is three-valued; the right side is only evaluated when it matters.
func logic(op string, x, y evaluator) evaluator {
	return func(r *run, this *Item, out []Item) ([]Item, error) {
		a, err := r.test(x, this, op)
		if err != nil {
			return out, err
		}
		if op == "and" && a == no || op == "or" && a == yes || op == "implies" && a == no {
			return appendBool(out, op != "and"), nil
		}
		b, err := r.test(y, this, op)
		if err != nil {
			return out, err
		}
		return decide(op, a, b).append(out), nil
	}
}

// decide knows that a alone did not settle it.
func decide(op string, a, b truth) truth {
	switch {
	case op == "and" && b == no:
		return no
	case (op == "or" || op == "implies") && b == yes:
		return yes
	case op == "xor" && a != unknown && b != unknown:
		return truthOf(a != b)
	case op == "xor":
		return unknown
	default:
		return min(a, b)
	}
}

// pair evaluates both sides and gives them to do.
func pair(x, y evaluator, do func(r *run, a, b, out []Item) ([]Item, error)) evaluator {
	return func(r *run, this *Item, out []Item) ([]Item, error) {
		a, err := x(r, this, r.get())
		if err != nil {
			return out, err
		}
		b, err := y(r, this, r.get())
		if err != nil {
			return out, err
		}
		out, err = do(r, a, b, out)
		r.put(a)
		r.put(b)
		return out, err
	}
}

func equality(op string, x, y evaluator) evaluator {
	return pair(x, y, func(r *run, a, b, out []Item) ([]Item, error) {
		if op == "~" || op == "!~" {
			return appendBool(out, r.equivalentLists(a, b) == (op == "~")), nil
		}
		t := r.equalLists(a, b)
		if op == "!=" && t != unknown {
			t = truthOf(t == no)
		}
		return t.append(out), nil
	})
}

// equalLists is = on collections: same length, same order.
func (r *run) equalLists(a, b []Item) truth {
	if len(a) == 0 || len(b) == 0 {
		return unknown
	}
	if len(a) != len(b) {
		return no
	}
	all := yes
	for i := range a {
		switch r.equal(&a[i], &b[i]) {
		case no:
			return no
		case unknown:
			all = unknown
		}
	}
	return all
}

// equal is = on two items.
func (r *run) equal(a, b *Item) truth {
	if a.val == nil && b.val == nil && a.Node == b.Node && a.Extra == b.Extra {
		return yes
	}
	if t := textEqual(a, b); t != unknown {
		return t
	}
	var va, vb value
	hasA, hasB := r.load(a, &va), r.load(b, &vb)
	switch {
	case hasA && hasB:
		return equalValues(&va, &vb)
	case hasA || hasB:
		return no
	}
	return truthOf(equalNodes(a.Node, b.Node) && equalNodes(a.Extra, b.Extra))
}

// textEqual settles the most frequent test, a string element against a string
// constant, without a copy.
func textEqual(a, b *Item) truth {
	if b.val == nil {
		a, b = b, a
	}
	if a.val != nil || b.val == nil || b.val.kind != kindString || a.Node.Kind() != fhir.String || primitiveKind(a.Type) != kindString {
		return unknown
	}
	return truthOf(textIs(a.Node, b.val.text))
}

func equalValues(a, b *value) truth {
	switch {
	case a.isNumber() && b.isNumber():
		return truthOf(a.compareNumber(b) == 0)
	case a.kind == kindQuantity && (b.isNumber() || b.kind == kindQuantity), b.kind == kindQuantity && a.isNumber():
		return equalQuantities(a, b)
	case a.isMoment() && b.isMoment():
		if (a.kind == kindTime) != (b.kind == kindTime) {
			return no
		}
		order, known := compareMoments(a.moment, b.moment)
		if order == 0 && !known {
			return unknown
		}
		return truthOf(order == 0)
	case a.kind != b.kind:
		return no
	case a.kind == kindBoolean:
		return truthOf(a.truth == b.truth)
	default:
		return truthOf(a.text == b.text && a.unit == b.unit)
	}
}

// compareNumber orders two numbers exactly.
func (v *value) compareNumber(o *value) int {
	if v.kind == kindInteger && o.kind == kindInteger {
		switch {
		case v.number < o.number:
			return -1
		case v.number > o.number:
			return 1
		}
		return 0
	}
	var a, b apd.Decimal
	v.toDecimal(&a)
	o.toDecimal(&b)
	return a.Cmp(&b)
}

// equalNodes compares JSON by content: numbers by value, members in any order.
func equalNodes(a, b fhir.Node) bool {
	if a == b || string(a.Raw()) == string(b.Raw()) && a.Exists() == b.Exists() {
		return true
	}
	if a.Kind() != b.Kind() {
		return false
	}
	switch a.Kind() {
	case fhir.Object:
		return equalMembers(a, b)
	case fhir.Array:
		if a.Len() != b.Len() {
			return false
		}
		i := 0
		for e := range a.Elements() {
			if !equalNodes(e, element(b, i)) {
				return false
			}
			i++
		}
		return true
	case fhir.Number:
		var x, y apd.Decimal
		return parseDecimal(&x, a.Text()) && parseDecimal(&y, b.Text()) && x.Cmp(&y) == 0
	default:
		return a.Text() == b.Text()
	}
}

func equalMembers(a, b fhir.Node) bool {
	if a.Len() != b.Len() {
		return false
	}
	for key, n := range a.Members() {
		if !equalNodes(n, b.Get(key)) {
			return false
		}
	}
	return true
}

// equivalentLists is ~ on collections: order means nothing.
func (r *run) equivalentLists(a, b []Item) bool {
	if len(a) != len(b) {
		return false
	}
	used := make([]bool, len(b))
	for i := range a {
		found := false
		for j := range b {
			if !used[j] && r.equivalent(&a[i], &b[j]) {
				used[j], found = true, true
				break
			}
		}
		if !found {
			return false
		}
	}
	return true
}

// equivalent is ~ on two items.
func (r *run) equivalent(a, b *Item) bool {
	var va, vb value
	hasA, hasB := r.load(a, &va), r.load(b, &vb)
	if hasA != hasB {
		return false
	}
	if !hasA {
		return r.equivalentElements(a, b)
	}
	switch {
	case va.kind == kindString && vb.kind == kindString:
		return strings.EqualFold(strings.Join(strings.Fields(va.text), " "), strings.Join(strings.Fields(vb.text), " "))
	case va.isNumber() && vb.isNumber():
		return equivalentNumbers(&va, &vb)
	case va.kind == kindQuantity && vb.kind == kindQuantity:
		return equivalentQuantities(&va, &vb)
	default:
		return equalValues(&va, &vb) == yes
	}
}

// equivalentElements compares complex elements child by child, ids left out.
func (r *run) equivalentElements(a, b *Item) bool {
	if equalNodes(a.Node, b.Node) {
		return true
	}
	for _, name := range r.model.Children(a.Type) {
		if name == "id" {
			continue
		}
		s := []step{{name: name}}
		x, y := r.walk(a, s, r.get()), r.walk(b, s, r.get())
		same := r.equivalentLists(x, y)
		r.put(x)
		r.put(y)
		if !same {
			return false
		}
	}
	return a.Type == b.Type
}

// equivalentNumbers rounds to the lesser precision of the two.
func equivalentNumbers(a, b *value) bool {
	if a.kind == kindInteger && b.kind == kindInteger {
		return a.number == b.number
	}
	var x, y apd.Decimal
	a.toDecimal(&x)
	b.toDecimal(&y)
	x.Reduce(&x)
	y.Reduce(&y)
	places := min(max(max(x.Exponent, y.Exponent), -maxExponent), 0)
	ctx := decimals()
	_, err1 := ctx.Quantize(&x, &x, places)
	_, err2 := ctx.Quantize(&y, &y, places)
	return err1 == nil && err2 == nil && x.Cmp(&y) == 0
}

// membership is `item in list`.
func membership(item, list evaluator) evaluator {
	return pair(item, list, func(r *run, a, b, out []Item) ([]Item, error) {
		switch len(a) {
		case 0:
			return out, nil
		case 1:
			return appendBool(out, r.has(b, &a[0])), nil
		default:
			return out, errorf("in and contains need one item, got %d", len(a))
		}
	})
}

// union drops duplicates of both sides.
func union(x, y evaluator) evaluator {
	return func(r *run, this *Item, out []Item) ([]Item, error) {
		list, err := x(r, this, r.get())
		if err == nil {
			list, err = y(r, this, list)
		}
		if err != nil {
			return out, err
		}
		from := len(out)
		for i := range list {
			out = r.appendNew(out, from, &list[i])
		}
		r.put(list)
		return out, nil
	}
}

func comparison(op string, x, y evaluator) evaluator {
	return pair(x, y, func(r *run, a, b, out []Item) ([]Item, error) {
		var va, vb value
		if ok, err := r.single(a, op, &va); err != nil || !ok {
			return out, err
		}
		if ok, err := r.single(b, op, &vb); err != nil || !ok {
			return out, err
		}
		order, known, err := compareValues(&va, &vb)
		if err != nil || !known {
			return out, err
		}
		return appendBool(out, ordered(op, order)), nil
	})
}

func ordered(op string, order int) bool {
	switch op {
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	default:
		return order >= 0
	}
}

// compareValues orders two values; known is false when precision or units leave
// it open.
func compareValues(a, b *value) (order int, known bool, err error) {
	switch {
	case a.isNumber() && b.isNumber():
		return a.compareNumber(b), true, nil
	case a.kind == kindQuantity && (b.isNumber() || b.kind == kindQuantity), b.kind == kindQuantity && a.isNumber():
		order, known = compareQuantities(a, b)
		return order, known, nil
	case a.isMoment() && b.isMoment() && (a.kind == kindTime) == (b.kind == kindTime):
		order, known = compareMoments(a.moment, b.moment)
		return order, known || order != 0, nil
	case a.kind == kindString && b.kind == kindString:
		return strings.Compare(a.text, b.text), true, nil
	default:
		return 0, false, errorf("can't compare %s with %s", systemTypes[a.kind], systemTypes[b.kind])
	}
}
