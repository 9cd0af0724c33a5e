package token_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"candela/fhir"
	"candela/smart/token"
	"candela/store"
)

func TestR9_CodeIsBoundAndShort(t *testing.T) {
	h := open(t)
	late := h.code(grant())
	h.clock.Add(60 * time.Second)
	_, err := h.Redeem(t.Context(), exchange(late))
	refused(t, err, "invalid_grant", 400)

	soon := h.code(grant())
	h.clock.Add(59 * time.Second)
	if _, err := h.Redeem(t.Context(), exchange(soon)); err != nil {
		t.Fatal(err)
	}
	for name, bend := range map[string]func(*token.Exchange){
		"redirect":              func(e *token.Exchange) { e.Redirect += "/" },
		"no redirect":           func(e *token.Exchange) { e.Redirect = "" },
		"verifier":              func(e *token.Exchange) { e.Verifier = strings.Repeat("x", 43) },
		"challenge as verifier": func(e *token.Exchange) { e.Verifier = challenge(verifier) },
	} {
		t.Run(name, func(t *testing.T) {
			text := h.code(grant())
			e := exchange(text)
			bend(&e)
			_, err := h.Redeem(t.Context(), e)
			refused(t, err, "invalid_grant", 400)
			_, err = h.Redeem(t.Context(), exchange(text)) // one guess only
			refused(t, err, "invalid_grant", 400)
		})
	}
}

func TestR9_SecondUseEndsAllTokens(t *testing.T) {
	h := open(t)
	text := h.code(grant())
	a, err := h.Redeem(t.Context(), exchange(text))
	if err != nil {
		t.Fatal(err)
	}
	b, err := h.renew(a.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	h.good(b.AccessToken)
	h.clock.Add(20 * 24 * time.Hour)
	_, err = h.Redeem(t.Context(), exchange(text))
	refused(t, err, "invalid_grant", 400)
	h.dead(a.AccessToken)
	h.dead(b.AccessToken)
	_, err = h.renew(b.RefreshToken)
	refused(t, err, "invalid_grant", 400)
	if got := h.whats(); !slices.Equal(got, []string{token.CodeReused}) {
		t.Fatalf("reported %v", got)
	}
	if e := h.events[0]; e.Grant.User != "ada" || e.Client != "app" || !e.Time.Equal(h.clock.Now()) {
		t.Fatalf("reported %+v", e)
	}
}

func TestT38_VerifierAndChallenge(t *testing.T) {
	h := open(t)
	for _, bad := range []string{"", "plain", strings.Repeat("a", 42), strings.Repeat("a", 44), strings.Repeat("+", 43),
		challenge(verifier) + "=", challenge(verifier)[:42] + "\n", challenge(verifier)[:42] + "N"} {
		_, err := h.Code(t.Context(), grant(), redirect, bad)
		refused(t, err, "invalid_request", 400)
	}
	text := h.code(grant())
	for bad, code := range map[string]string{
		"": "invalid_request", strings.Repeat(" ", 43): "invalid_grant", strings.Repeat("a", 42): "invalid_grant",
		strings.Repeat("a", 129): "invalid_grant", strings.Repeat("ä", 30): "invalid_grant", verifier + "=": "invalid_grant", verifier + "+": "invalid_grant",
	} {
		e := exchange(text)
		e.Verifier = bad
		_, err := h.Redeem(t.Context(), e)
		refused(t, err, code, 400)
	}
	if _, err := h.Redeem(t.Context(), exchange(text)); err != nil {
		t.Fatalf("a verifier that cannot be one is no guess: %v", err)
	}
	for _, n := range []int{43, 128} {
		v := strings.Repeat("~", n)
		text, err := h.Code(t.Context(), grant(), redirect, challenge(v))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.Redeem(t.Context(), token.Exchange{Client: app, Code: text, Redirect: redirect, Verifier: v}); err != nil {
			t.Fatalf("a verifier of %d: %v", n, err)
		}
	}
}

func TestT40_CodeAndRefreshOfAnotherClient(t *testing.T) {
	h := open(t)
	text := h.code(grant())
	e := exchange(text)
	e.Client = thief
	_, err := h.Redeem(t.Context(), e)
	refused(t, err, "invalid_grant", 400)
	a, err := h.Redeem(t.Context(), exchange(text))
	if err != nil {
		t.Fatalf("the code is its client's still: %v", err)
	}
	_, err = h.Redeem(t.Context(), e) // nor can others end the grant
	refused(t, err, "invalid_grant", 400)
	_, err = h.Refresh(t.Context(), token.Renewal{Client: thief, Token: a.RefreshToken})
	refused(t, err, "invalid_grant", 400)
	h.good(a.AccessToken)
	b, err := h.renew(a.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.Refresh(t.Context(), token.Renewal{Client: thief, Token: a.RefreshToken})
	refused(t, err, "invalid_grant", 400)
	h.good(b.AccessToken)
	if got := h.whats(); !slices.Equal(got, slices.Repeat([]string{token.ForeignClient}, 4)) {
		t.Fatalf("reported %v", got)
	}
}

// parallel runs f n times at once and gives how many had no error; all other
// errors must be refusals.
func parallel(t testing.TB, n int, f func(i int) error) (won int) {
	t.Helper()
	var wg sync.WaitGroup
	gate := make(chan struct{})
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() {
			<-gate
			errs[i] = f(i)
		})
	}
	close(gate)
	wg.Wait()
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		refused(t, err, "invalid_grant", 400)
	}
	return won
}

