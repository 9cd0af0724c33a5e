package client_test

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"candela/smart/client"
	"candela/smart/egress"
	"candela/store"
)

func (d *desk) initial(p client.Permit) string {
	d.t.Helper()
	token, err := d.NewInitial(background, p, time.Hour)
	if err != nil {
		d.t.Fatal(err)
	}
	return token
}

func meta(t *testing.T, change obj) []byte {
	t.Helper()
	m := obj{"client_name": "App", "redirect_uris": []string{"https://app.example.org/cb"}, "token_endpoint_auth_method": "none",
		"grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"}, "scope": "launch openid patient/*.rs"}
	for k, v := range change {
		m[k] = v
	}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func answered(t *testing.T, g client.Registration) obj {
	t.Helper()
	raw, err := g.Answer("https://ehr.example.org/auth/register/" + g.Client.ID)
	if err != nil {
		t.Fatal(err)
	}
	out := obj{}
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestR25_Register(t *testing.T) {
	d := newDesk(t)
	initial := d.initial(client.Permit{})
	got, err := d.Register(background, meta(t, nil), initial)
	if err != nil {
		t.Fatal(err)
	}
	said := answered(t, got)
	if said["client_id"] != got.Client.ID || said["registration_access_token"] != got.Token || len(got.Token) < 43 ||
		said["client_secret"] != nil || said["scope"] != "launch openid patient/*.rs" || said["token_endpoint_auth_method"] != "none" {
		t.Fatal(said)
	}
	if _, err := d.Authenticate(background, form("client_id", got.Client.ID)); err != nil {
		t.Fatal(err)
	}
	record, _ := d.store.KVGet(background, "smart.client", got.Client.ID)
	if strings.Contains(string(record), got.Token) {
		t.Fatal("the registration access token is in the store")
	}
	// Defaults of RFC 7591: a secret by Basic, the code grant.
	got, err = d.Register(background, []byte(`{"redirect_uris":["https://b.org/cb"],"unknown":{"a":1}}`), initial)
	if err != nil {
		t.Fatal(err)
	}
	said = answered(t, got)
	if said["token_endpoint_auth_method"] != "client_secret_basic" || said["client_secret"] != got.Secret || said["client_secret_expires_at"] != 0.0 {
		t.Fatal(said)
	}
	if _, err := d.Authenticate(background, basic(got.Client.ID, got.Secret)); err != nil {
		t.Fatal(err)
	}
	set := json.RawMessage(jwks(t, jwk("rsa", "rsa")))
	got, err = d.Register(background, meta(t, obj{"token_endpoint_auth_method": "private_key_jwt", "jwks": set}), initial)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.try(d.assertion(got.Client.ID, nil)); err != nil {
		t.Fatal(err)
	}
}

func TestT59_Registration(t *testing.T) {
	g, err := egress.New(egress.Config{Allow: []string{"*"}})
	if err != nil {
		t.Fatal(err)
	}
	set := json.RawMessage(jwks(t, jwk("rsa", "rsa")))
	signed := func(change obj) obj { change["token_endpoint_auth_method"] = "private_key_jwt"; return change }
	for _, check := range []func(string) error{nil, g.Check} {
		d := newDesk(t, func(c *client.Config) { c.Check = check })
		initial := d.initial(client.Permit{Once: true})
		for name, change := range map[string]obj{
			"javascript":     {"redirect_uris": []string{"javascript:alert(1)"}},
			"http":           {"redirect_uris": []string{"https://a.org/cb", "http://a.org/cb"}},
			"wildcard":       {"redirect_uris": []string{"https://*.a.org/cb"}},
			"fragment":       {"redirect_uris": []string{"https://a.org/cb#"}},
			"none":           {"redirect_uris": []string{}},
			"text":           {"redirect_uris": "https://a.org/cb"},
			"metadata":       signed(obj{"jwks_uri": "http://169.254.169.254/latest"}),
			"metadata https": signed(obj{"jwks_uri": "https://169.254.169.254/latest"}),
			"mapped":         signed(obj{"jwks_uri": "https://[::ffff:127.0.0.1]/"}),
			"this machine":   signed(obj{"jwks_uri": "http://localhost/"}),
			"file":           signed(obj{"jwks_uri": "file:///etc/passwd"}),
			"both":           signed(obj{"jwks_uri": "https://a.org/jwks", "jwks": set}),
			"neither":        signed(obj{}),
			"keys unused":    {"jwks": set},
			"all":            {"scope": "system/*.*"},
			"all v2":         {"scope": "system/*.cruds"},
			"unknown scope":  {"scope": "patient/*.rs patient/Foo.rs"},
			"backend":        signed(obj{"jwks": set, "grant_types": []string{"client_credentials"}, "scope": "system/*.*"}),
			"password":       {"grant_types": []string{"password"}},
			"implicit":       {"response_types": []string{"token"}},
			"method":         {"token_endpoint_auth_method": "tls_client_auth"},
			"alg":            signed(obj{"jwks": set, "token_endpoint_auth_signing_alg": "RS256"}),
			"logo":           {"logo_uri": "javascript:alert(1)"},
			"name":           {"client_name": "a\u202eb"},
			"name as list":   {"client_name": []string{"a"}},
			"launch":         {"initiate_login_uri": "javascript:alert(1)"},
		} {
			t.Run(name, func(t *testing.T) {
				_, err := d.Register(background, meta(t, change), initial)
				if e := refused(t, err, "invalid_client_metadata"); e.Status != 400 {
					t.Errorf("status %d", e.Status)
				}
			})
		}
		for _, raw := range []string{"", "{", "[]", "null x", `{"redirect_uris":["https://a.org"],"redirect_uris":["https://b.org"]}`, strings.Repeat("[", 1<<20)} {
			_, err := d.Register(background, []byte(raw), initial)
			refused(t, err, "invalid_client_metadata")
		}
		for range d.List(background) {
			t.Fatal("a client is registered")
		}
		if _, err := d.Register(background, meta(t, nil), initial); err != nil {
			t.Errorf("the permit for one client was used up by refusals: %v", err)
		}
	}
}

func TestR25_Permits(t *testing.T) {
	d := newDesk(t)
	for _, token := range []string{"", "x", strings.Repeat("x", 1<<20)} {
		_, err := d.Register(background, meta(t, nil), token)
		refused(t, err, "invalid_token")
	}
	once := d.initial(client.Permit{Once: true})
	var won atomic.Int32
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if _, err := d.Register(background, meta(t, nil), once); err == nil {
				won.Add(1)
			}
		})
	}
	if all.Wait(); won.Load() != 1 {
		t.Errorf("a permit for one client registered %d", won.Load())
	}
	service := d.initial(client.Permit{Scopes: []string{"system/Patient.rs"}, Grants: []string{client.GrantBackend}})
	m := obj{"token_endpoint_auth_method": "private_key_jwt", "jwks": json.RawMessage(jwks(t, jwk("rsa", "rsa"))),
		"grant_types": []string{"client_credentials"}, "redirect_uris": nil, "response_types": nil, "scope": "system/Patient.r"}
	got, err := d.Register(background, meta(t, m), service)
	if err != nil || got.Client.Scopes[0] != "system/Patient.r" {
		t.Fatal(err)
	}
	m["scope"] = "system/Patient.cruds"
	_, err = d.Register(background, meta(t, m), service)
	refused(t, err, "invalid_client_metadata")
	d.clock.Advance(time.Hour)
	_, err = d.Register(background, meta(t, nil), service)
	refused(t, err, "invalid_token")
	ended := d.initial(client.Permit{})
	if err := d.EndInitial(background, ended); err != nil {
		t.Fatal(err)
	}
	_, err = d.Register(background, meta(t, nil), ended)
	refused(t, err, "invalid_token")
}

