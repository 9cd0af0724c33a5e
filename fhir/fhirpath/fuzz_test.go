package fhirpath_test

import (
	"errors"
	"strings"
	"testing"

	"candela/fhir"
	"candela/fhir/fhirpath"
)

// FuzzEval: no expression brings the engine down; every refusal is a *fhir.Error.
func FuzzEval(f *testing.F) {
	for _, group := range readSuite(f).Groups {
		for _, test := range group.Tests {
			f.Add(test.Expression.Text)
		}
	}
	model := spec(f)
	focus := parse(f, patient)
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Count(text, "repeat")+strings.Count(text, "descendants") > 2 { // bounded, but slow
			return
		}
		expr, err := fhirpath.Compile(text, "Patient", model)
		if err == nil {
			_, err = expr.Eval(fhirpath.Env{}, focus)
		}
		var refused *fhir.Error
		if err != nil && (!errors.As(err, &refused) || refused.Status/100 != 4) {
			t.Errorf("%q: %v", text, err)
		}
	})
}
