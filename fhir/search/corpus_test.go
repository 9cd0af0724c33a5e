package search

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"candela/fhir"
	"candela/store"
)

// examples are the shared example resources of HL7 and US Core.
func examples(t testing.TB) []fhir.Resource {
	t.Helper()
	var out []fhir.Resource
	for _, folder := range []string{"data/fhir/hl7-r4-examples", "data/fhir/us-core-6.1.0-examples"} {
		files, err := filepath.Glob(filepath.Join(shared(t, folder), "*.json"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no examples in %s: %v", folder, err)
		}
		for _, file := range files {
			body, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, resource(t, string(body)))
		}
	}
	return out
}

// Every resource of the shared data is indexed without an error, each entry is
// one that a search could ask for, and most parameters of the types that occur
// find something.
func TestEntriesOfTheSharedData(t *testing.T) {
	r := registry(t)
	used, counted := map[string]bool{}, 0
	for _, res := range append(examples(t), bundled(t, 100)...) {
		entries, err := r.Entries(res)
		if err != nil {
			t.Fatalf("%s/%s: %v", res.Type(), res.ID(), err)
		}
		clocks := map[string]bool{}
		for _, e := range entries {
			checkEntry(t, r, res.Type(), e)
			used[res.Type()+"."+e.Param] = true
			if e.Role&store.Clock != 0 {
				clocks[e.Param] = true
			}
		}
		counted += len(entries)
		if len(clocks) > 1 {
			t.Errorf("%s has several clocks: %v", res.Type(), slices.Sorted(maps.Keys(clocks)))
		}
	}
	t.Logf("%d entries, %d different parameters of types", counted, len(used))
	if len(used) < 800 {
		t.Errorf("only %d parameters of types index something in the shared data", len(used))
	}
}

func checkEntry(t *testing.T, r *Registry, typ string, e store.Entry) {
	t.Helper()
	code, behind, _ := strings.Cut(e.Param, ":")
	if of, param, ok := strings.Cut(behind, "."); ok { // of a contained resource
		e.Param = param
		checkEntry(t, r, of, e)
		return
	}
	if e.Name == inside && e.Kind == store.Link && behind != "" {
		return
	}
	p, ok := r.Param(typ, code)
	if !ok {
		t.Fatalf("%s: entry of the unknown parameter %s", typ, e.Param)
	}
	want := map[Kind]store.Kind{Number: store.Range, Date: store.Range, Quantity: store.Range, String: store.Text, Token: store.Code,
		Reference: store.Link, Composite: store.Tuple, URI: store.URI, Special: store.Place}[p.Type]
	if e.Param != code && e.Param != struck || p.phonetic {
		want = store.Code
	}
	if e.Kind != want {
		t.Errorf("%s.%s: kind %d, want %d", typ, e.Param, e.Kind, want)
	}
	if e.Role&store.Anchor != 0 && (e.Kind != store.Link || e.Space != "Patient") {
		t.Errorf("%s.%s: an anchor that names no patient: %s", typ, e.Param, showEntry(e))
	}
	if e.Kind == store.Range && e.Lo == nil && e.Hi == nil {
		t.Errorf("%s.%s: a range without ends", typ, e.Param)
	}
	if (e.Kind == store.Link || e.Kind == store.URI) && e.Name == "" {
		t.Errorf("%s.%s: a nameless %s", typ, e.Param, showEntry(e))
	}
}

// A parameter that a composite is taken to imply has every value that the
// composite's tuples have, so that driving by it loses nothing.
func TestWhatACompositeImpliesIsThere(t *testing.T) {
	r := registry(t)
	all := append(examples(t), bundled(t, 100)...)
	for _, typ := range r.spec.Resources() {
		for _, p := range r.Params(typ) {
			all = append(all, r.sketches(t, p)...)
		}
	}
	checked := map[string]bool{}
	for _, res := range all {
		entries, err := r.Entries(res)
		if err != nil {
			t.Fatal(err)
		}
		for i := range entries {
			e := &entries[i]
			p, ok := r.Param(res.Type(), e.Param)
			if !ok || p.Type != Composite {
				continue
			}
			for k := range e.Parts {
				q := p.parts[k].alone
				if q == nil {
					continue
				}
				checked[fmt.Sprint(res.Type(), p.Code, k)] = true
				if !slices.ContainsFunc(entries, func(x store.Entry) bool { return x.Param == q.Code && reflect.DeepEqual(x.Value, e.Parts[k]) }) {
					t.Errorf("%s/%s: component %d of %s has a value that %s has not: %+v", res.Type(), res.ID(), k+1, p.Code, q.Code, e.Parts[k])
				}
			}
		}
	}
	for _, want := range [...]string{"Observationcode-value-quantity1", "Observationcombo-code-value-quantity1", "Observationcomponent-code-value-quantity1", "Observationcode-value-date1"} {
		if !checked[want] {
			t.Errorf("%s implies nothing", want)
		}
	}
	t.Logf("%d components of composites", len(checked))
	if len(checked) < 100 {
		t.Errorf("only %d components of composites imply something", len(checked))
	}
}

