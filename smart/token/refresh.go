package token

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"candela/store"
)

// Renewal is a refresh token that is sent for new tokens.
type Renewal struct {
	Client Client
	Token  string
	Scope  string // what is asked for, within the grant; "": all of it
	Aud    string // FHIR base, where the request names one; else ""
}

// pair is what a rotation gave.
type pair struct {
	Access  string `json:"access"`
	Refresh string `json:"refresh"`
}

// Refresh spends a refresh token for a new pair. The same request within the
// client's grace gets the same pair again, so that a lost answer loses nothing;
// after it, or once the new refresh token was used, a second use ends the grant.
// The access token before stays good for the grace, for requests under way.
func (t *Tokens) Refresh(ctx context.Context, w Renewal) (Answer, error) {
	sent, ok := t.parse(refresh, w.Token)
	if !ok {
		return Answer{}, invalidGrant("the refresh token is none of ours")
	}
	var out Answer
	var sign signer
	err := t.change(ctx, sent.grant(), func(r *record) (next *record, err error) {
		again, err := t.renewable(ctx, r, &sent, &w)
		if err == nil {
			sign, err = t.signerFor(ctx, r.Grant.Scope)
		}
		switch {
		case err != nil:
			return nil, err
		case again:
			out, err = t.repeat(r, &w)
			return nil, err
		}
		next, out, err = t.turn(ctx, r, &w)
		return next, err
	})
	if errors.Is(err, store.ErrNotFound) {
		err = invalidGrant("the refresh token has expired or its grant was ended")
	}
	if err != nil {
		return Answer{}, err
	}
	return out, sign.identify(t, &out, "")
}

// Holder is the client that a refresh token was given to, spent or not. A token
// that is none of ours, or whose grant has ended, is *Error: invalid_grant.
func (t *Tokens) Holder(ctx context.Context, text string) (client string, err error) {
	sent, ok := t.parse(refresh, text)
	if !ok {
		return "", invalidGrant("the refresh token is none of ours")
	}
	r, err := t.load(ctx, sent.grant())
	if errors.Is(err, store.ErrNotFound) {
		err = invalidGrant("the refresh token has expired or its grant was ended")
	}
	if err != nil {
		return "", err
	}
	return r.Grant.Client, nil
}

// renewable says why a refresh token cannot be spent, or that it was just now
// and this is the same request again.
func (t *Tokens) renewable(ctx context.Context, r *record, sent *parsed, w *Renewal) (again bool, err error) {
	if r.Grant.Client != w.Client.ID {
		return false, t.report(ctx, ForeignClient, r, w.Client)
	}
	f := r.Family
	switch {
	case f == nil || !t.Now().Before(r.Until):
		return false, invalidGrant("the refresh token has expired")
	case w.Aud != "" && !sameServer(w.Aud, r.Grant.Aud):
		return false, invalidTarget()
	case hmac.Equal(f.Current, sent.digest):
		return false, t.alive(ctx, r)
	case !hmac.Equal(f.Former, sent.digest) || t.Now().Sub(f.Turned).Abs() > t.grace(w.Client):
		return false, t.stop(ctx, RefreshReused, r, w.Client)
	case f.Asked != w.Scope:
		return false, invalidGrant("the refresh token is spent")
	}
	return true, t.alive(ctx, r)
}

// turn is the record of a grant after a rotation.
func (t *Tokens) turn(ctx context.Context, r *record, w *Renewal) (*record, Answer, error) {
	narrow, err := t.narrow(r.Grant.Scope, w.Scope)
	if err != nil {
		return nil, Answer{}, err
	}
	now := t.Now().UTC()
	text, entry := t.issue(r.Grant.ID, narrow, now, t.AccessLife)
	given := pair{Access: text}
	f := &family{Former: r.Family.Current, Turned: now, Asked: w.Scope}
	given.Refresh, f.Current = t.mint(refresh, r.Grant.ID)
	if f.Sealed, err = t.seal(&r.Grant, w.Token, given); err != nil {
		return nil, Answer{}, err
	}
	next := &record{Grant: r.Grant, Family: f, Listed: r.Listed, Until: now.Add(t.RefreshLife)}
	next.Access = append([]issued{entry}, outlive(r.Access, now, t.grace(w.Client))...)
	if next.Listed.Before(next.Until) {
		if err := t.list(ctx, next); err != nil {
			return nil, Answer{}, err
		}
	}
	return next, t.answer(next, &entry, given), nil
}

