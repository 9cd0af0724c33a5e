//go:build clients

package clients_test

import (
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// plan is what a backend service is told.
type plan struct {
	Base      string `json:"base"`
	Client    string `json:"client"`
	Kid       string `json:"kid,omitzero"`
	Key       string `json:"key,omitzero"`
	Assertion string `json:"assertion,omitzero"`
	Scope     string `json:"scope"`
	Patient   string `json:"patient"`
}

const reads = "system/Patient.rs system/Observation.rs"

// fhir-kit-client (Node.js) with a token by RS384.
func TestBackend_FHIRKitClient(t *testing.T) {
	c := open(t)
	got := run[struct {
		Before, Token, Again, Found, Pages, Write, Other int
		Scope, Read                                      string
	}](t, npm(t), plan{Base: c.base, Client: "kit", Kid: c.rs.id, Key: c.rs.pem(t), Scope: reads, Patient: c.patient[1].id}, "node", script(t, "backend.mjs"))[0]
	if got.Before != 401 || got.Token != 200 || got.Scope != reads {
		t.Errorf("token: %+v", got)
	}
	if got.Again != 400 && got.Again != 401 {
		t.Errorf("the assertion was good twice: %d", got.Again)
	}
	if got.Read != c.patient[1].id || got.Pages != 3 || got.Found < 21 {
		t.Errorf("read: %+v", got)
	}
	if got.Write != 403 || got.Other != 403 {
		t.Errorf("beyond its scopes: %+v", got)
	}
}

// fhirclient (Python) with a token by ES384, and the models it reads into.
func TestBackend_PythonFHIRClient(t *testing.T) {
	c := open(t)
	got := run[struct {
		Ready, ReadyNow                 bool
		Auth, Scope, Read               string
		Before, Found, Strangers, Write int
	}](t, "", plan{Base: c.base, Client: "py", Assertion: c.assertion(t, "py", c.es), Scope: reads, Patient: c.patient[1].id}, python(t), script(t, "backend.py"))[0]
	if got.Ready || got.Auth != "oauth2" || got.Before != 401 || !got.ReadyNow || got.Scope != reads {
		t.Errorf("token: %+v", got)
	}
	if got.Read != c.patient[1].id || got.Found <= 10 || got.Strangers != 0 {
		t.Errorf("read: %+v", got)
	}
	if got.Write != 403 {
		t.Errorf("beyond its scopes: %+v", got)
	}
}

// assertion is a client_assertion, which this client takes ready-made.
func (c *clinic) assertion(t *testing.T, id string, k key) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES384, Key: jose.JSONWebKey{Key: k.private, KeyID: k.id}}, (&jose.SignerOptions{}).WithType("JWT"))
	must(t, err)
	text, err := jwt.Signed(signer).Claims(jwt.Claims{Issuer: id, Subject: id, Audience: jwt.Audience{c.auth + "/token"},
		Expiry: jwt.NewNumericDate(time.Now().Add(4 * time.Minute)), ID: "once-" + k.id}).Serialize()
	must(t, err)
	return text
}
