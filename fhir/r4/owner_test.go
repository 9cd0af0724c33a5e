package r4_test

import (
	"slices"
	"testing"

	"candela/fhir/r4"
)

// TestR30_EveryTypeHasAnOwnership: a type in no row fails, and so does a row of
// no type, a type in two rows, and a parameter that could not name a patient.
func TestR30_EveryTypeHasAnOwnership(t *testing.T) {
	s := spec(t)
	count := map[r4.Belonging]int{}
	for _, typ := range s.Resources() {
		o, ok := s.Ownership(typ)
		if !ok || o.Belonging == r4.Unknown {
			t.Errorf("%s is in no row: say to whom it belongs", typ)
		}
		count[o.Belonging]++
		named := o.Belonging == r4.Owned || o.Belonging == r4.Through
		if named != (len(o.Params) > 0) || o.Belonging == r4.Through && len(o.Params) != 1 {
			t.Errorf("%s: %+v", typ, o)
		}
		for _, code := range o.Params {
			if code != r4.SecurityContext && !names(s, typ, code, o.Belonging == r4.Owned) {
				t.Errorf("%s: %s is no parameter that leads there", typ, code)
			}
		}
	}
	want := map[r4.Belonging]int{r4.Owned: 67, r4.Shared: 61, r4.Through: 3, r4.Apart: 15}
	for _, b := range []r4.Belonging{r4.Owned, r4.Shared, r4.Through, r4.Apart} {
		if count[b] != want[b] {
			t.Errorf("belonging %d: %d types, want %d (a type in two rows?)", b, count[b], want[b])
		}
	}
	if _, ok := s.Ownership("Foo"); ok {
		t.Error("a type that is none has an ownership")
	}
}

func names(s *r4.Spec, typ, code string, patient bool) bool {
	for _, p := range s.SearchParameters() {
		if p.Code == code && slices.Contains(p.Base, typ) && p.Type == "reference" && (!patient || slices.Contains(p.Target, "Patient")) {
			return true
		}
	}
	return false
}

// TestR30_CompartmentOverAllParameters: every type of R4's Patient compartment
// is owned by all parameters that R4 lists, but for the named exceptions.
func TestR30_CompartmentOverAllParameters(t *testing.T) {
	s := spec(t)
	except := map[string]bool{"AuditEvent": true, "Group": true, "List": true, "Provenance": true}
	for typ, params := range s.Compartment("Patient") {
		o, _ := s.Ownership(typ)
		if same := o.Belonging == r4.Owned && slices.Equal(o.Params, params); len(params) > 0 && same == except[typ] {
			t.Errorf("%s: %+v, R4 says %v", typ, o, params)
		}
	}
	for typ, want := range map[string]r4.Ownership{
		"Observation": {Belonging: r4.Owned, Params: []string{"subject", "performer"}}, "Device": {Belonging: r4.Owned, Params: []string{"patient"}},
		"Practitioner": {Belonging: r4.Shared}, "Group": {Belonging: r4.Apart}, "AuditEvent": {Belonging: r4.Apart}, "Subscription": {Belonging: r4.Apart},
		"Binary": {Belonging: r4.Through, Params: []string{r4.SecurityContext}}, "Patient": {Belonging: r4.Owned, Params: []string{"link"}},
	} {
		if o, _ := s.Ownership(typ); o.Belonging != want.Belonging || !slices.Equal(o.Params, want.Params) {
			t.Errorf("%s: %+v, want %+v", typ, o, want)
		}
	}
	if owned := s.OwnedTypes(); len(owned) != 70 || !slices.IsSorted(owned) {
		t.Errorf("%d owned types: %v", len(owned), owned)
	}
}
