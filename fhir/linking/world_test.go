package linking_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"candela/fhir"
	"candela/fhir/interaction"
	"candela/fhir/linking"
	"candela/fhir/r4"
	"candela/fhir/search"
	"candela/fhir/validate"
	"candela/store"
	"candela/store/embedded"
)

// world is the engine over an embedded store. Before a transaction, door calls
// meanwhile once.
type world struct {
	*embedded.Store
	engine    *interaction.Engine
	search    *search.Registry
	spec      *r4.Spec
	meanwhile func()
}

func open(t testing.TB) *world {
	t.Helper()
	spec, err := r4.Load()
	if err != nil {
		t.Fatal(err)
	}
	registry, err := search.New(spec)
	if err != nil {
		t.Fatal(err)
	}
	s, err := embedded.Open(t.TempDir(), embedded.Options{Relaxed: true, Logger: slog.New(slog.DiscardHandler)})
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
		NewID: func() string { return fmt.Sprintf("n%d", ids.Add(1)) }, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return &world{Store: s, engine: engine, search: registry, spec: spec}
}

func (w *world) Do(ctx context.Context, r fhir.Request) (fhir.Response, error) {
	if do := w.meanwhile; do != nil && r.Interaction == fhir.Batch {
		w.meanwhile = nil
		do()
	}
	return w.engine.Do(ctx, r)
}

func (w *world) linker(t testing.TB, change func(*linking.Config), texts ...string) *linking.Linker {
	t.Helper()
	paths, err := linking.Parse(w.spec, w.search, texts)
	if err != nil {
		t.Fatal(err)
	}
	c := linking.Config{Store: w, Door: w, Search: w.search, Paths: paths, Version: "1", Base: "http://b.example/fhir", Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&c)
	}
	l, err := linking.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (w *world) put(t testing.TB, raw string) {
	t.Helper()
	res, err := fhir.ParseResource([]byte(raw), fhir.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	ask := fhir.Request{Interaction: fhir.Update, Type: res.Type(), ID: res.ID(), Resource: res, Caller: fhir.Caller{Access: fhir.Full()}}
	if _, err := w.engine.Do(context.Background(), ask); err != nil {
		t.Fatal(err)
	}
}

func (w *world) remove(t testing.TB, typ, id string) {
	t.Helper()
	ask := fhir.Request{Interaction: fhir.Delete, Type: typ, ID: id, Caller: fhir.Caller{Access: fhir.Full()}}
	if _, err := w.engine.Do(context.Background(), ask); err != nil {
		t.Fatal(err)
	}
}

// raw is the present state as it is stored, and its version.
func (w *world) raw(t testing.TB, typ, id string) (string, int64) {
	t.Helper()
	v, err := w.Get(context.Background(), store.Key{Type: typ, ID: id})
	if err != nil {
		t.Fatal(err)
	}
	return string(v.Raw), v.Number
}

// turn links until nothing is behind.
func turn(t testing.TB, l *linking.Linker) {
	t.Helper()
	if _, err := l.Turn(context.Background()); err != nil {
		t.Fatal(err)
	}
	if behind, err := l.Behind(context.Background()); err != nil || behind != 0 {
		t.Fatalf("%d changes behind (%v)", behind, err)
	}
}

// count is how often an outcome was met.
func count(l *linking.Linker, element, outcome string) int64 {
	for _, c := range l.Counts() {
		if c.Element == element && c.Outcome == outcome {
			return c.Value()
		}
	}
	return -1
}

func patient(id, value string) string {
	return fmt.Sprintf(`{"resourceType":"Patient","id":%q,"identifier":[{"system":"urn:mrn","value":%q}]}`, id, value)
}

func observation(id, subject string) string {
	return fmt.Sprintf(`{"resourceType":"Observation","id":%q,"status":"final","code":{"text":"x"},"subject":%s,"valueQuantity":{"value":1.00}}`, id, subject)
}

func named(value string) string {
	return fmt.Sprintf(`{"identifier":{"system":"urn:mrn","value":%q}}`, value)
}

func to(reference, value string) string {
	return fmt.Sprintf(`{"reference":%q,"identifier":{"system":"urn:mrn","value":%q}}`, reference, value)
}
