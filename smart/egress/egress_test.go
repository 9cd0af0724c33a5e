package egress_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"candela/smart/egress"
)

// TestR44_Addresses: the table by the edges of every network in it.
func TestR44_Addresses(t *testing.T) {
	for _, inner := range strings.Fields(`0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.1 127.255.255.255 168.63.129.16
		169.254.0.0 169.254.169.254 169.254.255.255 172.16.0.0 172.31.255.255 192.0.0.0 192.0.0.192 192.0.0.255 192.0.2.1 192.31.196.1 192.52.193.1 192.88.99.1
		192.168.0.0 192.168.255.255 192.175.48.1 198.18.0.0 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.0 239.255.255.255 240.0.0.0 255.255.255.255
		:: ::1 ::7f00:1 ::808:808 ::ffff:127.0.0.1 ::ffff:10.0.0.1 64:ff9b::7f00:1 64:ff9b::a00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::808:808 64:ff9b:0:1::808:808 100::1
		2001::1 2001:2::1 2001:10::1 2001:20::1 2001:1ff:ffff::1 2001:db8::1 2002::1 2002:7f00:1:: 2002:808:808:: 3fff::1 3fff:fff::1 4000::1 5f00::1
		fc00::1 fd00:ec2::254 fdff::1 fe80::1 febf::1 fec0::1 ff02::1 ff0e::1`) {
		if egress.Public(netip.MustParseAddr(inner)) {
			t.Errorf("%s counts as public", inner)
		}
	}
	for _, public := range strings.Fields(`1.0.0.0 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0
		191.255.255.255 192.0.1.0 192.0.3.0 192.31.195.1 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 198.51.99.1 198.51.101.1 203.0.112.1 203.0.114.1 203.1.113.1 223.255.255.255
		::ffff:8.8.8.8 64:ff9b::808:808 2001:200::1 2001:4860:4860::8888 2001:db7::1 2001:db9::1 2003::1 2606:4700::1111 2a00:1450::1 3fff:1000::1`) {
		if !egress.Public(netip.MustParseAddr(public)) {
			t.Errorf("%s counts as inner", public)
		}
	}
	if egress.Public(netip.Addr{}) || egress.Public(netip.MustParseAddr("2606:4700::1%eth0")) {
		t.Error("no address, or one with a zone, counts as public")
	}
}

// TestR44_Check: what the text of a URL tells.
func TestR44_Check(t *testing.T) {
	named := egress.Config{Allow: []string{"a.example.org", "b.example.org:8443", "*.sub.example.org", "9.9.9.9", "10.1.2.3", "[2606:4700::1111]:8443"}, Private: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}
	anyone := egress.Config{Allow: []string{"*"}}
	here := egress.Config{Loopback: true}
	for _, one := range []struct {
		c      egress.Config
		target string
		ok     bool
	}{
		{named, "https://a.example.org/x?y=z", true},
		{named, "https://a.example.org:443", true},
		{named, "https://a.example.org:444", false},
		{named, "http://a.example.org", false},
		{named, "https://b.example.org", false},
		{named, "https://b.example.org:8443", true},
		{named, "https://x.sub.example.org", true},
		{named, "https://x.y.sub.example.org", true},
		{named, "https://sub.example.org", false},
		{named, "https://xsub.example.org", false},
		{named, "https://a.example.org.evil", false},
		{named, "https://a.example.org.", false},
		{named, "https://A.example.org", false},
		{named, "https://evil-a.example.org", false},
		{named, "https://user@a.example.org", false},
		{named, "https://a.example.org@evil.example", false},
		{named, "https://9.9.9.9", true},
		{named, "https://10.1.2.3", true},
		{named, "https://[2606:4700::1111]:8443", true},
		{named, "https://127.0.0.1", false},
		{named, "ftp://a.example.org", false},
		{named, "//a.example.org", false},
		{named, "https:a.example.org", false},
		{named, "https:///x", false},
		{named, "", false},
		{named, "https://a.example.org:x", false},
		{anyone, "https://any.example", true},
		{anyone, "https://any.example:8443", false},
		{anyone, "http://any.example", false},
		{anyone, "https://10.1.2.3", false},
		{anyone, "https://localhost", true}, // a name as any other; its address is refused at connect
		{egress.Config{Allow: []string{"*"}, Private: named.Private}, "https://10.1.2.3", false},
		{here, "http://127.0.0.1:8080", true},
		{here, "http://localhost:8080", true},
		{here, "http://[::1]:8080", true},
		{here, "http://10.0.0.1:8080", false},
		{here, "https://any.example", false},
		{here, "http://[::1%25lo]:8080", false},
		{egress.Config{Loopback: true, Allow: []string{"a.example.org:80"}}, "http://a.example.org", false},
		{egress.Config{Loopback: true, Allow: []string{"a.example.org:80"}}, "https://a.example.org:80", true},
		{egress.Config{Allow: []string{"localhost:80"}}, "http://localhost", false},
		{egress.Config{}, "https://localhost", false},
		{anyone, "https://Any.example", false},
		{anyone, "https://any.example.", false},
		{anyone, "https://[2606:4700:0:0:0:0:0:1111]", false},
		{anyone, "https://[2606:4700::1111]", true},
		{egress.Config{}, "https://any.example", false},
	} {
		if err := open(t, one.c).Check(one.target); (err == nil) != one.ok || err != nil && !egress.IsRefused(err) {
			t.Errorf("%v %s: %v", one.c.Allow, one.target, err)
		}
	}
}

