package subset_test

import (
	"strings"
	"testing"

	"candela/fhir"
	"candela/fhir/interaction/subset"
	"candela/fhir/r4"
	"candela/fhir/validate"
)

func tables(t testing.TB) (*subset.Tables, *r4.Spec) {
	t.Helper()
	spec, err := r4.Load()
	if err != nil {
		t.Fatal(err)
	}
	return subset.New(spec), spec
}

func cut(t testing.TB, all *subset.Tables, query string) subset.Cut {
	t.Helper()
	params, err := fhir.ParseParams(query)
	if err != nil {
		t.Fatal(err)
	}
	c, err := all.Read(params)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const tag = `{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED"}`

func TestWhatIsLeft(t *testing.T) {
	all, _ := tables(t)
	for _, c := range []struct{ query, raw, want string }{
		{"", `{"resourceType":"Patient","id":"1","x":1.00}`, `{"resourceType":"Patient","id":"1","x":1.00}`},
		{"_summary=false", `{"resourceType":"Patient","photo":[]}`, `{"resourceType":"Patient","photo":[]}`},
		{"_summary=text", `{"resourceType":"Patient","id":"1","active":true}`, `{"resourceType":"Patient","id":"1","meta":{"tag":[` + tag + `]}}`},
		{"_elements=active", `{"resourceType":"Patient","meta":{},"gender":"male","active":true}`, `{"resourceType":"Patient","meta":{"tag":[` + tag + `]},"active":true}`},
		{"_elements=active", `{"meta":{"tag":[],"source":"s"},"resourceType":"Patient"}`, `{"meta":{"source":"s","tag":[` + tag + `]},"resourceType":"Patient"}`},
		{"_elements=deceased", `{"resourceType":"Patient","meta":{"tag":[{"code":"a"}],"source":"s"},"deceasedBoolean":true}`, `{"resourceType":"Patient","meta":{"tag":[{"code":"a"},` + tag + `],"source":"s"},"deceasedBoolean":true}`},
		{"_elements=Group.type", `{"resourceType":"Patient","meta":{},"gender":"male"}`, `{"resourceType":"Patient","meta":{},"gender":"male"}`},
		// a summary member with nothing of the summary in it stays whole; a resource in a resource too
		{"_summary=true", `{"resourceType":"DocumentReference","meta":{},"content":[{"attachment":{"data":"AAAA"}},{"attachment":{"data":"AAAA","title":"t"}}]}`, `{"resourceType":"DocumentReference","meta":{"tag":[` + tag + `]},"content":[{"attachment":{"data":"AAAA"}},{"attachment":{"title":"t"}}]}`},
		{"_summary=true", `{"resourceType":"Bundle","meta":{},"entry":[{"resource":{"resourceType":"Patient","photo":[{"data":"AAAA"}]}}]}`, `{"resourceType":"Bundle","meta":{"tag":[` + tag + `]},"entry":[{"resource":{"resourceType":"Patient","photo":[{"data":"AAAA"}]}}]}`},
	} {
		if got := string(cut(t, all, c.query).Append(nil, []byte(c.raw))); got != c.want {
			t.Errorf("%s of %s:\ngot  %s\nwant %s", c.query, c.raw, got, c.want)
		}
	}
}

// TestSummaryIsValid: what is left of a valid resource is valid, for every type.
func TestSummaryIsValid(t *testing.T) {
	all, spec := tables(t)
	check := validate.New(spec)
	raw := `{"resourceType":"Observation","id":"1","meta":{},"contained":[{"resourceType":"Patient","id":"p"}],"status":"final","_status":{"id":"x"},"category":[{"coding":[{"code":"a"}]}],"code":{"extension":[{"url":"http://x","valueCode":"unknown"}]},"subject":{"reference":"#p"},"effectivePeriod":{"start":"2020"},"component":[{"code":{"text":"c"},"valueString":"v","interpretation":[{"text":"i"}]}],"referenceRange":[{"text":"r"}]}`
	for _, query := range []string{"_summary=true", "_summary=data", "_summary=text", "_elements=subject"} {
		left, err := fhir.ParseResource(cut(t, all, query).Append(nil, []byte(raw)), fhir.Limits{Bytes: 1 << 20, Depth: 50, Tokens: 1 << 20, String: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		for _, issue := range check.Check(left, false) {
			if issue.Severity == fhir.SevError {
				t.Errorf("%s: %s %s", query, issue.Expression, issue.Diagnostics)
			}
		}
		if !strings.Contains(string(left.Raw()), "SUBSETTED") {
			t.Errorf("%s: no tag", query)
		}
	}
}

func BenchmarkSummary(b *testing.B) {
	all, _ := tables(b)
	c := cut(b, all, "_summary=true")
	raw := []byte(`{"resourceType":"Observation","id":"1","meta":{"versionId":"1","lastUpdated":"2020-01-01T00:00:00.000Z"},"status":"final","category":[{"coding":[{"system":"http://c","code":"vital-signs"}]}],"code":{"coding":[{"system":"http://loinc.org","code":"8867-4"}],"text":"Heart rate"},"subject":{"reference":"Patient/1"},"effectiveDateTime":"2020-01-01","valueQuantity":{"value":72.00,"unit":"/min"},"note":[{"text":"n"}]}`)
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out = c.Append(out[:0], raw)
	}
}
