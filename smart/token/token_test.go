package token_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"candela/fhir"
	"candela/smart/scope"
	"candela/smart/token"
	"candela/store"
	"candela/store/mongo/mongotest"
)

func TestMain(m *testing.M) { mongotest.Main(m) }

const (
	base     = "https://candela.example/fhir"
	issuer   = "https://candela.example"
	redirect = "https://app.example/back"
	verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // RFC 7636, appendix B
	allScope = "openid fhirUser launch/patient offline_access patient/Patient.rs patient/Observation.rs"
)

var (
	app   = token.Client{ID: "app"}
	thief = token.Client{ID: "thief"}
)

// challenge is S256 of a verifier.
func challenge(v string) string {
	hash := sha256.Sum256([]byte(v))
	return base64.RawURLEncoding.EncodeToString(hash[:])
}

type words struct{}

func (words) HasType(typ string) bool {
	return slices.Contains([]string{"Patient", "Observation", "Condition"}, typ)
}
func (words) HasParam(_, code string) bool { return code == "category" }

// clock is a clock that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }

func (c *clock) Add(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.now = c.now.Add(d) }

// memory is a store.KV; fail, when set, is what every call answers.
type memory struct {
	mu    sync.Mutex
	clock *clock
	held  map[string]value
	fail  error
	// lost, when set, is what the next swaps answer although they write.
	lost error
	// refuse, when set, is what swaps answer and do not write.
	refuse error
	// eternal keeps what has expired.
	eternal bool
}

type value struct {
	data []byte
	end  time.Time
}

func newMemory(c *clock) *memory { return &memory{clock: c, held: map[string]value{}} }

func (m *memory) at(bucket, key string) ([]byte, bool) {
	v, ok := m.held[bucket+"\x00"+key]
	return v.data, ok && (m.eternal || v.end.IsZero() || m.clock.Now().Before(v.end))
}

func (m *memory) set(bucket, key string, data []byte, ttl time.Duration) {
	v := value{data: slices.Clone(data)}
	if ttl > 0 {
		v.end = m.clock.Now().Add(ttl)
	}
	m.held[bucket+"\x00"+key] = v
}

func (m *memory) lock() error { m.mu.Lock(); return m.fail }

func (m *memory) KVGet(_ context.Context, bucket, key string) ([]byte, error) {
	err := m.lock()
	defer m.mu.Unlock()
	data, ok := m.at(bucket, key)
	if err == nil && !ok {
		err = store.ErrNotFound
	}
	return data, err
}

func (m *memory) KVPut(_ context.Context, bucket, key string, data []byte, ttl time.Duration) error {
	err := m.lock()
	defer m.mu.Unlock()
	if err == nil {
		m.set(bucket, key, data, ttl)
	}
	return err
}

func (m *memory) KVSwap(_ context.Context, bucket, key string, old, data []byte, ttl time.Duration) error {
	err := m.lock()
	defer m.mu.Unlock()
	if err != nil {
		return err
	}
	if m.refuse != nil {
		return m.refuse
	}
	if have, ok := m.at(bucket, key); ok != (old != nil) || ok && string(have) != string(old) {
		return store.ErrConflict
	}
	m.set(bucket, key, data, ttl)
	return m.lost
}

func (m *memory) KVTake(ctx context.Context, bucket, key string) ([]byte, error) {
	data, err := m.KVGet(ctx, bucket, key)
	return data, errors.Join(err, m.KVDelete(ctx, bucket, key))
}

func (m *memory) KVDelete(_ context.Context, bucket, key string) error {
	err := m.lock()
	defer m.mu.Unlock()
	if err == nil {
		delete(m.held, bucket+"\x00"+key)
	}
	return err
}

func (m *memory) KVList(_ context.Context, bucket, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		err := m.lock()
		keys := slices.Sorted(maps.Keys(m.held))
		m.mu.Unlock()
		if err != nil {
			yield("", err)
			return
		}
		for _, full := range keys {
			if key, ok := strings.CutPrefix(full, bucket+"\x00"); ok && strings.HasPrefix(key, prefix) && !yield(key, nil) {
				return
			}
		}
	}
}

