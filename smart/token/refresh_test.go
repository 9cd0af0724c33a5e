package token_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"candela/smart/token"
	"candela/store"
)

func TestR21_RotationAndRetry(t *testing.T) {
	h := open(t)
	a := h.sign(grant())
	b, err := h.renew(a.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	if b.RefreshToken == a.RefreshToken || b.AccessToken == a.AccessToken || b.JTI == a.JTI {
		t.Fatal("the pair was not renewed")
	}
	h.clock.Add(30 * time.Second)
	again, err := h.renew(a.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	if again.AccessToken != b.AccessToken || again.RefreshToken != b.RefreshToken || again.JTI != b.JTI || again.Scope != b.Scope {
		t.Fatal("the retry got another pair")
	}
	if again.Expires != b.Expires-30*time.Second {
		t.Fatalf("the retry is told %v, %v after %v", again.Expires, 30*time.Second, b.Expires)
	}
	h.good(b.AccessToken)
	h.clock.Add(time.Millisecond)
	_, err = h.renew(a.RefreshToken)
	refused(t, err, "invalid_grant", 400)
	h.dead(b.AccessToken)
	_, err = h.renew(b.RefreshToken)
	refused(t, err, "invalid_grant", 400)
	if got := h.whats(); !slices.Equal(got, []string{token.RefreshReused}) {
		t.Fatalf("reported %v", got)
	}
}

func TestR21_RetryAcrossProcesses(t *testing.T) {
	h := open(t)
	a := h.sign(grant())
	b, err := h.renew(a.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	other := openOn(t, h.kv, h.clock)
	again, err := other.renew(a.RefreshToken)
	if err != nil || again.RefreshToken != b.RefreshToken {
		t.Fatalf("another process gave another pair, or %v", err)
	}
	other.good(b.AccessToken)
}

func TestR21_GraceIsConfigurable(t *testing.T) {
	for name, c := range map[string]struct {
		grace, public time.Duration
		client        token.Client
		at            time.Duration
		good          bool
	}{
		"public in time":     {0, 0, token.Client{ID: "app", Public: true}, 10 * time.Second, true},
		"public late":        {0, 0, token.Client{ID: "app", Public: true}, 10*time.Second + 1e6, false},
		"secret in time":     {0, 0, app, 30 * time.Second, true},
		"secret late":        {0, 0, app, 30*time.Second + 1e6, false},
		"off":                {-1, 0, app, 0, false},
		"off for public":     {-1, 0, token.Client{ID: "app", Public: true}, 0, false},
		"less":               {5 * time.Second, 0, app, 6 * time.Second, false},
		"less, for public":   {5 * time.Second, 0, token.Client{ID: "app", Public: true}, 6 * time.Second, false},
		"public for itself":  {0, -1, token.Client{ID: "app", Public: true}, 0, false},
		"public, secret has": {0, -1, app, 0, true},
		"clock set back":     {0, 0, app, -30 * time.Second, true},
		"clock far back":     {0, 0, app, -31 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t, func(cfg *token.Config) { cfg.Grace, cfg.PublicGrace = c.grace, c.public })
			a := h.sign(grant())
			w := token.Renewal{Client: c.client, Token: a.RefreshToken}
			b, err := h.Refresh(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			h.clock.Add(c.at)
			again, err := h.Refresh(t.Context(), w)
			if c.good {
				if err != nil || again.RefreshToken != b.RefreshToken {
					t.Fatalf("no retry: %v", err)
				}
				return
			}
			refused(t, err, "invalid_grant", 400)
			h.dead(b.AccessToken)
		})
	}
}

func TestR21_UsedPairEndsTheRetry(t *testing.T) {
	h := open(t)
	a := h.sign(grant())
	b, _ := h.renew(a.RefreshToken)
	c, err := h.renew(b.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.renew(a.RefreshToken) // in its time, but its pair was used
	refused(t, err, "invalid_grant", 400)
	h.dead(c.AccessToken)
	_, err = h.renew(c.RefreshToken)
	refused(t, err, "invalid_grant", 400)
}

func TestR21_OldAccessTokenGoesWithTheRotation(t *testing.T) {
	h := open(t)
	a := h.sign(grant())
	if _, err := h.renew(a.RefreshToken); err != nil {
		t.Fatal(err)
	}
	h.clock.Add(29 * time.Second)
	h.good(a.AccessToken)
	h.clock.Add(time.Second)
	h.dead(a.AccessToken)

	off := open(t, func(c *token.Config) { c.Grace = -1 })
	a = off.sign(grant())
	off.good(a.AccessToken)
	if _, err := off.renew(a.RefreshToken); err != nil {
		t.Fatal(err)
	}
	off.dead(a.AccessToken)
}

func TestR21_OfflineLivesFourMonths(t *testing.T) {
	h := open(t)
	a := h.sign(grant())
	for range 4 { // 400 days, and each use counts anew
		h.clock.Add(100 * 24 * time.Hour)
		var err error
		if a, err = h.renew(a.RefreshToken); err != nil {
			t.Fatal(err)
		}
	}
	if held, err := h.Grants(t.Context(), "ada"); err != nil || len(held) != 1 {
		t.Fatalf("the user sees %d grants, %v", len(held), err)
	}
	h.clock.Add(120 * 24 * time.Hour)
	_, err := h.renew(a.RefreshToken)
	refused(t, err, "invalid_grant", 400)
}

func TestR21_OnlineDiesWithTheSession(t *testing.T) {
	var gone error
	h := open(t, func(c *token.Config) {
		c.Alive = func(_ context.Context, g token.Grant) error {
			if g.Session != "s1" {
				return nil
			}
			return gone
		}
	})
	g := grant()
	g.Offline, g.Session = false, "s1"
	a := h.sign(g)
	if a.RefreshToken == "" {
		t.Fatal("online access has no refresh token")
	}
	b, err := h.renew(a.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	gone = fmt.Errorf("sessions: %w", store.ErrUnavailable)
	_, err = h.renew(b.RefreshToken)
	trouble(t, err)
	gone = fmt.Errorf("sessions: %w", store.ErrNotFound)
	_, err = h.renew(b.RefreshToken)
	refused(t, err, "invalid_grant", 400)
	h.dead(b.AccessToken)

	g.Session = ""
	if a := h.sign(g); a.RefreshToken != "" {
		t.Fatal("a refresh token that nobody granted")
	}
}

func TestT42_OneRefreshFrom64(t *testing.T) {
	h := open(t)
	a := h.sign(grant())
	for range 20 {
		answers := make([]token.Answer, 64)
		won := parallel(t, 64, func(i int) (err error) {
			answers[i], err = h.renew(a.RefreshToken)
			return err
		})
		if won != 64 {
			t.Fatalf("%d of 64 had an answer", won)
		}
		for _, b := range answers {
			if b.AccessToken != answers[0].AccessToken || b.RefreshToken != answers[0].RefreshToken {
				t.Fatal("two pairs for one refresh token")
			}
		}
		a = answers[0]
		h.good(a.AccessToken)
	}
	if got := h.whats(); len(got) != 0 {
		t.Fatalf("reported %v", got)
	}
}

func TestT42_ReuseNextDay(t *testing.T) {
	h := open(t)
	a := h.sign(grant())
	b, _ := h.renew(a.RefreshToken)
	h.clock.Add(24 * time.Hour)
	c, err := h.renew(b.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.renew(a.RefreshToken)
	refused(t, err, "invalid_grant", 400)
	h.dead(c.AccessToken)
	if got := h.whats(); !slices.Equal(got, []string{token.RefreshReused}) {
		t.Fatalf("reported %v", got)
	}
}

func TestT43_ScopeOnlyNarrows(t *testing.T) {
	h := open(t)
	a := h.sign(grant())
	for _, wider := range []string{
		"patient/Observation.cruds", "patient/*.rs", "patient/Condition.rs", "user/Observation.rs", "system/*.rs", "nonsense",
		"patient/Patient.rs nonsense", "openid", "online_access",
	} {
		_, err := h.Refresh(t.Context(), token.Renewal{Client: app, Token: a.RefreshToken, Scope: wider})
		refused(t, err, "invalid_scope", 400)
	}
	_, err := h.Refresh(t.Context(), token.Renewal{Client: app, Token: a.RefreshToken, Aud: "https://other.example/fhir"})
	refused(t, err, "invalid_target", 400)

	less := "patient/Observation.rs?category=vital-signs"
	b, err := h.Refresh(t.Context(), token.Renewal{Client: app, Token: a.RefreshToken, Scope: less, Aud: base + "/"})
	if err != nil || b.Scope != less || h.good(b.AccessToken).Scope != less {
		t.Fatalf("narrowed to %q, %v", b.Scope, err)
	}
	if b.Grant.Patient != "pat1" {
		t.Fatal("the context is not repeated")
	}
	_, err = h.renew(a.RefreshToken) // no retry: it asks for something else
	refused(t, err, "invalid_grant", 400)
	h.good(b.AccessToken)
	c, err := h.renew(b.RefreshToken) // the grant is what it was
	if err != nil || c.Scope != grant().Scope || h.good(c.AccessToken).Scope != grant().Scope {
		t.Fatalf("the scope is %q, %v", c.Scope, err)
	}
}

func TestR21_StoreHoldsNoToken(t *testing.T) {
	h := open(t)
	g := grant()
	text := h.code(g)
	waiting := h.kv.dump()
	a, err := h.Redeem(t.Context(), exchange(text))
	if err != nil {
		t.Fatal(err)
	}
	b, _ := h.renew(a.RefreshToken)
	c, _ := h.renew(b.RefreshToken)
	all := waiting + h.kv.dump()
	for _, secret := range []string{text, a.AccessToken, a.RefreshToken, b.AccessToken, b.RefreshToken, c.AccessToken, c.RefreshToken} {
		// The random part, past kind and grant.
		if strings.Contains(all, secret) || strings.Contains(all, secret[11+24:11+60]) {
			t.Fatal("a token lies in the store")
		}
	}
}

func TestR21_RevokedPairIsNotGivenAgain(t *testing.T) {
	h := open(t)
	a := h.sign(grant())
	b, _ := h.renew(a.RefreshToken)
	if err := h.Revoke(t.Context(), b.AccessToken, app); err != nil {
		t.Fatal(err)
	}
	h.dead(b.AccessToken)
	_, err := h.renew(a.RefreshToken)
	refused(t, err, "invalid_grant", 400)
	if _, err := h.renew(b.RefreshToken); err != nil {
		t.Fatalf("the refresh token was not revoked: %v", err)
	}
}

// The ends of tokens do not hang on the store's removal of what has expired.
func TestR21_EndsWithoutTheStore(t *testing.T) {
	h := open(t)
	h.kv.eternal = true
	text := h.code(grant())
	a := h.sign(grant())
	h.clock.Add(time.Minute)
	_, err := h.Redeem(t.Context(), exchange(text))
	refused(t, err, "invalid_grant", 400)
	h.clock.Add(time.Hour)
	h.dead(a.AccessToken)
	h.clock.Add(120 * 24 * time.Hour)
	_, err = h.renew(a.RefreshToken)
	refused(t, err, "invalid_grant", 400)
}

func TestT104_NoRetryForALockedUser(t *testing.T) {
	var locked error
	h := open(t, func(c *token.Config) {
		c.Alive = func(context.Context, token.Grant) error { return locked }
	})
	a := h.sign(grant())
	b, err := h.renew(a.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	locked = token.ErrEnded
	_, err = h.renew(a.RefreshToken)
	refused(t, err, "invalid_grant", 400)
	h.dead(b.AccessToken)
}
