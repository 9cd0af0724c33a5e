package egress_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"candela/smart/egress"
)

// trap is a listener that counts who reaches it, on every address of this machine.
type trap struct {
	port string
	seen atomic.Int64
}

func newTrap(t *testing.T) *trap {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	trap := &trap{port: port}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			trap.seen.Add(1)
			c.Close()
		}
	}()
	return trap
}

// untouched fails when the trap was reached; proof calls it once, to show that it counts.
func (tr *trap) untouched(t *testing.T) {
	t.Helper()
	if n := tr.seen.Load(); n != 0 {
		t.Errorf("the listener saw %d connections", n)
	}
	c, err := net.Dial("tcp", "127.0.0.1:"+tr.port)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	for range 200 {
		if tr.seen.Load() == 1 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Error("the listener does not count")
}

// names is a resolver over a table; each question takes the next answer of its name.
func names(t *testing.T, table map[string][]string) *net.Resolver {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	var mu sync.Mutex
	asked := map[string]int{}
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			name, end := question(buf[:n])
			kind := binary.BigEndian.Uint16(buf[end:])
			list := table[name]
			var ip netip.Addr
			if len(list) > 0 {
				mu.Lock()
				ip = netip.MustParseAddr(list[min(asked[name], len(list)-1)])
				if kind == 1 && ip.Is4() || kind == 28 && !ip.Is4() {
					asked[name]++
				}
				mu.Unlock()
			}
			pc.WriteTo(answer(buf[:end+4], kind, ip), from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", pc.LocalAddr().String())
	}}
}

func question(msg []byte) (name string, end int) {
	at := 12
	for msg[at] != 0 {
		n := int(msg[at])
		name += string(msg[at+1:at+1+n]) + "."
		at += n + 1
	}
	return strings.ToLower(strings.TrimSuffix(name, ".")), at + 1
}

func answer(ask []byte, kind uint16, ip netip.Addr) []byte {
	out := bytes.Clone(ask)
	copy(out[2:], []byte{0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0})
	raw := ip.AsSlice()
	if kind == 1 && len(raw) == 4 || kind == 28 && len(raw) == 16 {
		out[7] = 1
		out = append(out, 0xc0, 12, 0, byte(kind), 0, 1, 0, 0, 0, 0, 0, byte(len(raw)))
		out = append(out, raw...)
	}
	return out
}

