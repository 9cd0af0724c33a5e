// Package authorize is the authorization server as people and apps meet it: the
// documents that describe it, the way from an authorization request over sign-in,
// choice of record and consent to a code, the token endpoint and its neighbours,
// the launch of apps by an EHR, and the page where users end what they allowed.
// Each way is a walk of small steps whose state is one record of the store, bound
// to one browser and good once.
//
// It must not know how tokens, clients and accounts are kept, how a scope is
// judged, or how a record is found: those are handed in.
//
// Sources: SMART App Launch 2.2.0; RFC 6749, 7009, 7591, 7592, 7636, 7662, 8414,
// 8707, 9207, 9700; OpenID Connect Core and Discovery 1.0.
package authorize

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"candela/fhir"
	"candela/smart/account"
	"candela/smart/authorize/page"
	"candela/smart/client"
	"candela/smart/scope"
	"candela/smart/token"
	"candela/store"
)

// Config is what a Server works with.
type Config struct {
	Base   string // our FHIR base URL, which is the issuer too
	Site   string // the name of the place, as people know it
	KV     store.KV
	Secret []byte // keys digests and form tokens; 32 octets or more

	Clients       *client.Registry
	Tokens        *token.Tokens
	Scopes        *scope.Grammar
	Accounts      *account.Accounts
	Provider      *account.Provider // sign-in of staff elsewhere; nil: none
	ProviderLabel string            // what staff know it as; "": its name
	Directory     Directory
	// Caller is what a user may see, for the lists to choose from.
	Caller func(ctx context.Context, user account.User) (fhir.Caller, error)

	Frames   []string // origins whose pages may hold ours in a frame; none: nobody
	Register bool     // serve dynamic registration
	Launcher bool     // serve the page that plays the EHR
	Brands   []byte   // user access brands, a Bundle; nil: none
	BrandID  Identifier
	Style    []byte // SMART style, JSON; nil: ours

	// Audit is told of what was decided; its error ends the request with a 503.
	Audit func(ctx context.Context, e Event) error
	// Allow says whether a request may be tried, else when again. kind is login,
	// token, authorize, register or launch. nil: always.
	Allow func(kind string, r *http.Request) (after time.Duration, ok bool)
	// Address is the network address of who asks; nil: that of the connection.
	Address func(*http.Request) string
	Now     func() time.Time // nil: time.Now
	Log     *slog.Logger     // nil: nobody
}

// Identifier is a FHIR Identifier.
type Identifier struct {
	System string `json:"system"`
	Value  string `json:"value"`
}

// Person is a patient as the list to choose from shows it.
type Person struct {
	ID, Name string
	Detail   string // what tells people of one name apart: date of birth, number
}

// Visit is an encounter as the list to choose from shows it.
type Visit struct {
	ID, Name, Detail string
}

// Directory finds patients and encounters with the access of the caller. What
// the caller may not see is store.ErrNotFound, like what is not there.
type Directory interface {
	// Patients gives some patients whose name or number fits a text, "" for any,
	// and whether there are more.
	Patients(ctx context.Context, caller fhir.Caller, text string) (found []Person, more bool, err error)
	Patient(ctx context.Context, caller fhir.Caller, id string) (Person, error)
	// Encounters gives the newest encounters of a patient.
	Encounters(ctx context.Context, caller fhir.Caller, patient string) ([]Visit, error)
	Encounter(ctx context.Context, caller fhir.Caller, patient, id string) (Visit, error)
}

// What happened in an Event.
const (
	Launched      = "launched"
	LaunchRefused = "launch-refused"
	PickRefused   = "pick-refused" // a patient or encounter that the user may not see was sent
	Allowed       = "allowed"
	Denied        = "denied"
	TokenGiven    = "token-given"
	TokenRefused  = "token-refused"
	Ended         = "ended" // a user or client ended what was granted
	Registered    = "registered"
)

// Event is something that was decided. Sign-ins are told by the accounts.
type Event struct {
	What                  string
	User, Client, Patient string
	Token                 string // jti
	Scope                 string
	Address               string
	Reason                string // of a refusal: an OAuth error code
	Time                  time.Time
}

// Server is the authorization server. It is safe for use by many goroutines, and
// several processes may share one store.
type Server struct {
	Config
	pages  *page.Pages
	path   string // URL path of the endpoints, without a slash at its end
	root   string // and their URL
	secure bool   // we are reached by https
	styled string // URL of the style
	routes map[string]route
	known  []byte // the discovery document
}

// Open checks the configuration.
func Open(c Config) (*Server, error) {
	c.Base = strings.TrimSuffix(c.Base, "/")
	base, err := url.Parse(c.Base)
	switch {
	case err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" || base.RawQuery != "" || base.Fragment != "":
		return nil, errors.New("smart/authorize: the base is no absolute http(s) URL")
	case c.KV == nil || c.Clients == nil || c.Tokens == nil || c.Scopes == nil || c.Accounts == nil || c.Directory == nil || c.Caller == nil:
		return nil, errors.New("smart/authorize: a store, clients, tokens, scopes, accounts, a directory and callers are needed")
	case len(c.Secret) < 32:
		return nil, errors.New("smart/authorize: the secret has less than 32 octets")
	}
	c.defaults()
	s := &Server{Config: c, secure: base.Scheme == "https"}
	s.path = parent(base.EscapedPath()) + "/auth"
	s.root = base.Scheme + "://" + base.Host + s.path
	if s.pages, err = page.New(c.Site, s.path); err != nil {
		return nil, err
	}
	s.styled = s.root + "/style-" + fingerprint(c.Style) + ".json"
	if s.known, err = s.describe(); err != nil {
		return nil, fmt.Errorf("smart/authorize: describe the server: %w", err)
	}
	s.routes = s.table(base)
	return s, nil
}

func (c *Config) defaults() {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Site == "" {
		c.Site = "Candela"
	}
	if c.ProviderLabel == "" && c.Provider != nil {
		c.ProviderLabel = c.Provider.Name
	}
	if c.Style == nil {
		c.Style = []byte(ownStyle)
	}
	if c.Address == nil {
		c.Address = func(r *http.Request) string { return host(r.RemoteAddr) }
	}
}

// TokenURL is the token endpoint of the server at a FHIR base: what aud of a
// client's assertion has to be.
func TokenURL(base string) string {
	u, err := url.Parse(strings.TrimSuffix(base, "/"))
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host + parent(u.EscapedPath()) + "/auth/token"
}

// parent is a path without its last segment: /fhir is "", /a/fhir is /a.
func parent(path string) string {
	if slash := strings.LastIndexByte(path, '/'); slash >= 0 {
		return path[:slash]
	}
	return ""
}

func host(address string) string {
	if colon := strings.LastIndexByte(address, ':'); colon >= 0 {
		return strings.Trim(address[:colon], "[]")
	}
	return address
}

// tell audits an event.
func (s *Server) tell(r *http.Request, e Event) error {
	if s.Audit == nil {
		return nil
	}
	e.Address, e.Time = s.Address(r), s.Now()
	if err := s.Audit(r.Context(), e); err != nil {
		return fmt.Errorf("smart/authorize: audit: %w", err)
	}
	return nil
}
