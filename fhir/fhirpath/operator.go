package fhirpath

import (
	"bytes"

	"candela/fhir"
	"candela/fhir/fhirpath/syntax"
	"candela/fhir/fhirpath/system"
)

// binary compiles an infix operator other than is and as.
func (c *compiler) binary(a *syntax.Node, ctx typeSet) (compiled, error) {
	left, err := c.expr(a.Args[0], ctx)
	if err != nil {
		return compiled{}, err
	}
	right, err := c.expr(a.Args[1], ctx)
	if err != nil {
		return compiled{}, err
	}
	x, y := left.evaluator(), right.evaluator()
	truths := only(system.KindBoolean.Name())
	switch a.Text {
	case "and", "or", "xor", "implies":
		return compiled{base: logic(a.Text, x, y), types: truths}, nil
	case "=", "!=", "~", "!~":
		return compiled{base: equality(a.Text, x, y), types: truths}, nil
	case "<", "<=", ">", ">=":
		return compiled{base: comparison(a.Text, x, y), types: truths}, nil
	case "in":
		return compiled{base: membership(x, y), types: truths}, nil
	case "contains":
		return compiled{base: membership(y, x), types: truths}, nil
	case "|":
		return compiled{base: union(x, y), types: left.types.union(right.types)}, nil
	default:
		return compiled{base: arithmetic(a.Text, x, y)}, nil
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
		if err == nil {
			err = r.charge(1)
		}
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
		case yes: // as far as this item goes
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
	var va, vb system.Value
	hasA, hasB := r.load(a, &va), r.load(b, &vb)
	switch {
	case hasA && hasB:
		equal, known := system.Equal(&va, &vb)
		if !known {
			return unknown
		}
		return truthOf(equal)
	case hasA || hasB:
		return no
	}
	r.spent += (len(a.Node.Raw()) + len(b.Node.Raw())) / bytesPerUnit
	if r.spent > r.limit {
		return yes // over tells
	}
	return truthOf(equalNodes(a.Node, b.Node) && equalNodes(a.Extra, b.Extra))
}

// textEqual settles the most frequent test, a string element against a string
// constant, without a copy.
func textEqual(a, b *Item) truth {
	if b.val == nil {
		a, b = b, a
	}
	if a.val != nil || b.val == nil || b.val.Kind != system.KindString || a.Node.Kind() != fhir.String || primitiveKind(a.Type) != system.KindString {
		return unknown
	}
	return truthOf(textIs(a.Node, b.val.Text))
}

// equalNodes compares JSON by content: numbers by value, members in any order.
func equalNodes(a, b fhir.Node) bool {
	if a == b || a.Exists() == b.Exists() && bytes.Equal(a.Raw(), b.Raw()) {
		return true
	}
	if a.Kind() != b.Kind() {
		return false
	}
	switch a.Kind() {
	case fhir.Object, fhir.Array:
		return equalInside(a, b)
	case fhir.Number:
		var x, y system.Value
		readA, readB := x.Read(system.KindDecimal, a.Text()), y.Read(system.KindDecimal, b.Text())
		equal, _ := system.Equal(&x, &y)
		return readA && readB && equal
	case fhir.String:
		return a.Text() == b.Text()
	default:
		return false
	}
}

// equalInside steps through both side by side; members that stand in another
// order are looked up.
func equalInside(a, b fhir.Node) bool {
	x, y := a.Cursor(), b.Cursor()
	for x.Next() {
		if !y.Next() {
			return false
		}
		other := y.Value()
		if !bytes.Equal(x.Name(), y.Name()) {
			other = b.Get(memberName(x.Name()))
		}
		if !equalNodes(x.Value(), other) {
			return false
		}
	}
	return !y.Next()
}

// memberName is a member's name without quotes; names of FHIR have no escapes.
func memberName(quoted []byte) string { return string(quoted[1 : len(quoted)-1]) }

// equivalentLists is ~ on collections: order means nothing.
func (r *run) equivalentLists(a, b []Item) bool {
	if len(a) != len(b) {
		return false
	}
	used := make([]bool, len(b))
	for i := range a {
		found := false
		for j := range b {
			if r.spent++; r.spent > r.limit {
				return true // over tells
			}
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
	var va, vb system.Value
	hasA, hasB := r.load(a, &va), r.load(b, &vb)
	if hasA != hasB {
		return false
	}
	if !hasA {
		return r.equivalentElements(a, b)
	}
	return system.Equivalent(&va, &vb)
}

// equivalentElements compares complex elements child by child, ids left out.
func (r *run) equivalentElements(a, b *Item) bool {
	r.spent += (len(a.Node.Raw()) + len(b.Node.Raw())) / bytesPerUnit
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

// membership is `item in list`.
func membership(item, list evaluator) evaluator {
	return pair(item, list, func(r *run, a, b, out []Item) ([]Item, error) {
		switch len(a) {
		case 0:
			return out, nil
		case 1:
			return appendBool(out, r.has(b, &a[0])), nil
		default:
			return out, system.Errorf("in and contains need one item, got %d", len(a))
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
		var va, vb system.Value
		if ok, err := r.single(a, op, &va); err != nil || !ok {
			return out, err
		}
		if ok, err := r.single(b, op, &vb); err != nil || !ok {
			return out, err
		}
		order, known, err := system.Compare(&va, &vb)
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
