package guard_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"candela/fhir"
	"candela/fhir/interaction"
	"candela/fhir/operation"
	"candela/fhir/r4"
	"candela/fhir/search"
	"candela/fhir/validate"
	"candela/smart/account"
	"candela/smart/client"
	"candela/smart/guard"
	"candela/smart/scope"
	"candela/smart/token"
	"candela/store"
	"candela/store/embedded"
)

const (
	base     = "https://candela.example/fhir"
	redirect = "https://app.example/back"
	verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // RFC 7636, appendix B
)

// vocabulary is what scopes and consents ask of the search parameters.
type vocabulary struct {
	*search.Registry
	spec *r4.Spec
}

func (v vocabulary) HasType(typ string) bool {
	_, ok := v.spec.Ownership(typ)
	return ok
}

func (v vocabulary) HasParam(typ, code string) bool {
	_, ok := v.Param(typ, code)
	return ok
}

func (v vocabulary) Criteria(typ, query string) (store.Query, error) {
	return v.Registry.Criteria(typ, query, search.Options{})
}

// scopes judges filters by another method of the same name.
type scopeWords struct{ vocabulary }

func (w scopeWords) Criteria(typ, query string) error {
	_, err := w.vocabulary.Criteria(typ, query)
	return err
}

type clock struct{ at atomic.Int64 }

func (c *clock) Now() time.Time          { return time.Unix(0, c.at.Load()).UTC() }
func (c *clock) Advance(d time.Duration) { c.at.Add(int64(d)) }

// faulty is a store that can fail.
type faulty struct {
	store.Store
	history, kv, roles atomic.Bool
}

func (f *faulty) Find(ctx context.Context, q store.Query) (store.Page, error) {
	if f.roles.Load() && len(q.Types) == 1 && q.Types[0] == "PractitionerRole" {
		return store.Page{}, store.ErrUnavailable
	}
	return f.Store.Find(ctx, q)
}

func (f *faulty) History(ctx context.Context, s store.Span) (store.Page, error) {
	if f.history.Load() {
		return store.Page{}, store.ErrUnavailable
	}
	return f.Store.History(ctx, s)
}

func (f *faulty) KVGet(ctx context.Context, bucket, key string) ([]byte, error) {
	if f.kv.Load() {
		return nil, store.ErrUnavailable
	}
	return f.Store.KVGet(ctx, bucket, key)
}

// site is a guard before an engine, with all that it rests on.
type site struct {
	t testing.TB
	*guard.Guard
	engine   *interaction.Engine
	store    *faulty
	clock    *clock
	tokens   *token.Tokens
	accounts *account.Accounts
	clients  *client.Registry

	mu     sync.Mutex
	events []fhir.Event
	refuse error
}

func (s *site) Record(_ context.Context, e fhir.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
	return s.refuse
}

func open(t testing.TB, change ...func(*guard.Config)) *site {
	t.Helper()
	s := &site{t: t, clock: new(clock)}
	s.clock.at.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	disk, err := embedded.Open(t.TempDir(), embedded.Options{Now: s.clock.Now, Relaxed: true, Logger: slog.New(slog.DiscardHandler)})
	s.must(err)
	t.Cleanup(func() { s.must(disk.Close()) })
	s.store = &faulty{Store: disk}
	spec, err := r4.Load()
	s.must(err)
	registry, err := search.New(spec, base)
	s.must(err)
	words := vocabulary{registry, spec}
	grammar := scope.New(scopeWords{words})
	secret := []byte(strings.Repeat("s", 32))
	s.tokens, err = token.Open(token.Config{KV: s.store, Secret: secret, Scopes: grammar, Issuer: base, Base: base, Now: s.clock.Now})
	s.must(err)
	s.clients, err = client.Open(client.Config{KV: s.store, Now: s.clock.Now, Secret: secret, TokenURL: base + "/token", Scopes: grammar})
	s.must(err)
	s.accounts, err = account.Open(account.Config{KV: s.store, Secret: secret, Scopes: grammar, Now: s.clock.Now, Base: base, Hash: account.Hash{Memory: 64, Passes: 1, Threads: 1}, Ended: s.tokens.RevokeUser})
	s.must(err)
	config := guard.Config{Base: base, Store: s.store, Search: words, Tokens: s.tokens, Scopes: grammar, Accounts: s.accounts, Clients: s.clients, Record: s, Now: s.clock.Now}
	for _, f := range change {
		f(&config)
	}
	s.Guard, err = guard.New(config)
	s.must(err)
	n := 0
	s.engine, err = interaction.New(interaction.Config{
		Store: s.store, Search: registry, Structure: validate.New(spec), Elements: spec, Types: spec.Resources(), Now: s.clock.Now, Log: slog.New(slog.DiscardHandler),
		NewID: func() string { n++; return fmt.Sprint("new", n) }, Operations: operation.New(registry, spec.Resources(), s.clock.Now),
	})
	s.must(err)
	s.people()
	return s
}

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// people are two patients with observations, a practitioner, users and apps.
func (s *site) people() {
	for _, c := range []client.Client{
		{ID: "app", Name: "App", Kind: client.Public, Redirects: []string{redirect}, Scopes: []string{"openid", "fhirUser", "launch/patient", "patient/*.cruds", "user/*.cruds"}, Grants: []string{client.GrantCode}},
		{ID: "service", Name: "Service", Kind: client.Asymmetric, JWKSURL: "https://service.example/keys", Scopes: []string{"system/*.cruds"}, Grants: []string{client.GrantBackend}},
	} {
		_, err := s.clients.Put(s.t.Context(), c)
		s.must(err)
	}
	for _, u := range []account.User{
		{Name: "ann", Display: "Ann", Role: account.Patient, FHIRUser: fhir.ParseReference("Patient/a")},
		{Name: "ruth", Display: "Ruth", Role: account.Practitioner, FHIRUser: fhir.ParseReference("Practitioner/r")},
		{Name: "rita", Display: "Rita", Role: account.Practitioner, FHIRUser: fhir.ParseReference("PractitionerRole/role")},
		{Name: "nina", Display: "Nina", Role: account.Nurse, FHIRUser: fhir.ParseReference("Practitioner/n")},
		{Name: "otto", Display: "Otto", Role: account.PrivacyOfficer, FHIRUser: fhir.ParseReference("Practitioner/o")},
		{Name: "fred", Display: "Fred", Role: account.FrontDesk, FHIRUser: fhir.ParseReference("Practitioner/f")},
	} {
		_, err := s.accounts.Put(s.t.Context(), u)
		s.must(err)
	}
	for _, body := range []string{
		`{"resourceType":"Patient","id":"a","name":[{"family":"Ann"}]}`, `{"resourceType":"Patient","id":"b","name":[{"family":"Bob"}]}`,
		`{"resourceType":"Practitioner","id":"r"}`, `{"resourceType":"Practitioner","id":"n"}`, `{"resourceType":"Organization","id":"clinic"}`,
		`{"resourceType":"PractitionerRole","id":"role","practitioner":{"reference":"Practitioner/r"},"organization":{"reference":"Organization/clinic"}}`,
		observation("oa", "a", "k1", ""), observation("ob", "b", "k1", ""), observation("ra", "a", "k2", "R"), observation("va", "a", "k1", "V"), observation("xa", "a", "k1", "X"),
		`{"resourceType":"Condition","id":"ca","subject":{"reference":"Patient/a"}}`,
	} {
		s.store1(body)
	}
}

