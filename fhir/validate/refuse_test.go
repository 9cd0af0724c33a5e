package validate_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"candela/fhir"
	"candela/fhir/r4"
)

func TestStructureCases(t *testing.T) {
	text, err := os.ReadFile("testdata/structure.txt")
	if err != nil {
		t.Fatal(err)
	}
	check := structure(t)
	cases := strings.Split(string(text), "\n# ")[1:]
	for _, one := range cases {
		title, rest, _ := strings.Cut(one, "\n")
		t.Run(title, func(t *testing.T) {
			var body string
			want := map[bool][]string{}
			for line := range strings.Lines(rest) {
				line = strings.TrimSpace(line)
				after, lenient := strings.CutPrefix(line, "lenient ")
				switch {
				case strings.HasPrefix(line, "{"):
					body = line
				case line == "" || line == "ok" || strings.HasPrefix(line, "=="):
				default:
					want[lenient] = append(want[lenient], after)
				}
			}
			res := resource(t, []byte(body))
			for _, lenient := range []bool{false, true} {
				if lenient && want[true] == nil {
					continue
				}
				got := lines(check.Check(res, lenient))
				if !slices.Equal(got, want[lenient]) {
					t.Errorf("lenient %v\ngot  %s\nwant %s", lenient, strings.Join(got, "\n     "), strings.Join(want[lenient], "\n     "))
				}
			}
		})
	}
	if len(cases) < 60 {
		t.Errorf("only %d cases read", len(cases))
	}
}

func lines(issues []fhir.Issue) (out []string) {
	for _, i := range issues {
		out = append(out, fmt.Sprintf("%s %s %s: %s", i.Severity, i.Code, i.Expression, i.Diagnostics))
	}
	return out
}

func TestFormats(t *testing.T) {
	text, err := os.ReadFile("testdata/formats.txt")
	if err != nil {
		t.Fatal(err)
	}
	check := structure(t)
	seen := map[string]map[string]bool{}
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), " ", 3)
		if len(parts) < 3 || parts[1] != "yes" && parts[1] != "no" {
			continue
		}
		typ, verdict, value := parts[0], parts[1], parts[2]
		if seen[typ] == nil {
			seen[typ] = map[string]bool{}
		}
		seen[typ][verdict] = true
		body, place := bearer(typ, value)
		issues := check.Check(resource(t, []byte(body)), false)
		switch {
		case verdict == "yes" && len(issues) > 0:
			t.Errorf("%s %s is refused: %v", typ, value, issues)
		case verdict == "no" && (len(issues) != 1 || issues[0].Code != fhir.CodeValue || issues[0].Expression != place):
			t.Errorf("%s %s: got %v, want one issue at %s", typ, value, issues, place)
		}
	}
	spec, err := r4.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range spec.Types() {
		if typ, _ := spec.Type(name); typ.Kind == r4.Primitive && (!seen[name]["yes"] || !seen[name]["no"]) {
			t.Errorf("%s has no good or no bad example in testdata/formats.txt", name)
		}
	}
}

// bearer is a resource in which the value stands as a value of the type.
func bearer(typ, value string) (body, place string) {
	switch typ {
	case "xhtml":
		return `{"resourceType":"Patient","text":{"status":"generated","div":` + value + `}}`, "Patient.text.div"
	default:
		member := "value" + strings.ToUpper(typ[:1]) + typ[1:]
		return `{"resourceType":"Patient","extension":[{"url":"http://a","` + member + `":` + value + `}]}`, "Patient.extension[0].value"
	}
}

// A body that is wrong everywhere gets a bounded answer that still says error.
func TestIssuesAreBounded(t *testing.T) {
	body := `{"resourceType":"Patient","name":[` + strings.Repeat(`{"x":1},`, 500) + `{"use":7}]}`
	for _, lenient := range []bool{false, true} {
		issues := structure(t).Check(resource(t, []byte(body)), lenient)
		last := issues[len(issues)-1]
		if len(issues) != 100 || last.Severity != fhir.SevError {
			t.Errorf("lenient %v: %d issues, the last %v", lenient, len(issues), last)
		}
	}
}

// No finding repeats what stands in the resource.
func TestDiagnosticsHoldNoContent(t *testing.T) {
	body := `{"resourceType":"Patient","id":"Kowalski/7","gender":"Kowalski","birthDate":"Kowalski","name":"Kowalski","active":"Kowalski",` +
		`"telecom":[{"system":"Kowalski"}],"Kowalski 1970":1,"contained":[{"resourceType":"Kowalski"}],"deceasedBoolean":"Kowalski","multipleBirthInteger":1.5}`
	issues := structure(t).Check(resource(t, []byte(body)), false)
	if len(issues) < 10 {
		t.Fatalf("only %d issues: %v", len(issues), issues)
	}
	if all := fmt.Sprint(issues); strings.Contains(all, "Kowalski") {
		t.Errorf("content is repeated: %s", all)
	}
}

// The tables hold every element of a type in one machine word.
func TestNoTypeHasMoreThan64Elements(t *testing.T) {
	spec, err := r4.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range spec.Types() {
		if n := len(spec.Children(name)); n > 64 {
			t.Errorf("%s has %d elements", name, n)
		}
	}
}

// Item 17: an unknown property, an empty array, object or string and a duplicate
// key never get in.
func TestItem17_NeverLetIn(t *testing.T) {
	check := structure(t)
	for _, body := range []string{
		`{"resourceType":"Patient","nickname":"x"}`,
		`{"resourceType":"Patient","name":[]}`,
		`{"resourceType":"Patient","name":[{}]}`,
		`{"resourceType":"Patient","name":[{"family":""}]}`,
		`{"resourceType":"Patient","gender":"male","gender":"female"}`,
	} {
		res, err := fhir.ParseResource([]byte(body), fhir.Limits{})
		if err != nil {
			continue
		}
		issues := check.Check(res, false)
		if len(issues) != 1 || issues[0].Severity != fhir.SevError {
			t.Errorf("%s: %v", body, issues)
		}
	}
}
