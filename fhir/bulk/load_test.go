package bulk_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"candela/fhir"
	"candela/fhir/bulk"
)

// door answers each Bundle like a server does and remembers what came.
type door struct {
	mu     sync.Mutex
	seen   []string
	refuse func(bundle string) error
	status string
}

func (d *door) Do(_ context.Context, r fhir.Request) (fhir.Response, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	text := string(r.Resource.Raw())
	if d.refuse != nil {
		if err := d.refuse(text); err != nil {
			return fhir.Response{}, err
		}
	}
	d.seen = append(d.seen, text)
	var out []string
	for range r.Resource.Root().Get("entry").Elements() {
		out = append(out, fmt.Sprintf(`{"response":{"status":%q,"outcome":{"issue":[{"diagnostics":"why"}]}}}`, d.status))
	}
	return fhir.Response{Status: 200, Body: []byte(`{"entry":[` + strings.Join(out, ",") + `]}`)}, nil
}

const (
	infra   = `{"resourceType":"Bundle","type":"batch","entry":[{"fullUrl":"urn:uuid:o","resource":{"resourceType":"Organization"},"request":{"method":"POST","url":"Organization"}}]}`
	patient = `{"resourceType":"Bundle","type":"transaction","entry":[
{"fullUrl":"urn:uuid:aa","resource":{"resourceType":"Patient","id":"aa"},"request":{"method":"POST","url":"Patient"}},
{"fullUrl":"urn:uuid:bb","resource":{"resourceType":"Observation","subject":{"reference":"urn:uuid:aa"},"valueQuantity":{"value":1.00}},"request":{"method":"POST","url":"Observation"}},
{"fullUrl":"urn:uuid:cc","resource":{"resourceType":"Observation","derivedFrom":[{"reference":"urn:uuid:bb"}]},"request":{"method":"POST","url":"Observation"}}]}`
)

func write(t *testing.T, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func gz(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipped(t *testing.T, name, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestEveryFileFormatInfraFirst(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a-patient.json", []byte(patient))
	write(t, dir, "b.ndjson", []byte("{\"resourceType\":\"Basic\",\"id\":\"1\"}\n\n{\"resourceType\":\"Basic\"}\n"))
	write(t, dir, "c.json.gz", gz(t, strings.ReplaceAll(patient, "aa", "ab")))
	write(t, dir, "d.zip", zipped(t, "x/p.json", strings.ReplaceAll(patient, "aa", "ac")))
	write(t, dir, "z-infra.json", []byte(infra))
	write(t, dir, "README.txt", []byte("not loaded"))
	d := &door{status: "201 Created"}
	sum, err := bulk.Load{Door: d}.Run(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if sum.Files != 5 || sum.FilesDone != 5 || sum.Stored != 12 || sum.Refused != 0 {
		t.Fatalf("%+v", sum)
	}
	if !strings.Contains(d.seen[0], "Organization") {
		t.Errorf("the bundle without patients came late: %s", d.seen[0])
	}
	lines := d.seen[len(d.seen)-1] + d.seen[1] + d.seen[2] + d.seen[3] + d.seen[4]
	if !strings.Contains(lines, `"method":"PUT","url":"Basic/1"`) || !strings.Contains(lines, `"method":"POST","url":"Basic"`) {
		t.Errorf("NDJSON lines became: %s", lines)
	}
}

func TestLongTransactionIsCutAndKeepsItsIds(t *testing.T) {
	dir := t.TempDir()
	path := write(t, dir, "p.json", []byte(patient))
	d := &door{status: "201"}
	sum, err := bulk.Load{Door: d, Entries: 2}.Run(context.Background(), path)
	if err != nil || sum.Stored != 3 || sum.Bundles != 2 {
		t.Fatalf("%+v %v", sum, err)
	}
	all := strings.Join(d.seen, "\n")
	for _, want := range []string{
		`"resource":{"resourceType":"Observation","id":"bb","subject":{"reference":"Patient/aa"},"valueQuantity":{"value":1.00}}`,
		`"request":{"method":"PUT","url":"Observation/bb"}`, `"derivedFrom":[{"reference":"Observation/bb"}]`, `{"resourceType":"Patient","id":"aa"}`,
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no %s in\n%s", want, all)
		}
	}
}

func TestRefusalsAreCountedWithTheirReason(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "bad.json", []byte(`{"resourceType":"Bundle","entry":[}`))
	write(t, dir, "p.json", []byte(patient))
	d := &door{refuse: func(string) error { return fhir.Errorf(422, fhir.CodeValue, "no such code").At("Bundle.entry[1]") }}
	sum, err := bulk.Load{Door: d}.Run(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(sum.Lines(), "\n")
	if sum.Stored != 0 || sum.Refused != 4 || sum.Reasons["422 Bundle.entry[1] no such code"] != 3 || !strings.Contains(text, "p.json entry 0") {
		t.Fatalf("%+v\n%s", sum, text)
	}
	d = &door{status: "404"}
	sum, err = bulk.Load{Door: d}.Run(context.Background(), filepath.Join(dir, "p.json"))
	if err != nil || sum.Refused != 3 || sum.Reasons["404 why"] != 3 {
		t.Fatalf("%+v %v", sum, err)
	}
}

func TestInterruptedLoadGoesOn(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "1.json", []byte(patient))
	write(t, dir, "2.json", []byte(strings.ReplaceAll(patient, "aa", "dd")))
	journal := filepath.Join(dir, "state", "journal")
	first, err := bulk.OpenJournal(journal, false)
	if err != nil {
		t.Fatal(err)
	}
	d := &door{status: "201", refuse: func(b string) error {
		if strings.Contains(b, "dd") {
			return fhir.Errorf(503, fhir.CodeTransient, "gone away")
		}
		return nil
	}}
	if _, err := (bulk.Load{Door: d, Workers: 1, Journal: first}).Run(context.Background(), dir); err == nil {
		t.Fatal("an unreachable server is an error")
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	// A crash in the middle of a journal line loses that line only.
	f, err := os.OpenFile(journal, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"source":"` + dir); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	second, err := bulk.OpenJournal(journal, false)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	d = &door{status: "201"}
	sum, err := bulk.Load{Door: d, Journal: second}.Run(context.Background(), dir)
	if err != nil || sum.Skipped != 3 || sum.Stored != 3 || len(d.seen) != 1 {
		t.Fatalf("%+v %v", sum, err)
	}
}

func TestWrongPathsSayWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		filepath.Join(dir, "missing"):                 "no such file",
		write(t, dir, "a.txt", nil):                   "not a .json",
		write(t, dir, "broken.zip", []byte("no zip")): "not a zip archive",
		write(t, dir, "b.json.gz", []byte("no gzip")): "not a gzip file",
		t.TempDir(): "no .json",
	} {
		_, err := bulk.Load{Door: &door{}}.Run(context.Background(), path)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

func TestRemoteAsksABusyServerAgain(t *testing.T) {
	calls := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if calls++; calls == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(503)
			return
		}
		_, _ = w.Write([]byte(`{"entry":[{"response":{"status":"201"}},{"response":{"status":"201"}},{"response":{"status":"201"}}]}`))
	}))
	defer server.Close()
	path := write(t, t.TempDir(), "p.json", []byte(patient))
	sum, err := bulk.Load{Door: bulk.Remote{Base: server.URL, Client: server.Client()}}.Run(context.Background(), path)
	if err != nil || sum.Stored != 3 || calls != 2 {
		t.Fatalf("%+v %v after %d calls", sum, err, calls)
	}
}

