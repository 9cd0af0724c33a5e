package client

import (
	"errors"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	maxMetadata  = 128 << 10 // octets of a registration
	methodBasic  = "client_secret_basic"
	methodPost   = "client_secret_post"
	methodNone   = "none"
	methodSigned = "private_key_jwt"
)

// metadata are the members of RFC 7591 §2 that are understood; others are
// ignored, as it asks.
type metadata struct {
	ID        string         `json:"client_id,omitzero"`
	Secret    string         `json:"client_secret,omitzero"`
	Name      string         `json:"client_name"`
	Redirects []string       `json:"redirect_uris"`
	Method    string         `json:"token_endpoint_auth_method"`
	Alg       string         `json:"token_endpoint_auth_signing_alg,omitzero"`
	Grants    []string       `json:"grant_types"`
	Responses []string       `json:"response_types"`
	Scope     string         `json:"scope"`
	Launch    string         `json:"initiate_login_uri,omitzero"`
	Logo      string         `json:"logo_uri,omitzero"`
	JWKSURL   string         `json:"jwks_uri,omitzero"`
	JWKS      jsontext.Value `json:"jwks,omitzero"`
}

// answer is metadata with what the server adds (RFC 7591 §3.2.1, RFC 7592 §3).
type answer struct {
	metadata
	Issued  int64  `json:"client_id_issued_at"`
	Expires *int64 `json:"client_secret_expires_at,omitzero"`
	URI     string `json:"registration_client_uri"`
	Token   string `json:"registration_access_token,omitzero"`
}

func readMetadata(raw []byte) (metadata, error) {
	var m metadata
	if len(raw) > maxMetadata {
		return m, badMetadata("the metadata are longer than 128 KiB")
	}
	if json.Unmarshal(raw, &m) != nil {
		return m, badMetadata("the metadata are no JSON object with members of the types of RFC 7591")
	}
	if m.Method == "" {
		m.Method = methodBasic
	}
	if len(m.Grants) == 0 {
		m.Grants = []string{GrantCode}
	}
	return m, nil
}

// fill makes a client what its metadata say.
func (m *metadata) fill(c *Client) error {
	kinds := map[string]Kind{methodNone: Public, methodBasic: Symmetric, methodPost: Symmetric, methodSigned: Asymmetric}
	kind, ok := kinds[m.Method]
	switch {
	case !ok:
		return badMetadata("the token_endpoint_auth_method is not known")
	case m.Alg != "" && !slices.Contains(algorithms[:], m.Alg):
		return badMetadata("the token_endpoint_auth_signing_alg is not RS384 or ES384")
	case len(m.Responses) > 0 && !slices.Equal(m.Responses, []string{"code"}):
		return badMetadata("the only response type is code")
	}
	for _, grant := range m.Grants {
		if !slices.Contains(c.Dynamic.Grants, grant) {
			return badMetadata("a grant type is more than may be registered")
		}
	}
	c.Kind, c.Name, c.Redirects, c.Origins = kind, m.Name, m.Redirects, originsOf(m.Redirects)
	if c.Name == "" {
		c.Name = c.ID
	}
	c.Dynamic.Method = m.Method
	c.Grants, c.LaunchURL, c.Logo = m.Grants, m.Launch, m.Logo
	c.JWKS, c.JWKSURL, c.JKU = m.JWKS, m.JWKSURL, ""
	c.Scopes = strings.Fields(m.Scope)
	if len(c.Scopes) == 0 {
		c.Scopes = c.Dynamic.Scopes
	}
	return nil
}

// Answer is the registration as JSON (RFC 7591 §3.2.1); uri is where the client
// is read, replaced and deleted.
func (g *Registration) Answer(uri string) ([]byte, error) {
	c := &g.Client
	if c.Dynamic == nil {
		return nil, errors.New("smart/client: the client did not register itself")
	}
	a := answer{Issued: c.Created.Unix(), URI: uri, Token: g.Token, metadata: metadata{
		ID: c.ID, Secret: g.Secret, Name: c.Name, Redirects: c.Redirects, Grants: c.Grants, Method: c.Dynamic.Method,
		Scope: strings.Join(c.Scopes, " "), Launch: c.LaunchURL, Logo: c.Logo, JWKSURL: c.JWKSURL, JWKS: c.JWKS,
	}}
	if c.Has(GrantCode) {
		a.Responses = []string{"code"}
	}
	if g.Secret != "" {
		a.Expires = new(int64) // 0: never
	}
	return json.Marshal(&a)
}
