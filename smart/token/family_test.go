package token_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"candela/smart/token"
	"candela/store"
)

// family is what should be true of one grant: which pairs were given, which of
// them is current, and whether the grant lives.
type family struct {
	t      *rapid.T
	clock  *clock
	kv     *memory
	houses []*house // processes on one store
	code   string
	pairs  []token.Answer
	born   []time.Time
	turned time.Time
	dead   bool
}

const grace = 30 * time.Second

func newFamily(t *rapid.T, tb testing.TB) *family {
	c := newClock()
	f := &family{t: t, clock: c, kv: newMemory(c)}
	for range 3 {
		f.houses = append(f.houses, openOn(tb, f.kv, c))
	}
	f.code = f.houses[0].code(grant())
	a, err := f.any().Redeem(tb.Context(), exchange(f.code))
	if err != nil {
		t.Fatal(err)
	}
	f.given(a)
	return f
}

func (f *family) any() *house { return rapid.SampledFrom(f.houses).Draw(f.t, "process") }

func (f *family) given(a token.Answer) {
	f.pairs, f.born = append(f.pairs, a), append(f.born, f.clock.Now())
	f.turned = f.clock.Now()
}

func (f *family) last() int { return len(f.pairs) - 1 }

// expired says whether nobody used the grant for too long.
func (f *family) expired() bool {
	return !f.clock.Now().Before(f.turned.Add(120 * 24 * time.Hour))
}

// renew sends any refresh token that was ever given.
func (f *family) renew() {
	i := rapid.IntRange(max(0, f.last()-3), f.last()).Draw(f.t, "pair")
	a, err := f.any().renew(f.pairs[i].RefreshToken)
	retry := i == f.last()-1 && f.clock.Now().Sub(f.turned) <= grace
	switch {
	case f.dead || f.expired():
		refused(f.t, err, "invalid_grant", 400)
		f.dead = true
	case i == f.last():
		if err != nil {
			f.t.Fatalf("the current refresh token: %v", err)
		}
		f.given(a)
	case retry && !f.live(f.last()): // its access token is over or was revoked
		refused(f.t, err, "invalid_grant", 400)
	case retry:
		if err != nil || a.AccessToken != f.pairs[f.last()].AccessToken || a.RefreshToken != f.pairs[f.last()].RefreshToken {
			f.t.Fatalf("the retry got another pair, or %v", err)
		}
	default:
		refused(f.t, err, "invalid_grant", 400)
		f.dead = true
	}
}

// lose is a refresh whose answer the store lost, or that it never got.
func (f *family) lose() {
	if f.dead || f.expired() {
		return
	}
	f.kv.fail = store.ErrUnavailable
	_, err := f.any().renew(f.pairs[f.last()].RefreshToken)
	trouble(f.t, err)
	f.kv.fail, f.kv.lost = nil, store.ErrUnavailable
	f.renewLast()
	f.kv.lost = nil
}

func (f *family) renewLast() {
	a, err := f.any().renew(f.pairs[f.last()].RefreshToken)
	if err != nil {
		f.t.Fatal(err)
	}
	f.given(a)
}

func (f *family) steal() {
	i := rapid.IntRange(0, f.last()).Draw(f.t, "pair")
	_, err := f.any().Refresh(f.t.Context(), token.Renewal{Client: thief, Token: f.pairs[i].RefreshToken})
	refused(f.t, err, "invalid_grant", 400)
}

func (f *family) wait() {
	f.clock.Add(rapid.SampledFrom([]time.Duration{time.Second, 29 * time.Second, 31 * time.Second, time.Hour, 24 * time.Hour, 121 * 24 * time.Hour}).Draw(f.t, "wait"))
}

func (f *family) reuseCode() {
	_, err := f.any().Redeem(f.t.Context(), exchange(f.code))
	refused(f.t, err, "invalid_grant", 400)
	f.dead = true
}

func (f *family) revoke() {
	if err := f.any().RevokeUser(f.t.Context(), "ada"); err != nil {
		f.t.Fatal(err)
	}
	f.dead = true
}

// live says whether a pair's access token must be good.
func (f *family) live(i int) bool {
	end := f.born[i].Add(time.Hour)
	if i == f.last()-1 && f.turned.Add(grace).Before(end) {
		end = f.turned.Add(grace)
	}
	return !f.dead && i >= f.last()-1 && f.clock.Now().Before(end)
}

// check asks every process about every access token, a second later: by then
// all have heard.
func (f *family) check() {
	f.clock.Add(time.Second)
	for i := range f.pairs {
		_, err := f.any().Check(f.t.Context(), f.pairs[i].AccessToken)
		if f.live(i) != (err == nil) {
			f.t.Fatalf("pair %d of %d: live %v, but %v", i, len(f.pairs), f.live(i), err)
		}
		if err != nil {
			refused(f.t, err, "invalid_token", 401)
		}
	}
}

// TestE21_FamiliesOfRefreshTokens: whatever comes in whatever order from
// whichever process, one pair is current, a retry gets that pair, any other use
// of a spent token ends all, and nothing else does.
func TestE21_FamiliesOfRefreshTokens(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := newFamily(rt, t)
		often := func(g func()) func(*rapid.T) { return func(rt *rapid.T) { f.t = rt; g() } }
		rt.Repeat(map[string]func(*rapid.T){
			"renew": often(f.renew), "renew again": often(f.renew), "lose": often(f.lose), "steal": often(f.steal),
			"wait": often(f.wait), "wait again": often(f.wait), "reuse the code": often(f.rarely(f.reuseCode)), "revoke": often(f.rarely(f.revoke)),
			"": often(f.check),
		})
	})
}

// rarely keeps what ends a family from ending most of them at once.
func (f *family) rarely(g func()) func() {
	return func() {
		if rapid.IntRange(0, 9).Draw(f.t, "rarely") == 0 {
			g()
		}
	}
}
