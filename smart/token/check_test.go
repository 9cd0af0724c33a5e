package token_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"candela/smart/token"
	"candela/store"
)

func TestT56_WhatIsNoAccessToken(t *testing.T) {
	h := open(t)
	unused := h.code(grant())
	a := h.sign(grant())
	other := open(t, func(c *token.Config) { c.Secret = []byte(strings.Repeat("o", 32)) })
	last := a.AccessToken[len(a.AccessToken)-1]
	for name, bearer := range map[string]string{
		"refresh token":        a.RefreshToken,
		"code":                 unused,
		"refresh as access":    strings.Replace(a.RefreshToken, "_rt_", "_at_", 1),
		"code as access":       strings.Replace(unused, "_ac_", "_at_", 1),
		"another server's":     other.sign(grant()).AccessToken,
		"nothing":              "",
		"jti":                  a.JTI,
		"one octet more":       a.AccessToken + "A",
		"one octet less":       a.AccessToken[:len(a.AccessToken)-1],
		"another spelling":     a.AccessToken[:len(a.AccessToken)-1] + string(last+1),
		"padded":               a.AccessToken[:len(a.AccessToken)-1] + "=",
		"line end inside":      a.AccessToken[:40] + "\n" + a.AccessToken[41:],
		"1 MB":                 a.AccessToken + strings.Repeat("A", 1<<20),
		"another grant's head": a.AccessToken[:20] + "AAAA" + a.AccessToken[24:],
	} {
		t.Run(name, func(t *testing.T) {
			_, err := h.Check(t.Context(), bearer)
			refused(t, err, "invalid_token", 401)
		})
	}
	h.good(a.AccessToken)
	_, err := h.renew(strings.Replace(a.AccessToken, "_at_", "_rt_", 1))
	refused(t, err, "invalid_grant", 400)
	_, err = h.Redeem(t.Context(), exchange(strings.Replace(a.RefreshToken, "_rt_", "_ac_", 1)))
	refused(t, err, "invalid_grant", 400)
	h.good(a.AccessToken)
	h.clock.Add(time.Hour - time.Millisecond)
	h.good(a.AccessToken)
	h.clock.Add(time.Millisecond)
	h.dead(a.AccessToken)
}

func TestR27_TokensAreOpaque(t *testing.T) {
	h := open(t)
	seen := map[string]bool{}
	for range 50 {
		a := h.sign(grant())
		for _, text := range []string{a.AccessToken, a.RefreshToken} {
			raw, err := base64.RawURLEncoding.DecodeString(text[11:])
			if err != nil || len(raw) < 16+32 {
				t.Fatalf("%d octets, %v", len(raw), err)
			}
			if part := string(raw[16:48]); seen[part] {
				t.Fatal("256 bits came twice")
			} else {
				seen[part] = true
			}
		}
		if info := h.good(a.AccessToken); info.JTI != a.JTI || len(info.JTI) < 20 || strings.Contains(a.AccessToken, info.JTI) {
			t.Fatalf("jti %q", info.JTI)
		}
	}
}

func TestR27_InfoIsTheGrant(t *testing.T) {
	h := open(t)
	g := grant()
	g.Encounter, g.Context = "e1", []byte(`[{"reference":"ImagingStudy/1"}]`)
	info := h.good(h.sign(g).AccessToken)
	got := info.Grant
	if got.Client != "app" || got.User != "ada" || got.FHIRUser.String() != "Practitioner/p1" || got.Patient != "pat1" || got.Encounter != "e1" ||
		string(got.Context) != string(g.Context) || info.Scope != g.Scope || info.Expires.Sub(h.clock.Now()) != time.Hour || got.ID == "" {
		t.Fatalf("info %+v", info)
	}
}

