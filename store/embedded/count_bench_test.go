package embedded_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"candela/store"
	"candela/store/embedded"
)

// plainOf is one of very many small observations: 95 % final, three categories.
func plainOf(i int) store.Op {
	status, category := "final", [...]string{"laboratory", "vital-signs", "survey"}[i*7%3]
	if i%20 == 7 {
		status = "preliminary"
	}
	token := func(param, space, name string) store.Entry {
		return store.Entry{Param: param, Role: store.Hot, Value: store.Value{Kind: store.Code, Space: space, Name: name}}
	}
	at := store.OrderedTime(epoch.Add(time.Duration(i*7919%315_360_000) * time.Second))
	id := fmt.Sprintf("o%d", i)
	raw := fmt.Sprintf(`{"resourceType":"Observation","id":"%s","status":"%s","category":[{"coding":[{"code":"%s"}]}]}`, id, status, category)
	entries := []store.Entry{
		token("status", "http://hl7.org/fhir/observation-status", status),
		token("category", "http://terminology.hl7.org/CodeSystem/observation-category", category),
		token("code", loinc, codeOf(i*13%200)),
		{Param: "date", Role: store.Clock, Value: store.Value{Kind: store.Range, Lo: at, Hi: at}},
	}
	return store.Op{Action: store.Put, Key: store.Key{Type: "Observation", ID: id}, Raw: []byte(raw), Entries: entries}
}

// many is how many observations counts are measured over.
func many() int {
	if n, err := strconv.Atoi(os.Getenv("CANDELA_BENCH_ROWS")); err == nil {
		return n
	}
	return 1_000_000
}

// crowd is a folder of many small observations.
func crowd(b *testing.B, opt embedded.Options) string {
	b.Helper()
	dir := b.TempDir()
	s, err := embedded.Open(dir, opt)
	if err != nil {
		b.Fatal(err)
	}
	start, n := cpu(), many()
	for i := 0; i < n; i += 2000 {
		ops := make([]store.Op, 2000)
		for j := range ops {
			ops[j] = plainOf(i + j)
		}
		if _, err := s.Commit(context.Background(), ops...); err != nil {
			b.Fatal(err)
		}
	}
	quiet()
	b.Logf("%d loaded: %.1f µs of CPU each", n, float64((cpu()-start).Microseconds())/float64(n))
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	return dir
}

// resident is the memory of this process, in MB.
func resident() float64 {
	runtime.GC()
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0 // not Linux
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.Atoi(strings.Fields(rest)[0])
			return float64(kb) / 1024
		}
	}
	return 0
}

// wide are conditions that very many observations meet.
func wide() map[string]store.Expr {
	final, lab := named("status", store.Hot, "final"), named("category", store.Hot, "laboratory")
	return map[string]store.Expr{
		"1 list":              final,
		"2 lists":             store.And{final, lab},
		"2 lists or":          store.And{final, store.Or{lab, named("category", store.Hot, "survey")}},
		"2 lists one not":     store.And{lab, store.Not{Of: final}},
		"not":                 store.Not{Of: final},
		"missing":             store.Not{Of: store.Test{Param: "code", Cond: store.Cond{How: store.Present}}},
		"3 lists, one short":  store.And{final, lab, named("code", store.Hot, codeOf(8))},
		"2 lists and a range": store.And{final, lab, yearOf(9)},
	}
}

func yearOf(n int) store.Test {
	at := store.OrderedTime(epoch.AddDate(n, 0, 0))
	return store.Test{Param: "date", Role: store.Clock, Cond: store.Cond{How: store.AtLeast, Lo: at, Hi: at}}
}

// BenchmarkCount counts over a million observations: the first question after
// a start, and the same again.
func BenchmarkCount(b *testing.B) {
	dir := crowd(b, embedded.Options{Relaxed: true})
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range wide() {
			if !yield(name) {
				return
			}
		}
	}) {
		q := store.Query{Types: []string{"Observation"}, Where: wide()[name], Total: true}
		b.Run(name, func(b *testing.B) {
			first := ask(b, dir, q, true)
			again := ask(b, dir, q, false)
			s, err := embedded.Open(dir, embedded.Options{Relaxed: true})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			before := resident()
			page, err := s.Find(context.Background(), q)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Find(context.Background(), q); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(first, "first-ms")
			b.ReportMetric(again, "restart-ms")
			b.ReportMetric(float64(page.Total), "hits")
			b.ReportMetric(resident()-before, "RSS-MB")
		})
	}
}

// ask is how many milliseconds the first answer takes after a start: the first
// ever, or one after a clean stop.
func ask(b *testing.B, dir string, q store.Query, ever bool) float64 {
	b.Helper()
	if ever {
		s, err := embedded.Open(dir, embedded.Options{SetBytes: -1}) // keeps no sets, and drops those saved
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	s, err := embedded.Open(dir, embedded.Options{Relaxed: true})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	start := time.Now()
	if _, err := s.Find(context.Background(), q); err != nil {
		b.Fatal(err)
	}
	return float64(time.Since(start).Microseconds()) / 1000
}