// outlive is what stays of the access token before: its life, but not more than
// the grace.
func outlive(before []issued, now time.Time, grace time.Duration) []issued {
	if len(before) == 0 {
		return nil
	}
	last := before[0]
	if end := now.Add(grace); end.Before(last.Expires) {
		last.Expires = end
	}
	if !now.Before(last.Expires) {
		return nil
	}
	return []issued{last}
}

// repeat is the answer that the last rotation gave.
func (t *Tokens) repeat(r *record, w *Renewal) (Answer, error) {
	given, err := t.unseal(&r.Grant, w.Token, r.Family.Sealed)
	if err != nil {
		return Answer{}, err
	}
	sent, _ := t.parse(access, given.Access)
	entry := r.find(sent.digest, t.Now())
	if entry == nil {
		return Answer{}, invalidGrant("the tokens that were given for this refresh token were revoked")
	}
	return t.answer(r, entry, given), nil
}

func (t *Tokens) answer(r *record, entry *issued, given pair) Answer {
	out := Answer{AccessToken: given.Access, RefreshToken: given.Refresh, Scope: entry.Scope, JTI: entry.JTI, Grant: r.Grant}
	if out.Scope == "" {
		out.Scope = r.Grant.Scope
	}
	out.Expires = entry.Expires.Sub(t.Now())
	return out
}

// narrow is the scope of a refreshed token: "" for all that was granted.
func (t *Tokens) narrow(granted, asked string) (string, error) {
	if strings.Trim(asked, " ") == "" || asked == granted {
		return "", nil
	}
	have, _ := t.Scopes.Parse(granted)
	want, refused := t.Scopes.Parse(asked)
	less, ok := have.Narrow(want)
	if !ok || len(refused) > 0 {
		return "", &Error{Code: "invalid_scope", Description: "more was asked for than was granted", Status: 400}
	}
	return less.String(), nil
}

// sealer is the cipher of the pair that was given for a token: only who holds
// that token and the server's secret can read it. Each key seals one pair.
func (t *Tokens) sealer(presented string) (cipher.AEAD, error) {
	return aead(sum(t.keys.seal, []byte(presented)))
}

func aead(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("smart/token: make a cipher: %w", err)
	}
	// A random nonce stands before each text.
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("smart/token: make a cipher: %w", err)
	}
	return gcm, nil
}

func (t *Tokens) seal(g *Grant, presented string, given pair) ([]byte, error) {
	raw, err := json.Marshal(given)
	if err != nil {
		return nil, fmt.Errorf("smart/token: seal a pair: %w", err)
	}
	c, err := t.sealer(presented)
	if err != nil {
		return nil, err
	}
	return c.Seal(nil, nil, raw, []byte(g.ID)), nil
}

func (t *Tokens) unseal(g *Grant, presented string, sealed []byte) (pair, error) {
	var given pair
	c, err := t.sealer(presented)
	if err != nil {
		return given, err
	}
	raw, err := c.Open(nil, nil, sealed, []byte(g.ID))
	if err != nil || json.Unmarshal(raw, &given) != nil {
		return given, fmt.Errorf("smart/token: the pair of grant %s: %w", g.ID, store.ErrCorrupt)
	}
	return given, nil
}

// has says whether a scope value has one scope.
func has(scope, one string) bool {
	return slices.Contains(strings.Fields(scope), one)
}
