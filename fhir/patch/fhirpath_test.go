package patch_test

import (
	"strings"
	"testing"

	"candela/fhir"
	"candela/fhir/patch"
)

// parameters makes the Parameters resource of operations, one a line: each a
// JSON object of its parts, with the members of the value in an object.
func parameters(t testing.TB, lines string) []byte {
	t.Helper()
	out := []byte(`{"resourceType":"Parameters","parameter":[`)
	for i, line := range strings.Split(strings.TrimSpace(lines), "\n") {
		if line == "" {
			break
		}
		tree, err := fhir.ParseTree([]byte(line), fhir.Limits{})
		if err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, `{"name":"operation","part":[`...)
		comma := ""
		for name, v := range tree.Root().Members() {
			out = append(append(append(append(out, comma...), `{"name":`...), fhir.Quote(name)...), part(name, v)...)
			comma = ","
		}
		out = append(out, `]}`...)
	}
	return append(out, `]}`...)
}

// part is what follows a part's name.
func part(name string, v fhir.Node) string {
	switch {
	case v.Kind() == fhir.Object && v.Len() == 0:
		return "}"
	case v.Kind() == fhir.Object:
		return "," + string(v.Raw()[1:])
	case v.Kind() == fhir.Number:
		return `,"valueInteger":` + string(v.Raw()) + "}"
	case name == "type":
		return `,"valueCode":` + string(v.Raw()) + "}"
	default:
		return `,"valueString":` + string(v.Raw()) + "}"
	}
}

func TestFHIRPathPatch(t *testing.T) { scripts(t, "fhirpath.txtar", patch.FHIR, parameters) }

func TestMalformedParameters(t *testing.T) {
	res := parsed(t, `{"resourceType":"Patient","active":true}`)
	for body, want := range map[string]string{
		``:                           "400 body is empty",
		`5`:                          "400 a FHIRPath Patch is a Parameters resource",
		`{"resourceType":"Patient"}`: "400 a FHIRPath Patch is a Parameters resource",
		`{"resourceType":"Parameters","parameter":{}}`:                     "400 Parameters.parameter parameter is not an array",
		`{"resourceType":"Parameters","parameter":[5]}`:                    "400 operation 0: the parameter must be called operation",
		`{"resourceType":"Parameters","parameter":[{"name":"patch"}]}`:     "400 operation 0: the parameter must be called operation",
		`{"resourceType":"Parameters","parameter":[{"name":"operation"}]}`: "400 operation 0: type must be",
		`{"resourceType":"Parameters","parameter":[{"name":"operation","part":[{"name":"type","valueCode":"delete"},{"name":"type","valueCode":"delete"}]}]}`: "400 operation 0 (delete): a part is there twice",
		`{"resourceType":"Parameters","parameter":[{"name":"operation","part":[{"name":"type","valueCode":"delete"},{"name":"path","valueInteger":1}]}]}`:     "400 operation 0 (delete): part 1",
	} {
		_, err := patch.Apply(res, patch.FHIR, []byte(body), model(t))
		wantError(t, err, want)
	}
}

// No error quotes what the resource or the patch holds.
func TestErrorsQuoteNoValues(t *testing.T) {
	res := parsed(t, `{"resourceType":"Patient","name":[{"family":"Secretname"},{"family":"Secretname"}],"active":true}`)
	for _, c := range [][2]string{
		{patch.JSON, `[{"op":"test","path":"/name/0/family","value":"Secretother"}]`},
		{patch.JSON, `[{"op":"remove","path":"/Secretpath"}]`},
		{patch.JSON, `[{"op":"Secretop","path":"/x"}]`},
		{patch.Merge, `["Secret"]`},
		{patch.FHIR, string(parameters(t, `{"type":"delete","path":"Patient.name.where(family = 'Secretname')"}`))},
		{patch.FHIR, string(parameters(t, `{"type":"delete","path":"Patient.name.where(family = 'Secretname'"}`))},
		{patch.FHIR, string(parameters(t, `{"type":"add","path":"Patient","name":"active","value":{"valueString":"Secret"}}`))},
		{patch.FHIR, string(parameters(t, `{"type":"add","path":"Patient","name":"Secret","value":{"valueString":"Secret"}}`))},
		{patch.FHIR, string(parameters(t, `{"type":"add","path":"Patient","name":"contained","value":{"resource":{"resourceType":"Secret"}}}`))},
	} {
		_, err := patch.Apply(res, c[0], []byte(c[1]), model(t))
		if err == nil || strings.Contains(err.Error(), "Secret") {
			t.Errorf("%s: %v", c[1], err)
		}
	}
}
