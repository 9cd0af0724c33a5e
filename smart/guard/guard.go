// Package guard turns a request's bearer token into a fhir.Caller: what its
// scopes, its user's policy and its context allow together, and what security
// labels and consents withhold. A caller that asks for what is withheld in an
// emergency breaks the glass here. What the rules of a caller then mean for data
// is the view's business (fhir/interaction), which nothing gets around.
//
// It must not know how resources are found or answered, HTTP routes but for the
// one that is open to all, nor how tokens, users and clients are kept.
//
// To mount it: open one Guard beside the registries of smart/token, smart/account
// and smart/client, hand Guard.Caller to rest.Config.Caller, and Guard.Of to
// authorize.Config.Caller. Tables are the tables of types that account.Policy
// asks for. Nothing else calls the engine for a caller from outside.
//
// Sources: RFC 6750; SMART App Launch 2.2.0; HL7 DS4P; FHIR R4 consent.html;
// 45 CFR 164.312(a)(2)(ii) (emergency access).
package guard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"candela/fhir"
	"candela/fhir/r4"
	"candela/smart/account"
	"candela/smart/client"
	"candela/smart/scope"
	"candela/smart/token"
	"candela/store"
)

// Config is what a Guard works with.
type Config struct {
	Base   string      // our FHIR base URL
	Store  store.Store // consents are read from it, and emergencies kept in it
	Search Words

	Tokens   *token.Tokens
	Scopes   *scope.Grammar
	Accounts *account.Accounts
	Clients  *client.Registry
	// Outside checks tokens of another authorization server; nil: none are taken.
	// OutsidePolicy is what these allow at most; nil: nothing.
	Outside       *token.Outside
	OutsidePolicy fhir.Access

	// Clearance is the highest confidentiality (U L M N R V) that a role may see:
	// the name of a role of smart/account, or "" for backend services. A role that
	// is not named may see N. Only from V nothing is withheld at all, which is what
	// operations on everything ask for, and creating by PUT.
	Clearance map[string]string
	// Relabel says who may change security labels, owner's tags and whose a
	// resource is: role is "" for backend services. nil: privacy officers.
	Relabel func(role, client string) bool

	// Record puts emergencies on record before they are granted, and alerts; nil:
	// no glass can be broken.
	Record fhir.Recorder
	// Address is the network address of who asks; nil: that of the connection.
	Address func(*http.Request) string
	Now     func() time.Time // nil: time.Now
}

// Words is what the guard asks of the search parameters (search.Registry by an
// adapter): whether a type has one, and the query of a search.
type Words interface {
	HasParam(typ, code string) bool
	Criteria(typ, query string) (store.Query, error)
}

// Guard is safe for use by many goroutines; several processes may share a store.
type Guard struct {
	Config
	tables   scope.Context
	types    []string // that can belong to a patient, and Patient
	metadata string   // path of the CapabilityStatement
	consents consents

	mu    sync.RWMutex
	known map[who]rights
}

