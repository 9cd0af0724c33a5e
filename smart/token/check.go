package token

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"candela/store"
)

// Check says what an access token stands for. A token that is not one of ours,
// over, revoked or for another server is *Error invalid_token, status 401.
func (t *Tokens) Check(ctx context.Context, bearer string) (Info, error) {
	sent, ok := t.parse(access, bearer)
	if !ok {
		return Info{}, invalidToken("the token is none of ours")
	}
	now := t.Now()
	r, cached, err := t.cached(ctx, &sent, now)
	if err == nil && cached && r.find(sent.digest, now) == nil {
		// Another process may have issued it since.
		t.forget(r.Grant.ID)
		r, _, err = t.cached(ctx, &sent, now)
	}
	if errors.Is(err, store.ErrNotFound) {
		return Info{}, invalidToken("the token is not good any more")
	}
	if err != nil {
		return Info{}, err
	}
	entry := r.find(sent.digest, now)
	if entry == nil {
		return Info{}, invalidToken("the token is not good any more")
	}
	if t.Base != "" && !sameServer(r.Grant.Aud, t.Base) {
		return Info{}, invalidToken("the token is for another server")
	}
	info := Info{Grant: r.Grant, Scope: entry.Scope, JTI: entry.JTI, Issued: entry.Issued, Expires: entry.Expires}
	if info.Scope == "" {
		info.Scope = r.Grant.Scope
	}
	return info, nil
}

// cached is the record of a token's grant as it stood a moment ago.
func (t *Tokens) cached(ctx context.Context, sent *parsed, now time.Time) (r *record, cached bool, err error) {
	if r, ok := t.cache.get(sent.id, now, t.Cache); ok {
		return r, true, nil
	}
	if r, err = t.load(ctx, sent.grant()); err != nil {
		return nil, false, err
	}
	if t.Cache > 0 {
		t.cache.put(sent.id, r, now, t.Cache)
	}
	return r, false, nil
}

// maxCached bounds the entries held.
const maxCached = 20_000

// cache holds what was just read. It is shared: nobody changes it.
type cache[K comparable, V any] struct {
	mu   *sync.RWMutex
	held map[K]seen[V]
}

// seen is a value and when its reading began.
type seen[V any] struct {
	value V
	at    time.Time
}

func newCache[K comparable, V any]() cache[K, V] {
	return cache[K, V]{mu: &sync.RWMutex{}, held: map[K]seen[V]{}}
}

// fresh is false as well for what was read in the future: the clock was set back.
func (s seen[V]) fresh(now time.Time, life time.Duration) bool {
	age := now.Sub(s.at)
	return age >= 0 && age < life
}

func (c *cache[K, V]) get(key K, now time.Time, life time.Duration) (V, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	s, ok := c.held[key]
	return s.value, ok && s.fresh(now, life)
}

func (c *cache[K, V]) put(key K, v V, at time.Time, life time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.held) >= maxCached {
		for key, s := range c.held {
			if !s.fresh(at, life) {
				delete(c.held, key)
			}
		}
	}
	if len(c.held) >= maxCached {
		clear(c.held)
	}
	c.held[key] = seen[V]{v, at}
}

func (c *cache[K, V]) drop(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.held, key)
}

// forget makes the next Check read a grant anew.
func (t *Tokens) forget(grant string) {
	var id [idSize]byte
	if n, err := strict.Decode(id[:], []byte(grant)); err == nil && n == idSize {
		t.cache.drop(id)
	}
}

// Introspection is what is told of a token to who may ask (RFC 7662).
type Introspection struct {
	Active bool
	Info
	issuer, subject, person string // where an id_token was given
}

// Introspect says what an access token stands for. Every token that Check
// refuses, and every refresh token or code, is inactive. Who may ask is for the
// caller to know.
func (t *Tokens) Introspect(ctx context.Context, text string) (Introspection, error) {
	info, err := t.Check(ctx, text)
	var refused *Error
	if errors.As(err, &refused) {
		return Introspection{}, nil
	}
	if err != nil {
		return Introspection{}, err
	}
	out := Introspection{Active: true, Info: info}
	if has(info.Scope, "openid") && info.Grant.User != "" {
		out.issuer, out.subject, out.person = t.Issuer, t.subject(&info.Grant), t.person(&info.Grant, info.Scope)
	}
	return out, nil
}

// JSON is the body of the introspection endpoint's answer.
func (i Introspection) JSON() ([]byte, error) {
	if !i.Active {
		return []byte(`{"active":false}`), nil
	}
	body := struct {
		Active    bool   `json:"active"`
		Scope     string `json:"scope"`
		Client    string `json:"client_id"`
		TokenType string `json:"token_type"`
		Exp       int64  `json:"exp"`
		Iat       int64  `json:"iat"`
		JTI       string `json:"jti"`
		Aud       string `json:"aud,omitzero"`
		Iss       string `json:"iss,omitzero"`
		Sub       string `json:"sub,omitzero"`
		Person    string `json:"fhirUser,omitzero"`
		launch
	}{true, i.Scope, i.Grant.Client, "Bearer", i.Expires.Unix(), i.Issued.Unix(), i.JTI, i.Grant.Aud,
		i.issuer, i.subject, i.person, i.Grant.launch()}
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("smart/token: write an introspection: %w", err)
	}
	return raw, nil
}