func TestR52_StoreTroubleIsNobodysFault(t *testing.T) {
	h := open(t)
	a := h.sign(grant())
	unused := h.code(grant())
	h.clock.Add(time.Second)
	h.kv.fail = fmt.Errorf("primary: %w", store.ErrUnavailable)
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"check":      func() error { _, err := h.Check(ctx, a.AccessToken); return err },
		"introspect": func() error { _, err := h.Introspect(ctx, a.AccessToken); return err },
		"redeem":     func() error { _, err := h.Redeem(ctx, exchange(unused)); return err },
		"refresh":    func() error { _, err := h.renew(a.RefreshToken); return err },
		"code":       func() error { _, err := h.Code(ctx, grant(), redirect, challenge(verifier)); return err },
		"backend":    func() error { _, err := h.Backend(ctx, app, "system/Patient.rs"); return err },
		"revoke":     func() error { return h.Revoke(ctx, a.AccessToken, app) },
		"grant":      func() error { return h.RevokeGrant(ctx, "ada", a.Grant.ID) },
		"user":       func() error { return h.RevokeUser(ctx, "ada") },
		"client":     func() error { return h.RevokeClient(ctx, "app") },
		"grants":     func() error { _, err := h.Grants(ctx, "ada"); return err },
		"keys":       func() error { _, err := h.JWKS(ctx); return err },
		"rotate":     func() error { return h.Rotate(ctx, false) },
	} {
		t.Run(name, func(t *testing.T) { trouble(t, call()) })
	}
	h.kv.fail = nil
	h.good(a.AccessToken)
	if _, err := h.renew(a.RefreshToken); err != nil {
		t.Fatalf("trouble cost a grant: %v", err)
	}
	if _, err := h.Redeem(ctx, exchange(unused)); err != nil {
		t.Fatalf("trouble cost a code: %v", err)
	}
	if len(h.whats()) != 0 {
		t.Fatalf("reported %v", h.whats())
	}
}

func TestR52_DamagedRecordIsNobodysFault(t *testing.T) {
	h := open(t)
	a := h.sign(grant())
	h.clock.Add(time.Second)
	for _, raw := range []string{"", "{", `{"grant":{"id":"other"}}`} {
		h.kv.set("smart.grant", a.Grant.ID, []byte(raw), 0)
		_, err := h.Check(t.Context(), a.AccessToken)
		trouble(t, err)
	}
}

func TestR52_LostAnswerOfTheStore(t *testing.T) {
	h := open(t)
	text := h.code(grant())
	h.kv.lost = store.ErrUnavailable
	a, err := h.Redeem(t.Context(), exchange(text))
	if err != nil {
		t.Fatalf("it was written: %v", err)
	}
	h.kv.lost = store.ErrConflict // a write that was repeated
	b, err := h.renew(a.RefreshToken)
	if err != nil {
		t.Fatalf("it was written: %v", err)
	}
	h.kv.lost = nil
	again, err := h.renew(a.RefreshToken)
	if err != nil || again.RefreshToken != b.RefreshToken {
		t.Fatalf("two pairs, or %v", err)
	}
	h.good(b.AccessToken)
}

func TestR52_RefusedWriteIsWhatItIs(t *testing.T) {
	h := open(t)
	text := h.code(grant())
	h.kv.refuse = store.ErrFull
	_, err := h.Redeem(t.Context(), exchange(text))
	trouble(t, err)
	if !errors.Is(err, store.ErrFull) {
		t.Fatal(err)
	}
	h.kv.refuse = store.ErrConflict // others are always faster
	_, err = h.Redeem(t.Context(), exchange(text))
	trouble(t, err)
	h.kv.refuse = nil
	if _, err := h.Redeem(t.Context(), exchange(text)); err != nil {
		t.Fatal(err)
	}
}

func TestR52_AuditTroubleComesAfterTheEnd(t *testing.T) {
	h := open(t, func(c *token.Config) {
		c.Audit = func(context.Context, token.Event) error { return store.ErrFull }
	})
	a := h.sign(grant())
	b, _ := h.renew(a.RefreshToken)
	h.clock.Add(time.Minute)
	_, err := h.renew(a.RefreshToken)
	trouble(t, err)
	h.dead(b.AccessToken)
}

