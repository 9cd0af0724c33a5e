package app_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"candela/cmd/app"
)

// raw sends bytes to a server and gives all that comes back, and whether the
// server ended the connection.
func raw(t *testing.T, s *app.Server, text string, wait time.Duration) (answer string, ended bool) {
	t.Helper()
	conn, err := net.Dial("tcp", s.Config.Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(wait))
	_, _ = conn.Write([]byte(text)) // a server that has ended it already is what some tests want
	out, err := io.ReadAll(conn)
	var late net.Error
	return string(out), !(errors.As(err, &late) && late.Timeout())
}

// TestT75_OneRequestIsOneRequest: what a proxy before us could read as two
// requests, or as one that ends elsewhere, is refused, or answered once on a
// connection that then ends. A bare LF and a folded header are read as RFC 9112
// allows: their requests end where anybody sees them end.
func TestT75_OneRequestIsOneRequest(t *testing.T) {
	s := start(t, "embedded:"+t.TempDir())
	const post, hidden = "POST /fhir/Basic HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/fhir+json\r\n", "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
	for name, text := range map[string]string{
		"two lengths":              post + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}" + hidden,
		"a list of lengths":        post + "Content-Length: 2, 3\r\n\r\n{}" + hidden,
		"signed length":            post + "Content-Length: +2\r\n\r\n{}" + hidden,
		"negative length":          post + "Content-Length: -2\r\n\r\n{}" + hidden,
		"length and chunks":        post + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n" + hidden,
		"chunks and length":        post + "Transfer-Encoding: chunked\r\nContent-Length: 999\r\n\r\n0\r\n\r\n" + hidden,
		"chunked and more":         post + "Transfer-Encoding: chunked, x\r\n\r\n0\r\n\r\n" + hidden,
		"more and chunked":         post + "Transfer-Encoding: x, chunked\r\n\r\n0\r\n\r\n" + hidden,
		"chunked twice":            post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
		"chunked with a tab":       post + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + hidden,
		"space before colon":       post + "Transfer-Encoding : chunked\r\nContent-Length: 2\r\n\r\n{}" + hidden,
		"chunks of 1.0":            strings.Replace(post, "1.1", "1.0", 1) + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
		"chunk size of a bare LF":  post + "Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n" + hidden,
		"chunk size that is huge":  post + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}\r\n0\r\n\r\n" + hidden,
		"chunk longer than it is":  post + "Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n" + hidden,
		"two hosts":                "GET /fhir/Basic HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n" + hidden,
		"no host":                  "GET /fhir/Basic HTTP/1.1\r\n\r\n" + hidden,
		"fold first":               "GET /fhir/Basic HTTP/1.1\r\n X: y\r\nHost: localhost\r\n\r\n" + hidden,
		"absolute URI":             "GET http://evil.example/fhir/metadata HTTP/1.1\r\nHost: localhost\r\n\r\n" + hidden,
		"absolute URI of our own":  "GET http://localhost/fhir/metadata HTTP/1.1\r\nHost: evil.example\r\n\r\n" + hidden,
		"CONNECT":                  "CONNECT evil.example:80 HTTP/1.1\r\nHost: evil.example:80\r\n\r\n" + hidden,
		"HTTP/2 that nobody asked": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + hidden,
		"HTTP/0.9":                 "GET /fhir/metadata\r\n\r\n" + hidden,
		"NUL in a header":          "GET /fhir/Basic HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n" + hidden,
		"bare CR in a header":      "GET /fhir/Basic HTTP/1.1\r\nHost: localhost\r\nX: a\rTransfer-Encoding: chunked\r\n\r\n" + hidden,
	} {
		answer, ended := raw(t, s, text, 4*time.Second)
		refused := strings.HasPrefix(answer, "HTTP/1.1 4") || strings.HasPrefix(answer, "HTTP/1.0 4") || strings.HasPrefix(answer, "HTTP/1.1 50") && strings.HasPrefix(answer[9:], "50")
		if !refused || !ended || strings.Count(answer, "HTTP/1.") != 1 || strings.Contains(answer, "smuggled") {
			t.Errorf("%s: ended %v after\n%s", name, ended, answer)
		}
	}
	for name, head := range map[string]string{
		"bare LF":      "GET /healthz HTTP/1.1\nHost: localhost\nConnection: close\n\n",
		"folded value": "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\nConnection: close\r\n\r\n",
	} {
		if answer, ended := raw(t, s, head+hidden, 4*time.Second); !ended || strings.Count(answer, "HTTP/1.1") != 1 {
			t.Errorf("%s: ended %v after\n%s", name, ended, answer)
		}
	}
}

