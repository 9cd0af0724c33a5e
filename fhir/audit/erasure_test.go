package audit_test

import (
	"strings"
	"testing"
	"time"

	"candela/fhir"
	"candela/fhir/audit"
	"candela/fhir/r4"
	"candela/fhir/validate"
)

func TestErasureIsValidAndComplete(t *testing.T) {
	spec, err := r4.Load()
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	asked := fhir.Request{Interaction: fhir.Operation, Type: "Patient", ID: "p", Operation: "erase", Base: "http://us/fhir", RequestID: "r-1", Caller: fhir.Caller{
		Name: "officer", Client: "console", User: fhir.Reference{Type: "Practitioner", ID: "d"}, Token: "jti-1", Address: "10.0.0.1", Purpose: []string{"HOPERAT"},
	}}
	for name, c := range map[string]struct {
		e    audit.Erased
		want map[string]string
	}{
		"full": {audit.Erased{Request: asked, At: at, Counts: map[string]int{"Patient": 1, "Observation": 12}, Reason: `letter ,"valueBase64Binary":"" 17`}, map[string]string{
			"recorded": "2026-01-02T03:04:05.006Z", "outcome": "0", "action": "D", "outcomeDesc": "erased for good, with all versions: 12 Observation, 1 Patient",
			"agent.who.reference": "Practitioner/d", "agent.name": "officer", "agent.network.address": "10.0.0.1", "source.site": "http://us/fhir",
			"entity.what.reference": "Patient/p", "entity.detail.type": "Observation", "entity.detail.valueString": "12", "purposeOfEvent.coding.code": "HOPERAT",
		}},
		"nobody": {audit.Erased{Request: fhir.Request{Type: "Patient", ID: "p", Operation: "erase", Base: "http://us/fhir"}, At: at, Counts: map[string]int{"Patient": 1}}, map[string]string{"entity.what.reference": "Patient/p"}},
	} {
		res, err := audit.Erasure(c.e)
		if err != nil {
			t.Fatal(err)
		}
		for _, issue := range validate.New(spec).Check(res, false) {
			t.Errorf("%s: %s %s", name, issue.Expression, issue.Diagnostics)
		}
		for path, want := range c.want {
			if got := first(res.Root(), path); got != want {
				t.Errorf("%s: %s is %q, want %q", name, path, got, want)
			}
		}
	}
}

// first is the text at a dotted path, through the first element of each list.
func first(n fhir.Node, path string) string {
	for name := range strings.SplitSeq(path, ".") {
		if n = n.Get(name); n.Kind() == fhir.Array {
			n = n.First()
		}
	}
	return n.Text()
}
