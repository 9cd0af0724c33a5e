package search

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"candela/fhir"
	"candela/store"
)

// Item 19: criteria that would select everything are errors, so are unknown
// parameters and parameters that select nothing.
func TestCriteria(t *testing.T) {
	r := registry(t)
	for query, want := range map[string]string{
		"identifier=http://ids.example|7":        "identifier is http://ids.example|7",
		"identifier=a&active=true":               "and(identifier named |a, active named |true)",
		"_id=1":                                  "_id is Patient|1",
		"general-practitioner:identifier=s|v":    "general-practitioner:identifier is s|v",
		"":                                       "400 the criteria are empty",
		"identifier=":                            "400 the criteria are empty",
		"colour=red":                             "400 not known",
		"identifier=a&colour=red":                "400 not known",
		"identifier=a&_count=1":                  "400 selects nothing",
		"_sort=name":                             "400 selects nothing",
		"_include=Patient:organization":          "400 selects nothing",
		"identifier=a\\b":                        "400 backslash",
		"identifier=%zz":                         "400 percent-escape",
		"identifier:exact=a":                     "400 modifier",
		"organization:Organization.identifier=a": "via(organization Organization identifier named |a)",
	} {
		q, err := r.Criteria("Patient", query, Options{Now: testNow})
		if err != nil {
			checkRefusal(t, query, err, want)
			continue
		}
		if got := showExpr(q.Where); got != want || q.Count != 2 || q.Total || !slices.Equal(q.Types, []string{"Patient"}) {
			t.Errorf("%s: got %s count %d, want %s", query, got, q.Count, want)
		}
	}
	if _, err := r.Criteria("Colour", "identifier=a", Options{}); err == nil {
		t.Error("criteria on an unknown type were accepted")
	}
}

// Item 75: a type that is no member of the compartment is never found there.
func TestCompartment(t *testing.T) {
	r := registry(t)
	in := map[string]string{
		`{"resourceType":"Observation","id":"1","subject":{"reference":"Patient/p"}}`:                                 "yes",
		`{"resourceType":"Observation","id":"2","performer":[{"reference":"Patient/p"}]}`:                             "yes",
		`{"resourceType":"Observation","id":"3","subject":{"reference":"Patient/other"}}`:                             "no",
		`{"resourceType":"Observation","id":"4","subject":{"reference":"https://other.example/Patient/p"}}`:           "no",
		`{"resourceType":"Observation","id":"5","subject":{"reference":"Group/p"}}`:                                   "no",
		`{"resourceType":"Patient","id":"p"}`:                                                                         "yes",
		`{"resourceType":"Patient","id":"q"}`:                                                                         "no",
		`{"resourceType":"Patient","id":"q","link":[{"other":{"reference":"Patient/p"},"type":"refer"}]}`:             "yes",
		`{"resourceType":"Practitioner","id":"p"}`:                                                                    "no",
		`{"resourceType":"Group","id":"g","member":[{"entity":{"reference":"Patient/p"}}]}`:                           "yes",
		`{"resourceType":"AuditEvent","id":"a","entity":[{"what":{"reference":"Patient/p/_history/2"}}]}`:             "yes",
		`{"resourceType":"MedicationRequest","id":"m","subject":{"reference":"https://ours.example/fhir/Patient/p"}}`: "yes",
	}
	for text, want := range in {
		res := resource(t, text)
		x := r.Compartment(fhir.Reference{Type: "Patient", ID: "p"}, res.Type())
		got, err := store.Holds(x, allEntries(t, r, res))
		if err != nil {
			t.Fatal(err)
		}
		if got != (want == "yes") {
			t.Errorf("in the compartment of Patient/p: %t, want %s: %s (%s)", got, want, text, showExpr(x))
		}
	}
	types := r.CompartmentTypes("Patient")
	if !slices.Contains(types, "Observation") || !slices.Contains(types, "Patient") || slices.Contains(types, "Practitioner") {
		t.Errorf("types of the patient compartment: %v", types)
	}
	if got := r.CompartmentTypes("Colour"); got != nil {
		t.Errorf("types of no compartment: %v", got)
	}
}

// R43: alternatives are bounded.
func TestLimits(t *testing.T) {
	r := registry(t)
	many := func(n int) string { return strings.TrimSuffix(strings.Repeat("x,", n), ",") }
	for _, query := range []string{"Observation?code=" + many(10_000), "Patient?_list=" + many(10_000), "Observation?code=x&code:not=" + many(10_000),
		"Patient?_filter=" + strings.Repeat("(", 10_000), "Patient?_filter=" + strings.Repeat("name+eq+x+or+", 1_000) + "name+eq+x"} {
		_, err := parseURL(r, query, Options{})
		checkCode(t, err, fhir.CodeTooCostly)
	}
	if _, err := parseURL(r, "Observation?code="+many(100), Options{}); err != nil {
		t.Errorf("100 values are refused: %v", err)
	}
	_, err := parseURL(r, "Observation?code="+many(101), Options{})
	checkCode(t, err, fhir.CodeTooCostly)
	query := "Basic?subject=" + many(50)
	for range 4 {
		query += "&subject=" + many(50)
	}
	_, err = parseURL(r, query, Options{})
	checkCode(t, err, fhir.CodeTooCostly)
}

