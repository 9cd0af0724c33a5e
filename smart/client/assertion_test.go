package client_test

import (
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"candela/smart/client"
)

func TestR15_Accepted(t *testing.T) {
	d := newDesk(t)
	d.backend("svc")
	now := d.clock.Now().Unix()
	for name, token := range map[string]string{
		"RS384":           d.assertion("svc", nil),
		"ES384":           sign(t, "ec", "ES384", nil, d.claims("svc", nil)),
		"list of one aud": d.assertion("svc", obj{"aud": []string{tokenURL}}),
		"iat and nbf":     d.assertion("svc", obj{"iat": now, "nbf": now - 1}),
		"exp fraction":    d.assertion("svc", obj{"exp": float64(now) + 60.5}),
		"exp in a second": d.assertion("svc", obj{"exp": now + 1}),
		"more members":    d.assertion("svc", obj{"foo": obj{"a": 1}}),
	} {
		c, err := d.Authenticate(background, asserted(token))
		if err != nil || c.ID != "svc" {
			t.Errorf("%s: %v", name, err)
		}
	}
	named := asserted(d.assertion("svc", nil))
	named.Form.Set("client_id", "svc")
	if _, err := d.Authenticate(background, named); err != nil {
		t.Errorf("with client_id: %v", err)
	}
}

func TestT47_Assertion(t *testing.T) {
	d := newDesk(t)
	d.backend("svc")
	d.put(app("app", "https://app.example.org/cb"))
	good := func() obj { return d.claims("svc", nil) }
	with := func(head obj) string { return sign(t, "rsa", "RS384", head, good()) }
	bit := func(at int) string {
		token := []byte(d.assertion("svc", nil))
		i := strings.LastIndexByte(string(token), '.') + 1
		if at < 0 {
			i = len(token)
		}
		alphabet := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		token[i+at] = alphabet[strings.IndexByte(alphabet, token[i+at])^1]
		return string(token)
	}
	other := asserted(d.assertion("svc", nil))
	other.Form.Set("client_id", "app")
	_, err := d.Authenticate(background, other)
	refused(t, err, "invalid_client")
	for name, token := range map[string]string{
		"alg none":             strings.Join(strings.Split(with(obj{"alg": "none"}), ".")[:2], ".") + ".",
		"alg none, signed":     with(obj{"alg": "none"}),
		"HS256 by public key":  byPublicKey(t, "HS256", good()),
		"HS384 by public key":  byPublicKey(t, "HS384", good()),
		"RS256":                sign(t, "rsa", "RS256", nil, good()),
		"alg absent":           with(obj{"alg": nil}),
		"alg in lower case":    with(obj{"alg": "rs384"}),
		"alg as list":          with(obj{"alg": []string{"RS384"}}),
		"first bit off":        bit(0),
		"last bit off":         bit(-1),
		"wrong key":            sign(t, "other", "RS384", obj{"kid": "rsa"}, good()),
		"no kid":               with(obj{"kid": nil}),
		"unknown kid":          with(obj{"kid": "none"}),
		"kid in other case":    with(obj{"kid": "RSA"}),
		"kid of the EC key":    with(obj{"kid": "ec"}),
		"ES384 with RSA kid":   sign(t, "ec", "ES384", obj{"kid": "rsa"}, good()),
		"no typ":               with(obj{"typ": nil}),
		"other typ":            with(obj{"typ": "at+jwt"}),
		"key of its own":       sign(t, "other", "RS384", obj{"kid": "rsa", "jwk": jwk("other", "rsa")}, good()),
		"crit":                 with(obj{"crit": []string{"x"}, "x": 1}),
		"b64":                  with(obj{"b64": false}),
		"empty jku":            with(obj{"jku": ""}),
		"other iss":            d.assertion("svc", obj{"iss": "app"}),
		"other sub":            d.assertion("svc", obj{"sub": "app"}),
		"no iss":               d.assertion("svc", obj{"iss": nil, "sub": nil}),
		"iss as number":        d.assertion("svc", obj{"iss": 1, "sub": 1}),
		"unknown client":       d.assertion("none", nil),
		"public client":        d.assertion("app", nil),
		"client with slash":    d.assertion("../svc", nil),
		"claims twice":         twice(t, d),
		"claims in other case": d.assertion("svc", obj{"jti": nil, "JTI": "x"}),
		"nothing":              "..", "no dots": "x", "one dot": "a.b",
		"newline in signature": d.assertion("svc", nil) + "\n",
		"padding":              d.assertion("svc", nil) + "=",
	} {
		t.Run(name, func(t *testing.T) { refused(t, d.try(token), "invalid_client") })
	}
}

