package client_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"candela/smart/client"
	"candela/smart/scope"
	"candela/store"
)

var background = context.Background()

func app(id string, redirects ...string) client.Client {
	return client.Client{ID: id, Name: "App", Kind: client.Public, Redirects: redirects,
		Grants: []string{client.GrantCode, client.GrantRefresh}, Scopes: []string{"openid", "launch", "patient/*.rs"}}
}

func TestT37_RedirectExact(t *testing.T) {
	d := newDesk(t)
	c := d.put(app("app", "https://app.example.org/cb", "https://app.example.org/q?a=1", "org.example.app:/cb",
		"http://127.0.0.1/cb", "http://[::1]:8000/cb", "http://localhost:3000/cb"))
	c, err := d.Get(background, c.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, good := range append(c.Redirects, "http://127.0.0.1:49152/cb", "http://[::1]/cb", "http://[::1]:1/cb") {
		if !c.Redirect(good) {
			t.Errorf("%s is refused", good)
		}
	}
	for _, bad := range []string{"", "https://APP.example.org/cb", "https://app.example.org/CB", "https://app.example.org/cb/",
		"https://app.example.org//cb", "https://app.example.org/x/../cb", "https://app.example.org/./cb",
		"https://user@app.example.org/cb", "https://app.example.org@evil.org/cb", "https://app.example%2eorg/cb",
		"https://app.example.org/c%62", "https://x.app.example.org/cb", "https://app.example.org.evil.org/cb",
		"https://app.example.org/cb#", "https://app.example.org/cb#x", "https://app.example.org/cb?", "https://app.example.org/cb?x=1",
		"https://app.example.org/q?a=1&b=2", "https://app.example.org/q?a=1&a=1", "https://app.example.org/q",
		"https://app.example.org:443/cb", "https://app.example.org:8443/cb", "http://app.example.org/cb", " https://app.example.org/cb",
		"https://app.example.org/cb\n", "org.example.app:/cb/", "ORG.example.app:/cb",
		"http://localhost:3001/cb", "http://127.0.0.1:80x/cb", "http://127.0.0.1:/cb", "http://127.0.0.1:99999/cb", "http://127.0.0.1:0/cb",
		"http://127.0.0.1.evil.org/cb", "http://127.0.0.1:1@evil.org/cb", "http://127.0.0.1:80/cb?x", "https://127.0.0.1/cb",
		"http://127.0.0.1:08000/cb", "http://127.0.0.2/cb"} {
		if c.Redirect(bad) {
			t.Errorf("%q is let through", bad)
		}
	}
}

func TestR25_PutRefuses(t *testing.T) {
	d := newDesk(t)
	set := jwks(t, jwk("rsa", "k"))
	service := client.Client{ID: "s", Name: "S", Kind: client.Asymmetric, Grants: []string{client.GrantBackend}, JWKS: set}
	for name, change := range map[string]func(a, s *client.Client) *client.Client{
		"id with slash":      func(a, _ *client.Client) *client.Client { a.ID = "a/b"; return a },
		"long id":            func(a, _ *client.Client) *client.Client { a.ID = strings.Repeat("a", 129); return a },
		"no name":            func(a, _ *client.Client) *client.Client { a.Name = " "; return a },
		"name with bidi":     func(a, _ *client.Client) *client.Client { a.Name = "a\u202eb"; return a },
		"name with newline":  func(a, _ *client.Client) *client.Client { a.Name = "a\nb"; return a },
		"name of bad UTF-8":  func(a, _ *client.Client) *client.Client { a.Name = "a\xff"; return a },
		"no kind":            func(a, _ *client.Client) *client.Client { a.Kind = ""; return a },
		"no grant":           func(a, _ *client.Client) *client.Client { a.Grants = nil; return a },
		"unknown grant":      func(a, _ *client.Client) *client.Client { a.Grants = []string{"password"}; return a },
		"no redirect":        func(a, _ *client.Client) *client.Client { a.Redirects = nil; return a },
		"unknown scope":      func(a, _ *client.Client) *client.Client { a.Scopes = []string{"patient/Foo.rs"}; return a },
		"system scope":       func(a, _ *client.Client) *client.Client { a.Scopes = []string{"system/*.rs"}; return a },
		"two scopes in one":  func(a, _ *client.Client) *client.Client { a.Scopes = []string{"openid launch"}; return a },
		"public backend":     func(a, _ *client.Client) *client.Client { a.Grants = []string{client.GrantBackend}; return a },
		"public with secret": func(a, _ *client.Client) *client.Client { a.Secrets = make([]client.Secret, 1); return a },
		"public with keys":   func(a, _ *client.Client) *client.Client { a.JWKS = set; return a },
		"http launch":        func(a, _ *client.Client) *client.Client { a.LaunchURL = "http://app.example.org"; return a },
		"data logo":          func(a, _ *client.Client) *client.Client { a.Logo = "data:image/png;base64,AA"; return a },
		"origin with path":   func(a, _ *client.Client) *client.Client { a.Origins = []string{"https://a.org/"}; return a },
		"origin null":        func(a, _ *client.Client) *client.Client { a.Origins = []string{"null"}; return a },
		"origin star":        func(a, _ *client.Client) *client.Client { a.Origins = []string{"*"}; return a },
		"symmetric backend":  func(_, s *client.Client) *client.Client { s.Kind, s.JWKS = client.Symmetric, nil; return s },
		"no keys":            func(_, s *client.Client) *client.Client { s.JWKS = nil; return s },
		"keys twice":         func(_, s *client.Client) *client.Client { s.JWKSURL = "https://a.org/jwks"; return s },
		"keys without list":  func(_, s *client.Client) *client.Client { s.JWKS = []byte(`{}`); return s },
		"no usable key":      func(_, s *client.Client) *client.Client { s.JWKS = jwks(t, jwk("p256", "k")); return s },
		"key without kid":    func(_, s *client.Client) *client.Client { s.JWKS = jwks(t, jwk("rsa", "")); return s },
		"kid twice": func(_, s *client.Client) *client.Client {
			s.JWKS = jwks(t, jwk("rsa", "k"), jwk("other", "k"))
			return s
		},
		"symmetric key": func(_, s *client.Client) *client.Client {
			s.JWKS = []byte(`{"keys":[{"kty":"oct","kid":"a","k":"AAAA"}]}`)
			return s
		},
		"private key": func(_, s *client.Client) *client.Client {
			k := jwk("rsa", "k")
			k.Key = keys()["rsa"]
			s.JWKS = jwks(t, k)
			return s
		},
		"jwks_uri http":      func(_, s *client.Client) *client.Client { s.JWKS, s.JWKSURL = nil, "http://a.org/jwks"; return s },
		"jwks_uri with user": func(_, s *client.Client) *client.Client { s.JWKS, s.JWKSURL = nil, "https://u:p@a.org/jwks"; return s },
		"jku beside a jwks_uri": func(_, s *client.Client) *client.Client {
			s.JWKS, s.JWKSURL, s.JKU = nil, "https://a.org/j", "https://b.org/j"
			return s
		},
	} {
		a, s := app("a", "https://app.example.org/cb"), service
		_, err := d.Put(background, *change(&a, &s))
		t.Run(name, func(t *testing.T) { refused(t, err, "invalid_client_metadata") })
	}
	d.put(app("a", "https://app.example.org/cb"))
	d.put(service)
}

// T59: what no redirect URI may be, whoever registers it.
func TestT59_Redirects(t *testing.T) {
	d := newDesk(t)
	for _, bad := range []string{"javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,x", "http://app.example.org/cb", "app:/cb",
		"https://*.example.org/cb", "https://app.example.org/*", "https://app.example.org/cb#x", "https://app.example.org/cb#",
		"https://u@app.example.org/cb", "https:///cb", "https:cb", "//app.example.org/cb", "/cb", "", "https://app.example.org/\\evil",
		"https://app.example.org/ü", "https://app.example.org/c b", "http://localhost.evil.org/cb", "http://127.0.0.1@evil.org/cb",
		"https://app.example.org:0/", "https://app.example.org:/", "file:///etc/passwd", "https://a.org/" + strings.Repeat("a", 2048)} {
		if _, err := d.Put(background, app("", bad)); err == nil {
			t.Errorf("%q is registered", bad)
		} else {
			refused(t, err, "invalid_client_metadata")
		}
	}
}

func TestRegistry(t *testing.T) {
	d := newDesk(t)
	first := d.put(app("one", "https://one.example.org/cb"))
	second := d.put(app("", "https://two.example.org/cb"))
	if len(second.ID) != 22 {
		t.Fatalf("made id %q", second.ID)
	}
	if _, err := d.Put(background, app("one", "https://evil.org/cb")); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("an id that is taken: %v", err)
	}
	stale := first
	first.Name = "New"
	first = d.put(first)
	if _, err := d.Put(background, stale); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("a change of what was changed: %v", err)
	}
	var names []string
	for c, err := range d.List(background) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, c.Name)
	}
	if strings.Join(names, " ") != "New App" && strings.Join(names, " ") != "App New" {
		t.Fatal(names)
	}
	if err := d.Delete(background, "one"); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"one", "", "a/b", strings.Repeat("x", 1<<20)} {
		if _, err := d.Get(background, id); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("Get of %.10q: %v", id, err)
		}
	}
}

