package app_test

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"candela/cmd/app"
)

// frame is one of HTTP/2 (RFC 9113, 4.1).
func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	out := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return append(binary.BigEndian.AppendUint32(out, stream), payload...)
}

const (
	kindHeaders, kindReset, kindSettings, kindPing, kindContinuation = 1, 3, 4, 6, 9
	endStream, endHeaders                                            = 1, 4
)

// request is the header block of GET https://localhost/metadata (RFC 7541).
func request() []byte {
	return append([]byte{0x82, 0x87, 0x01, 9}, "localhost\x04\x0e/fhir/metadata"...)
}

// TestT76_FloodsOverHTTP2: streams that are opened and reset, headers that never end
// and pings without end close their connection; headers that unpack to much are
// refused one by one; others are answered meanwhile.
func TestT76_FloodsOverHTTP2(t *testing.T) {
	dir, ca := t.TempDir(), newAuthority(t)
	c := testConfig("embedded:" + t.TempDir())
	c.TLSCert, c.TLSKey = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	ca.issue(t, 2, time.Now().Add(time.Hour), c.TLSCert, c.TLSKey)
	s := startWith(t, c)
	const bomb = "headers that unpack to much"
	for name, attack := range map[string]func(n uint32) []byte{
		"streams opened and reset": func(n uint32) []byte {
			return append(frame(kindHeaders, endStream|endHeaders, 2*n+1, request()), frame(kindReset, 0, 2*n+1, []byte{0, 0, 0, 8})...)
		},
		"headers without end": func(n uint32) []byte {
			if n == 0 {
				return frame(kindHeaders, endStream, 1, request())
			}
			return frame(kindContinuation, 0, 1, append([]byte{0, 1, 'x', 0x7f, 0x81, 0x7c}, strings.Repeat("y", 16000)...))
		},
		bomb: func(n uint32) []byte {
			if n == 0 { // one of 4,000 bytes goes into the table
				return frame(kindHeaders, endStream|endHeaders, 1, append(append(request(), 0x40, 1, 'x', 0x7f, 0xa1, 0x1e), strings.Repeat("y", 4000)...))
			}
			return frame(kindHeaders, endStream|endHeaders, 2*n+1, append(request(), slices.Repeat([]byte{0xbe}, 16000)...))
		},
		"pings whose answers nobody takes": func(uint32) []byte { return frame(kindPing, 0, 0, make([]byte, 8)) },
	} {
		t.Run(name, func(t *testing.T) {
			stands, done := false, make(chan struct{})
			go func() {
				defer close(done)
				stands = flood(t, s, &tls.Config{RootCAs: ca.pool, NextProtos: []string{"h2"}}, attack)
			}()
			client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.pool}}}
			var times []time.Duration
			for {
				select {
				case <-done:
					slices.Sort(times)
					if len(times) > 0 && times[len(times)/2] > 200*time.Millisecond {
						t.Errorf("others waited %v", times[len(times)/2])
					}
					if stands && name != bomb {
						t.Error("the connection stands")
					}
					return
				default:
				}
				begun := time.Now()
				res, err := client.Get(strings.TrimSuffix(s.Base, "/fhir") + "/healthz")
				if err != nil {
					t.Error(err)
					continue
				}
				_ = res.Body.Close()
				times = append(times, time.Since(begun))
			}
		})
	}
}

// flood opens a connection, sends for as long as the server takes it, and says
// whether the connection stands after 8 s.
func flood(t *testing.T, s *app.Server, config *tls.Config, attack func(n uint32) []byte) (stands bool) {
	conn, err := tls.Dial("tcp", s.Config.Listen, config)
	if err != nil {
		t.Error(err)
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(8 * time.Second))
	_, err = fmt.Fprint(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", string(frame(kindSettings, 0, 0, nil)))
	for n := uint32(0); err == nil; n++ {
		_, err = conn.Write(attack(n))
	}
	var late net.Error
	return errors.As(err, &late) && late.Timeout()
}
