package egress

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// pattern is one entry of Allow.
type pattern struct {
	name   string // exact host; for below: the suffix with its dot
	port   string
	below  bool
	anyone bool
}

func parsePattern(text string) (pattern, error) {
	if text == "*" {
		return pattern{anyone: true, port: "443"}, nil
	}
	host, port := text, "443"
	if h, p, err := net.SplitHostPort(text); err == nil {
		host, port = h, p
	} else if ip, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		host = ip.String()
	}
	name, below := strings.CutPrefix(host, "*.")
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || !plain(name) || below && (numeric(name) || isIP(name)) {
		return pattern{}, fmt.Errorf("egress: %q is no host, host:port or *.suffix", text)
	}
	if below {
		name = "." + name
	}
	return pattern{name: name, port: port, below: below}, nil
}

func (p pattern) matches(host, port string) bool {
	if p.port != port {
		return false
	}
	if p.below {
		return strings.HasSuffix(host, p.name)
	}
	return p.anyone || p.name == host
}

// host says whether a host may be called on a port, and whether it is named
// rather than let through by "*".
func (g *Guard) host(host, port string) (named bool, err error) {
	if !plain(host) {
		return false, &Refused{clip(host), "the host is not written plainly"}
	}
	if g.loopback && local(host) {
		return false, nil
	}
	found := false
	for _, p := range g.allow {
		if p.matches(host, port) {
			found, named = true, named || !p.anyone
		}
	}
	if !found {
		return false, &Refused{host + ":" + clip(port), "the host is not allowed"}
	}
	return named, nil
}

// plain says whether a host is a lower-case name or an address in its one
// canonical form. Forms that resolvers read as addresses ("0", "0x7f.1",
// "127.1"), trailing dots, zones and other scripts are not.
func plain(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Zone() == "" && ip.String() == host
	}
	if len(host) > 253 || numeric(host) {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

// numeric says whether the last label of a name is a number, decimal or
// hexadecimal: no top-level domain is, and such names are addresses to some.
func numeric(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(last, "0123456789") == ""
}

func isIP(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// local says whether a host is written as this machine.
func local(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "http":
		return "80"
	}
	return "443"
}
