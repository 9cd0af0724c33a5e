package authorize_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"candela/fhir"
	"candela/smart/account"
	"candela/smart/authorize"
	"candela/smart/client"
	"candela/smart/scope"
	"candela/smart/token"
	"candela/store"
	"candela/store/embedded"
)

const (
	password = "zebra-Violin-kettle-83-moss"
	redirect = "https://app.example.org/back"
	verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	// challenge is that of verifier (RFC 7636, appendix B).
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

var everyType = []string{"Condition", "Encounter", "Observation", "Patient", "Practitioner"}

type words struct{}

func (words) HasType(typ string) bool             { return typ != "Foo" }
func (words) HasParam(_ string, code string) bool { return code == "category" || code == "_id" }

type clock struct{ at atomic.Int64 }

func (c *clock) Now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

// directory is a small hospital: three patients, some with visits.
type directory struct{ down atomic.Bool }

var people = map[string]string{"p1": "Ada Lovelace", "p2": "Alan Turing", "p3": "Grace Hopper <b>&"}
var visits = map[string]string{"e1": "p1", "e2": "p1", "e3": "p2"}

func sees(caller fhir.Caller, id string) bool {
	return slices.ContainsFunc(caller.Access, func(r fhir.Rule) bool {
		return (r.Type == "*" || r.Type == "Patient") && (r.Compartment == fhir.Reference{} || r.Compartment.ID == id) &&
			(r.Filter == "" || r.Filter == "_id="+id)
	})
}

func (d *directory) Patient(_ context.Context, caller fhir.Caller, id string) (authorize.Person, error) {
	if d.down.Load() {
		return authorize.Person{}, store.ErrUnavailable
	}
	if people[id] == "" || !sees(caller, id) {
		return authorize.Person{}, store.ErrNotFound
	}
	return authorize.Person{ID: id, Name: people[id], Detail: "born 1815-12-10"}, nil
}

func (d *directory) Patients(ctx context.Context, caller fhir.Caller, text string) (found []authorize.Person, more bool, err error) {
	for _, id := range []string{"p1", "p2", "p3"} {
		if one, err := d.Patient(ctx, caller, id); err == nil && strings.Contains(strings.ToLower(one.Name), strings.ToLower(text)) {
			found = append(found, one)
		}
	}
	return found, false, nil
}

func (d *directory) Encounter(ctx context.Context, caller fhir.Caller, patient, id string) (authorize.Visit, error) {
	if _, err := d.Patient(ctx, caller, patient); err != nil || visits[id] != patient {
		return authorize.Visit{}, errors.Join(store.ErrNotFound, err)
	}
	return authorize.Visit{ID: id, Name: "Visit " + id}, nil
}

func (d *directory) Encounters(ctx context.Context, caller fhir.Caller, patient string) (out []authorize.Visit, err error) {
	for _, id := range []string{"e1", "e2", "e3"} {
		if one, err := d.Encounter(ctx, caller, patient, id); err == nil {
			out = append(out, one)
		}
	}
	return out, nil
}

// broken is a store that can fail.
type broken struct {
	store.KV
	down atomic.Bool
}

func (b *broken) KVGet(ctx context.Context, bucket, key string) ([]byte, error) {
	if b.down.Load() {
		return nil, store.ErrUnavailable
	}
	return b.KV.KVGet(ctx, bucket, key)
}

// house is an authorization server that is reached over HTTP.
type house struct {
	t        testing.TB
	clock    *clock
	kv       *broken
	server   *authorize.Server
	config   authorize.Config
	url      string // scheme and host
	base     string // FHIR base
	clients  *client.Registry
	tokens   *token.Tokens
	accounts *account.Accounts
	scopes   *scope.Grammar
	who      *directory
	secret   string // of the client "clinic"
	totp     map[string]string

	mu     sync.Mutex
	events []authorize.Event
}

func open(t testing.TB, change ...func(*authorize.Config)) *house {
	t.Helper()
	h := &house{t: t, clock: new(clock), scopes: scope.New(words{}), who: new(directory), totp: map[string]string{}}
	h.clock.at.Store(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC).UnixNano())
	kv, err := embedded.Open(t.TempDir(), embedded.Options{Now: h.clock.Now, Relaxed: true})
	h.must(err)
	h.kv = &broken{KV: kv}
	var handler http.Handler
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(func() { web.Close(); kv.Close() })
	h.url, h.base = web.URL, web.URL+"/fhir"
	h.rooms()
	c := authorize.Config{Base: h.base, Site: "Test Clinic", KV: h.kv, Secret: make([]byte, 32), Clients: h.clients, Tokens: h.tokens, Scopes: h.scopes,
		Accounts: h.accounts, Directory: h.who, Register: true, Launcher: true, Now: h.clock.Now, Brands: []byte(`{"resourceType":"Bundle","type":"collection"}`),
		Caller: func(_ context.Context, u account.User) (fhir.Caller, error) {
			access, err := h.accounts.Policy(u, table())
			return fhir.Caller{Name: u.Name, User: u.FHIRUser, Access: access}, err
		},
		Audit: func(_ context.Context, e authorize.Event) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.events = append(h.events, e)
			return nil
		}}
	for _, f := range change {
		f(&c)
	}
	h.config = c
	h.server, err = authorize.Open(c)
	h.must(err)
	handler = h.server
	h.people()
	h.apps()
	return h
}

