package scope_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"candela/fhir"
	"candela/fhir/r4"
	"candela/fhir/search"
	"candela/smart/scope"
	"candela/store"
)

// server is the real search registry as the words of a grammar.
type server struct{ *search.Registry }

func (s server) HasType(typ string) bool { return s.Params(typ) != nil }
func (s server) HasParam(typ, code string) bool {
	_, ok := s.Param(typ, code)
	return ok
}
func (s server) Criteria(typ, query string) error {
	if typ == scope.Any {
		typ = "Patient"
	}
	_, err := s.Registry.Criteria(typ, query, search.Options{})
	return err
}

var registry = sync.OnceValues(func() (*search.Registry, error) {
	spec, err := r4.Load()
	if err != nil {
		return nil, err
	}
	return search.New(spec)
})

func real(t testing.TB) server {
	t.Helper()
	r, err := registry()
	if err != nil {
		t.Fatal(err)
	}
	return server{r}
}

func grant(t testing.TB, g *scope.Grammar, text string) scope.Set {
	t.Helper()
	set, refused := g.Parse(text)
	if len(refused) > 0 {
		t.Fatalf("refused %q", refused)
	}
	return set
}

func refuseAll(t *testing.T, texts ...string) {
	t.Helper()
	g := scope.New(real(t))
	for _, text := range texts {
		granted, refused := g.Parse(text)
		if len(granted) != 0 || len(refused) != 1 {
			t.Errorf("%q: granted %v, refused %q", text, granted, refused)
		}
	}
	asked := "openid " + strings.Join(texts, " ") + " patient/Observation.rs"
	if granted, refused := g.Parse(asked); granted.String() != "openid patient/Observation.rs" || len(refused) != len(texts) {
		t.Errorf("among good scopes: granted %q, refused %q", granted, refused)
	}
}

// TestT32_GrammarIsExact: what is not in the grammar is not granted.
func TestT32_GrammarIsExact(t *testing.T) {
	refuseAll(t, "patient/Observation.sr", "patient/Observation.dus", "patient/Observation.", "Observation.rs", "patient/Foo.rs",
		"patient/Observation.rr", "patient/Observation.crudsx", "patient/Observation", "patient/.rs", "patient/observation.rs",
		"Patient/Observation.rs", "PATIENT/Observation.rs", "patient/Observation.RS", "patient/Observation.Read", "patient//Observation.rs",
		"/Observation.rs", "patient/Observation.rs.rs", "patient/Observation.read.rs", "patient/**.rs", "patient/Obs*.rs", "practitioner/Observation.rs",
		"patient/Resource.rs", "patient/DomainResource.rs", "patient/Observation.rs?", "patient/*", "launch/practitioner", "OpenID", "fhiruser",
		"patient/Observation.rs\tpatient/Condition.rs", "patient/Observation.rs\n", "patient/Observation.rs\x00", "patient/Obsérvation.rs", "patient\\Observation.rs",
		"patient/Observation.*s", "patient/Observation.read?category=laboratory", "patient/Observation.*?category=laboratory")
}

// TestT33_FiltersArePlain: modifiers, chains, operators, escapes and unknown
// parameters are refused.
func TestT33_FiltersArePlain(t *testing.T) {
	refuseAll(t, "patient/Observation.rs?category:not=laboratory", "patient/Observation.rs?category:missing=true", "patient/Observation.rs?code:in=x",
		"patient/Observation.rs?subject.name=x", "patient/Observation.rs?subject:Patient.name=x", "patient/Observation.rs?_has:Provenance:target:agent=x",
		"patient/Observation.rs?_filter=code", "patient/Observation.rs?_include=Observation:subject", "patient/Observation.rs?_revinclude=*", "patient/Observation.rs?_count=1",
		"patient/Observation.rs?_text=x", "patient/Observation.rs?_content=x", "patient/Observation.rs?_list=1", "patient/Observation.rs?_query=x", "patient/Observation.rs?_type=Patient",
		"patient%2FObservation.rs", "patient%2fObservation.rs", "patient/Observation%2Ers", "patient/Observation.rs?category=a%7Cb", "patient/Observation.rs?categor%79=a",
		"patient/Observation.rs?unknown=1", "patient/Observation.rs?Category=a", "patient/Observation.rs?category", "patient/Observation.rs?category=", "patient/Observation.rs?=a",
		"patient/Observation.rs?category=a,", "patient/Observation.rs?category=a&", "patient/Observation.rs?&category=a", "patient/Observation.rs?category=a&unknown=1",
		"patient/Observation.rs?date=yesterday", "patient/Observation.rs?birthdate=2000", "patient/*.rs?category=laboratory", "patient/*.rs?_filter=x", "patient/*.rs?_text=x",
		"patient/Observation.rs?category="+strings.Repeat("a,", 100)+"a", "patient/Observation.rs?"+strings.Repeat("category=a&", 10)+"category=a")
}

// yes is a server that knows every name it is asked for.
type yes struct{}

func (yes) HasType(string) bool          { return true }
func (yes) HasParam(string, string) bool { return true }

