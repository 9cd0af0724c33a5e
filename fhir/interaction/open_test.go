package interaction_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"candela/conformance"
	"candela/fhir"
	"candela/fhir/interaction"
	"candela/fhir/operation"
	"candela/fhir/r4"
	"candela/fhir/rest"
	"candela/fhir/search"
	"candela/fhir/validate"
	"candela/store"
	"candela/store/embedded"
)

// server is the engine behind HTTP on a store.
type server struct {
	*interaction.Engine
	base  string
	store store.Store
	spec  *r4.Spec
	log   *logged
}

// openStore is a fresh embedded store.
func openStore(t testing.TB, now func() time.Time) store.Store {
	t.Helper()
	s, err := embedded.Open(t.TempDir(), embedded.Options{Now: now, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// open serves an engine on s.
func open(t testing.TB, s store.Store, now func() time.Time) *server {
	t.Helper()
	return openAs(t, s, now, func(*interaction.Config) {})
}

// openAs is open with another configuration.
func openAs(t testing.TB, s store.Store, now func() time.Time, change func(*interaction.Config)) *server {
	t.Helper()
	spec, err := r4.Load()
	if err != nil {
		t.Fatal(err)
	}
	var handler atomic.Value
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.Load().(http.Handler).ServeHTTP(w, r) }))
	t.Cleanup(web.Close)
	base := web.URL + "/fhir"
	registry, err := search.New(spec, base)
	if err != nil {
		t.Fatal(err)
	}
	log := &logged{}
	operations := operation.New(registry, spec.Resources(), now, "erase")
	config := interaction.Config{
		Store: s, Search: registry, Structure: validate.New(spec), Elements: spec, Types: spec.Resources(), NewID: newIDs(), Now: now, Log: slog.New(log), Operations: operations,
		Capabilities: conformance.Statement{Software: "test", Search: registry, Types: spec.Resources(), Operations: operations.Operations()}.Once(),
	}
	change(&config)
	engine, err := interaction.New(config)
	if err != nil {
		t.Fatal(err)
	}
	h, err := rest.New(rest.Config{Doer: engine, Base: base, NewID: newIDs(), Log: slog.New(log), Caller: func(*http.Request) (fhir.Caller, error) {
		return fhir.Caller{Access: fhir.Full()}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	handler.Store(h)
	return &server{Engine: engine, base: base, store: s, spec: spec, log: log}
}

func newIDs() func() string {
	var n atomic.Int64
	run := time.Now().UnixNano()
	return func() string { return fmt.Sprintf("new-%x-%d", run, n.Add(1)) }
}

// logged counts error records and keeps their text.
type logged struct {
	slog.Handler
	text atomic.Value
}

func (l *logged) Enabled(context.Context, slog.Level) bool { return true }

func (l *logged) Handle(_ context.Context, r slog.Record) error {
	line := r.Message
	r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
	l.text.Store(line)
	return nil
}

func (l *logged) WithAttrs([]slog.Attr) slog.Handler { return l }

// do sends one request from inside, with full access.
func (s *server) do(r fhir.Request) (fhir.Response, error) {
	r.Base, r.Caller = s.base, fhir.Caller{Access: fhir.Full()}
	return s.Do(context.Background(), r)
}

func resource(t testing.TB, raw string) fhir.Resource {
	t.Helper()
	res, err := fhir.ParseResource([]byte(raw), fhir.BundleLimits())
	if err != nil {
		t.Fatal(err)
	}
	return res
}
