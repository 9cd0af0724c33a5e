package account_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"candela/smart/account"
	"candela/store"
)

var keys = sync.OnceValue(func() []*rsa.PrivateKey {
	one, _ := rsa.GenerateKey(rand.Reader, 2048)
	two, _ := rsa.GenerateKey(rand.Reader, 2048)
	return []*rsa.PrivateKey{one, two}
})

// hospital is an OpenID Connect provider: a server of its own, over TLS.
type hospital struct {
	*httptest.Server
	t      testing.TB
	clock  *clock
	claims map[string]any              // of the next id_token, beside the usual ones
	forge  func(map[string]any)        // changes all of them
	sign   func(map[string]any) string // nil: as it should be
	down   map[string]int              // path: status
	asked  url.Values                  // the authorization request
	calls  map[string]int
}

func newHospital(h *house) *hospital {
	o := &hospital{t: h.t, clock: h.clock, claims: map[string]any{}, down: map[string]int{}, calls: map[string]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]any{"issuer": o.URL, "authorization_endpoint": o.URL + "/authorize", "token_endpoint": o.URL + "/token",
			"jwks_uri": o.URL + "/keys", "id_token_signing_alg_values_supported": []string{"RS256", "HS256", "none"}})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: keys()[0].Public(), KeyID: "k", Algorithm: "RS256", Use: "sig"}}})
	})
	mux.HandleFunc("/token", o.token)
	o.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.calls[r.URL.Path]++
		if status := o.down[r.URL.Path]; status != 0 {
			http.Error(w, "secret inside", status)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	h.t.Cleanup(o.Close)
	return o
}

// token answers a code only to whom it was given.
func (o *hospital) token(w http.ResponseWriter, r *http.Request) {
	id, secret, _ := r.BasicAuth()
	proof := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	if id != "candela" || secret != "hush" || r.FormValue("code") != "the-code" || r.FormValue("redirect_uri") != o.asked.Get("redirect_uri") ||
		base64.RawURLEncoding.EncodeToString(proof[:]) != o.asked.Get("code_challenge") || o.asked.Get("code_challenge_method") != "S256" {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(400)
		w.Write([]byte(`{"error":"invalid_grant"}`))
		return
	}
	claims := map[string]any{"iss": o.URL, "aud": "candela", "sub": "ada-1", "nonce": o.asked.Get("nonce"), "iat": o.clock.Now().Unix(),
		"exp": o.clock.Now().Add(time.Minute).Unix(), "name": "Ada Lang", "preferred_username": "Ada@Hospital.example", "groups": []string{"staff", "doctors"}}
	maps.Copy(claims, o.claims)
	if o.forge != nil {
		o.forge(claims)
	}
	sign := o.signed
	if o.sign != nil {
		sign = o.sign
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{"access_token": "at", "token_type": "Bearer", "id_token": sign(claims)})
}

func (o *hospital) signed(claims map[string]any) string {
	return signedBy(o.t, keys()[0], "RS256", "k", claims)
}

func signedBy(t testing.TB, key any, alg, kid string, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: key}, (&jose.SignerOptions{}).WithHeader("kid", kid))
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := json.Marshal(claims)
	signed, err := signer.Sign(raw)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := signed.CompactSerialize()
	return text
}

// provider is the house's view of the hospital.
func (o *hospital) provider(a *account.Accounts, change ...func(*account.ProviderConfig)) *account.Provider {
	o.t.Helper()
	c := account.ProviderConfig{Name: "hospital", Issuer: o.URL, ClientID: "candela", ClientSecret: "hush", Redirect: "https://candela.example/callback",
		HTTP: o.Client(), Factor: []string{"mfa"},
		Roles: []account.RoleRule{{Claim: "groups", Value: "doctors", Role: account.Practitioner}, {Claim: "groups", Value: "desk", Role: account.FrontDesk}}}
	for _, f := range change {
		f(&c)
	}
	p, err := a.Provider(c)
	if err != nil {
		o.t.Fatal(err)
	}
	return p
}

