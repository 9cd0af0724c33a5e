package fhirpath

import (
	"slices"
	"strings"

	"candela/fhir"
	"candela/fhir/fhirpath/system"
)

// typeSet is what the compiler knows of the types an expression can give. When
// known is false it can be anything; a known empty set is a dead branch.
type typeSet struct {
	known bool
	names []string
}

func only(names ...string) typeSet { return typeSet{true, names} }

func (s typeSet) dead() bool { return s.known && len(s.names) == 0 }

// union is what two expressions together can give.
func (s typeSet) union(o typeSet) typeSet {
	if !s.known || !o.known {
		return typeSet{}
	}
	names := slices.Clone(s.names)
	for _, n := range o.names {
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return typeSet{true, names}
}

// open says whether items of a type may turn out to be of a derived one.
func open(typ string) bool {
	switch typ {
	case "", "Resource", "DomainResource", "Element", "BackboneElement", "System.ClassInfo":
		return true
	}
	return false
}

// member is where one element may stand in the JSON of one type: names, the
// names of the primitive siblings, and types side by side.
type member struct {
	owner                string
	names, extras, types []string
}

func memberOf(owner string, names, types []string) member {
	m := member{owner: owner, names: names, types: types}
	for i, n := range names {
		if isPrimitive(types[i]) {
			m.extras = append(m.extras, "_"+n)
		}
	}
	return m
}

// step is one link of a path: a child element, or a type test.
type step struct {
	name  string
	known []member // resolved when compiled; other types are asked at run time
	test  *typeTest
}

// walk follows steps from it and appends where they lead.
func (r *run) walk(it *Item, steps []step, out []Item) []Item {
	if len(steps) == 0 {
		return append(out, *it)
	}
	s, rest := &steps[0], steps[1:]
	if s.test != nil {
		if !s.test.holds(r.model, it) {
			return out
		}
		return r.walk(it, rest, out)
	}
	if it.val != nil {
		return r.walkValue(it, s, rest, out)
	}
	for i := range s.known {
		if s.known[i].owner == it.Type {
			return r.enter(it, &s.known[i], rest, out)
		}
	}
	names, types, ok := r.model.Child(it.Type, s.name)
	if !ok {
		return out
	}
	m := memberOf(it.Type, names, types)
	return r.enter(it, &m, rest, out)
}

// walkValue: the only computed values with children are what type() gives.
func (r *run) walkValue(it *Item, s *step, rest []step, out []Item) []Item {
	if it.val.Kind != system.KindType {
		return out
	}
	var child Item
	switch s.name {
	case "namespace":
		child = itemOf(system.OfText(it.val.Unit))
	case "name":
		child = itemOf(system.OfText(it.val.Text))
	default:
		return out
	}
	return r.walk(&child, rest, out)
}

// enter goes to the member that is there. A primitive's children stand in the
// object beside it.
func (r *run) enter(it *Item, m *member, rest []step, out []Item) []Item {
	from := it.Node
	if isPrimitive(it.Type) {
		from = it.Extra
	}
	var k int
	var n fhir.Node
	if len(m.names) == 1 {
		n = from.Get(m.names[0])
	} else if k, n = from.Pick(m.names); k < 0 {
		return r.enterExtra(from, m, rest, out)
	}
	var extra fhir.Node
	if isPrimitive(m.types[k]) {
		if len(m.names) == 1 {
			extra = from.Get(m.extras[0])
		} else {
			extra = from.Get("_" + m.names[k])
		}
	}
	return r.emit(n, extra, m.types[k], rest, out)
}

// enterExtra finds a choice whose primitive has only extensions.
func (r *run) enterExtra(from fhir.Node, m *member, rest []step, out []Item) []Item {
	if len(m.extras) == 0 {
		return out
	}
	k, extra := from.Pick(m.extras)
	if k < 0 {
		return out
	}
	typ := m.types[slices.Index(m.names, m.extras[k][1:])]
	return r.emit(fhir.Node{}, extra, typ, rest, out)
}

// emit walks on from every value of an element.
func (r *run) emit(n, extra fhir.Node, typ string, rest []step, out []Item) []Item {
	if n.Kind() != fhir.Array && extra.Kind() != fhir.Array {
		return r.emitOne(n, extra, typ, rest, out)
	}
	i := 0
	for e := range n.Elements() {
		out = r.emitOne(e, element(extra, i), typ, rest, out)
		i++
	}
	for ; i < extra.Len() && extra.Kind() == fhir.Array; i++ {
		out = r.emitOne(fhir.Node{}, element(extra, i), typ, rest, out)
	}
	return out
}

// element is the i-th of an array, missing when it is null or not there.
func element(n fhir.Node, i int) fhir.Node {
	at := 0
	for e := range n.Elements() {
		if at == i {
			return e
		}
		at++
	}
	return fhir.Node{}
}

func (r *run) emitOne(n, extra fhir.Node, typ string, rest []step, out []Item) []Item {
	if r.spent += itemCost; r.spent > r.limit {
		return out // over tells
	}
	if n.Kind() == fhir.Null {
		n = fhir.Node{}
	}
	if extra.Kind() != fhir.Object {
		extra = fhir.Node{}
	}
	if !n.Exists() && !extra.Exists() {
		return out
	}
	child := Item{Type: typ, Node: n, Extra: extra}
	if typ == "Resource" {
		child.Type = r.resourceType(n, typ)
	}
	return r.walk(&child, rest, out)
}

// resourceType is the type an embedded resource says it has.
func (r *run) resourceType(n fhir.Node, otherwise string) string {
	raw := n.Get("resourceType").Raw()
	if len(raw) < 3 {
		return otherwise
	}
	return r.name(raw[1 : len(raw)-1])
}

// children appends all child elements of it.
func (r *run) children(it *Item, out []Item) []Item {
	if it.val != nil {
		return out
	}
	primitive := isPrimitive(it.Type)
	if primitive && !it.Extra.Exists() {
		return out
	}
	for _, name := range r.model.Children(it.Type) {
		r.spent++
		if primitive && name == "value" {
			continue
		}
		if names, types, ok := r.model.Child(it.Type, name); ok {
			m := memberOf(it.Type, names, types)
			out = r.enter(it, &m, nil, out)
		}
	}
	return out
}

// typeTest is a type specifier: Quantity, FHIR.Quantity, System.Quantity.
type typeTest struct {
	name   string // FHIR type name, "" when none is meant
	system string // System type name, "" when none is meant
	exact  bool   // primitives must be of just this type, as as() and ofType() want it
}

// holds says whether an item is of the type.
func (t *typeTest) holds(model Model, it *Item) bool {
	if strings.HasPrefix(it.Type, "System.") {
		return t.system == it.Type
	}
	if t.name == "" {
		return false
	}
	if t.exact && isPrimitive(t.name) || it.Type == t.name {
		return it.Type == t.name
	}
	return model.IsA(it.Type, t.name)
}

// narrow is what of a type set can pass the test.
func (t *typeTest) narrow(model Model, from typeSet) typeSet {
	if !from.known {
		if t.name != "" && t.system == "" {
			return only(t.name)
		}
		return typeSet{}
	}
	out := typeSet{known: true}
	for _, n := range from.names {
		probe := Item{Type: n}
		switch {
		case t.holds(model, &probe):
			out.names = append(out.names, n)
		case t.name != "" && open(n) && (n == "" || model.IsA(t.name, n)):
			out.names = append(out.names, t.name)
		}
	}
	return out
}
