package r4

import (
	"fmt"
	"slices"
	"strings"
)

// Kind is what sort of type a Type is.
type Kind string

// The kinds. Backbone types are the nested elements that a type defines in
// place; they are named by path ("Observation.component").
const (
	Primitive Kind = "primitive"
	Complex   Kind = "complex"
	Resource  Kind = "resource"
	Backbone  Kind = "backbone"
)

// Type is one FHIR type.
type Type struct {
	Name     string // "Observation", "Observation.component", "CodeableConcept", "dateTime"
	Kind     Kind
	Base     string // type it specialises; "" for Element and Resource
	Abstract bool
	// Elements are all elements in order, inherited ones first. Primitives have id
	// and extension only: their value is the JSON value itself.
	Elements []Element

	byName map[string]int // element name without [x] -> index
}

// Element is one element of a Type.
type Element struct {
	Name   string // without [x]
	Choice bool   // value[x]: stands in one of several members
	// Members are the JSON member names, Types the FHIR type of each: a choice has
	// one pair per allowed type ("valueQuantity": "Quantity"), any other element
	// one pair. "Resource" is any resource. A contentReference has the backbone
	// type that it points to.
	Members []string
	Types   []string
	Targets []string // resource types that a Reference or canonical may point to; empty or "Resource": any
	Min     int      // 0 or 1
	Many    bool     // repeats: a JSON array
	// Required is the URL, without version, of the value set that the element's
	// code must come from; "" when the binding is weaker or absent. See Spec.Codes.
	Required string
	Modifier bool
	Summary  bool
}

// Element finds an element by its name without [x].
func (t *Type) Element(name string) (*Element, bool) {
	i, ok := t.byName[name]
	if !ok {
		return nil, false
	}
	return &t.Elements[i], true
}

// Type finds a type by name; backbone types by path.
func (s *Spec) Type(name string) (*Type, bool) {
	t, ok := s.types[name]
	return t, ok
}

// Resources are the names of the concrete resource types, sorted.
func (s *Spec) Resources() []string { return s.resources }

// IsResource says whether name is a concrete resource type.
func (s *Spec) IsResource(name string) bool {
	t, ok := s.types[name]
	return ok && t.Kind == Resource && !t.Abstract
}

// Types are the names of all types, sorted.
func (s *Spec) Types() []string {
	names := make([]string, 0, len(s.types))
	for name := range s.types {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

type typeRow struct {
	Name     string       `json:"name"`
	Kind     Kind         `json:"kind"`
	Base     string       `json:"base"`
	Abstract bool         `json:"abstract"`
	Elements []elementRow `json:"elements"`
}

type elementRow struct {
	Name     string   `json:"name"`
	Types    []string `json:"types"`
	Targets  []string `json:"targets"`
	Min      int      `json:"min"`
	Many     bool     `json:"many"`
	Required string   `json:"required"`
	Modifier bool     `json:"modifier"`
	Summary  bool     `json:"summary"`
}

func (s *Spec) readTypes() error {
	var rows []typeRow
	if err := unpack("types", &rows); err != nil {
		return err
	}
	byName := make(map[string]*typeRow, len(rows))
	for i := range rows {
		byName[rows[i].Name] = &rows[i]
	}
	s.types = make(map[string]*Type, len(rows))
	for _, row := range rows {
		if _, err := s.build(byName, row.Name); err != nil {
			return err
		}
		if s.IsResource(row.Name) {
			s.resources = append(s.resources, row.Name)
		}
	}
	slices.Sort(s.resources)
	return nil
}

// build makes a type after its base, whose elements come first in it. The rows
// hold only the elements that the base lacks.
func (s *Spec) build(rows map[string]*typeRow, name string) (*Type, error) {
	if t, ok := s.types[name]; ok {
		return t, nil
	}
	row, ok := rows[name]
	if !ok {
		return nil, fmt.Errorf("r4: types: %s is named as a base but not defined", name)
	}
	t := &Type{Name: row.Name, Kind: row.Kind, Base: row.Base, Abstract: row.Abstract}
	var inherited []Element
	if row.Base != "" {
		base, err := s.build(rows, row.Base)
		if err != nil {
			return nil, err
		}
		inherited = base.Elements
	}
	t.Elements = make([]Element, 0, len(inherited)+len(row.Elements))
	t.Elements = append(t.Elements, inherited...)
	for _, e := range row.Elements {
		t.Elements = append(t.Elements, elementOf(e))
	}
	t.byName = make(map[string]int, len(t.Elements))
	for i := range t.Elements {
		t.byName[t.Elements[i].Name] = i
	}
	s.types[name] = t
	return t, nil
}

func elementOf(row elementRow) Element {
	name, choice := strings.CutSuffix(row.Name, "[x]")
	e := Element{
		Name: name, Choice: choice, Members: []string{name}, Types: row.Types, Targets: row.Targets,
		Min: row.Min, Many: row.Many, Required: row.Required, Modifier: row.Modifier, Summary: row.Summary,
	}
	if choice {
		e.Members = make([]string, len(row.Types))
		for i, typ := range row.Types {
			e.Members[i] = name + strings.ToUpper(typ[:1]) + typ[1:]
		}
	}
	return e
}
