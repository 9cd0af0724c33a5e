package erase_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"candela/fhir"
	"candela/fhir/interaction"
	"candela/fhir/operation"
	"candela/fhir/r4"
	"candela/fhir/search"
	"candela/fhir/validate"
	"candela/store"
	"candela/store/embedded"
)

const base = "http://us/fhir"

// server is an engine on a store, both in reach.
type server struct {
	fhir.Doer
	store *hindered
}

// hindered is a store whose commits can be kept from succeeding.
type hindered struct {
	store.Store
	before func(ops []store.Op) error
}

func (h *hindered) Commit(ctx context.Context, ops ...store.Op) ([]store.Result, error) {
	if h.before != nil {
		if err := h.before(ops); err != nil {
			return nil, err
		}
	}
	return h.Store.Commit(ctx, ops...)
}

func open(t testing.TB, allowed ...string) *server {
	t.Helper()
	s, err := embedded.Open(t.TempDir(), embedded.Options{Now: time.Now, Logger: slog.New(slog.DiscardHandler), Relaxed: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	spec, err := r4.Load()
	if err != nil {
		t.Fatal(err)
	}
	registry, err := search.New(spec, base)
	if err != nil {
		t.Fatal(err)
	}
	h := &hindered{Store: s}
	var ids atomic.Int64
	engine, err := interaction.New(interaction.Config{
		Store: h, Search: registry, Structure: validate.New(spec), Elements: spec, Types: spec.Resources(), Now: time.Now,
		NewID: func() string { return fmt.Sprint("n", ids.Add(1)) }, Operations: operation.New(registry, spec.Resources(), time.Now, allowed...),
	})
	if err != nil {
		t.Fatal(err)
	}
	return &server{engine, h}
}

// ask does one request; what it gets is a status and a tree.
func (s *server) ask(t testing.TB, c fhir.Caller, method, url, body string) (int, fhir.Node) {
	t.Helper()
	r, err := fhir.RouteURL(method, url, base)
	if err != nil {
		t.Fatal(err)
	}
	r.Base, r.Caller, r.RequestID = base, c, "request-7"
	if body != "" {
		if r.Resource, err = fhir.ParseResource([]byte(body), fhir.BundleLimits()); err != nil {
			t.Fatal(err)
		}
	}
	answer, err := s.Do(t.Context(), r)
	var refusal *fhir.Error
	switch {
	case errors.As(err, &refusal):
		return refusal.Status, fhir.Stored(fhir.OutcomeOf(refusal.Issues...)).Root()
	case err != nil:
		t.Fatal(err)
	case answer.Resource.Exists():
		return answer.Status, answer.Resource.Root()
	}
	return answer.Status, fhir.Stored(answer.Body).Root()
}

var officer = fhir.Caller{Name: "officer", Access: fhir.Full()}

func (s *server) put(t *testing.T, resources ...string) {
	t.Helper()
	for _, raw := range resources {
		root := fhir.Stored([]byte(raw)).Root()
		url := root.Get("resourceType").Text() + "/" + root.Get("id").Text()
		if status, n := s.ask(t, officer, "PUT", url, raw); status > 201 {
			t.Fatalf("%s: %d %s", url, status, n.Raw())
		}
	}
}

// putAll is put in transactions.
func (s *server) putAll(t testing.TB, resources []string) {
	t.Helper()
	for some := range slices.Chunk(resources, 500) {
		entries := make([]string, len(some))
		for i, raw := range some {
			root := fhir.Stored([]byte(raw)).Root()
			entries[i] = `{"resource":` + raw + `,"request":{"method":"PUT","url":"` + root.Get("resourceType").Text() + "/" + root.Get("id").Text() + `"}}`
		}
		if status, n := s.ask(t, officer, "POST", "", `{"resourceType":"Bundle","type":"transaction","entry":[`+strings.Join(entries, ",")+`]}`); status != 200 {
			t.Fatalf("%d %s", status, n.Raw())
		}
	}
}

func (s *server) delete(t *testing.T, url string) {
	t.Helper()
	if status, _ := s.ask(t, officer, "DELETE", url, ""); status != 204 {
		t.Fatalf("%s: %d", url, status)
	}
}

// is wants each URL to answer with the status.
func (s *server) is(t *testing.T, status int, urls ...string) {
	t.Helper()
	for _, url := range urls {
		if got, _ := s.ask(t, officer, "GET", url, ""); got != status {
			t.Errorf("%s is %d, want %d", url, got, status)
		}
	}
}

func (s *server) erase(t *testing.T, id, query string) (int, []string) {
	t.Helper()
	status, n := s.ask(t, officer, "POST", "Patient/"+id+"/$erase"+query, "")
	return status, lines(n)
}

// lines are the parameters of an answer, one text each.
func lines(n fhir.Node) (out []string) {
	for p := range n.Get("parameter").Elements() {
		line := p.Get("name").Text()
		for part := range p.Get("part").Elements() {
			switch part.Get("name").Text() {
			case "type", "reason":
				line += " " + part.Get("valueCode").Text()
			case "count":
				line += " " + string(part.Get("valueInteger").Raw())
			case "resource":
				line += " " + part.Path("valueReference", "reference").Text()
			}
		}
		out = append(out, line)
	}
	return out
}

func wants(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func observation(id, patient string) string {
	return fmt.Sprintf(`{"resourceType":"Observation","id":"%s","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/%s"},"performer":[{"reference":"Practitioner/d"}]}`, id, patient)
}

// chart is patient p, whose record has every kind of neighbour, and patient q.
func chart(t *testing.T, s *server) {
	s.put(t,
		`{"resourceType":"Patient","id":"p","active":false}`, `{"resourceType":"Patient","id":"p","active":true}`, `{"resourceType":"Practitioner","id":"d"}`,
		`{"resourceType":"Patient","id":"q","link":[{"other":{"reference":"Patient/p"},"type":"seealso"}]}`,
		observation("own", "p"), observation("others", "q"), observation("deleted", "p"), observation("moved", "p"), observation("moved", "q"), observation("came", "q"), observation("came", "p"),
		observation("own", "p"),
		`{"resourceType":"Binary","id":"scan","contentType":"text/plain","data":"eA=="}`, `{"resourceType":"Binary","id":"both","contentType":"text/plain","data":"eA=="}`,
		`{"resourceType":"DocumentReference","id":"doc","status":"current","subject":{"reference":"Patient/p"},"content":[{"attachment":{"url":"Binary/scan"}},{"attachment":{"url":"`+base+`/Binary/both"}}]}`,
		`{"resourceType":"DocumentReference","id":"doc2","status":"current","subject":{"reference":"Patient/q"},"content":[{"attachment":{"url":"Binary/both"}}]}`,
		`{"resourceType":"Group","id":"cohort","type":"person","actual":true,"member":[{"entity":{"reference":"Patient/p"}},{"entity":{"reference":"Patient/q"}}]}`,
		`{"resourceType":"Provenance","id":"about","recorded":"2020-01-01T00:00:00Z","target":[{"reference":"Observation/own/_history/1"}],"agent":[{"who":{"display":"x"}}]}`,
		`{"resourceType":"Provenance","id":"aboutboth","recorded":"2020-01-01T00:00:00Z","target":[{"reference":"Observation/own"},{"reference":"Observation/others"}],"agent":[{"who":{"display":"x"}}]}`,
		`{"resourceType":"Task","id":"todo","status":"requested","intent":"order","focus":{"reference":"Observation/own"}}`,
		`{"resourceType":"AuditEvent","id":"seen","type":{"code":"rest"},"recorded":"2020-01-01T00:00:00Z","agent":[{"requestor":true}],"source":{"observer":{"display":"x"}},"entity":[{"what":{"reference":"Patient/p"}}]}`,
	)
	s.delete(t, "Observation/deleted")
}

var chartGone = []string{"erased Binary 1", "erased DocumentReference 1", "erased Observation 3", "erased Patient 1", "erased Provenance 1"}

var chartLeft = []string{
	"left Binary/both shared", "left Group/cohort shared", "left Patient/q refers", "left Provenance/aboutboth refers", "left Task/todo refers", "left Observation/moved moved",
}

func TestEraseTakesThePatientAndLeavesOthers(t *testing.T) {
	s := open(t, "erase")
	chart(t, s)
	status, got := s.erase(t, "p", "?dry-run=true")
	want := slices.Concat([]string{"dry-run"}, chartGone, chartLeft, []string{"kept AuditEvent 1"})
	if wants(t, got, want...); status != 200 {
		t.Fatal(status)
	}
	s.is(t, 200, "Patient/p", "Observation/own", "Binary/scan")
	status, got = s.erase(t, "p", "?reason=letter%2017")
	if wants(t, got, append(want, "audit")...); status != 200 {
		t.Fatal(status)
	}
	for _, gone := range []string{"Patient/p", "Observation/own", "Observation/deleted", "Observation/came", "DocumentReference/doc", "Binary/scan", "Provenance/about"} {
		s.is(t, 404, gone, gone+"/_history", gone+"/_history/1", gone+"/_history/2")
	}
	s.is(t, 200, "Practitioner/d", "Observation/others", "Observation/moved", "Group/cohort", "Patient/q", "Binary/both", "Provenance/aboutboth", "Task/todo", "AuditEvent/seen", "DocumentReference/doc2")
	_, n := s.ask(t, officer, "GET", "AuditEvent?patient=Patient/p&_id:not=seen", "")
	told := n.Get("entry").First().Get("resource")
	if string(n.Get("total").Raw()) != "1" || told.Get("outcomeDesc").Text() != "erased for good, with all versions: 1 Binary, 1 DocumentReference, 3 Observation, 1 Patient, 1 Provenance" ||
		!strings.Contains(string(told.Raw()), "letter 17") || !strings.Contains(string(told.Raw()), "request-7") || told.Get("agent").First().Get("name").Text() != "officer" {
		t.Errorf("the record is %s", n.Raw())
	}
	if status, _ := s.erase(t, "p", ""); status != 404 {
		t.Errorf("again: %d", status)
	}
}

func TestEraseShared(t *testing.T) {
	s := open(t, "erase")
	chart(t, s)
	if status, _ := s.erase(t, "p", "?shared=erase"); status != 200 {
		t.Fatal(status)
	}
	s.is(t, 404, "Group/cohort", "Binary/both", "Observation/moved/_history/1")
	s.is(t, 200, "Patient/q", "Observation/others", "AuditEvent/seen")
	for _, query := range []string{"?shared=maybe", "?dry-run=", "?dry-run=yes", "?shared=", "?dry-run=true&dry-run=false", "?dryrun=true"} {
		if status, _ := s.erase(t, "q", query); status != 400 {
			t.Errorf("%s: got %d", query, status)
		}
	}
	s.is(t, 200, "Patient/q")
}

// What was attached once, or to the Patient itself, is the patient's as well.
func TestEraseTakesWhatWasAttachedOnce(t *testing.T) {
	s := open(t, "erase")
	file := func(id string) string {
		return `{"resourceType":"Binary","id":"` + id + `","contentType":"text/plain","data":"eA=="}`
	}
	document := func(id, patient, file string) string {
		return fmt.Sprintf(`{"resourceType":"DocumentReference","id":"%s","status":"current","subject":{"reference":"Patient/%s"},"content":[{"attachment":{"url":"Binary/%s"}}]}`, id, patient, file)
	}
	s.put(t, file("first"), file("second"), file("third"), file("photo"), file("oldphoto"), file("deleted"), file("given"), `{"resourceType":"Patient","id":"q"}`,
		`{"resourceType":"Patient","id":"p","photo":[{"url":"Binary/oldphoto"}]}`, `{"resourceType":"Patient","id":"p","photo":[{"url":"Binary/photo"}]}`,
		document("doc", "p", "first"), document("doc", "p", "second"), document("doc", "p", "third"),
		document("ended", "p", "deleted"), document("ended", "p", "third"), document("other", "p", "given"), document("other", "p", "third"), document("kept", "q", "given"),
	)
	s.delete(t, "DocumentReference/ended")
	status, got := s.erase(t, "p", "")
	if wants(t, got, "dry-run", "erased Binary 6", "erased DocumentReference 3", "erased Patient 1", "left Binary/given shared", "audit"); status != 200 {
		t.Fatal(status)
	}
	s.is(t, 404, "Binary/first", "Binary/second", "Binary/third", "Binary/photo", "Binary/oldphoto", "Binary/deleted")
	s.is(t, 200, "Binary/given")
}

func TestEraseOfTheDeletedAndTheAbsent(t *testing.T) {
	s := open(t, "erase")
	s.put(t, `{"resourceType":"Patient","id":"p"}`, observation("o", "p"), observation("orphan", "never"))
	s.delete(t, "Observation/o")
	s.delete(t, "Patient/p")
	if _, got := s.erase(t, "p", ""); !slices.Contains(got, "erased Patient 1") || !slices.Contains(got, "erased Observation 1") {
		t.Errorf("got %v", got)
	}
	s.is(t, 404, "Patient/p", "Observation/o", "Observation/o/_history/1")
	if status, _ := s.erase(t, "none", ""); status != 404 {
		t.Errorf("got %d", status)
	}
	if _, got := s.erase(t, "never", ""); !slices.Contains(got, "erased Observation 1") {
		t.Errorf("what names a patient that is not there: %v", got)
	}
	s.put(t, `{"resourceType":"Patient","id":"p"}`)
	s.is(t, 200, "Patient/p/_history/1")
	s.is(t, 404, "Patient/p/_history/2")
}

// Called again, an erasure that broke off finishes; each commit has its record.
func TestEraseInParts(t *testing.T) {
	s := open(t, "erase")
	all := []string{`{"resourceType":"Patient","id":"p"}`}
	for i := range 40 {
		all = append(all, observation(fmt.Sprint("o", i), "p"))
	}
	s.put(t, all...)
	commits := 0
	s.store.before = func(ops []store.Op) error {
		if len(ops) > 12 {
			return store.ErrTooLarge
		}
		if commits++; commits == 3 {
			return store.ErrUnavailable
		}
		return nil
	}
	if status, _ := s.erase(t, "p", ""); status != 503 {
		t.Fatalf("the third commit fails: %d", status)
	}
	s.is(t, 200, "Patient/p")
	status, got := s.erase(t, "p", "")
	s.store.before = nil
	if status != 200 || !slices.Contains(got, "erased Patient 1") || slices.Contains(got, "erased Observation 40") {
		t.Fatalf("%d %v", status, got)
	}
	s.is(t, 404, "Patient/p")
	_, n := s.ask(t, officer, "GET", "AuditEvent?patient=Patient/p&_count=100", "")
	erased := 0
	for e := range n.Get("entry").Elements() {
		for d := range e.Path("resource", "entity").First().Get("detail").Elements() {
			var some int
			if _, err := fmt.Sscan(d.Get("valueString").Text(), &some); err != nil {
				t.Fatal(err)
			}
			erased += some
		}
	}
	if erased != 41 {
		t.Errorf("the records tell of %d resources, want 41", erased)
	}
}

// What changes between look and commit is looked at again, not erased unseen.
func TestEraseLooksAgain(t *testing.T) {
	s := open(t, "erase")
	s.put(t, `{"resourceType":"Patient","id":"p"}`, `{"resourceType":"Patient","id":"q"}`, observation("o", "p"), observation("late", "q"))
	raced := false
	s.store.before = func([]store.Op) error {
		if !raced {
			raced = true
			s.put(t, observation("o", "q"))
		}
		return nil
	}
	status, got := s.erase(t, "p", "")
	if status != 200 || slices.Contains(got, "erased Observation 1") || !slices.Contains(got, "left Observation/o moved") {
		t.Errorf("%d %v", status, got)
	}
	s.is(t, 200, "Observation/o")
	s.is(t, 404, "Patient/p")
}

func TestEraseNeedsEverything(t *testing.T) {
	s := open(t, "erase")
	s.put(t, `{"resourceType":"Patient","id":"p"}`)
	own := fhir.Reference{Type: "Patient", ID: "p"}
	for name, c := range map[string]fhir.Caller{
		"nobody": {}, "no delete": {Access: fhir.Access{{Type: "*", Letters: "crus"}}}, "one type": {Access: fhir.Access{{Type: "Patient", Letters: "cruds"}}},
		"compartment": {Access: fhir.Access{{Type: "*", Letters: "cruds", Compartment: own}}}, "filter": {Access: fhir.Access{{Type: "*", Letters: "cruds", Filter: "_id=p"}}},
		"withheld": {Access: fhir.Full(), Deny: fhir.Access{{Type: "Observation"}}},
	} {
		for _, query := range []string{"", "?dry-run=true"} {
			if status, _ := s.ask(t, c, "POST", "Patient/p/$erase"+query, ""); status != 403 {
				t.Errorf("%s%s: %d", name, query, status)
			}
		}
	}
	if status, n := s.ask(t, officer, "GET", "Patient/p/$erase", ""); status != 405 {
		t.Errorf("%d %s", status, n.Raw())
	}
	s.is(t, 200, "Patient/p")
	if status, _ := s.ask(t, fhir.Caller{Access: fhir.Access{{Type: "*", Letters: "d"}}}, "POST", "Patient/p/$erase", ""); status != 200 {
		t.Errorf("who may delete all: %d", status)
	}
	off := open(t)
	off.put(t, `{"resourceType":"Patient","id":"p"}`)
	if status, _ := off.erase(t, "p", ""); status != 404 {
		t.Errorf("where it is not allowed: %d", status)
	}
}