// What an entry says is found again by the search that asks for it.
func TestEveryTokenAndReferenceIsFoundByItsOwnValue(t *testing.T) {
	r := registry(t)
	asked := 0
	for _, res := range examples(t) {
		entries, err := r.Entries(res)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			value, ok := valueOf(e)
			if !ok || e.Param == struck || strings.HasSuffix(e.Param, "phonetic") || e.Name == inside || strings.HasPrefix(e.Param, inside) { // no search names it, or it is no word but a sound
				continue
			}
			asked++
			s, err := r.Parse([]string{res.Type()}, fhir.Params{{Name: e.Param, Value: value}}, Options{Now: testNow})
			if err != nil {
				t.Errorf("%s?%s=%s: %v", res.Type(), e.Param, value, err)
				continue
			}
			if found, err := store.Holds(alone(s.Query.Where), entries); !found || err != nil {
				t.Errorf("%s?%s=%s does not find %s (%v)", res.Type(), e.Param, value, showEntry(e), err)
			}
		}
	}
	if asked < 2900 {
		t.Errorf("only %d values were asked for", asked)
	}
}

var escaper = strings.NewReplacer(`\`, `\\`, `,`, `\,`, `$`, `\$`, `|`, `\|`)

func valueOf(e store.Entry) (string, bool) {
	switch {
	case strings.HasSuffix(e.Param, ":of-type"):
		system, code, _ := strings.Cut(e.Space, "|")
		return escaper.Replace(system) + "|" + escaper.Replace(code) + "|" + escaper.Replace(e.Name), system != "" && code != ""
	case e.Kind == store.Code && e.Space != "" && e.Name != "":
		return escaper.Replace(e.Space) + "|" + escaper.Replace(e.Name), true
	case e.Kind == store.Code && e.Name != "":
		return escaper.Replace(e.Name), true
	case e.Kind == store.Link && e.Space != "":
		return e.Space + "/" + e.Name, true
	case e.Kind == store.Link || e.Kind == store.URI:
		return escaper.Replace(e.Name), !strings.Contains(e.Name, " ")
	case e.Kind == store.Text:
		return escaper.Replace(e.Raw), strings.TrimSpace(e.Raw) != ""
	}
	return "", false
}

// Every definition with an expression can be searched by, or is listed with a reason.
func TestUnsupportedIsShortAndReasoned(t *testing.T) {
	r := registry(t)
	refused := map[string]string{}
	for _, u := range r.Unsupported() {
		if u.Reason == "" || u.URL == "" {
			t.Errorf("without a reason or URL: %+v", u)
		}
		refused[u.URL] = u.Reason
	}
	kept := map[string]bool{}
	for _, typ := range r.spec.Resources() {
		for _, p := range r.Params(typ) {
			kept[p.URL] = true
		}
	}
	for _, def := range r.spec.SearchParameters() {
		_, out := refused[def.URL]
		if !out && !kept[def.URL] {
			t.Errorf("%s is neither searchable nor listed as unsupported", def.URL)
		}
		if def.Expression != "" && def.XPathUsage != "phonetic" && !kept[def.URL] {
			t.Errorf("%s has an expression but is not searchable: %s", def.URL, refused[def.URL])
		}
	}
	t.Logf("%d definitions searchable, %d unsupported", len(kept), len(refused))
}

// Roles are given by rule: one clock a type, owners where the patient
// compartment has them.
func TestRoles(t *testing.T) {
	r := registry(t)
	clock, owner := map[string]string{}, map[string][]string{}
	for _, typ := range r.spec.Resources() {
		for _, p := range r.Params(typ) {
			if p.Role&store.Clock != 0 {
				if clock[typ] != "" {
					t.Errorf("%s has two clocks", typ)
				}
				clock[typ] = p.Code
			}
			if p.Role&store.Anchor != 0 {
				owner[typ] = append(owner[typ], p.Code)
			}
			if p.Type == Date && p.Code != "_lastUpdated" && clock[typ] == "" {
				clock[typ] = ""
			}
		}
	}
	for typ, want := range map[string]string{"Observation": "date", "Encounter": "date", "Condition": "onset-date", "MedicationRequest": "authoredon",
		"Procedure": "date", "Immunization": "date", "ServiceRequest": "authored", "Patient": "birthdate", "Task": "authored-on", "Appointment": "date"} {
		if clock[typ] != want {
			t.Errorf("clock of %s is %q, want %q", typ, clock[typ], want)
		}
	}
	for typ, got := range clock {
		if got == "" && typ != "Medication" && typ != "Substance" {
			t.Errorf("%s has dates but no clock", typ)
		}
	}
	for typ, want := range map[string]string{"Observation": "patient subject", "Coverage": "patient", "Appointment": "patient", "Group": "member", "Location": "", "Patient": "link"} {
		if got := strings.Join(owner[typ], " "); got != want {
			t.Errorf("owners of %s are %q, want %q", typ, got, want)
		}
	}
}

// Entries of one resource are its own: neither later resources nor others at the
// same time touch them.
func TestEntriesAreSafeToKeepAndConcurrent(t *testing.T) {
	r, list := registry(t), examples(t)
	alone := registry(t)
	want := make([]string, len(list))
	for i, res := range list {
		want[i] = showEntries(t, alone, res)
	}
	var wait sync.WaitGroup
	for worker := range 4 {
		wait.Go(func() {
			kept := make([][]store.Entry, len(list))
			for n := range list {
				i := (n + worker*50) % len(list)
				kept[i], _ = r.Entries(list[i])
			}
			for i, entries := range kept {
				if got := showList(entries); got != want[i] {
					t.Errorf("%s/%s:\n got %s\nwant %s", list[i].Type(), list[i].ID(), got, want[i])
				}
			}
		})
	}
	wait.Wait()
}

func showEntries(t *testing.T, r *Registry, res fhir.Resource) string {
	t.Helper()
	entries, err := r.Entries(res)
	if err != nil {
		t.Fatal(err)
	}
	return showList(entries)
}

func showList(entries []store.Entry) string {
	var out strings.Builder
	for _, e := range entries {
		out.WriteString(showEntry(e) + "\n")
	}
	return out.String()
}

// A hostile resource cannot multiply its index without end.
func TestCombinationsAreBounded(t *testing.T) {
	r := registry(t)
	codings := strings.TrimSuffix(strings.Repeat(`{"code":"x"},`, 200), ",")
	concept := `{"coding":[` + codings + `]}`
	_, err := r.Entries(resource(t, `{"resourceType":"Observation","code":`+concept+`,"valueCodeableConcept":`+concept+`}`))
	var e *fhir.Error
	if !errors.As(err, &e) || e.Status != 422 || e.Issues[0].Code != fhir.CodeTooCostly {
		t.Errorf("200 × 200 combinations: %v", err)
	}
	if _, err := r.Entries(resource(t, `{"resourceType":"Colour"}`)); err == nil {
		t.Error("an unknown type was indexed")
	}
}

// Passing over parameters whose root members are absent changes no entry.
func TestPassingOverAbsentMembersLosesNothing(t *testing.T) {
	r, all := registry(t), registry(t)
	for _, typ := range all.spec.Resources() {
		for _, p := range all.Params(typ) {
			p.need = [2]uint64{}
		}
	}
	for _, res := range append(examples(t), bundled(t, 2)...) {
		if got, want := showEntries(t, r, res), showEntries(t, all, res); got != want {
			t.Errorf("%s/%s:\n got %s\nwant %s", res.Type(), res.ID(), got, want)
		}
	}
}

// (Condition, subject) is defined twice; the one named after the type counts.
func TestTwiceDefinedParameter(t *testing.T) {
	r := registry(t)
	p, ok := r.Param("Condition", "subject")
	if !ok || p.URL != "http://hl7.org/fhir/SearchParameter/Condition-subject" {
		t.Errorf("Condition.subject is %+v", p)
	}
}