func table() scope.Context {
	return scope.Context{Types: everyType, Member: func(typ string) bool { return typ != "Practitioner" }, Shared: func(typ string) bool { return typ == "Practitioner" }}
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) rooms() {
	secret := make([]byte, 32)
	var err error
	h.clients, err = client.Open(client.Config{KV: h.kv, Now: h.clock.Now, Secret: secret, TokenURL: authorize.TokenURL(h.base), Scopes: h.scopes})
	h.must(err)
	h.accounts, err = account.Open(account.Config{KV: h.kv, Now: h.clock.Now, Secret: secret, Scopes: h.scopes, Hash: account.Hash{Memory: 64, Passes: 1, Threads: 1},
		Ended: func(ctx context.Context, user string) error { return h.tokens.RevokeUser(ctx, user) }})
	h.must(err)
	h.tokens, err = token.Open(token.Config{KV: h.kv, Now: h.clock.Now, Secret: secret, Scopes: h.scopes, Issuer: h.base, Base: h.base, Cache: -1,
		Alive: func(ctx context.Context, g token.Grant) error {
			if _, err := h.accounts.Active(ctx, g.User); err != nil || g.Session == "" {
				return err
			}
			_, err := h.accounts.Live(ctx, g.Session)
			return err
		}})
	h.must(err)
}

// people are a doctor with a second factor, a patient, and the parent of two.
func (h *house) people() {
	for _, u := range []account.User{
		{Name: "doctor", Display: "Dr. Mary Doe", Role: account.Practitioner, FHIRUser: fhir.ParseReference("Practitioner/d1")},
		{Name: "colleague", Role: account.Practitioner, FHIRUser: fhir.ParseReference("Practitioner/d2")},
		{Name: "clerk", Role: account.FrontDesk},
		{Name: "ada", Display: "Ada", Role: account.Patient, FHIRUser: fhir.ParseReference("Patient/p1")},
		{Name: "parent", Role: account.Proxy, Patients: []string{"p2", "p3"}},
	} {
		_, err := h.accounts.Put(h.t.Context(), u)
		h.must(err)
		h.must(h.accounts.SetPassword(h.t.Context(), u.Name, password))
		if role, _ := account.RoleOf(u.Role); role.Staff && u.Name != "clerk" {
			e, err := h.accounts.Enrol(h.t.Context(), u.Name)
			h.must(err)
			h.totp[u.Name] = e.Secret
			_, err = h.accounts.Confirm(h.t.Context(), u.Name, h.code(u.Name))
			h.must(err)
			h.clock.advance(time.Minute) // a code is good once
		}
	}
}

