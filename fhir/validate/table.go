package validate

import (
	"candela/fhir/r4"
)

// table is the compiled form of one FHIR type: what each JSON member may hold.
type table struct {
	name      string
	rules     map[string]*rule // by JSON member name, "_name" members included
	elements  []element
	required  slots
	resource  bool
	extension bool
}

// element is what the members of one element share: value[x] is one element.
type element struct {
	name   string // without [x]
	choice bool
}

// slots is a set of element indexes of one type; no R4 type has more than 54.
type slots uint64

func slot(i int) slots { return 1 << i }

// holds is what kind of value a member holds.
type holds uint8

const (
	object   holds = iota // of type rule.of
	anything              // any resource, named by its resourceType
	typeName              // the member resourceType itself
	primitive
)

// rule is what one JSON member may hold.
type rule struct {
	name  string // element name as FHIRPath has it, without [x]
	slot  slots  // the one of its element
	holds holds
	many  bool // a JSON array
	extra bool // a _name member: the id and extensions of primitives
	of    *table
	check format
	codes *r4.CodeSet // not nil: the code must be one of these
}

// compile makes the tables of all types and links them.
func compile(spec *r4.Spec) map[string]*table {
	tables := map[string]*table{}
	for _, name := range spec.Types() {
		t, _ := spec.Type(name)
		if t.Kind != r4.Primitive {
			tables[name] = &table{name: name, resource: spec.IsResource(name), extension: name == "Extension"}
		}
	}
	for name, t := range tables {
		typ, _ := spec.Type(name)
		t.fill(spec, typ, tables)
	}
	return tables
}

func (t *table) fill(spec *r4.Spec, typ *r4.Type, tables map[string]*table) {
	t.rules = make(map[string]*rule, 2*len(typ.Elements))
	t.elements = make([]element, len(typ.Elements))
	if t.resource {
		t.rules["resourceType"] = &rule{name: "resourceType", holds: typeName}
	}
	for i := range typ.Elements {
		e := &typ.Elements[i]
		t.elements[i] = element{e.Name, e.Choice}
		if e.Min > 0 {
			t.required |= slot(i)
		}
		for m, member := range e.Members {
			r := ruleOf(spec, e, e.Types[m], tables)
			r.slot = slot(i)
			t.rules[member] = r
			// Ids and XHTML are bare strings: they have no extensions.
			if r.holds == primitive && e.Types[m] != "xhtml" && e.Name != "id" {
				t.rules["_"+member] = &rule{name: e.Name, slot: r.slot, holds: object, many: e.Many, extra: true, of: tables["Element"]}
			}
		}
	}
}

func ruleOf(spec *r4.Spec, e *r4.Element, typ string, tables map[string]*table) *rule {
	r := &rule{name: e.Name, many: e.Many, of: tables[typ]}
	switch t, _ := spec.Type(typ); {
	case typ == "Resource":
		r.holds = anything
	case t != nil && t.Kind == r4.Primitive:
		r.holds, r.check = primitive, formatOf(typ)
	}
	if set, complete := spec.Codes(e.Required); complete {
		r.codes = set
	}
	return r
}
