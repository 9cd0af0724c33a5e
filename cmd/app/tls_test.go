package app_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"candela/cmd/app"
)

// authority signs certificates for 127.0.0.1.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, pool: x509.NewCertPool()}
	form := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, form, form, &key.PublicKey, key)
	if err == nil {
		a.cert, err = x509.ParseCertificate(der)
	}
	if err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(a.cert)
	return a
}

// issue writes a certificate and its key.
func (a *authority) issue(t *testing.T, serial int64, ends time.Time, cert, key string) {
	t.Helper()
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: ends, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, form, a.cert, &own.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(own)
	err = errors.Join(err,
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), 0o600),
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	if err != nil {
		t.Fatal(err)
	}
}

// TestT99_TransportIsSafe: old versions and suites fail, a new certificate is
// taken up, a bad one is not, and data never crosses a network in the clear (R41).
func TestT99_TransportIsSafe(t *testing.T) {
	dir, ca := t.TempDir(), newAuthority(t)
	c := testConfig("embedded:" + t.TempDir())
	c.TLSCert, c.TLSKey = filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	ca.issue(t, 10, time.Now().Add(time.Hour), c.TLSCert, c.TLSKey)
	s := startWith(t, c)
	if !strings.HasPrefix(s.Base, "https://127.0.0.1:") {
		t.Errorf("base %s", s.Base)
	}
	address := strings.TrimSuffix(strings.TrimPrefix(s.Base, "https://"), "/fhir")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.pool}, ForceAttemptHTTP2: true, DisableKeepAlives: true}}
	get := func() (*http.Response, error) {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, s.Base+"/metadata", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
		return res, err
	}
	res, err := get()
	if err != nil || res.StatusCode != 200 || res.ProtoMajor != 2 || !strings.Contains(res.Header.Get("Strict-Transport-Security"), "max-age=") {
		t.Fatalf("%v %v", res, err)
	}
	for name, bad := range map[string]*tls.Config{
		"TLS 1.0":     {MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10},
		"TLS 1.1":     {MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
		"CBC":         {MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256}},
		"RSA":         {MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}},
		"an old peer": {RootCAs: x509.NewCertPool()},
	} {
		if bad.RootCAs == nil {
			bad.RootCAs = ca.pool
		}
		if err := handshake(t, address, bad); err == nil {
			t.Errorf("%s: the handshake succeeds", name)
		}
	}
	if err := handshake(t, address, &tls.Config{RootCAs: ca.pool, MaxVersion: tls.VersionTLS12}); err != nil {
		t.Errorf("TLS 1.2: %v", err)
	}
	req, _ := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+address+"/fhir/metadata", nil)
	if res, err := http.DefaultClient.Do(req); err == nil {
		_ = res.Body.Close()
		if res.StatusCode != 400 {
			t.Errorf("plain HTTP gives %d", res.StatusCode)
		}
	}
	changes(t, &c, ca, get)
}

// changes writes other certificates under a running server.
func changes(t *testing.T, c *app.Config, ca *authority, get func() (*http.Response, error)) {
	t.Helper()
	shown := func(serial int64, within time.Duration) bool {
		for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			res, err := get()
			if err != nil {
				t.Fatal("a change of the certificate failed a request:", err)
			}
			if res.TLS.PeerCertificates[0].SerialNumber.Int64() == serial {
				return true
			}
		}
		return false
	}
	ca.issue(t, 11, time.Now().Add(time.Hour), c.TLSCert, c.TLSKey)
	if !shown(11, 5*time.Second) {
		t.Error("the new certificate is not taken up")
	}
	ca.issue(t, 12, time.Now().Add(-time.Hour), c.TLSCert, c.TLSKey)
	if shown(12, 1500*time.Millisecond) {
		t.Error("a certificate that has ended is shown")
	}
	if err := os.WriteFile(c.TLSCert, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !shown(11, 2*time.Second) {
		t.Error("the certificate of before does not stay")
	}
	if _, err := app.Start(context.Background(), *c); err == nil {
		t.Error("a server starts with a bad certificate")
	}
}

func handshake(t *testing.T, address string, c *tls.Config) error {
	t.Helper()
	conn, err := (&tls.Dialer{Config: c}).DialContext(context.Background(), "tcp", address)
	if err == nil {
		_ = conn.Close()
	}
	return err
}

func TestT99_PlainTextIsRefusedOnAPublicAddress(t *testing.T) {
	for _, at := range []string{"0.0.0.0:80", ":80", "192.0.2.1:80", "[::]:80", "ehr.example.org:80"} {
		c := app.Config{Listen: at}
		var key *app.KeyError
		if err := app.CheckTransport(c); !errors.As(err, &key) || key.Key != "tls-cert" {
			t.Errorf("%s: %v", at, err)
		}
		if c.BehindProxy = true; app.CheckTransport(c) != nil {
			t.Errorf("%s behind a proxy is refused", at)
		}
		if c.TLSCert, c.TLSKey = "a", "b"; app.CheckTransport(c) == nil {
			t.Error("TLS and a proxy that ends it")
		}
		if c.BehindProxy = false; app.CheckTransport(c) != nil {
			t.Errorf("%s with TLS is refused", at)
		}
		if c.TLSKey = ""; app.CheckTransport(c) == nil {
			t.Error("a certificate without a key")
		}
	}
	for _, at := range []string{"127.0.0.1:80", "localhost:80", "[::1]:80"} {
		if err := app.CheckTransport(app.Config{Listen: at}); err != nil {
			t.Errorf("%s: %v", at, err)
		}
	}
	c := testConfig("embedded:" + t.TempDir())
	c.Listen = "0.0.0.0:0"
	if _, err := app.Start(context.Background(), c); err == nil {
		t.Error("a server starts in the clear on all addresses")
	}
}
