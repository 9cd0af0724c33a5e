package analytics_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"candela/analytics"
	"candela/cmd/demo"
	"candela/fhir"
	"candela/fhir/interaction"
	"candela/fhir/r4"
	"candela/fhir/search"
	"candela/fhir/validate"
	"candela/store"
	"candela/store/embedded"
)

// product is the real thing: engine over the embedded store.
type product struct {
	*embedded.Store
	engine *interaction.Engine
	kill   bool // lets the saving of positions fail
}

func (p *product) Do(ctx context.Context, r fhir.Request) (fhir.Response, error) {
	return p.engine.Do(ctx, r)
}

func (p *product) KVSwap(ctx context.Context, bucket, key string, old, next []byte, ttl time.Duration) error {
	if p.kill && bucket == "analytics" {
		return errKilled
	}
	return p.Store.KVSwap(ctx, bucket, key, old, next, ttl)
}

func openProduct(t testing.TB) *product {
	t.Helper()
	spec, err := r4.Load()
	if err != nil {
		t.Fatal(err)
	}
	registry, err := search.New(spec)
	if err != nil {
		t.Fatal(err)
	}
	s, err := embedded.Open(t.TempDir(), embedded.Options{Relaxed: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	var ids atomic.Int64
	engine, err := interaction.New(interaction.Config{
		Store: s, Search: registry, Structure: validate.New(spec), Elements: spec, Types: spec.Resources(),
		NewID: func() string { return fmt.Sprintf("n%d", ids.Add(1)) }, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return &product{Store: s, engine: engine}
}

// TestSyntheaOnTheProduct is the same test as in memory, with the same results.
func TestSyntheaOnTheProduct(t *testing.T) {
	p, m := openProduct(t), newMemory()
	synthea(t, p)
	synthea(t, m)
	if got, want := all(t, p, "RiskAssessment"), all(t, m, "RiskAssessment"); !maps.Equal(got, want) {
		t.Errorf("the stores differ:\n%v\n%v", got, want)
	}
	if got, want := read(t, p, "Group", group), read(t, m, "Group", group); got != want {
		t.Errorf("the stores differ:\n%s\n%s", got, want)
	}
}

// TestErasedOnTheProduct: a result that rests on an erased record is corrected,
// and a patient who is erased with everything leaves nothing behind.
func TestErasedOnTheProduct(t *testing.T) {
	p := openProduct(t)
	send(t, p, person("a"))
	send(t, p, person("b"))
	r := runner(t, p)
	run(t, r)
	erase := func(keys ...store.Key) {
		t.Helper()
		var ops []store.Op
		for _, k := range keys {
			ops = append(ops, store.Op{Action: store.Erase, Key: k})
		}
		if _, err := p.Commit(t.Context(), ops...); err != nil {
			t.Fatal(err)
		}
	}
	erase(store.Key{Type: "Observation", ID: "a-2093-3"})
	if report := run(t, r); report.Subjects != 1 {
		t.Errorf("one record was erased: %+v", report)
	}
	if got := read(t, p, "RiskAssessment", assessmentID("a")); !strings.Contains(got, "entered-in-error") || strings.Contains(got, "a-2093-3") {
		t.Errorf("the assessment still rests on what was erased: %s", got)
	}
	quiet(t, p, r)
	keys := []store.Key{{Type: "RiskAssessment", ID: assessmentID("b")}}
	for name := range person("b") {
		typ, id, _ := strings.Cut(name, "/")
		keys = append(keys, store.Key{Type: typ, ID: id})
	}
	erase(keys...)
	run(t, r)
	if got := read(t, p, "RiskAssessment", assessmentID("b")); got != "" {
		t.Errorf("an assessment of an erased patient: %s", got)
	}
	quiet(t, p, r)
}

// TestKilledOnTheProduct: the position is not saved after the writes.
func TestKilledOnTheProduct(t *testing.T) {
	p := openProduct(t)
	send(t, p, person("a"))
	p.kill = true
	if _, err := runner(t, p).Run(t.Context()); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	p.kill = false
	before, err := p.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if report := run(t, runner(t, p)); report.Written != 0 || report.Unchanged != 2 {
		t.Errorf("second run: %+v", report)
	}
	if after, err := p.Head(t.Context()); err != nil || after != before {
		t.Errorf("head moved from %d to %d (%v)", before, after, err)
	}
}

// TestDemoOnTheProduct: generated patients load, are scored, and the results
// are found by search.
func TestDemoOnTheProduct(t *testing.T) {
	p := openProduct(t)
	const patients = 60
	for bundle := range demo.Generate(5, patients, time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)) {
		post(t, p, bundle)
	}
	r := runner(t, p)
	report := run(t, r)
	if report.Subjects != patients || report.Written < 15 {
		t.Errorf("%v", report.Lines())
	}
	for _, query := range []string{"RiskAssessment?method=prevent-base-10y&_count=100", "RiskAssessment?risk=low,borderline,intermediate,high&_count=100"} {
		req, err := fhir.RouteURL("GET", query, "")
		if err != nil {
			t.Fatal(err)
		}
		req.Caller, req.Base = system, base
		res, err := p.Do(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if n := fhir.Stored(res.Body).Root().Get("entry").Len(); n != len(all(t, p, "RiskAssessment")) {
			t.Errorf("%s finds %d", query, n)
		}
	}
	quiet(t, p, r)
	for bundle := range demo.Generate(5, patients, time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)) {
		post(t, p, bundle) // a second time: everything is there already
	}
	if report := run(t, r); report.Changes > 0 && report.Written > 0 {
		t.Errorf("loading the same again: %v", report.Lines())
	}
}

// BenchmarkRun analyzes 200 generated patients on the embedded store from the
// start; the results are there already, so that it measures reading and scoring.
func BenchmarkRun(b *testing.B) {
	p := openProduct(b)
	for bundle := range demo.Generate(5, 200, time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)) {
		post(b, p, bundle)
	}
	b.ReportAllocs()
	var patients int
	for n := 0; b.Loop(); n++ {
		p.kill = true
		report, err := runner(b, p, func(c *analytics.Config) { c.Workers = 2 }).Run(b.Context())
		if !errors.Is(err, errKilled) {
			b.Fatal(err)
		}
		patients += report.Subjects
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(patients), "µs/patient")
}
