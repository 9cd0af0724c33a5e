package audit_test

import (
	"fmt"
	"strings"
	"testing"

	"candela/fhir"
)

// BenchmarkLayer is what the record of one answer costs, without the disk: of a
// resource, and of a page of fifty of one patient and of fifty patients.
func BenchmarkLayer(b *testing.B) {
	entry := func(i int) string {
		return fmt.Sprintf(`{"fullUrl":"%s/Observation/o%d","resource":{"resourceType":"Observation","id":"o%d","status":"final","subject":{"reference":"Patient/p%d"},"note":[{"text":"%s"}]},"search":{"mode":"match"}}`, base, i, i, i, strings.Repeat("text of a note, ", 80))
	}
	var one, many []string
	for i := range 50 {
		one, many = append(one, entry(0)), append(many, entry(i))
	}
	for name, body := range map[string]string{
		"read":     entry(1),
		"patient":  `{"resourceType":"Bundle","entry":[` + strings.Join(one, ",") + `]}`,
		"patients": `{"resourceType":"Bundle","entry":[` + strings.Join(many, ",") + `]}`,
	} {
		b.Run(name, func(b *testing.B) {
			answer := fhir.Response{Status: 200, Body: []byte(body)}
			w := open(b, func(fhir.Request) (fhir.Response, error) { return answer, nil })
			r := fhir.Request{Interaction: fhir.SearchType, Type: "Observation", Caller: caller, RequestID: "01a20547-53a7-7675-9332-32c105f912b0"}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := w.doer.Do(b.Context(), r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkMake is what an AuditEvent costs to be made and stored.
func BenchmarkMake(b *testing.B) {
	w := open(b, func(fhir.Request) (fhir.Response, error) { return fhir.Response{Status: 200}, nil })
	b.StopTimer()
	for range b.N {
		if _, err := w.doer.Do(b.Context(), fhir.Request{Interaction: fhir.Read, Type: "Observation", ID: "o", Caller: caller}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.StartTimer()
	if err := w.CatchUp(b.Context()); err != nil {
		b.Fatal(err)
	}
}
