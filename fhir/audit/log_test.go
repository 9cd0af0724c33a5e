package audit_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"candela/fhir"
	"candela/fhir/audit"
	"candela/fhir/r4"
	"candela/fhir/search"
	"candela/fhir/validate"
	"candela/store"
	"candela/store/embedded"
)

const base = "http://us/fhir"

var secret = []byte("a secret of thirty-two octets, ok")

// world is a log over a store whose audit can fail, around a Doer that answers
// what it is told.
type world struct {
	*audit.Log
	store *hindered
	doer  fhir.Doer
	spec  *r4.Spec
	told  strings.Builder // what was logged
}

type hindered struct {
	store.Store
	down bool
}

func (h *hindered) KVSwap(ctx context.Context, bucket, key string, old, new []byte, ttl time.Duration) error {
	if h.down {
		return store.ErrFull
	}
	return h.Store.KVSwap(ctx, bucket, key, old, new, ttl)
}

func open(t testing.TB, answer func(r fhir.Request) (fhir.Response, error)) *world {
	t.Helper()
	s, err := embedded.Open(t.TempDir(), embedded.Options{Now: time.Now, Logger: slog.New(slog.DiscardHandler), Relaxed: true})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{store: &hindered{Store: s}}
	t.Cleanup(func() {
		if err := errors.Join(w.Close(context.Background()), s.Close()); err != nil {
			t.Error(err)
		}
	})
	if w.spec, err = r4.Load(); err != nil {
		t.Fatal(err)
	}
	registry, err := search.New(w.spec, base)
	if err != nil {
		t.Fatal(err)
	}
	w.Log, err = audit.Open(t.Context(), audit.Config{Store: w.store, Entries: registry.Entries, Secret: secret, Base: base, Now: time.Now, Log: slog.New(slog.NewTextHandler(&w.told, nil))})
	if err != nil {
		t.Fatal(err)
	}
	w.doer = w.Around(fhir.DoerFunc(func(_ context.Context, r fhir.Request) (fhir.Response, error) { return answer(r) }))
	return w
}

