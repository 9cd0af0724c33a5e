package main

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

const (
	definitionBase = "http://hl7.org/fhir/StructureDefinition/"
	fhirTypeURL    = definitionBase + "structuredefinition-fhir-type"
)

// structure is what we read of a StructureDefinition.
type structure struct {
	URL, Kind, Type, Derivation, BaseDefinition string
	Abstract                                    bool
	Snapshot                                    struct{ Element []element }
}

type element struct {
	Path, Max, ContentReference string
	Min                         int
	IsModifier, IsSummary       bool
	Binding                     struct{ Strength, ValueSet string }
	Type                        []struct {
		Code          string
		TargetProfile []string
		Extension     []struct{ URL, ValueURL, ValueString string }
	}
}

// typeFact is one row of types.json.gz; see fhir/r4 for the meaning.
type typeFact struct {
	Name     string        `json:"name"`
	Kind     string        `json:"kind"`
	Base     string        `json:"base,omitempty"`
	Abstract bool          `json:"abstract,omitempty"`
	Elements []elementFact `json:"elements,omitempty"`
}

type elementFact struct {
	Name     string   `json:"name"`
	Types    []string `json:"types"`
	Targets  []string `json:"targets,omitempty"`
	Min      int      `json:"min,omitempty"`
	Many     bool     `json:"many,omitempty"`
	Required string   `json:"required,omitempty"`
	Modifier bool     `json:"modifier,omitempty"`
	Summary  bool     `json:"summary,omitempty"`
}

type typeList []*typeFact

func (l typeList) rows() []any { return anyRows(l) }

func anyRows[T any](list []T) []any {
	out := make([]any, len(list))
	for i, one := range list {
		out[i] = one
	}
	return out
}

// typeFacts are the types of the base specification, backbone elements as types
// of their own named by path, each with only the elements its base lacks.
func typeFacts(all []structure) (typeList, error) {
	byName := map[string]*typeFact{}
	for _, s := range all {
		if s.Derivation == "constraint" || s.Kind == "logical" {
			continue
		}
		addType(byName, s)
	}
	var out typeList
	for _, t := range byName {
		out = append(out, t)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	own := map[string][]elementFact{}
	for _, t := range out {
		elements, err := ownElements(byName, t)
		if err != nil {
			return nil, err
		}
		own[t.Name] = elements
	}
	for _, t := range out {
		t.Elements = own[t.Name]
	}
	return out, nil
}

func addType(byName map[string]*typeFact, s structure) {
	root := &typeFact{Name: s.Type, Kind: strings.TrimSuffix(s.Kind, "-type"), Base: short(s.BaseDefinition), Abstract: s.Abstract}
	byName[s.Type] = root
	for _, e := range s.Snapshot.Element[1:] {
		parent, name := split(e.Path)
		if root.Kind == "primitive" && name == "value" {
			continue // a primitive's value is the JSON value itself
		}
		fact := factOf(e)
		fact.Name = name
		if root.Kind == "resource" && parent == s.Type && name == "id" {
			fact.Types = []string{"id"} // published as a bare string; the text of the specification says id
		}
		if holder := e.backbone(); holder != "" {
			byName[e.Path] = &typeFact{Name: e.Path, Kind: "backbone", Base: holder}
			fact.Types = []string{e.Path}
		}
		byName[parent].Elements = append(byName[parent].Elements, fact)
	}
}

// backbone is the base type of an element that defines its children in place.
func (e element) backbone() string {
	if len(e.Type) == 1 && (e.Type[0].Code == "BackboneElement" || e.Type[0].Code == "Element") {
		return e.Type[0].Code
	}
	return ""
}

// factOf reads one element. The only max beside 1 and * is the 0 of
// xhtml.extension, which is kept like that of every other type.
func factOf(e element) elementFact {
	f := elementFact{Min: e.Min, Many: e.Max != "1", Modifier: e.IsModifier, Summary: e.IsSummary}
	if e.Binding.Strength == "required" {
		f.Required = unversioned(e.Binding.ValueSet)
	}
	if e.ContentReference != "" {
		f.Types = []string{strings.TrimPrefix(e.ContentReference, "#")}
		return f
	}
	for _, t := range e.Type {
		code := short(t.Code)
		for _, x := range t.Extension {
			if x.URL == fhirTypeURL {
				code = x.ValueURL + x.ValueString
			}
		}
		if strings.HasPrefix(code, "http://hl7.org/fhirpath/System.") {
			code = "string" // xhtml.id, the one place without the fhir-type extension
		}
		f.Types = append(f.Types, code)
		for _, target := range t.TargetProfile {
			if name := short(target); !slices.Contains(f.Targets, name) {
				f.Targets = append(f.Targets, name)
			}
		}
	}
	return f
}

// ownElements are t's elements without those that its base gives it unchanged.
// It fails when base elements do not come first and in order, because fhir/r4
// builds the whole list as base + own.
func ownElements(byName map[string]*typeFact, t *typeFact) ([]elementFact, error) {
	base, ok := byName[t.Base]
	if !ok {
		return t.Elements, nil
	}
	inherited := base.Elements
	if t.Kind == "primitive" && base.Kind == "primitive" {
		inherited = byName["Element"].Elements
	}
	if len(t.Elements) < len(inherited) {
		return nil, fmt.Errorf("%s has fewer elements than its base %s", t.Name, t.Base)
	}
	var own []elementFact
	for i, e := range t.Elements {
		if i >= len(inherited) {
			own = append(own, e)
			continue
		}
		if !e.sameRule(inherited[i]) {
			return nil, fmt.Errorf("%s: element %s stands where %s of %s was expected", t.Name, e.Name, inherited[i].Name, t.Base)
		}
	}
	return own, nil
}

func (e elementFact) sameRule(o elementFact) bool {
	return e.Name == o.Name && e.Min == o.Min && e.Many == o.Many && e.Required == o.Required && slices.Equal(e.Types, o.Types)
}

func split(path string) (parent, name string) {
	i := strings.LastIndexByte(path, '.')
	return path[:i], path[i+1:]
}

func short(url string) string { return strings.TrimPrefix(url, definitionBase) }

func unversioned(canonical string) string {
	url, _, _ := strings.Cut(canonical, "|")
	return url
}