func open(t testing.TB, c egress.Config) *egress.Guard {
	t.Helper()
	g, err := egress.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestT72_InnerAddresses: neither an address in any spelling, nor a name that
// leads to one, nor a name that leads elsewhere when it is looked up again,
// brings a packet to an inner address, even when the operator allowed the host.
func TestT72_InnerAddresses(t *testing.T) {
	tr := newTrap(t)
	hosts := []string{"127.0.0.1", "127.9.9.9", "[::1]", "[::]", "0.0.0.0", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[64:ff9b::a9fe:a9fe]", "[2002:7f00::]", "[2002:7f00:1::]",
		"[::7f00:1]", "[fe80::1%25lo]", "[fe80::1]", "[fd00:ec2::254]", "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.100.100.200", "168.63.129.16", "localhost",
		"0", "0x7f.1", "0x7f000001", "127.1", "2130706433", "0177.0.0.1", "127.0.0.1.", "localhost.", "LOCALHOST", "１２７.0.0.1", "127。0。0。1",
		"inner.example.test", "six.example.test", "mapped.example.test", "nat64.example.test", "meta.example.test", "zero.example.test"}
	table := map[string][]string{"inner.example.test": {"127.0.0.1"}, "six.example.test": {"::1"}, "mapped.example.test": {"::ffff:127.0.0.1"}, "nat64.example.test": {"64:ff9b::7f00:1"},
		"meta.example.test": {"169.254.169.254"}, "zero.example.test": {"0.0.0.0"}, "turn.example.test": {"8.8.8.8", "127.0.0.1"}}
	allow := []string{"turn.example.test:" + tr.port}
	for _, h := range hosts { // an operator who allows all of it
		if _, err := egress.New(egress.Config{Allow: []string{h + ":" + tr.port}}); err == nil {
			allow = append(allow, h+":"+tr.port)
		}
	}
	resolver := names(t, table)
	for _, c := range []egress.Config{
		{Allow: allow, Resolver: resolver},
		{Allow: append(allow, "*"), Resolver: resolver, Private: []netip.Prefix{netip.MustParsePrefix("10.99.0.0/16")}},
		{Resolver: resolver},
		{Allow: append(allow, "*"), Resolver: resolver, Private: []netip.Prefix{netip.MustParsePrefix("fd00::/16"), netip.MustParsePrefix("100.100.0.0/16")}},
	} {
		g := open(t, c)
		for _, h := range hosts {
			for _, scheme := range []string{"https", "http"} {
				if _, err := g.Client().Get(scheme + "://" + h + ":" + tr.port + "/keys"); !refusedOrUnreadable(err) {
					t.Errorf("%s://%s: %v", scheme, h, err)
				}
			}
			if _, err := g.Dial(context.Background(), "tcp", strings.ReplaceAll(h, "%25", "%")+":"+tr.port); !egress.IsRefused(err) {
				t.Errorf("dial %s: %v", h, err)
			}
		}
	}
	own := open(t, egress.Config{Allow: allow, Resolver: resolver, Loopback: true}) // loopback by its own names only
	for _, h := range []string{"inner.example.test", "six.example.test", "mapped.example.test", "zero.example.test"} {
		if _, err := own.Dial(context.Background(), "tcp", h+":"+tr.port); !egress.IsRefused(err) {
			t.Errorf("dial %s: %v", h, err)
		}
	}
	turn := "turn.example.test"
	if ips, err := resolver.LookupHost(context.Background(), turn); err != nil || ips[0] != "8.8.8.8" {
		t.Fatalf("the first look at %s: %v, %v", turn, ips, err)
	}
	g := open(t, egress.Config{Allow: allow, Resolver: resolver})
	if err := g.Check("https://" + turn + ":" + tr.port); err != nil {
		t.Errorf("its text is fine: %v", err)
	}
	if _, err := g.Client().Get("https://" + turn + ":" + tr.port); !egress.IsRefused(err) {
		t.Errorf("rebinding: %v", err)
	}
	tr.untouched(t)
}

// refusedOrUnreadable: net/url itself does not read some spellings.
func refusedOrUnreadable(err error) bool {
	return egress.IsRefused(err) || err != nil && (strings.Contains(err.Error(), "invalid") || strings.Contains(err.Error(), "parse "))
}

// TestT72_Redirect: a 302 is refused and not followed, wherever it leads.
func TestT72_Redirect(t *testing.T) {
	tr := newTrap(t)
	for _, status := range []int{301, 302, 303, 307, 308} {
		srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:"+tr.port+"/latest", status)
		}))
		_, err := open(t, local(srv)).Client().Get(srv.URL)
		if !egress.IsRefused(err) || !strings.Contains(err.Error(), "redirect") {
			t.Errorf("%d: %v", status, err)
		}
		srv.Close()
	}
	tr.untouched(t)
}

// local is a configuration that may call a test server.
func local(srv *httptest.Server) egress.Config {
	c := egress.Config{Loopback: true}
	if srv.Certificate() != nil {
		c.Roots = x509.NewCertPool()
		c.Roots.AddCert(srv.Certificate())
	}
	return c
}

// TestT73_ForeignHost: a request cannot claim another host than it goes to.
func TestT73_ForeignHost(t *testing.T) {
	var hosts atomic.Int64
	srv := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hosts.Add(1) }))
	defer srv.Close()
	client := open(t, local(srv)).Client()
	req, _ := http.NewRequest(http.MethodGet, srv.URL, nil)
	req.Host = "inner.example.test"
	if _, err := client.Do(req); !egress.IsRefused(err) || hosts.Load() != 0 {
		t.Errorf("%v, %d requests", err, hosts.Load())
	}
	for _, target := range []string{strings.Replace(srv.URL, "//", "//user:word@", 1), strings.Replace(srv.URL, "127.0.0.1", "127.1", 1)} {
		if _, err := client.Get(target); !egress.IsRefused(err) || hosts.Load() != 0 {
			t.Errorf("%s: %v, %d requests", target, err, hosts.Load())
		}
	}
	if resp, err := client.Get(srv.URL); err != nil || hosts.Load() != 1 {
		t.Error(err)
	} else {
		resp.Body.Close()
	}
}

