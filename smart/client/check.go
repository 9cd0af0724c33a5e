package client

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"candela/smart/scope"
)

// Limits of a registration.
const (
	maxName  = 200  // characters
	maxURL   = 2048 // octets
	maxURLs  = 64   // of each list
	maxScope = 200  // scopes
)

// check says what of a client cannot be registered.
func (r *Registry) check(c *Client) error {
	if !validID(c.ID) {
		return badMetadata("the client id is not 1 to 128 of A-Z a-z 0-9 - . _ ~")
	}
	for _, check := range []func(*Client) error{checkName, r.checkURLs, checkGrants, r.checkScopes, checkSecrets, r.checkKeys} {
		if err := check(c); err != nil {
			return err
		}
	}
	return nil
}

func validID(id string) bool {
	return len(id) >= 1 && len(id) <= 128 && strings.IndexFunc(id, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-._~", c))
	}) < 0
}

// checkName keeps out what would lie to the reader of a consent page.
func checkName(c *Client) error {
	if strings.TrimSpace(c.Name) == "" || !utf8.ValidString(c.Name) || utf8.RuneCountInString(c.Name) > maxName ||
		strings.ContainsFunc(c.Name, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }) {
		return badMetadata("the name is not 1 to 200 printable characters")
	}
	return nil
}

func (r *Registry) checkURLs(c *Client) error {
	if len(c.Redirects) > maxURLs || len(c.Origins) > maxURLs {
		return badMetadata("more than 64 redirect URIs or origins")
	}
	for _, uri := range c.Redirects {
		if !validRedirect(uri) {
			return badMetadata("a redirect URI is not https, http to this machine or a reverse-domain scheme, or it has a fragment, a wildcard or user information")
		}
	}
	for _, origin := range c.Origins {
		if !validOrigin(origin) {
			return badMetadata("an origin is not https://host or http to this machine, in lower case and without a path")
		}
	}
	if c.LaunchURL != "" && !validPage(c.LaunchURL) {
		return badMetadata("the launch URL is not https or http to this machine")
	}
	if c.Logo != "" && !(validPage(c.Logo) && strings.HasPrefix(c.Logo, "https:")) {
		return badMetadata("the logo is not https")
	}
	return nil
}

func checkGrants(c *Client) error {
	for i, grant := range c.Grants {
		if !slices.Contains([]string{GrantCode, GrantRefresh, GrantBackend}, grant) || slices.Contains(c.Grants[:i], grant) {
			return badMetadata("a grant type is unknown or there twice")
		}
	}
	switch {
	case len(c.Grants) == 0:
		return badMetadata("no grant type")
	case c.Has(GrantRefresh) && !c.Has(GrantCode):
		return badMetadata("refresh_token goes with authorization_code only")
	case c.Has(GrantCode) && len(c.Redirects) == 0:
		return badMetadata("authorization_code needs a redirect URI")
	case c.Has(GrantBackend) && c.Kind != Asymmetric:
		return badMetadata("client_credentials is for clients with private_key_jwt only")
	}
	return nil
}

func (r *Registry) checkScopes(c *Client) error {
	if len(c.Scopes) > maxScope {
		return badMetadata("more than 200 scopes")
	}
	for _, text := range c.Scopes {
		set, refused := r.Scopes.Parse(text)
		if len(refused) > 0 || len(set) != 1 {
			return badMetadata("a scope is unknown")
		}
		if set[0].Level == scope.System && !c.Has(GrantBackend) {
			return badMetadata("system/ scopes are for clients with client_credentials only")
		}
	}
	return nil
}

func checkSecrets(c *Client) error {
	switch {
	case c.Kind != Public && c.Kind != Symmetric && c.Kind != Asymmetric:
		return badMetadata("the kind of client is not public, symmetric or asymmetric")
	case c.Kind != Symmetric && len(c.Secrets) > 0:
		return badMetadata("only symmetric clients have secrets")
	case len(c.Secrets) > 2:
		return badMetadata("more than two secrets")
	}
	for _, s := range c.Secrets {
		if len(s.Digest) != 32 {
			return badMetadata("a secret is no digest; secrets are set by NewSecret")
		}
	}
	return nil
}

func (r *Registry) checkKeys(c *Client) error {
	byValue, byURL := len(c.JWKS) > 0, c.JWKSURL != ""
	switch {
	case c.Kind != Asymmetric && (byValue || byURL || c.JKU != ""):
		return badMetadata("only asymmetric clients have keys")
	case c.Kind != Asymmetric:
		return nil
	case byValue == byURL:
		return badMetadata("an asymmetric client has either keys or the URL of its keys")
	case byURL && !r.callable(c.JWKSURL):
		return badMetadata("the URL of the keys is not https to a host that may be called")
	case byURL && c.JKU != "" && c.JKU != c.JWKSURL:
		return badMetadata("jku is another than the URL of the keys")
	case len(c.JKU) > maxURL:
		return badMetadata("jku is too long")
	case byValue:
		return checkSet(c.JWKS)
	}
	return nil
}
