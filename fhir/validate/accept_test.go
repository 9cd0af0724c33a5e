package validate_test

import (
	"testing"

	"candela/fhir"
)

// What HL7, US Core and Synthea publish must be stored: no error, and no
// unknown element either.
func TestPublishedResourcesPass(t *testing.T) {
	check := structure(t)
	for folder, want := range map[string]int{"hl7-r4-examples": 151, "us-core-6.1.0-examples": 182, "synthea-2.7": 14, "synthea-2019": 4} {
		count := bodies(t, folder, func(name string, body []byte) {
			for _, issue := range check.Check(resource(t, body), false) {
				t.Errorf("%s: %s %s: %s", name, issue.Code, issue.Expression, issue.Diagnostics)
			}
		})
		if count != want {
			t.Errorf("%s has %d files, want %d", folder, count, want)
		}
	}
}

// A Bundle's check is the sum of its entries' checks.
func TestBundleEntriesAreChecked(t *testing.T) {
	check := structure(t)
	entries := 0
	bodies(t, "synthea-2.7", func(name string, body []byte) {
		for e := range resource(t, body).Root().Get("entry").Elements() {
			one, err := fhir.ResourceAt(e.Get("resource"))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if issues := check.Check(one, false); len(issues) > 0 {
				t.Errorf("%s: %v", name, issues)
			}
			entries++
		}
	})
	if entries < 8_900 {
		t.Errorf("only %d entries", entries)
	}
}
