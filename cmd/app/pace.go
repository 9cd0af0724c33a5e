package app

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"candela/fhir"
)

// Slow senders and readers are cut off (R45): a body must come at floorRate
// after a grace, an answer must be taken within the timeout.
const (
	floorGrace = 10 * time.Second
	floorRate  = 1 << 10 // bytes per second
	readPause  = 5 * time.Second
)

// paced puts deadlines on a request's body and answer.
func paced(next http.Handler, timeout time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		// An error means that the connection takes no deadlines (a test's recorder).
		_ = control.SetWriteDeadline(time.Now().Add(2 * timeout))
		if r.Body != nil && r.Body != http.NoBody {
			// A copy: the server looks at its own request's body to see that an
			// unread one is not worth waiting for.
			r = r.WithContext(r.Context())
			r.Body = &pacedBody{ReadCloser: r.Body, control: control, start: time.Now()}
		}
		next.ServeHTTP(w, r)
	})
}

// pacedBody ends a read when no byte comes for readPause, or the whole is
// slower than floorRate.
type pacedBody struct {
	io.ReadCloser
	control *http.ResponseController
	start   time.Time
	read    int64
}

func (b *pacedBody) Read(p []byte) (int, error) {
	_ = b.control.SetReadDeadline(time.Now().Add(readPause)) // as above
	n, err := b.ReadCloser.Read(p)
	b.read += int64(n)
	if err != nil {
		// The server now watches the connection itself; a deadline left behind
		// would cancel a request that takes longer than readPause to answer.
		_ = b.control.SetReadDeadline(time.Time{})
		return n, err
	}
	if took := time.Since(b.start); took > floorGrace && float64(b.read) < floorRate*took.Seconds() {
		return n, &net.OpError{Op: "read", Err: errTooSlow{}}
	}
	return n, err
}

type errTooSlow struct{}

func (errTooSlow) Error() string   { return "body comes too slowly" }
func (errTooSlow) Timeout() bool   { return true }
func (errTooSlow) Temporary() bool { return false }

// limiter is a token bucket for each address: rate requests per second, bursts
// of twice as many. Addresses that are full again are forgotten.
type limiter struct {
	rate float64
	now  func() time.Time

	mu      sync.Mutex
	buckets map[string]*bucket
	swept   time.Time
}

type bucket struct {
	tokens float64
	at     time.Time
}

func newLimiter(rate int, now func() time.Time) *limiter {
	return &limiter{rate: float64(rate), now: now, buckets: map[string]*bucket{}}
}

func (l *limiter) allow(address string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	l.sweep(now)
	b := l.buckets[address]
	if b == nil {
		b = &bucket{tokens: 2 * l.rate, at: now}
		l.buckets[address] = b
	}
	b.tokens = min(2*l.rate, b.tokens+l.rate*now.Sub(b.at).Seconds())
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

func (l *limiter) sweep(now time.Time) {
	if now.Sub(l.swept) < 10*time.Second {
		return
	}
	l.swept = now
	for address, b := range l.buckets {
		if now.Sub(b.at) > 10*time.Second {
			delete(l.buckets, address)
		}
	}
}

// limited answers 429 to an address that asks more often than its bucket
// allows. The address is the connection's: forwarded headers can be forged.
func (l *limiter) limited(next http.Handler) http.Handler {
	if l.rate == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			host = r.RemoteAddr
		}
		if l.allow(host) {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Retry-After", "1")
		deny(w, http.StatusTooManyRequests, fhir.CodeThrottled, "too many requests from this address; wait a second")
	})
}

// direct refuses requests that are not for this server, and those whose end a proxy
// before us could see elsewhere (threat T75). Without authorization it also asks
// that the Host is ours: a web page can have a name of its own lead to 127.0.0.1
// and would then be of the same origin (DNS rebinding).
func (c Config) direct(next http.Handler) http.Handler {
	base, _ := url.Parse(c.baseURL()) // Check has parsed it
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.IsAbs() || r.Method == http.MethodConnect {
			w.Header().Set("Connection", "close")
			deny(w, http.StatusBadRequest, fhir.CodeInvalid, "this server is no proxy: name a path and a Host")
			return
		}
		if c.Auth == "off" && !ours(r.Host, base.Host) {
			deny(w, http.StatusMisdirectedRequest, fhir.CodeForbidden,
				"without authorization this server answers to loopback names and to the host of --base only")
			return
		}
		// net/http takes a Transfer-Encoding over a Content-Length and does not tell
		// that there were both. RFC 9112 (6.1) has the connection end then.
		if len(r.TransferEncoding) > 0 && r.ProtoMajor == 1 {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// ours says whether a Host header names a loopback address or the base's host. A
// caller of HTTP/1.0 sends none; a browser always does.
func ours(host, base string) bool {
	if host == "" || strings.EqualFold(host, base) {
		return true
	}
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	named, _, err := net.SplitHostPort(base)
	if err != nil {
		named = base
	}
	return strings.EqualFold(name, named) || loopback(strings.ToLower(strings.TrimSuffix(name, ".")))
}

func deny(w http.ResponseWriter, status int, code, why string) {
	w.Header().Set("Content-Type", "application/fhir+json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(fhir.OutcomeOf(fhir.Issue{Severity: fhir.SevError, Code: code, Diagnostics: why})) // a caller that is gone needs no answer
}