// begin is a browser that is sent to the hospital and signs in there.
func (o *hospital) begin(p *account.Provider) (answer url.Values, binding string) {
	o.t.Helper()
	to, binding, err := p.Begin(background, "/back")
	if err != nil {
		o.t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil || !strings.HasPrefix(to, o.URL+"/authorize?") {
		o.t.Fatal(to, err)
	}
	o.asked = u.Query()
	return url.Values{"state": o.asked["state"], "code": {"the-code"}, "iss": {o.URL}}, binding
}

func (o *hospital) round(p *account.Provider) (account.Signed, error) {
	o.t.Helper()
	answer, binding := o.begin(p)
	s, _, err := p.Finish(background, answer, binding, "192.0.2.1")
	return s, err
}

func TestProviderRoundTrip(t *testing.T) {
	both(t, func(t *testing.T, h *house) {
		o := newHospital(h)
		p := o.provider(h.Accounts)
		o.claims = map[string]any{"amr": []string{"pwd", "mfa"}, "fhirUser": "https://candela.example/fhir/Practitioner/p1"}
		answer, binding := o.begin(p)
		if o.asked.Get("scope") != "openid profile" || o.asked.Get("response_type") != "code" || o.asked.Get("client_id") != "candela" ||
			len(o.asked.Get("state")) != 43 || len(o.asked.Get("nonce")) != 43 {
			t.Fatal(o.asked)
		}
		if all := h.dump(); strings.Contains(all, o.asked.Get("state")) || strings.Contains(all, binding) {
			t.Error("state or binding are in the store")
		}
		s, back, err := p.Finish(background, answer, binding, "192.0.2.1")
		if err != nil || back != "/back" || s.Needs != account.Nothing {
			t.Fatalf("%+v %q %v", s, back, err)
		}
		u := s.User
		if u.Name != "ada@hospital" || u.Role != account.Practitioner || u.Display != "Ada Lang" || u.FHIRUser.String() != "Practitioner/p1" || u.Provider != "hospital" {
			t.Fatalf("%+v", u)
		}
		_, session, err := h.Start(background, s, "192.0.2.1")
		if err != nil || !session.Complete() {
			t.Fatal(session, err)
		}
		_, _, err = p.Finish(background, answer, binding, "") // once
		refused(t, err, account.BadLogin)
		_, err = h.signIn("ada@hospital", good, "") // no password
		refused(t, err, account.BadCredentials)

		// The same person again, with another role now: the same user, tokens end.
		o.claims["groups"] = "desk"
		s, err = o.round(p)
		if err != nil || s.User.Name != "ada@hospital" || s.User.Role != account.FrontDesk || len(h.ended) != 1 {
			t.Fatal(s, h.ended, err)
		}
		if _, err := h.Live(background, session.ID); !errors.Is(err, store.ErrNotFound) {
			t.Error("the session of the role before lives:", err)
		}
		// No role any more: out.
		o.claims["groups"] = []string{}
		_, err = o.round(p)
		refused(t, err, account.Denied)
		if len(h.ended) != 2 {
			t.Error(h.ended)
		}
		// Another person of that name is another user, a local name is nobody's there.
		o.claims["groups"], o.claims["sub"] = "doctors", "ada-2"
		if s, err = o.round(p); err != nil || s.User.Name == "ada@hospital" || !strings.HasSuffix(s.User.Name, "@hospital") {
			t.Fatal(s, err)
		}
		if err := h.Lock(background, s.User.Name); err != nil {
			t.Fatal(err)
		}
		_, err = o.round(p)
		refused(t, err, account.Denied)
	})
}

// What cannot be believed is refused, and leaves no user and no session.
func TestT44_ProviderForgeries(t *testing.T) {
	h := newHouse(t)
	o := newHospital(h)
	p := o.provider(h.Accounts)
	set := func(name string, value any) func() {
		return func() { o.forge = func(c map[string]any) { c[name] = value } }
	}
	drop := func(name string) func() { return func() { o.forge = func(c map[string]any) { delete(c, name) } } }
	for name, spoil := range map[string]func(){
		"wrong nonce":       set("nonce", strings.Repeat("n", 43)),
		"no nonce":          drop("nonce"),
		"wrong iss":         set("iss", "https://evil.example"),
		"no iss":            drop("iss"),
		"wrong aud":         set("aud", "another"),
		"no aud":            drop("aud"),
		"two aud, no azp":   set("aud", []string{"candela", "another"}),
		"wrong azp":         set("azp", "another"),
		"no sub":            drop("sub"),
		"empty sub":         set("sub", ""),
		"long sub":          set("sub", strings.Repeat("s", 256)),
		"expired":           set("exp", h.clock.Now().Add(-time.Second).Unix()),
		"no exp":            drop("exp"),
		"no iat":            drop("iat"),
		"not yet":           set("nbf", h.clock.Now().Add(time.Hour).Unix()),
		"wrong at_hash":     set("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"),
		"another key":       func() { o.sign = func(c map[string]any) string { return signedBy(t, keys()[1], "RS256", "k", c) } },
		"unknown kid":       func() { o.sign = func(c map[string]any) string { return signedBy(t, keys()[1], "RS256", "x", c) } },
		"RS512, not agreed": func() { o.sign = func(c map[string]any) string { return signedBy(t, keys()[0], "RS512", "k", c) } },
		"HS256 by client secret": func() {
			o.sign = func(c map[string]any) string { return signedBy(t, []byte(strings.Repeat("hush", 8)), "HS256", "k", c) }
		},
		"alg none": func() {
			o.sign = func(c map[string]any) string {
				raw, _ := json.Marshal(c)
				return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(raw) + "."
			}
		},
		"bit flipped": func() {
			o.sign = func(c map[string]any) string {
				text := []byte(o.signed(c))
				text[len(text)-20] ^= 1
				return string(text)
			}
		},
		"sub twice": func() {
			o.sign = func(c map[string]any) string {
				raw, _ := json.Marshal(c)
				signer, _ := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: keys()[0]}, (&jose.SignerOptions{}).WithHeader("kid", "k"))
				signed, _ := signer.Sign([]byte(strings.Replace(string(raw), "{", `{"sub":"root",`, 1)))
				text, _ := signed.CompactSerialize()
				return text
			}
		},
		"SUB":            func() { o.forge = func(c map[string]any) { c["SUB"] = c["sub"]; delete(c, "sub") } },
		"no id_token":    func() { o.sign = func(map[string]any) string { return "" } },
		"no jwt":         func() { o.sign = func(map[string]any) string { return "x.y" } },
		"wrong verifier": func() { o.sign = nil; o.asked.Set("code_challenge", "x") },
	} {
		t.Run(name, func(t *testing.T) {
			o.forge, o.sign = nil, nil
			answer, binding := o.begin(p)
			spoil()
			s, _, err := p.Finish(background, answer, binding, "")
			refused(t, err, account.BadLogin)
			if s.User.Name != "" {
				t.Error(s)
			}
			if _, _, err := h.Start(background, s, ""); err == nil {
				t.Error("a session was started")
			}
		})
	}
	for u := range h.List(background) {
		t.Error("made user", u.Name)
	}
	o.forge, o.sign = nil, nil
	if _, err := o.round(p); err != nil {
		t.Fatal(err)
	}
}