// TestT75_HostIsOurs: without authorization a name that somebody else has lead to
// us (DNS rebinding) is answered with nothing.
func TestT75_HostIsOurs(t *testing.T) {
	c := testConfig("embedded:" + t.TempDir())
	c.Base = "https://fhir.example.org/fhir"
	s := startWith(t, c)
	for host, want := range map[string]int{
		"127.0.0.1": 200, s.Config.Listen: 200, "localhost": 200, "LOCALHOST:80": 200, "localhost.": 200, "[::1]:8080": 200, "[::1]": 200, "127.8.8.8": 200,
		"fhir.example.org": 200, "fhir.example.org:443": 200, "FHIR.example.org": 200,
		"evil.example": 421, "evil.example:80": 421, "localhost.evil.example": 421, "127.0.0.1.evil.example": 421, "fhir.example.org.evil.example": 421,
		"xfhir.example.org": 421, "10.0.0.1": 421, "0.0.0.0": 421, "[::]": 421, "169.254.169.254": 421, "2130706433": 421,
	} {
		for _, path := range []string{"/fhir/Patient", "/fhir/metadata", "/metrics", "/healthz", "/"} {
			req, err := http.NewRequest("GET", "http://"+s.Config.Listen+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = host
			got := do(t, req)
			if got.status != want || want == 421 && !strings.Contains(string(got.body), "OperationOutcome") {
				t.Errorf("Host %s: %s gives %d %.200s, want %d", host, path, got.status, got.body, want)
			}
		}
	}
}

// TestT77_SlowCallers: hundreds that send their headers or bodies a byte at a time,
// or take no answer, are cut off, and the others are answered meanwhile.
func TestT77_SlowCallers(t *testing.T) {
	s := start(t, "embedded:"+t.TempDir())
	var group sync.WaitGroup
	for i := range 300 {
		head := "GET /fhir/Patient HTTP/1.1\r\nHost: localhost\r\n"
		if i%3 == 0 { // slow in the body
			head = "POST /fhir/Patient HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/fhir+json\r\nContent-Length: 100000\r\n\r\n{"
		}
		group.Go(func() { drip(t, s, head) })
	}
	time.Sleep(time.Second) // all of them are there
	var times []time.Duration
	for range 60 {
		begun := time.Now()
		if got := ask(t, s, "GET", strings.TrimSuffix(s.Base, "/fhir")+"/healthz", nil); got.status != 200 {
			t.Errorf("health: %d", got.status)
		}
		times = append(times, time.Since(begun))
	}
	slices.Sort(times)
	if median := times[len(times)/2]; median > 100*time.Millisecond {
		t.Errorf("health took %v among slow callers", median)
	}
	group.Wait()
}

// drip sends a header field a byte at a time, for as long as the server bears it:
// 20 s at most.
func drip(t *testing.T, s *app.Server, head string) {
	conn, err := net.Dial("tcp", s.Config.Listen)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, conn)
	}()
	_, err = conn.Write([]byte(head))
	for begun := time.Now(); err == nil; {
		select {
		case <-ended:
			return
		case <-time.After(500 * time.Millisecond):
			_, err = conn.Write([]byte("x"))
		}
		if time.Since(begun) > 20*time.Second {
			t.Error("a slow caller was borne for 20 s")
			return
		}
	}
}

