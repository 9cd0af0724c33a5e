package token

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"candela/smart/scope"
	"candela/store"
)

// Config is what Tokens work with. Durations of 0 are the defaults named.
type Config struct {
	KV     store.KV
	Secret []byte           // keys all digests and seals; 32 octets or more
	Scopes *scope.Grammar   // reads scopes
	Issuer string           // iss of id_tokens
	Base   string           // our FHIR base: tokens for another are refused; "": any
	Now    func() time.Time // nil: time.Now

	CodeLife    time.Duration // 60 s, which is the most
	AccessLife  time.Duration // of access tokens; 1 h, which is the most
	BackendLife time.Duration // of those of backend services; 5 min, which is the most
	RefreshLife time.Duration // of a refresh token that is not used; 120 days
	// Grace is for how long a retry of a refresh gets the same pair, PublicGrace
	// for clients without a secret; 30 s, and 10 s or Grace if that is less.
	// Negative: not at all, a second use ends the grant.
	Grace, PublicGrace time.Duration
	// Cache is how long a record read by Check is believed, and so how late
	// another process learns of a revocation; 750 ms, 1 s at most, negative: none.
	Cache time.Duration

	// Alive is asked before a code or refresh token is honoured: ErrEnded or
	// store.ErrNotFound when the session or user of the grant is gone, which ends
	// the grant; any other error is trouble of the moment. nil: all are alive.
	Alive func(ctx context.Context, g Grant) error
	// Audit is told of reuse, after the grant has been ended. Its error becomes
	// the answer. nil: nobody is told.
	Audit func(ctx context.Context, e Event) error
}

// Tokens issues and checks tokens. It is safe for use by many goroutines, and
// several processes may share one store.
type Tokens struct {
	Config
	keys  secrets
	cache cache[[idSize]byte, *record]
	ring  ringCache
}

// secrets are derived from Config.Secret, one for each use.
type secrets struct{ tag, digest, seal, ring []byte }

// Open checks the configuration. Nothing is read or written before it is needed.
func Open(c Config) (*Tokens, error) {
	if c.KV == nil || c.Scopes == nil || c.Issuer == "" {
		return nil, errors.New("smart/token: a store, a scope grammar and an issuer are needed")
	}
	if len(c.Secret) < 32 {
		return nil, errors.New("smart/token: the secret has less than 32 octets")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if err := c.durations(); err != nil {
		return nil, err
	}
	t := &Tokens{Config: c, cache: newCache[[idSize]byte, *record]()}
	for use, key := range map[string]*[]byte{"tag": &t.keys.tag, "digest": &t.keys.digest, "seal": &t.keys.seal, "ring": &t.keys.ring} {
		var err error
		if *key, err = hkdf.Key(sha256.New, c.Secret, nil, "candela/smart/token/"+use, 32); err != nil {
			return nil, fmt.Errorf("smart/token: derive a key: %w", err)
		}
	}
	return t, nil
}

// durations sets what is not set and refuses what no client may be promised.
func (c *Config) durations() error {
	limits := []struct {
		name           string
		value          *time.Duration
		usual, longest time.Duration
	}{
		{"code", &c.CodeLife, time.Minute, time.Minute},
		{"access token", &c.AccessLife, time.Hour, time.Hour},
		{"backend token", &c.BackendLife, 5 * time.Minute, 5 * time.Minute},
		{"refresh token", &c.RefreshLife, 120 * 24 * time.Hour, 10 * 365 * 24 * time.Hour},
		{"grace", &c.Grace, 30 * time.Second, 5 * time.Minute},
		{"grace of public clients", &c.PublicGrace, 0, 5 * time.Minute},
		{"cache", &c.Cache, 750 * time.Millisecond, time.Second},
	}
	for i, l := range limits {
		if *l.value == 0 && i == 5 {
			l.usual = min(c.Grace, 10*time.Second) // which is set by now
		}
		if *l.value == 0 {
			*l.value = l.usual
		}
		if *l.value > l.longest {
			return fmt.Errorf("smart/token: a %s of more than %s", l.name, l.longest)
		}
	}
	if c.CodeLife < 0 || c.AccessLife < time.Second || c.BackendLife < time.Second || c.RefreshLife < c.AccessLife {
		return errors.New("smart/token: tokens need a life, refresh tokens one longer than access tokens")
	}
	return nil
}

// grace is for how long a client may retry a refresh.
func (t *Tokens) grace(c Client) time.Duration {
	if c.Public {
		return t.PublicGrace
	}
	return t.Grace
}

// alive asks whether a grant still stands, and ends it when not.
func (t *Tokens) alive(ctx context.Context, r *record) error {
	if t.Alive == nil {
		return nil
	}
	err := t.Alive(ctx, r.Grant)
	if errors.Is(err, ErrEnded) || errors.Is(err, store.ErrNotFound) {
		if err := t.end(ctx, r); err != nil {
			return err
		}
		return invalidGrant("the session or user of the grant is gone")
	}
	if err != nil {
		return fmt.Errorf("smart/token: ask for a session: %w", err)
	}
	return nil
}

// report tells of a token in wrong hands, then refuses it.
func (t *Tokens) report(ctx context.Context, what string, r *record, client Client) error {
	if t.Audit != nil {
		if err := t.Audit(ctx, Event{What: what, Grant: r.Grant, Client: client.ID, Time: t.Now()}); err != nil {
			return fmt.Errorf("smart/token: audit: %w", err)
		}
	}
	return invalidGrant("the code or token is not good any more, or not this client's")
}

// sameServer compares FHIR bases; one slash at the end does not count.
func sameServer(a, b string) bool {
	return strings.TrimSuffix(a, "/") == strings.TrimSuffix(b, "/")
}
