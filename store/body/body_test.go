package body_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"candela/store/body"
)

func TestEveryBodyComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.OneOf(
			rapid.SliceOf(rapid.Byte()),
			rapid.Map(rapid.StringMatching(`(\{"resourceType":"Observation","status":"[a-z]{1,9}"\}){0,40}`), func(s string) []byte { return []byte(s) }),
		).Draw(t, "raw")
		before := rapid.SliceOf(rapid.Byte()).Draw(t, "before")
		packed := body.Compress(bytes.Clone(before), raw)
		if !bytes.HasPrefix(packed, before) {
			t.Fatal("Compress changed what stood in dst")
		}
		if len(packed)-len(before) > len(raw)+1 {
			t.Fatalf("%d bytes grew to %d", len(raw), len(packed)-len(before))
		}
		out, err := body.Expand(bytes.Clone(before), packed[len(before):])
		if err != nil || !bytes.Equal(out, append(bytes.Clone(before), raw...)) {
			t.Fatalf("%q came back as %q, %v", raw, out, err)
		}
	})
}

func TestDamageIsAnErrorOrOtherBytesNeverACrash(t *testing.T) {
	packed := body.Compress(nil, bytes.Repeat([]byte(`{"resourceType":"Condition","clinicalStatus":{"coding":[{"system":"x"}]}}`), 20))
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 20_000 {
		bad := bytes.Clone(packed)[:1+rnd.IntN(len(packed))]
		for range 1 + rnd.IntN(4) {
			bad[rnd.IntN(len(bad))] ^= byte(1 << rnd.IntN(8))
		}
		out, err := body.Expand(nil, bad)
		if err != nil && !errors.Is(err, body.ErrDamaged) {
			t.Fatalf("%v is not ErrDamaged", err)
		}
		if len(out) > body.MaxSize {
			t.Fatalf("%d bytes out of %d", len(out), len(bad))
		}
	}
	for _, bad := range [][]byte{nil, {2, 1, 2}, {1}, {1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0}} {
		if _, err := body.Expand(nil, bad); !errors.Is(err, body.ErrDamaged) {
			t.Errorf("%v gives %v", bad, err)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			raw := bytes.Repeat([]byte{byte('a' + g), '"', ':'}, 500+g)
			for range 300 {
				out, err := body.Expand(nil, body.Compress(nil, raw))
				if err != nil || !bytes.Equal(out, raw) {
					t.Errorf("%v", err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// resources are those of one shared synthetic patient.
func resources(t testing.TB) [][]byte {
	t.Helper()
	shared := os.Getenv("CANDELA_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "..", "..", "shared")
	}
	files, err := filepath.Glob(filepath.Join(shared, "data", "fhir", "synthea-2.7", "*.json.gz"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no Synthea bundles under %s", shared)
	}
	var all [][]byte
	for _, name := range files[:min(6, len(files))] {
		all = append(all, entries(t, name)...)
	}
	return all
}

func entries(t testing.TB, name string) (all [][]byte) {
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	var bundle struct {
		Entry []struct{ Resource json.RawMessage }
	}
	if err := json.Unmarshal(text, &bundle); err != nil {
		t.Fatal(err)
	}
	for _, e := range bundle.Entry {
		var b bytes.Buffer
		if err := json.Compact(&b, e.Resource); err != nil {
			t.Fatal(err)
		}
		all = append(all, b.Bytes())
	}
	return all
}

func TestTheDictionaryFitsRealResources(t *testing.T) {
	raw, packed := 0, 0
	for _, r := range resources(t) {
		p := body.Compress(nil, r)
		out, err := body.Expand(nil, p)
		if err != nil || !bytes.Equal(out, r) {
			t.Fatalf("%s: %v", r, err)
		}
		raw, packed = raw+len(r), packed+len(p)
	}
	if ratio := float64(raw) / float64(packed); ratio < 2.5 {
		t.Errorf("ratio %.2f: the dictionary does not fit", ratio)
	}
}

func TestTheDictionaryIsMadeOfNoPatient(t *testing.T) {
	d, err := os.ReadFile("dictionary1")
	if err != nil {
		t.Fatal(err)
	}
	if len(d) > 64<<10 || !strings.Contains(string(d), "us-core-observation-lab") {
		t.Errorf("%d bytes", len(d))
	}
}

func BenchmarkCompress(b *testing.B) {
	all := resources(b)
	bytes, packed, n := 0, 0, 0
	var buf []byte
	for b.Loop() {
		r := all[n%len(all)]
		buf = body.Compress(buf[:0], r)
		n, bytes, packed = n+1, bytes+len(r), packed+len(buf)
	}
	b.SetBytes(int64(bytes / n))
	b.ReportMetric(float64(bytes)/float64(packed), "ratio")
	b.ReportMetric(float64(packed)/float64(n), "B/body")
	b.ReportAllocs()
}

func BenchmarkExpand(b *testing.B) {
	var all [][]byte
	for _, r := range resources(b) {
		all = append(all, body.Compress(nil, r))
	}
	var buf []byte
	n := 0
	for b.Loop() {
		buf, _ = body.Expand(buf[:0], all[n%len(all)])
		n++
	}
	b.ReportAllocs()
}
