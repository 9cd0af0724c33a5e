package interaction_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"candela/fhir"
	"candela/fhir/interaction"
	"candela/fhir/r4"
	"candela/fhir/search"
	"candela/store"
)

// faulty is a store that fails where it is told to.
type faulty struct {
	store.Store
	fail error
}

func (f *faulty) Get(ctx context.Context, k store.Key) (store.Version, error) {
	if f.fail != nil {
		return store.Version{}, f.fail
	}
	return f.Store.Get(ctx, k)
}

func (f *faulty) Find(ctx context.Context, q store.Query) (store.Page, error) {
	if f.fail != nil {
		return store.Page{}, f.fail
	}
	return f.Store.Find(ctx, q)
}

func (f *faulty) Commit(ctx context.Context, ops ...store.Op) ([]store.Result, error) {
	if f.fail != nil {
		return nil, f.fail
	}
	return f.Store.Commit(ctx, ops...)
}

// send is one HTTP request; it gives the status, the headers and the body.
func (s *server) send(t testing.TB, method, path, body string) (int, http.Header, string) {
	t.Helper()
	r, err := http.NewRequest(method, s.base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/fhir+json")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(text)
}

const secret = "MRN-SECRET-123"

func TestStoreFaultsAreClearAndTellNothing(t *testing.T) {
	broken := &faulty{Store: openStore(t, time.Now)}
	s := open(t, broken, time.Now)
	for _, c := range []struct {
		fail   error
		status int
		code   string
	}{
		{store.ErrUnavailable, 503, "transient"}, {store.ErrFull, 507, "no-store"}, {store.ErrConflict, 409, "conflict"}, {store.ErrPrecondition, 412, "conflict"},
		{store.ErrTooCostly, 400, "too-costly"}, {store.ErrTooLarge, 413, "too-long"}, {store.ErrCorrupt, 500, "exception"}, {store.ErrQuery, 400, "invalid"},
		{context.DeadlineExceeded, 503, "timeout"}, {errors.New("boom"), 500, "exception"},
	} {
		broken.fail = fmt.Errorf("%s at /var/lib/x: %w", secret, c.fail)
		for _, ask := range []struct{ method, path, body string }{
			{"GET", "/Patient/1", ""}, {"GET", "/Patient?name=a", ""}, {"POST", "/Patient", `{"resourceType":"Patient"}`},
			{"POST", "", `{"resourceType":"Bundle","type":"transaction","entry":[{"resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Patient"}}]}`},
		} {
			status, header, body := s.send(t, ask.method, ask.path, ask.body)
			if status != c.status || !strings.Contains(body, `"code":"`+c.code+`"`) || strings.Contains(body, secret) || strings.Contains(body, "/var") {
				t.Errorf("%v: %s %s gave %d %s, want %d %s", c.fail, ask.method, ask.path, status, body, c.status, c.code)
			}
			if status == 503 && header.Get("Retry-After") == "" {
				t.Errorf("%v: 503 without Retry-After", c.fail)
			}
		}
	}
	if line, _ := s.log.text.Load().(string); !strings.Contains(line, "boom") {
		t.Errorf("the operator is not told: %q", line)
	}
	broken.fail = nil
	if status, _, body := s.send(t, "GET", "/Patient/_history", ""); status != 200 || !strings.Contains(body, `"total":0`) {
		t.Errorf("something was stored: %d %s", status, body)
	}
}

func TestClosedStoreIs503(t *testing.T) {
	inner := openStore(t, time.Now)
	s := open(t, inner, time.Now)
	if err := inner.Close(); err != nil {
		t.Fatal(err)
	}
	if status, _, body := s.send(t, "GET", "/Patient/1", ""); status != 503 {
		t.Errorf("got %d %s", status, body)
	}
	if status, _, body := s.send(t, "PUT", "/Patient/1", `{"resourceType":"Patient","id":"1"}`); status != 503 {
		t.Errorf("got %d %s", status, body)
	}
}

// lost is a store where another write always comes first.
type lost struct {
	store.Store
	commits int
}

func (l *lost) Commit(context.Context, ...store.Op) ([]store.Result, error) {
	l.commits++
	return nil, &store.OpError{Index: 0, Err: store.ErrPrecondition}
}

// Who sent no precondition is not told that it does not hold, and 412 would
// say that the criteria match many: a race lost for good is a conflict.
func TestLostRacesOfCriteriaAreConflicts(t *testing.T) {
	inner := &lost{Store: openStore(t, time.Now)}
	s := open(t, inner, time.Now)
	const found = `{"resourceType":"Patient","identifier":[{"system":"s","value":"v"}]}`
	ask := fhir.Request{Type: "Patient", Resource: resource(t, found)}
	for name, c := range map[string]struct {
		change func(*fhir.Request)
		status int
	}{
		"conditional update": {func(r *fhir.Request) {
			r.Interaction, r.Query = fhir.Update, fhir.Params{{Name: "identifier", Value: "s|v"}}
		}, 409},
		"conditional create": {func(r *fhir.Request) { r.Interaction, r.IfNoneExist = fhir.Create, "identifier=s|v" }, 409},
		"transaction": {func(r *fhir.Request) {
			r.Interaction, r.Type = fhir.Batch, ""
			r.Resource = resource(t, bundle("transaction", 1, func(int) string {
				return `{"resource":` + found + `,"request":{"method":"PUT","url":"Patient?identifier=s|v"}}`
			}))
		}, 409},
		"update with If-Match": {func(r *fhir.Request) {
			r.Interaction, r.ID, r.IfMatch = fhir.Update, "a", `W/"1"`
			r.Resource = resource(t, `{"resourceType":"Patient","id":"a"}`)
		}, 412},
	} {
		r := ask
		c.change(&r)
		inner.commits = 0
		_, err := s.do(r)
		var refusal *fhir.Error
		if !errors.As(err, &refusal) || refusal.Status != c.status || (inner.commits > 1) != (c.status == 409) {
			t.Errorf("%s: %v after %d commits, want %d", name, err, inner.commits, c.status)
		}
	}
}

// exploding is a defect of ours in the check of one resource.
type exploding struct{}

func (exploding) Check(res fhir.Resource, _ bool) []fhir.Issue {
	var none *fhir.Issue
	if res.Root().Get("active").Exists() {
		return []fhir.Issue{*none}
	}
	return nil
}

// A defect met in one entry must not take the process down with everybody's
// requests: bundles are worked on in goroutines, where nobody else recovers.
func TestADefectInABundleIs500(t *testing.T) {
	spec, err := r4.Load()
	if err != nil {
		t.Fatal(err)
	}
	registry, err := search.New(spec, "http://x/fhir")
	if err != nil {
		t.Fatal(err)
	}
	log := &logged{}
	engine, err := interaction.New(interaction.Config{Store: openStore(t, time.Now), Search: registry, Structure: exploding{}, Elements: spec,
		Types: spec.Resources(), NewID: newIDs(), Now: time.Now, Log: slog.New(log)})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(kind string) (fhir.Response, error) {
		return engine.Do(context.Background(), fhir.Request{Interaction: fhir.Batch, Caller: fhir.Caller{Access: fhir.Full()},
			Resource: resource(t, bundle(kind, 2, func(i int) string { return put(fmt.Sprint(kind, i), [2]string{"", `,"active":true`}[i]) }))})
	}
	var refusal *fhir.Error
	if _, err := ask("transaction"); !errors.As(err, &refusal) || refusal.Status != 500 {
		t.Errorf("transaction: %v, want 500", err)
	}
	answer, err := ask("batch")
	if body := string(answer.Body); err != nil || !strings.Contains(body, `"500 `) || !strings.Contains(body, `"201 `) {
		t.Errorf("batch: %v %s", err, body)
	}
	if line, _ := log.text.Load().(string); !strings.Contains(line, "exploding") {
		t.Errorf("the log does not say where: %q", line)
	}
}
