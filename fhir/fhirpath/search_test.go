package fhirpath_test

import (
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"candela/fhir/fhirpath"
	"candela/fhir/r4"
)

// shared is a file of the test data that lies beside the repository.
func shared(t testing.TB, parts ...string) string {
	t.Helper()
	if dir := os.Getenv("CANDELA_SHARED"); dir != "" {
		return filepath.Join(append([]string{dir}, parts...)...)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "shared", "data")); err == nil {
			return filepath.Join(append([]string{dir, "shared"}, parts...)...)
		}
	}
	t.Fatal("no folder shared beside the repository; set CANDELA_SHARED")
	return ""
}

func spec(t testing.TB) *r4.Spec {
	t.Helper()
	s, err := r4.Load()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSearchParametersCompile: every published R4 search parameter compiles for
// every type it is defined on.
func TestSearchParametersCompile(t *testing.T) {
	model := spec(t)
	count := 0
	for _, p := range model.SearchParameters() {
		if p.Expression == "" {
			continue
		}
		count++
		for _, base := range p.Base {
			if _, err := fhirpath.Compile(p.Expression, base, model); err != nil {
				t.Errorf("%s on %s: %v", p.URL, base, err)
			}
		}
	}
	if count < 1300 {
		t.Errorf("only %d parameters have an expression", count)
	}
}

// TestUSCoreSearchParametersCompile does the same with two versions of US Core.
func TestUSCoreSearchParametersCompile(t *testing.T) {
	model := spec(t)
	for _, version := range []string{"610", "700"} {
		for _, p := range readParameters(t, "us-core-"+version+"-search-parameters.json.gz") {
			for _, base := range p.Base {
				if _, err := fhirpath.Compile(p.Expression, base, model); err != nil {
					t.Errorf("%s on %s: %v", p.URL, base, err)
				}
			}
		}
	}
}

type parameter struct {
	URL, Expression string
	Base            []string
}

func readParameters(t testing.TB, name string) (out []parameter) {
	t.Helper()
	f, err := os.Open(shared(t, "data", "definitions", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(z).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

func BenchmarkCompileAllSearchParameters(b *testing.B) {
	model := spec(b)
	b.ReportAllocs()
	for b.Loop() {
		for _, p := range model.SearchParameters() {
			for _, base := range p.Base {
				if p.Expression == "" {
					continue
				}
				if _, err := fhirpath.Compile(p.Expression, base, model); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
}
