package account_test

import (
	"context"
	"encoding/base32"
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"candela/fhir"
	"candela/smart/account"
	"candela/smart/scope"
	"candela/store"
	"candela/store/embedded"
	"candela/store/mongo"
	"candela/store/mongo/mongotest"
)

func TestMain(m *testing.M) { mongotest.Main(m) }

var background = context.Background()

const good = "Regen-faellt-41-mal"

// words are a server that has all types.
type words struct{}

func (words) HasType(typ string) bool       { return typ != "Foo" }
func (words) HasParam(_, param string) bool { return param == "category" || param == "_id" }
func member(typ string) bool {
	return slices.Contains([]string{"Patient", "Observation", "Basic"}, typ)
}
func shared(typ string) bool { return typ == "Organization" }
func types() []string {
	return []string{"Basic", "Observation", "Organization", "Patient", "Subscription"}
}
func tables() scope.Context                 { return scope.Context{Types: types(), Member: member, Shared: shared} }
func practitioner(name string) account.User { return staff(name, account.Practitioner) }
func staff(name, role string) account.User {
	return account.User{Name: name, Display: "Dr. Ada Lang", Role: role}
}
func patient(name, id string) account.User {
	return account.User{Name: name, Role: account.Patient, FHIRUser: fhir.Reference{Type: "Patient", ID: id}}
}

type clock struct{ at atomic.Int64 }

func (c *clock) Now() time.Time      { return time.Unix(0, c.at.Load()) }
func (c *clock) Add(d time.Duration) { c.at.Add(int64(d)) }

// faulty is a KV that can be made to fail.
type faulty struct {
	store.Store
	fail atomic.Bool
}

func (f *faulty) KVGet(ctx context.Context, bucket, key string) ([]byte, error) {
	if f.fail.Load() {
		return nil, store.ErrUnavailable
	}
	return f.Store.KVGet(ctx, bucket, key)
}

func (f *faulty) KVTake(ctx context.Context, bucket, key string) ([]byte, error) {
	if f.fail.Load() {
		return nil, store.ErrUnavailable
	}
	return f.Store.KVTake(ctx, bucket, key)
}

// house is Accounts with a clock, over a store; events is what was audited,
// ended whose tokens were ended.
type house struct {
	t testing.TB
	*account.Accounts
	kv    *faulty
	clock *clock

	mu     sync.Mutex
	events []account.Event
	ended  []string
	refuse error // what the audit says
}

func open(t testing.TB, kv func(*clock) store.Store, change ...func(*account.Config)) *house {
	t.Helper()
	h := &house{t: t, clock: new(clock)}
	h.clock.at.Store(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC).UnixNano())
	h.kv = &faulty{Store: kv(h.clock)}
	t.Cleanup(func() { h.kv.Close() })
	h.Accounts = h.again(change...)
	return h
}

// again is another process over the same store.
func (h *house) again(change ...func(*account.Config)) *account.Accounts {
	h.t.Helper()
	c := account.Config{KV: h.kv, Secret: []byte(strings.Repeat("s", 32)), Scopes: scope.New(words{}), Now: h.clock.Now,
		Base: "https://candela.example/fhir", Hash: account.Hash{Memory: 64, Passes: 1, Threads: 1}, Audit: h.audit, Ended: h.end}
	for _, f := range change {
		f(&c)
	}
	a, err := account.Open(c)
	if err != nil {
		h.t.Fatal(err)
	}
	return a
}

func (h *house) audit(_ context.Context, e account.Event) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
	return h.refuse
}

func (h *house) end(_ context.Context, user string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = append(h.ended, user)
	return nil
}

// told counts the events of a kind.
func (h *house) told(what string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		if e.What == what {
			n++
		}
	}
	return n
}

func inFolder(t testing.TB) func(*clock) store.Store {
	return func(c *clock) store.Store {
		s, err := embedded.Open(t.TempDir(), embedded.Options{Now: c.Now, Relaxed: true})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

func newHouse(t testing.TB, change ...func(*account.Config)) *house {
	t.Helper()
	return open(t, inFolder(t), change...)
}

// both runs a test over each store.
func both(t *testing.T, test func(t *testing.T, h *house)) {
	t.Run("embedded", func(t *testing.T) { test(t, newHouse(t)) })
	t.Run("mongo", func(t *testing.T) {
		test(t, open(t, func(c *clock) store.Store {
			s, err := mongo.Open(background, mongotest.URI(t), mongo.Options{Now: c.Now})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}))
	})
}

// add stores a user with the good password.
func (h *house) add(u account.User) account.User {
	h.t.Helper()
	u, err := h.Put(background, u)
	if err == nil {
		err = h.SetPassword(background, u.Name, good)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	if u, err = h.Get(background, u.Name); err != nil {
		h.t.Fatal(err)
	}
	return u
}

// enrol gives a user a second factor; the answer makes codes.
func (h *house) enrol(name string) (code func() string, recovery []string) {
	h.t.Helper()
	e, err := h.Enrol(background, name)
	if err != nil {
		h.t.Fatal(err)
	}
	code = func() string { return app(h.t, e, h.clock.Now()) }
	if recovery, err = h.Confirm(background, name, code()); err != nil {
		h.t.Fatal(err)
	}
	h.clock.Add(time.Minute)
	return code, recovery
}

// app is an authenticator app, made from the RFC and not from our code.
func app(t testing.TB, e account.Enrolment, at time.Time) string {
	t.Helper()
	u, err := url.Parse(e.URI)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := base32.StdEncoding.DecodeString(u.Query().Get("secret"))
	if err != nil {
		t.Fatal(err)
	}
	return rfc6238(secret, at.Unix()/30)
}

func (h *house) signIn(name, password, code string) (account.Signed, error) {
	return h.SignIn(background, account.Login{Name: name, Password: password, Code: code})
}

func (h *house) start(name string) (string, account.Session) {
	h.t.Helper()
	signed, err := h.signIn(name, good, "")
	if err != nil {
		h.t.Fatal(err)
	}
	cookie, s, err := h.Start(background, signed, "192.0.2.1")
	if err != nil {
		h.t.Fatal(err)
	}
	return cookie, s
}

// refused says that err is *account.Error of that code.
func refused(t testing.TB, err error, code string) *account.Error {
	t.Helper()
	var e *account.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("%v, want %s", err, code)
	}
	return e
}

// dump is all that lies in the buckets of the room.
func (h *house) dump() string {
	h.t.Helper()
	var out strings.Builder
	for _, bucket := range []string{"smart.user", "smart.subject", "smart.session", "smart.attempt", "smart.known", "smart.link", "smart.login"} {
		for key, err := range h.kv.KVList(background, bucket, "") {
			if err != nil {
				h.t.Fatal(err)
			}
			value, err := h.kv.KVGet(background, bucket, key)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				h.t.Fatal(err)
			}
			out.WriteString(bucket + "/" + key + "=" + string(value) + "\n")
		}
	}
	return out.String()
}

// race runs f so many times at once and counts how often it had no error.
func race(n int, f func(i int) error) (done int, errs []error) {
	var group sync.WaitGroup
	all := make([]error, n)
	for i := range n {
		group.Go(func() { all[i] = f(i) })
	}
	group.Wait()
	for _, err := range all {
		if err == nil {
			done++
		} else {
			errs = append(errs, err)
		}
	}
	return done, errs
}