// T101: an answer counts in the browser that asked, once, for ten minutes.
func TestT101_ProviderState(t *testing.T) {
	h := newHouse(t)
	o := newHospital(h)
	p, other := o.provider(h.Accounts), o.provider(h.Accounts, func(c *account.ProviderConfig) { c.Name = "clinic" })
	for name, try := range map[string]func(url.Values, string) error{
		"no binding":       func(v url.Values, _ string) error { _, _, err := p.Finish(background, v, "", ""); return err },
		"another browser":  func(v url.Values, b string) error { _, _, err := p.Finish(background, v, b[1:]+"x", ""); return err },
		"another provider": func(v url.Values, b string) error { _, _, err := other.Finish(background, v, b, ""); return err },
		"unknown state": func(v url.Values, b string) error {
			v.Set("state", strings.Repeat("x", 43))
			_, _, err := p.Finish(background, v, b, "")
			return err
		},
		"no state": func(v url.Values, b string) error {
			v.Del("state")
			_, _, err := p.Finish(background, v, b, "")
			return err
		},
		"two states": func(v url.Values, b string) error {
			v.Add("state", "x")
			_, _, err := p.Finish(background, v, b, "")
			return err
		},
		"other iss": func(v url.Values, b string) error {
			v.Set("iss", "https://evil.example")
			_, _, err := p.Finish(background, v, b, "")
			return err
		},
		"long code": func(v url.Values, b string) error {
			v.Set("code", strings.Repeat("x", 1<<20))
			_, _, err := p.Finish(background, v, b, "")
			return err
		},
		"wrong code": func(v url.Values, b string) error {
			v.Set("code", "x")
			_, _, err := p.Finish(background, v, b, "")
			return err
		},
		"too late": func(v url.Values, b string) error {
			h.clock.Add(10 * time.Minute)
			_, _, err := p.Finish(background, v, b, "")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { refused(t, try(o.begin(p)), account.BadLogin) })
	}
	answer, binding := o.begin(p)
	answer.Del("code")
	answer.Set("error", "access_denied")
	_, _, err := p.Finish(background, answer, binding, "")
	refused(t, err, account.Denied)
}

