package fhir_test

import (
	"errors"
	"fmt"
	"testing"

	"candela/fhir"
)

func TestRoute(t *testing.T) {
	for _, c := range []struct{ method, url, want string }{
		{"GET", "", "search-system"}, {"POST", "/", "batch"}, {"GET", "?_type=Patient", "search-system"},
		{"GET", "metadata", "capabilities"}, {"HEAD", "metadata", "capabilities head"}, {"POST", "metadata", "405 GET, HEAD"},
		{"GET", "_history", "history-system"}, {"POST", "_search", "search-system"}, {"GET", "_search", "405 POST"},
		{"POST", "$export", "operation op=export"}, {"GET", "Patient/$x", "operation Patient op=x"}, {"POST", "Patient/1/$everything", "operation Patient/1 op=everything"},
		{"GET", "Patient", "search-type Patient"}, {"POST", "Patient/_search", "search-type Patient"}, {"POST", "Patient", "create Patient"},
		{"PUT", "Patient?identifier=1", "update Patient"}, {"DELETE", "Patient?identifier=1", "delete Patient"}, {"PATCH", "Patient", "patch Patient"},
		{"GET", "Patient/_history", "history-type Patient"}, {"DELETE", "Patient/_history", "405 GET, HEAD"},
		{"GET", "Patient/1", "read Patient/1"}, {"PUT", "Patient/1", "update Patient/1"}, {"PATCH", "Patient/1", "patch Patient/1"}, {"DELETE", "Patient/1", "delete Patient/1"},
		{"POST", "Patient/1", "405 GET, HEAD, PUT, PATCH, DELETE"},
		{"GET", "Patient/1/_history", "history-instance Patient/1"}, {"GET", "Patient/1/_history/2", "vread Patient/1 v=2"}, {"GET", "Patient/1/_history/2/3", "404"},
		{"GET", "Patient/1/Observation", "search-compartment Observation/1 in=Patient"}, {"GET", "Patient/1/*", "search-compartment */1 in=Patient"},
		{"POST", "Patient/1/Observation/_search", "search-compartment Observation/1 in=Patient"}, {"POST", "Patient/1/_search", "search-compartment */1 in=Patient"},
		{"GET", "Patient/1/x", "404"}, {"GET", "patient/1", "404"}, {"GET", "x", "404"}, {"GET", "Patient/", "404"}, {"GET", "Patient//1", "404"}, {"GET", "Patient/1/", "404"},
		{"GET", "Patient/..%2f..%2fx", "400"}, {"GET", "Patient/%00", "400"}, {"GET", "Patient/a_b", "400"}, {"GET", "Patient/%zz", "400"},
		{"GET", "Patient/0123456789012345678901234567890123456789012345678901234567890123x", "400"}, {"GET", "Patient/pаtient", "400"}, {"BREW", "Patient", "405 GET, HEAD, POST, PUT, PATCH, DELETE"},
		{"GET", "http://us/fhir/Patient/1", "read Patient/1"}, {"GET", "http://us/fhir?_id=1", "search-system"}, {"GET", "Patient?identifier=http://x|1", "search-type Patient"}, {"GET", "http://us/fhirx/Patient/1", "400"}, {"GET", "http://them/Patient/1", "400"},
	} {
		r, err := fhir.RouteURL(c.method, c.url, "http://us/fhir")
		if got := show(r, err); got != c.want {
			t.Errorf("%s %s: got %q, want %q", c.method, c.url, got, c.want)
		}
	}
}

func show(r fhir.Request, err error) string {
	var refusal *fhir.Error
	if errors.As(err, &refusal) {
		if refusal.Allow != "" {
			return fmt.Sprintf("%d %s", refusal.Status, refusal.Allow)
		}
		return fmt.Sprint(refusal.Status)
	}
	out := string(r.Interaction)
	if r.Type != "" {
		out += " " + r.Type
	}
	for _, part := range [][2]string{{"/", r.ID}, {" op=", r.Operation}, {" v=", r.Version}, {" in=", r.Compartment}} {
		if part[1] != "" {
			out += part[0] + part[1]
		}
	}
	if r.Head {
		out += " head"
	}
	return out
}
