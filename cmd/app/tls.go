package app

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// checkTransport refuses to send data over a network in the clear.
func (c Config) checkTransport() error {
	host, _, err := net.SplitHostPort(c.Listen)
	switch {
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return wrong("tls-cert", "and --tls-key come together")
	case c.TLSCert != "" && c.BehindProxy:
		return wrong("behind-proxy", "says that a proxy ends TLS; leave it out with --tls-cert")
	case err == nil && c.TLSCert == "" && !c.BehindProxy && !loopback(host):
		return wrong("tls-cert", "data would cross the network in the clear from %q; give --tls-cert and --tls-key, "+
			"or --behind-proxy where a proxy on a private network ends TLS", c.Listen)
	}
	return nil
}

// certificate is the pair of files that a listener shows, read again when they
// change.
type certificate struct {
	cert, key string
	log       *slog.Logger
	now       func() time.Time

	mu     sync.Mutex
	pair   *tls.Certificate
	stamp  string    // of the files that pair was read from, or of those that could not be
	looked time.Time // when the files were last looked at
}

// lookEvery is how often the files are looked at.
const lookEvery = time.Second

func newCertificate(c Config) (*certificate, error) {
	out := &certificate{cert: c.TLSCert, key: c.TLSKey, log: c.Log, now: time.Now}
	if err := out.read(); err != nil {
		return nil, wrong("tls-cert", "%v", err)
	}
	return out, nil
}

// read reads the files. It is called with the certificate locked, or alone.
func (c *certificate) read() error {
	c.stamp, c.looked = c.stampNow(), c.now()
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return err
	}
	if c.now().After(pair.Leaf.NotAfter) {
		return fmt.Errorf("%s ended on %s", c.cert, pair.Leaf.NotAfter.Format(time.DateOnly))
	}
	c.pair = &pair
	return nil
}

// stampNow changes when a file does.
func (c *certificate) stampNow() (stamp string) {
	for _, name := range []string{c.cert, c.key} {
		if info, err := os.Stat(name); err == nil {
			stamp += fmt.Sprint(info.ModTime().UnixNano(), info.Size(), " ")
		}
	}
	return stamp
}

// get is the present pair. One that cannot be read leaves the one of before.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now().Sub(c.looked) < lookEvery {
		return c.pair, nil
	}
	if c.looked = c.now(); c.stampNow() == c.stamp {
		return c.pair, nil
	}
	if err := c.read(); err != nil {
		c.log.Error("the new certificate cannot be used; the one of before stays", slog.Any("error", err))
	} else {
		c.log.Info("new certificate", slog.Time("ends", c.pair.Leaf.NotAfter))
	}
	return c.pair, nil
}

// config is TLS 1.2 or later, and of 1.2 only what authenticates what it encrypts
// and keeps the past secret.
func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: c.get,
		NextProtos:     []string{"h2", "http/1.1"},
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
	}
}

// secured prepares the listener's server for TLS where that is configured.
func (s *Server) secured() error {
	if s.Config.TLSCert == "" {
		return nil
	}
	cert, err := newCertificate(s.Config)
	if err != nil {
		return err
	}
	s.http.TLSConfig = cert.config()
	next := s.http.Handler
	s.http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Strict-Transport-Security", "max-age=63072000")
		next.ServeHTTP(w, r)
	})
	return nil
}