func TestR5_Origins(t *testing.T) {
	d := newDesk(t)
	c := d.put(app("one", "https://App.example.org:443/cb", "org.example.app:/cb", "http://localhost:3000/cb"))
	check := func(origin string, want bool) {
		t.Helper()
		if got, err := d.Origin(background, origin); err != nil || got != want {
			t.Errorf("%q: %v %v", origin, got, err)
		}
	}
	check("https://app.example.org", true)
	check("http://localhost:3000", true)
	for _, origin := range []string{"", "null", "*", "https://app.example.org.evil.org", "https://app.example.or", "https://xapp.example.org",
		"http://app.example.org", "https://app.example.org:8443", "https://app.example.org/", "https://APP.example.org", "http://localhost:30000"} {
		check(origin, false)
		if c.Origin(origin) {
			t.Errorf("the client has %q", origin)
		}
	}
	if err := d.Disable(background, "one", true); err != nil {
		t.Fatal(err)
	}
	check("https://app.example.org", false)
	if err := d.Disable(background, "one", false); err != nil {
		t.Fatal(err)
	}
	check("https://app.example.org", true)
	c, _ = d.Get(background, "one")
	c.Origins = []string{}
	if c = d.put(c); len(c.Origins) != 0 {
		t.Fatal("no origins are some")
	}
	check("https://app.example.org", false)
}

