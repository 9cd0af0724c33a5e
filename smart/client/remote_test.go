package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"candela/smart/client"
	"candela/smart/egress"
)

// host publishes keys and counts how often it is asked.
type host struct {
	*httptest.Server
	asked  atomic.Int32
	answer atomic.Pointer[http.HandlerFunc]
}

func newHost(t *testing.T, answer http.HandlerFunc) *host {
	h := new(host)
	h.set(answer)
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.asked.Add(1)
		(*h.answer.Load())(w, r)
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *host) set(f http.HandlerFunc) { h.answer.Store(&f) }

// gives answers with a key set and a Cache-Control.
func gives(set []byte, control string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if control != "" {
			w.Header().Set("Cache-Control", control)
		}
		w.Write(set)
	}
}

func down(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }

// guarded is a desk whose calls go through the egress guard, loopback allowed.
func guarded(t *testing.T, loopback bool) *desk {
	t.Helper()
	g, err := egress.New(egress.Config{Loopback: loopback, Allow: []string{"*"}})
	if err != nil {
		t.Fatal(err)
	}
	return newDesk(t, func(c *client.Config) { c.HTTP, c.Check = g.Client(), g.Check })
}

func (d *desk) hosted(id, url string) client.Client {
	d.t.Helper()
	return d.put(client.Client{ID: id, Kind: client.Asymmetric, Grants: []string{client.GrantBackend}, Scopes: []string{"system/*.rs"}, JWKSURL: url})
}

func (d *desk) asks(h *host, want int32, err error, code string) {
	d.t.Helper()
	var e *client.Error
	switch {
	case code == "" && err != nil:
		d.t.Fatal(err)
	case code == "unavailable" && (!errors.Is(err, client.ErrUnavailable) || errors.As(err, &e)):
		d.t.Fatalf("%v is not that the keys are unavailable", err)
	case code == "invalid_client":
		refused(d.t, err, code)
	}
	if got := h.asked.Load(); got != want {
		d.t.Fatalf("the host was asked %d times, want %d", got, want)
	}
}

func TestR16_CacheHonoursItsHost(t *testing.T) {
	set := jwks(t, jwk("rsa", "rsa"))
	for control, life := range map[string]time.Duration{
		"max-age=60": time.Minute, "public, Max-Age=\"60\"": time.Minute, "max-age=60, max-age=10": 10 * time.Second,
		"no-store": 0, "max-age=600, no-cache": 0, "max-age=0": 0, "max-age=x": 0, "max-age=-5": 0, "s-maxage=9": 5 * time.Minute,
		"": 5 * time.Minute, "max-age=99999999999": time.Hour,
	} {
		t.Run(control, func(t *testing.T) {
			d, h := guarded(t, true), newHost(t, gives(set, control))
			d.hosted("svc", h.URL)
			d.asks(h, 1, d.try(d.assertion("svc", nil)), "")
			if life > 0 {
				d.clock.Advance(life - time.Second)
				d.asks(h, 1, d.try(d.assertion("svc", nil)), "")
				d.clock.Advance(time.Second)
			}
			d.asks(h, 2, d.try(d.assertion("svc", nil)), "")
		})
	}
}

func TestR16_AgeAndExpires(t *testing.T) {
	set := jwks(t, jwk("rsa", "rsa"))
	d := guarded(t, true)
	begin := d.clock.Now()
	for name, head := range map[string]map[string]string{
		"age":     {"Cache-Control": "max-age=60", "Age": "30"},
		"expires": {"Expires": begin.Add(30 * time.Second).UTC().Format(http.TimeFormat), "Date": begin.UTC().Format(http.TimeFormat)},
	} {
		h := newHost(t, func(w http.ResponseWriter, _ *http.Request) {
			for k, v := range head {
				w.Header().Set(k, v)
			}
			w.Write(set)
		})
		d.hosted(name, h.URL)
		d.clock.at.Store(begin.UnixNano())
		d.asks(h, 1, d.try(d.assertion(name, nil)), "")
		d.clock.Advance(29 * time.Second)
		d.asks(h, 1, d.try(d.assertion(name, nil)), "")
		d.clock.Advance(time.Second)
		d.asks(h, 2, d.try(d.assertion(name, nil)), "")
	}
}

