package linking_test

import (
	"fmt"
	"testing"
)

// BenchmarkLink is one link: look, transaction with Provenance, and its own
// changes seen again.
func BenchmarkLink(b *testing.B) {
	w := open(b)
	l := w.linker(b, nil, "Observation.subject:Patient")
	for i := range 100 {
		w.put(b, patient(fmt.Sprintf("p%d", i), fmt.Sprint(i)))
	}
	for i := range b.N {
		w.put(b, observation(fmt.Sprintf("o%d", i), named(fmt.Sprint(i%100))))
	}
	b.ReportAllocs()
	b.ResetTimer()
	turn(b, l)
	if n := count(l, "Observation.subject", "linked"); n != int64(b.N) {
		b.Fatalf("%d linked, want %d", n, b.N)
	}
}

// BenchmarkNothingToLink is one change of a configured type that is linked
// already.
func BenchmarkNothingToLink(b *testing.B) {
	w := open(b)
	l := w.linker(b, nil, "Observation.subject:Patient")
	for i := range b.N {
		w.put(b, observation(fmt.Sprintf("o%d", i), to("Patient/p", "1")))
	}
	b.ReportAllocs()
	b.ResetTimer()
	turn(b, l)
}