// TestT74_CredentialsByOrigin: a credential goes to its scheme, host and port and
// to no look-alike.
func TestT74_CredentialsByOrigin(t *testing.T) {
	got := make(chan string, 1)
	handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header.Get("Authorization") })
	mine, other := httptest.NewServer(handler), httptest.NewServer(handler)
	defer mine.Close()
	defer other.Close()
	g := open(t, egress.Config{Loopback: true, Credentials: []egress.Credential{{mine.URL, "Authorization", "Bearer s3cret"}, {"https://tx.org", "Authorization", "Bearer tx"}}})
	twin := strings.Replace(mine.URL, "127.0.0.1", "localhost", 1)
	for target, want := range map[string]string{mine.URL + "/deep/path": "Bearer s3cret", other.URL: "", twin: "", other.URL + "/" + mine.URL: ""} {
		resp, err := g.Client().Get(target)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if have := <-got; have != want {
			t.Errorf("%s got %q", target, have)
		}
	}
	for _, bad := range []egress.Credential{{"http://tx.org", "A", "b"}, {"https://tx.org/path", "A", "b"}, {"https://u@tx.org", "A", "b"}, {"tx.org", "A", "b"}, {"https://tx.org?x", "A", "b"}, {"https://tx.org", "", "b"}, {"https://tx.org", "A", ""}} {
		if _, err := egress.New(egress.Config{Credentials: []egress.Credential{bad}}); err == nil {
			t.Errorf("taken: %v", bad)
		}
	}
	for url, c := range map[string]egress.Config{"http://127.0.0.1:80": {}, "http://tx.org": {Loopback: true}} {
		c.Credentials = []egress.Credential{{url, "A", "b"}}
		if _, err := egress.New(c); err == nil {
			t.Errorf("in plaintext: %s", url)
		}
	}
	secret := egress.Credential{Origin: "https://tx.org", Header: "Authorization", Value: "hunter2"}
	for _, form := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(form, secret) + fmt.Sprintf(form, []egress.Credential{secret}); strings.Contains(text, "hunter2") {
			t.Errorf("%s prints the secret", form)
		}
	}
}

// TestT53_Budgets: too long, too slow and too many answers end in time.
func TestT53_Budgets(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/told":
			w.Header().Set("Content-Length", "10000000000")
			w.Write(make([]byte, 1024))
		case "/endless":
			for r.Context().Err() == nil {
				w.Write(make([]byte, 4096))
			}
		case "/drip":
			for r.Context().Err() == nil {
				w.Write([]byte("x"))
				w.(http.Flusher).Flush()
				time.Sleep(20 * time.Millisecond)
			}
		case "/headers":
			w.Header().Set("X-Long", strings.Repeat("x", 1<<20))
		case "/exact":
			w.Write(make([]byte, 1000))
			w.(http.Flusher).Flush()
		}
	}))
	defer srv.Close()
	g := open(t, egress.Config{Loopback: true, Timeout: 2 * time.Second, MaxBody: 1000, Parallel: 2})
	get := func(path string) ([]byte, error) {
		resp, err := g.Client().Get(srv.URL + path)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		return io.ReadAll(resp.Body)
	}
	if _, err := g.Client().Get(srv.URL + "/told"); !egress.IsRefused(err) {
		t.Errorf("an answer that tells that it is too long: %v", err)
	}
	start := time.Now()
	for path, refused := range map[string]bool{"/told": true, "/endless": true, "/drip": false, "/headers": false} {
		if body, err := get(path); err == nil || egress.IsRefused(err) != refused || len(body) > 1000 {
			t.Errorf("%s: %d octets, %v", path, len(body), err)
		}
	}
	if took := time.Since(start); took > 8*time.Second {
		t.Errorf("took %s", took)
	}
	if body, err := get("/exact"); err != nil || len(body) != 1000 {
		t.Errorf("a body of exactly the bound: %d, %v", len(body), err)
	}
	for range 2 { // never closed: both slots
		if _, err := g.Client().Get(srv.URL + "/drip"); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/exact", nil)
	if _, err := g.Client().Do(req); !errors.Is(err, context.DeadlineExceeded) || egress.IsRefused(err) {
		t.Errorf("a third call at a time: %v", err)
	}
	time.Sleep(2 * time.Second)
	if _, err := get("/exact"); err != nil {
		t.Errorf("slots do not come back: %v", err)
	}
}
