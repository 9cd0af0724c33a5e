package search

import (
	"os"
	"strings"
	"testing"

	"candela/fhir"
)

// coverage says which parameters of types have indexed something, as "Type.code".
type coverage map[string]bool

func (c coverage) take(t *testing.T, r *Registry, res fhir.Resource) {
	t.Helper()
	entries, err := r.Entries(res)
	if err != nil {
		t.Fatalf("%s/%s: %v", res.Type(), res.ID(), err)
	}
	for _, e := range entries {
		c[res.Type()+"."+e.Param] = true
	}
}

// Every definition with an expression indexes something on every type it is
// for: in an example of HL7, US Core or Synthea, or at least in a resource made
// from its expression. What cannot is listed with the reason in
// testdata/unindexed.txt, and nothing else is.
func TestEveryParameterIndexesSomething(t *testing.T) {
	r := registry(t)
	examplesOnly := coverage{}
	for _, res := range append(examples(t), bundled(t, 100)...) {
		examplesOnly.take(t, r, res)
	}
	reasons, seen := readReasons(t), map[string]bool{}
	definitions, shown, made := map[string]bool{}, map[string]bool{}, map[string]bool{}
	pairs, pairsShown, pairsMade := 0, 0, 0
	for _, typ := range r.spec.Resources() {
		for _, p := range r.Params(typ) {
			definitions[p.URL] = true
			pairs++
			name := typ + "." + p.Code
			_, excused := reasons[p.Code]
			switch {
			case examplesOnly[name]:
				shown[p.URL] = true
				pairsShown++
			case r.sketchIndexes(t, p):
				made[p.URL] = true
				pairsMade++
			case excused:
				seen[p.Code] = true
				continue
			default:
				t.Errorf("%s indexes nothing: %s", name, p.Expression)
			}
			if excused {
				t.Errorf("%s is excused in testdata/unindexed.txt, but %s indexes something", p.Code, name)
			}
		}
	}
	for _, def := range r.spec.SearchParameters() {
		if def.Expression != "" && !definitions[def.URL] {
			definitions[def.URL] = true
			seen[def.Code] = true
			if reasons[def.Code] == "" {
				t.Errorf("%s is not searchable and has no reason in testdata/unindexed.txt", def.URL)
			}
		}
	}
	onlyMade := 0
	for url := range made {
		if !shown[url] {
			onlyMade++
		}
	}
	if len(seen) != len(reasons) {
		t.Errorf("%d reasons are given, %d are needed", len(reasons), len(seen))
	}
	t.Logf("%d definitions: %d by examples, %d by resources made for them, %d with a reason; %d parameters of types: %d, %d, %d",
		len(definitions), len(shown), onlyMade, len(definitions)-len(shown)-onlyMade, pairs, pairsShown, pairsMade, pairs-pairsShown-pairsMade)
	if len(definitions) < 1375 || len(shown) < 747 {
		t.Errorf("%d definitions, %d by examples", len(definitions), len(shown))
	}
}

// sketches are the resources made for p.
func (r *Registry) sketches(t *testing.T, p *Param) (out []fhir.Resource) {
	t.Helper()
	var components []string
	if p.Type == Composite {
		for _, c := range r.byURL[p.URL].Component {
			components = append(components, c.Expression)
		}
	}
	g := sketcher{spec: r.spec, target: "Patient"}
	if len(p.Targets) > 0 {
		g.target = p.Targets[0]
	}
	for _, text := range g.resources(p, components) {
		out = append(out, resource(t, text))
	}
	return out
}

// sketchIndexes says whether one of the resources made for p gives it an entry.
func (r *Registry) sketchIndexes(t *testing.T, p *Param) bool {
	t.Helper()
	for _, res := range r.sketches(t, p) {
		entries, err := r.Entries(res)
		if err != nil {
			t.Fatalf("%s: %v", res.Raw(), err)
		}
		for _, e := range entries {
			if e.Param == p.Code {
				return true
			}
		}
	}
	return false
}

// readReasons reads lines of "code: reason".
func readReasons(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("testdata/unindexed.txt")
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[string]string{}
	for line := range strings.Lines(string(text)) {
		code, reason, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok || reason == "" {
			t.Fatalf("no reason in %q", line)
		}
		reasons[code] = reason
	}
	return reasons
}