// E13: one answer, one sign-in; one person, one user.
func TestE13_ProviderRaces(t *testing.T) {
	both(t, func(t *testing.T, h *house) {
		o := newHospital(h)
		p := o.provider(h.Accounts)
		answer, binding := o.begin(p)
		done, errs := race(8, func(int) error { _, _, err := p.Finish(background, answer, binding, ""); return err })
		if done != 1 {
			t.Errorf("%d sign-ins by one answer: %v", done, errs)
		}
	})
}

// R52: a provider that is down is a 503 and no refusal, wherever it fails.
func TestR52_ProviderDown(t *testing.T) {
	h := newHouse(t)
	o := newHospital(h)
	p := o.provider(h.Accounts)
	unavailable := func(err error) {
		t.Helper()
		var e *account.Error
		if !errors.Is(err, account.ErrUnavailable) || errors.As(err, &e) || strings.Contains(err.Error(), "secret inside") {
			t.Error(err)
		}
	}
	o.down["/.well-known/openid-configuration"] = 500
	for range 3 {
		_, _, err := p.Begin(background, "")
		unavailable(err)
	}
	if n := o.calls["/.well-known/openid-configuration"]; n != 1 {
		t.Errorf("a provider that is down was asked %d times", n)
	}
	h.clock.Add(5 * time.Second)
	o.down = map[string]int{"/token": 503}
	_, err := o.round(p)
	unavailable(err)
	o.down = map[string]int{"/keys": 500}
	_, err = o.round(p)
	unavailable(err)
	o.down = map[string]int{}
	answer, binding := o.begin(p)
	answer.Set("error", "temporarily_unavailable")
	_, _, err = p.Finish(background, answer, binding, "")
	unavailable(err)
	if _, err = o.round(p); err != nil {
		t.Fatal(err)
	}
	// What was read of it is good for as long as it cannot be read again.
	h.clock.Add(2 * time.Hour)
	o.down["/.well-known/openid-configuration"] = 500
	if _, err = o.round(p); err != nil {
		t.Fatal(err)
	}
	h.kv.fail.Store(true)
	_, _, err = p.Finish(background, url.Values{"state": {"x"}}, "x", "")
	if !errors.Is(err, store.ErrUnavailable) {
		t.Error(err)
	}
	h.kv.fail.Store(false)
	o.Close()
	_, err = o.round(p)
	unavailable(err)
}

