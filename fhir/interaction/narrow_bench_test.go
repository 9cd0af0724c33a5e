package interaction_test

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"candela/fhir"
)

// BenchmarkNarrowed compares what callers without limits ask with the same under
// the rules of a patient's app, and under labels that withhold. Target for
// searches: 1.3 times.
func BenchmarkNarrowed(b *testing.B) {
	s := open(b, openStore(b, time.Now), time.Now)
	const patients, each = 100, 60
	for p := range patients {
		text := bundle("transaction", each+1, func(i int) string {
			if i == 0 {
				return put(fmt.Sprint("p", p), `,"name":[{"family":"Doe"}]`)
			}
			return fmt.Sprintf(`{"resource":{"resourceType":"Observation","id":"o%d-%d","status":"final","category":[{"coding":[{"system":"urn:g","code":"g%d"}]}],"code":{"coding":[{"system":"urn:c","code":"k%d"}]},"subject":{"reference":"Patient/p%d"},"effectiveDateTime":"2020-01-%02d","valueQuantity":{"value":%d}},"request":{"method":"PUT","url":"Observation/o%d-%d"}}`,
				p, i, i%3, i%10, p, 1+i%28, i, p, i)
		})
		if _, err := s.do(fhir.Request{Interaction: fhir.Batch, Resource: resource(b, text)}); err != nil {
			b.Fatal(err)
		}
	}
	own := fhir.Reference{Type: "Patient", ID: "p7"}
	mine := fhir.Access{{Type: "Observation", Letters: "rs", Compartment: own}, {Type: "Patient", Letters: "rs", Compartment: own}, {Type: "Practitioner", Letters: "rs"}}
	withheld := fhir.Access{{Type: "*", Filter: "_security=http://terminology.hl7.org/CodeSystem/v3-Confidentiality|R"}}
	callers := []struct {
		name string
		fhir.Caller
	}{{"unlimited", fhir.Caller{Access: fhir.Full()}}, {"compartment", fhir.Caller{Access: mine}}, {"labels", fhir.Caller{Access: fhir.Full(), Deny: withheld}}}
	for _, url := range []string{"Observation/o7-3", "Observation?patient=p7&code=k3", "Observation?patient=p7&category=g1&_sort=-date&_count=10", "Observation?patient=p7", "Observation?patient=p7&_summary=count", "Observation?patient=p7&code=k3&_include=Observation:subject"} {
		for _, c := range callers {
			b.Run(url+"/"+c.name, func(b *testing.B) {
				r, err := fhir.RouteURL("GET", url, s.base)
				if err != nil {
					b.Fatal(err)
				}
				r.Base, r.Caller = s.base, c.Caller
				b.ReportAllocs()
				before, n := cpu(b), 0
				for b.Loop() {
					n++
					if _, err := s.Do(context.Background(), r); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(n), "cpu-µs/op") // what a busy machine does not change
			})
		}
	}
}

// cpu is the processor time that this process has taken.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
