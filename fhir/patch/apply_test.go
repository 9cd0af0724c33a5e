package patch_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"candela/fhir"
	"candela/fhir/patch"
	"candela/fhir/r4"
)

func model(t testing.TB) patch.Model {
	t.Helper()
	spec, err := r4.Load()
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func parsed(t testing.TB, text string) fhir.Resource {
	t.Helper()
	res, err := fhir.ParseResource([]byte(text), fhir.Limits{})
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return res
}

// scripts runs the cases of a txtar file. A case is three sections: NAME/resource,
// NAME/patch, and NAME/want with the exact outcome or NAME/error with the status
// and the beginning of what the error says.
func scripts(t *testing.T, file, mediaType string, patchOf func(t testing.TB, text string) []byte) {
	t.Helper()
	a, err := txtar.ParseFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Files)%3 != 0 || len(a.Files) == 0 {
		t.Fatalf("%s: %d sections are no cases of three", file, len(a.Files))
	}
	for f := a.Files; len(f) > 0; f = f[3:] {
		name, _, _ := strings.Cut(f[0].Name, "/")
		if f[0].Name != name+"/resource" || f[1].Name != name+"/patch" || !strings.HasPrefix(f[2].Name, name+"/") {
			t.Fatalf("%s: sections %q, %q, %q are no case", file, f[0].Name, f[1].Name, f[2].Name)
		}
		t.Run(name, func(t *testing.T) {
			res := parsed(t, string(f[0].Data))
			before := string(res.Raw())
			got, err := patch.Apply(res, mediaType, patchOf(t, string(f[1].Data)), model(t))
			if string(res.Raw()) != before {
				t.Fatal("the resource that came in was changed")
			}
			if strings.HasSuffix(f[2].Name, "/error") {
				wantError(t, err, strings.TrimSpace(string(f[2].Data)))
				return
			}
			if want := parsed(t, string(f[2].Data)); err != nil || string(got.Raw()) != string(want.Raw()) {
				t.Fatalf("got  %s %v\nwant %s", got.Raw(), err, want.Raw())
			}
		})
	}
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	var own *fhir.Error
	if !errors.As(err, &own) || !strings.HasPrefix(own.Error(), want) {
		t.Fatalf("got  %v\nwant %s", err, want)
	}
}

func asItIs(_ testing.TB, text string) []byte { return []byte(text) }

func TestJSONPatchExamplesOfItsRFC(t *testing.T)  { scripts(t, "rfc6902.txtar", patch.JSON, asItIs) }
func TestJSONPatch(t *testing.T)                  { scripts(t, "json.txtar", patch.JSON, asItIs) }
func TestMergePatchExamplesOfItsRFC(t *testing.T) { scripts(t, "rfc7396.txtar", patch.Merge, asItIs) }

func TestMediaTypes(t *testing.T) {
	res := parsed(t, `{"resourceType":"Patient","active":true}`)
	parameters := `{"resourceType":"Parameters","parameter":[{"name":"operation","part":[{"name":"type","valueCode":"delete"},{"name":"path","valueString":"Patient.active"}]}]}`
	for mediaType, body := range map[string]string{
		"application/json-patch+json":                          `[{"op":"remove","path":"/active"}]`,
		"application/json-patch+json; charset=utf-8":           `[{"op":"remove","path":"/active"}]`,
		"Application/Merge-Patch+JSON":                         `{"active":null}`,
		"application/fhir+json; fhirVersion=4.0;charset=utf-8": parameters,
		"application/json":                                     parameters,
	} {
		got, err := patch.Apply(res, mediaType, []byte(body), model(t))
		if err != nil || string(got.Raw()) != `{"resourceType":"Patient"}` {
			t.Errorf("%s: %s %v", mediaType, got.Raw(), err)
		}
	}
	for _, mediaType := range []string{"", "application/fhir+xml", "text/json", "application/xml-patch+xml", ";", "application/json-patch+json; x"} {
		_, err := patch.Apply(res, mediaType, []byte(parameters), model(t))
		var own *fhir.Error
		if !errors.As(err, &own) || own.Status != 415 {
			t.Errorf("%q: %v", mediaType, err)
		}
	}
}
