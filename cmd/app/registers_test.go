package app_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"candela/cmd/app"
	"candela/fhir"
	"candela/smart/account"
	"candela/smart/client"
	"candela/smart/token"
	"candela/store/mongo/mongotest"
)

func registers(t *testing.T, address string) *app.Registers {
	t.Helper()
	c := app.Defaults()
	c.Store, c.Secret = address, []byte(strings.Repeat("s", 32))
	r, err := app.OpenRegisters(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// grant is an access token of a user for a client.
func grant(t *testing.T, r *app.Registers) string {
	t.Helper()
	const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	hash := sha256.Sum256([]byte(verifier))
	g := token.Grant{Client: "growth", User: "bob", FHIRUser: fhir.ParseReference("Patient/1"), Scope: "patient/*.rs", Patient: "1",
		Aud: "http://127.0.0.1:8080/fhir", AuthTime: time.Now()}
	code, err := r.Tokens.Code(t.Context(), g, "https://growth.example.org/cb", base64.RawURLEncoding.EncodeToString(hash[:]))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := r.Tokens.Redeem(t.Context(), token.Exchange{Client: token.Client{ID: "growth", Public: true}, Code: code,
		Redirect: "https://growth.example.org/cb", Verifier: verifier})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Tokens.Check(t.Context(), answer.AccessToken); err != nil {
		t.Fatal(err)
	}
	return answer.AccessToken
}

// T104: a user who is locked, or a client that is disabled, by a verb beside the
// running server has no good token a second later.
func TestT104_VerbsEndTokens(t *testing.T) {
	address := mongotest.URI(t)
	server, verb := registers(t, address), registers(t, address)
	if _, err := verb.Clients.Put(t.Context(), client.Client{ID: "growth", Name: "Growth", Kind: client.Public, Redirects: []string{"https://growth.example.org/cb"},
		Grants: []string{client.GrantCode}, Scopes: []string{"patient/*.rs"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := verb.Accounts.Put(t.Context(), account.User{Name: "bob", Role: account.Patient, FHIRUser: fhir.ParseReference("Patient/1")}); err != nil {
		t.Fatal(err)
	}
	for name, end := range map[string]func() error{
		"lock": func() error {
			return errors.Join(verb.Accounts.Lock(t.Context(), "bob"), verb.Accounts.Unlock(t.Context(), "bob"))
		},
		"disable": func() error { return verb.DisableClient(t.Context(), "growth", true) },
	} {
		if err := server.DisableClient(t.Context(), "growth", false); err != nil {
			t.Fatal(err)
		}
		access := grant(t, server)
		if err := end(); err != nil {
			t.Fatal(name, err)
		}
		time.Sleep(time.Second)
		var refused *token.Error
		if _, err := server.Tokens.Check(t.Context(), access); !errors.As(err, &refused) || refused.Status != 401 {
			t.Errorf("%s: the token is good for %v", name, err)
		}
	}
}

// The store of a running embedded server is said to be open, and what to do.
func TestRegistersOfAnOpenStore(t *testing.T) {
	address := "embedded:" + t.TempDir()
	registers(t, address)
	c := app.Defaults()
	c.Store = address
	_, err := app.OpenRegisters(t.Context(), c)
	var key *app.KeyError
	if !errors.As(err, &key) || key.Key != "store" || !strings.Contains(err.Error(), "stop the server first") {
		t.Fatal(err)
	}
}