// dump is all that lies in the store.
func (m *memory) dump() string {
	var out strings.Builder
	for key, v := range m.held {
		out.WriteString(key + "=" + string(v.data) + "\n")
	}
	return out.String()
}

// house is Tokens over a memory, with a clock and what was reported.
type house struct {
	*token.Tokens
	t      testing.TB
	kv     *memory
	clock  *clock
	events []token.Event
	mu     sync.Mutex
}

func open(t testing.TB, change ...func(*token.Config)) *house {
	t.Helper()
	c := newClock()
	return openOn(t, newMemory(c), c, change...)
}

// openOn is another process on the same store.
func openOn(t testing.TB, kv *memory, c *clock, change ...func(*token.Config)) *house {
	t.Helper()
	h := &house{t: t, kv: kv, clock: c}
	h.Tokens = start(t, kv, append([]func(*token.Config){func(cfg *token.Config) {
		cfg.Now = c.Now
		cfg.Audit = func(_ context.Context, e token.Event) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.events = append(h.events, e)
			return nil
		}
	}}, change...)...)
	return h
}

func start(t testing.TB, kv store.KV, change ...func(*token.Config)) *token.Tokens {
	t.Helper()
	cfg := token.Config{KV: kv, Secret: []byte(strings.Repeat("k", 32)), Scopes: scope.New(words{}), Issuer: issuer, Base: base}
	for _, f := range change {
		f(&cfg)
	}
	tokens, err := token.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func (h *house) whats() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for _, e := range h.events {
		out = append(out, e.What)
	}
	return out
}

// grant is what tests grant; without openid, so that no key need be made.
func grant() token.Grant {
	return token.Grant{
		Client: "app", User: "ada", FHIRUser: fhir.Reference{Type: "Practitioner", ID: "p1"},
		Scope: "launch/patient offline_access patient/Patient.rs patient/Observation.rs", Patient: "pat1", Aud: base, Offline: true,
	}
}

func (h *house) code(g token.Grant) string {
	h.t.Helper()
	text, err := h.Code(h.t.Context(), g, redirect, challenge(verifier))
	if err != nil {
		h.t.Fatal(err)
	}
	return text
}

func exchange(code string) token.Exchange {
	return token.Exchange{Client: app, Code: code, Redirect: redirect, Verifier: verifier}
}

// sign is a whole sign-in.
func (h *house) sign(g token.Grant) token.Answer {
	h.t.Helper()
	a, err := h.Redeem(h.t.Context(), exchange(h.code(g)))
	if err != nil {
		h.t.Fatal(err)
	}
	return a
}

func (h *house) renew(text string) (token.Answer, error) {
	return h.Refresh(h.t.Context(), token.Renewal{Client: app, Token: text})
}

func (h *house) good(bearer string) token.Info {
	h.t.Helper()
	info, err := h.Check(h.t.Context(), bearer)
	if err != nil {
		h.t.Fatalf("a good token: %v", err)
	}
	return info
}

func (h *house) dead(bearer string) {
	h.t.Helper()
	_, err := h.Check(h.t.Context(), bearer)
	refused(h.t, err, "invalid_token", 401)
}

// test is a testing.TB or a rapid.T.
type test interface {
	Helper()
	Fatalf(format string, args ...any)
}

// refused wants an OAuth error.
func refused(t test, err error, code string, status int) {
	t.Helper()
	var e *token.Error
	if !errors.As(err, &e) || e.Code != code || e.Status != status {
		t.Fatalf("got %v, want %s with %d", err, code, status)
	}
}

// trouble wants an error that is nobody's fault.
func trouble(t test, err error) {
	t.Helper()
	var e *token.Error
	if err == nil || errors.As(err, &e) {
		t.Fatalf("got %v, want trouble of the moment", err)
	}
}
