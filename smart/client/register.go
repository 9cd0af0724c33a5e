package client

import (
	"context"
	"crypto/hmac"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"candela/store"
)

// Permit is what the holder of an initial access token may register.
type Permit struct {
	Scopes []string `json:"scopes"` // the most a client may have; nil: every patient/ and user/ scope
	Grants []string `json:"grants"` // nil: authorization_code and refresh_token
	Once   bool     `json:"once"`   // for one client only
}

// Registration is a client that registered itself, and what it is told this once.
type Registration struct {
	Client Client
	Secret string // "" when none was made now
	Token  string // the registration access token; "" when it was not made now
}

// NewInitial makes an initial access token (RFC 7591 §1.2) that ends after life.
func (r *Registry) NewInitial(ctx context.Context, p Permit, life time.Duration) (string, error) {
	if p.Scopes == nil {
		p.Scopes = []string{"openid", "fhirUser", "profile", "launch", "launch/patient", "launch/encounter",
			"offline_access", "online_access", "patient/*.cruds", "user/*.cruds"}
	}
	if p.Grants == nil {
		p.Grants = []string{GrantCode, GrantRefresh}
	}
	if len(r.scopes(p.Scopes)) != len(p.Scopes) || life <= 0 {
		return "", badMetadata("a scope is unknown or the token has no life")
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("smart/client: write a permit: %w", err)
	}
	token := random(32)
	if err := r.KV.KVPut(ctx, bucketInitial, r.initialKey(token), raw, life); err != nil {
		return "", fmt.Errorf("smart/client: write a permit: %w", err)
	}
	return token, nil
}

// EndInitial ends an initial access token.
func (r *Registry) EndInitial(ctx context.Context, token string) error {
	if err := r.KV.KVDelete(ctx, bucketInitial, r.initialKey(token)); err != nil {
		return fmt.Errorf("smart/client: end a permit: %w", err)
	}
	return nil
}

func (r *Registry) initialKey(token string) string {
	return base64.RawURLEncoding.EncodeToString(r.digest("initial", token))
}

func invalidToken() error {
	return &Error{Code: "invalid_token", Description: "the access token is not one for this", Status: 401}
}

func (r *Registry) permit(ctx context.Context, token string) (Permit, error) {
	var p Permit
	raw, err := r.KV.KVGet(ctx, bucketInitial, r.initialKey(token))
	if errors.Is(err, store.ErrNotFound) {
		return p, invalidToken()
	}
	if err == nil && json.Unmarshal(raw, &p) != nil {
		err = store.ErrCorrupt
	}
	if err != nil {
		return p, fmt.Errorf("smart/client: read a permit: %w", err)
	}
	return p, nil
}

// Register makes a client of metadata as RFC 7591 §2 has it. initial is the
// initial access token, without "Bearer ". Metadata that cannot be registered is
// *Error invalid_client_metadata.
func (r *Registry) Register(ctx context.Context, metadata []byte, initial string) (Registration, error) {
	p, err := r.permit(ctx, initial)
	if err != nil {
		return Registration{}, err
	}
	m, err := readMetadata(metadata)
	if err != nil {
		return Registration{}, err
	}
	out := Registration{Token: random(32), Client: Client{ID: random(16)}}
	c := &out.Client
	c.Dynamic = &Dynamic{Digest: r.digest("registration", c.ID, out.Token), Scopes: p.Scopes, Grants: p.Grants}
	if out.Secret, err = r.apply(&m, c); err != nil {
		return Registration{}, err
	}
	if p.Once {
		if _, err := r.KV.KVTake(ctx, bucketInitial, r.initialKey(initial)); errors.Is(err, store.ErrNotFound) {
			return Registration{}, invalidToken()
		} else if err != nil {
			return Registration{}, fmt.Errorf("smart/client: use a permit: %w", err)
		}
	}
	out.Client, err = r.Put(ctx, *c)
	return out, err
}

// apply makes the client what its metadata say, and checks it whole, so that
// nothing is used up for what cannot be registered.
func (r *Registry) apply(m *metadata, c *Client) (secret string, err error) {
	if err := m.fill(c); err != nil {
		return "", err
	}
	most := r.scopes(c.Dynamic.Scopes)
	if asked := r.scopes(c.Scopes); !most.Covers(asked) {
		return "", badMetadata("a scope is more than may be registered")
	}
	if c.Kind != Symmetric {
		c.Secrets = nil
	} else if len(c.Secrets) == 0 {
		secret = random(32)
		r.addSecret(c, secret, 0)
	}
	return secret, r.check(c)
}

// registered is the client that a registration access token is for. Who has not
// the right one is not told whether there is a client.
func (r *Registry) registered(ctx context.Context, id, token string) (Client, error) {
	c, err := r.Get(ctx, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return Client{}, err
	}
	sent := r.digest("registration", id, token)
	if err != nil || c.Dynamic == nil || c.Disabled || !hmac.Equal(c.Dynamic.Digest, sent) {
		return Client{}, invalidToken()
	}
	return c, nil
}

// Read gives a client what it is registered as (RFC 7592 §2.1).
func (r *Registry) Read(ctx context.Context, id, token string) (Registration, error) {
	c, err := r.registered(ctx, id, token)
	return Registration{Client: c}, err
}

// Update replaces the metadata of a client: what is left out goes back to its
// default (RFC 7592 §2.2). Its secret stays, unless it had none and needs one.
func (r *Registry) Update(ctx context.Context, id, token string, metadata []byte) (Registration, error) {
	c, err := r.registered(ctx, id, token)
	if err != nil {
		return Registration{}, err
	}
	m, err := readMetadata(metadata)
	if err != nil {
		return Registration{}, err
	}
	if m.ID != id || m.Secret != "" && !r.knows(&c, m.Secret) {
		return Registration{}, badMetadata("client_id or client_secret is another than the registered one")
	}
	var out Registration
	if out.Secret, err = r.apply(&m, &c); err != nil {
		return Registration{}, err
	}
	out.Client, err = r.Put(ctx, c)
	return out, err
}

// Remove deletes a client at its own wish (RFC 7592 §2.3). Its tokens are for
// the caller to end.
func (r *Registry) Remove(ctx context.Context, id, token string) error {
	if _, err := r.registered(ctx, id, token); err != nil {
		return err
	}
	return r.Delete(ctx, id)
}
