package token

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"

	"candela/store"
)

const (
	keyBits  = 2048
	ringLife = 5 * time.Second // how long a process believes the keys it read
	// lead is how long a new key is published before it signs, so that every
	// process and most caches know it by then.
	lead = time.Minute
	// keep is how long an old key is published after it signed last: longer than
	// any token it signed lives.
	keep = 24 * time.Hour
	// ringName is where the keys lie, all in one value.
	ringName = "id_token"
)

// signing is a key that signs id_tokens, or did.
type signing struct {
	KID   string    `json:"kid"`            // thumbprint (RFC 7638)
	Key   []byte    `json:"key"`            // PKCS #8
	From  time.Time `json:"from"`           // signs from then on
	Until time.Time `json:"until,omitzero"` // published until then; zero: no end yet

	private *rsa.PrivateKey
}

// ring is all keys, the newest first.
type ring []signing

// ringCache is the ring as it was last read.
type ringCache struct {
	mu     sync.Mutex
	sealed []byte
	ring   ring
	at     time.Time
}

// keyRing reads the keys, and makes the first one where there is none.
func (t *Tokens) keyRing(ctx context.Context) (ring, error) {
	c := &t.ring
	c.mu.Lock()
	defer c.mu.Unlock()
	now := t.Now()
	if age := now.Sub(c.at); c.ring != nil && age >= 0 && age < ringLife {
		return c.ring, nil
	}
	sealed, err := t.KV.KVGet(ctx, bucketKey, ringName)
	if errors.Is(err, store.ErrNotFound) {
		sealed, err = t.firstKey(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("smart/token: read the signing keys: %w", err)
	}
	if c.ring == nil || !bytes.Equal(sealed, c.sealed) {
		keys, err := t.openRing(sealed)
		if err != nil {
			return nil, err
		}
		c.ring, c.sealed = keys, sealed
	}
	c.at = now
	return c.ring, nil
}

// firstKey writes a ring of one key, or reads what another process just wrote.
func (t *Tokens) firstKey(ctx context.Context) ([]byte, error) {
	key, err := newSigning(t.Now().UTC())
	if err != nil {
		return nil, err
	}
	sealed, err := t.sealRing(ring{key})
	if err != nil {
		return nil, err
	}
	err = t.KV.KVSwap(ctx, bucketKey, ringName, nil, sealed, 0)
	if errors.Is(err, store.ErrConflict) {
		return t.KV.KVGet(ctx, bucketKey, ringName)
	}
	return sealed, err
}

func newSigning(from time.Time) (signing, error) {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return signing{}, fmt.Errorf("make a key: %w", err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return signing{}, fmt.Errorf("write a key: %w", err)
	}
	print, err := (&jose.JSONWebKey{Key: key.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		return signing{}, fmt.Errorf("name a key: %w", err)
	}
	return signing{KID: strict.EncodeToString(print), Key: raw, From: from, private: key}, nil
}

func (t *Tokens) sealRing(keys ring) ([]byte, error) {
	raw, err := json.Marshal(keys)
	if err != nil {
		return nil, fmt.Errorf("smart/token: write the signing keys: %w", err)
	}
	c, err := aead(t.keys.ring)
	if err != nil {
		return nil, err
	}
	return c.Seal(nil, nil, raw, []byte(ringName)), nil
}

func (t *Tokens) openRing(sealed []byte) (ring, error) {
	c, err := aead(t.keys.ring)
	if err != nil {
		return nil, err
	}
	raw, err := c.Open(nil, nil, sealed, []byte(ringName))
	var keys ring
	if err != nil || json.Unmarshal(raw, &keys) != nil || len(keys) == 0 {
		return nil, fmt.Errorf("smart/token: the signing keys cannot be read with this secret: %w", store.ErrCorrupt)
	}
	for i := range keys {
		parsed, err := x509.ParsePKCS8PrivateKey(keys[i].Key)
		private, ok := parsed.(*rsa.PrivateKey)
		if err != nil || !ok {
			return nil, fmt.Errorf("smart/token: a signing key: %w", store.ErrCorrupt)
		}
		keys[i].private = private
	}
	return keys, nil
}

// Rotate makes a new signing key. It is published at once and signs a minute
// later; the old ones are published for a day after that. With compromised they
// are forgotten now, id_tokens signed by them can be verified no more, and the
// new key signs at once; that works as well where the old ones cannot be read.
func (t *Tokens) Rotate(ctx context.Context, compromised bool) error {
	for range attempts {
		sealed, err := t.KV.KVGet(ctx, bucketKey, ringName)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("smart/token: read the signing keys: %w", err)
		}
		next, err := t.rotated(sealed, compromised)
		if err != nil {
			return err
		}
		err = t.KV.KVSwap(ctx, bucketKey, ringName, sealed, next, 0)
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		if err != nil {
			return fmt.Errorf("smart/token: write the signing keys: %w", err)
		}
		t.ring.forget()
		return nil
	}
	return fmt.Errorf("smart/token: the signing keys are changed too often: %w", store.ErrUnavailable)
}

func (c *ringCache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ring = nil
}

// rotated is the sealed ring with a new key.
func (t *Tokens) rotated(sealed []byte, compromised bool) ([]byte, error) {
	now := t.Now().UTC()
	if sealed == nil || compromised {
		key, err := newSigning(now)
		if err != nil {
			return nil, fmt.Errorf("smart/token: %w", err)
		}
		return t.sealRing(ring{key})
	}
	old, err := t.openRing(sealed)
	if err != nil {
		return nil, err
	}
	key, err := newSigning(now.Add(lead))
	if err != nil {
		return nil, fmt.Errorf("smart/token: %w", err)
	}
	next := ring{key}
	for _, k := range old {
		if k.Until.IsZero() {
			k.Until = key.From.Add(keep)
		}
		if now.Before(k.Until) {
			next = append(next, k)
		}
	}
	return t.sealRing(next)
}

// current is the key that signs now.
func (r ring) current(now time.Time) *signing {
	i := slices.IndexFunc(r, func(k signing) bool { return !now.Before(k.From) })
	if i < 0 { // the clock was set back
		i = len(r) - 1
	}
	return &r[i]
}

// JWKS is the public keys that id_tokens can be verified with (RFC 7517), the
// ones to come and those of the last day with them.
func (t *Tokens) JWKS(ctx context.Context) ([]byte, error) {
	keys, err := t.keyRing(ctx)
	if err != nil {
		return nil, err
	}
	now := t.Now()
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range keys {
		if k.Until.IsZero() || now.Before(k.Until) {
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.private.Public(), KeyID: k.KID, Algorithm: string(jose.RS256), Use: "sig"})
		}
	}
	raw, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("smart/token: write the public keys: %w", err)
	}
	return raw, nil
}
