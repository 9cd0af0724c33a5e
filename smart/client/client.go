// Package client knows the apps and services that are registered: who they are,
// where they may be sent back to, what they may ask for, and how they prove who
// they are. It must not know users, grants, tokens, HTTP routes or pages.
//
// Sources: SMART App Launch 2.2.0, "Client Authentication"; RFC 6749 §2.3,
// RFC 7523, RFC 7591, RFC 7592, RFC 8252 §7.
package client

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Kind is how a client proves who it is.
type Kind string

// The kinds of clients.
const (
	Public     Kind = "public"     // by nothing but its id, and PKCE
	Symmetric  Kind = "symmetric"  // by a secret, sent by Basic or in the form
	Asymmetric Kind = "asymmetric" // by a signed assertion, private_key_jwt
)

// The OAuth grant types a client may have.
const (
	GrantCode    = "authorization_code"
	GrantRefresh = "refresh_token"
	GrantBackend = "client_credentials"
)

// Client is one registered app or service.
type Client struct {
	ID   string `json:"id"`   // 1 to 128 of A-Z a-z 0-9 - . _ ~; Put makes one when empty
	Name string `json:"name"` // as users see it
	Kind Kind   `json:"kind"`

	Redirects []string `json:"redirects"` // redirect URIs, compared exactly (see Redirect)
	Origins   []string `json:"origins"`   // origins browsers may call from; nil: those of the https redirects
	Scopes    []string `json:"scopes"`    // the scopes it may have at most
	Grants    []string `json:"grants"`    // of the Grant constants
	LaunchURL string   `json:"launchUrl,omitzero"`
	Logo      string   `json:"logo,omitzero"` // https

	Secrets []Secret       `json:"secrets,omitzero"` // newest first, two at most; see NewSecret
	JWKS    jsontext.Value `json:"jwks,omitzero"`    // public keys by value
	JWKSURL string         `json:"jwksUrl,omitzero"` // or where they are found
	JKU     string         `json:"jku,omitzero"`     // what jku may say of keys registered by value; never called

	Introspect   bool `json:"introspect,omitzero"`   // may ask about tokens of other clients
	CreateLaunch bool `json:"createLaunch,omitzero"` // is an EHR: may create launch handles

	Disabled bool      `json:"disabled,omitzero"`
	Created  time.Time `json:"created"`
	Dynamic  *Dynamic  `json:"dynamic,omitzero"` // nil: registered by the operator

	read []byte // the record this was read from; nil: not stored yet
}

// Secret is what is kept of a client's secret.
type Secret struct {
	Digest  []byte    `json:"digest"` // keyed, 32 octets
	Created time.Time `json:"created"`
	Until   time.Time `json:"until,omitzero"` // zero: for good
}

// Dynamic is what a client that registered itself is bound to.
type Dynamic struct {
	Digest []byte   `json:"digest"` // of the registration access token
	Scopes []string `json:"scopes"` // the most it may register for
	Grants []string `json:"grants"`
	Method string   `json:"method"` // its token_endpoint_auth_method, as it is told again
}

// Has says whether the client may use an OAuth grant type.
func (c *Client) Has(grant string) bool { return slices.Contains(c.Grants, grant) }

// Origin says whether browsers may call from this origin for the client. "null"
// is never one.
func (c *Client) Origin(origin string) bool {
	return origin != "" && slices.Contains(c.Origins, origin)
}

// Redirect says whether a redirect_uri is one of the client's: the same octets,
// but for the port of a loopback address in digits (RFC 8252 §7.3).
func (c *Client) Redirect(uri string) bool {
	if slices.Contains(c.Redirects, uri) {
		return true
	}
	asked, ok := portless(uri)
	return ok && slices.ContainsFunc(c.Redirects, func(have string) bool {
		registered, ok := portless(have)
		return ok && registered == asked
	})
}

// portless is a redirect to a loopback address without its port.
func portless(uri string) (string, bool) {
	for _, host := range []string{"http://127.0.0.1", "http://[::1]"} {
		rest, ok := strings.CutPrefix(uri, host)
		if !ok {
			continue
		}
		port := ""
		if after, ok := strings.CutPrefix(rest, ":"); ok {
			digits := len(after) - len(strings.TrimLeft(after, "0123456789"))
			port, rest = after[:digits], after[digits:]
			if !portNumber(port) {
				return "", false
			}
		}
		return host + rest, rest == "" || rest[0] == '/' || rest[0] == '?'
	}
	return "", false
}

// Error is an OAuth error: code and status of RFC 6749 §5.2, RFC 7591 §3.2.2 or
// RFC 6750 §3.1. Its description holds nothing that was sent.
type Error struct {
	Code, Description string
	Status            int
}

func (e *Error) Error() string { return e.Code + ": " + e.Description }

// ErrUnavailable says that a client's keys cannot be had now. The client may be
// who it says: the answer is 503, never invalid_client.
var ErrUnavailable = errors.New("the keys of the client cannot be had now")

func unauthorized(description string) error {
	return &Error{Code: "invalid_client", Description: description, Status: 401}
}

func malformed(description string) error {
	return &Error{Code: "invalid_client", Description: description, Status: 400}
}

func badMetadata(description string) error {
	return &Error{Code: "invalid_client_metadata", Description: description, Status: 400}
}
