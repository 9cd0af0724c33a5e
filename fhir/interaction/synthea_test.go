package interaction_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"candela/fhir"
)

// infra are the Synthea batches of hospitals and practitioners, which patient
// bundles point to by conditional references.
func infra(t testing.TB) [][]byte {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(shared(t), "data", "fhir", "synthea-2.7", "00-*.gz"))
	if err != nil || len(paths) != 2 {
		t.Fatalf("found %d infra bundles: %v", len(paths), err)
	}
	return [][]byte{unpacked(t, paths[0]), unpacked(t, paths[1])}
}

// post sends a bundle and gives the entries of the answer.
func (s *server) post(t testing.TB, body []byte) fhir.Node {
	t.Helper()
	answer, err := s.do(fhir.Request{Interaction: fhir.Batch, Resource: resource(t, string(body))})
	if err != nil {
		t.Fatal(err)
	}
	return resource(t, string(answer.Body)).Root().Get("entry")
}

// TestSyntheaReadsBackWhole loads real bundles; every resource reads back with
// the same content: only id, links and server-owned meta differ.
func TestSyntheaReadsBackWhole(t *testing.T) {
	s := open(t, openStore(t, time.Now), time.Now)
	for _, body := range append(infra(t), patients(t)[:4]...) {
		var sent, got []fhir.Node
		for e := range resource(t, string(body)).Root().Get("entry").Elements() {
			sent = append(sent, e)
		}
		for e := range s.post(t, body).Elements() {
			got = append(got, e)
		}
		if len(sent) == 0 || len(got) != len(sent) {
			t.Fatalf("%d entries answered, %d sent", len(got), len(sent))
		}
		for i := range sent {
			checkStored(t, s, sent[i], got[i])
		}
	}
}

func checkStored(t *testing.T, s *server, sent, answer fhir.Node) {
	t.Helper()
	at := fhir.ParseReference(answer.Path("response", "location").Text())
	if !strings.HasPrefix(answer.Path("response", "status").Text(), "20") || at.ID == "" {
		t.Fatalf("refused: %s", answer.Raw())
	}
	found, err := s.do(fhir.Request{Interaction: fhir.Read, Type: at.Type, ID: at.ID})
	if err != nil {
		t.Fatal(err)
	}
	was, is := sent.Get("resource"), found.Resource.Root()
	if is.Get("id").Text() != at.ID {
		t.Errorf("%s has id %s", at, is.Get("id").Raw())
	}
	compare(t, at.String(), was, is)
}

// compare walks two resources in step; where a string was a link into the
// bundle or a condition, the other must be Type/id.
func compare(t *testing.T, at string, was, is fhir.Node) {
	t.Helper()
	if was.Kind() != is.Kind() {
		t.Fatalf("%s: %s became %s", at, was.Raw(), is.Raw())
	}
	switch was.Kind() {
	case fhir.Object:
		compareMembers(t, at, was, is)
	case fhir.Array:
		var left []fhir.Node
		for n := range is.Elements() {
			left = append(left, n)
		}
		if len(left) != was.Len() {
			t.Fatalf("%s: %d elements became %d", at, was.Len(), len(left))
		}
		for n := range was.Elements() {
			compare(t, at, n, left[0])
			left = left[1:]
		}
	default:
		text := was.Text()
		linked := strings.HasPrefix(text, "urn:uuid:") || strings.Contains(text, "?identifier=")
		if linked && strings.HasSuffix(at, ".reference") {
			if to := fhir.ParseReference(is.Text()); to.Type == "" || to.Base != "" {
				t.Fatalf("%s: link %s became %s", at, was.Raw(), is.Raw())
			}
		} else if !bytes.Equal(was.Raw(), is.Raw()) {
			t.Fatalf("%s: %s became %s", at, was.Raw(), is.Raw())
		}
	}
}

func compareMembers(t *testing.T, at string, was, is fhir.Node) {
	t.Helper()
	var keys []string
	for key := range is.Members() {
		if strings.Count(at, ".") > 0 || key != "id" && key != "meta" {
			keys = append(keys, key)
		}
	}
	for key, child := range was.Members() {
		if strings.Count(at, ".") == 0 && (key == "id" || key == "meta") {
			continue
		}
		if len(keys) == 0 || keys[0] != key {
			t.Fatalf("%s: member %s is lost or out of order (%v)", at, key, keys)
		}
		keys = keys[1:]
		compare(t, at+"."+key, child, is.Get(key))
	}
	if len(keys) > 0 {
		t.Fatalf("%s: members %v came from nowhere", at, keys)
	}
}

// BenchmarkLoad is Synthea patients into an embedded store: the whole way but HTTP.
func BenchmarkLoad(b *testing.B) {
	s := open(b, openStore(b, time.Now), time.Now)
	for _, body := range infra(b) {
		s.post(b, body)
	}
	bodies := patients(b)
	resources, i := 0, 0
	b.ReportAllocs()
	for b.Loop() {
		resources += s.post(b, bodies[i%len(bodies)]).Len()
		i++
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(resources), "µs/resource")
}

// BenchmarkSearch is a page of one patient's observations of a code, newest
// first, among all that was loaded.
func BenchmarkSearch(b *testing.B) {
	s := open(b, openStore(b, time.Now), time.Now)
	for _, body := range append(infra(b), patients(b)...) {
		s.post(b, body)
	}
	found, err := s.do(fhir.Request{Interaction: fhir.SearchType, Type: "Patient", Query: fhir.Params{{Name: "_count", Value: "1"}}})
	if err != nil {
		b.Fatal(err)
	}
	id := resource(b, string(found.Body)).Root().Path("entry", "resource", "id").Text()
	for name, query := range map[string]string{
		"patient+code+sorted": "patient=" + id + "&code=http://loinc.org|8302-2&_sort=-date&_count=10",
		"newest of a code":    "code=http://loinc.org|8302-2&_sort=-date&_count=10",
		"count of two":        "code=http://loinc.org|8302-2&status=final&_summary=count",
		"include":             "patient=" + id + "&_include=Observation:encounter&_count=20",
	} {
		params, err := fhir.ParseParams(query)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				answer, err := s.do(fhir.Request{Interaction: fhir.SearchType, Type: "Observation", Query: params})
				if err != nil || !bytes.Contains(answer.Body, []byte(`"Bundle"`)) {
					b.Fatal(fmt.Sprint(err, string(answer.Body)))
				}
			}
		})
	}
}