func TestR16_UnknownKid(t *testing.T) {
	d, h := guarded(t, true), newHost(t, gives(jwks(t, jwk("rsa", "rsa")), "max-age=3600"))
	d.hosted("svc", h.URL)
	strange := func() error { return d.try(sign(t, "other", "RS384", nil, d.claims("svc", nil))) }
	d.asks(h, 1, strange(), "invalid_client")
	for range 10 {
		d.asks(h, 2, strange(), "invalid_client")
	}
	d.asks(h, 2, d.try(d.assertion("svc", nil)), "")
	// The key is rotated: it is seen after 30 s at the latest.
	h.set(gives(jwks(t, jwk("other", "other")), "max-age=3600"))
	d.clock.Advance(29 * time.Second)
	d.asks(h, 2, strange(), "invalid_client")
	d.clock.Advance(time.Second)
	d.asks(h, 3, strange(), "")
	d.asks(h, 3, d.try(d.assertion("svc", nil)), "invalid_client") // the old one is gone, and 30 s are not over
	d.clock.Advance(30 * time.Second)
	// Host down: a kid nobody knows may be a new one.
	h.set(down)
	d.asks(h, 4, d.try(d.assertion("svc", nil)), "unavailable")
	d.asks(h, 4, d.try(d.assertion("svc", nil)), "unavailable")
	d.asks(h, 4, strange(), "")
}

func TestR16_SingleFlight(t *testing.T) {
	set := jwks(t, jwk("rsa", "rsa"))
	gate := make(chan struct{})
	d := guarded(t, true)
	h := newHost(t, func(w http.ResponseWriter, r *http.Request) { <-gate; gives(set, "max-age=60")(w, r) })
	d.hosted("svc", h.URL)
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			if err := d.try(d.assertion("svc", nil)); err != nil {
				t.Error(err)
			}
		})
	}
	gone, cancel := context.WithCancel(background)
	cancel()
	if _, err := d.Authenticate(gone, asserted(d.assertion("svc", nil))); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that went away: %v", err)
	}
	close(gate)
	all.Wait()
	if n := h.asked.Load(); n != 1 {
		t.Errorf("the host was asked %d times", n)
	}
}

func TestT50_ForeignJKU(t *testing.T) {
	d, h := guarded(t, true), newHost(t, gives(jwks(t, jwk("rsa", "rsa")), "max-age=60"))
	evil := newHost(t, gives(jwks(t, jwk("rsa", "rsa")), "max-age=60"))
	c := d.hosted("svc", h.URL+"/jwks")
	d.backend("value")
	for _, jku := range []any{evil.URL, evil.URL + "/jwks", h.URL, c.JWKSURL + "/", c.JWKSURL + "?a", c.JWKSURL + "#a", c.JWKSURL + ".evil.org",
		"http://u@" + h.URL[7:] + "/jwks", h.URL + "/redirect?to=" + evil.URL, "", 7, nil, []string{c.JWKSURL}, "HTTP" + c.JWKSURL[4:]} {
		head := obj{"jku": jku}
		for _, id := range []string{"svc", "value"} {
			if jku == nil {
				continue
			}
			refused(t, d.try(sign(t, "rsa", "RS384", head, d.claims(id, nil))), "invalid_client")
		}
	}
	if h.asked.Load()+evil.asked.Load() != 0 {
		t.Fatal("a host was asked")
	}
	d.asks(h, 1, d.try(sign(t, "rsa", "RS384", obj{"jku": c.JWKSURL}, d.claims("svc", nil))), "")
}

// Nothing is fetched for assertions that are wrong in themselves.
func TestT50_NoFetchForNonsense(t *testing.T) {
	d, h := guarded(t, true), newHost(t, gives(jwks(t, jwk("rsa", "rsa")), "max-age=60"))
	d.hosted("svc", h.URL)
	for _, change := range []obj{{"aud": "x"}, {"exp": 1}, {"jti": nil}, {"sub": "x"}} {
		d.asks(h, 0, d.try(d.assertion("svc", change)), "invalid_client")
	}
	d.asks(h, 0, d.try(sign(t, "rsa", "RS384", obj{"typ": nil}, d.claims("svc", nil))), "invalid_client")
}