// code is what the user's authenticator app shows.
func (h *house) code(user string) string { return totp(h.t, h.totp[user], h.clock.Now()) }

func totp(t testing.TB, secret string, at time.Time) string {
	t.Helper()
	raw, err := base32.StdEncoding.DecodeString(secret)
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha1.New, raw)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(at.Unix()/30)))
	sum := mac.Sum(nil)
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[sum[19]&15:])&(1<<31-1)%1_000_000)
}

var allScopes = []string{"openid", "fhirUser", "launch", "launch/patient", "launch/encounter", "offline_access", "online_access", "patient/*.cruds", "user/*.cruds"}

func (h *house) apps() {
	code := []string{client.GrantCode, client.GrantRefresh}
	for _, c := range []client.Client{
		{ID: "app", Name: "Growth <Chart>", Kind: client.Public, Redirects: []string{redirect, "http://127.0.0.1/cb", "https://app.example.org/q?a=b"}, Scopes: allScopes, Grants: code, LaunchURL: "https://app.example.org/launch"},
		{ID: "clinic", Name: "Clinic", Kind: client.Symmetric, Redirects: []string{redirect, "https://clinic.example.org/back"}, Scopes: allScopes, Grants: code},
		{ID: "once", Name: "Once", Kind: client.Public, Redirects: []string{redirect}, Scopes: []string{"patient/Patient.rs", "offline_access"}, Grants: []string{client.GrantCode}},
		{ID: "ehr", Name: "EHR", Kind: client.Symmetric, Redirects: []string{redirect}, Scopes: allScopes, Grants: code, CreateLaunch: true, Introspect: true},
	} {
		_, err := h.clients.Put(h.t.Context(), c)
		h.must(err)
	}
	var err error
	h.secret, err = h.clients.NewSecret(h.t.Context(), "clinic", 0)
	h.must(err)
	h.must(h.clients.SetSecret(h.t.Context(), "ehr", h.secret, 0))
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

// answer is what came back.
type answer struct {
	*http.Response
	body string
}

// location is where a redirect leads, with its parameters.
func (a *answer) location() (string, url.Values) {
	to, query, _ := strings.Cut(a.Header.Get("Location"), "?")
	values, _ := url.ParseQuery(query)
	return to, values
}

// browser is a person at one; redirects to apps are not followed.
type browser struct {
	*house
	http *http.Client
	last answer // the page that is shown
}

func (h *house) browser() *browser {
	jar, _ := cookiejar.New(nil)
	b := &browser{house: h, http: &http.Client{Jar: jar}}
	b.http.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if !strings.HasPrefix(r.URL.String(), h.url) {
			return http.ErrUseLastResponse
		}
		return nil
	}
	return b
}

func (b *browser) do(r *http.Request) *answer {
	b.t.Helper()
	response, err := b.http.Do(r)
	b.must(err)
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	b.must(err)
	b.last = answer{response, string(raw)}
	return &b.last
}

func (b *browser) get(path string) *answer {
	b.t.Helper()
	if strings.HasPrefix(path, "/") {
		path = b.url + path
	}
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, path, nil)
	b.must(err)
	return b.do(r)
}

func (b *browser) post(path string, form url.Values, header ...string) *answer {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.url+path, strings.NewReader(form.Encode()))
	b.must(err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return b.do(r)
}

var hidden = regexp.MustCompile(`<input type="hidden" name="(\w+)" value="([^"]*)">`)

// form are the hidden fields of the page that is shown, with more.
func (b *browser) form(more ...string) url.Values {
	out := url.Values{}
	for _, found := range hidden.FindAllStringSubmatch(b.last.body, -1) {
		out.Set(found[1], html.UnescapeString(found[2]))
	}
	for i := 0; i+1 < len(more); i += 2 {
		out.Add(more[i], more[i+1])
	}
	return out
}

// fill sends the form of the page that is shown.
func (b *browser) fill(path string, more ...string) *answer {
	b.t.Helper()
	return b.post("/auth/"+path, b.form(more...))
}

