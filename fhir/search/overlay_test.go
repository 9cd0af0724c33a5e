package search_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"candela/fhir"
	"candela/fhir/r4"
	"candela/fhir/search"
)

func added(t *testing.T, r *search.Registry, code, base, expression string) search.Added {
	t.Helper()
	raw := fmt.Sprintf(`{"resourceType":"SearchParameter","id":%q,"url":"urn:%s","status":"active","code":%q,"base":[%q],"type":"string","expression":%q}`, code, code, code, base, expression)
	a, ok, err := r.Define(fhir.Stored([]byte(raw)))
	if err != nil || !ok {
		t.Fatalf("%s: %v %v", code, ok, err)
	}
	return a
}

// TestOverlayBesideReaders swaps parameters while others index and search: each
// reader sees all of the one state or of the other, and the parameters of the
// specification always.
func TestOverlayBesideReaders(t *testing.T) {
	spec, err := r4.Load()
	if err != nil {
		t.Fatal(err)
	}
	r, err := search.New(spec)
	if err != nil {
		t.Fatal(err)
	}
	patient := fhir.Stored([]byte(`{"resourceType":"Patient","id":"p","language":"de","name":[{"family":"Zoe"}],"contact":[{"name":{"family":"Ann"}}]}`))
	contact, tongue := added(t, r, "kin", "Patient", "Patient.contact.name.family"), added(t, r, "tongue", "Resource", "Resource.language")
	for i := range contact.Parts {
		contact.Parts[i].Complete = true
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 200 {
				entries, err := r.Entries(patient)
				var codes []string
				for _, e := range entries {
					codes = append(codes, e.Param)
				}
				if err != nil || !slices.Contains(codes, "family") || slices.Contains(codes, "kin") != slices.Contains(codes, "tongue") {
					t.Errorf("%v %v", codes, err)
				}
				if _, err := r.Parse([]string{"Patient"}, fhir.Params{{Name: "family", Value: "z"}}, search.Options{Strict: true}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 20 {
		r.Overlay([]search.Added{contact, tongue}[:2*(i%2)])
	}
	r.Overlay([]search.Added{contact, tongue})
	group.Wait()
	if len(tongue.Parts) != len(spec.Resources()) {
		t.Errorf("tongue is on %d types", len(tongue.Parts))
	}
	for query, want := range map[string]string{"kin": "", "tongue": "still being indexed", "_has:Patient:link:tongue": "still being indexed"} {
		s, err := r.Parse([]string{"Patient"}, fhir.Params{{Name: query, Value: "z"}}, search.Options{})
		if err != nil || (len(s.Warnings) == 0) != (want == "") || want != "" && !strings.Contains(s.Warnings[0].Diagnostics, want) {
			t.Errorf("%s: %v %v, want %q", query, s.Warnings, err, want)
		}
	}
	if s, err := r.Parse(nil, fhir.Params{{Name: "tongue", Value: "de"}}, search.Options{}); err != nil || len(s.Warnings) != 1 {
		t.Errorf("all types: %v %v", s.Warnings, err)
	}
	if _, err := r.Criteria("Patient", "tongue=de", search.Options{}); err == nil {
		t.Error("criteria on a parameter that is not complete would find too few")
	}
	if added := r.Added(); len(added) != 2 || added[0].Refused != "" {
		t.Errorf("%+v", added)
	}
}
