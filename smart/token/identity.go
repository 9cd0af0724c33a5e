package token

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
)

// Sign makes a JWT of claims, an object, with the key of id_tokens (RS256).
func (t *Tokens) Sign(ctx context.Context, claims []byte) (string, error) {
	s, err := t.signer(ctx)
	if err != nil {
		return "", err
	}
	return s.sign(claims)
}

// signer signs without need of the store.
type signer struct{ key *signing }

func (t *Tokens) signer(ctx context.Context) (signer, error) {
	keys, err := t.keyRing(ctx)
	if err != nil {
		return signer{}, err
	}
	return signer{keys.current(t.Now())}, nil
}

// signerFor is the signer of a grant's id_tokens, none where it has none.
func (t *Tokens) signerFor(ctx context.Context, scope string) (signer, error) {
	if !has(scope, "openid") {
		return signer{}, nil
	}
	return t.signer(ctx)
}

func (s signer) sign(claims []byte) (string, error) {
	key := jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: s.key.private, KeyID: s.key.KID}}
	jws, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", fmt.Errorf("smart/token: sign: %w", err)
	}
	signed, err := jws.Sign(claims)
	if err != nil {
		return "", fmt.Errorf("smart/token: sign: %w", err)
	}
	return signed.CompactSerialize()
}

// identity are the claims of an id_token (OpenID Connect Core §2).
type identity struct {
	Iss      string `json:"iss"`
	Sub      string `json:"sub"`
	Aud      string `json:"aud"`
	Exp      int64  `json:"exp"`
	Iat      int64  `json:"iat"`
	AuthTime int64  `json:"auth_time,omitzero"`
	Nonce    string `json:"nonce,omitzero"`
	Person   string `json:"fhirUser,omitzero"`
}

// identify adds the id_token to an answer, if openid was granted.
func (s signer) identify(t *Tokens, a *Answer, nonce string) error {
	if !has(a.Scope, "openid") {
		return nil
	}
	now := t.Now()
	claims := identity{
		Iss: t.Issuer, Sub: t.subject(&a.Grant), Aud: a.Grant.Client, Nonce: nonce,
		Iat: now.Unix(), Exp: now.Add(t.AccessLife).Unix(), Person: t.person(&a.Grant, a.Scope),
	}
	if !a.Grant.AuthTime.IsZero() {
		claims.AuthTime = a.Grant.AuthTime.Unix()
	}
	raw, err := json.Marshal(claims)
	if err != nil {
		return fmt.Errorf("smart/token: write an id_token: %w", err)
	}
	a.IDToken, err = s.sign(raw)
	return err
}

// subject names a user to apps: the same for all apps and always, and nothing
// that one could sign in with.
func (t *Tokens) subject(g *Grant) string {
	hash := sha256.Sum256([]byte(t.Issuer + "\n" + g.User))
	return strict.EncodeToString(hash[:])
}

// person is the claim fhirUser, "" unless it was granted.
func (t *Tokens) person(g *Grant, scope string) string {
	if g.FHIRUser.Type == "" || !has(scope, "fhirUser") {
		return ""
	}
	if g.FHIRUser.Base == "" && t.Base != "" {
		return strings.TrimSuffix(t.Base, "/") + "/" + g.FHIRUser.String()
	}
	return g.FHIRUser.String()
}