// R11: a provider that does not say that it asked for a second factor leaves it to us.
func TestR11_ProviderSecondFactor(t *testing.T) {
	h := newHouse(t)
	o := newHospital(h)
	p := o.provider(h.Accounts)
	s, err := o.round(p)
	if err != nil || s.Needs != account.Enrol {
		t.Fatal(s, err)
	}
	h.enrol(s.User.Name)
	if s, err = o.round(p); err != nil || s.Needs != account.Code {
		t.Fatal(s, err)
	}
	o.claims = map[string]any{"acr": "mfa"}
	if s, err = o.round(p); err != nil || s.Needs != account.Nothing {
		t.Fatal(s, err)
	}
	o.claims = nil
	if s, err = o.round(o.provider(h.Accounts, func(c *account.ProviderConfig) { c.Factor = []string{"*"} })); err != nil || s.Needs != account.Nothing {
		t.Fatal(s, err)
	}
}

func TestProviderLink(t *testing.T) {
	both(t, func(t *testing.T, h *house) {
		o := newHospital(h)
		p := o.provider(h.Accounts)
		h.add(staff("chief", account.Administrator))
		h.add(staff("other", account.Nurse))
		h.add(patient("bob", "1"))
		if err := p.Link(background, "chief", "ada-1"); err != nil {
			t.Fatal(err)
		}
		if err := p.Link(background, "other", "ada-1"); !errors.Is(err, store.ErrConflict) {
			t.Fatal("one subject for two users:", err)
		}
		refused(t, p.Link(background, "chief", "ada-2"), account.BadUser)
		refused(t, p.Link(background, "bob", "bob-1"), account.BadUser)
		s, err := o.round(p)
		if err != nil || s.User.Name != "chief" || s.User.Role != account.Administrator { // groups say practitioner; the operator has the word
			t.Fatal(s, err)
		}
		if err := h.Delete(background, "chief"); err != nil {
			t.Fatal(err)
		}
		if s, err = o.round(p); err != nil || s.User.Name != "ada@hospital" {
			t.Fatal(s, err)
		}
	})
}

func TestProviderRefusesConfiguration(t *testing.T) {
	h := newHouse(t)
	o := newHospital(h)
	for name, change := range map[string]func(*account.ProviderConfig){
		"http issuer":   func(c *account.ProviderConfig) { c.Issuer = "http://idp.example" },
		"no issuer":     func(c *account.ProviderConfig) { c.Issuer = "" },
		"no client":     func(c *account.ProviderConfig) { c.ClientID = "" },
		"no http":       func(c *account.ProviderConfig) { c.HTTP = nil },
		"name":          func(c *account.ProviderConfig) { c.Name = "A b" },
		"no rules":      func(c *account.ProviderConfig) { c.Roles = nil },
		"patient rule":  func(c *account.ProviderConfig) { c.Roles[0].Role = account.Patient },
		"empty value":   func(c *account.ProviderConfig) { c.Roles[0].Value = "" },
		"unknown role":  func(c *account.ProviderConfig) { c.Roles[0].Role = "god" },
		"no redirect":   func(c *account.ProviderConfig) { c.Redirect = "" },
		"issuer no url": func(c *account.ProviderConfig) { c.Issuer = "::" },
	} {
		c := account.ProviderConfig{Name: "x", Issuer: o.URL, ClientID: "c", Redirect: "https://x.example/cb", HTTP: o.Client(),
			Roles: []account.RoleRule{{Claim: "g", Value: "v", Role: account.Nurse}}}
		change(&c)
		if _, err := h.Provider(c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
