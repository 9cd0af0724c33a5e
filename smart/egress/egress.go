// Package egress is the one way out: every call that the server makes to
// another host goes through a Guard. It knows which hosts are allowed, which
// addresses are never called, and how long, how much and how many at a time. It
// must not know what is asked of those hosts.
package egress

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// Config is what a Guard allows. The zero value allows nothing.
type Config struct {
	// Allow are the hosts that may be called: "host" (port 443), "host:port",
	// "*.suffix" (every name below suffix, not itself) or "*" (every host whose
	// address is public). Names in lower case, other scripts in punycode.
	Allow []string
	// Private are networks inside 10/8, 172.16/12, 192.168/16, 100.64/10 and
	// fc00::/7 that hosts named in Allow, other than by "*", may have addresses in.
	// The metadata services of clouds stay closed.
	Private []netip.Prefix
	// Loopback lets localhost and the loopback addresses be called on every port,
	// in plaintext as well, without being named in Allow. For tests and for
	// machines of one's own.
	Loopback bool

	Timeout  time.Duration // of a whole exchange, its body included; 0 is 10 s
	MaxBody  int64         // octets of an answer's body; 0 is 1 MiB
	Parallel int           // exchanges at a time, bodies being read included; 0 is 64
	PerHost  int           // connections to one host; 0 is 16

	Credentials []Credential
	Roots       *x509.CertPool // certificate authorities; nil is those of the system
	Resolver    *net.Resolver  // nil is that of the system
}

// Refused is a call that the guard does not make or an answer that it does not
// take: it will not be otherwise by trying again. Every other error of a call is
// trouble of the moment (see IsRefused).
type Refused struct {
	Target string // host, origin or address; never a path or query
	Why    string
}

func (r *Refused) Error() string { return fmt.Sprintf("call to %q refused: %s", r.Target, r.Why) }

// IsRefused says whether a call failed because it is not allowed.
func IsRefused(err error) bool {
	var refused *Refused
	return errors.As(err, &refused)
}

// Guard makes the calls that a Config allows. It is safe for use by many
// goroutines.
type Guard struct {
	allow    []pattern
	private  []netip.Prefix
	loopback bool
	dialer   net.Dialer
	resolver *net.Resolver
	client   *http.Client
}

// New checks the configuration. A pattern, network or credential that cannot be
// meant as it stands is an error.
func New(c Config) (*Guard, error) {
	g := &Guard{loopback: c.Loopback, resolver: c.Resolver, private: c.Private}
	for _, text := range c.Allow {
		p, err := parsePattern(text)
		if err != nil {
			return nil, err
		}
		g.allow = append(g.allow, p)
	}
	for _, p := range c.Private {
		if !openable(p) {
			return nil, fmt.Errorf("egress: %s is no part of a private network", p)
		}
	}
	keys, err := keyring(c.Credentials, c.Loopback)
	if err != nil {
		return nil, err
	}
	timeout := or(c.Timeout, 10*time.Second)
	g.dialer = net.Dialer{Timeout: min(timeout, 5*time.Second), KeepAlive: 30 * time.Second, Resolver: c.Resolver}
	g.client = &http.Client{
		Timeout:       timeout,
		CheckRedirect: noRedirect,
		Transport: &trip{
			guard: g, keys: keys, most: or(c.MaxBody, 1<<20),
			slots: make(chan struct{}, or(c.Parallel, 64)),
			next:  g.transport(c, timeout),
		},
	}
	return g, nil
}

func or[T int | int64 | time.Duration](v, fallback T) T {
	if v <= 0 {
		return fallback
	}
	return v
}

// Client makes guarded HTTP calls. It follows no redirect, uses no proxy of the
// environment, and its bodies end with *Refused past MaxBody. All callers share
// it; do not change it.
func (g *Guard) Client() *http.Client { return g.client }

// Dial connects to host:port over TCP for protocols other than HTTP. The host
// must be allowed with that port; network is tcp, tcp4 or tcp6.
func (g *Guard) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, &Refused{clip(address), "it is not host:port"}
	}
	if !strings.HasPrefix(network, "tcp") {
		return nil, &Refused{clip(host), "only TCP is spoken"}
	}
	named, err := g.host(host, port)
	if err != nil {
		return nil, err
	}
	dialer := g.dialer
	dialer.Control = func(_, address string, _ syscall.RawConn) error { return g.connect(host, address, named) }
	return dialer.DialContext(ctx, network, address)
}

// Check says, without any packet, whether a URL may be called as far as its text
// tells: scheme, host, port, and the address when the host is one. nil promises
// nothing about what a name resolves to; that is checked at each connect.
func (g *Guard) Check(target string) error {
	u, err := url.Parse(target)
	if err != nil {
		return &Refused{clip(target), "it is no URL"}
	}
	return g.check(u)
}

func (g *Guard) check(u *url.URL) error {
	host, port := u.Hostname(), portOf(u)
	switch {
	case u.User != nil:
		return &Refused{clip(host), "the URL has user information"}
	case u.Opaque != "" || host == "":
		return &Refused{clip(u.Scheme), "the URL has no host"}
	case u.Scheme != "https" && (u.Scheme != "http" || !g.loopback || !local(host)):
		return &Refused{clip(host), "only https is spoken"}
	}
	named, err := g.host(host, port)
	if err != nil {
		return err
	}
	if ip, err := netip.ParseAddr(host); err == nil && !g.reachable(ip, named, local(host)) {
		return &Refused{host, "the address is not public"}
	}
	return nil
}

// connect judges the address that is about to be connected to, after the name
// was resolved: what resolved otherwise a moment ago does not matter.
func (g *Guard) connect(host, address string, named bool) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return &Refused{clip(host), "its address cannot be read"}
	}
	if !g.reachable(to.Addr(), named, local(host)) {
		return &Refused{clip(host), "its address is not public"}
	}
	return nil
}

// reachable says whether an address may be connected to. named: the host is
// allowed by name; here: it is a name of this machine.
func (g *Guard) reachable(ip netip.Addr, named, here bool) bool {
	ip = ip.Unmap()
	if Public(ip) {
		return true
	}
	if here && g.loopback && ip.IsLoopback() {
		return true
	}
	for _, p := range g.private {
		if named && p.Contains(ip) && !metadata(ip) {
			return true
		}
	}
	return false
}

func clip(text string) string {
	if len(text) > 128 {
		return text[:128]
	}
	return text
}