func observation(id, patient, code, label string) string {
	meta := ""
	if label != "" {
		meta = `"meta":{"security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-Confidentiality","code":"` + label + `"}]},`
	}
	return `{"resourceType":"Observation","id":"` + id + `",` + meta + `"status":"final","code":{"coding":[{"system":"urn:c","code":"` + code + `"}]},"subject":{"reference":"Patient/` + patient + `"}}`
}

// store1 writes a resource as the server itself.
func (s *site) store1(body string) {
	s.t.Helper()
	res, err := fhir.ParseResource([]byte(body), fhir.DefaultLimits())
	s.must(err)
	if status, text := s.do(fhir.Caller{Access: fhir.Full()}, "PUT", res.Type()+"/"+res.ID(), body); status != 200 && status != 201 {
		s.t.Fatalf("%d %s", status, text)
	}
}

func (s *site) do(c fhir.Caller, method, url, body string) (int, string) {
	s.t.Helper()
	r, err := fhir.RouteURL(method, url, base)
	s.must(err)
	if body != "" {
		r.Resource, err = fhir.ParseResource([]byte(body), fhir.BundleLimits())
		s.must(err)
	}
	r.Base, r.Caller = base, c
	answer, err := s.engine.Do(context.Background(), r)
	if err != nil {
		return statusOf(err), err.Error()
	}
	if answer.Resource.Exists() {
		return answer.Status, string(answer.Resource.Raw())
	}
	return answer.Status, string(answer.Body)
}

func statusOf(err error) int {
	var refusal *fhir.Error
	if errors.As(err, &refusal) {
		return refusal.Status
	}
	return 0
}

// token grants scopes to a user through the app.
func (s *site) token(user, scopes, patient string) string {
	s.t.Helper()
	u, err := s.accounts.Get(s.t.Context(), user)
	s.must(err)
	return s.grant(token.Grant{Client: "app", User: user, FHIRUser: u.FHIRUser, Scope: scopes, Patient: patient, Aud: base})
}

func (s *site) grant(g token.Grant) string {
	s.t.Helper()
	hash := sha256.Sum256([]byte(verifier))
	code, err := s.tokens.Code(s.t.Context(), g, redirect, base64.RawURLEncoding.EncodeToString(hash[:]))
	s.must(err)
	a, err := s.tokens.Redeem(s.t.Context(), token.Exchange{Client: token.Client{ID: g.Client, Public: true}, Code: code, Redirect: redirect, Verifier: verifier})
	s.must(err)
	return a.AccessToken
}

func (s *site) backend(scopes string) string {
	s.t.Helper()
	a, err := s.tokens.Backend(s.t.Context(), token.Client{ID: "service"}, scopes)
	s.must(err)
	return a.AccessToken
}

// request is a request with a token and more headers, name and value in turn.
func request(bearer, url string, headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, base+"/"+url, nil)
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

// get asks with a token, through guard and engine.
func (s *site) get(bearer, url string, headers ...string) (int, string) {
	s.t.Helper()
	c, err := s.Caller(request(bearer, "", headers...))
	if err != nil {
		return statusOf(err), err.Error()
	}
	return s.do(c, "GET", url, "")
}

// sees lists which of the site's resources a token reads.
func (s *site) sees(bearer string, headers ...string) string {
	s.t.Helper()
	var out []string
	for _, url := range []string{"Patient/a", "Patient/b", "Observation/oa", "Observation/ob", "Observation/ra", "Observation/va", "Observation/xa", "Condition/ca"} {
		status, text := s.get(bearer, url, headers...)
		switch {
		case status == 200:
			out = append(out, url[strings.IndexByte(url, '/')+1:])
		case status != 404 && status != 403:
			s.t.Fatalf("%s: %d %s", url, status, text)
		}
	}
	return strings.Join(out, " ")
}
