package app

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"candela/conformance"
	"candela/fhir"
	"candela/fhir/search"
	"candela/smart/account"
	"candela/smart/authorize"
	"candela/smart/authorize/directory"
	"candela/smart/egress"
	"candela/smart/guard"
	"candela/store"
)

// Smart are the settings of --auth smart.
type Smart struct {
	Site     string   // the name of the place, on the pages that people see
	Launcher bool     // serve the page that plays the EHR
	Register bool     // let apps register themselves with an initial access token
	Frames   []string // origins that may hold our pages in a frame
	Brands   string   // file with the user access brands, a Bundle; "": none
	Provider string   // file with the OpenID Connect provider of the staff; "": none
	Egress   []string // hosts that may be called for keys and by the provider; "*" is all that are public
}

// secured are the registers and the authorization server of an app.
type secured struct {
	*Registers
	*authorize.Server
	guard *guard.Guard
	base  string
}

// smart opens them; nil with --auth off.
func (a *App) smart() (*secured, error) {
	c := a.Config
	if c.Auth != "smart" {
		return nil, nil
	}
	secret, err := c.secret()
	if err != nil {
		return nil, err
	}
	x := &secured{base: c.baseURL()}
	if x.Registers, err = newRegisters(a.Store, a.Search, c, secret); err != nil {
		return nil, err
	}
	if err := x.guarded(a); err != nil {
		return nil, err
	}
	setup := authorize.Config{
		Base: x.base, Site: c.Smart.Site, KV: a.Store, Secret: secret, Clients: x.Clients, Tokens: x.Tokens, Scopes: x.Scopes, Accounts: x.Accounts,
		Directory: directory.Directory{Door: a.Door, Base: x.base, NewID: c.newID()}, Caller: x.guard.Of,
		Frames: c.Smart.Frames, Register: c.Smart.Register, Launcher: c.Smart.Launcher, Now: c.Now, Log: c.Log,
	}
	if a.Audit != nil {
		setup.Audit = func(ctx context.Context, e authorize.Event) error { return a.Audit.Record(ctx, recorded(e)) }
		x.Accounts.Audit = func(ctx context.Context, e account.Event) error { return a.Audit.Record(ctx, recordedSignIn(e)) }
	}
	if setup.Brands, err = c.brands(); err != nil {
		return nil, err
	}
	if setup.Provider, err = x.provider(c); err != nil {
		return nil, err
	}
	x.Server, err = authorize.Open(setup)
	return x, err
}

// guarded puts the guard before the API: nobody from outside gets to the engine
// but as the caller that it makes of their token.
func (x *secured) guarded(a *App) (err error) {
	c := guard.Config{
		Base: x.base, Store: a.Store, Search: criteria{a.Search}, Now: a.Config.Now,
		Tokens: x.Tokens, Scopes: x.Scopes, Accounts: x.Accounts, Clients: x.Clients,
	}
	if a.Audit != nil {
		c.Record = a.Audit
	}
	x.guard, err = guard.New(c)
	return err
}

// criteria are the search parameters as the guard asks for them.
type criteria struct{ *search.Registry }

// HasParam says whether a type can be searched by a parameter.
func (c criteria) HasParam(typ, code string) bool { return vocabulary(c).HasParam(typ, code) }

// Criteria is the query of a search.
func (c criteria) Criteria(typ, query string) (store.Query, error) {
	return c.Registry.Criteria(typ, query, search.Options{})
}

// calls is the guard of all that the server calls for clients and users.
func (c Config) calls() (*egress.Guard, error) {
	out, err := egress.New(egress.Config{Allow: c.Smart.Egress, Loopback: c.loopbackOnly()})
	if err != nil {
		return nil, wrong("egress", "%v", err)
	}
	return out, nil
}

// loopbackOnly says whether only this machine reaches the server: then it may call
// this machine, as testers of apps need.
func (c Config) loopbackOnly() bool {
	host, _, err := net.SplitHostPort(c.Listen)
	base, baseErr := url.Parse(c.baseURL())
	return err == nil && baseErr == nil && loopback(host) && loopback(base.Hostname())
}

func (c Config) brands() ([]byte, error) {
	if c.Smart.Brands == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(c.Smart.Brands)
	if err == nil {
		_, err = fhir.ParseResource(raw, fhir.BundleLimits())
	}
	if err != nil {
		return nil, wrong("brands", "%v", err)
	}
	return raw, nil
}

