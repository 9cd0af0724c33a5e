package fhirpath

import (
	"strings"

	"candela/fhir"
	"candela/fhir/fhirpath/syntax"
	"candela/fhir/fhirpath/system"
)

// compiler turns one parsed expression into closures.
type compiler struct {
	model  Model
	root   string
	text   string
	strict bool
}

// compiled is an expression ready to run: base (nil: this) followed by steps.
// Keeping the steps of a path apart lets a whole path run as one walk.
type compiled struct {
	base      evaluator
	steps     []step
	types     typeSet
	unordered bool // the order of the items means nothing
}

func (c *compiler) errorf(at *syntax.Node, code, format string, args ...any) error {
	return syntax.Errorf(c.text, at.Pos, code, format, args...)
}

func (c *compiler) rootTypes() typeSet {
	if c.root == "" {
		return typeSet{}
	}
	return only(c.root)
}

// nothing is what a dead branch compiles to.
func nothing(_ *run, _ *Item, out []Item) ([]Item, error) { return out, nil }

func itself(_ *run, this *Item, out []Item) ([]Item, error) { return append(out, *this), nil }

// evaluator finishes the closure.
func (x compiled) evaluator() evaluator {
	switch {
	case x.types.dead():
		if x.base == nil {
			return nothing
		}
		return x.base
	case x.base == nil && len(x.steps) == 0:
		return itself
	case x.base == nil:
		steps := x.steps
		return func(r *run, this *Item, out []Item) ([]Item, error) {
			out = r.walk(this, steps, out)
			return out, r.over()
		}
	case len(x.steps) == 0:
		return x.base
	default:
		return walkFrom(x.base, x.steps)
	}
}

func walkFrom(base evaluator, steps []step) evaluator {
	return func(r *run, this *Item, out []Item) ([]Item, error) {
		list, err := base(r, this, r.get())
		if err != nil {
			return out, err
		}
		for i := range list {
			if out = r.walk(&list[i], steps, out); r.spent > r.limit {
				break
			}
		}
		r.put(list)
		return out, r.over()
	}
}

// expr compiles a where $this is of one of the types of ctx.
func (c *compiler) expr(a *syntax.Node, ctx typeSet) (compiled, error) {
	switch a.Shape {
	case syntax.Empty:
		return compiled{base: nothing, types: only()}, nil
	case syntax.Name:
		return c.leading(a, ctx)
	case syntax.Call:
		return c.call(compiled{types: ctx}, a, ctx)
	case syntax.Dot:
		return c.dot(a, ctx)
	case syntax.Index:
		return c.index(a, ctx)
	case syntax.Sign:
		return c.polarity(a, ctx)
	case syntax.Binary:
		return c.binary(a, ctx)
	case syntax.Type:
		return c.typeOperator(a, ctx)
	case syntax.Dollar:
		return c.dollar(a, ctx), nil
	case syntax.Variable:
		return c.variable(a), nil
	default:
		return c.literal(a)
	}
}

// literal makes the value once.
func (c *compiler) literal(a *syntax.Node) (compiled, error) {
	var v *system.Value
	var err error
	switch a.Shape {
	case syntax.Boolean:
		v = system.OfBool(a.Text == "true")
	case syntax.Number, syntax.Quantity:
		v, err = system.ReadNumber(a.Text)
	case syntax.Moment:
		v, err = system.ReadMoment(a.Text)
	default:
		v = system.OfText(a.Text)
	}
	if err != nil {
		return compiled{}, c.errorf(a, fhir.CodeInvalid, "%v", err)
	}
	if a.Shape == syntax.Quantity {
		v = system.OfQuantity(v, a.Unit, a.Calendar)
	}
	return constant(itemOf(v)), nil
}

func constant(items ...Item) compiled {
	out := compiled{types: typeSet{known: true}}
	for _, it := range items {
		out.types = out.types.union(only(it.Type))
	}
	out.base = func(_ *run, _ *Item, out []Item) ([]Item, error) { return append(out, items...), nil }
	return out
}

// knows says whether the model has a FHIR type of that name.
func (c *compiler) knows(name string) bool {
	return c.model.IsA(name, "Element") || c.model.IsA(name, "Resource")
}

