package validate_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"candela/fhir"
	"candela/fhir/r4"
	"candela/fhir/validate"
)

func structure(t testing.TB) *validate.Structure {
	t.Helper()
	spec, err := r4.Load()
	if err != nil {
		t.Fatal(err)
	}
	return validate.New(spec)
}

// shared finds the folder of shared test data: CANDELA_SHARED, else a folder
// "shared" beside the repository.
func shared(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("CANDELA_SHARED"); dir != "" {
		return dir
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if info, err := os.Stat(filepath.Join(dir, "shared", "data")); err == nil && info.IsDir() {
			return filepath.Join(dir, "shared")
		}
	}
	t.Fatal("shared test data not found: set CANDELA_SHARED")
	return ""
}

// bodies walks the JSON files of one folder of the shared FHIR data, unpacked.
func bodies(t testing.TB, folder string, each func(name string, body []byte)) (count int) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(shared(t), "data", "fhir", folder), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(d.Name(), ".json") {
			return err
		}
		body, err := os.ReadFile(path)
		if err == nil && strings.HasSuffix(path, ".gz") {
			body, err = unzip(body)
		}
		if err != nil {
			return err
		}
		count++
		each(d.Name(), body)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return count
}

func unzip(packed []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

func resource(t testing.TB, body []byte) fhir.Resource {
	t.Helper()
	r, err := fhir.ParseResource(body, fhir.BundleLimits())
	if err != nil {
		t.Fatalf("%.80s: %v", body, err)
	}
	return r
}
