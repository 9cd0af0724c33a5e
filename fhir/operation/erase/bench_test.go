package erase_test

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkDryRun looks through the record of a patient of 2,000 observations
// and 200 encounters, beside another one as large.
func BenchmarkDryRun(b *testing.B) {
	s := open(b, "erase")
	for _, p := range []string{"p", "q"} {
		all := []string{fmt.Sprintf(`{"resourceType":"Patient","id":"%s"}`, p)}
		for i := range 200 {
			all = append(all, fmt.Sprintf(`{"resourceType":"Encounter","id":"e%s%d","status":"finished","class":{"code":"AMB"},"subject":{"reference":"Patient/%s"}}`, p, i, p))
		}
		for i := range 2000 {
			o := observation(fmt.Sprint(p, i), p)
			all = append(all, strings.Replace(o, `"status"`, fmt.Sprintf(`"encounter":{"reference":"Encounter/e%s%d"},"status"`, p, i%200), 1))
		}
		s.putAll(b, all)
	}
	for b.Loop() {
		if status, n := s.ask(b, officer, "POST", "Patient/p/$erase?dry-run=true", ""); status != 200 {
			b.Fatal(status, string(n.Raw()))
		}
	}
}