func TestR22_RevocationReachesOthersInASecond(t *testing.T) {
	h := open(t)
	other := openOn(t, h.kv, h.clock)
	a := h.sign(grant())
	other.good(a.AccessToken)
	if err := h.RevokeGrant(t.Context(), "ada", a.Grant.ID); err != nil {
		t.Fatal(err)
	}
	h.dead(a.AccessToken)
	other.good(a.AccessToken) // it has read it just now
	h.clock.Add(time.Second)
	other.dead(a.AccessToken)
	_, err := other.renew(a.RefreshToken)
	refused(t, err, "invalid_grant", 400)
}

func TestR22_CacheIsNotBelievedAfterTheClockWentBack(t *testing.T) {
	h := open(t)
	other := openOn(t, h.kv, h.clock)
	a := h.sign(grant())
	other.good(a.AccessToken)
	if err := h.RevokeGrant(t.Context(), "", a.Grant.ID); err != nil {
		t.Fatal(err)
	}
	h.clock.Add(-time.Hour)
	other.dead(a.AccessToken)
}

func TestR22_CacheOff(t *testing.T) {
	h := open(t)
	other := openOn(t, h.kv, h.clock, func(c *token.Config) { c.Cache = -1 })
	a := h.sign(grant())
	other.good(a.AccessToken)
	if err := h.RevokeGrant(t.Context(), "", a.Grant.ID); err != nil {
		t.Fatal(err)
	}
	other.dead(a.AccessToken)
}

func TestR27_NewTokenIsGoodInAllProcessesAtOnce(t *testing.T) {
	h := open(t)
	other := openOn(t, h.kv, h.clock)
	a := h.sign(grant())
	other.good(a.AccessToken)
	for range 3 {
		b, err := h.renew(a.RefreshToken)
		if err != nil {
			t.Fatal(err)
		}
		other.good(b.AccessToken)
		a = b
	}
}