// TestT33_WhateverTheServerKnows: what is no plain filter is refused before the
// server is asked.
func TestT33_WhateverTheServerKnows(t *testing.T) {
	g := scope.New(yes{})
	for _, text := range []string{"user/A.r?p:not=1", "user/A.r?p.q=1", "user/A.r?_has:B:p:q=1", "user/A.r?_filter=p", "user/A.r?_text=x", "user/A.r?=x", "user/*.r?p=1", "user/*.r?_filter=p",
		"user/Resource.r", "user/DomainResource.r", "user/A1.r", "user/A:B.r", "user/.r"} {
		if granted, refused := g.Parse(text); len(granted) != 0 || len(refused) != 1 {
			t.Errorf("%s: granted %v", text, granted)
		}
	}
	grant(t, g, "user/A.r?p=1&_id=2 user/*.r?_id=1&_lastUpdated=1&_profile=1&_security=1&_source=1&_tag=1")
}

// TestT34_ManyGranularScopes: 500 granular scopes of 32 KB are granted, and what
// is larger than the bounds is refused as a whole.
func TestT34_ManyGranularScopes(t *testing.T) {
	g := scope.New(real(t))
	var texts []string
	for i := range 500 {
		texts = append(texts, fmt.Sprintf("patient/Observation.rs?code=http://loinc.org|%05d-%d&status=final", i, i%10))
	}
	text := strings.Join(texts, " ")
	if len(text) < 32<<10 {
		t.Fatalf("the case is of %d octets only", len(text))
	}
	set := grant(t, g, text)
	access, err := set.Access(chart(fhir.Full()))
	if err != nil || len(set) != 500 || len(access) != 500 || set.String() != text {
		t.Fatalf("%d scopes, %d rules, %v", len(set), len(access), err)
	}
	if narrow, ok := set.Narrow(set); !ok || len(narrow) != 500 {
		t.Fatal("the set does not cover itself")
	}
	var lots strings.Builder
	for i := range scope.MaxScopes + 1 {
		fmt.Fprintf(&lots, "user/Patient.r?_id=%d ", i)
	}
	for _, huge := range []string{"openid " + strings.Repeat("x", scope.MaxText), lots.String(), strings.Repeat("x", 1<<20)} {
		if granted, refused := g.Parse(huge); granted != nil || len(refused) != 1 || len(refused[0]) > 128 {
			t.Errorf("%d octets: %d granted, %d refused", len(huge), len(granted), len(refused))
		}
	}
}

// TestT35_LevelsDoNotMix: user and system scopes in one request are invalid_scope,
// whatever the grant type.
func TestT35_LevelsDoNotMix(t *testing.T) {
	g := scope.New(real(t))
	for text, fits := range map[string]string{
		"user/Patient.rs system/Patient.rs":        "",
		"patient/Patient.rs system/Patient.rs":     "",
		"openid system/Patient.rs":                 "",
		"":                                         "",
		"system/Patient.rs":                        "client_credentials",
		"patient/Patient.rs":                       "authorization_code",
		"user/Patient.rs":                          "authorization_code",
		"openid user/*.rs patient/*.rs launch":     "authorization_code",
		"launch/patient offline_access fhirUser":   "authorization_code",
		"system/*.rs system/Observation.rs?code=1": "client_credentials",
	} {
		set := grant(t, g, text)
		for _, kind := range []string{"authorization_code", "client_credentials", "implicit"} {
			err := set.Fits(kind)
			var oauth *scope.Error
			if ok := errors.As(err, &oauth); ok == (kind == fits) || ok && (oauth.Code != "invalid_scope" || oauth.Status != 400) {
				t.Errorf("%q by %s: %v", text, kind, err)
			}
		}
	}
	c := chart(fhir.Full())
	c.User = fhir.ParseReference("Practitioner/1")
	if access, err := grant(t, g, "user/Patient.rs system/Patient.rs").Access(c); err == nil || access != nil {
		t.Errorf("a mixed token opens %v", access)
	}
}

// TestT36_FilterBindsReadsAndWrites: the rule of a granular scope, taken with the
// server's own search, holds for the resources inside the filter only, and the
// same rule carries the letters to read and to write.
func TestT36_FilterBindsReadsAndWrites(t *testing.T) {
	words := real(t)
	set := grant(t, scope.New(words), "patient/Observation.cruds?category=http://terminology.hl7.org/CodeSystem/observation-category|laboratory,vital-signs&status=final")
	access, err := set.Access(chart(fhir.Full()))
	if err != nil || len(access) != 1 || access[0].Letters != "cruds" || access[0].Compartment.String() != "Patient/1" {
		t.Fatalf("%v, %v", access, err)
	}
	q, err := words.Registry.Criteria(access[0].Type, access[0].Filter, search.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for body, want := range map[string]bool{
		observation("http://terminology.hl7.org/CodeSystem/observation-category", "laboratory", "final"):   true,
		observation("http://example.org/own", "vital-signs", "final"):                                      true,
		observation("http://terminology.hl7.org/CodeSystem/observation-category", "laboratory", "amended"): false,
		observation("http://example.org/own", "laboratory", "final"):                                       false,
		observation("http://terminology.hl7.org/CodeSystem/observation-category", "survey", "final"):       false,
	} {
		res, err := fhir.ParseResource([]byte(body), fhir.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		entries, err := words.Entries(res)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := store.Holds(q.Where, entries); err != nil || got != want {
			t.Errorf("%s: %v, %v", body, got, err)
		}
	}
}

func observation(system, code, status string) string {
	return fmt.Sprintf(`{"resourceType":"Observation","id":"1","status":%q,"category":[{"coding":[{"system":%q,"code":%q}]}],"code":{"text":"x"},"subject":{"reference":"Patient/1"}}`, status, system, code)
}
