package client

import (
	"context"
	"encoding/base64"
	"errors"
	"net/url"
	"slices"
	"strings"

	"candela/store"
)

// assertionType is the client_assertion_type of RFC 7523 §2.2.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// Credentials are what a request says about its client.
type Credentials struct {
	Authorization []string   // the values of the Authorization header
	Form          url.Values // of the request's body; the query is never looked at
}

const noMatch = "the client is unknown, disabled, or its credentials are wrong"

// Authenticate says which client sent a request. What the client did wrong is
// *Error: invalid_client with status 401, with 400 for what is malformed or
// proves itself in two ways, or invalid_request. Keys that cannot be had are
// ErrUnavailable and trouble of the store is wrapped: both are a 503.
func (r *Registry) Authenticate(ctx context.Context, sent Credentials) (Client, error) {
	for _, name := range []string{"client_id", "client_secret", "client_assertion", "client_assertion_type"} {
		if len(sent.Form[name]) > 1 {
			return Client{}, &Error{Code: "invalid_request", Description: name + " is there more than once", Status: 400}
		}
	}
	// A parameter without a value counts as left out (RFC 6749 §3.2).
	id, secret := sent.Form.Get("client_id"), sent.Form.Get("client_secret")
	assertion, typ := sent.Form.Get("client_assertion"), sent.Form.Get("client_assertion_type")
	methods := len(sent.Authorization)
	if secret != "" {
		methods++
	}
	if assertion != "" || typ != "" {
		methods++
	}
	switch {
	case methods > 1:
		return Client{}, malformed("the request authenticates its client in more than one way")
	case len(sent.Authorization) == 1:
		return r.basic(ctx, sent.Authorization[0], id)
	case secret != "":
		return r.bySecret(ctx, id, secret)
	case typ != "" && typ != assertionType:
		return Client{}, malformed("the client_assertion_type is not " + assertionType)
	case methods == 1 && (typ == "" || assertion == ""):
		return Client{}, malformed("client_assertion and client_assertion_type go together")
	case assertion != "":
		return r.byAssertion(ctx, id, assertion)
	}
	return r.known(ctx, id, Public)
}

// known reads the client that a request names. One that must prove itself in
// another way is answered like one that does not exist.
func (r *Registry) known(ctx context.Context, id string, kind Kind) (Client, error) {
	if id == "" {
		return Client{}, unauthorized("the request names no client")
	}
	c, err := r.Get(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return Client{}, unauthorized(noMatch)
	case err != nil:
		return Client{}, err
	case c.Disabled || c.Kind != kind:
		return Client{}, unauthorized(noMatch)
	}
	return c, nil
}

// basic reads the Authorization header: id and secret are form-encoded in it
// (RFC 6749 §2.3.1).
func (r *Registry) basic(ctx context.Context, header, named string) (Client, error) {
	scheme, value, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Basic") || len(value) > 4*maxURL {
		return Client{}, unauthorized("the Authorization header is not Basic")
	}
	pair, err := base64.StdEncoding.Strict().DecodeString(strings.TrimLeft(value, " "))
	id, secret, ok := strings.Cut(string(pair), ":")
	id, err1 := url.QueryUnescape(id)
	secret, err2 := url.QueryUnescape(secret)
	if !ok || errors.Join(err, err1, err2) != nil || id == "" || secret == "" {
		return Client{}, unauthorized("the Authorization header cannot be read")
	}
	if named != "" && named != id {
		return Client{}, malformed("client_id is another than in the Authorization header")
	}
	return r.bySecret(ctx, id, secret)
}

func (r *Registry) bySecret(ctx context.Context, id, secret string) (Client, error) {
	c, err := r.known(ctx, id, Symmetric)
	var refused *Error
	if err != nil && !errors.As(err, &refused) {
		return Client{}, err
	}
	// The digest is made for clients that are not there as well: the same time.
	if !r.knows(&c, secret) || err != nil {
		return Client{}, unauthorized(noMatch)
	}
	return c, nil
}

// Methods are the ways a client can prove itself, as discovery documents list them.
func Methods() []string {
	return []string{"client_secret_basic", "client_secret_post", "private_key_jwt"}
}

// Algorithms are the JWS algorithms assertions may be signed with.
func Algorithms() []string { return slices.Clone(algorithms[:]) }
