package token_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"candela/smart/token"
)

// only wants nil or a refusal with a status of the caller's.
func only(t *testing.T, err error) {
	t.Helper()
	var e *token.Error
	if err != nil && (!errors.As(err, &e) || e.Status < 400 || e.Status > 499) {
		t.Fatal(err)
	}
}

func FuzzBearer(f *testing.F) {
	h := open(f)
	a := h.sign(grant())
	for _, seed := range []string{"Bearer " + a.AccessToken, "Bearer " + a.RefreshToken, "bearer\tx", "Basic YTpi", "", "Bearer ", "Bearer a=b", "Bearer\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		bearer, err := token.Bearer(http.Header{"Authorization": {header}})
		only(t, err)
		if err == nil && (bearer == "" || !strings.HasSuffix(header, " "+bearer) || strings.ContainsAny(bearer, " \t\r\n\x00,\"")) {
			t.Fatalf("%q gives %q", header, bearer)
		}
		_, after, _ := strings.Cut(header, " ")
		info, err := h.Check(t.Context(), after)
		only(t, err)
		if (err == nil) != (after == a.AccessToken) {
			t.Fatalf("%q is taken as a token of %+v", after, info)
		}
		only(t, h.Revoke(t.Context(), strings.TrimSuffix(after, a.RefreshToken), thief))
	})
}

func FuzzVerifier(f *testing.F) {
	h := open(f)
	for _, seed := range []string{verifier, "", strings.Repeat("a", 42), strings.Repeat("a", 128), strings.Repeat("a", 129), strings.Repeat("ä", 43), verifier + "\n", challenge(verifier)} {
		f.Add(seed, challenge(seed))
		f.Add(seed, challenge(verifier))
	}
	f.Fuzz(func(t *testing.T, v, c string) {
		text, err := h.Code(t.Context(), grant(), redirect, c)
		only(t, err)
		if err != nil {
			if c == challenge(v) {
				t.Fatalf("%q is refused", c)
			}
			return
		}
		_, err = h.Redeem(t.Context(), token.Exchange{Client: app, Code: text, Redirect: redirect, Verifier: v})
		only(t, err)
		plain := len(v) >= 43 && len(v) <= 128 && strings.Trim(v, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~") == ""
		if (err == nil) != (plain && c == challenge(v)) {
			t.Fatalf("verifier %q for %q: %v", v, c, err)
		}
	})
}

func FuzzContext(f *testing.F) {
	for _, seed := range []string{`[{"reference":"Task/1","role":"launch"}]`, `[{"canonical":"https://x/y"}]`, `[{"identifier":{}}]`, `[]`, `[{"__a":1}]`, "", "null"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		err := token.ValidateContext([]byte(raw))
		only(t, err)
		if err != nil {
			return
		}
		body, err := token.Answer{Grant: token.Grant{Context: []byte(raw)}}.JSON()
		if err != nil {
			t.Fatalf("%q is a context but cannot be sent: %v", raw, err)
		}
		if len(raw) > 0 && !strings.Contains(string(body), "fhirContext") {
			t.Fatalf("%q got lost", raw)
		}
	})
}

func FuzzJWT(f *testing.F) {
	e := openOutside(f)
	good := e.token(jose.RS256, "r", e.rsa, nil)
	for _, seed := range []string{good, good + "A", strings.Replace(good, ".", "..", 1), "a.b.c", "..", "eyJhbGciOiJub25lIn0.e30.", "{}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_ = e.Issued(text)
		_, err := e.Check(t.Context(), text)
		only(t, err)
		if (err == nil) != (text == good) {
			t.Fatalf("%q: %v", text, err)
		}
	})
}
