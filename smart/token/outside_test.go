package token_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"

	"candela/smart/token"
)

// elsewhere is an outside authorization server.
type elsewhere struct {
	*token.Outside
	t     testing.TB
	clock *clock
	rsa   *rsa.PrivateKey
	ec    *ecdsa.PrivateKey
	asked atomic.Int32
	serve atomic.Value // http.HandlerFunc
}

func openOutside(t testing.TB, change ...func(*token.OutsideConfig)) *elsewhere {
	t.Helper()
	e := &elsewhere{t: t, clock: newClock()}
	var err error
	if e.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	if e.ec, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	e.publish(jose.JSONWebKey{Key: e.rsa.Public(), KeyID: "r", Use: "sig"}, jose.JSONWebKey{Key: e.ec.Public(), KeyID: "e"})
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.asked.Add(1)
		e.serve.Load().(http.HandlerFunc)(w, r)
	}))
	t.Cleanup(host.Close)
	c := token.OutsideConfig{Issuer: "https://as.example", Audience: base, JWKS: host.URL + "/keys", HTTP: host.Client(), Now: e.clock.Now}
	for _, f := range change {
		f(&c)
	}
	if e.Outside, err = token.NewOutside(c); err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *elsewhere) publish(keys ...jose.JSONWebKey) {
	raw, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		e.t.Fatal(err)
	}
	e.answer(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		_, _ = w.Write(raw)
	})
}

func (e *elsewhere) answer(f http.HandlerFunc) { e.serve.Store(f) }

// token signs claims, changed by those given; nil takes one away.
func (e *elsewhere) token(alg jose.SignatureAlgorithm, kid string, key any, change map[string]any) string {
	e.t.Helper()
	claims := map[string]any{
		"iss": "https://as.example", "aud": base, "exp": e.clock.Now().Add(time.Hour).Unix(), "iat": e.clock.Now().Unix(), "sub": "u1",
		"client_id": "app", "scope": "patient/Patient.rs launch/patient", "patient": "pat1", "fhirUser": base + "/Practitioner/p1", "jti": "j1",
	}
	maps.Copy(claims, change)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	raw, err := json.Marshal(claims)
	if err != nil {
		e.t.Fatal(err)
	}
	return e.sign(alg, kid, key, string(raw))
}

func (e *elsewhere) sign(alg jose.SignatureAlgorithm, kid string, key any, claims string) string {
	e.t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	signed, err := signer.Sign([]byte(claims))
	if err != nil {
		e.t.Fatal(err)
	}
	text, _ := signed.CompactSerialize()
	return text
}

func (e *elsewhere) good(bearer string) token.Info {
	e.t.Helper()
	info, err := e.Check(e.t.Context(), bearer)
	if err != nil {
		e.t.Fatal(err)
	}
	return info
}

func TestOutside_Claims(t *testing.T) {
	e := openOutside(t)
	info := e.good(e.token(jose.RS256, "r", e.rsa, nil))
	g := info.Grant
	if g.Client != "app" || g.User != "u1" || g.Patient != "pat1" || g.FHIRUser.String() != "Practitioner/p1" || g.Aud != base ||
		info.Scope != "patient/Patient.rs launch/patient" || info.JTI != "j1" || !info.Expires.Equal(e.clock.Now().Add(time.Hour)) {
		t.Fatalf("info %+v", info)
	}
	for name, c := range map[string]struct {
		change map[string]any
		check  func(token.Info) bool
	}{
		"scope as array":     {map[string]any{"scope": []string{"a", "b"}}, func(i token.Info) bool { return i.Scope == "a b" }},
		"scp":                {map[string]any{"scope": nil, "scp": []string{"a"}}, func(i token.Info) bool { return i.Scope == "a" }},
		"no scope":           {map[string]any{"scope": nil}, func(i token.Info) bool { return i.Scope == "" }},
		"scope as number":    {map[string]any{"scope": 1}, func(i token.Info) bool { return i.Scope == "" }},
		"azp":                {map[string]any{"client_id": nil, "azp": "other"}, func(i token.Info) bool { return i.Grant.Client == "other" }},
		"many audiences":     {map[string]any{"aud": []string{"x", base}}, func(i token.Info) bool { return i.Grant.Aud == base }},
		"patient with type":  {map[string]any{"patient": "Patient/7"}, func(i token.Info) bool { return i.Grant.Patient == "7" }},
		"patient elsewhere":  {map[string]any{"patient": "https://x.example/Patient/7"}, func(i token.Info) bool { return i.Grant.Patient == "" }},
		"patient as array":   {map[string]any{"patient": []string{"7"}}, func(i token.Info) bool { return i.Grant.Patient == "" }},
		"relative user":      {map[string]any{"fhirUser": "Patient/9"}, func(i token.Info) bool { return i.Grant.FHIRUser.String() == "Patient/9" }},
		"user elsewhere":     {map[string]any{"fhirUser": "https://x.example/fhir/Patient/9"}, func(i token.Info) bool { return i.Grant.FHIRUser.Type == "" }},
		"user of no person":  {map[string]any{"fhirUser": "Device/9"}, func(i token.Info) bool { return i.Grant.FHIRUser.Type == "" }},
		"no jti":             {map[string]any{"jti": nil}, func(i token.Info) bool { return len(i.JTI) == 22 }},
		"jti for a log":      {map[string]any{"jti": "a\nb"}, func(i token.Info) bool { return len(i.JTI) == 22 }},
		"claims in capitals": {map[string]any{"PATIENT": "evil", "Scope": "evil"}, func(i token.Info) bool { return i.Grant.Patient == "pat1" && i.Scope[0] == 'p' }},
		"backend": {map[string]any{"sub": "app", "patient": nil, "fhirUser": nil}, func(i token.Info) bool {
			return i.Grant.User == "" && i.Grant.Client == "app"
		}},
	} {
		if info := e.good(e.token(jose.ES384, "e", e.ec, c.change)); !c.check(info) {
			t.Errorf("%s: %+v", name, info)
		}
	}
	if n := e.asked.Load(); n != 1 {
		t.Fatalf("keys were fetched %d times", n)
	}
}

