package account

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-json-experiment/json"
	"golang.org/x/oauth2"

	"candela/store"
)

// ProviderConfig is a hospital's OpenID Connect provider, where staff sign in.
type ProviderConfig struct {
	Name         string // 1 to 32 of a-z 0-9 -: what its users are told apart by; never change it
	Issuer       string // https, or http to this machine
	ClientID     string
	ClientSecret string
	Redirect     string       // our URL that it sends users back to
	Scopes       []string     // beside openid; nil: profile
	HTTP         *http.Client // calls it; hand in a guarded one

	// The claims that say who a user is here; "": name, preferred_username, fhirUser.
	Display, Login, Person string
	// Roles say by a claim who may come in and as what. The first that fits counts.
	Roles []RoleRule
	// Factor are the values of the claims amr or acr that tell of a second factor,
	// "*" for a provider that always asks for one. Whoever comes without needs the
	// second factor of this server.
	Factor []string
}

// RoleRule gives a role to those whose claim has a value, as text or in a list.
type RoleRule struct{ Claim, Value, Role string }

// Provider signs users in through a ProviderConfig. It is safe for use by many
// goroutines.
type Provider struct {
	ProviderConfig
	accounts *Accounts

	mu    sync.Mutex
	found *oidc.Provider
	until time.Time // what was found is good before this
	next  time.Time // no other look before this
}

const (
	discoveryLife = time.Hour
	discoveryWait = 5 * time.Second  // after a look that failed
	loginTime     = 10 * time.Minute // to sign in at the provider
	maxAnswer     = 8 << 10          // octets of code and state
)

// Provider checks a configuration. The provider is called when it is needed.
func (a *Accounts) Provider(c ProviderConfig) (*Provider, error) {
	if c.HTTP == nil || c.ClientID == "" || c.Redirect == "" || len(c.Roles) == 0 {
		return nil, errors.New("smart/account: a provider needs a client id, a redirect URL, rules for roles, and a client to call it")
	}
	if len(c.Name) < 1 || len(c.Name) > 32 || strings.Trim(c.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return nil, errors.New("smart/account: the name of a provider is not 1 to 32 of a-z 0-9 -")
	}
	if u, err := url.Parse(c.Issuer); err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && local(u.Hostname())) {
		return nil, errors.New("smart/account: the issuer of a provider is no https URL")
	}
	for _, rule := range c.Roles {
		if role, ok := RoleOf(rule.Role); !ok || !role.Staff || rule.Claim == "" || rule.Value == "" {
			return nil, fmt.Errorf("smart/account: a rule of provider %s has no claim, no value, or no role of staff", c.Name)
		}
	}
	for claim, usual := range map[*string]string{&c.Display: "name", &c.Login: "preferred_username", &c.Person: "fhirUser"} {
		if *claim == "" {
			*claim = usual
		}
	}
	if c.Scopes == nil {
		c.Scopes = []string{"profile"}
	}
	return &Provider{ProviderConfig: c, accounts: a}, nil
}

func local(host string) bool { return host == "localhost" || host == "127.0.0.1" || host == "::1" }

// discover reads what the provider says of itself, every hour. Trouble with it is
// ErrUnavailable; what was read before is good for as long as there is trouble.
func (p *Provider) discover(ctx context.Context) (*oidc.Provider, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.accounts.Now()
	if p.found != nil && now.Before(p.until) || now.Before(p.next) {
		if p.found == nil {
			return nil, fmt.Errorf("smart/account: %s: %w", p.Name, ErrUnavailable)
		}
		return p.found, nil
	}
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, p.HTTP), p.Issuer)
	if err != nil {
		if ctx.Err() == nil {
			p.next = now.Add(discoveryWait)
		}
		if p.found == nil {
			return nil, fmt.Errorf("smart/account: %s: %w: %w", p.Name, ErrUnavailable, safe(err))
		}
		return p.found, nil
	}
	p.found, p.until, p.next = found, now.Add(discoveryLife), time.Time{}
	return found, nil
}

func (p *Provider) oauth(found *oidc.Provider) *oauth2.Config {
	endpoint := found.Endpoint()
	endpoint.AuthStyle = p.style(found)
	return &oauth2.Config{ClientID: p.ClientID, ClientSecret: p.ClientSecret, RedirectURL: p.Redirect,
		Endpoint: endpoint, Scopes: append([]string{oidc.ScopeOpenID}, p.Scopes...)}
}

// style is how the provider wants to be shown the secret. To try out which would
// send a code twice, which some take for theft.
func (p *Provider) style(found *oidc.Provider) oauth2.AuthStyle {
	var said struct {
		Methods []string `json:"token_endpoint_auth_methods_supported"`
	}
	if err := found.Claims(&said); err != nil {
		said.Methods = nil
	}
	basic := said.Methods == nil || slices.Contains(said.Methods, "client_secret_basic")
	if p.ClientSecret != "" && basic {
		return oauth2.AuthStyleInHeader
	}
	return oauth2.AuthStyleInParams
}

// journey is a sign-in that the provider has not answered yet.
type journey struct {
	Provider string `json:"provider"`
	Binding  string `json:"binding"` // digest
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"`
	Back     string `json:"back"`
}

