package app

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"candela/fhir/search"
	"candela/smart/account"
	"candela/smart/authorize"
	"candela/smart/client"
	"candela/smart/scope"
	"candela/smart/token"
	"candela/store"
)

// Registers are who may use a server: users, clients, and what they were granted.
type Registers struct {
	Scopes   *scope.Grammar
	Accounts *account.Accounts
	Clients  *client.Registry
	Tokens   *token.Tokens

	store store.Store
}

// OpenRegisters opens the store of a configuration for its registers alone.
// Close them.
func OpenRegisters(ctx context.Context, c Config) (*Registers, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	a := &App{Config: c}
	if err := a.load(ctx); err != nil {
		if strings.Contains(err.Error(), "already open in another process") {
			err = wrong("store", "a running server has it open: stop the server first, or keep data in MongoDB, where this can be done while it runs")
		}
		return nil, errors.Join(err, a.Close())
	}
	secret, err := c.secret()
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	r, err := newRegisters(a.Store, a.Search, c, secret)
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	r.store = a.Store
	return r, nil
}

// newRegisters are the registers of an open store.
func newRegisters(kv store.KV, known *search.Registry, c Config, secret []byte) (r *Registers, err error) {
	base := c.baseURL() // which is the issuer as well
	r = &Registers{Scopes: scope.New(vocabulary{known})}
	r.Tokens, err = token.Open(token.Config{KV: kv, Secret: secret, Scopes: r.Scopes, Issuer: base, Base: base, Now: c.Now, Alive: r.alive})
	if err != nil {
		return nil, err
	}
	r.Accounts, err = account.Open(account.Config{KV: kv, Secret: secret, Scopes: r.Scopes, Now: c.Now, Base: base, Ended: r.Tokens.RevokeUser})
	if err != nil {
		return nil, err
	}
	clients := client.Config{KV: kv, Secret: secret, Scopes: r.Scopes, Now: c.Now, TokenURL: authorize.TokenURL(base)}
	if c.Auth == "smart" {
		calls, err := c.calls()
		if err != nil {
			return nil, err
		}
		clients.HTTP, clients.Check = calls.Client(), calls.Check
	}
	r.Clients, err = client.Open(clients)
	return r, err
}

// alive says whether user, client and session of a grant still stand.
func (r *Registers) alive(ctx context.Context, g token.Grant) error {
	c, err := r.Clients.Get(ctx, g.Client)
	if err == nil && c.Disabled {
		err = token.ErrEnded
	}
	if err == nil && g.User != "" {
		_, err = r.Accounts.Active(ctx, g.User)
	}
	if err == nil && g.Session != "" && !g.Offline {
		_, err = r.Accounts.Live(ctx, g.Session)
	}
	return err
}

// DisableClient shuts a client out, or lets it in again; its tokens end.
func (r *Registers) DisableClient(ctx context.Context, id string, disabled bool) error {
	if err := r.Clients.Disable(ctx, id, disabled); err != nil || !disabled {
		return err
	}
	return r.Tokens.RevokeClient(ctx, id)
}

// DeleteClient forgets a client; its tokens end.
func (r *Registers) DeleteClient(ctx context.Context, id string) error {
	if err := r.Clients.Delete(ctx, id); err != nil {
		return err
	}
	return r.Tokens.RevokeClient(ctx, id)
}

// Close closes the store that OpenRegisters opened.
func (r *Registers) Close() error { return r.store.Close() }

// secret is the configured secret, or that of its file.
func (c Config) secret() ([]byte, error) {
	if c.Secret != nil {
		return c.Secret, nil
	}
	secret, err := readSecret(c.secretFile())
	if err != nil {
		return nil, wrong("secret", "%v", err)
	}
	return secret, nil
}

// vocabulary is what the server can search by, as the words of scopes.
type vocabulary struct{ *search.Registry }

// HasType says whether the server knows a type.
func (v vocabulary) HasType(typ string) bool { return v.Params(typ) != nil }

// HasParam says whether a type can be searched by a parameter.
func (v vocabulary) HasParam(typ, code string) bool {
	_, ok := v.Param(typ, code)
	return ok
}

// Criteria says why a type cannot be searched by a query.
func (v vocabulary) Criteria(typ, query string) error {
	if typ == scope.Any {
		typ = "Patient" // the parameters of all types are among its own
	}
	if _, err := v.Registry.Criteria(typ, query, search.Options{}); err != nil {
		return fmt.Errorf("%s?%s: %w", typ, query, err)
	}
	return nil
}
