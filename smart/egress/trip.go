package egress

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Credential is a header that is sent to one origin: scheme, host and port must
// all be equal.
type Credential struct {
	Origin string // "https://host" or "https://host:port"
	Header string // such as Authorization
	Value  string
}

// String leaves the value out, so that a credential in a log tells nothing.
func (c Credential) String() string { return c.Header + " for " + c.Origin }

// GoString leaves the value out too.
func (c Credential) GoString() string { return c.String() }

func keyring(list []Credential, loopback bool) (map[string][]Credential, error) {
	keys := map[string][]Credential{}
	for _, one := range list {
		u, err := url.Parse(one.Origin)
		if err != nil || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || !plain(u.Hostname()) {
			return nil, fmt.Errorf("egress: the credential %s is for no origin", one)
		}
		if u.Scheme != "https" && (u.Scheme != "http" || !loopback || !local(u.Hostname())) {
			return nil, fmt.Errorf("egress: the credential %s would go out in plaintext", one)
		}
		if one.Header == "" || one.Value == "" {
			return nil, fmt.Errorf("egress: the credential %s is empty", one)
		}
		keys[origin(u)] = append(keys[origin(u)], one)
	}
	return keys, nil
}

func origin(u *url.URL) string { return u.Scheme + "://" + u.Hostname() + ":" + portOf(u) }

func (g *Guard) transport(c Config, timeout time.Duration) *http.Transport {
	return &http.Transport{
		// No Proxy: a proxy would resolve and connect in our place.
		DialContext:            g.Dial,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.Roots},
		TLSHandshakeTimeout:    min(timeout, 5*time.Second),
		ResponseHeaderTimeout:  timeout,
		ExpectContinueTimeout:  time.Second,
		IdleConnTimeout:        time.Minute,
		MaxIdleConns:           64,
		MaxIdleConnsPerHost:    4,
		MaxConnsPerHost:        or(c.PerHost, 16),
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true, // MaxBody counts what is on the wire, and nothing is blown up
		ForceAttemptHTTP2:      true,
	}
}

func noRedirect(_ *http.Request, via []*http.Request) error {
	return &Refused{via[0].URL.Hostname(), "it answered with a redirect"}
}

// trip judges a request before it leaves and bounds its answer.
type trip struct {
	guard *Guard
	keys  map[string][]Credential
	most  int64
	slots chan struct{} // one for each exchange under way
	next  http.RoundTripper
}

// RoundTrip makes one guarded exchange.
func (t *trip) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := t.admit(r); err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, err
	}
	release := t.hold(r.Context())
	resp, err := t.next.RoundTrip(t.signed(r))
	if err != nil {
		release()
		return nil, err
	}
	if resp.ContentLength > t.most {
		release()
		_ = resp.Body.Close()
		return nil, tooLarge(r.URL.Hostname(), t.most)
	}
	resp.Body = &bounded{body: resp.Body, left: t.most, most: t.most, host: r.URL.Hostname(), release: release}
	return resp, nil
}

// admit judges the request and waits for a slot as long as its context lives.
func (t *trip) admit(r *http.Request) error {
	if err := t.guard.check(r.URL); err != nil {
		return err
	}
	if r.Host != "" && r.Host != r.URL.Host {
		return &Refused{r.URL.Hostname(), "the Host header is another"}
	}
	select {
	case t.slots <- struct{}{}:
		return nil
	case <-r.Context().Done():
		return fmt.Errorf("egress: too many calls at a time: %w", r.Context().Err())
	}
}

// hold gives the release of a slot, which also comes when the context ends: a
// body that nobody closes does not keep its slot past the timeout.
func (t *trip) hold(ctx context.Context) (release func()) {
	once := sync.OnceFunc(func() { <-t.slots })
	stop := context.AfterFunc(ctx, once)
	return func() { stop(); once() }
}

func (t *trip) signed(r *http.Request) *http.Request {
	keys := t.keys[origin(r.URL)]
	if len(keys) == 0 {
		return r
	}
	r = r.Clone(r.Context())
	for _, one := range keys {
		r.Header.Set(one.Header, one.Value)
	}
	return r
}

// bounded is a body that is refused past its bound.
type bounded struct {
	body       io.ReadCloser
	left, most int64
	host       string
	release    func()
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, tooLarge(b.host, b.most)
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.body.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		b.release()
		return n - 1, tooLarge(b.host, b.most)
	}
	if err != nil {
		b.release()
	}
	return n, err
}

func (b *bounded) Close() error {
	b.release()
	return b.body.Close()
}

// Read is the whole body when it has no more than most octets, else *Refused. It
// closes the body.
func Read(resp *http.Response, most int64) ([]byte, error) {
	host := ""
	if resp.Request != nil {
		host = resp.Request.URL.Hostname()
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.ContentLength > most {
		return nil, tooLarge(host, most)
	}
	out, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(out)) > most {
		return nil, tooLarge(host, most)
	}
	return out, nil
}

func tooLarge(host string, most int64) *Refused {
	return &Refused{host, fmt.Sprintf("its answer is larger than %d octets", most)}
}