func TestT53_HostileHosts(t *testing.T) {
	good := jwks(t, jwk("rsa", "rsa"))
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { elsewhere.Add(1); w.Write(good) }))
	defer other.Close()
	var sent atomic.Int64
	for name, answer := range map[string]http.HandlerFunc{
		"endless": func(w http.ResponseWriter, r *http.Request) {
			block := make([]byte, 32<<10)
			for r.Context().Err() == nil {
				n, err := w.Write(block)
				if sent.Add(int64(n)); err != nil {
					return
				}
			}
		},
		"1e5 keys": func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"keys":[`)
			for i := range 100_000 {
				fmt.Fprintf(w, `{"kty":"RSA","kid":"%d"},`, i)
			}
			w.Write(good[len(`{"keys":[`):])
		},
		"slow drip": func(w http.ResponseWriter, r *http.Request) {
			for i := 0; r.Context().Err() == nil && i < len(good); i++ {
				w.Write(good[i : i+1])
				w.(http.Flusher).Flush()
				time.Sleep(50 * time.Millisecond)
			}
		},
		"302":     func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, http.StatusFound) },
		"404":     http.NotFound,
		"no JSON": gives([]byte("<html>"), ""),
		"no keys": gives([]byte(`{"keys":null}`), ""),
		"cut off": gives(good[:len(good)-1], ""),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, h := guarded(t, true), newHost(t, answer)
			d.hosted("svc", h.URL)
			began := time.Now()
			d.asks(h, 1, d.try(d.assertion("svc", nil)), "unavailable")
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
			d.asks(h, 1, d.try(d.assertion("svc", nil)), "unavailable") // and the host is left alone for a while
		})
	}
	t.Cleanup(func() {
		if n := sent.Load(); n > 64<<20 || elsewhere.Load() != 0 {
			t.Errorf("%d octets came from the endless host; the redirect was followed %d times", n, elsewhere.Load())
		}
	})
}

// A name that resolves to this machine: the guard refuses at the connect, and no
// packet is seen.
func TestT53_PrivateAddress(t *testing.T) {
	h := newHost(t, gives(jwks(t, jwk("rsa", "rsa")), ""))
	open := guarded(t, true)
	open.hosted("svc", h.URL)
	g, err := egress.New(egress.Config{Allow: []string{"*"}})
	if err != nil {
		t.Fatal(err)
	}
	shut := config(open.store, open.clock.Now)
	shut.HTTP, shut.Check = g.Client(), g.Check
	r, err := client.Open(shut)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Authenticate(background, asserted(open.assertion("svc", nil)))
	open.asks(h, 0, err, "unavailable")
}

func TestT54_HostDown(t *testing.T) {
	d, h := guarded(t, true), newHost(t, gives(jwks(t, jwk("rsa", "rsa")), "max-age=600"))
	d.hosted("svc", h.URL)
	d.asks(h, 1, d.try(d.assertion("svc", nil)), "")
	h.set(down)
	for range 10 { // ten minutes
		d.asks(h, 1, d.try(d.assertion("svc", nil)), "")
		d.clock.Advance(time.Minute)
	}
	token := d.assertion("svc", nil)
	d.asks(h, 2, d.try(token), "unavailable")
	d.asks(h, 2, d.try(token), "unavailable")
	d.clock.Advance(5 * time.Second)
	h.set(gives(jwks(t, jwk("rsa", "rsa")), "max-age=600"))
	d.asks(h, 3, d.try(token), "") // what could not be judged was not used up
	h.Close()
	d.clock.Advance(10 * time.Minute)
	d.asks(h, 3, d.try(d.assertion("svc", nil)), "unavailable")
	// A server that calls nobody.
	without := newDesk(t, func(c *client.Config) { c.Check = func(string) error { return nil } })
	without.hosted("svc", h.URL)
	d.asks(h, 3, without.try(without.assertion("svc", nil)), "unavailable")
}
