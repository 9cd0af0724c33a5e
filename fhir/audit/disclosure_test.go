package audit_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"candela/fhir"
	"candela/fhir/audit"
)

// TestR39_Accounting: who got data is told with what and why; treatment, the
// patient's own access, writes and refusals are left out unless all is asked for.
func TestR39_Accounting(t *testing.T) {
	w := open(t, func(r fhir.Request) (fhir.Response, error) {
		if r.ID == "refused" {
			return fhir.Response{}, fhir.Errorf(403, fhir.CodeForbidden, "no")
		}
		return fhir.Response{Status: 200, Body: []byte(`{"subject":{"reference":"Patient/p"}}`)}, nil
	})
	as := func(user, id string, what fhir.Interaction, purpose ...string) {
		typ, ref, _ := strings.Cut(user, "/")
		_, _ = w.doer.Do(t.Context(), fhir.Request{Interaction: what, Type: "Observation", ID: id, Caller: fhir.Caller{Client: "=app", Address: "10.0.0.1", User: fhir.Reference{Type: typ, ID: ref}, Purpose: purpose}}) // refusals are what it is about
	}
	as("Practitioner/d", "treated", fhir.Read, "TREAT")
	as("Practitioner/d", "studied", fhir.Read, "HRESCH")
	as("Practitioner/d", "unsaid", fhir.Read)
	as("Patient/p", "mine", fhir.Read)
	as("Practitioner/d", "written", fhir.Update)
	as("Practitioner/d", "refused", fhir.Read)
	if err := w.Record(t.Context(), fhir.Event{Kind: fhir.Disclosed, Caller: caller, Patient: fhir.Reference{Type: "Patient", ID: "p"}, Recipient: "A registry", Reason: "required by law"}); err != nil {
		t.Fatal(err)
	}
	door := fhir.DoerFunc(func(_ context.Context, r fhir.Request) (fhir.Response, error) {
		if r.Query.Get("patient") != "Patient/p" || !strings.HasPrefix(r.Query.Get("date"), "ge2020-11-22") {
			t.Errorf("asked for %v", r.Query)
		}
		var entries []string
		for _, e := range w.events(t) {
			entries = append(entries, `{"resource":`+string(e.Raw())+`}`)
		}
		return fhir.Response{Status: 200, Body: []byte(`{"resourceType":"Bundle","entry":[` + strings.Join(entries, ",") + `]}`)}, nil
	})
	a := audit.Accounting{Door: door, Patient: "p", Now: time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)}
	table, err := a.CSV(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for part, want := range map[string]bool{
		"Observation/studied": true, "HRESCH": true, "Observation/unsaid": true, "required by law": true, ",A registry,": true, ",Practitioner/d,'=app,10.0.0.1,R,": true,
		"treated": false, "mine": false, "written": false, "refused": false,
	} {
		if strings.Contains(string(table), part) != want {
			t.Errorf("%s: want %v in\n%s", part, want, table)
		}
	}
	a.All = true
	if table, err = a.CSV(t.Context()); err != nil || strings.Count(string(table), "\n") != 6 {
		t.Errorf("%v\n%s", err, table)
	}
	bundle, err := a.Bundle(t.Context())
	if err != nil || fhir.Stored(bundle).Root().Get("entry").Len() != 5 {
		t.Errorf("%v %s", err, bundle)
	}
}
