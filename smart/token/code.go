package token

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"candela/store"
)

// Exchange is a code that is sent for tokens.
type Exchange struct {
	Client   Client
	Code     string
	Redirect string // redirect_uri, as at the authorization endpoint
	Verifier string // code_verifier
	Aud      string // FHIR base, where the request names one (resource); else ""
}

// Code makes a grant and the authorization code for it, which is good once, for
// CodeLife. redirect and challenge (S256) are those of the authorization request;
// a challenge that is none is *Error.
func (t *Tokens) Code(ctx context.Context, g Grant, redirect, challenge string) (string, error) {
	if raw, err := strict.DecodeString(challenge); err != nil || len(raw) != sha256.Size || len(challenge) != 43 {
		return "", invalidRequest("code_challenge is not that of S256")
	}
	if err := t.checkGrant(&g, redirect); err != nil {
		return "", err
	}
	now := t.Now().UTC()
	g.ID, g.Created = random(idSize), now
	if len(g.Context) == 0 {
		g.Context = nil // an empty text is no JSON
	}
	text, digest := t.mint(code, g.ID)
	end := now.Add(t.CodeLife)
	r := &record{Grant: g, Code: &pending{Digest: digest, Redirect: redirect, Challenge: challenge, Until: end}, Until: end}
	return text, t.create(ctx, r)
}

// persons are the types that fhirUser may have (SMART App Launch 2.2.0).
var persons = [...]string{"Patient", "Practitioner", "PractitionerRole", "RelatedPerson", "Person"}

// checkGrant refuses what the caller of Code, who is no client, may not grant.
func (t *Tokens) checkGrant(g *Grant, redirect string) error {
	switch {
	case g.Client == "" || g.User == "" || g.Scope == "" || redirect == "":
		return errors.New("smart/token: a grant needs a client, a user, a scope and a redirect")
	case g.FHIRUser.Type != "" && !slices.Contains(persons[:], g.FHIRUser.Type):
		return fmt.Errorf("smart/token: a %s is no person", g.FHIRUser.Type)
	case t.Base != "" && !sameServer(g.Aud, t.Base):
		return invalidTarget()
	}
	return ValidateContext(g.Context)
}

// Redeem gives the tokens of a code. A code that is sent again is *Error
// invalid_grant and ends the grant with all its tokens, and so does one with a
// wrong redirect or verifier.
func (t *Tokens) Redeem(ctx context.Context, e Exchange) (Answer, error) {
	if err := checkVerifier(e.Verifier); err != nil {
		return Answer{}, err
	}
	sent, ok := t.parse(code, e.Code)
	if !ok {
		return Answer{}, invalidGrant("the code is none of ours")
	}
	var out Answer
	var sign signer
	err := t.change(ctx, sent.grant(), func(r *record) (next *record, err error) {
		if err = t.redeemable(ctx, r, &sent, &e); err != nil {
			return nil, err
		}
		if sign, err = t.signerFor(ctx, r.Grant.Scope); err != nil { // before anything is spent
			return nil, err
		}
		next, out, err = t.first(ctx, r)
		return next, err
	})
	if errors.Is(err, store.ErrNotFound) {
		err = invalidGrant("the code has expired or its grant was ended")
	}
	if err != nil {
		return Answer{}, err
	}
	return out, sign.identify(t, &out, out.Grant.Nonce)
}

// redeemable says why a code cannot be redeemed, nil when it can.
func (t *Tokens) redeemable(ctx context.Context, r *record, sent *parsed, e *Exchange) error {
	c := r.Code
	switch {
	case r.Grant.Client != e.Client.ID:
		return t.report(ctx, ForeignClient, r, e.Client)
	case c == nil:
		return t.stop(ctx, CodeReused, r, e.Client)
	case !hmac.Equal(c.Digest, sent.digest) || !t.Now().Before(c.Until):
		return invalidGrant("the code has expired")
	case e.Aud != "" && !sameServer(e.Aud, r.Grant.Aud):
		return invalidTarget()
	case c.Redirect != e.Redirect || !matches(e.Verifier, c.Challenge):
		// Whoever holds the code gets one guess.
		if err := t.end(ctx, r); err != nil {
			return err
		}
		return invalidGrant("redirect_uri or code_verifier is not that of the authorization request")
	}
	return t.alive(ctx, r)
}

// stop ends a grant of which something was used twice, and tells of it.
func (t *Tokens) stop(ctx context.Context, what string, r *record, client Client) error {
	if err := t.end(ctx, r); err != nil {
		return err
	}
	return t.report(ctx, what, r, client)
}

// first is the record of a grant with its first tokens.
func (t *Tokens) first(ctx context.Context, r *record) (*record, Answer, error) {
	now := t.Now().UTC()
	out := Answer{Scope: r.Grant.Scope, Expires: t.AccessLife, Grant: r.Grant}
	text, entry := t.issue(r.Grant.ID, "", now, t.AccessLife)
	out.AccessToken, out.JTI = text, entry.JTI
	next := &record{Grant: r.Grant, Access: []issued{entry}, Until: entry.Expires, Listed: r.Listed}
	if r.Grant.refreshes() {
		next.Family = &family{Turned: now}
		out.RefreshToken, next.Family.Current = t.mint(refresh, r.Grant.ID)
		next.Until = now.Add(t.RefreshLife)
	}
	if next.Listed.Before(next.Until) {
		if err := t.list(ctx, next); err != nil {
			return nil, Answer{}, err
		}
	}
	return next, out, nil
}

// issue makes an access token; scope "" is the grant's.
func (t *Tokens) issue(grant, scope string, now time.Time, life time.Duration) (string, issued) {
	text, digest := t.mint(access, grant)
	return text, issued{Digest: digest, JTI: random(16), Scope: scope, Issued: now, Expires: now.Add(life)}
}

// Backend gives a backend service an access token of its own, without refresh
// (SMART Backend Services). scope is what its registration allows of what it
// asked for.
func (t *Tokens) Backend(ctx context.Context, client Client, scope string) (Answer, error) {
	if client.ID == "" || client.Public || scope == "" {
		return Answer{}, errors.New("smart/token: a backend service has an id, a key and a scope")
	}
	now := t.Now().UTC()
	g := Grant{ID: random(idSize), Client: client.ID, Scope: scope, Aud: t.Base, Created: now}
	text, entry := t.issue(g.ID, "", now, t.BackendLife)
	r := &record{Grant: g, Access: []issued{entry}, Until: entry.Expires}
	return Answer{AccessToken: text, Scope: scope, Expires: t.BackendLife, JTI: entry.JTI, Grant: g}, t.create(ctx, r)
}

// checkVerifier keeps to 43 to 128 unreserved characters (RFC 7636 §4.1).
func checkVerifier(v string) error {
	if v == "" {
		return invalidRequest("code_verifier is missing")
	}
	if len(v) < 43 || len(v) > 128 || strings.ContainsFunc(v, func(c rune) bool { return c > 127 || !unreserved(byte(c)) }) {
		return invalidGrant("code_verifier is not 43 to 128 unreserved characters")
	}
	return nil
}

// matches says whether a verifier is that of an S256 challenge.
func matches(verifier, challenge string) bool {
	hash := sha256.Sum256([]byte(verifier))
	return hmac.Equal([]byte(strict.EncodeToString(hash[:])), []byte(challenge))
}
