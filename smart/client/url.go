package client

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// plain parses a URL that is written as it will be sent: visible ASCII, a host
// or a path, no user information, fragment, wildcard or backslash.
func plain(text string) (*url.URL, bool) {
	if len(text) == 0 || len(text) > maxURL || strings.ContainsFunc(text, func(c rune) bool {
		return c <= ' ' || c >= 0x7f || strings.ContainsRune("#*\\\"<>^`{|}", c)
	}) {
		return nil, false
	}
	u, err := url.Parse(text)
	if err != nil || u.User != nil || strings.Contains(u.Host, "@") {
		return nil, false
	}
	return u, u.Port() == "" && !strings.HasSuffix(u.Host, ":") || portNumber(u.Port())
}

func portNumber(text string) bool {
	n, err := strconv.Atoi(text)
	return err == nil && n > 0 && n < 65536 && text[0] >= '1' && text[0] <= '9'
}

// web says whether a URL is one of https, or of http to this machine.
func web(u *url.URL) bool {
	if u.Opaque != "" || u.Hostname() == "" {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname())
}

func loopback(host string) bool {
	return host == "localhost" || host == "127.0.0.1" || host == "::1"
}

func validPage(text string) bool {
	u, ok := plain(text)
	return ok && web(u)
}

// validRedirect says whether a redirect URI may be registered. A scheme of an
// app's own is a domain name turned round, as RFC 8252 §7.1 asks: the period in
// it keeps out javascript:, data: and whatever else browsers act upon.
func validRedirect(text string) bool {
	u, ok := plain(text)
	return ok && (web(u) || strings.Contains(u.Scheme, "."))
}

// validOrigin says whether a text is an origin as browsers write it.
func validOrigin(text string) bool {
	u, ok := plain(text)
	return ok && web(u) && text == originOf(u)
}

func originOf(u *url.URL) string {
	host := strings.ToLower(u.Host)
	if u.Scheme == "https" {
		host = strings.TrimSuffix(host, ":443")
	} else {
		host = strings.TrimSuffix(host, ":80")
	}
	return u.Scheme + "://" + host
}

// originsOf are the origins of the pages on the web among redirect URIs.
func originsOf(redirects []string) []string {
	out := []string{}
	for _, text := range redirects {
		u, ok := plain(text)
		if ok && web(u) && !slices.Contains(out, originOf(u)) {
			out = append(out, originOf(u))
		}
	}
	return out
}

// callable says whether a JWKS URL may be registered. What its name resolves to
// is judged when it is called.
func (r *Registry) callable(text string) bool {
	u, ok := plain(text)
	if !ok || !web(u) {
		return false
	}
	if r.Check != nil {
		return r.Check(text) == nil
	}
	_, err := netip.ParseAddr(u.Hostname())
	return err != nil && u.Scheme == "https" && u.Hostname() != "localhost"
}
