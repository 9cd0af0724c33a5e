package interaction_test

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"candela/fhir"
	"candela/fhir/interaction"
	"candela/fhir/r4"
	"candela/fhir/search"
	"candela/fhir/validate"
	"candela/store"
)

// shared is the folder of test data beside the repository.
func shared(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("CANDELA_SHARED"); dir != "" {
		return dir
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "shared", "data")); err == nil {
			return filepath.Join(dir, "shared")
		}
	}
	t.Fatal("no shared folder beside the repository; set CANDELA_SHARED")
	return ""
}

// unpacked reads a gzip file.
func unpacked(t testing.TB, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// patients are Synthea patient bundles, unpacked.
func patients(t testing.TB) [][]byte {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(shared(t), "data", "fhir", "synthea-2.7", "*.gz"))
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for _, p := range paths {
		if !strings.HasPrefix(filepath.Base(p), "00-") {
			out = append(out, unpacked(t, p))
		}
	}
	if len(out) == 0 {
		t.Fatal("no Synthea bundles in the shared folder")
	}
	return out
}

// hollow stores nothing and finds one resource for every query: what is left is
// the cost of the engine.
type hollow struct{ store.Store }

func (hollow) Get(context.Context, store.Key) (store.Version, error) {
	return store.Version{}, store.ErrNotFound
}

func (hollow) Find(_ context.Context, q store.Query) (store.Page, error) {
	return store.Page{Versions: []store.Version{{Key: store.Key{Type: q.Types[0], ID: "found"}, Number: 1}}, Total: -1}, nil
}

func (hollow) Commit(_ context.Context, ops ...store.Op) ([]store.Result, error) {
	out := make([]store.Result, len(ops))
	for i, op := range ops {
		out[i] = store.Result{Version: store.Version{Key: op.Key, Number: 1}, Created: true}
	}
	return out, nil
}

func engineOn(t testing.TB, s store.Store) *interaction.Engine {
	t.Helper()
	spec, err := r4.Load()
	if err != nil {
		t.Fatal(err)
	}
	registry, err := search.New(spec, "http://us/fhir")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	e, err := interaction.New(interaction.Config{
		Store: s, Search: registry, Structure: validate.New(spec), Elements: spec, Types: spec.Resources(), Now: time.Now,
		NewID: func() string { n++; return fmt.Sprint("id-", n) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// BenchmarkTransaction is a whole Synthea patient through parser and engine,
// without a store; a resource's share is reported.
func BenchmarkTransaction(b *testing.B) {
	e := engineOn(b, hollow{})
	bodies := patients(b)
	resources, i := 0, 0
	b.ReportAllocs()
	for b.Loop() {
		body := bodies[i%len(bodies)]
		i++
		res, err := fhir.ParseResource(body, fhir.BundleLimits())
		if err != nil {
			b.Fatal(err)
		}
		_, err = e.Do(context.Background(), fhir.Request{Interaction: fhir.Batch, Resource: res, Base: "http://us/fhir", Caller: fhir.Caller{Access: fhir.Full()}})
		if err != nil {
			b.Fatal(err)
		}
		resources += res.Root().Get("entry").Len()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(resources), "µs/resource")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkRead is a read by id through the engine on a hollow store.
func BenchmarkRead(b *testing.B) {
	raw := []byte(`{"resourceType":"Patient","id":"1","meta":{"profile":["http://x"]},"active":true,"name":[{"family":"Doe","given":["A","B"]}],"birthDate":"1970-01-01"}`)
	e := engineOn(b, one{raw: raw})
	r := fhir.Request{Interaction: fhir.Read, Type: "Patient", ID: "1", Caller: fhir.Caller{Access: fhir.Full()}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Do(context.Background(), r); err != nil {
			b.Fatal(err)
		}
	}
}

// one holds one resource.
type one struct {
	hollow
	raw []byte
}

func (o one) Get(context.Context, store.Key) (store.Version, error) {
	return store.Version{Key: store.Key{Type: "Patient", ID: "1"}, Number: 3, Raw: o.raw}, nil
}
