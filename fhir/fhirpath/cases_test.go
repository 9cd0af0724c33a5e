package fhirpath_test

import (
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"candela/fhir/fhirpath"
)

// TestCases runs testdata/*.txtar. An archive holds one resource and files of
// cases: blank-line separated pairs of an expression and, behind "=> ", what it
// gives: "Type text" items joined by "; ", "nothing", or "error PART".
// A file named strict… is compiled strictly; an expression may go over lines.
func TestCases(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var focus fhirpath.Item
		for _, part := range archive.Files {
			if part.Name == "resource" {
				focus = parse(t, string(part.Data))
				continue
			}
			for one := range strings.SplitSeq(strings.TrimSpace(string(part.Data)), "\n\n") {
				expr, want, ok := strings.Cut(one, "\n=> ")
				if !ok {
					t.Fatalf("%s: case without =>: %s", file, one)
				}
				t.Run(filepath.Base(file)+"/"+part.Name+"/"+expr, func(t *testing.T) {
					got := outcome(t, expr, focus, strings.HasPrefix(part.Name, "strict"))
					if fails, ok := strings.CutPrefix(want, "error "); ok && strings.HasPrefix(got, "error ") && strings.Contains(got, fails) {
						return
					}
					if got != want {
						t.Errorf("gave   %s\nwanted %s", got, want)
					}
				})
			}
		}
	}
}

// outcome evaluates and writes the result as the cases have it.
func outcome(t *testing.T, text string, focus fhirpath.Item, strict bool) string {
	t.Helper()
	compile := fhirpath.Compile
	if strict {
		compile = fhirpath.CompileStrict
	}
	expr, err := compile(text, focus.Type, spec(t))
	if err != nil {
		return "error " + err.Error()
	}
	items, err := expr.Eval(fhirpath.Env{Now: time.Date(2026, 5, 4, 12, 30, 15, 0, time.UTC)}, focus)
	if err != nil {
		return "error " + err.Error()
	}
	if len(items) == 0 {
		return "nothing"
	}
	var parts []string
	for _, it := range items {
		value := it.Text()
		if value == "" && it.Node.Exists() {
			value = string(it.Node.Raw())
		}
		parts = append(parts, strings.TrimSpace(strings.TrimPrefix(it.Type, "System.")+" "+value))
	}
	return strings.Join(parts, "; ")
}

// TestBufferAndConcurrency: one Expr in many goroutines, each with its own
// Buffer, always gives the same.
func TestBufferAndConcurrency(t *testing.T) {
	focus := parse(t, patient)
	expr, err := fhirpath.Compile("Patient.name.where(use = 'official').given | Patient.telecom.where(system = 'phone').value", "Patient", spec(t))
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			env := fhirpath.Env{Buffer: new(fhirpath.Buffer)}
			var items []fhirpath.Item
			for range 200 {
				var err error
				items, err = expr.Append(items[:0], env, focus)
				if err != nil || len(items) != 2 || items[0].Text() != "Aaron697" || items[1].Text() != "555-645-3821" {
					t.Errorf("gave %v, %v", show(items), err)
					return
				}
			}
		})
	}
	group.Wait()
}

// TestEnv: what an expression can see of its surroundings.
func TestEnv(t *testing.T) {
	model := spec(t)
	obs, pat := parse(t, observation), parse(t, patient)
	component, err := fhirpath.Compile("Observation.component", "Observation", model)
	if err != nil {
		t.Fatal(err)
	}
	parts, err := component.Eval(fhirpath.Env{}, obs)
	if err != nil || len(parts) != 2 {
		t.Fatalf("gave %v, %v", show(parts), err)
	}
	var traced string
	env := fhirpath.Env{
		Resource: obs,
		Resolve:  func(ref string) (fhirpath.Item, bool) { return pat, ref == "Patient/6c2b" },
		Vars:     map[string][]fhirpath.Item{"limit": {pat}},
		Trace:    func(name string, items []fhirpath.Item) { traced = name + show(items) },
	}
	for _, c := range []struct {
		text, root, want string
		focus            fhirpath.Item
	}{
		{"%resource.id", "Observation.component", "[id 0b0a7a6c-1]", parts[0]},
		{"%context.code.coding.code", "Observation.component", "[code 8462-4]", parts[0]},
		{"%resource.subject.resolve().birthDate", "Observation.component", "[date 1950-01-02]", parts[0]},
		{"Observation.encounter.resolve()", "Observation", "[]", obs},
		{"%limit.gender", "Observation", "[code male]", obs},
		{"value.as(Quantity).trace('q').unit", "Observation.component", "[string mm[Hg]]", parts[1]},
	} {
		expr, err := fhirpath.Compile(c.text, c.root, model)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		got, err := expr.Eval(env, c.focus)
		if err != nil || show(got) != c.want {
			t.Errorf("%s: gave %s, %v, wanted %s", c.text, show(got), err, c.want)
		}
	}
	if !strings.HasPrefix(traced, "q[Quantity ") {
		t.Errorf("trace saw %q", traced)
	}
}
