package patch

import (
	"strings"

	"candela/fhir"
)

// element is one element of a FHIR type and the JSON members it may stand in.
type element struct {
	name           string
	members, types []string // side by side; a choice has many
	many           bool
}

// element finds an element by its name, or by the name of one of its JSON
// members ("deceasedBoolean" is of deceased).
func (p *pathPatcher) element(typ, name string) (element, bool) {
	if members, types, ok := p.model.Child(typ, name); ok {
		return element{name, members, types, p.model.Many(typ, name)}, true
	}
	for _, choice := range p.model.Children(typ) {
		if !strings.HasPrefix(name, choice) {
			continue
		}
		if members, types, ok := p.model.Child(typ, choice); ok && has(members, name) {
			return element{choice, members, types, p.model.Many(typ, choice)}, true
		}
	}
	return element{}, false
}

// typeOf is the type that the element has in a JSON member.
func (e element) typeOf(member string) string {
	for i, m := range e.members {
		if m == member {
			return e.types[i]
		}
	}
	return ""
}

// content is what an operation puts into the resource.
type content struct {
	member string // the JSON member it belongs in
	value  value  // missing where a primitive has only extensions
	beside value  // the id and extensions of a primitive, else missing
}

// problem says why an operation does not fit, without a word of the resource.
// "" means that it does.
type problem string

// content reads a part's value as content of e. Exactly one of value[x],
// resource and part must be there.
func (p *pathPatcher) content(part fhir.Node, e element) (content, problem) {
	parts, resource := part.Get("part"), part.Get("resource")
	typ, n, beside := p.typed(part)
	forms := 0
	for _, there := range [...]bool{parts.Exists(), resource.Exists(), typ != ""} {
		if there {
			forms++
		}
	}
	switch {
	case forms != 1:
		return content{}, "a value has no type that a parameter can have"
	case resource.Exists():
		typ, n = resource.Get("resourceType").Text(), resource
	case parts.Exists():
		return p.composed(parts, e)
	}
	member, why := p.choose(e, typ)
	return content{member, value{node: n}, value{node: beside}}, why
}

// typed is a part's value[x]: its FHIR type, the value, and for a primitive what
// stands beside it.
func (p *pathPatcher) typed(part fhir.Node) (typ string, n, beside fhir.Node) {
	for i, member := range p.valueMembers {
		if !isPrimitive(p.valueTypes[i]) {
			continue
		}
		if beside = part.Get("_" + member); beside.Exists() {
			return p.valueTypes[i], part.Get(member), beside
		}
	}
	if i, n := part.Pick(p.valueMembers); i >= 0 {
		return p.valueTypes[i], n, fhir.Node{}
	}
	return "", fhir.Node{}, fhir.Node{}
}

// choose is the JSON member that a value of a type belongs in.
func (p *pathPatcher) choose(e element, typ string) (member string, why problem) {
	for i, t := range e.types {
		if t == typ {
			return e.members[i], ""
		}
	}
	if len(e.types) == 1 && p.takes(e.types[0], typ) {
		return e.members[0], ""
	}
	if !p.model.IsA(typ, "Element") && !p.model.IsA(typ, "Resource") {
		typ = "unknown type"
	}
	if len(e.types) > 8 {
		return "", problem("a value of " + typ + " is none of the types of " + e.name)
	}
	return "", problem("a value of " + typ + " does not fit " + e.name + ", which takes " + strings.Join(e.types, ", "))
}

// takes says whether an element of the type want, and of no other, can hold a
// value that was sent as typ: what derives from it, and primitives that are
// written alike (the validator looks at the form).
func (p *pathPatcher) takes(want, typ string) bool {
	return p.model.IsA(typ, want) || family(want) != "" && family(want) == family(typ) || want == "decimal" && family(typ) == "integer"
}

// family groups primitives that are written alike.
func family(typ string) string {
	switch typ {
	case "string", "code", "id", "markdown", "uri", "url", "canonical", "oid", "uuid", "xhtml", "base64Binary":
		return "string"
	case "integer", "positiveInt", "unsignedInt":
		return "integer"
	case "date", "dateTime", "instant":
		return "date"
	default:
		return ""
	}
}

// isPrimitive: FHIR writes exactly its primitive types with a small letter.
func isPrimitive(typ string) bool { return typ != "" && typ[0] >= 'a' && typ[0] <= 'z' }

// composed is a value given by its parts: the only form for elements whose type
// has no name (Patient.contact, Timing.repeat). For a primitive the parts are
// what stands beside it.
func (p *pathPatcher) composed(parts fhir.Node, e element) (content, problem) {
	if len(e.types) != 1 || e.types[0] == "Resource" {
		return content{}, problem("the parts of a value don't say which type of " + e.name + " is meant; give a value[x] or a resource")
	}
	b := &branch{kind: fhir.Object}
	for part := range parts.Elements() {
		if why := p.compose(b, e.types[0], part); why != "" {
			return content{}, why
		}
	}
	if len(b.kids) == 0 {
		return content{}, "a value has no parts"
	}
	if isPrimitive(e.types[0]) {
		return content{member: e.members[0], beside: value{in: b}}, ""
	}
	return content{member: e.members[0], value: value{in: b}}, ""
}

// compose puts one part into an object of type typ.
func (p *pathPatcher) compose(b *branch, typ string, part fhir.Node) problem {
	e, ok := p.element(typ, part.Get("name").Text())
	if !ok {
		return problem("a part of the value names no element of " + typ)
	}
	c, why := p.content(part, e)
	if why != "" {
		return why
	}
	return p.tree.put(b, e, c)
}