// Begin starts a sign-in: to is where the browser is sent, binding a secret that
// it keeps in a cookie meanwhile, so that no answer to another browser is taken.
// back is given back by Finish.
func (p *Provider) Begin(ctx context.Context, back string) (to, binding string, err error) {
	found, err := p.discover(ctx)
	if err != nil {
		return "", "", err
	}
	state, binding := random(32), random(32)
	j := journey{Provider: p.Name, Binding: p.accounts.digest("binding", binding), Nonce: random(32), Verifier: oauth2.GenerateVerifier(), Back: back}
	raw, err := json.Marshal(j)
	if err == nil {
		err = p.accounts.KV.KVPut(ctx, bucketLogin, p.accounts.digest("state", state), raw, loginTime)
	}
	if err != nil {
		return "", "", fmt.Errorf("smart/account: begin a sign-in: %w", err)
	}
	return p.oauth(found).AuthCodeURL(state, oidc.Nonce(j.Nonce), oauth2.S256ChallengeOption(j.Verifier)), binding, nil
}

// Finish ends a sign-in by the answer of the provider: the query of its redirect,
// and the binding of Begin. An answer that cannot be believed is *Error BadLogin,
// a user who has no place here Denied; trouble with the provider is
// ErrUnavailable. The sign-in is used up in any case.
func (p *Provider) Finish(ctx context.Context, answer url.Values, binding, address string) (s Signed, back string, err error) {
	j, err := p.journey(ctx, answer, binding)
	if err != nil {
		return Signed{}, "", err
	}
	found, err := p.discover(ctx)
	if err != nil {
		return Signed{}, j.Back, err
	}
	c, err := p.exchange(ctx, found, answer.Get("code"), j)
	if err == nil {
		s, err = p.admit(ctx, c)
	}
	var wrong *Error
	if errors.As(err, &wrong) {
		err = errors.Join(err, p.accounts.tell(ctx, Event{What: SignInFailed, User: s.User.Name, Address: network(address), Failed: true}))
		s = Signed{}
	}
	return s, j.Back, err
}

func badLogin(description string) error {
	return &Error{Code: BadLogin, Description: description, Status: 400}
}

// journey takes what Begin stored, and reads the answer as far as it is no secret.
func (p *Provider) journey(ctx context.Context, answer url.Values, binding string) (journey, error) {
	var j journey
	for _, name := range []string{"state", "code", "error", "iss"} {
		if len(answer[name]) > 1 || len(answer.Get(name)) > maxAnswer {
			return j, badLogin("the answer of the provider cannot be read")
		}
	}
	raw, err := p.accounts.KV.KVTake(ctx, bucketLogin, p.accounts.digest("state", answer.Get("state")))
	if errors.Is(err, store.ErrNotFound) {
		return j, badLogin("this sign-in is over or was never begun; begin again")
	}
	if err == nil {
		err = json.Unmarshal(raw, &j)
	}
	if err != nil {
		return j, fmt.Errorf("smart/account: read a sign-in: %w", err)
	}
	issuer := answer.Get("iss")
	switch {
	case j.Provider != p.Name || !same(j.Binding, p.accounts.digest("binding", binding)):
		return j, badLogin("this sign-in was begun elsewhere; begin again")
	case issuer != "" && issuer != p.Issuer:
		return j, badLogin("the answer is of another provider")
	case answer.Get("error") == "temporarily_unavailable" || answer.Get("error") == "server_error":
		return j, fmt.Errorf("smart/account: %s: %w", p.Name, ErrUnavailable)
	case answer.Has("error") || answer.Get("code") == "":
		return j, &Error{Code: Denied, Description: "the provider did not sign the user in", Status: 403}
	}
	return j, nil
}

// exchange gives the claims of the id_token that a code stands for.
func (p *Provider) exchange(ctx context.Context, found *oidc.Provider, code string, j journey) (*claims, error) {
	token, err := p.oauth(found).Exchange(oidc.ClientContext(ctx, p.HTTP), code, oauth2.VerifierOption(j.Verifier))
	if err != nil {
		var refused *oauth2.RetrieveError
		if errors.As(err, &refused) && refused.ErrorCode == "invalid_grant" {
			return nil, badLogin("the provider does not know the code; begin again")
		}
		return nil, fmt.Errorf("smart/account: %s: %w: %w", p.Name, ErrUnavailable, safe(err))
	}
	text, ok := token.Extra("id_token").(string)
	if !ok || text == "" {
		return nil, badLogin("the provider gave no id_token")
	}
	verified, err := found.Verifier(&oidc.Config{ClientID: p.ClientID, Now: p.accounts.Now}).Verify(ctx, text)
	// The verifier hands no errors of its keys on, only their text.
	if err != nil && strings.Contains(err.Error(), "fetching keys") {
		return nil, fmt.Errorf("smart/account: %s: %w", p.Name, ErrUnavailable)
	}
	if err != nil {
		return nil, badLogin("the id_token is not one of the provider for us, or is over")
	}
	if !same(verified.Nonce, j.Nonce) {
		return nil, badLogin("the id_token is of another sign-in")
	}
	if verified.AccessTokenHash != "" && verified.VerifyAccessToken(token.AccessToken) != nil {
		return nil, badLogin("the id_token is not that of the access token")
	}
	return readClaims(verified, p.ClientID)
}

// safe keeps what a provider answered out of the error: it may hold anything.
func safe(err error) error {
	var refused *oauth2.RetrieveError
	var call *url.Error
	switch {
	case errors.As(err, &refused):
		return fmt.Errorf("the token endpoint answered %d", refused.Response.StatusCode)
	case errors.As(err, &call):
		return call.Err
	}
	return errors.New("its answer cannot be read")
}

// strong says whether the provider asked for a second factor.
func (p *Provider) strong(c *claims) bool {
	if slices.Contains(p.Factor, "*") {
		return true
	}
	for _, said := range append(c.list("amr"), c.text("acr")) {
		if said != "" && slices.Contains(p.Factor, said) {
			return true
		}
	}
	return false
}
