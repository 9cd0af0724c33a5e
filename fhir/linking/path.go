package linking

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"candela/fhir"
	"candela/fhir/r4"
	"candela/fhir/search"
)

// Path is an element whose logical references are linked, and the types of the
// resources that it may be linked to.
type Path struct {
	Type    string   // of the referring resource
	Element string   // as it was named: "Observation.subject"
	Targets []string // in the order in which they were named, each once
	members []string // JSON members from the resource down to the Reference
	many    []bool   // which of them are arrays
	param   string   // the search parameter that finds referrers by identifier, with its modifier
}

// Parse reads paths as Type.element:Target ("Observation.subject:Patient"); an
// element may be named with several targets, each in a text of its own. What is
// no such path in R4, may not point to the target, or cannot be found again when
// the target arrives (no search parameter covers it) is an error that says so.
func Parse(spec *r4.Spec, registry *search.Registry, texts []string) ([]*Path, error) {
	var out []*Path
	for _, text := range texts {
		p, err := parse(spec, registry, strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
		at := slices.IndexFunc(out, func(had *Path) bool { return had.Element == p.Element })
		if at < 0 {
			out = append(out, p)
		} else if had := out[at]; !slices.Contains(had.Targets, p.Targets[0]) {
			had.Targets = append(had.Targets, p.Targets[0])
		}
	}
	return out, nil
}

func parse(spec *r4.Spec, registry *search.Registry, text string) (*Path, error) {
	path, target, ok := strings.Cut(text, ":")
	typ, rest, nested := strings.Cut(path, ".")
	if !ok || !nested {
		return nil, fmt.Errorf("not Type.element:Target, for example Observation.subject:Patient")
	}
	if !spec.IsResource(typ) {
		return nil, fmt.Errorf("R4 has no resource type %s", typ)
	}
	p := &Path{Type: typ, Element: typ, Targets: []string{target}}
	element, err := p.walk(spec, strings.Split(rest, "."))
	if err != nil {
		return nil, err
	}
	if err := accepts(spec, registry, p.Element, element, target); err != nil {
		return nil, err
	}
	return p, p.cover(registry)
}

// walk follows element names down to a Reference.
func (p *Path) walk(spec *r4.Spec, names []string) (*r4.Element, error) {
	typ := p.Type
	for i, name := range names {
		t, ok := spec.Type(typ)
		if !ok {
			return nil, fmt.Errorf("%s has no elements", p.Element)
		}
		e, ok := t.Element(strings.TrimSuffix(name, "[x]"))
		if !ok {
			return nil, fmt.Errorf("%s has no element %s", p.Element, name)
		}
		p.Element += "." + e.Name
		at := 0
		if last := i == len(names)-1; last {
			at = slices.Index(e.Types, "Reference")
		} else if e.Choice {
			at = -1
		}
		if at < 0 {
			return nil, fmt.Errorf("%s is no Reference and holds none", p.Element)
		}
		p.members, p.many, typ = append(p.members, e.Members[at]), append(p.many, e.Many), e.Types[at]
		if i == len(names)-1 {
			return e, nil
		}
	}
	return nil, fmt.Errorf("%s names no element", p.Element)
}

// accepts says why an element cannot point to a target, or the target cannot be
// found by its identifier.
func accepts(spec *r4.Spec, registry *search.Registry, path string, e *r4.Element, target string) error {
	if !spec.IsResource(target) {
		return fmt.Errorf("R4 has no resource type %s", target)
	}
	if len(e.Targets) > 0 && !slices.Contains(e.Targets, "Resource") && !slices.Contains(e.Targets, target) {
		return fmt.Errorf("%s cannot point to a %s; it points to %s", path, target, strings.Join(e.Targets, ", "))
	}
	members, types, ok := spec.Child(target, "identifier")
	if _, searchable := registry.Param(target, "identifier"); !ok || !searchable || len(members) != 1 || types[0] != "Identifier" {
		return fmt.Errorf("a %s cannot be found by an identifier", target)
	}
	return nil
}

// cover finds the search parameter that indexes logical references at the path:
// it asks the registry for the entries of a resource that holds nothing else.
func (p *Path) cover(registry *search.Registry) error {
	raw := `{"identifier":{"system":"urn:probe","value":"probe"}}`
	for i := len(p.members) - 1; i >= 0; i-- {
		if p.many[i] {
			raw = "[" + raw + "]"
		}
		raw = fmt.Sprintf(`{%q:%s}`, p.members[i], raw)
	}
	entries, err := registry.Entries(fhir.Stored([]byte(`{"resourceType":"` + p.Type + `",` + raw[1:])))
	if err != nil {
		return err
	}
	for _, e := range entries {
		code, ok := strings.CutSuffix(e.Param, ":identifier")
		if ok && e.Name == "probe" && (p.param == "" || strings.HasSuffix(p.Element, "."+code)) {
			p.param = e.Param
		}
	}
	if p.param == "" {
		return fmt.Errorf("no search parameter of %s covers %s, so it could not be found when its target arrives", p.Type, p.Element)
	}
	return nil
}

// String is the path with its targets, as Parse reads it.
func (p *Path) String() string {
	texts := make([]string, len(p.Targets))
	for i, target := range p.Targets {
		texts[i] = p.Element + ":" + target
	}
	return strings.Join(texts, ",")
}

// references are the References at the path.
func (p *Path) references(root fhir.Node) iter.Seq[fhir.Node] {
	return func(yield func(fhir.Node) bool) { descend(root, p.members, yield) }
}

func descend(n fhir.Node, members []string, yield func(fhir.Node) bool) bool {
	if len(members) == 0 {
		return yield(n)
	}
	for child := range n.Get(members[0]).Each() {
		if !descend(child, members[1:], yield) {
			return false
		}
	}
	return true
}

// targets are the types that one Reference at the path may be linked to: its
// own type narrows them.
func (p *Path) targets(reference fhir.Node) []string {
	own := strings.TrimPrefix(reference.Get("type").Text(), "http://hl7.org/fhir/StructureDefinition/")
	if own == "" {
		return p.Targets
	}
	at := slices.Index(p.Targets, own)
	if at < 0 {
		return nil
	}
	return p.Targets[at : at+1]
}