func TestR25_Manage(t *testing.T) {
	d := newDesk(t)
	initial := d.initial(client.Permit{})
	mine, err := d.Register(background, meta(t, nil), initial)
	if err != nil {
		t.Fatal(err)
	}
	other, _ := d.Register(background, meta(t, nil), initial)
	d.put(app("operators", "https://a.org/cb"))
	id := mine.Client.ID
	for _, pair := range [][2]string{{id, other.Token}, {id, ""}, {id, initial}, {"none", mine.Token}, {"operators", mine.Token}, {"operators", ""}} {
		_, err := d.Read(background, pair[0], pair[1])
		refused(t, err, "invalid_token")
		_, err = d.Update(background, pair[0], pair[1], meta(t, obj{"client_id": pair[0]}))
		refused(t, err, "invalid_token")
		refused(t, d.Remove(background, pair[0], pair[1]), "invalid_token")
	}
	read, err := d.Read(background, id, mine.Token)
	if err != nil || answered(t, read)["client_name"] != "App" {
		t.Fatal(err)
	}
	for _, change := range []obj{{}, {"client_id": other.Client.ID}, {"client_id": id, "scope": "system/*.*"},
		{"client_id": id, "client_secret": "mine"}, {"client_id": id, "redirect_uris": []string{"javascript:1"}}} {
		_, err := d.Update(background, id, mine.Token, meta(t, change))
		refused(t, err, "invalid_client_metadata")
	}
	now, err := d.Update(background, id, mine.Token, meta(t, obj{"client_id": id, "client_name": "New", "token_endpoint_auth_method": "client_secret_post"}))
	if err != nil || now.Client.Name != "New" || now.Secret == "" {
		t.Fatal(err)
	}
	again, err := d.Update(background, id, mine.Token, meta(t, obj{"client_id": id, "client_secret": now.Secret, "token_endpoint_auth_method": "client_secret_post"}))
	if err != nil || again.Secret != "" || answered(t, again)["token_endpoint_auth_method"] != "client_secret_post" {
		t.Fatal(err)
	}
	if _, err := d.Authenticate(background, form("client_id", id, "client_secret", now.Secret)); err != nil {
		t.Fatal(err)
	}
	if err := d.Remove(background, id, mine.Token); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Get(background, id); !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
}
