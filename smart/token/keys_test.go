package token_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"

	"candela/smart/token"
)

// published is a key set that reads the JWKS of a house each time.
type published struct{ h *house }

func (p published) VerifySignature(ctx context.Context, text string) ([]byte, error) {
	keys := keysOf(p.h.t, p.h)
	public := &oidc.StaticKeySet{}
	signed, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return nil, err
	}
	for _, k := range keys.Key(signed.Signatures[0].Header.KeyID) {
		public.PublicKeys = append(public.PublicKeys, k.Key)
	}
	return public.VerifySignature(ctx, text)
}

func keysOf(t testing.TB, h *house) jose.JSONWebKeySet {
	t.Helper()
	raw, err := h.JWKS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(raw, &set); err != nil {
		t.Fatal(err)
	}
	return set
}

func kids(t testing.TB, h *house) (out []string) {
	for _, k := range keysOf(t, h).Keys {
		out = append(out, k.KeyID)
	}
	return out
}

func verify(h *house, text string) (*oidc.IDToken, error) {
	v := oidc.NewVerifier(issuer, published{h}, &oidc.Config{ClientID: "app", SupportedSigningAlgs: []string{oidc.RS256}, Now: h.clock.Now})
	return v.Verify(h.t.Context(), text)
}

// verified are the claims of an id_token that go-oidc takes.
func verified(t testing.TB, h *house, text string) []byte {
	t.Helper()
	id, err := verify(h, text)
	if err != nil {
		t.Fatal(err)
	}
	var raw json2
	if err := id.Claims(&raw); err != nil {
		t.Fatal(err)
	}
	return raw
}

type json2 []byte

func (j *json2) UnmarshalJSON(raw []byte) error { *j = append(json2(nil), raw...); return nil }

func kidOf(t testing.TB, text string) string {
	t.Helper()
	signed, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	return signed.Signatures[0].Header.KeyID
}

func withIdentity() token.Grant {
	g := grant()
	g.Scope, g.Nonce = allScope, "n-0S6"
	return g
}

type claims struct {
	Iss, Sub, Nonce, FHIRUser string
	Aud                       string
	Exp, Iat, AuthTime        int64
}