func TestOutside_NamesOfClaims(t *testing.T) {
	e := openOutside(t, func(c *token.OutsideConfig) {
		c.Scope, c.Patient, c.Encounter, c.Person = "rights", "pid", "eid", "who"
	})
	info := e.good(e.token(jose.RS256, "r", e.rsa, map[string]any{"rights": "a", "pid": "1", "eid": "2", "who": "Person/3"}))
	if g := info.Grant; info.Scope != "a" || g.Patient != "1" || g.Encounter != "2" || g.FHIRUser.String() != "Person/3" {
		t.Fatalf("info %+v", info)
	}
}

func TestT56_OutsideTokensThatAreNotGood(t *testing.T) {
	e := openOutside(t)
	good := e.token(jose.RS256, "r", e.rsa, nil)
	e.good(good)
	parts := strings.Split(good, ".")
	other, _ := rsa.GenerateKey(rand.Reader, 2048)
	at := func(d time.Duration) int64 { return e.clock.Now().Add(d).Unix() }
	with := func(change map[string]any) string { return e.token(jose.RS256, "r", e.rsa, change) }
	for name, bearer := range map[string]string{
		"issuer":            with(map[string]any{"iss": "https://as.example/"}),
		"no issuer":         with(map[string]any{"iss": nil}),
		"audience":          with(map[string]any{"aud": base + "x"}),
		"no audience":       with(map[string]any{"aud": nil}),
		"expired":           with(map[string]any{"exp": at(-time.Second)}),
		"no end":            with(map[string]any{"exp": nil}),
		"far nbf":           with(map[string]any{"nbf": at(time.Hour)}),
		"end in capitals":   with(map[string]any{"exp": nil, "EXP": at(time.Hour)}),
		"issuer twice":      e.sign(jose.RS256, "r", e.rsa, fmt.Sprintf(`{"iss":"https://evil.example","aud":%q,"exp":%d,"iss":"https://as.example"}`, base, at(time.Hour))),
		"issuer in capital": e.sign(jose.RS256, "r", e.rsa, fmt.Sprintf(`{"ISS":"https://as.example","aud":%q,"exp":%d}`, base, at(time.Hour))),
		"aud in capitals":   with(map[string]any{"aud": nil, "AUD": base}),
		"good but long":     with(map[string]any{"x": strings.Repeat("x", token.MaxBearer)}),
		"no claims":         e.sign(jose.RS256, "r", e.rsa, `[]`),
		"wrong key":         e.token(jose.RS256, "r", other, nil),
		"RS512":             e.token(jose.RS512, "r", e.rsa, nil),
		"key of other kind": e.token(jose.ES384, "r", e.ec, nil),
		"signature":         parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])),
		"none":              "eyJhbGciOiJub25lIn0." + parts[1] + ".",
		"HS256 by the key":  e.token(jose.HS256, "r", e.rsa.PublicKey.N.Bytes(), nil),
		"JSON form":         `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		"dots":              strings.Repeat(".", 1<<20),
		"two parts":         parts[0] + "." + parts[1],
		"five parts":        good + ".a.b",
		"long":              parts[0] + "." + strings.Repeat("A", token.MaxBearer) + "." + parts[2],
		"":                  "",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := e.Check(t.Context(), bearer)
			refused(t, err, "invalid_token", 401)
		})
	}
	if n := e.asked.Load(); n != 1 {
		t.Fatalf("keys were fetched %d times", n)
	}
}

func TestOutside_Issued(t *testing.T) {
	e := openOutside(t)
	for bearer, want := range map[string]bool{
		e.token(jose.RS256, "r", e.rsa, nil):                                    true,
		e.token(jose.RS256, "r", e.rsa, map[string]any{"iss": "https://other"}): false,
		"candela_at_x": false, "a.b.c": false, "": false, strings.Repeat(".", 1<<20): false,
	} {
		if e.Issued(bearer) != want {
			t.Errorf("%.40q: %v", bearer, !want)
		}
	}
}

func TestT54_KeyHostDown(t *testing.T) {
	e := openOutside(t)
	down := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }
	unavailable := func(bearer string) {
		t.Helper()
		_, err := e.Check(t.Context(), bearer)
		trouble(t, err)
		if !errors.Is(err, token.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	text := e.token(jose.RS256, "r", e.rsa, map[string]any{"exp": e.clock.Now().Add(100 * time.Hour).Unix()})
	published := e.serve.Load().(http.HandlerFunc)
	e.answer(down)
	unavailable(text)
	asked := e.asked.Load()
	for range 50 {
		unavailable(text)
	}
	if n := e.asked.Load(); n != asked {
		t.Fatalf("a host that is down was asked %d times more", n-asked)
	}
	e.answer(published)
	e.clock.Add(5 * time.Second)
	e.good(text)
	e.answer(down)
	e.clock.Add(595 * time.Second)
	e.good(text) // the keys are good as long as their host said
	unavailable(e.token(jose.RS256, "new", e.rsa, nil))
	e.good(text)
	e.clock.Add(time.Minute)
	unavailable(text)
	e.answer(published)
	e.clock.Add(time.Minute)
	e.good(text)
}

func TestT53_KeyHostThatMisbehaves(t *testing.T) {
	slow := make(chan struct{})
	t.Cleanup(func() { close(slow) })
	for name, f := range map[string]http.HandlerFunc{
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			for range 1 << 12 {
				if _, err := w.Write([]byte(`{"keys":[],"x":"` + strings.Repeat("x", 1<<12))); err != nil {
					return
				}
			}
		},
		"elsewhere": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/other", http.StatusFound) },
		"no JSON":   func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"no keys":   func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{}`)) },
		"slow": func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-slow:
			case <-r.Context().Done():
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := openOutside(t)
			e.answer(f)
			_, err := e.Check(t.Context(), e.token(jose.RS256, "r", e.rsa, nil))
			trouble(t, err)
			if e.asked.Load() != 1 {
				t.Fatalf("asked %d times", e.asked.Load())
			}
		})
	}
}

func TestOutside_Rotation(t *testing.T) {
	e := openOutside(t)
	text := e.token(jose.RS256, "r", e.rsa, nil)
	e.good(text)
	next, _ := rsa.GenerateKey(rand.Reader, 2048)
	renewed := e.token(jose.RS256, "r2", next, nil)
	for range 20 { // soon after a fetch an unknown kid asks for none
		_, err := e.Check(t.Context(), renewed)
		refused(t, err, "invalid_token", 401)
	}
	if n := e.asked.Load(); n != 1 {
		t.Fatalf("keys were fetched %d times", n)
	}
	e.publish(jose.JSONWebKey{Key: next.Public(), KeyID: "r2"}, jose.JSONWebKey{Key: []byte("shared"), KeyID: "s"}, jose.JSONWebKey{Key: e.rsa, KeyID: "private"})
	e.clock.Add(30 * time.Second)
	e.good(renewed)
	_, err := e.Check(t.Context(), text)
	refused(t, err, "invalid_token", 401)
	_, err = e.Check(t.Context(), e.token(jose.RS256, "private", e.rsa, nil))
	refused(t, err, "invalid_token", 401)
	e.good(e.token(jose.RS256, "", next, nil)) // without a kid any key may fit
}

func TestOutside_KeysForOtherUses(t *testing.T) {
	e := openOutside(t)
	e.publish(jose.JSONWebKey{Key: e.rsa.Public(), KeyID: "enc", Use: "enc"}, jose.JSONWebKey{Key: e.rsa.Public(), KeyID: "rs384", Algorithm: "RS384"})
	for _, kid := range []string{"enc", "rs384"} {
		_, err := e.Check(t.Context(), e.token(jose.RS256, kid, e.rsa, nil))
		refused(t, err, "invalid_token", 401)
	}
	e.good(e.token(jose.RS384, "rs384", e.rsa, nil))
}

func TestT56_OutsideTokenEndsInTheCacheToo(t *testing.T) {
	e := openOutside(t)
	text := e.token(jose.RS256, "r", e.rsa, map[string]any{"exp": e.clock.Now().Add(10 * time.Second).Unix()})
	e.good(text)
	e.clock.Add(10*time.Second + time.Millisecond)
	_, err := e.Check(t.Context(), text)
	refused(t, err, "invalid_token", 401)
}

func TestOutside_Config(t *testing.T) {
	good := token.OutsideConfig{Issuer: "i", Audience: "a", JWKS: "https://x.example", HTTP: http.DefaultClient}
	if _, err := token.NewOutside(good); err != nil {
		t.Fatal(err)
	}
	for name, bend := range map[string]func(*token.OutsideConfig){
		"issuer": func(c *token.OutsideConfig) { c.Issuer = "" }, "audience": func(c *token.OutsideConfig) { c.Audience = "" },
		"keys": func(c *token.OutsideConfig) { c.JWKS = "" }, "http": func(c *token.OutsideConfig) { c.HTTP = nil },
		"none": func(c *token.OutsideConfig) { c.Algorithms = []string{"none"} }, "HS256": func(c *token.OutsideConfig) { c.Algorithms = []string{"HS256"} },
	} {
		c := good
		bend(&c)
		if _, err := token.NewOutside(c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
