package validate

import (
	"bytes"

	"candela/fhir"
	"candela/fhir/r4"
)

// Structure is the structure check. It is safe for concurrent use.
type Structure struct{ tables map[string]*table }

// New compiles the check from the element tables, in a few milliseconds.
func New(spec *r4.Spec) *Structure { return &Structure{compile(spec)} }

// Check gives what is wrong with a resource and all resources inside it; nil
// when nothing is. Each Issue has severity error, a code (structure, required,
// value, code-invalid or invariant), the FHIRPath of the element and diagnostics
// that repeat no content. With lenient, unknown elements are warnings; what is
// inside them is not looked at.
func (s *Structure) Check(res fhir.Resource, lenient bool) []fhir.Issue {
	var room [24]step
	c := checker{structure: s, unknown: fhir.SevError, path: room[:0]}
	if lenient {
		c.unknown = fhir.Warning
	}
	c.resource(res.Root(), true)
	return c.issues
}

// checker is one run of the check.
type checker struct {
	structure *Structure
	unknown   fhir.Severity
	root      string
	path      []step
	issues    []fhir.Issue
}

// resource checks an object that must be a resource.
func (c *checker) resource(n fhir.Node, top bool) {
	typ := n.Get("resourceType")
	t := c.structure.tables[typ.Text()]
	switch {
	case n.Kind() != fhir.Object:
		c.report(fhir.CodeStructure, "a resource must be a JSON object")
	case typ.Kind() != fhir.String:
		c.report(fhir.CodeStructure, "a resource must have a resourceType")
	case t == nil || !t.resource:
		c.report(fhir.CodeStructure, "resourceType is no resource type of FHIR R4")
	default:
		if top {
			c.root = t.name
		}
		c.object(n, t)
	}
}

// object checks an object of type t and all below it.
func (c *checker) object(n fhir.Node, t *table) {
	if n.Kind() != fhir.Object {
		c.report(fhir.CodeStructure, kindMessage("object", n))
		return
	}
	var seen, twice slots
	empty := true
	for at := n.Cursor(); at.Next(); empty = false {
		r := t.rule(at.Name())
		if r == nil {
			c.unknownMember(at.Name(), t)
			continue
		}
		twice |= seen & r.slot
		seen |= r.slot
		c.path = append(c.path, step{name: r.name, index: -1})
		c.member(n, at.Value(), r)
		c.path = c.path[:len(c.path)-1]
	}
	if empty {
		c.report(fhir.CodeStructure, "an object must not be empty")
	} else if missing := t.required &^ seen; missing != 0 {
		c.missing(t, missing)
	}
	if twice != 0 {
		c.choices(n, t, twice)
	}
	if t.extension {
		c.extension(n)
	}
}

// rule finds the rule of a member by its name as written.
func (t *table) rule(quoted []byte) *rule {
	if r, ok := t.rules[string(quoted[1:len(quoted)-1])]; ok || bytes.IndexByte(quoted, '\\') < 0 {
		return r
	}
	return t.rules[string(unquoted(quoted))]
}

// member checks a member's value: one value or an array of them.
func (c *checker) member(parent, n fhir.Node, r *rule) {
	if !r.many {
		if n.Kind() == fhir.Array {
			c.report(fhir.CodeStructure, "the element does not repeat: its value must not be an array")
			return
		}
		c.value(n, r)
		return
	}
	if n.Kind() != fhir.Array {
		c.report(fhir.CodeStructure, "the element may repeat: its value must be an array")
		return
	}
	last := &c.path[len(c.path)-1]
	for at := n.Cursor(); at.Next(); {
		last.index++
		if one := at.Value(); one.Kind() != fhir.Null {
			c.value(one, r)
		} else if !hasPartner(parent, r, last.index) {
			c.report(fhir.CodeStructure, "null stands only where a primitive's value or its extensions are missing, with the other one at the same place")
		}
		last = &c.path[len(c.path)-1] // the path may have moved to a larger array
	}
	if last.index < 0 {
		c.report(fhir.CodeStructure, "an array must not be empty")
	}
}

// hasPartner says whether the array beside a primitive's array (name and _name)
// has something at the place of a null.
func hasPartner(parent fhir.Node, r *rule, index int) bool {
	if r.holds != primitive && !r.extra {
		return false
	}
	partner := "_" + r.name
	if r.extra {
		partner = r.name
	}
	at := parent.Get(partner).Cursor()
	for i := 0; at.Next(); i++ {
		if i == index {
			return at.Value().Kind() != fhir.Null
		}
	}
	return false
}

func (c *checker) value(n fhir.Node, r *rule) {
	switch {
	case r.holds == object:
		c.object(n, r.of)
		if r.codes != nil {
			c.concept(n, r)
		}
	case r.holds == anything:
		c.resource(n, false)
	case r.holds == primitive:
		c.primitive(n, r)
	case n.Kind() != fhir.String:
		c.report(fhir.CodeStructure, "resourceType must be a string")
	}
}

// primitive checks the JSON kind, the format and the required code of a value.
func (c *checker) primitive(n fhir.Node, r *rule) {
	if problem := r.check(n); problem != "" {
		c.report(fhir.CodeValue, problem)
		return
	}
	if r.codes != nil && !r.codes.Has(n.Text()) {
		c.report(fhir.CodeCodeInvalid, "the code is not in the required value set "+r.codes.URL)
	}
}

// concept checks that a CodeableConcept has a coding of the required value set.
// One that says nothing but extensions (why it is absent) passes.
func (c *checker) concept(n fhir.Node, r *rule) {
	said := n.Get("text").Exists()
	for at := n.Get("coding").Cursor(); at.Next(); said = true {
		if r.codes.HasIn(at.Value().Get("system").Text(), at.Value().Get("code").Text()) {
			return
		}
	}
	if said {
		c.report(fhir.CodeCodeInvalid, "no coding is in the required value set "+r.codes.URL)
	}
}

// extension checks what the tables cannot say of an Extension: a value or nested
// extensions, never both.
func (c *checker) extension(n fhir.Node) {
	nested, valued := false, false
	for at := n.Cursor(); at.Next(); {
		switch name := at.Name(); {
		case string(name) == `"extension"`:
			nested = true
		case len(name) > 7 && string(name[1:6]) == "value", len(name) > 8 && string(name[1:7]) == "_value":
			valued = true
		}
	}
	if nested && valued {
		c.report(fhir.CodeInvariant, "an extension has either a value or nested extensions, not both (ext-1)")
	}
	if !nested && !valued {
		c.report(fhir.CodeInvariant, "an extension must have a value or nested extensions (ext-1)")
	}
}
