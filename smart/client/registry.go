package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"

	"candela/smart/scope"
	"candela/store"
)

// The buckets of the store.
const (
	bucketClient  = "smart.client"
	bucketOrigin  = "smart.origin"  // "origin id": which clients may name an origin
	bucketJTI     = "smart.jti"     // digests of the assertions used
	bucketInitial = "smart.initial" // digests of initial access tokens
)

// Config is what a Registry works with.
type Config struct {
	KV     store.KV
	HTTP   *http.Client           // fetches JWKS; hand in a guarded one; nil: keys by URL are unavailable
	Check  func(url string) error // whether a URL may be called; nil: hosts by name over https
	Now    func() time.Time       // nil: time.Now
	Secret []byte                 // keys the digests; 32 octets or more
	Scopes *scope.Grammar         // reads scopes

	TokenURL string        // what aud of an assertion must be
	Issuer   string        // what aud may be as well; "": nothing
	Skew     time.Duration // by how much the clocks of clients may differ; 0: not at all
}

// Registry is all registered clients. It is safe for use by many goroutines, and
// several processes may share one store.
type Registry struct {
	Config
	remote *remote
}

// Open checks the configuration.
func Open(c Config) (*Registry, error) {
	switch {
	case c.KV == nil || c.Scopes == nil || c.TokenURL == "":
		return nil, errors.New("smart/client: a store, a scope grammar and a token URL are needed")
	case len(c.Secret) < 32:
		return nil, errors.New("smart/client: the secret has less than 32 octets")
	case c.Skew < 0 || c.Skew > time.Minute:
		return nil, errors.New("smart/client: clocks that differ by more than a minute are wrong clocks")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Registry{Config: c, remote: newRemote(c.HTTP, c.Now)}, nil
}

// Get reads a client, disabled ones too. A client that is not registered is
// store.ErrNotFound.
func (r *Registry) Get(ctx context.Context, id string) (Client, error) {
	if !validID(id) {
		return Client{}, fmt.Errorf("smart/client: %w", store.ErrNotFound)
	}
	raw, err := r.KV.KVGet(ctx, bucketClient, id)
	if err != nil {
		return Client{}, fmt.Errorf("smart/client: read a client: %w", err)
	}
	c := Client{read: raw}
	if err := json.Unmarshal(raw, &c); err != nil || c.ID != id {
		return Client{}, fmt.Errorf("smart/client: the record of client %s: %w", id, store.ErrCorrupt)
	}
	return c, nil
}

// Put checks a client and stores it: a new one, or what Get gave with changes.
// What was changed by another in between, or a new one with an id that is taken,
// is store.ErrConflict; what cannot be registered is *Error.
func (r *Registry) Put(ctx context.Context, c Client) (Client, error) {
	if c.ID == "" {
		c.ID = random(16)
	}
	if c.Created.IsZero() {
		c.Created = r.Now().UTC().Truncate(time.Second)
	}
	if c.Origins == nil {
		c.Origins = originsOf(c.Redirects)
	}
	if err := r.check(&c); err != nil {
		return Client{}, err
	}
	return r.write(ctx, c)
}

func (r *Registry) write(ctx context.Context, c Client) (Client, error) {
	raw, err := json.Marshal(&c)
	if err != nil {
		return Client{}, fmt.Errorf("smart/client: write a client: %w", err)
	}
	// Origins first: one too many is caught by Origin, one too few would lock out.
	for _, origin := range c.Origins {
		if err := r.KV.KVPut(ctx, bucketOrigin, origin+" "+c.ID, []byte{1}, 0); err != nil {
			return Client{}, fmt.Errorf("smart/client: write an origin: %w", err)
		}
	}
	if err := r.KV.KVSwap(ctx, bucketClient, c.ID, c.read, raw, 0); err != nil {
		return Client{}, fmt.Errorf("smart/client: write a client: %w", err)
	}
	c.read = raw
	return c, nil
}

// update changes a client, again when another changed it in between.
func (r *Registry) update(ctx context.Context, id string, change func(*Client) error) (Client, error) {
	var err error
	for range 8 {
		var c Client
		if c, err = r.Get(ctx, id); err != nil {
			return Client{}, err
		}
		if err = change(&c); err != nil {
			return Client{}, err
		}
		if c, err = r.write(ctx, c); !errors.Is(err, store.ErrConflict) {
			return c, err
		}
	}
	return Client{}, err
}

// Disable shuts a client out, or lets it in again. Its tokens are for the caller
// to end.
func (r *Registry) Disable(ctx context.Context, id string, disabled bool) error {
	_, err := r.update(ctx, id, func(c *Client) error { c.Disabled = disabled; return nil })
	return err
}

// Delete forgets a client. Its tokens are for the caller to end.
func (r *Registry) Delete(ctx context.Context, id string) error {
	c, err := r.Get(ctx, id)
	if err != nil {
		return err
	}
	if err := r.KV.KVDelete(ctx, bucketClient, id); err != nil {
		return fmt.Errorf("smart/client: delete a client: %w", err)
	}
	for _, origin := range c.Origins {
		if err := r.KV.KVDelete(ctx, bucketOrigin, origin+" "+id); err != nil {
			return fmt.Errorf("smart/client: delete an origin: %w", err)
		}
	}
	return nil
}

// List gives all clients in the order of their ids.
func (r *Registry) List(ctx context.Context) iter.Seq2[Client, error] {
	return func(yield func(Client, error) bool) {
		for id, err := range r.KV.KVList(ctx, bucketClient, "") {
			var c Client
			if err == nil {
				c, err = r.Get(ctx, id)
			}
			if errors.Is(err, store.ErrNotFound) { // deleted meanwhile
				continue
			}
			if !yield(c, err) || err != nil {
				return
			}
		}
	}
}

// Origin says whether any client that is not disabled may be called for from an
// origin: what a preflight, which names no client, is answered by.
func (r *Registry) Origin(ctx context.Context, origin string) (bool, error) {
	if !validOrigin(origin) {
		return false, nil
	}
	for key, err := range r.KV.KVList(ctx, bucketOrigin, origin+" ") {
		if err != nil {
			return false, fmt.Errorf("smart/client: read origins: %w", err)
		}
		c, err := r.Get(ctx, key[len(origin)+1:])
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return false, err
		}
		if err == nil && !c.Disabled && c.Origin(origin) {
			return true, nil
		}
	}
	return false, nil
}