// provider reads the settings of the provider that staff sign in at: the fields of
// account.ProviderConfig.
func (x *secured) provider(c Config) (*account.Provider, error) {
	if c.Smart.Provider == "" {
		return nil, nil
	}
	calls, err := c.calls()
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(c.Smart.Provider)
	if err != nil {
		return nil, wrong("provider", "%v", err)
	}
	var p struct {
		Name, Issuer, ClientID, ClientSecret string
		Display, Login, Person               string
		Scopes, Factor                       []string
		Roles                                []account.RoleRule
	}
	if err := json.Unmarshal(raw, &p, json.MatchCaseInsensitiveNames(true), json.RejectUnknownMembers(true)); err != nil {
		return nil, wrong("provider", "%v", err)
	}
	out, err := x.Accounts.Provider(account.ProviderConfig{
		Name: p.Name, Issuer: p.Issuer, ClientID: p.ClientID, ClientSecret: p.ClientSecret, Display: p.Display, Login: p.Login, Person: p.Person,
		Scopes: p.Scopes, Factor: p.Factor, Roles: p.Roles, HTTP: calls.Client(),
		Redirect: strings.TrimSuffix(authorize.TokenURL(x.base), "token") + "callback",
	})
	if err != nil {
		return nil, wrong("provider", "%v", err)
	}
	return out, nil
}

// origin says whether pages of an origin may use the API.
func (x *secured) origin(origin string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	ok, err := x.Clients.Origin(ctx, origin)
	return err == nil && ok
}

// recorded is what the audit keeps of an event at the authorization server.
func recorded(e authorize.Event) fhir.Event {
	out := fhir.Event{Reason: e.What, Caller: fhir.Caller{Name: e.User, Client: e.Client, Token: e.Token, Address: e.Address}}
	if out.Caller.Name == "" {
		out.Caller.Name = e.Client
	}
	if e.Patient != "" {
		out.Patient = fhir.Reference{Type: "Patient", ID: e.Patient}
	}
	switch e.What {
	case authorize.Allowed:
		out.Kind = fhir.ConsentPermit
	case authorize.Denied, authorize.PickRefused, authorize.LaunchRefused:
		out.Kind, out.Status = fhir.ConsentDeny, http.StatusForbidden
	case authorize.Ended:
		out.Kind = fhir.TokenRevoked
	case authorize.TokenRefused:
		out.Kind, out.Status = fhir.TokenIssued, http.StatusBadRequest
	default:
		out.Kind = fhir.TokenIssued
	}
	if e.Reason != "" {
		out.Reason = fmt.Sprintf("%s: %s", e.What, e.Reason)
	}
	return out
}

func recordedSignIn(e account.Event) fhir.Event {
	out := fhir.Event{Kind: fhir.Login, Reason: e.What, Caller: fhir.Caller{Name: e.User, Address: e.Address}}
	if e.What == account.SignedOut {
		out.Kind = fhir.Logout
	}
	if e.Failed {
		out.Status = http.StatusUnauthorized
	}
	return out
}

// security says how callers are known, for the CapabilityStatement.
func (c Config) security() string {
	if c.Auth != "smart" {
		return ""
	}
	return "SMART on FHIR: OAuth 2.0 tokens of this server, see " + c.baseURL() + "/.well-known/smart-configuration"
}

// Registers are the users, clients and grants of a running server; nil with
// --auth off.
func (s *Server) Registers() *Registers {
	if s.smart == nil {
		return nil
	}
	return s.smart.Registers
}

// endpoints are those of the authorization server, for clients that look for them
// in the CapabilityStatement.
func (c Config) endpoints() []conformance.Endpoint {
	if c.Auth != "smart" {
		return nil
	}
	root := strings.TrimSuffix(authorize.TokenURL(c.baseURL()), "token")
	out := []conformance.Endpoint{{Name: "token", URL: root + "token"}, {Name: "authorize", URL: root + "authorize"},
		{Name: "introspect", URL: root + "introspect"}, {Name: "revoke", URL: root + "revoke"}, {Name: "manage", URL: root + "manage"}}
	if c.Smart.Register {
		out = append(out, conformance.Endpoint{Name: "register", URL: root + "register"})
	}
	return out
}
