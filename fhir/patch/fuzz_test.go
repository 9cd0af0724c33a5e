package patch_test

import (
	"errors"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"candela/fhir"
	"candela/fhir/patch"
)

// Whatever the resource and the patch: the outcome is a resource of the same
// type and id, or an error that is the caller's.
func FuzzApply(f *testing.F) {
	types := model(f)
	seeds(f)
	f.Fuzz(func(t *testing.T, language byte, text, body []byte) {
		res, err := fhir.ParseResource(text, fhir.Limits{})
		if err != nil {
			return
		}
		mediaType := [...]string{patch.JSON, patch.Merge, patch.FHIR}[language%3]
		got, err := patch.Apply(res, mediaType, body, types)
		var own *fhir.Error
		switch {
		case errors.As(err, &own):
			if own.Status < 400 || own.Status > 499 {
				t.Fatalf("%v", err)
			}
		case err != nil:
			t.Fatalf("not an error of ours: %v", err)
		case got.Type() != res.Type() || got.ID() != res.ID():
			t.Fatalf("%s became %s", res.Raw(), got.Raw())
		default:
			again, err := fhir.ParseResource(got.Raw(), fhir.Limits{})
			if err != nil || string(again.Raw()) != string(got.Raw()) {
				t.Fatalf("%s is not compact JSON: %v", got.Raw(), err)
			}
		}
	})
}

// seeds are the cases of the scripts.
func seeds(f *testing.F) {
	for language, files := range [][]string{{"rfc6902.txtar", "json.txtar"}, {"rfc7396.txtar"}, {"fhirpath.txtar"}} {
		for _, file := range files {
			a, err := txtar.ParseFile("testdata/" + file)
			if err != nil {
				f.Fatal(err)
			}
			for i := 0; i+2 < len(a.Files); i += 3 {
				body := a.Files[i+1].Data
				if language == 2 {
					body = parameters(f, string(body))
				}
				f.Add(byte(language), a.Files[i].Data, body)
			}
		}
	}
}
