package conformance_test

import (
	"context"
	"testing"
	"time"

	"candela/conformance"
	"candela/fhir"
	"candela/fhir/operation"
	"candela/fhir/r4"
	"candela/fhir/search"
	"candela/fhir/validate"
)

func statement(t testing.TB) conformance.Statement {
	t.Helper()
	spec, err := r4.Load()
	if err != nil {
		t.Fatal(err)
	}
	registry, err := search.New(spec)
	if err != nil {
		t.Fatal(err)
	}
	return conformance.Statement{Software: "1", Search: registry, Types: spec.Resources(), Operations: operation.New(registry, spec.Resources(), time.Now).Operations()}
}

func TestCapabilityStatementIsValid(t *testing.T) {
	s := statement(t)
	s.OAuth = []conformance.Endpoint{{Name: "token", URL: "http://us/auth/token"}, {Name: "authorize", URL: "http://us/auth/authorize"}}
	body, err := s.Answer(context.Background(), fhir.Request{Base: "http://us/fhir"})
	if err != nil {
		t.Fatal(err)
	}
	res, err := fhir.ParseResource(body, fhir.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	spec, err := r4.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, issue := range validate.New(spec).Check(res, false) {
		t.Errorf("%s: %s", issue.Expression, issue.Diagnostics)
	}
	if got := res.Root().Path("rest", "security", "extension", "extension", "valueUri").Text(); got != "http://us/auth/token" {
		t.Errorf("old clients find tokens at %q", got)
	}
	params := 0
	for r := range res.Root().Path("rest", "resource").Elements() {
		seen := map[string]bool{}
		for p := range r.Get("searchParam").Elements() {
			if name := p.Get("name").Text(); seen[name] || p.Get("definition").Text() == "" {
				t.Errorf("%s: parameter %s twice or undefined", r.Get("type").Text(), name)
			}
			seen[p.Get("name").Text()] = true
			params++
		}
		if !seen["_id"] || !seen["_lastUpdated"] {
			t.Errorf("%s lacks the common parameters", r.Get("type").Text())
		}
	}
	if params < 1300 {
		t.Errorf("only %d parameters", params)
	}
}

func TestOnceKeepsBasesApart(t *testing.T) {
	answer := statement(t).Once()
	for _, base := range []string{"http://a/fhir", "http://b/fhir", "http://a/fhir"} {
		body, err := answer(context.Background(), fhir.Request{Base: base})
		if err != nil {
			t.Fatal(err)
		}
		res, err := fhir.ParseResource(body, fhir.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		if got := res.Root().Path("implementation", "url").Text(); got != base {
			t.Errorf("implementation.url is %q, want %q", got, base)
		}
	}
}