// byPublicKey signs with the text of the public key as a secret.
func byPublicKey(t *testing.T, alg string, claims obj) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(keys()["rsa"].Public())
	if err != nil {
		t.Fatal(err)
	}
	token := sign(t, "rsa", "RS384", obj{"alg": alg}, claims)
	text := token[:strings.LastIndexByte(token, '.')]
	mac := hmac.New(sha512.New384, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// twice is an assertion, rightly signed, that says its aud twice.
func twice(t *testing.T, d *desk) string {
	t.Helper()
	raw, _ := json.Marshal(d.claims("svc", nil))
	raw = append([]byte(`{"aud":"https://other.example.org",`), raw[1:]...)
	head := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS384","kid":"rsa","typ":"JWT"}`))
	text := head + "." + base64.RawURLEncoding.EncodeToString(raw)
	return text + "." + base64.RawURLEncoding.EncodeToString(signature(t, "rsa", "RS384", text))
}

// Keys that are not those of exactly one fitting kid.
func TestT47_KeySets(t *testing.T) {
	d := newDesk(t)
	for name, set := range map[string]string{
		"encryption only": `"use":"enc"`, "another alg": `"alg":"RS256"`, "other operations": `"key_ops":["encrypt"]`,
	} {
		c := d.backend(name[:3])
		raw, _ := json.Marshal(jwk("other", "other"))
		c.JWKS = []byte(`{"keys":[` + strings.TrimSuffix(string(raw), "}") + "," + set + `},` + string(jwks(t, jwk("rsa", "rsa"))[len(`{"keys":[`):]))
		c = d.put(c)
		refused(t, d.try(sign(t, "other", "RS384", nil, d.claims(c.ID, nil))), "invalid_client")
		if err := d.try(d.assertion(c.ID, nil)); err != nil {
			t.Errorf("%s: the good key: %v", name, err)
		}
	}
}

// What a host publishes is not checked when it is registered.
func TestT47_PublishedSets(t *testing.T) {
	weak := rsa.PublicKey{N: new(big.Int).Rsh(keys()["rsa"].Public().(*rsa.PublicKey).N, 1024), E: 65537}
	private := jwk("rsa", "rsa")
	private.Key = keys()["rsa"]
	for name, set := range map[string][]byte{
		"kid twice":   jwks(t, jwk("rsa", "rsa"), jwk("other", "rsa")),
		"same twice":  jwks(t, jwk("rsa", "rsa"), jwk("rsa", "rsa")),
		"no kid":      jwks(t, jwk("rsa", "")),
		"1024 bits":   jwks(t, jose.JSONWebKey{Key: &weak, KeyID: "rsa"}),
		"private":     jwks(t, private),
		"EC":          jwks(t, jwk("ec", "rsa")),
		"P-256":       jwks(t, jwk("p256", "rsa")),
		"no numbers":  []byte(`{"keys":[{"kty":"RSA","kid":"rsa"}]}`),
		"kid as list": []byte(`{"keys":[{"kty":"RSA","kid":["rsa"]}]}`),
		"symmetric":   []byte(`{"keys":[{"kty":"oct","kid":"rsa","k":"AAAA"}]}`),
		"empty":       []byte(`{"keys":[]}`),
	} {
		t.Run(name, func(t *testing.T) {
			d, h := guarded(t, true), newHost(t, gives(set, "max-age=60"))
			d.hosted("svc", h.URL)
			d.asks(h, 1, d.try(d.assertion("svc", nil)), "invalid_client")
		})
	}
	d, h := guarded(t, true), newHost(t, gives(jwks(t, jwk("ec", "rsa"), jwk("rsa", "rsa")), "max-age=60"))
	d.hosted("svc", h.URL)
	d.asks(h, 1, d.try(d.assertion("svc", nil)), "") // one kid, but one key only of the right kty
}

func TestT48_Times(t *testing.T) {
	d := newDesk(t)
	d.backend("svc")
	now := d.clock.Now().Unix()
	for name, change := range map[string]obj{
		"+301 s": {"exp": now + 301}, "+300.5 s": {"exp": float64(now) + 300.5}, "+1 y": {"exp": now + 31_536_000}, "now": {"exp": now},
		"past": {"exp": now - 1}, "text": {"exp": "1e10"}, "digits as text": {"exp": "1793448120"},
		"1e400": {"exp": json.Number("1e400")}, "1e15": {"exp": json.Number("1e15")}, "negative": {"exp": -1}, "absent": {"exp": nil},
		"true": {"exp": true}, "list": {"exp": []int64{now + 60}}, "null": {"exp": json.RawMessage("null")},
		"no jti": {"jti": nil}, "empty jti": {"jti": ""}, "jti as number": {"jti": 7}, "nbf ahead": {"nbf": now + 60}, "nbf text": {"nbf": "x"},
	} {
		t.Run(name, func(t *testing.T) {
			claims := d.claims("svc", change)
			if change["exp"] == nil && name == "absent" {
				delete(claims, "exp")
			}
			refused(t, d.try(sign(t, "rsa", "RS384", nil, claims)), "invalid_client")
		})
	}
	loose := newDesk(t, func(c *client.Config) { c.Skew = 5 * time.Second })
	loose.backend("svc")
	for exp, good := range map[int64]bool{now + 305: true, now + 306: false, now - 4: true, now - 5: false} {
		if err := loose.try(loose.assertion("svc", obj{"exp": exp})); (err == nil) != good {
			t.Errorf("with 5 s of skew, exp %+d: %v", exp-now, err)
		}
	}
}

func TestT49_Replay(t *testing.T) {
	d := newDesk(t)
	d.backend("svc")
	d.backend("two")
	token := d.assertion("svc", obj{"jti": "same"})
	if err := d.try(token); err != nil {
		t.Fatal(err)
	}
	if c, err := d.Authenticate(background, asserted(token)); err == nil || c.ID != "" {
		t.Fatalf("a replay is %q, %v", c.ID, err)
	}
	refused(t, d.try(token), "invalid_client")
	refused(t, d.try(sign(t, "ec", "ES384", nil, d.claims("svc", obj{"jti": "same"}))), "invalid_client")
	if err := d.try(d.assertion("two", obj{"jti": "same"})); err != nil {
		t.Errorf("a jti is unique per issuer only: %v", err)
	}
	d.clock.Advance(299 * time.Second)
	if err := d.store.Close(); err != nil {
		t.Fatal(err)
	}
	d.open()
	refused(t, d.try(token), "invalid_client")
	d.clock.Advance(2 * time.Second)
	refused(t, d.try(token), "invalid_client")
	d.clock.Advance(5 * time.Minute)
	if err := d.try(d.assertion("svc", obj{"jti": "same"})); err != nil {
		t.Errorf("the jti of an assertion that is long over: %v", err)
	}
}

// A clock that goes back does not bring a used assertion to life.
func TestT49_ClockBack(t *testing.T) {
	d := newDesk(t)
	d.backend("svc")
	token := d.assertion("svc", nil)
	if err := d.try(token); err != nil {
		t.Fatal(err)
	}
	d.clock.Advance(-2 * time.Second)
	refused(t, d.try(token), "invalid_client")
}

func TestT49_Parallel(t *testing.T) {
	d := newDesk(t)
	d.backend("svc")
	second, err := client.Open(config(d.store, d.clock.Now))
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		token := d.assertion("svc", nil)
		var won atomic.Int32
		var all sync.WaitGroup
		for i := range 64 {
			all.Go(func() {
				r := d.Registry
				if i%2 == 1 {
					r = second
				}
				_, err := r.Authenticate(background, asserted(token))
				var e *client.Error
				if err == nil {
					won.Add(1)
				} else if !errors.As(err, &e) || e.Code != "invalid_client" {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d of 64 won", won.Load())
		}
	}
}

func TestT51_Audience(t *testing.T) {
	d := newDesk(t)
	d.backend("svc")
	issuer := "https://ehr.example.org"
	for name, aud := range map[string]any{
		"two": []string{tokenURL, "https://other.example.org"}, "two, other first": []string{"https://other.example.org", tokenURL},
		"same twice": []string{tokenURL, tokenURL}, "other": "https://other.example.org/auth/token", "issuer": issuer, "none": nil, "empty": "",
		"empty list": []string{}, "number": 1, "object": obj{}, "slash": tokenURL + "/", "prefix": tokenURL + ".evil.org", "case": strings.ToUpper(tokenURL),
		"list of list": [][]string{{tokenURL}},
	} {
		t.Run(name, func(t *testing.T) { refused(t, d.try(d.assertion("svc", obj{"aud": aud})), "invalid_client") })
	}
	open := newDesk(t, func(c *client.Config) { c.Issuer = issuer })
	open.backend("svc")
	for _, aud := range []string{issuer, tokenURL} {
		if err := open.try(open.assertion("svc", obj{"aud": aud})); err != nil {
			t.Errorf("with the switch, %s: %v", aud, err)
		}
	}
	refused(t, open.try(open.assertion("svc", obj{"aud": []string{tokenURL, issuer}})), "invalid_client")
}

func TestT52_Bombs(t *testing.T) {
	d := newDesk(t)
	d.backend("svc")
	jwe := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2s":"AAAA","p2c":1000000000,"zip":"DEF"}`))
	for name, token := range map[string]string{
		"10 MB of dots":  strings.Repeat(".", 10<<20),
		"10 MB":          strings.Repeat("A", 10<<20) + ".A.A",
		"16 KB of dots":  strings.Repeat(".", 16<<10),
		"JWE":            jwe + ".AAAA.AAAA.AAAA.AAAA",
		"JWE of 3 parts": jwe + ".AAAA.AAAA",
		"deep":           base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("[", 10_000))) + ".AAAA.AAAA",
		"JSON form":      `{"payload":"e30","signatures":[]}`,
	} {
		t.Run(name, func(t *testing.T) {
			sent := asserted(token)
			took, octets := time.Hour, uint64(1<<62)
			for range 5 { // the best of some: other tests share the machine
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				began := time.Now()
				_, err := d.Authenticate(background, sent)
				took = min(took, time.Since(began))
				runtime.ReadMemStats(&after)
				octets = min(octets, after.TotalAlloc-before.TotalAlloc)
				if e := refused(t, err, "invalid_client"); e.Status != 400 {
					t.Errorf("status %d", e.Status)
				}
			}
			if took > 10*time.Millisecond || octets > 1<<20 {
				t.Errorf("%v, %d octets", took, octets)
			}
		})
	}
}

// FuzzAssertion: whatever is sent, it is refused in words of OAuth unless it was
// signed by the client, and then it is good once.
func FuzzAssertion(f *testing.F) {
	d := newDesk(f)
	d.backend("svc")
	good := d.assertion("svc", nil)
	f.Add(good)
	f.Add(sign(f, "rsa", "RS384", obj{"jku": "https://a.org"}, d.claims("svc", obj{"exp": json.Number("1e400")})))
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("....")
	f.Fuzz(func(t *testing.T, token string) {
		c, err := d.Authenticate(background, asserted(token))
		if err != nil {
			refused(t, err, "invalid_client")
			if c.ID != "" {
				t.Error("a client comes with the error")
			}
		} else if token != good {
			t.Errorf("%q is good", token)
		}
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	d := newDesk(b)
	secret := d.confidential("one")
	d.put(app("app", "https://app.example.org/cb"))
	d.backend("svc")
	run := func(name string, sent func(i int) client.Credentials) {
		b.Run(name, func(b *testing.B) {
			all := make([]client.Credentials, 0, b.N)
			for i := range b.N {
				all = append(all, sent(i))
			}
			b.ReportAllocs()
			b.ResetTimer()
			for _, one := range all {
				if _, err := d.Authenticate(background, one); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("public", func(int) client.Credentials { return form("client_id", "app") })
	run("basic", func(int) client.Credentials { return basic("one", secret) })
	run("RS384", func(int) client.Credentials { return asserted(d.assertion("svc", nil)) })
	run("ES384", func(int) client.Credentials { return asserted(sign(b, "ec", "ES384", nil, d.claims("svc", nil))) })
}