// leading compiles a name at the head of an expression: a type that the focus
// must be of, or an element of the focus.
func (c *compiler) leading(a *syntax.Node, ctx typeSet) (compiled, error) {
	if a.Text == "" || a.Text[0] < 'A' || a.Text[0] > 'Z' || !c.knows(a.Text) {
		return c.member(compiled{types: ctx}, a)
	}
	test := &typeTest{name: a.Text}
	types := test.narrow(c.model, ctx)
	if types.dead() && c.strict && !ctx.dead() {
		return compiled{}, c.errorf(a, fhir.CodeInvalid, "the focus is no %s but %s", a.Text, strings.Join(ctx.names, ", "))
	}
	out := compiled{types: types}
	if !ctx.known || !c.always(test, ctx) {
		out.steps = []step{{test: test}}
	}
	return out, nil
}

// always says whether every type of a set passes a test.
func (c *compiler) always(test *typeTest, types typeSet) bool {
	for _, n := range types.names {
		if !test.holds(c.model, &Item{Type: n}) {
			return false
		}
	}
	return true
}

// member adds the child element a names to left.
func (c *compiler) member(left compiled, a *syntax.Node) (compiled, error) {
	s := step{name: a.Text}
	types := typeSet{known: left.types.known}
	found := left.types.dead()
	for _, owner := range left.types.names {
		if isPrimitive(owner) && a.Text == "value" {
			continue
		}
		names, kinds, ok := c.model.Child(owner, a.Text)
		if !ok && !c.strict {
			names, kinds, ok = c.spelled(owner, a.Text)
		}
		if !ok {
			if open(owner) {
				types, found = typeSet{}, true
			}
			continue
		}
		s.known = append(s.known, memberOf(owner, names, kinds))
		types, found = types.union(only(kinds...)), true
	}
	if left.types.known && !found {
		return compiled{}, c.errorf(a, fhir.CodeInvalid, "%s has no element %s", strings.Join(left.types.names, ", "), a.Text)
	}
	left.types = types
	left.steps = append(left.steps[:len(left.steps):len(left.steps)], s)
	return left, nil
}

// spelled finds the choice whose JSON member is called name: published search
// parameters write extension(…).valueDateTime though FHIRPath wants value.
func (c *compiler) spelled(owner, name string) (names, types []string, ok bool) {
	for _, element := range c.model.Children(owner) {
		if !strings.HasPrefix(name, element) {
			continue
		}
		names, types, _ := c.model.Child(owner, element)
		for i, n := range names {
			if n == name {
				return names[i : i+1], types[i : i+1], true
			}
		}
	}
	return nil, nil, false
}

func (c *compiler) dot(a *syntax.Node, ctx typeSet) (compiled, error) {
	left, err := c.expr(a.Args[0], ctx)
	if err != nil {
		return compiled{}, err
	}
	switch right := a.Args[1]; right.Shape {
	case syntax.Name:
		return c.member(left, right)
	case syntax.Call:
		return c.call(left, right, ctx)
	default:
		if right.Text != "this" {
			return compiled{}, c.errorf(right, fhir.CodeInvalid, "$%s can't follow a dot", right.Text)
		}
		return left, nil
	}
}

func (c *compiler) index(a *syntax.Node, ctx typeSet) (compiled, error) {
	left, err := c.expr(a.Args[0], ctx)
	if err != nil {
		return compiled{}, err
	}
	inner, err := c.expr(a.Args[1], ctx)
	if err != nil {
		return compiled{}, err
	}
	list, at := left.evaluator(), inner.evaluator()
	run := func(r *run, this *Item, out []Item) ([]Item, error) {
		var v system.Value
		ok, err := r.one(at, this, "the index", &v)
		if err != nil || !ok {
			return out, err
		}
		if v.Kind != system.KindInteger {
			return out, system.Errorf("the index must be an integer")
		}
		items, err := list(r, this, r.get())
		if err == nil && v.Number >= 0 && v.Number < int64(len(items)) {
			out = append(out, items[v.Number])
		}
		r.put(items)
		return out, err
	}
	return compiled{base: run, types: left.types}, nil
}

// dollar compiles $this, $index and $total.
func (c *compiler) dollar(a *syntax.Node, ctx typeSet) compiled {
	switch a.Text {
	case "this":
		return compiled{types: ctx}
	case "index":
		return compiled{types: only(system.KindInteger.Name()), base: func(r *run, _ *Item, out []Item) ([]Item, error) {
			return append(out, itemOf(system.OfInt(int64(r.index)))), nil
		}}
	default:
		return compiled{base: func(r *run, _ *Item, out []Item) ([]Item, error) {
			return append(out, r.total...), nil
		}}
	}
}