func TestRemoteShowsTheServersOwnWords(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(400)
		_, _ = w.Write([]byte(`{"resourceType":"OperationOutcome","issue":[{"code":"value","diagnostics":"bad date","expression":["Bundle.entry[0]"]}]}`))
	}))
	defer server.Close()
	path := write(t, t.TempDir(), "p.json", []byte(patient))
	sum, err := bulk.Load{Door: bulk.Remote{Base: server.URL, Client: server.Client()}}.Run(context.Background(), path)
	if err != nil || sum.Reasons["400 Bundle.entry[0] bad date"] != 3 {
		t.Fatalf("%+v %v", sum, err)
	}
}

// lines are so many resources as NDJSON, those of some numbers bad.
func lines(n int, bad ...int) []byte {
	var out bytes.Buffer
	for i := range n {
		id := fmt.Sprint("r", i)
		if slices.Contains(bad, i) {
			id = fmt.Sprint("bad", i)
		}
		fmt.Fprintf(&out, "{\"resourceType\":\"Basic\",\"id\":%q}\n", id)
	}
	return out.Bytes()
}

// TestLinesShareCommits: NDJSON is sent as transactions; what such a one is
// refused for is told of its own entry alone, and all others are stored.
func TestLinesShareCommits(t *testing.T) {
	picky := &door{status: "201", refuse: func(b string) error {
		if strings.Contains(b, `"transaction"`) && strings.Contains(b, "bad") {
			return fhir.Errorf(422, fhir.CodeValue, "bad").At("Bundle.entry[3]")
		}
		if strings.Contains(b, "bad") && strings.Count(b, `"PUT"`) > 16 {
			return fhir.Errorf(500, fhir.CodeException, "%d sent one by one", strings.Count(b, `"PUT"`))
		}
		return nil
	}}
	path := write(t, t.TempDir(), "a.ndjson", lines(1200, 77, 1100))
	sum, err := bulk.Load{Door: picky, Workers: 1}.Run(context.Background(), path)
	stored, alone := strings.Count(strings.Join(picky.seen, ""), `"PUT"`), 0
	for _, b := range picky.seen {
		if strings.Contains(b, `"batch"`) {
			alone += strings.Count(b, `"PUT"`)
		}
	}
	if err != nil || sum.Stored != 1200 || stored != 1200 || alone == 0 || alone > 32 {
		t.Fatalf("%+v, %v: %d sent, %d in batches", sum, err, stored, alone)
	}
	// References that a transaction would look up, and servers without transactions: batches.
	for name, refuse := range map[string]func(string) error{
		`{"resourceType":"Basic","id":"1","subject":{"reference":"Patient?identifier=7"}}` + "\n" + `{"resourceType":"Basic","id":"2"}`: nil,
		string(lines(40)): func(b string) error {
			if strings.Contains(b, `"transaction"`) {
				return fhir.Errorf(501, fhir.CodeNotSupported, "no transactions")
			}
			return nil
		},
	} {
		d := &door{status: "201", refuse: refuse}
		sum, err := bulk.Load{Door: d}.Run(context.Background(), write(t, t.TempDir(), "b.ndjson", []byte(name)))
		if err != nil || sum.Refused != 0 || len(d.seen) != 1 || !strings.Contains(d.seen[0], `"batch"`) {
			t.Errorf("%.80s: %+v %v %.200s", name, sum, err, d.seen)
		}
	}
}