func TestT41_OneCodeFrom64(t *testing.T) {
	h := open(t)
	for range 20 {
		text := h.code(grant())
		answers := make([]token.Answer, 64)
		won := parallel(t, 64, func(i int) (err error) {
			answers[i], err = h.Redeem(t.Context(), exchange(text))
			return err
		})
		if won != 1 {
			t.Fatalf("%d of 64 got tokens for one code", won)
		}
		for _, a := range answers {
			if a.AccessToken != "" {
				h.dead(a.AccessToken)
				_, err := h.renew(a.RefreshToken)
				refused(t, err, "invalid_grant", 400)
			}
		}
	}
}

func TestR9_CodeIsForOneServer(t *testing.T) {
	h := open(t)
	g := grant()
	g.Aud = "https://candela.example.evil/fhir"
	_, err := h.Code(t.Context(), g, redirect, challenge(verifier))
	refused(t, err, "invalid_target", 400)
	e := exchange(h.code(grant()))
	e.Aud = g.Aud
	_, err = h.Redeem(t.Context(), e)
	refused(t, err, "invalid_target", 400)
	e.Aud = base + "/"
	a, err := h.Redeem(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	h.good(a.AccessToken)
	other := openOn(t, h.kv, h.clock, func(c *token.Config) { c.Base = g.Aud })
	other.dead(a.AccessToken)
}

func TestR9_CodeNeedsAWholeGrant(t *testing.T) {
	h := open(t)
	for name, bend := range map[string]func(*token.Grant){
		"no client":        func(g *token.Grant) { g.Client = "" },
		"no user":          func(g *token.Grant) { g.User = "" },
		"no scope":         func(g *token.Grant) { g.Scope = "" },
		"a device as user": func(g *token.Grant) { g.FHIRUser = fhir.Reference{Type: "Device", ID: "1"} },
		"a wrong context":  func(g *token.Grant) { g.Context = []byte(`{}`) },
	} {
		g := grant()
		bend(&g)
		if _, err := h.Code(t.Context(), g, redirect, challenge(verifier)); err == nil {
			t.Errorf("%s: a code was made", name)
		}
	}
	g := grant()
	g.Context = []byte{}
	h.good(h.sign(g).AccessToken)
	if _, err := h.Code(t.Context(), grant(), "", challenge(verifier)); err == nil {
		t.Error("a code was made without a redirect")
	}
}

func TestR24_BackendTokens(t *testing.T) {
	h := open(t)
	service := token.Client{ID: "service"}
	a, err := h.Backend(t.Context(), service, "system/Patient.rs")
	if err != nil {
		t.Fatal(err)
	}
	if a.RefreshToken != "" || a.IDToken != "" || a.Expires > 5*time.Minute || a.Scope != "system/Patient.rs" {
		t.Fatalf("answer %+v", a)
	}
	info := h.good(a.AccessToken)
	if info.Grant.User != "" || info.Grant.Client != "service" || info.Grant.Aud != base || info.JTI != a.JTI {
		t.Fatalf("info %+v", info)
	}
	h.clock.Add(a.Expires - time.Second)
	h.good(a.AccessToken)
	h.clock.Add(time.Second)
	h.dead(a.AccessToken)
	for _, c := range []token.Client{{}, {ID: "app", Public: true}} {
		if _, err := h.Backend(t.Context(), c, "system/Patient.rs"); err == nil {
			t.Error("a token for who is no backend service")
		}
	}
	if _, err := h.Backend(t.Context(), service, ""); err == nil {
		t.Error("a token for nothing")
	}
}

func TestR22_LockedBeforeTheCodeWasUsed(t *testing.T) {
	gone := map[string]error{}
	h := open(t, func(c *token.Config) {
		c.Alive = func(_ context.Context, g token.Grant) error { return gone[g.User] }
	})
	text := h.code(grant())
	gone["ada"] = fmt.Errorf("accounts: %w", store.ErrUnavailable)
	_, err := h.Redeem(t.Context(), exchange(text))
	trouble(t, err)
	gone["ada"] = token.ErrEnded
	_, err = h.Redeem(t.Context(), exchange(text))
	refused(t, err, "invalid_grant", 400)
	gone["ada"] = nil
	_, err = h.Redeem(t.Context(), exchange(text))
	refused(t, err, "invalid_grant", 400)
}
