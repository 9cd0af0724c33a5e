package guard_test

import (
	"fmt"
	"testing"
)

// BenchmarkCaller is the whole cost of the guard for one request: token, rights,
// labels and consents, with the token in use already. Target: 50 µs.
func BenchmarkCaller(b *testing.B) {
	for _, consents := range []int{0, 100} {
		s := open(b)
		for i := range consents {
			s.store1(consentOf(fmt.Sprint("c", i), fmt.Sprint("p", i), `"type":"deny"`, ""))
		}
		for name, bearer := range map[string]string{"patient": s.token("ann", "patient/*.rs", "a"), "staff": s.token("ruth", "user/*.cruds", ""), "service": s.backend("system/*.rs")} {
			b.Run(fmt.Sprintf("%s/consents=%d", name, consents), func(b *testing.B) {
				r := request(bearer, "Patient/a")
				b.ReportAllocs()
				for b.Loop() {
					if _, err := s.Caller(r); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkFirst is a token's first request: its rights are found out.
func BenchmarkFirst(b *testing.B) {
	s := open(b)
	r := request(s.token("ann", "patient/*.rs", "a"), "Patient/a")
	b.ReportAllocs()
	for b.Loop() {
		s.clock.Advance(1e9)
		if s.clock.at.Load()%int64(3000e9) == 0 {
			b.StopTimer()
			r = request(s.token("ann", "patient/*.rs", "a"), "Patient/a")
			b.StartTimer()
		}
		if _, err := s.Caller(r); err != nil {
			b.Fatal(err)
		}
	}
}
