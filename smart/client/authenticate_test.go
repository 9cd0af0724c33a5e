package client_test

import (
	"context"
	"encoding/base64"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"candela/smart/client"
	"candela/store"
)

func (d *desk) confidential(id string) string {
	d.t.Helper()
	c := app(id, "https://app.example.org/cb")
	c.Kind = client.Symmetric
	d.put(c)
	secret, err := d.NewSecret(background, id, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	return secret
}

func form(pairs ...string) client.Credentials {
	f := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		f.Add(pairs[i], pairs[i+1])
	}
	return client.Credentials{Form: f}
}

func TestR17_Secrets(t *testing.T) {
	d := newDesk(t)
	secret := d.confidential("one")
	other := d.confidential("two")
	if raw, err := base64.RawURLEncoding.DecodeString(secret); err != nil || len(raw) < 32 {
		t.Fatalf("the secret has %d octets, %v", len(raw), err)
	}
	record, err := d.store.KVGet(background, "smart.client", "one")
	if err != nil || strings.Contains(string(record), secret) {
		t.Fatalf("the secret is in the store, or nothing is: %v", err)
	}
	both := basic("one", secret)
	both.Form = url.Values{"client_id": {"one"}}
	for _, good := range []client.Credentials{basic("one", secret), both, form("client_id", "one", "client_secret", secret),
		{Authorization: []string{"bAsIc " + strings.TrimPrefix(basic("one", secret).Authorization[0], "Basic ")}},
		{Authorization: []string{"Basic " + base64.StdEncoding.EncodeToString([]byte("%6Fne:"+secret))}}} {
		if c, err := d.Authenticate(background, good); err != nil || c.ID != "one" {
			t.Errorf("%v: %v", good, err)
		}
	}
	for _, bad := range []client.Credentials{{}, basic("one", other), basic("two", secret), basic("three", secret), basic("one", ""), basic("", secret),
		basic("one", secret+"x"), basic("one", secret[:42]), form("client_id", "one"), form("client_id", "one", "client_secret", ""),
		form("client_secret", secret), form("client_id", "one", "client_secret", "x"),
		{Authorization: []string{"Basic"}}, {Authorization: []string{"Basic !"}}, {Authorization: []string{""}},
		{Authorization: []string{"Bearer " + secret}}, {Authorization: []string{"Basic " + base64.StdEncoding.EncodeToString([]byte("one"))}},
		{Authorization: []string{"Basic " + base64.StdEncoding.EncodeToString([]byte("one:%zz"))}},
		{Authorization: []string{"Basic " + strings.Repeat("A", 1<<20)}}} {
		_, err := d.Authenticate(background, bad)
		if e := refused(t, err, "invalid_client"); e.Status != 401 {
			t.Errorf("%.80v: status %d", bad, e.Status)
		}
	}
	if err := d.SetSecret(background, "one", strings.Repeat("a", 42), 0); err == nil {
		t.Error("a secret of 42 octets is taken")
	}
}

func TestR17_TwoMethods(t *testing.T) {
	d := newDesk(t)
	secret := d.confidential("one")
	d.backend("svc")
	token := d.assertion("svc", nil)
	post := form("client_id", "one", "client_secret", secret)
	withBasic := func(c client.Credentials) client.Credentials {
		c.Authorization = basic("one", secret).Authorization
		return c
	}
	withPost := asserted(token)
	withPost.Form.Set("client_secret", secret)
	twice := basic("one", secret)
	twice.Authorization = append(twice.Authorization, twice.Authorization...)
	lone := form("client_assertion", token)
	wrong := asserted(token)
	wrong.Form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer")
	for name, sent := range map[string]client.Credentials{
		"basic and post": withBasic(post), "basic and assertion": withBasic(asserted(token)), "post and assertion": withPost,
		"two headers": twice, "no assertion type": lone, "type alone": form("client_assertion_type", wrong.Form.Get("client_assertion_type")),
		"wrong type": wrong, "two ids": withBasic(form("client_id", "svc")),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := d.Authenticate(background, sent)
			if e := refused(t, err, "invalid_client"); e.Status != 400 {
				t.Errorf("status %d", e.Status)
			}
		})
	}
	_, err := d.Authenticate(background, form("client_id", "one", "client_secret", secret, "client_secret", secret))
	refused(t, err, "invalid_request")
	if err := d.try(token); err != nil {
		t.Errorf("the assertion was used up by requests that were refused: %v", err)
	}
}

func TestR17_Rotation(t *testing.T) {
	d := newDesk(t)
	first := d.confidential("one")
	second, _ := d.NewSecret(background, "one", time.Hour)
	check := func(secret string, good bool) {
		t.Helper()
		_, err := d.Authenticate(background, basic("one", secret))
		if good && err != nil {
			t.Fatal(err)
		} else if !good {
			refused(t, err, "invalid_client")
		}
	}
	check(first, true)
	check(second, true)
	third, err := d.NewSecret(background, "one", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	check(first, false)
	check(second, true)
	d.clock.Advance(time.Hour)
	check(second, false)
	check(third, true)
	fourth, _ := d.NewSecret(background, "one", 0)
	check(third, false)
	check(fourth, true)
	d.backend("svc")
	if _, err := d.NewSecret(background, "svc", 0); err == nil {
		t.Error("a service has a secret")
	}
}

func TestR17_Public(t *testing.T) {
	d := newDesk(t)
	d.put(app("app", "https://app.example.org/cb"))
	if c, err := d.Authenticate(background, form("client_id", "app")); err != nil || c.ID != "app" {
		t.Fatal(err)
	}
	_, err := d.Authenticate(background, form("client_id", "app", "client_secret", "x"))
	refused(t, err, "invalid_client")
	_, err = d.Authenticate(background, basic("app", ""))
	refused(t, err, "invalid_client")
	if err := d.Disable(background, "app", true); err != nil {
		t.Fatal(err)
	}
	_, err = d.Authenticate(background, form("client_id", "app"))
	refused(t, err, "invalid_client")
}

// broken is a store that is down, for writes or for all.
type broken struct {
	store.KV
	reads bool
}

func (b broken) KVGet(ctx context.Context, bucket, key string) ([]byte, error) {
	if b.reads {
		return nil, store.ErrUnavailable
	}
	return b.KV.KVGet(ctx, bucket, key)
}

func (b broken) KVSwap(context.Context, string, string, []byte, []byte, time.Duration) error {
	return store.ErrUnavailable
}

// R52: a store that is down says nothing about who the client is.
func TestR52_StoreDown(t *testing.T) {
	d := newDesk(t)
	secret := d.confidential("one")
	d.backend("svc")
	for _, reads := range []bool{true, false} {
		r, err := client.Open(config(broken{d.store, reads}, d.clock.Now))
		if err != nil {
			t.Fatal(err)
		}
		sent := []client.Credentials{asserted(d.assertion("svc", nil))}
		if reads {
			sent = append(sent, basic("one", secret), basic("none", secret), form("client_id", "one"))
		}
		for _, one := range sent {
			_, err := r.Authenticate(background, one)
			var e *client.Error
			if !errors.Is(err, store.ErrUnavailable) || errors.As(err, &e) {
				t.Errorf("%v", err)
			}
		}
	}
}
