package fhirpath_test

import (
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/apd/v3"

	"candela/fhir"
	"candela/fhir/fhirpath"
	"candela/fhir/r4"
)

// suite is the official test file of HL7's test cases (r4/fhirpath).
type suite struct {
	Groups []struct {
		Name  string      `xml:"name,attr"`
		Tests []suiteTest `xml:"test"`
	} `xml:"group"`
}

type suiteTest struct {
	Name       string `xml:"name,attr"`
	Input      string `xml:"inputfile,attr"`
	Predicate  bool   `xml:"predicate,attr"`
	Unordered  string `xml:"ordered,attr"`
	Expression struct {
		Text    string `xml:",chardata"`
		Invalid string `xml:"invalid,attr"`
	} `xml:"expression"`
	Outputs []struct {
		Type string `xml:"type,attr"`
		Text string `xml:",chardata"`
	} `xml:"output"`
}

// TestOfficialSuite runs the whole suite. The tests named in
// testdata/suite-open.txt do not pass yet or are wrong, each with its reason;
// every other must pass, and one of them that passes must leave the list.
func TestOfficialSuite(t *testing.T) {
	model := spec(t)
	open := readOpen(t)
	inputs := map[string]fhirpath.Item{}
	passed, total := 0, 0
	seen := map[string]int{}
	for _, group := range readSuite(t).Groups {
		for _, test := range group.Tests {
			total++
			name := group.Name + "/" + test.Name
			if seen[name]++; seen[name] > 1 {
				name = fmt.Sprintf("%s#%d", name, seen[name])
			}
			focus := suiteInput(t, model, inputs, test.Input)
			err := runSuiteTest(model, test, focus)
			_, listed := open[name]
			delete(open, name)
			switch {
			case err == nil && listed:
				t.Errorf("%s passes now: take it off the list", name)
			case err == nil:
				passed++
			case !listed:
				t.Errorf("%s: %s\n\t%v", name, strings.TrimSpace(test.Expression.Text), err)
			}
		}
	}
	for name := range open {
		t.Errorf("%s is on the list but not in the suite", name)
	}
	t.Logf("%d of %d official tests pass", passed, total)
}

func readSuite(t testing.TB) (s suite) {
	t.Helper()
	raw, err := os.ReadFile(shared(t, "data", "fhirpath-r4", "tests-fhir-r4.xml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// readOpen reads lines "group/test  reason".
func readOpen(t *testing.T) map[string]string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "suite-open.txt"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, reason, _ := strings.Cut(line, " ")
		if strings.TrimSpace(reason) == "" {
			t.Errorf("%s is listed without a reason", name)
		}
		out[name] = reason
	}
	return out
}

// suiteInput reads an input resource; the suite's XML is read as its JSON form.
func suiteInput(t *testing.T, model *r4.Spec, cache map[string]fhirpath.Item, name string) fhirpath.Item {
	t.Helper()
	if name == "" {
		name = "patient-example.xml"
	}
	if it, ok := cache[name]; ok {
		return it
	}
	raw, err := os.ReadFile(shared(t, "data", "fhirpath-r4", "input", name))
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(name, ".xml") {
		raw = jsonOfXML(t, model, raw)
	}
	res, err := fhir.ParseResource(raw, fhir.Limits{})
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, raw)
	}
	cache[name] = fhirpath.Root(res)
	return cache[name]
}

// runSuiteTest runs one test strictly, and a test that gives something also in
// the default way: leniency must not change results.
func runSuiteTest(model *r4.Spec, test suiteTest, focus fhirpath.Item) error {
	err := runCompiled(model, test, focus, fhirpath.CompileStrict)
	if err != nil || test.Expression.Invalid != "" {
		return err
	}
	return runCompiled(model, test, focus, fhirpath.Compile)
}

type compile func(text, root string, model fhirpath.Model) (*fhirpath.Expr, error)

func runCompiled(model *r4.Spec, test suiteTest, focus fhirpath.Item, compile compile) error {
	expr, err := compile(test.Expression.Text, focus.Type, model)
	var got []fhirpath.Item
	if err == nil {
		got, err = expr.Eval(fhirpath.Env{Now: time.Date(2026, 5, 4, 12, 30, 0, 0, time.UTC)}, focus)
	}
	if test.Expression.Invalid != "" {
		if err == nil {
			return fmt.Errorf("must be refused (%s), gave %s", test.Expression.Invalid, show(got))
		}
		return nil
	}
	if err != nil {
		return err
	}
	if test.Predicate { // asks whether there is anything
		if got, err = expression(model, "exists()", focus, got); err != nil {
			return err
		}
	}
	if len(got) != len(test.Outputs) {
		return fmt.Errorf("gave %s, wanted %d items %v", show(got), len(test.Outputs), test.Outputs)
	}
	for i, want := range test.Outputs {
		if !matches(got, i, want.Type, want.Text, test.Unordered == "false") {
			return fmt.Errorf("item %d: gave %s, wanted %s %q", i, show(got), want.Type, want.Text)
		}
	}
	return nil
}

// expression evaluates text where %it is items.
func expression(model *r4.Spec, text string, focus fhirpath.Item, items []fhirpath.Item) ([]fhirpath.Item, error) {
	expr, err := fhirpath.Compile("%it."+text, focus.Type, model)
	if err != nil {
		return nil, err
	}
	return expr.Eval(fhirpath.Env{Vars: map[string][]fhirpath.Item{"it": items}}, focus)
}

func matches(got []fhirpath.Item, i int, typ, text string, anywhere bool) bool {
	if anywhere {
		for n := range got {
			if matches(got, n, typ, text, false) {
				return true
			}
		}
		return false
	}
	text = strings.TrimPrefix(strings.TrimPrefix(text, "@"), "T")
	if typ != "" && !strings.EqualFold(strings.TrimPrefix(got[i].Type, "System."), typ) {
		return false
	}
	have := got[i].Text()
	if have == text {
		return true
	}
	var x, y apd.Decimal
	_, _, err1 := x.SetString(have)
	_, _, err2 := y.SetString(text)
	return err1 == nil && err2 == nil && x.Cmp(&y) == 0
}

func show(items []fhirpath.Item) string {
	var b strings.Builder
	b.WriteByte('[')
	for i, it := range items {
		if i > 0 {
			b.WriteString(", ")
		}
		text := it.Text()
		if text == "" && it.Node.Exists() {
			text = string(it.Node.Raw())
		}
		b.WriteString(it.Type + " " + text)
	}
	return b.String() + "]"
}
