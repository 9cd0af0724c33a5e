package search

import (
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"candela/fhir"
)

// bundled reads the resources of the shared Synthea bundles, at most n bundles.
func bundled(t testing.TB, n int) []fhir.Resource {
	t.Helper()
	var out []fhir.Resource
	for _, folder := range []string{"data/fhir/synthea-2.7", "data/fhir/synthea-2019"} {
		files, err := filepath.Glob(filepath.Join(shared(t, folder), "*.json*"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no bundles in %s: %v", folder, err)
		}
		for _, file := range files[:min(n, len(files))] {
			out = append(out, entriesOf(t, unpacked(t, file))...)
		}
	}
	return out
}

func unpacked(t testing.TB, file string) []byte {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var in io.Reader = f
	if strings.HasSuffix(file, ".gz") {
		if in, err = gzip.NewReader(f); err != nil {
			t.Fatal(err)
		}
	}
	body, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func entriesOf(t testing.TB, body []byte) []fhir.Resource {
	t.Helper()
	bundle, err := fhir.ParseResource(body, fhir.BundleLimits())
	if err != nil {
		t.Fatal(err)
	}
	var out []fhir.Resource
	for e := range bundle.Root().Get("entry").Elements() {
		res, err := fhir.ParseResource(e.Get("resource").Raw(), fhir.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, res)
	}
	return out
}

func BenchmarkEntries(b *testing.B) {
	r := registry(b)
	byType := map[string][]fhir.Resource{}
	for _, res := range bundled(b, 3) {
		byType[res.Type()] = append(byType[res.Type()], res)
	}
	for _, typ := range []string{"Observation", "Patient", "Encounter", "Condition", "Claim", "ExplanationOfBenefit"} {
		list := byType[typ]
		b.Run(typ, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := r.Entries(list[i%len(list)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	r := registry(b)
	params, err := fhir.ParseParams("patient=Patient/1&code=http://loinc.org|8867-4&date=ge2020-01-01&_sort=-date&_count=20")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Parse([]string{"Observation"}, params, Options{Now: testNow}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		registry(b)
	}
}

func BenchmarkCompileAll(b *testing.B) {
	for b.Loop() {
		registry(b).Unsupported()
	}
}
