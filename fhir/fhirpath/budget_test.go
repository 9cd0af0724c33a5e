package fhirpath_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"candela/fhir"
	"candela/fhir/fhirpath"
	"candela/fhir/r4"
)

// TestCostlyExpressionsEnd runs expressions whose work or result grows without
// bounds; each must end soon with too-costly and hold little memory until then.
func TestCostlyExpressionsEnd(t *testing.T) {
	spec, err := r4.Load()
	if err != nil {
		t.Fatal(err)
	}
	focus := wideList(t, 3000)
	grow := strings.Repeat(".replace('a', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa')", 12)
	for _, expression := range []string{
		"%resource.descendants().where(%resource.descendants().exists())",
		"descendants().select(%resource.descendants().select(%resource.descendants()))",
		"entry.select(%resource.entry.item.display).distinct()",
		"entry.aggregate($total & $total & 'a', 'aa')",
		"entry.aggregate($total + $total, 'aa')",
		"entry.aggregate($total.combine($total), 'a')",
		"'aaaa'" + grow,
		"'aaaa'" + strings.Repeat(".replaceMatches('a', '$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0')", 12),
		"entry.item.display.where(%resource.entry.item.display.join(',').matches('n.{1,900}z')).count()",
		"entry.where(%resource.entry.all(%resource.entry.exists(false)) or true)",
		"entry.select(%resource.entry.intersect(%resource.entry)).count()",
		"entry.select(%resource.entry ~ %resource.entry.skip(0)).count() > entry.select(%resource.entry = %resource.entry.select($this)).count()",
	} {
		for _, budget := range []int{0, 100_000} {
			e, err := fhirpath.Compile(expression, "List", spec)
			if err != nil {
				t.Fatalf("%s: %v", expression, err)
			}
			started := time.Now()
			_, err = e.Eval(fhirpath.Env{Budget: budget}, focus)
			took := time.Since(started)
			var refusal *fhir.Error
			if !errors.As(err, &refusal) || refusal.Status != 422 || refusal.Issues[0].Code != fhir.CodeTooCostly {
				t.Errorf("%.80s (budget %d) after %s: %v, want too-costly", expression, budget, took, err)
			}
			if took > time.Minute {
				t.Errorf("%.80s (budget %d) took %s", expression, budget, took)
			}
			t.Logf("%.80s (budget %d): %s", expression, budget, took)
		}
	}
}

// TestPatternsWithHugeProgramsAreRefused keeps regular expressions small.
func TestPatternsWithHugeProgramsAreRefused(t *testing.T) {
	spec, err := r4.Load()
	if err != nil {
		t.Fatal(err)
	}
	_, err = fhirpath.Compile("title.matches('"+strings.Repeat("x{1000}", 100)+"')", "List", spec)
	if err == nil || !strings.Contains(err.Error(), "not a regular expression") {
		t.Errorf("a program of 100,000 instructions: %v", err)
	}
}

// TestUsualWorkIsWithinTheBudget: what is written every day stays far below it.
func TestUsualWorkIsWithinTheBudget(t *testing.T) {
	spec, err := r4.Load()
	if err != nil {
		t.Fatal(err)
	}
	focus := wideList(t, 3000)
	for expression, want := range map[string]string{
		"entry.item.display.distinct().count()":                                        "3000",
		"descendants().count()":                                                        "9002",
		"entry.item.display.where($this.matches('^entry [0-9]+$')).count()":            "3000",
		"entry.item.display.join(',').replaceMatches('entry ([0-9]+)', '$1').length()": "13889",
	} {
		e, err := fhirpath.Compile(expression, "List", spec)
		if err != nil {
			t.Fatal(err)
		}
		got, err := e.Eval(fhirpath.Env{}, focus)
		if err != nil || len(got) != 1 || got[0].Text() != want {
			t.Errorf("%s: %v %v, want %s", expression, got, err, want)
		}
	}
}

// wideList is a List of n entries.
func wideList(t *testing.T, n int) fhirpath.Item {
	t.Helper()
	var b strings.Builder
	b.WriteString(`{"resourceType":"List","status":"current","title":"wide","entry":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"item":{"display":"entry %d"}}`, i)
	}
	b.WriteString("]}")
	res, err := fhir.ParseResource([]byte(b.String()), fhir.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	return fhirpath.Root(res)
}