func TestConfigRefused(t *testing.T) {
	for _, bad := range []string{"", "https://a.example", "a.example/", "*.", "*.1", "*.10.0.0.1", "a.*.example", "*a.example", "A.example", "a.example.", "a..example", "a.example:0", "a.example:x", "a.example:70000", "0x7f.1", "127.1", "*:443", "a b"} {
		if _, err := egress.New(egress.Config{Allow: []string{bad}}); err == nil {
			t.Errorf("allowed: %q", bad)
		}
	}
	for _, bad := range []string{"0.0.0.0/0", "127.0.0.0/8", "169.254.0.0/16", "8.0.0.0/8", "10.0.0.0/7", "::/0", "fe80::/10", "fc00::/6"} {
		if _, err := egress.New(egress.Config{Private: []netip.Prefix{netip.MustParsePrefix(bad)}}); err == nil {
			t.Errorf("opened: %s", bad)
		}
	}
}

// TestPrivate: a network that the operator opened is connected to for a host
// named in Allow, and for no other.
func TestPrivate(t *testing.T) {
	resolver := names(t, map[string][]string{"idp.example.test": {"10.255.255.254"}, "other.example.test": {"10.255.255.254"}})
	g := open(t, egress.Config{Allow: []string{"*", "idp.example.test"}, Private: []netip.Prefix{netip.MustParsePrefix("10.255.255.0/24")}, Resolver: resolver})
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // the question is whether it is refused, not whether somebody is there
	if c, err := g.Dial(ctx, "tcp", "idp.example.test:443"); egress.IsRefused(err) {
		t.Errorf("named: %v", err)
	} else if c != nil {
		c.Close()
	}
	if _, err := g.Dial(context.Background(), "tcp", "other.example.test:443"); !egress.IsRefused(err) {
		t.Errorf("by *: %v", err)
	}
	for _, target := range []string{"idp.example.test:80", "idp.example.test", "nobody.example.test:80"} {
		if _, err := g.Dial(context.Background(), "tcp", target); !egress.IsRefused(err) {
			t.Errorf("%s: %v", target, err)
		}
	}
	if _, err := g.Dial(context.Background(), "udp", "idp.example.test:443"); !egress.IsRefused(err) {
		t.Errorf("udp: %v", err)
	}
}

// TestTrouble: a host that does not answer is trouble of the moment, not a refusal.
func TestTrouble(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	if _, err := open(t, egress.Config{Loopback: true}).Client().Get("http://" + address); err == nil || egress.IsRefused(err) {
		t.Errorf("nobody listens: %v", err)
	}
	g := open(t, egress.Config{Allow: []string{"gone.example.test"}, Resolver: names(t, nil)})
	if _, err := g.Client().Get("https://gone.example.test"); err == nil || egress.IsRefused(err) {
		t.Errorf("no such name: %v", err)
	}
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	defer srv.Close()
	c := local(srv)
	c.Roots = nil
	if _, err := open(t, c).Client().Get(srv.URL); err == nil || egress.IsRefused(err) {
		t.Errorf("a certificate of nobody: %v", err)
	}
}

func TestRead(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte("0123456789"))
		if r.URL.Path == "/unknown" {
			w.(http.Flusher).Flush()
		}
	}))
	defer srv.Close()
	client := open(t, local(srv)).Client()
	for _, path := range []string{"/known", "/unknown"} {
		for most, ok := range map[int64]bool{9: false, 10: true, 11: true} {
			resp, err := client.Get(srv.URL + path)
			if err != nil {
				t.Fatal(err)
			}
			body, err := egress.Read(resp, most)
			if ok != (err == nil && string(body) == "0123456789") || !ok && !egress.IsRefused(err) {
				t.Errorf("%s of %d: %q, %v", path, most, body, err)
			}
			if _, err := resp.Body.Read(make([]byte, 1)); err == nil || err == io.EOF && !ok {
				t.Errorf("%s of %d: the body is still open: %v", path, most, err)
			}
		}
	}
}

// FuzzCheck: no URL that Check passes is other than https to an allowed host.
func FuzzCheck(f *testing.F) {
	for _, seed := range []string{"https://a.example.org/x", "https://a.example.org@evil", "http://a.example.org", "https://[::1%25lo]", "https://a.example.org:443:1", "https://a.example.org\\@evil"} {
		f.Add(seed)
	}
	g, err := egress.New(egress.Config{Allow: []string{"a.example.org"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, target string) {
		if g.Check(target) != nil {
			return
		}
		req, err := http.NewRequest(http.MethodGet, target, nil)
		if err != nil || req.URL.Scheme != "https" || req.URL.Hostname() != "a.example.org" || req.URL.User != nil {
			t.Fatalf("%q passes", target)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	g := open(b, egress.Config{Allow: []string{"*.example.org"}})
	b.ReportAllocs()
	for b.Loop() {
		if err := g.Check("https://keys.example.org/jwks.json"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPublic(b *testing.B) {
	four, six := netip.MustParseAddr("192.31.195.1"), netip.MustParseAddr("2a00:1450::1")
	b.ReportAllocs()
	for b.Loop() {
		if !egress.Public(four) || !egress.Public(six) {
			b.Fatal("inner")
		}
	}
}