// TestT77_AnswerNobodyTakes: who asks for much and reads nothing is cut off.
func TestT77_AnswerNobodyTakes(t *testing.T) {
	c := testConfig("embedded:" + t.TempDir())
	c.Timeout = time.Second
	s := startWith(t, c)
	big := []byte(`{"resourceType":"Binary","id":"big","contentType":"text/plain","data":"` + strings.Repeat("AAAA", 2<<20) + `"}`)
	if got := ask(t, s, "PUT", "Binary/big", big); got.status != 201 {
		t.Fatalf("%d %.300s", got.status, got.body)
	}
	conn, err := net.Dial("tcp", s.Config.Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET /fhir/Binary/big HTTP/1.1\r\nHost: localhost\r\nAccept: application/fhir+json\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(4 * time.Second) // twice what the server gives the answer
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, err := io.Copy(io.Discard, conn)
	var late net.Error
	if n >= int64(len(big)) || errors.As(err, &late) && late.Timeout() {
		t.Errorf("%d of %d bytes were kept for a caller that read nothing for 4 s (%v)", n, len(big), err)
	}
}

// TestT65_PackedAndEndlessBodies: what unpacks to a thousand times its size, never
// ends, is packed twice or is not as long as it says is refused, early, on both
// stores; the server takes the next request.
func TestT65_PackedAndEndlessBodies(t *testing.T) {
	bomb := packed(t, []byte(`{"resourceType":"Basic","code":{"text":"`), bytes.Repeat([]byte("a"), 64<<20))
	small := packed(t, []byte(`{"resourceType":"Basic","code":{"text":"x"}}`))
	onBoth(t, func(t *testing.T, s *app.Server) {
		for _, c := range []struct {
			name, coding string
			body         []byte
			want         int
		}{
			{"a thousand times its size", "gzip", bomb, 413}, {"packed twice", "gzip", packed(t, small), 400}, {"packed twice, and says so", "gzip, gzip", packed(t, small), 415},
			{"another coding", "br", small, 415}, {"deflate", "deflate", small, 415}, {"not packed at all", "gzip", []byte(`{"resourceType":"Basic"}`), 400},
			{"cut short", "gzip", small[:len(small)-9], 400}, {"as it should be", "gzip", small, 201},
		} {
			req, err := http.NewRequest("POST", s.Base+"/Basic", bytes.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/fhir+json")
			req.Header.Set("Content-Encoding", c.coding)
			if got := do(t, req); got.status != c.want {
				t.Errorf("%s: %d %.300s, want %d", c.name, got.status, got.body, c.want)
			}
		}
		endless(t, s)
		short := "POST /fhir/Basic HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/fhir+json\r\nContent-Length: 20\r\n\r\n{\"resourceType\":\"Basic\",\"code\":{\"text\":\"x\"}}"
		if answer, _ := raw(t, s, short, 4*time.Second); !strings.HasPrefix(answer, "HTTP/1.1 400") || strings.Contains(answer, "HTTP/1.1 20") {
			t.Errorf("a length that lies: %s", answer)
		}
	})
}

// endless sends chunks until the server answers, which is after 10 MB.
func endless(t *testing.T, s *app.Server) {
	t.Helper()
	conn, err := net.Dial("tcp", s.Config.Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	var sent int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := conn.Write([]byte("POST /fhir/Basic HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/fhir+json\r\nTransfer-Encoding: chunked\r\n\r\n"))
		chunk := []byte(fmt.Sprintf("%x\r\n%s\r\n", 64<<10, bytes.Repeat([]byte(" "), 64<<10)))
		for err == nil && sent < 1<<30 {
			_, err = conn.Write(chunk)
			sent += 64 << 10
		}
	}()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.Contains(line, " 413 ") {
		t.Errorf("a body without end: %q %v", line, err)
	}
	_ = conn.Close()
	<-done
	if sent > 64<<20 {
		t.Errorf("%d bytes of a body without end were taken", sent)
	}
}

func packed(t *testing.T, parts ...[]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	for _, p := range parts {
		if _, err := z.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
