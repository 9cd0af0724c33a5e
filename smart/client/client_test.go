package client_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"candela/smart/client"
	"candela/smart/scope"
	"candela/store"
	"candela/store/embedded"
)

const tokenURL = "https://ehr.example.org/auth/token"

type words struct{}

func (words) HasType(typ string) bool {
	return typ == "Patient" || typ == "Observation" || typ == "Condition"
}
func (words) HasParam(typ, code string) bool { return code == "category" }

// clock is a clock that tests move.
type clock struct{ at atomic.Int64 }

func (c *clock) Now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *clock) Advance(d time.Duration) { c.at.Add(int64(d)) }

// desk is a registry on a real store, with keys to sign with.
type desk struct {
	*client.Registry
	t     testing.TB
	dir   string
	store *embedded.Store
	clock *clock
}

func config(kv store.KV, now func() time.Time) client.Config {
	return client.Config{KV: kv, Now: now, Secret: make([]byte, 32), TokenURL: tokenURL, Scopes: scope.New(words{})}
}

func newDesk(t testing.TB, change ...func(*client.Config)) *desk {
	t.Helper()
	d := &desk{t: t, dir: t.TempDir(), clock: new(clock)}
	d.clock.at.Store(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC).UnixNano())
	d.open(change...)
	t.Cleanup(func() { d.store.Close() })
	return d
}

func (d *desk) open(change ...func(*client.Config)) {
	d.t.Helper()
	var err error
	if d.store, err = embedded.Open(d.dir, embedded.Options{Now: d.clock.Now, Relaxed: true}); err != nil {
		d.t.Fatal(err)
	}
	c := config(d.store, d.clock.Now)
	for _, f := range change {
		f(&c)
	}
	if d.Registry, err = client.Open(c); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) put(c client.Client) client.Client {
	d.t.Helper()
	if c.Name == "" {
		c.Name = "App"
	}
	out, err := d.Put(context.Background(), c)
	if err != nil {
		d.t.Fatal(err)
	}
	return out
}

var keys = sync.OnceValue(func() map[string]crypto.Signer {
	out := map[string]crypto.Signer{}
	for _, kid := range []string{"rsa", "other"} {
		out[kid], _ = rsa.GenerateKey(rand.Reader, 2048)
	}
	out["ec"], _ = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	out["p256"], _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return out
})

func jwk(kid, as string) jose.JSONWebKey {
	return jose.JSONWebKey{Key: keys()[kid].Public(), KeyID: as}
}

func jwks(t testing.TB, list ...jose.JSONWebKey) []byte {
	t.Helper()
	raw, err := json.Marshal(jose.JSONWebKeySet{Keys: list})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// backend registers a service with an RSA and an EC key.
func (d *desk) backend(id string) client.Client {
	d.t.Helper()
	return d.put(client.Client{ID: id, Kind: client.Asymmetric, Grants: []string{client.GrantBackend},
		Scopes: []string{"system/Patient.rs", "system/Observation.rs"}, JWKS: jwks(d.t, jwk("rsa", "rsa"), jwk("ec", "ec"))})
}

type obj = map[string]any

func (d *desk) claims(id string, change obj) obj {
	c := obj{"iss": id, "sub": id, "aud": tokenURL, "exp": d.clock.Now().Unix() + 300, "jti": fmt.Sprint(rand.Text())}
	maps.Copy(c, change)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// sign makes a JWT with a header of its own; alg says how it is really signed.
func sign(t testing.TB, kid, alg string, head, claims obj) string {
	t.Helper()
	h := obj{"alg": alg, "kid": kid, "typ": "JWT"}
	maps.Copy(h, head)
	maps.DeleteFunc(h, func(_ string, v any) bool { return v == nil })
	a, _ := json.Marshal(h)
	b, _ := json.Marshal(claims)
	text := base64.RawURLEncoding.EncodeToString(a) + "." + base64.RawURLEncoding.EncodeToString(b)
	return text + "." + base64.RawURLEncoding.EncodeToString(signature(t, kid, alg, text))
}

func signature(t testing.TB, kid, alg, text string) []byte {
	t.Helper()
	hash := crypto.SHA384
	if alg == "RS256" || alg == "ES256" {
		hash = crypto.SHA256
	}
	sum := hash.New()
	sum.Write([]byte(text))
	switch key := keys()[kid].(type) {
	case *rsa.PrivateKey:
		out, err := rsa.SignPKCS1v15(rand.Reader, key, hash, sum.Sum(nil))
		if err != nil {
			t.Fatal(err)
		}
		return out
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, key, sum.Sum(nil))
		if err != nil {
			t.Fatal(err)
		}
		size := (key.Params().BitSize + 7) / 8
		out := make([]byte, 2*size)
		r.FillBytes(out[:size])
		s.FillBytes(out[size:])
		return out
	}
	t.Fatalf("no key %s", kid)
	return nil
}

func (d *desk) assertion(id string, change obj) string {
	return sign(d.t, "rsa", "RS384", nil, d.claims(id, change))
}

func asserted(token string) client.Credentials {
	return client.Credentials{Form: url.Values{
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {token}}}
}

func (d *desk) try(token string) error {
	_, err := d.Authenticate(context.Background(), asserted(token))
	return err
}

// refused fails unless err is an OAuth error of that code.
func refused(t testing.TB, err error, code string) *client.Error {
	t.Helper()
	var e *client.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("got %v, want %s", err, code)
	}
	if e.Status != 400 && e.Status != 401 {
		t.Fatalf("status %d", e.Status)
	}
	return e
}

func basic(id, secret string) client.Credentials {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	return client.Credentials{Authorization: r.Header.Values("Authorization")}
}
