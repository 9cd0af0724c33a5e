// Package subset cuts resources down to what _summary and _elements ask for
// (R4 search.html, "Summary" and "Elements"), and marks them SUBSETTED.
//
// It knows which elements a type has, which of them belong to its summary and
// which are mandatory. It must not know any resource type by name, nor where a
// resource comes from: it copies the members that stay, byte for byte.
package subset

import (
	"slices"
	"strings"
	"sync"

	"candela/fhir"
	"candela/fhir/r4"
)

// Model knows FHIR types (r4.Spec).
type Model interface {
	Type(name string) (*r4.Type, bool)
}

// Tables says of every type's members what they are. Safe for concurrent use.
type Tables struct {
	model Model
	types sync.Map // type name -> table
}

// New makes Tables; a type's table is made at its first use.
func New(model Model) *Tables { return &Tables{model: model} }

// table holds a type's members by name.
type table struct {
	members map[string]member
	// cuttable: an element that marks some of its own members for the summary.
	// What marks none, and a resource in a resource, is kept whole.
	cuttable bool
}

type member struct {
	element string // name without [x]
	typ     string // its type
	summary bool
	must    bool // mandatory, or it changes what the rest means
	always  bool // stays whatever is asked for
}

func (t *Tables) of(typ string) *table {
	if known, ok := t.types.Load(typ); ok {
		return known.(*table)
	}
	made := &table{members: map[string]member{}}
	if def, ok := t.model.Type(typ); ok {
		made.fill(def)
	}
	t.types.Store(typ, made)
	return made
}

func (t *table) fill(def *r4.Type) {
	resource := def.Kind == r4.Resource
	for _, e := range def.Elements {
		one := member{element: e.Name, summary: e.Summary, must: e.Min > 0 || e.Name == "modifierExtension"}
		// An element may be nothing but its extensions; a resource's own may go.
		one.always = e.Name == "id" || !resource && e.Name == "extension" || resource && e.Name == "meta"
		t.cuttable = t.cuttable || one.summary && !resource
		for i, name := range e.Members {
			one.typ = e.Types[min(i, len(e.Types)-1)]
			t.members[name] = one
		}
	}
	if resource {
		t.members["resourceType"] = member{element: "resourceType", always: true}
	}
}

// Cut is what to leave of resources. The zero Cut leaves them whole.
type Cut struct {
	tables   *Tables
	summary  string   // true, text, data or ""
	elements []string // "name" or "Type.name"
}

// Cut reads the values of _summary and _elements. Where both are given,
// _elements counts. Bad values are a 400.
func (t *Tables) Cut(summary string, elements []string) (Cut, error) {
	c := Cut{tables: t}
	for _, one := range elements {
		if one = strings.TrimSpace(one); one != "" {
			c.elements = append(c.elements, one)
		}
	}
	switch summary {
	case "true", "text", "data":
		c.summary = summary
	case "", "false":
	default:
		return Cut{}, fhir.Errorf(400, fhir.CodeValue, "_summary is true, text, data or false here")
	}
	return c, nil
}

// Read is Cut for the parameters of a read or history; the last of each counts.
func (t *Tables) Read(params fhir.Params) (Cut, error) {
	summary, elements := "", []string(nil)
	for _, p := range params {
		switch p.Name {
		case "_summary":
			summary = p.Value
		case "_elements":
			elements = strings.Split(p.Value, ",")
		}
	}
	if summary == "" && elements == nil {
		return Cut{}, nil
	}
	return t.Cut(summary, elements)
}

// Whole says that nothing is cut.
func (c Cut) Whole() bool { return c.summary == "" && len(c.elements) == 0 }

// Included is the cut of resources that come along with matches: a bare name
// in _elements speaks of the matches only.
func (c Cut) Included() Cut {
	if len(c.elements) == 0 {
		return c
	}
	c.elements = slices.DeleteFunc(slices.Clone(c.elements), func(one string) bool { return !strings.Contains(one, ".") })
	return c
}

// wants says whether _elements names the member of a type.
func (c Cut) wants(typ, name string, m member) bool {
	for _, one := range c.elements {
		if of, bare, dotted := strings.Cut(one, "."); dotted {
			if of != typ {
				continue
			}
			one = bare
		}
		if one == m.element || one == name {
			return true
		}
	}
	return false
}

// about says whether _elements speaks of a type at all.
func (c Cut) about(typ string) bool {
	return slices.ContainsFunc(c.elements, func(one string) bool {
		of, _, dotted := strings.Cut(one, ".")
		return !dotted || of == typ
	})
}