func checkCode(t *testing.T, err error, code string) {
	t.Helper()
	var e *fhir.Error
	if !errors.As(err, &e) || e.Status != 400 || e.Issues[0].Code != code {
		t.Errorf("got %v, want a 400 of code %s", err, code)
	}
}

// T60-T62: what other servers hand to their database, or to a regular expression,
// is a literal here, an unknown name or a 400; nothing matches all.
func TestHostileQueries(t *testing.T) {
	r := registry(t)
	entries := allEntries(t, r, resource(t, `{"resourceType":"Patient","id":"p","identifier":[{"value":"7"}],"birthDate":"2000-01-01","name":[{"family":"Bob"}]}`))
	for _, query := range []string{
		`identifier=[$gt]`, `identifier={"$ne":null}`, `identifier={"$gt":""}`, `_id={"$ne":null}`, `_id[$ne]=x`, `identifier[$gt]=`, `identifier[$gt]=0`,
		`birthdate[0][$gt]=1900`, `birthdate[$gt]=1900`, `$where=1`, `toString=1`, `__proto__=1`, `constructor=1`, `a.b=1`, `name.__proto__=x`,
		`name=.*`, `name:contains=.*`, `name:exact=.*`, `name=^(a+)+$`, `name:contains=^(a+)+$`, `name=` + strings.Repeat("(", 10_000), `name:regex=.*`,
		`_filter=$where eq 1`, `_filter=name eq ".*"`, `_filter=identifier eq {$ne:null}`, `_has:$where:x:y=1`, `_has:Patient:__proto__:y=1`,
		`_sort=$where`, `_include=$where:x`, `_type=$where`, `name=%00`, `identifier=%00`, `_elements=__proto__`, `family:missing=$ne`, `_list=$where`,
	} {
		s, err := parseURL(r, "Patient?"+query, Options{Strict: true})
		var own *fhir.Error
		if err != nil {
			if !errors.As(err, &own) || own.Status != 400 {
				t.Errorf("%.60s: %v", query, err)
			}
			continue
		}
		if met, err := store.Holds(s.Query.Where, entries); s.Query.Where != nil && (err != nil || met) {
			t.Errorf("%.60s matches: %v, %v", query, met, err)
		}
	}
}

// Refusals name the parameter and never repeat the value.
func TestRefusalsDoNotRepeatValues(t *testing.T) {
	r := registry(t)
	for _, query := range []string{"Patient?birthdate=secret", "Patient?name=secret\\x", "Observation?value-quantity=9secret", "Observation?subject=secret secret",
		"Patient?_count=secret", "Observation?code-value-quantity=secret", "Patient?gender:missing=secret", "Location?near=secret|secret", "Patient?_total=secret",
		"Patient?identifier:of-type=secret", "Observation?subject:Patient=secret/secret",
		"Patient?_filter=secret", `Patient?_filter=name eq "secret`, "Patient?_filter=birthdate eq secret", "Patient?_list=secret/secret",
		"Observation?subject:below=http://secret"} {
		_, err := parseURL(r, query, Options{})
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", query, err)
		}
	}
}

func TestRolesReachTestsAndSorts(t *testing.T) {
	r := registry(t)
	s, err := parseURL(r, "Observation?patient=Patient/1&code=x&_sort=-date", Options{})
	if err != nil {
		t.Fatal(err)
	}
	and, ok := s.Query.Where.(store.And)
	if !ok || len(and) != 2 || len(s.Query.Sort) != 1 {
		t.Fatalf("%s", showSearch(s))
	}
	anchor, ok1 := and[0].(store.Test)
	hot, ok2 := and[1].(store.Test)
	if !ok1 || !ok2 || anchor.Role != store.Anchor || hot.Role != store.Hot || s.Query.Sort[0].Role != store.Clock {
		t.Errorf("roles %d %d %d", anchor.Role, hot.Role, s.Query.Sort[0].Role)
	}
}