// Grant is what a client may have of the scopes it asks for by a grant type:
// those that it is registered for, in whole or in part. refused are the texts
// that are no scopes here. Nothing left, or scopes that the grant type cannot
// give (a backend service gets system/ scopes only), is *Error invalid_scope; a
// grant type it is not registered for is unauthorized_client.
func (r *Registry) Grant(c Client, grant, asked string) (granted scope.Set, refused []string, err error) {
	if !c.Has(grant) {
		return nil, nil, &Error{Code: "unauthorized_client", Description: "the client is not registered for this grant type", Status: 400}
	}
	want, refused := r.Scopes.Parse(asked)
	if err := fits(want, grant); err != nil {
		return nil, refused, err
	}
	granted = want.Meet(r.scopes(c.Scopes))
	return granted, refused, fits(granted, grant)
}

func fits(s scope.Set, grant string) error {
	var wrong *scope.Error
	if errors.As(s.Fits(grant), &wrong) {
		return &Error{Code: wrong.Code, Description: wrong.Description, Status: wrong.Status}
	}
	return nil
}

// scopes reads a list of scope texts; each was checked by Put.
func (r *Registry) scopes(texts []string) scope.Set {
	var out scope.Set
	for _, text := range texts {
		one, _ := r.Scopes.Parse(text)
		out = append(out, one...)
	}
	return out
}