// variable compiles %name.
func (c *compiler) variable(a *syntax.Node) compiled {
	name := a.Text
	if url, ok := constantURL(name); ok {
		return constant(itemOf(system.OfText(url)))
	}
	switch name {
	case "resource":
		return compiled{base: func(r *run, _ *Item, out []Item) ([]Item, error) { return append(out, r.resource()), nil }}
	case "rootResource":
		return compiled{base: func(r *run, _ *Item, out []Item) ([]Item, error) { return append(out, r.container()), nil }}
	case "context":
		return compiled{types: c.rootTypes(), base: func(r *run, _ *Item, out []Item) ([]Item, error) { return append(out, r.focus), nil }}
	}
	return compiled{base: func(r *run, _ *Item, out []Item) ([]Item, error) {
		items, ok := r.env.Vars[name]
		if !ok {
			return out, system.Errorf("%%%s is not defined", name)
		}
		return append(out, items...), nil
	}}
}

// constantURL gives the variables that FHIR defines as fixed URLs.
func constantURL(name string) (string, bool) {
	switch {
	case name == "ucum":
		return ucumSystem, true
	case name == "sct":
		return "http://snomed.info/sct", true
	case name == "loinc":
		return "http://loinc.org", true
	case strings.HasPrefix(name, "vs-"):
		return "http://hl7.org/fhir/ValueSet/" + name[3:], true
	case strings.HasPrefix(name, "ext-"):
		return "http://hl7.org/fhir/StructureDefinition/" + name[4:], true
	}
	return "", false
}

// typeTestOf reads a type specifier. cast is for as and ofType.
func (c *compiler) typeTestOf(a *syntax.Node, cast bool) (*typeTest, error) {
	space, name := "", a.Text
	if a.Shape == syntax.Dot && a.Args[0].Shape == syntax.Name && a.Args[1].Shape == syntax.Name {
		space, name = a.Args[0].Text, a.Args[1].Text
	} else if a.Shape != syntax.Name {
		return nil, c.errorf(a, fhir.CodeInvalid, "expected a type name")
	}
	t := &typeTest{exact: cast}
	switch space {
	case "System":
		t.system = "System." + name
		return t, nil
	case "", "FHIR":
		if c.knows(name) {
			t.name = name
		}
	default:
		return nil, c.errorf(a, fhir.CodeInvalid, "unknown namespace %s, expected FHIR or System", space)
	}
	if space == "" && isSystem(name) {
		t.system = "System." + name
		// Published R4 search parameters write value.as(DateTime) for a dateTime.
		if small := strings.ToLower(name[:1]) + name[1:]; cast && t.name == "" && c.knows(small) {
			t.name = small
		}
	}
	if t.name == "" && t.system == "" {
		return nil, c.errorf(a, fhir.CodeInvalid, "unknown type %s", name)
	}
	return t, nil
}

func isSystem(name string) bool {
	switch name {
	case "Boolean", "Integer", "Decimal", "String", "Date", "DateTime", "Time", "Quantity":
		return true
	}
	return false
}

// typeOperator compiles `x is T` and `x as T`.
func (c *compiler) typeOperator(a *syntax.Node, ctx typeSet) (compiled, error) {
	left, err := c.expr(a.Args[0], ctx)
	if err != nil {
		return compiled{}, err
	}
	test, err := c.typeTestOf(a.Args[1], a.Text == "as")
	if err != nil {
		return compiled{}, err
	}
	if a.Text == "is" {
		return isType(left, test), nil
	}
	return c.cast(left, test), nil
}

// cast keeps the items of a type. R4 search parameters use `as` on elements
// that repeat, so it filters.
func (c *compiler) cast(left compiled, test *typeTest) compiled {
	left.types = test.narrow(c.model, left.types)
	left.steps = append(left.steps[:len(left.steps):len(left.steps)], step{test: test})
	return left
}

func isType(left compiled, test *typeTest) compiled {
	items := left.evaluator()
	return compiled{types: only(system.KindBoolean.Name()), base: func(r *run, this *Item, out []Item) ([]Item, error) {
		list, err := items(r, this, r.get())
		switch {
		case err != nil:
			return out, err
		case len(list) > 1:
			err = system.Errorf("is needs one item, got %d", len(list))
		case len(list) == 1:
			out = appendBool(out, test.holds(r.model, &list[0]))
		}
		r.put(list)
		return out, err
	}}
}