func (b *browser) shows(title string) {
	b.t.Helper()
	if !strings.Contains(b.last.body, "<h1>"+title) {
		b.t.Fatalf("%s is not shown at %s, but %d %s", title, b.last.Request.URL, b.last.StatusCode, b.last.body)
	}
}

// signIn fills in name, password and, for staff, the code.
func (b *browser) signIn(user string) *answer {
	b.t.Helper()
	b.shows("Sign in")
	b.fill("login", "user", user, "password", password)
	if b.totp[user] != "" {
		b.shows("Your second factor")
		b.clock.advance(time.Minute)
		b.fill("factor", "code", b.code(user))
	}
	return &b.last
}

// ask are the parameters of a good request, with changes: a name and its value,
// "" to leave it out.
func (h *house) ask(change ...string) url.Values {
	v := url.Values{"response_type": {"code"}, "client_id": {"app"}, "redirect_uri": {redirect}, "scope": {"openid fhirUser launch/patient patient/*.rs"},
		"state": {"a b&c=d/ä"}, "aud": {h.base}, "code_challenge": {challenge}, "code_challenge_method": {"S256"}}
	for i := 0; i+1 < len(change); i += 2 {
		v.Set(change[i], change[i+1])
		if change[i+1] == "" {
			v.Del(change[i])
		}
	}
	return v
}

func (b *browser) authorize(change ...string) *answer {
	b.t.Helper()
	return b.get("/auth/authorize?" + b.ask(change...).Encode())
}

var box = regexp.MustCompile(`name="scope" value="([^"]*)" checked`)

// boxes are the scopes that the consent has ticked.
func (b *browser) boxes() []string {
	var out []string
	for _, found := range box.FindAllStringSubmatch(b.last.body, -1) {
		out = append(out, html.UnescapeString(found[1]))
	}
	return out
}

// allow answers the consent: with these scopes, or all that are ticked.
func (b *browser) allow(scopes ...string) *answer {
	b.t.Helper()
	b.shows("Let ")
	if scopes == nil {
		scopes = b.boxes()
	}
	more := []string{"answer", "allow"}
	for _, one := range scopes {
		more = append(more, "scope", one)
	}
	return b.fill("consent", more...)
}

// codeOf is the code that the app got.
func (b *browser) codeOf() string {
	b.t.Helper()
	to, values := b.last.location()
	if b.last.StatusCode != http.StatusSeeOther || values.Get("code") == "" || !strings.HasPrefix(to, "http") {
		b.t.Fatalf("no code, but %d %s %s", b.last.StatusCode, b.last.Header.Get("Location"), b.last.body)
	}
	return values.Get("code")
}

// tell is the JSON of an answer.
func (a *answer) json(t testing.TB) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal([]byte(a.body), &out); err != nil {
		t.Fatalf("%d %s: %v", a.StatusCode, a.body, err)
	}
	return out
}

func exchange(code string, more ...string) url.Values {
	v := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {redirect}, "code_verifier": {verifier}, "client_id": {"app"}}
	for i := 0; i+1 < len(more); i += 2 {
		v.Set(more[i], more[i+1])
		if more[i+1] == "" {
			v.Del(more[i])
		}
	}
	return v
}

// tokens walks the standalone way of a patient whose record is the only one.
func (b *browser) walk(change ...string) map[string]any {
	b.t.Helper()
	b.authorize(change...)
	if strings.Contains(b.last.body, "<h1>Sign in") {
		b.signIn("ada")
	}
	b.allow()
	return b.post("/auth/token", exchange(b.codeOf())).json(b.t)
}

// refused holds that a JSON answer is an OAuth error.
func (a *answer) refused(t testing.TB, status int, code string) {
	t.Helper()
	if a.StatusCode != status || a.json(t)["error"] != code || a.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("not %d %s, but %d %s %q", status, code, a.StatusCode, a.body, a.Header.Get("Cache-Control"))
	}
}