// events are all AuditEvents, by the order in which they were put on record.
func (w *world) events(t testing.TB) (out []fhir.Resource) {
	t.Helper()
	if err := w.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	page, err := w.store.Find(t.Context(), store.Query{Types: []string{"AuditEvent"}, Count: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range page.Versions {
		out = append(out, fhir.Stored(v.Raw))
	}
	return out
}

func (w *world) valid(t *testing.T, events ...fhir.Resource) {
	t.Helper()
	check := validate.New(w.spec)
	for _, e := range events {
		for _, issue := range check.Check(e, false) {
			t.Errorf("%s %s in %.300s", issue.Expression, issue.Diagnostics, e.Raw())
		}
	}
}

func (w *world) verdict(t testing.TB, s audit.Reader) audit.Verdict {
	t.Helper()
	v, err := audit.Verify(context.Background(), s, audit.Evidence{Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

const phi = "Canary-88f1"

func resource(t testing.TB, raw string) fhir.Resource {
	t.Helper()
	r, err := fhir.ParseResource([]byte(raw), fhir.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var caller = fhir.Caller{Name: "dr \x1b[31m" + strings.Repeat("x", 300) + "\r\n${jndi:ldap://x}", Client: "app", User: fhir.Reference{Type: "Practitioner", ID: "d"}, Token: "jti-1", Address: "10.0.0.1", Purpose: []string{"TREAT"}}

func TestR37_T87_T88_PatternsOfEveryInteraction(t *testing.T) {
	w := open(t, func(r fhir.Request) (fhir.Response, error) {
		if r.ID == "bad" {
			return fhir.Response{}, fhir.Errorf(404, fhir.CodeNotFound, "there is no such %s", phi)
		}
		if r.ID == "worse" {
			return fhir.Response{}, errors.New("broken " + phi)
		}
		return fhir.Response{Status: 200, Body: []byte(`{"resourceType":"Bundle","entry":[{"fullUrl":"` + base + `/Patient/q"},{"resource":{"subject":{"reference":"Patient/p"}}}]}`)}, nil
	})
	for what, want := range map[fhir.Interaction]string{
		fhir.Create: "C 110153 110152", fhir.Update: "U 110153 110152", fhir.Patch: "U 110153 110152", fhir.SearchType: "E 110153 110152", fhir.SearchSystem: "E 110153 110152",
		fhir.Read: "R 110152 110153", fhir.VRead: "R 110152 110153", fhir.HistoryInstance: "R 110152 110153", fhir.HistoryType: "R 110152 110153", fhir.Delete: "D 110150 custodian", fhir.Operation: "E 110153 110152",
	} {
		before := len(w.events(t))
		r := fhir.Request{Interaction: what, Type: "Observation", ID: "o", RequestID: "r-1", Caller: caller, Query: fhir.Params{{Name: "code", Value: phi}}}
		if _, err := w.doer.Do(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		events := w.events(t)[before:]
		w.valid(t, events...)
		if len(events) != 2 {
			t.Fatalf("%s: %d events for two patients", what, len(events))
		}
		e := events[0].Root()
		agents := slices.Collect(e.Get("agent").Elements())
		if got := e.Get("action").Text() + " " + agents[0].Path("type", "coding", "code").Text() + " " + agents[1].Path("type", "coding", "code").Text(); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
		user := agents[2]
		if user.Path("policy").First().Text() != "urn:ietf:params:oauth:jti:jti-1" || user.Path("who", "reference").Text() != "Practitioner/d" || len(user.Get("name").Text()) > 128 || agents[0].Path("network", "address").Text() != "10.0.0.1" {
			t.Errorf("%s: %s", what, e.Get("agent").Raw())
		}
		if raw := string(events[0].Raw()); strings.Contains(raw, phi) || !strings.Contains(raw, base64.StdEncoding.EncodeToString([]byte("Observation/o?code="+phi))) && what != fhir.SearchType && !strings.Contains(raw, `"query"`) {
			t.Errorf("%s: %s", what, raw)
		}
	}
	for id, outcome := range map[string]string{"bad": "4", "worse": "8"} {
		before := len(w.events(t))
		_, _ = w.doer.Do(t.Context(), fhir.Request{Interaction: fhir.Read, Type: "Observation", ID: id, Caller: caller}) // the error is what it is about
		events := w.events(t)[before:]
		w.valid(t, events...)
		if len(events) != 1 || events[0].Root().Get("outcome").Text() != outcome || !events[0].Root().Get("contained").Exists() || strings.Contains(string(events[0].Raw()), phi) {
			t.Errorf("%s: %s", id, events[0].Raw())
		}
	}
	if strings.Contains(w.told.String(), phi) {
		t.Error("the log tells what is on record")
	}
}

func TestEventsAreValid(t *testing.T) {
	w := open(t, nil)
	for _, kind := range []fhir.EventKind{fhir.Login, fhir.Logout, fhir.TokenIssued, fhir.TokenRevoked, fhir.ConsentPermit, fhir.ConsentDeny, fhir.BreakGlass, fhir.Disclosed} {
		for _, status := range []int{0, 403, 503} {
			e := fhir.Event{Kind: kind, Caller: caller, Patient: fhir.Reference{Type: "Patient", ID: "p"}, About: fhir.Reference{Type: "Consent", ID: "c"}, Status: status, Reason: "because", RequestID: "r"}
			if kind == fhir.Disclosed {
				e.Recipient = "A registry"
			}
			if err := w.Record(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
	}
	events := w.events(t)
	if len(events) != 24 {
		t.Fatal(len(events))
	}
	w.valid(t, events...)
}

// TestR38_T93_NoAuditNoAnswer: where the journal cannot be written, nothing goes out.
func TestR38_T93_NoAuditNoAnswer(t *testing.T) {
	w := open(t, func(fhir.Request) (fhir.Response, error) {
		return fhir.Response{Status: 200, Body: []byte(`{"family":"` + phi + `"}`)}, nil
	})
	r := fhir.Request{Interaction: fhir.Read, Type: "Patient", ID: "p", Caller: caller}
	w.store.down = true
	for range 3 {
		answer, err := w.doer.Do(t.Context(), r)
		var refusal *fhir.Error
		if !errors.As(err, &refusal) || refusal.Status != 503 || answer.Status != 0 || len(answer.Body) > 0 || strings.Contains(refusal.Error(), phi) {
			t.Fatalf("%+v %v", answer, err)
		}
	}
	if w.Healthy() == nil || w.Record(t.Context(), fhir.Event{Kind: fhir.Login}) == nil {
		t.Error("it says that all is well")
	}
	w.store.down = false
	if answer, err := w.doer.Do(t.Context(), r); err != nil || answer.Status != 200 || w.Healthy() != nil {
		t.Errorf("%+v %v", answer, err)
	}
	if n := len(w.events(t)); n != 1 {
		t.Errorf("%d events", n)
	}
}

// altered is a store in which some AuditEvents are others, gone, or too many.
type altered struct {
	store.Store
	instead map[string]string // id -> body, "" for gone
}

func (a altered) Get(ctx context.Context, k store.Key) (store.Version, error) {
	v, err := a.Store.Get(ctx, k)
	if body, ok := a.instead[k.ID]; ok && body == "" {
		return store.Version{}, store.ErrNotFound
	} else if ok {
		v.Key, v.Number, v.Raw, err = k, 1, []byte(body), nil
	}
	return v, err
}

func (a altered) Find(ctx context.Context, q store.Query) (store.Page, error) {
	page, err := a.Store.Find(ctx, q)
	for id, body := range a.instead {
		there := slices.IndexFunc(page.Versions, func(v store.Version) bool { return v.Key.ID == id })
		if body != "" && there < 0 {
			page.Versions = append(page.Versions, store.Version{Key: store.Key{Type: "AuditEvent", ID: id}, Number: 1})
		}
	}
	return page, err
}

// TestT92_T94_AlteredAuditEvents: AuditEvents that were edited, dropped, swapped or
// added behind the server's back are named, every one.
func TestT92_T94_AlteredAuditEvents(t *testing.T) {
	w := open(t, func(r fhir.Request) (fhir.Response, error) {
		return fhir.Response{Status: 200, Resource: fhir.Stored([]byte(`{"resourceType":"Observation","subject":{"reference":"Patient/` + r.ID + `"}}`))}, nil
	})
	for i := range 10 {
		if _, err := w.doer.Do(t.Context(), fhir.Request{Interaction: fhir.Read, Type: "Observation", ID: fmt.Sprint("p", i), Caller: caller}); err != nil {
			t.Fatal(err)
		}
	}
	own := resource(t, `{"resourceType":"AuditEvent","id":"posted","type":{"code":"rest"}}`)
	key := store.Key{Type: "AuditEvent", ID: "posted"}
	if _, err := w.Witness().Commit(t.Context(), store.Op{Action: store.Create, Key: key, Raw: own.Raw()}); err != nil {
		t.Fatal(err)
	}
	bodies := map[string]string{}
	var ids []string
	for _, e := range w.events(t) {
		ids = append(ids, e.ID())
		bodies[e.ID()] = string(e.Raw())
	}
	if v := w.verdict(t, w.store); !v.Good() || v.Events != 11 || len(ids) != 11 {
		t.Fatalf("%+v", v)
	}
	dice := rand.New(rand.NewPCG(92, 1))
	for trial := range 10_000 {
		id, other := ids[dice.IntN(len(ids))], ids[dice.IntN(len(ids))]
		a := altered{w.store, map[string]string{}}
		switch kind := dice.IntN(4); {
		case kind == 0:
			raw := []byte(bodies[id])
			raw[dice.IntN(len(raw))] ^= byte(1 + dice.IntN(255))
			a.instead[id] = string(raw)
		case kind == 1 && id != other:
			a.instead[id], a.instead[other] = bodies[other], bodies[id]
		case kind == 2:
			id = fmt.Sprintf("%s-%d", id, dice.IntN(9))
			a.instead[id] = bodies[other]
		default:
			a.instead[id] = ""
		}
		if v := w.verdict(t, a); !slices.ContainsFunc(v.Wrong, func(s string) bool { return strings.HasPrefix(s, "AuditEvent/"+id+" ") }) {
			t.Fatalf("trial %d: %q is not named: %v", trial, a.instead, v.Wrong)
		}
	}
}

// TestT94_NoWayToChange: neither updates nor deletes come through to the store.
func TestT94_NoWayToChange(t *testing.T) {
	w := open(t, func(fhir.Request) (fhir.Response, error) { return fhir.Response{Status: 200}, nil })
	for _, what := range []fhir.Interaction{fhir.Update, fhir.Patch, fhir.Delete} {
		_, err := w.doer.Do(t.Context(), fhir.Request{Interaction: what, Type: "AuditEvent", ID: "x", Caller: fhir.Caller{Access: fhir.Full()}})
		var refusal *fhir.Error
		if !errors.As(err, &refusal) || refusal.Status != 405 {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, action := range []store.Action{store.Put, store.Delete, store.Erase} {
		_, err := w.Witness().Commit(t.Context(), store.Op{Action: store.Put, Key: store.Key{Type: "Basic", ID: "x"}, Raw: []byte(`{}`)}, store.Op{Action: action, Key: store.Key{Type: "AuditEvent", ID: "x"}, Raw: []byte(`{}`)})
		var at *store.OpError
		if !errors.As(err, &at) || at.Index != 1 {
			t.Errorf("%d: %v", action, err)
		}
	}
}

// What is there before the audit is switched on is sealed as it is.
func TestOlderAuditEvents(t *testing.T) {
	s, err := embedded.Open(t.TempDir(), embedded.Options{Now: time.Now, Logger: slog.New(slog.DiscardHandler), Relaxed: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	put := func(id string) {
		if _, err := s.Commit(t.Context(), store.Op{Action: store.Create, Key: store.Key{Type: "AuditEvent", ID: id}, Raw: []byte(`{"resourceType":"AuditEvent","id":"` + id + `"}`)}); err != nil {
			t.Fatal(err)
		}
	}
	put("old")
	for range 2 {
		l, err := audit.Open(t.Context(), audit.Config{Store: s, Secret: secret, Base: base, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		v, err := audit.Verify(t.Context(), s, audit.Evidence{Secret: secret})
		if err != nil {
			t.Fatal(err)
		}
		if !v.Good() || v.Events != 1 {
			t.Errorf("%+v", v)
		}
	}
	put("behind")
	v, err := audit.Verify(t.Context(), s, audit.Evidence{Secret: secret})
	if err != nil || len(v.Wrong) != 1 || !strings.HasPrefix(v.Wrong[0], "AuditEvent/behind ") {
		t.Errorf("%+v %v", v, err)
	}
}

// Made again, by two at a time and after a cut, each AuditEvent is there once.
func TestMadeOnce(t *testing.T) {
	w := open(t, func(fhir.Request) (fhir.Response, error) { return fhir.Response{Status: 200}, nil })
	for i := range 700 {
		if _, err := w.doer.Do(t.Context(), fhir.Request{Interaction: fhir.Read, Type: "Basic", ID: fmt.Sprint(i), Caller: caller}); err != nil {
			t.Fatal(err)
		}
	}
	second, err := audit.Open(t.Context(), w.Config)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for _, l := range []*audit.Log{w.Log, second, w.Log, second} {
		group.Go(func() {
			if err := l.CatchUp(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for chain := range w.store.KVList(t.Context(), "audit.made", "") {
		if err := w.store.KVDelete(t.Context(), "audit.made", chain); err != nil {
			t.Fatal(err)
		}
	}
	third, err := audit.Open(t.Context(), w.Config)
	if err != nil {
		t.Fatal(err)
	}
	if err := third.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v := w.verdict(t, w.store); !v.Good() || v.Events != 700 || v.Pending != 0 {
		t.Errorf("%+v", v)
	}
}
