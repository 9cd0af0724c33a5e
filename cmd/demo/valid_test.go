package demo

import (
	"testing"

	"candela/fhir/r4"
	"candela/fhir/validate"
)

// TestValid: every resource, and the bundles around them, are valid R4.
func TestValid(t *testing.T) {
	spec, err := r4.Load()
	if err != nil {
		t.Fatal(err)
	}
	structure := validate.New(spec)
	checked := 0
	for _, b := range bundles(t, 11, 150) {
		for e := range b.Root().Get("entry").Elements() {
			checked++
			if !e.Get("resource").Exists() || !e.Path("request", "url").Exists() {
				t.Error("entry without resource or request")
			}
		}
		for _, issue := range structure.Check(b, false) {
			t.Errorf("%s: %s %s", issue.Expression, issue.Code, issue.Diagnostics)
		}
		if t.Failed() {
			break
		}
	}
	if checked < 10_000 {
		t.Errorf("only %d resources", checked)
	}
}