func read(t testing.TB, raw []byte) (c claims) {
	t.Helper()
	text := strings.ReplaceAll(string(raw), "auth_time", "authTime")
	if err := json.Unmarshal([]byte(text), &c, json.MatchCaseInsensitiveNames(true)); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestR14_IDToken(t *testing.T) {
	h := open(t)
	g := withIdentity()
	g.AuthTime = h.clock.Now().Add(-time.Minute)
	a := h.sign(g)
	now := h.clock.Now().Unix()
	first := read(t, verified(t, h, a.IDToken))
	if first.Iss != issuer || first.Aud != "app" || first.Nonce != "n-0S6" || first.Iat != now || first.Exp <= now ||
		first.Sub == "" || len(first.Sub) > 255 || strings.Contains(first.Sub, "ada") || first.FHIRUser != base+"/Practitioner/p1" || first.AuthTime != now-60 {
		t.Fatalf("claims %+v", first)
	}
	b, err := h.renew(a.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	again := read(t, verified(t, h, b.IDToken))
	if again.Sub != first.Sub || again.Nonce != "" || again.AuthTime != first.AuthTime || again.FHIRUser != first.FHIRUser {
		t.Fatalf("claims of the refresh %+v", again)
	}
	narrow, err := h.Refresh(t.Context(), token.Renewal{Client: app, Token: b.RefreshToken, Scope: "patient/Patient.rs"})
	if err != nil || narrow.IDToken != "" {
		t.Fatalf("an id_token that was not asked for, %v", err)
	}

	g.Scope, g.User = "openid patient/Patient.rs", "bob"
	other := read(t, verified(t, h, h.sign(g).IDToken))
	if other.FHIRUser != "" || other.Sub == first.Sub {
		t.Fatalf("claims of another user without fhirUser %+v", other)
	}
	h.clock.Add(2 * time.Hour)
	if _, err := verify(h, a.IDToken); err == nil {
		t.Fatal("an id_token without end")
	}
}

func TestR14_KeysArePublicAndBare(t *testing.T) {
	h := open(t)
	raw, err := h.JWKS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(raw, &set, json.MatchCaseInsensitiveNames(true)); err != nil || len(set.Keys) != 1 {
		t.Fatalf("%s, %v", raw, err)
	}
	k := set.Keys[0]
	if len(k) != 6 || k["kty"] != "RSA" || k["alg"] != "RS256" || k["use"] != "sig" || k["kid"] == "" || k["e"] != "AQAB" || len(k["n"]) != 342 {
		t.Fatalf("key %v", k)
	}
	if stored := h.kv.dump(); strings.Contains(stored, k["kid"]) {
		t.Fatal("the keys lie open in the store")
	}
}

func TestR14_Rotation(t *testing.T) {
	h := open(t)
	other := openOn(t, h.kv, h.clock)
	old := h.sign(withIdentity()).IDToken
	if a, b := kids(t, h), kids(t, other); a[0] != b[0] || len(a) != 1 {
		t.Fatalf("two processes have %v and %v", a, b)
	}
	if err := h.Rotate(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if got := kids(t, h); len(got) != 2 || got[1] != kidOf(t, old) {
		t.Fatalf("published %v", got)
	}
	h.clock.Add(10 * time.Second)
	if got := kids(t, other); len(got) != 2 {
		t.Fatalf("another process publishes %v", got)
	}
	if kidOf(t, h.sign(withIdentity()).IDToken) != kidOf(t, old) {
		t.Fatal("the new key signs before all know it")
	}
	h.clock.Add(time.Minute)
	last := h.sign(withIdentity()).IDToken
	if kidOf(t, last) == kidOf(t, old) || kidOf(t, last) != kidOf(t, other.sign(withIdentity()).IDToken) {
		t.Fatal("the new key does not sign")
	}
	verified(t, other, last)
	h.clock.Add(23 * time.Hour)
	if got := kids(t, other); len(got) != 2 {
		t.Fatalf("the old key went early: %v", got)
	}
	h.clock.Add(2 * time.Hour)
	if got := kids(t, other); len(got) != 1 || got[0] != kidOf(t, last) {
		t.Fatalf("published %v", got)
	}
	for range 2 { // two at once leave no gap
		if err := h.Rotate(t.Context(), false); err != nil {
			t.Fatal(err)
		}
	}
	if got := kids(t, h); len(got) != 3 || kidOf(t, h.sign(withIdentity()).IDToken) != got[2] {
		t.Fatalf("published %v", got)
	}
}

func TestR14_CompromisedKey(t *testing.T) {
	h := open(t)
	old := h.sign(withIdentity()).IDToken
	if err := h.Rotate(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if _, err := verify(h, old); err == nil {
		t.Fatal("the compromised key is published")
	}
	verified(t, h, h.sign(withIdentity()).IDToken)

	moved := openOn(t, h.kv, h.clock, func(c *token.Config) { c.Secret = []byte(strings.Repeat("x", 32)) })
	_, err := moved.JWKS(t.Context())
	trouble(t, err)
	trouble(t, moved.Rotate(t.Context(), false))
	if err := moved.Rotate(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	verified(t, moved, moved.sign(withIdentity()).IDToken)
}

func TestR14_FirstKeyOfManyProcesses(t *testing.T) {
	c := newClock()
	kv := newMemory(c)
	houses := make([]*house, 4)
	for i := range houses {
		houses[i] = openOn(t, kv, c)
	}
	won := parallel(t, 4, func(i int) error { _, err := houses[i].JWKS(t.Context()); return err })
	for _, h := range houses {
		if got := kids(t, h); won != 4 || len(got) != 1 || got[0] != kids(t, houses[0])[0] {
			t.Fatalf("%d answered; keys %v", won, got)
		}
	}
}

func TestR14_TroubleWithKeysCostsNoCode(t *testing.T) {
	h := open(t)
	h.kv.set("smart.key", "id_token", []byte("damaged"), 0)
	text := h.code(withIdentity())
	_, err := h.Redeem(t.Context(), exchange(text))
	trouble(t, err)
	plain := h.sign(grant()) // needs no key
	h.good(plain.AccessToken)
	if err := h.Rotate(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	a, err := h.Redeem(t.Context(), exchange(text))
	if err != nil {
		t.Fatal(err)
	}
	h.kv.set("smart.key", "id_token", []byte("damaged"), 0)
	h.clock.Add(time.Minute)
	_, err = h.renew(a.RefreshToken)
	trouble(t, err)
	if err := h.Rotate(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if _, err = h.renew(a.RefreshToken); err != nil {
		t.Fatalf("the trouble cost the grant: %v", err)
	}
}

func TestR14_Sign(t *testing.T) {
	h := open(t)
	text, err := h.Sign(t.Context(), []byte(`{"a":1}`))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := published{h}.VerifySignature(t.Context(), text)
	if err != nil || string(payload) != `{"a":1}` {
		t.Fatalf("%s, %v", payload, err)
	}
}