// What carries no role as an entry carries none as a test: a list of roles would
// not hold it.
func TestOnlyReferencesToPatientsAnchor(t *testing.T) {
	r := registry(t)
	for _, query := range []string{"Condition?patient=http://other.example/fhir/Patient/3", "Condition?patient:identifier=s|1", "Observation?subject=Group/1", "Observation?subject:Location=1"} {
		s, err := parseURL(r, query, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if test, ok := s.Query.Where.(store.Test); !ok || test.Role != 0 {
			t.Errorf("%s: %s", query, showSearch(s))
		}
	}
	for owner, want := range map[string]store.Role{"Patient": store.Anchor, "Practitioner": 0} {
		if test, ok := r.Compartment(fhir.Reference{Type: owner, ID: "1"}, "Group").(store.Test); !ok || test.Role != want {
			t.Errorf("groups of a %s: %+v", owner, test)
		}
	}
}

// Criteria that name one identity share a claim however they are spelled, and
// what many resources have in common does not keep their writers waiting.
func TestCriteriaClaim(t *testing.T) {
	r := registry(t)
	claims := func(typ, criteria string) []string {
		q, err := r.Criteria(typ, criteria, Options{})
		if err != nil {
			t.Fatal(err)
		}
		return store.Claims(q)
	}
	share := func(typ, a, b string) bool {
		others := claims(typ, b)
		return slices.ContainsFunc(claims(typ, a), func(c string) bool { return slices.Contains(others, c) })
	}
	for _, c := range [][3]string{
		{"Patient", "identifier=urn:s|v", "identifier=v"}, {"Patient", "identifier=urn:s|v", "active=true&gender=male&identifier=w,v"},
		{"Patient", "identifier=v", "identifier:of-type=http://terminology.hl7.org/CodeSystem/v2-0203|MR|v"}, {"Patient", "identifier=V", "identifier=urn:s|v"},
		{"Patient", "email=a@b.c", "telecom=a@b.c&family=x"}, {"Patient", "_id=1", "_id=1&active=true"},
		{"ValueSet", "url=http://x/y", "url=http://x/y&version=1"}, {"Patient", "family=x", "birthdate=1970-01-01&gender=male"},
		{"Observation", "patient=1&code=c", "subject=Patient/1&code=c&date=2020-01-01"}, {"Observation", "identifier=v", "patient=1&identifier=urn:s|v"},
	} {
		if !share(c[0], c[1], c[2]) {
			t.Errorf("%s: %s and %s share no claim: %q, %q", c[0], c[1], c[2], claims(c[0], c[1]), claims(c[0], c[2]))
		}
	}
	for _, c := range [][3]string{
		{"Patient", "identifier=urn:s|v&gender=male&active=true", "identifier=urn:s|w&gender=male&active=true"},
		{"Observation", "patient=1&code=c", "patient=2&code=c"}, {"Observation", "identifier=v&patient=1", "identifier=w&patient=1"},
	} {
		if share(c[0], c[1], c[2]) {
			t.Errorf("%s: %s and %s share a claim: %q, %q", c[0], c[1], c[2], claims(c[0], c[1]), claims(c[0], c[2]))
		}
	}
}

func TestFold(t *testing.T) {
	for in, want := range map[string]string{
		"Carreño  Quiñones": "carreno quinones", "O'Neil": "oneil", "d’Arc": "darc", "Smith-Jones": "smith jones", "J.R.": "jr", "Straße": "strasse",
		"Ærøskøbing": "aeroskobing", " x ": "x", "Łódź": "lodz", "!!!": "!!!", "ΑΘΉΝΑ": "αθηνα", "": "", "İstanbul": "istanbul", "a/b_c": "a b c",
	} {
		if got := fold(in); got != want {
			t.Errorf("fold(%q) is %q, want %q", in, got, want)
		}
		if again := fold(fold(in)); again != fold(in) {
			t.Errorf("fold is not stable on %q: %q", in, again)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, query := range []string{"name=x", "birthdate=ge2020-01-01T10:00:00.5%2B01:00", "_has:Observation:patient:code=a|b", "general-practitioner:Practitioner.name:exact=a,b",
		"identifier:of-type=a|b|c", "_sort=-name,_id&_count=3", "_include=Patient:organization", `name=\`, `name=a\,b,c\$d`, "_lastUpdated=ap2020", "name:missing=true",
		"code-value-quantity=a$gt5.4|s|c", "near=1|2|3|km", "_elements=a,b&_total=none", "value-quantity=1e999", "subject=1&subject:Patient=2"} {
		f.Add("Patient", query, false)
		f.Add("Observation", query, true)
		f.Add("", query, false)
	}
	r := registry(f)
	f.Fuzz(func(t *testing.T, typ, query string, strict bool) {
		params, err := fhir.ParseParams(query)
		if err != nil {
			return
		}
		types := []string{typ}
		if typ == "" {
			types = nil
		}
		s, err := r.Parse(types, params, Options{Strict: strict, Now: testNow})
		if err != nil {
			var e *fhir.Error
			if !errors.As(err, &e) || e.Status < 400 || e.Status > 499 {
				t.Fatalf("%s?%s: %v", typ, query, err)
			}
			return
		}
		if err := store.Check(s.Query.Where, true); err != nil {
			t.Fatalf("%s?%s gives a query that no store answers: %v", typ, query, err)
		}
		if strict && len(s.Warnings) > 0 {
			t.Fatalf("warnings in a strict search: %v", s.Warnings)
		}
		again, err := r.Parse(types, s.Used, Options{Strict: true, Now: testNow})
		if err != nil || fmt.Sprint(showSearch(again)) != fmt.Sprint(strings.Split(showSearch(s), "; warning")[0]) {
			t.Fatalf("the self link of %s?%s reads otherwise: %v\n%s\n%s", typ, query, err, showSearch(s), showSearch(again))
		}
	})
}
