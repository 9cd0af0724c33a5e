package client

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"
)

// minSecret is the length of 256 bits in base64url.
const minSecret = 43

// random is a text of n random octets in base64url.
func random(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails: crypto/rand ends the process instead
	return base64.RawURLEncoding.EncodeToString(b)
}

// digest is the keyed digest of texts; use tells apart what it is for.
func (r *Registry) digest(use string, texts ...string) []byte {
	mac := hmac.New(sha256.New, r.Secret)
	mac.Write([]byte("candela/smart/client/" + use))
	for _, text := range texts {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(text))))
		mac.Write([]byte(text))
	}
	return mac.Sum(nil)
}

// NewSecret makes a symmetric client a new secret of 256 bits, which is told
// this once. The one before stays good for overlap; any other ends now.
func (r *Registry) NewSecret(ctx context.Context, id string, overlap time.Duration) (string, error) {
	secret := random(32)
	return secret, r.SetSecret(ctx, id, secret, overlap)
}

// SetSecret is NewSecret with a secret of the caller's: 43 octets or more, which
// must come from a random source of 256 bits.
func (r *Registry) SetSecret(ctx context.Context, id, secret string, overlap time.Duration) error {
	if len(secret) < minSecret || len(secret) > maxURL {
		return badMetadata("the secret has not 43 to 2048 octets")
	}
	_, err := r.update(ctx, id, func(c *Client) error {
		if c.Kind != Symmetric {
			return badMetadata("only symmetric clients have secrets")
		}
		r.addSecret(c, secret, overlap)
		return nil
	})
	return err
}

func (r *Registry) addSecret(c *Client, secret string, overlap time.Duration) {
	now := r.Now().UTC()
	secrets := []Secret{{Digest: r.digest("secret", c.ID, secret), Created: now}}
	if len(c.Secrets) > 0 && overlap > 0 {
		before := c.Secrets[0]
		if end := now.Add(overlap); before.Until.IsZero() || end.Before(before.Until) {
			before.Until = end
		}
		secrets = append(secrets, before)
	}
	c.Secrets = secrets
}

// knows says whether a secret is one of the client's, in a time that does not
// tell which or how nearly.
func (r *Registry) knows(c *Client, secret string) bool {
	sent, now, found := r.digest("secret", c.ID, secret), r.Now(), false
	for _, s := range c.Secrets {
		same := hmac.Equal(s.Digest, sent)
		found = found || same && (s.Until.IsZero() || now.Before(s.Until))
	}
	return found
}
