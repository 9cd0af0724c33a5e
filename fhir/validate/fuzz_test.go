package validate_test

import (
	"slices"
	"testing"

	"candela/fhir"
)

// Whatever the resource: the check ends, and lenient handling differs from
// strict handling in the severity of unknown elements only.
func FuzzCheck(f *testing.F) {
	check := structure(f)
	bodies(f, "hl7-r4-examples", func(name string, body []byte) {
		if len(body) < 4000 {
			f.Add(body)
		}
	})
	f.Fuzz(func(t *testing.T, body []byte) {
		res, err := fhir.ParseResource(body, fhir.Limits{})
		if err != nil {
			return
		}
		strict, lenient := check.Check(res, false), check.Check(res, true)
		if len(strict) == 100 || len(lenient) == 100 {
			return // cut off at different places
		}
		for i := range lenient {
			if lenient[i].Severity == fhir.Warning {
				lenient[i].Severity = fhir.SevError
			}
		}
		if !slices.Equal(strict, lenient) {
			t.Fatalf("strict  %v\nlenient %v", strict, lenient)
		}
	})
}
