package main

import (
	"slices"
	"sort"
)

type valueSet struct {
	URL       string
	Compose   struct{ Include, Exclude []include }
	Expansion struct {
		Total     *int
		Extension []struct{ URL string }
		Contains  []contained
	}
}

type include struct {
	System   string
	Concept  []struct{ Code string }
	ValueSet []string
	Filter   []struct{ Property, Op, Value string }
}

type contained struct {
	System, Code string
	Abstract     bool
	Contains     []contained
}

type expansions struct {
	Entry []struct{ Resource valueSet }
}

type codeSystem struct {
	URL, Content  string
	CaseSensitive bool
	Concept       []concept
}

type concept struct {
	Code    string
	Concept []concept
}

// valueSetFact is one row of value-sets.json.gz. An incomplete one lists the
// systems its codes come from, without codes.
type valueSetFact struct {
	URL      string       `json:"url"`
	Complete bool         `json:"complete,omitempty"`
	Systems  []systemFact `json:"systems,omitempty"`
}

type systemFact struct {
	System string   `json:"system"`
	Codes  []string `json:"codes,omitempty"`
}

type valueSetList []valueSetFact

func (l valueSetList) rows() []any { return anyRows(l) }

// valueSetFacts are the value sets that a required binding of any type names.
func valueSetFacts(types typeList, defs *definitions) valueSetList {
	wanted := map[string]bool{}
	for _, t := range types {
		for _, e := range t.Elements {
			if e.Required != "" {
				wanted[e.Required] = true
			}
		}
	}
	var out valueSetList
	for url := range wanted {
		out = append(out, valueSetFactOf(url, defs))
	}
	sort.Slice(out, func(i, j int) bool { return out[i].URL < out[j].URL })
	return out
}

func valueSetFactOf(url string, defs *definitions) valueSetFact {
	fact := valueSetFact{URL: url}
	x := expander{defs: defs, open: map[string]bool{}}
	codes, ok := x.expand(url)
	if !ok {
		codes, ok = publishedCodes(defs.published[url])
	}
	if fact.Complete = ok; !ok {
		for _, inc := range defs.valueSets[url].Compose.Include {
			fact.Systems = append(fact.Systems, systemFact{System: inc.System})
		}
		return fact
	}
	bySystem := map[string][]string{}
	for c := range codes {
		bySystem[c.system] = append(bySystem[c.system], c.code)
	}
	for system, list := range bySystem {
		slices.Sort(list)
		fact.Systems = append(fact.Systems, systemFact{system, list})
	}
	sort.Slice(fact.Systems, func(i, j int) bool { return fact.Systems[i].System < fact.Systems[j].System })
	return fact
}

type coding struct{ system, code string }

type codeSet map[coding]bool

// expander computes a value set from its compose, where every code system it
// draws on is whole in the package and every filter is is-a or descendent-of.
type expander struct {
	defs *definitions
	open map[string]bool // being expanded now: guards against circles
}

func (x expander) expand(url string) (codeSet, bool) {
	url = unversioned(url)
	vs, ok := x.defs.valueSets[url]
	if !ok || x.open[url] || len(vs.Compose.Include) == 0 {
		return nil, false
	}
	x.open[url] = true
	defer delete(x.open, url)
	out := codeSet{}
	for _, inc := range vs.Compose.Include {
		got, ok := x.include(inc)
		if !ok {
			return nil, false
		}
		for c := range got {
			out[c] = true
		}
	}
	for _, exc := range vs.Compose.Exclude {
		got, ok := x.include(exc)
		if !ok {
			return nil, false
		}
		for c := range got {
			delete(out, c)
		}
	}
	return out, true
}

// include is the intersection of a system part and all imported value sets.
func (x expander) include(inc include) (codeSet, bool) {
	var out codeSet
	if inc.System != "" {
		got, ok := x.system(inc)
		if !ok {
			return nil, false
		}
		out = got
	}
	for _, url := range inc.ValueSet {
		got, ok := x.expand(url)
		if !ok {
			return nil, false
		}
		if out == nil {
			out = got
			continue
		}
		for c := range out {
			if !got[c] {
				delete(out, c)
			}
		}
	}
	return out, out != nil
}

func (x expander) system(inc include) (codeSet, bool) {
	out := codeSet{}
	for _, c := range inc.Concept {
		out[coding{inc.System, c.Code}] = true
	}
	if len(inc.Concept) > 0 {
		return out, true
	}
	system, ok := x.defs.systems[inc.System]
	if !ok || system.Content != "complete" {
		return nil, false
	}
	for _, f := range inc.Filter {
		if f.Property != "concept" || f.Op != "is-a" && f.Op != "descendent-of" {
			return nil, false
		}
	}
	walk(system.Concept, nil, func(code string, ancestors []string) {
		for _, f := range inc.Filter {
			if !slices.Contains(ancestors, f.Value) && (f.Op != "is-a" || code != f.Value) {
				return
			}
		}
		out[coding{inc.System, code}] = true
	})
	return out, true
}

func walk(list []concept, ancestors []string, visit func(code string, ancestors []string)) {
	for _, c := range list {
		visit(c.Code, ancestors)
		walk(c.Concept, append(slices.Clone(ancestors), c.Code), visit)
	}
}

// sampled systems are grammars or licensed: a published expansion over one of
// them that lists no concepts of its own is only a sample.
var sampled = []string{
	"http://unitsofmeasure.org", "urn:ietf:bcp:13", "urn:ietf:bcp:47", "http://snomed.info/sct", "http://loinc.org",
	"http://www.nlm.nih.gov/research/umls/rxnorm", "http://dicom.nema.org/resources/ontology/DCM",
}

func publishedCodes(vs valueSet) (codeSet, bool) {
	for _, inc := range vs.Compose.Include {
		if slices.Contains(sampled, inc.System) && len(inc.Concept) == 0 {
			return nil, false
		}
	}
	out := codeSet{}
	flatten(vs.Expansion.Contains, out)
	whole := vs.Expansion.Total == nil || *vs.Expansion.Total <= len(out)
	return out, len(out) > 0 && whole && len(vs.Expansion.Extension) == 0
}

func flatten(list []contained, out codeSet) {
	for _, c := range list {
		if c.Code != "" && !c.Abstract {
			out[coding{c.System, c.Code}] = true
		}
		flatten(c.Contains, out)
	}
}

// caseFacts says for each code system whether case matters in its codes.
func caseFacts(systems map[string]codeSystem) map[string][]string {
	out := map[string][]string{}
	for url, s := range systems {
		key := "folded"
		if s.CaseSensitive {
			key = "sensitive"
		}
		out[key] = append(out[key], url)
	}
	for _, list := range out {
		slices.Sort(list)
	}
	return out
}
