package token_test

import (
	"slices"
	"testing"
	"time"

	"candela/smart/token"
	"candela/store"
	"candela/store/embedded"
	"candela/store/mongo"
	"candela/store/mongo/mongotest"
)

// opener opens a store that holds what it held when it was last closed.
type opener func() store.Store

// onBoth runs a test on both stores.
func onBoth(t *testing.T, f func(t *testing.T, open opener)) {
	t.Run("embedded", func(t *testing.T) {
		dir := t.TempDir()
		f(t, func() store.Store {
			s, err := embedded.Open(dir, embedded.Options{Relaxed: true})
			if err != nil {
				t.Fatal(err)
			}
			return s
		})
	})
	t.Run("mongo", func(t *testing.T) {
		uri := mongotest.URI(t)
		f(t, func() store.Store {
			s, err := mongo.Open(t.Context(), uri, mongo.Options{})
			if err != nil {
				t.Fatal(err)
			}
			return s
		})
	})
}

// crew is several processes on one store, which is opened anew now and then.
type crew struct {
	t      *testing.T
	open   opener
	store  store.Store
	tokens []*token.Tokens
}

func newCrew(t *testing.T, open opener) *crew {
	c := &crew{t: t, open: open}
	c.reopen()
	t.Cleanup(func() { _ = c.store.Close() })
	return c
}

func (c *crew) reopen() {
	c.t.Helper()
	if c.store != nil {
		if err := c.store.Close(); err != nil {
			c.t.Fatal(err)
		}
	}
	c.store, c.tokens = c.open(), nil
	for range 4 {
		c.tokens = append(c.tokens, start(c.t, c.store))
	}
}

func (c *crew) code() string {
	c.t.Helper()
	text, err := c.tokens[0].Code(c.t.Context(), grant(), redirect, challenge(verifier))
	if err != nil {
		c.t.Fatal(err)
	}
	return text
}

const (
	wide   = 64              // requests at once
	rounds = 200             // at most
	budget = 3 * time.Second // for a race on one store
)

// race runs rounds of f, with the store opened anew in between, for as long as
// the budget lasts; few rounds are a failure.
func (c *crew) race(f func()) {
	c.t.Helper()
	done, end := 0, time.Now().Add(budget)
	for ; done < rounds && (done < 5 || time.Now().Before(end)); done++ {
		f()
	}
	c.t.Logf("%d rounds of %d", done, wide)
}

func TestE13_OneCode(t *testing.T) {
	onBoth(t, func(t *testing.T, open opener) {
		c := newCrew(t, open)
		var used []string
		var given []token.Answer
		c.race(func() {
			text := c.code()
			answers := make([]token.Answer, wide)
			won := parallel(t, wide, func(i int) (err error) {
				answers[i], err = c.tokens[i%len(c.tokens)].Redeem(t.Context(), exchange(text))
				return err
			})
			if won != 1 {
				t.Fatalf("%d winners", won)
			}
			given = append(given, answers[slices.IndexFunc(answers, func(a token.Answer) bool { return a.AccessToken != "" })])
			used = append(used, text)
		})
		c.reopen()
		for i, text := range used[max(0, len(used)-20):] {
			_, err := c.tokens[0].Redeem(t.Context(), exchange(text))
			refused(t, err, "invalid_grant", 400)
			_, err = c.tokens[1].Check(t.Context(), given[max(0, len(used)-20)+i].AccessToken)
			refused(t, err, "invalid_token", 401)
		}
	})
}

func TestE13_OneRefresh(t *testing.T) {
	onBoth(t, func(t *testing.T, open opener) {
		c := newCrew(t, open)
		a, err := c.tokens[0].Redeem(t.Context(), exchange(c.code()))
		if err != nil {
			t.Fatal(err)
		}
		round := 0
		c.race(func() {
			answers := make([]token.Answer, wide)
			won := parallel(t, wide, func(i int) (err error) {
				answers[i], err = c.tokens[i%len(c.tokens)].Refresh(t.Context(), token.Renewal{Client: app, Token: a.RefreshToken})
				return err
			})
			for _, b := range answers {
				if won != wide || b.RefreshToken != answers[0].RefreshToken || b.AccessToken != answers[0].AccessToken {
					t.Fatalf("%d answers, two pairs", won)
				}
			}
			if round++; round%50 == 0 {
				c.reopen()
				again, err := c.tokens[0].Refresh(t.Context(), token.Renewal{Client: app, Token: a.RefreshToken})
				if err != nil || again.RefreshToken != answers[0].RefreshToken {
					t.Fatalf("after a restart another pair, or %v", err)
				}
			}
			a = answers[0]
		})
		if _, err := c.tokens[2].Check(t.Context(), a.AccessToken); err != nil {
			t.Fatal(err)
		}
	})
}

// TestE13_RevocationWins: a grant that is revoked while it is being refreshed
// is over, however the two meet.
func TestE13_RevocationWins(t *testing.T) {
	onBoth(t, func(t *testing.T, open opener) {
		c := newCrew(t, open)
		done, end := 0, time.Now().Add(budget/3)
		for ; done < 5 || time.Now().Before(end); done++ {
			a, err := c.tokens[0].Redeem(t.Context(), exchange(c.code()))
			if err != nil {
				t.Fatal(err)
			}
			answers := make([]token.Answer, 8)
			parallel(t, 8, func(i int) (err error) {
				if i == 5 {
					return c.tokens[0].RevokeUser(t.Context(), "ada")
				}
				answers[i], err = c.tokens[i%4].Refresh(t.Context(), token.Renewal{Client: app, Token: a.RefreshToken})
				return err
			})
			for _, b := range append([]token.Answer{a}, answers...) {
				if b.AccessToken == "" {
					continue
				}
				// Tokens opened anew hold nothing in its cache.
				_, err := start(t, c.store).Check(t.Context(), b.AccessToken)
				refused(t, err, "invalid_token", 401)
				_, err = c.tokens[1].Refresh(t.Context(), token.Renewal{Client: app, Token: b.RefreshToken})
				refused(t, err, "invalid_grant", 400)
			}
		}
		t.Logf("%d rounds", done)
	})
}

// TestR22_RevocationIsHeardInASecond takes the time on real clocks.
func TestR22_RevocationIsHeardInASecond(t *testing.T) {
	onBoth(t, func(t *testing.T, open opener) {
		c := newCrew(t, open)
		a, err := c.tokens[0].Redeem(t.Context(), exchange(c.code()))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.tokens[1].Check(t.Context(), a.AccessToken); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := c.tokens[0].RevokeUser(t.Context(), "ada"); err != nil {
			t.Fatal(err)
		}
		for err == nil {
			if time.Since(began) > 5*time.Second {
				t.Fatal("not heard")
			}
			time.Sleep(5 * time.Millisecond)
			_, err = c.tokens[1].Check(t.Context(), a.AccessToken)
		}
		refused(t, err, "invalid_token", 401)
		t.Logf("heard after %v", time.Since(began))
	})
}