func TestR24_PreAuthorised(t *testing.T) {
	d := newDesk(t)
	c := d.backend("svc")
	for asked, want := range map[string]string{
		"system/Patient.rs":                    "system/Patient.rs",
		"system/*.rs":                          "system/Patient.rs system/Observation.rs",
		"system/Patient.cruds":                 "system/Patient.rs",
		"system/Condition.rs":                  "invalid_scope",
		"user/Patient.rs":                      "invalid_scope",
		"system/Patient.rs user/Patient.rs":    "invalid_scope",
		"openid":                               "invalid_scope",
		"":                                     "invalid_scope",
		"system/Patient.sr":                    "invalid_scope",
		"system/Observation.rs?category=x":     "system/Observation.rs?category=x",
		"system/Condition.rs system/Patient.r": "system/Patient.r",
	} {
		got, _, err := d.Grant(c, client.GrantBackend, asked)
		if want == "invalid_scope" {
			refused(t, err, want)
		} else if err != nil || got.String() != want {
			t.Errorf("%q: %q %v", asked, got, err)
		}
	}
	_, _, err := d.Grant(c, client.GrantCode, "patient/*.rs")
	refused(t, err, "unauthorized_client")
	a := app("a", "https://a.org/cb")
	if got, _, err := d.Grant(a, client.GrantCode, "openid patient/Patient.rs user/Patient.rs"); err != nil || got.String() != "openid patient/Patient.rs" {
		t.Errorf("an app: %q %v", got, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	d := newDesk(t)
	for name, change := range map[string]func(*client.Config){
		"no store":     func(c *client.Config) { c.KV = nil },
		"no grammar":   func(c *client.Config) { c.Scopes = (*scope.Grammar)(nil) },
		"short secret": func(c *client.Config) { c.Secret = make([]byte, 31) },
		"no token URL": func(c *client.Config) { c.TokenURL = "" },
		"skew":         func(c *client.Config) { c.Skew = time.Hour },
	} {
		c := config(d.store, d.clock.Now)
		change(&c)
		if _, err := client.Open(c); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}
