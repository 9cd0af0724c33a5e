package analytics_test

import (
	"strings"
	"testing"

	"candela/fhir"
	"candela/fhir/r4"
	"candela/fhir/validate"
)

// TestResultsAreValid: what is written is valid R4, and says what readers need.
func TestResultsAreValid(t *testing.T) {
	spec, err := r4.Load()
	if err != nil {
		t.Fatal(err)
	}
	structure := validate.New(spec)
	w := newMemory()
	send(t, w, person("a"))
	send(t, w, person("b"))
	r := runner(t, w)
	run(t, r)
	send(t, w, map[string]string{"Observation/b-2093-3": ""})
	run(t, r)
	seen := 0
	for _, kind := range []string{"RiskAssessment", "Group", "Provenance", "Device"} {
		for id, raw := range all(t, w, kind) {
			seen++
			for _, issue := range structure.Check(fhir.Stored([]byte(raw)), false) {
				t.Errorf("%s/%s: %s %s", kind, id, issue.Expression, issue.Diagnostics)
			}
		}
	}
	if seen != 6 { // two assessments, one group, two runs, one device
		t.Errorf("%d resources", seen)
	}
	raw := all(t, w, "RiskAssessment")[assessmentID("a")]
	for _, part := range []string{
		`"system":"https://candela.health/fhir/CodeSystem/risk-method","version":"2024.1","code":"prevent-base-10y"`,
		`"occurrenceDateTime":"2020-06-01"`, `"whenPeriod":{"start":"2020-06-01","end":"2030-06-01"}`,
		`"probabilityDecimal":14.6,`, `"code":"intermediate"`, `"code":"moderate"`,
		`{"reference":"Observation/a-bp/_history/1"}`, `{"reference":"Condition/a-dm/_history/1"}`, `{"reference":"MedicationRequest/a-ace/_history/1"}`,
		`14.6 % in 10 years; odds against the score's reference values: diabetes yes × 2.72`,
		`"performer":{"reference":"Device/candela-analytics"}`,
	} {
		if !strings.Contains(raw, part) {
			t.Errorf("no %s in %s", part, raw)
		}
	}
	for _, raw := range all(t, w, "Provenance") {
		if !strings.Contains(raw, `{"reference":"RiskAssessment/`) || !strings.Contains(raw, `"reference":"Device/candela-analytics","display":"Candela test"`) {
			t.Errorf("Provenance %s", raw)
		}
	}
}