// New checks the configuration.
func New(c Config) (*Guard, error) {
	if c.Store == nil || c.Search == nil || c.Tokens == nil || c.Scopes == nil || c.Accounts == nil || c.Clients == nil {
		return nil, errors.New("smart/guard: a store, search parameters, tokens, scopes, accounts and clients are needed")
	}
	base, err := url.Parse(c.Base)
	if err != nil || !base.IsAbs() {
		return nil, errors.New("smart/guard: the base URL must be absolute")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Clearance == nil {
		c.Clearance = map[string]string{account.Practitioner: "R", account.PrivacyOfficer: "R", account.Patient: "R"}
	}
	for role, code := range c.Clearance {
		if len(code) != 1 || !strings.Contains(levels, code) {
			return nil, fmt.Errorf("smart/guard: the clearance of %q is none of %s", role, levels)
		}
	}
	if c.Relabel == nil {
		c.Relabel = func(role, _ string) bool { return role == account.PrivacyOfficer }
	}
	if c.Address == nil {
		c.Address = peer
	}
	tables, err := Tables()
	if err != nil {
		return nil, err
	}
	g := &Guard{Config: c, tables: tables, metadata: base.EscapedPath() + "/metadata", known: map[who]rights{}}
	for _, typ := range tables.Types {
		if tables.Member(typ) {
			g.types = append(g.types, typ)
		}
	}
	return g, nil
}

// Tables are how the types of R4 lie to a patient, as scopes are read by them;
// whose token it is is left open.
func Tables() (scope.Context, error) {
	spec, err := r4.Load()
	if err != nil {
		return scope.Context{}, fmt.Errorf("smart/guard: %w", err)
	}
	is := func(typ string, kinds ...r4.Belonging) bool {
		own, _ := spec.Ownership(typ)
		for _, k := range kinds {
			if own.Belonging == k {
				return true
			}
		}
		return false
	}
	return scope.Context{
		Types:  spec.Resources(),
		Member: func(typ string) bool { return is(typ, r4.Owned, r4.Through) },
		Shared: func(typ string) bool { return is(typ, r4.Shared) },
	}, nil
}

func peer(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return host
}

// Caller says who sends a request and what they may, or refuses with a
// *fhir.Error: 401 with a challenge, 400 for a request that is no bearer
// request, 403 for a token that opens nothing, 503 for trouble of the moment.
func (g *Guard) Caller(r *http.Request) (fhir.Caller, error) {
	if r.URL.EscapedPath() == g.metadata && r.Header.Get("Authorization") == "" {
		return fhir.Caller{Name: "anyone", Address: g.Address(r)}, nil
	}
	bearer, err := g.bearer(r)
	if err != nil {
		return fhir.Caller{}, g.refusal(err)
	}
	ctx := r.Context()
	info, foreign, err := g.check(ctx, bearer)
	if err != nil {
		return fhir.Caller{}, g.refusal(err)
	}
	now := g.Now()
	have, err := g.rights(ctx, &info, foreign, now)
	if err != nil {
		return fhir.Caller{}, g.refusal(err)
	}
	c := have.caller
	c.Address = g.Address(r)
	asked, err := emergency(r.Header)
	if err != nil {
		return fhir.Caller{}, err
	}
	if c.Purpose = asked.purposes; len(c.Purpose) == 0 {
		c.Purpose = have.purposes
	}
	if asked.breaks {
		return g.breakGlass(ctx, c, have, &info, asked.reason, now)
	}
	return g.withheld(ctx, c, have, now)
}

// Of is what a user may do without an app: with all that their role allows.
func (g *Guard) Of(ctx context.Context, u account.User) (fhir.Caller, error) {
	have, err := g.userRights(u)
	if err != nil {
		return fhir.Caller{}, err
	}
	c := have.caller
	c.Name, c.User, c.Purpose = u.Name, u.FHIRUser, have.purposes
	return g.withheld(ctx, c, have, g.Now())
}

// bearer is the token of the request. One in the query is refused even beside a
// good header: it has been written down on its way.
func (g *Guard) bearer(r *http.Request) (string, error) {
	if strings.Contains(r.URL.RawQuery, "access_token") && r.URL.Query().Has("access_token") {
		return "", &token.Error{Code: "invalid_request", Description: "a token does not belong into a URL; send it in the Authorization header", Status: http.StatusBadRequest}
	}
	return token.Bearer(r.Header)
}

// check says what a token stands for, and whether another server issued it.
func (g *Guard) check(ctx context.Context, bearer string) (info token.Info, foreign bool, err error) {
	if g.Outside != nil && g.Outside.Issued(bearer) {
		info, err = g.Outside.Check(ctx, bearer)
		return info, true, err
	}
	info, err = g.Tokens.Check(ctx, bearer)
	return info, false, err
}

// refusal makes a *fhir.Error of any error. What is not the caller's fault is
// trouble of the moment, and never 401: a client would throw its grant away.
func (g *Guard) refusal(err error) error {
	var own *fhir.Error
	if errors.As(err, &own) {
		return own
	}
	var bad *token.Error
	if !errors.As(err, &bad) {
		return fhir.Errorf(http.StatusServiceUnavailable, fhir.CodeTransient, "who you are cannot be found out at the moment; try again").Because(err)
	}
	code := fhir.CodeLogin
	if bad.Status == http.StatusBadRequest {
		code = fhir.CodeInvalid
	}
	out := fhir.Errorf(bad.Status, code, "%s", bad.Description)
	out.Authenticate = `Bearer realm="` + g.Base + `"`
	if bad.Code != "" {
		out.Authenticate += `, error="` + bad.Code + `", error_description="` + bad.Description + `"`
	}
	return out
}
