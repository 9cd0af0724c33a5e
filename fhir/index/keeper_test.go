package index_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"candela/fhir/index"
	"candela/fhir/r4"
	"candela/fhir/search"
	"candela/store"
	"candela/store/embedded"
)

// TestAnErasedDefinitionIsForgotten: also when others are newer.
func TestAnErasedDefinitionIsForgotten(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
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
	defer func() { _ = s.Close() }() // the test is about something else
	patient := store.Op{Action: store.Put, Key: store.Key{Type: "Patient", ID: "p"}, Raw: []byte(`{"resourceType":"Patient","id":"p","gender":"female"}`)}
	commit(t, s, define("old"), define("new"), patient)
	k, err := index.New(ctx, index.Config{Store: s, Search: registry, Poll: 5 * time.Millisecond, Settle: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); k.Run(ctx) }()
	await(t, registry, "old", true)
	await(t, registry, "new", true)
	time.Sleep(500 * time.Millisecond) // until both are indexed: then only a change is a reason to look again
	commit(t, s, store.Op{Action: store.Erase, Key: patient.Key}, store.Op{Action: store.Erase, Key: define("old").Key})
	await(t, registry, "old", false)
	await(t, registry, "new", true)
	stop()
	<-done
}

func define(code string) store.Op {
	raw := fmt.Sprintf(`{"resourceType":"SearchParameter","id":%q,"url":"urn:%s","status":"active","name":%q,"description":"of a test","code":%q,"base":["Patient"],"type":"token","expression":"Patient.gender"}`, code, code, code, code)
	return store.Op{Action: store.Put, Key: store.Key{Type: "SearchParameter", ID: code}, Raw: []byte(raw), Entries: []store.Entry{}}
}

func commit(t *testing.T, s store.Store, ops ...store.Op) {
	t.Helper()
	if _, err := s.Commit(t.Context(), ops...); err != nil {
		t.Fatal(err)
	}
}

// await waits until Patient has a parameter, or has it no more.
func await(t *testing.T, registry *search.Registry, code string, wanted bool) {
	t.Helper()
	has := func() bool {
		return slices.ContainsFunc(registry.Params("Patient"), func(p *search.Param) bool { return p.Code == code })
	}
	for end := time.Now().Add(10 * time.Second); has() != wanted; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("parameter %s there: %v", code, !wanted)
		}
	}
}