func TestR22_Revoke(t *testing.T) {
	h := open(t)
	ctx := t.Context()
	for _, text := range []string{"", "x", strings.Repeat("A", 97), "candela_at_" + strings.Repeat("A", 86), strings.Repeat("A", 1<<20)} {
		if err := h.Revoke(ctx, text, app); err != nil {
			t.Fatalf("an unknown token: %v", err)
		}
	}
	a := h.sign(grant())
	b, _ := h.renew(a.RefreshToken)
	for _, text := range []string{b.AccessToken, b.RefreshToken, a.RefreshToken} {
		refused(t, h.Revoke(ctx, text, thief), "unauthorized_client", 400)
	}
	h.good(b.AccessToken)
	h.good(a.AccessToken)
	for range 2 {
		if err := h.Revoke(ctx, b.AccessToken, app); err != nil {
			t.Fatal(err)
		}
	}
	h.dead(b.AccessToken)
	h.good(a.AccessToken) // the one before, within the grace
	c, err := h.renew(b.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Revoke(ctx, c.RefreshToken, app); err != nil {
		t.Fatal(err)
	}
	h.dead(c.AccessToken)
	_, err = h.renew(c.RefreshToken)
	refused(t, err, "invalid_grant", 400)
	if err := h.Revoke(ctx, c.RefreshToken, app); err != nil {
		t.Fatalf("a token that is over: %v", err)
	}
	g := grant()
	g.Offline = false
	single := h.sign(g)
	if err := h.Revoke(ctx, single.AccessToken, app); err != nil {
		t.Fatal(err)
	}
	h.dead(single.AccessToken)
	if held, _ := h.Grants(ctx, "ada"); len(held) != 0 {
		t.Fatalf("the user still sees %d grants", len(held))
	}
	unused := h.code(g)
	if err := h.Revoke(ctx, unused, app); err != nil {
		t.Fatal(err)
	}
	_, err = h.Redeem(ctx, exchange(unused))
	refused(t, err, "invalid_grant", 400)
}

func TestR22_GrantsOfAUserAndAClient(t *testing.T) {
	h := open(t)
	ctx := t.Context()
	of := func(client, user string) token.Answer {
		g := grant()
		g.Client, g.User = client, user
		e := exchange(h.code(g))
		e.Client.ID = client
		a, err := h.Redeem(ctx, e)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	ada, ada2, slash, bob := of("app", "ada"), of("other", "ada"), of("app", "ada/x"), of("app", "bob")
	service, err := h.Backend(ctx, app, "system/Patient.rs")
	if err != nil {
		t.Fatal(err)
	}
	h.clock.Add(time.Minute)
	h.code(grant()) // not redeemed: nothing to show
	if ada, err = h.renew(ada.RefreshToken); err != nil {
		t.Fatal(err)
	}
	held, err := h.Grants(ctx, "ada")
	if err != nil || len(held) != 2 {
		t.Fatalf("%d grants, %v", len(held), err)
	}
	for _, one := range held {
		wantUsed := h.clock.Now().Add(-time.Minute)
		if one.ID == ada.Grant.ID {
			wantUsed = h.clock.Now()
		}
		if one.User != "ada" || !one.Used.Equal(wantUsed) || one.Until.Sub(one.Used) != 120*24*time.Hour {
			t.Fatalf("held %+v", one)
		}
	}
	if err := h.RevokeGrant(ctx, "bob", ada.Grant.ID); err == nil {
		t.Fatal("bob ended a grant of ada's")
	}
	if err := h.RevokeUser(ctx, "ada"); err != nil {
		t.Fatal(err)
	}
	h.dead(ada.AccessToken)
	h.dead(ada2.AccessToken)
	h.good(slash.AccessToken)
	h.good(bob.AccessToken)
	if err := h.RevokeClient(ctx, "app"); err != nil {
		t.Fatal(err)
	}
	h.dead(slash.AccessToken)
	h.dead(bob.AccessToken)
	h.dead(service.AccessToken)
}

func TestR22_EndOfASession(t *testing.T) {
	h := open(t)
	var answers []token.Answer
	for _, session := range []string{"s1", "s2", ""} {
		g := grant()
		g.Offline, g.Session = session == "", session
		answers = append(answers, h.sign(g))
	}
	for _, session := range []string{"", "s1"} {
		if err := h.RevokeSession(t.Context(), "ada", session); err != nil {
			t.Fatal(err)
		}
	}
	h.dead(answers[0].AccessToken)
	h.good(answers[1].AccessToken)
	h.good(answers[2].AccessToken)
}

func TestR22_ListsLastAsLongAsTheGrants(t *testing.T) {
	h := open(t)
	a := h.sign(grant())
	for range 10 {
		h.clock.Add(110 * 24 * time.Hour)
		var err error
		if a, err = h.renew(a.RefreshToken); err != nil {
			t.Fatal(err)
		}
		if err := h.RevokeClient(t.Context(), "nobody"); err != nil {
			t.Fatal(err)
		}
		var lists int
		for _, bucket := range []string{"smart.grant.user", "smart.grant.client"} {
			for range h.kv.KVList(t.Context(), bucket, "") {
				lists++
			}
		}
		held, _ := h.Grants(t.Context(), "ada")
		if lists != 2 || len(held) != 1 {
			t.Fatalf("%d places, %d grants", lists, len(held))
		}
	}
	g := grant()
	g.Offline = false
	text := h.code(g)
	h.clock.Add(59 * time.Second)
	short, err := h.Redeem(t.Context(), exchange(text))
	if err != nil {
		t.Fatal(err)
	}
	h.clock.Add(time.Hour - time.Second)
	if err := h.RevokeUser(t.Context(), "ada"); err != nil {
		t.Fatal(err)
	}
	h.dead(short.AccessToken)
}

func TestT55_BearerHeader(t *testing.T) {
	for _, c := range []struct {
		values []string
		want   string
		status int
	}{
		{nil, "", 401},
		{[]string{"Bearer abc"}, "abc", 0},
		{[]string{"bearer abc"}, "abc", 0},
		{[]string{"BEARER a-._~+/b=="}, "a-._~+/b==", 0},
		{[]string{"Bearer abc", "Bearer abc"}, "", 400},
		{[]string{"Bearer abc", "Basic YTpi"}, "", 400},
		{[]string{"Basic YTpi"}, "", 401},
		{[]string{""}, "", 401},
		{[]string{"Bearer"}, "", 400},
		{[]string{"Bearer "}, "", 400},
		{[]string{"Bearer  abc"}, "", 400},
		{[]string{"bearer\tabc"}, "", 401},
		{[]string{"Bearer \tabc"}, "", 400},
		{[]string{"Bearer abc\t"}, "", 400},
		{[]string{"Bearer abc, Bearer abc"}, "", 400},
		{[]string{"Bearer a=b"}, "", 400},
		{[]string{"Bearer ==="}, "", 400},
		{[]string{"Bearer äbc"}, "", 400},
		{[]string{"Bearerabc"}, "", 401},
		{[]string{"Bearer " + strings.Repeat("A", token.MaxBearer)}, strings.Repeat("A", token.MaxBearer), 0},
		{[]string{"Bearer " + strings.Repeat("A", 1<<20)}, "", 400},
	} {
		got, err := token.Bearer(http.Header{"Authorization": c.values})
		if c.status == 0 && (err != nil || got != c.want) {
			t.Errorf("%.40q: got %.40q, %v", c.values, got, err)
		}
		if c.status != 0 {
			code := "invalid_request"
			if c.status == 401 {
				code = ""
			}
			refused(t, err, code, c.status)
		}
	}
}

func TestR12_ConfigThatPromisesTooMuch(t *testing.T) {
	good := token.Config{KV: newMemory(newClock()), Secret: make([]byte, 32), Issuer: issuer}
	good.Scopes = open(t).Scopes
	for name, bend := range map[string]func(*token.Config){
		"no store":      func(c *token.Config) { c.KV = nil },
		"no grammar":    func(c *token.Config) { c.Scopes = nil },
		"no issuer":     func(c *token.Config) { c.Issuer = "" },
		"short secret":  func(c *token.Config) { c.Secret = make([]byte, 31) },
		"long code":     func(c *token.Config) { c.CodeLife = 61 * time.Second },
		"long access":   func(c *token.Config) { c.AccessLife = time.Hour + 1 },
		"long backend":  func(c *token.Config) { c.BackendLife = 301 * time.Second },
		"long cache":    func(c *token.Config) { c.Cache = time.Second + 1 },
		"long grace":    func(c *token.Config) { c.Grace = time.Hour },
		"no life":       func(c *token.Config) { c.AccessLife = -1 },
		"no code life":  func(c *token.Config) { c.CodeLife = -1 },
		"short refresh": func(c *token.Config) { c.RefreshLife = time.Minute },
	} {
		cfg := good
		bend(&cfg)
		if _, err := token.Open(cfg); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	if _, err := token.Open(good); err != nil {
		t.Fatal(err)
	}
}

func TestR23_InactiveTokens(t *testing.T) {
	h := open(t)
	a := h.sign(grant())
	for name, text := range map[string]string{"refresh": a.RefreshToken, "code": h.code(grant()), "nonsense": "x", "empty": ""} {
		i, err := h.Introspect(t.Context(), text)
		raw, _ := i.JSON()
		if err != nil || string(raw) != `{"active":false}` {
			t.Errorf("%s: %s, %v", name, raw, err)
		}
	}
	h.clock.Add(time.Hour)
	i, err := h.Introspect(t.Context(), a.AccessToken)
	if raw, _ := i.JSON(); err != nil || string(raw) != `{"active":false}` || i.Active {
		t.Errorf("expired: %s, %v", raw, err)
	}
}
