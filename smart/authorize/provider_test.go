package authorize_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"candela/smart/account"
	"candela/smart/authorize"
)

// hospital is an OpenID Connect provider that signs everybody in as one nurse.
func hospital(t *testing.T, now func() time.Time) *httptest.Server {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	var web *httptest.Server
	nonce := ""
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":%q,"token_endpoint":%q,"jwks_uri":%q}`, web.URL, web.URL+"/authorize", web.URL+"/token", web.URL+"/jwks")
	})
	mux.HandleFunc("/jwks", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "RS256", Use: "sig"}}})
	})
	mux.HandleFunc("/authorize", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		nonce = q.Get("nonce")
		http.Redirect(w, r, q.Get("redirect_uri")+"?"+url.Values{"code": {"c"}, "state": {q.Get("state")}}.Encode(), http.StatusSeeOther)
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, _ *http.Request) {
		signer, _ := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, nil)
		claims, _ := json.Marshal(map[string]any{"iss": web.URL, "aud": "us", "sub": "n1", "exp": now().Add(time.Minute).Unix(), "iat": now().Unix(), "nonce": nonce,
			"name": "Nurse Joy", "preferred_username": "joy", "fhirUser": "Practitioner/n1", "groups": []string{"nurses"}, "amr": []string{"mfa"}})
		signed, _ := signer.Sign(claims)
		text, _ := signed.CompactSerialize()
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":"x","token_type":"Bearer","id_token":%q}`, text)
	})
	web = httptest.NewServer(mux)
	t.Cleanup(web.Close)
	return web
}

// Staff sign in at the hospital's provider and go on where they were.
func TestR11_StaffSignInAtTheProvider(t *testing.T) {
	var web *httptest.Server
	h := open(t, func(c *authorize.Config) {
		web = hospital(t, c.Now)
		var err error
		c.Provider, err = c.Accounts.Provider(account.ProviderConfig{Name: "hospital", Issuer: web.URL, ClientID: "us", ClientSecret: "s",
			Redirect: strings.TrimSuffix(authorize.TokenURL(c.Base), "token") + "callback", HTTP: web.Client(), Factor: []string{"mfa"},
			Roles: []account.RoleRule{{Claim: "groups", Value: "nurses", Role: account.Nurse}}})
		if err != nil {
			t.Fatal(err)
		}
		c.ProviderLabel = "St. Mary's"
	})
	b := h.browser()
	b.http.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), h.url) || strings.HasPrefix(r.URL.String(), web.URL) {
			return nil
		}
		return http.ErrUseLastResponse
	}
	b.authorize("scope", "openid fhirUser launch/patient user/Patient.rs")
	if !strings.Contains(b.last.body, "Sign in with St. Mary&#39;s") {
		t.Fatal(b.last.body)
	}
	form := b.form()
	through := "/auth/provider?ask=" + form.Get("ask")
	if got := b.get(through); got.StatusCode != 403 {
		t.Errorf("begun by a link from elsewhere: %d", got.StatusCode)
	}
	b.get(through + "&token=" + form.Get("token"))
	b.shows("Choose a patient")
	if !strings.Contains(b.last.body, "Nurse Joy") {
		t.Error(b.last.body)
	}
	b.fill("patient", "patient", "p2")
	b.allow()
	got := b.post("/auth/token", exchange(b.codeOf())).json(t)
	if got["patient"] != "p2" || got["id_token"] == nil {
		t.Errorf("%v", got)
	}
	stranger := h.browser()
	if got := stranger.get("/auth/callback?state=x&code=c"); got.StatusCode != 400 {
		t.Errorf("an answer that nobody asked for: %d", got.StatusCode)
	}
}
