package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"candela/conformance"
	"candela/fhir"
	"candela/fhir/r4"
	"candela/smart/account"
	"candela/smart/authorize"
	"candela/smart/authorize/directory"
	"candela/smart/egress"
	"candela/smart/scope"
	"candela/smart/token"
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
	policies scope.Context // the tables of types
	base     string
	path     string // URL path of the base
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
	x := &secured{policies: tables(a.spec), base: c.baseURL()}
	if u, err := url.Parse(x.base); err == nil {
		x.path = u.Path
	}
	if x.Registers, err = newRegisters(a.Store, a.Search, c, secret); err != nil {
		return nil, err
	}
	setup := authorize.Config{
		Base: x.base, Site: c.Smart.Site, KV: a.Store, Secret: secret, Clients: x.Clients, Tokens: x.Tokens, Scopes: x.Scopes, Accounts: x.Accounts,
		Directory: directory.Directory{Door: a.Door, Base: x.base, NewID: c.newID()}, Caller: x.userCaller,
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

// calls is the guard of all that the server calls for clients and users.
func (c Config) calls() (*egress.Guard, error) {
	guard, err := egress.New(egress.Config{Allow: c.Smart.Egress, Loopback: c.loopbackOnly()})
	if err != nil {
		return nil, wrong("egress", "%v", err)
	}
	return guard, nil
}

// loopbackOnly says whether only this machine reaches the server: then it may call
// this machine, as testers of apps need.
func (c Config) loopbackOnly() bool {
	host, _, err := net.SplitHostPort(c.Listen)
	base, baseErr := url.Parse(c.baseURL())
	return err == nil && baseErr == nil && loopback(host) && loopback(base.Hostname())
}

// tables are how types lie to patients.
func tables(spec *r4.Spec) scope.Context {
	is := func(of ...r4.Belonging) func(string) bool {
		return func(typ string) bool {
			o, ok := spec.Ownership(typ)
			return ok && slices.Contains(of, o.Belonging)
		}
	}
	return scope.Context{Types: spec.Resources(), Member: is(r4.Owned, r4.Through), Shared: is(r4.Shared)}
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

// userCaller is a user who chooses, with all that the user may see.
func (x *secured) userCaller(_ context.Context, u account.User) (fhir.Caller, error) {
	access, err := x.Accounts.Policy(u, x.policies)
	if err != nil {
		return fhir.Caller{}, err
	}
	return fhir.Caller{Name: u.Name, User: u.FHIRUser, Access: access}, nil
}

// caller is who sends a request to the API: the bearer of a token of ours, with
// what its scopes and its user's policy both allow. The server's description is
// for everybody.
func (x *secured) caller(r *http.Request) (fhir.Caller, error) {
	anybody, err := anyone(r)
	if err != nil {
		return fhir.Caller{}, err
	}
	if r.URL.Path == x.path+"/metadata" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		anybody.Access = nil
		return anybody, nil
	}
	text, err := token.Bearer(r.Header)
	if err != nil {
		return fhir.Caller{}, refusedBearer(err)
	}
	info, err := x.Tokens.Check(r.Context(), text)
	if err != nil {
		return fhir.Caller{}, refusedBearer(err)
	}
	return x.bearer(r.Context(), &info, anybody.Address)
}

func (x *secured) bearer(ctx context.Context, info *token.Info, address string) (fhir.Caller, error) {
	g := &info.Grant
	out := fhir.Caller{Name: g.Client, Client: g.Client, User: g.FHIRUser, Token: info.JTI, Address: address}
	context := x.policies
	context.User, context.Policy = g.FHIRUser, fhir.Full()
	if g.Patient != "" {
		out.Patient = fhir.Reference{Type: "Patient", ID: g.Patient}
		context.Patient = out.Patient
	}
	c, err := x.Clients.Get(ctx, g.Client)
	if err == nil && c.Disabled {
		err = store.ErrNotFound
	}
	if err != nil {
		return fhir.Caller{}, refusedBearer(err)
	}
	if g.User != "" {
		u, err := x.Accounts.Active(ctx, g.User)
		if err != nil {
			return fhir.Caller{}, refusedBearer(err)
		}
		out.Name = u.Name
		if context.Policy, err = x.Accounts.Policy(u, x.policies); err != nil {
			return fhir.Caller{}, err
		}
	}
	set, refused := x.Scopes.Parse(info.Scope)
	if len(refused) > 0 { // was granted, and is no scope any more
		return fhir.Caller{}, fhir.Errorf(http.StatusForbidden, fhir.CodeForbidden, "the token has a scope that is not known any more")
	}
	out.Access, err = set.Access(context)
	return out, err
}

// refusedBearer is the API's answer to a token that is not good: 401, or 503 for
// trouble of the moment.
func refusedBearer(err error) error {
	var wrong *token.Error
	switch {
	case errors.As(err, &wrong):
		return fhir.Errorf(wrong.Status, fhir.CodeLogin, "%s", wrong.Description)
	case errors.Is(err, store.ErrNotFound):
		return fhir.Errorf(http.StatusUnauthorized, fhir.CodeLogin, "the token is not good any more")
	}
	return &fhir.Error{Status: http.StatusServiceUnavailable, Cause: err,
		Issues: []fhir.Issue{{Severity: fhir.SevError, Code: fhir.CodeTransient, Diagnostics: "the token cannot be checked for the moment"}}}
}

// origin says whether pages of an origin may use the API.
func (x *secured) origin(origin string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	ok, err := x.Clients.Origin(ctx, origin)
	return err == nil && ok
}

// challenged adds to each 401 how to come in (RFC 6750 §3).
func challenged(api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { api.ServeHTTP(challenger{w, r}, r) })
}

type challenger struct {
	http.ResponseWriter
	request *http.Request
}

// WriteHeader begins the answer.
func (c challenger) WriteHeader(status int) {
	if status == http.StatusUnauthorized {
		challenge := `Bearer realm="fhir"`
		if c.request.Header.Get("Authorization") != "" {
			challenge += `, error="invalid_token"`
		}
		c.Header().Set("WWW-Authenticate", challenge)
	}
	c.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (c challenger) Unwrap() http.ResponseWriter { return c.ResponseWriter }

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
