package guard_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"

	"candela/fhir"
	"candela/smart/guard"
	"candela/smart/token"
)

// Tokens of another authorization server open what the policy for them allows,
// whatever they are called.
func TestOutsideTokens(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		raw, _ := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k"}}})
		_, _ = w.Write(raw)
	}))
	defer host.Close()
	var now func() time.Time
	var policy fhir.Access
	s := open(t, func(c *guard.Config) {
		now = c.Now
		c.Outside, err = token.NewOutside(token.OutsideConfig{Issuer: "https://as.example", Audience: base, JWKS: host.URL, HTTP: host.Client(), Now: c.Now})
		if err != nil {
			t.Fatal(err)
		}
		c.OutsidePolicy = policy
		c.Relabel = func(string, string) bool { return true }
	})
	sign := func(change map[string]any) string {
		claims := map[string]any{
			"iss": "https://as.example", "aud": base, "exp": now().Add(time.Hour).Unix(), "iat": now().Unix(), "sub": "u", "client_id": "app",
			"scope": "patient/*.cruds", "patient": "a", "jti": "j",
		}
		for name, value := range change {
			claims[name] = value
		}
		raw, err := json.Marshal(claims)
		if err != nil {
			t.Fatal(err)
		}
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES384, Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		signed, err := signer.Sign(raw)
		if err != nil {
			t.Fatal(err)
		}
		text, err := signed.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	if status, _ := s.refusalOf(request(sign(nil), "Patient/a")); status != 403 {
		t.Errorf("without a policy: %d", status)
	}
	s.OutsidePolicy = fhir.Access{{Type: "*", Letters: "rs"}}
	s.clock.Advance(time.Second)
	for name, c := range map[string]struct {
		change map[string]any
		want   string
	}{
		"a patient":             {nil, "a oa ca"},
		"the other, same jti":   {map[string]any{"patient": "b"}, "b ob"},
		"less, same jti":        {map[string]any{"scope": "patient/Condition.rs"}, "ca"},
		"a practitioner's user": {map[string]any{"scope": "user/Observation.rs", "fhirUser": base + "/Practitioner/r"}, "oa ob"},
		"a patient's user":      {map[string]any{"scope": "user/*.rs", "fhirUser": base + "/Patient/a"}, ""},
	} {
		if got := s.sees(sign(c.change)); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if status, _ := s.refusalOf(request(sign(map[string]any{"scope": "system/*.rs", "fhirUser": base + "/Practitioner/r"}), "Patient")); status != 403 {
		t.Errorf("system/ of a user: %d", status)
	}
	ours := s.token("ann", "patient/*.rs", "a")
	info, err := s.tokens.Check(t.Context(), ours)
	s.must(err)
	s.sees(ours)
	if got := s.sees(sign(map[string]any{"jti": info.JTI, "patient": "b"})); got != "b ob" {
		t.Errorf("a foreign token named like one of ours: %q", got)
	}
	c, err := s.Caller(request(sign(nil), "Patient/a"))
	s.must(err)
	for _, rule := range c.Access {
		if rule.Letters != "rs" {
			t.Errorf("leave by another server: %+v", rule)
		}
	}
	if status, _ := s.refusalOf(request(sign(map[string]any{"scope": "user/*.rs", "fhirUser": base + "/Practitioner/r"}), "Patient/b", guard.PurposeHeader, "BTG", guard.ReasonHeader, "because I can")); status != 403 {
		t.Errorf("the glass by a foreign token: %d", status)
	}
}
