package app_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"candela/cmd/app"
	"candela/store/mongo/mongotest"
)

func TestWrongConfigurationNamesTheKey(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*app.Config)
		key    string
		says   string
	}{
		"public address without authorization": {func(c *app.Config) { c.Listen = "0.0.0.0:8080" }, "auth", "loopback"},
		"all addresses":                        {func(c *app.Config) { c.Listen = ":8080" }, "auth", "loopback"},
		"unknown mode":                         {func(c *app.Config) { c.Auth = "basic" }, "auth", "off"},
		"no port":                              {func(c *app.Config) { c.Listen = "localhost" }, "listen", "host:port"},
		"port in no range":                     {func(c *app.Config) { c.Listen = "127.0.0.1:99999" }, "listen", "port"},
		"store of no kind":                     {func(c *app.Config) { c.Store = "postgres://x" }, "store", "embedded:DIR"},
		"store without folder":                 {func(c *app.Config) { c.Store = "embedded:" }, "store", "embedded:DIR"},
		"store in an impossible place":         {func(c *app.Config) { c.Store = "embedded:/dev/null/x" }, "store", "/dev/null"},
		"mongod that is not there": {func(c *app.Config) {
			c.Store = "mongodb://127.0.0.1:1/x?serverSelectionTimeoutMS=300"
		}, "store", "127.0.0.1:1"},
		"password in a mistyped address": {func(c *app.Config) { c.Store = "mongo://u:secret@h/x" }, "store", "@h"},
		"relative base":                  {func(c *app.Config) { c.Base = "/fhir" }, "base", "absolute"},
		"negative limit":                 {func(c *app.Config) { c.MaxBody = -1 }, "max-body", "greater"},
		"bundle larger than all":         {func(c *app.Config) { c.InFlight = 1 }, "in-flight", "max-bundle"},
		"origin with a path":             {func(c *app.Config) { c.Origins = []string{"https://a.example/x"} }, "origin", "scheme://host"},
		"analytics mode":                 {func(c *app.Config) { c.Analytics = "on" }, "analytics", "follow"},
	} {
		t.Run(name, func(t *testing.T) {
			config := testConfig("embedded:" + t.TempDir())
			c.change(&config)
			s, err := app.Start(context.Background(), config)
			if err == nil {
				t.Fatal("started", s.Stop())
			}
			var key *app.KeyError
			if !errors.As(err, &key) || key.Key != c.key || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v; want --%s saying %q", err, c.key, c.says)
			}
		})
	}
}

func TestOneFolderOneServer(t *testing.T) {
	dir := "embedded:" + t.TempDir()
	start(t, dir)
	_, err := app.Start(context.Background(), testConfig(dir))
	if err == nil || !strings.Contains(err.Error(), "--store") {
		t.Errorf("a second server on one folder: %v", err)
	}
}

func TestHealthReadinessAndMetrics(t *testing.T) {
	onBoth(t, func(t *testing.T, s *app.Server) {
		root := strings.TrimSuffix(s.Base, "/fhir")
		ask(t, s, "GET", "Patient/none", nil)
		for path, want := range map[string]string{
			"/healthz": "ok", "/readyz": "ready", "/": s.Base,
			"/metrics": `candela_requests_total{route="read",status="404"} 1`,
		} {
			got := ask(t, s, "GET", root+path, nil)
			if got.status != 200 || !strings.Contains(string(got.body), want) {
				t.Errorf("%s: %d %.300s", path, got.status, got.body)
			}
		}
	})
}

// TestStoreDownIs503 kills mongod under a running server (R52: transient
// trouble is never 4xx or 500) and brings it back.
func TestStoreDownIs503(t *testing.T) {
	own := mongotest.Own(t)
	s := start(t, own.URI(t))
	if got := ask(t, s, "PUT", "Patient/1", []byte(`{"resourceType":"Patient","id":"1"}`)); got.status != 201 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	own.Kill()
	for _, c := range []struct{ method, path, body string }{
		{"GET", "Patient/1", ""}, {"GET", "Patient?name=x", ""}, {"GET", "_history", ""},
		{"PUT", "Patient/1", `{"resourceType":"Patient","id":"1","active":true}`}, {"POST", "Patient", `{"resourceType":"Patient"}`},
		{"POST", "", `{"resourceType":"Bundle","type":"transaction","entry":[{"resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Patient"}}]}`},
	} {
		got := ask(t, s, c.method, c.path, []byte(c.body))
		if got.status != 503 || !strings.Contains(string(got.body), "OperationOutcome") || got.header.Get("Retry-After") == "" {
			t.Errorf("%s %s: %d %s", c.method, c.path, got.status, got.body)
		}
	}
	ready := ask(t, s, "GET", strings.TrimSuffix(s.Base, "/fhir")+"/readyz", nil)
	if ready.status != 503 {
		t.Errorf("ready while the store is down: %d", ready.status)
	}
	if err := own.Restart(); err != nil {
		t.Fatal(err)
	}
	for try := 0; ; try++ {
		got := ask(t, s, "GET", "Patient/1", nil)
		if got.status == 200 {
			return
		}
		if got.status != 503 || try > 60 {
			t.Fatalf("after the restart: %d %s", got.status, got.body)
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// TestStopDrains holds R51: a request that was accepted is answered, readiness
// is off meanwhile.
func TestStopDrains(t *testing.T) {
	s, err := app.Start(context.Background(), testConfig("embedded:"+t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	body := []byte(`{"resourceType":"Patient","name":[{"family":"` + strings.Repeat("x", 1000) + `"}]}`)
	var group sync.WaitGroup
	answered := make(chan int, 64)
	for range 64 {
		group.Go(func() {
			res, err := http.Post(s.Base+"/Patient", "application/fhir+json", bytes.NewReader(body))
			if err != nil {
				answered <- 0 // never accepted: the listener was closed
				return
			}
			_ = res.Body.Close()
			answered <- res.StatusCode
		})
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	group.Wait()
	close(answered)
	for status := range answered {
		if status != 0 && status != 201 {
			t.Errorf("an accepted request got %d", status)
		}
	}
}

// TestOnlyNamedOriginsMayUseTheAPI keeps web pages that happen to be open
// beside a server without authorization from its data (T100).
func TestOnlyNamedOriginsMayUseTheAPI(t *testing.T) {
	c := testConfig("embedded:" + t.TempDir())
	c.Origins = []string{"https://app.example"}
	s := startWith(t, c)
	for origin, want := range map[string]string{"https://app.example": "https://app.example", "https://app.example.evil": "", "null": ""} {
		req, err := http.NewRequest("GET", s.Base+"/Patient", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", origin)
		if got := do(t, req).header.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("%s is answered %q", origin, got)
		}
	}
}

// TestSlowHeadersAreCut holds R45's slowloris half.
func TestSlowHeadersAreCut(t *testing.T) {
	s := start(t, "embedded:"+t.TempDir())
	host := strings.TrimSuffix(strings.TrimPrefix(s.Base, "http://"), "/fhir")
	conn, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET /healthz HTTP/1.1\r\nHost: localhost\r\n")); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	_ = conn.SetReadDeadline(begun.Add(20 * time.Second))
	buf := make([]byte, 512)
	for err == nil {
		_, err = conn.Read(buf)
	}
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		t.Error("a connection without headers was kept longer than 20 s")
	}
}

// TestRateLimit holds R45: a bucket for each connection's address, which no
// header can change (T78).
func TestRateLimit(t *testing.T) {
	c := testConfig("embedded:" + t.TempDir())
	c.Rate = 5
	s := startWith(t, c)
	refused := 0
	for i := range 30 {
		req, err := http.NewRequest("GET", s.Base+"/metadata", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Forwarded-For", "10.0.0."+string(rune('0'+i%10)))
		got := do(t, req)
		if got.status == 429 {
			refused++
			if got.header.Get("Retry-After") == "" || !strings.Contains(string(got.body), "throttled") {
				t.Errorf("429 without Retry-After or outcome: %s", got.body)
			}
		}
	}
	if refused < 10 {
		t.Errorf("%d of 30 quick requests refused at 5 per second", refused)
	}
}

// TestBaseOfAProxy: the API answers below the path of --base, whatever it is,
// beside the operator's pages, and its links lead there.
func TestBaseOfAProxy(t *testing.T) {
	for _, root := range []string{"", "/r4", "/api/v1/fhir"} {
		c := testConfig("embedded:" + t.TempDir())
		c.Base = "https://fhir.example.org" + root
		s := startWith(t, c)
		here := "http://" + s.Config.Listen + root
		if got := ask(t, s, "PUT", here+"/Patient/a", []byte(`{"resourceType":"Patient","id":"a"}`)); got.status != 201 || got.header.Get("Location") != c.Base+"/Patient/a/_history/1" {
			t.Errorf("%q: %d %v %s", root, got.status, got.header, got.body)
		}
		if got := ask(t, s, "GET", here+"?_type=Patient", nil); got.status != 200 || !strings.Contains(string(got.body), c.Base+"/Patient/a") {
			t.Errorf("%q: search gave %d %s", root, got.status, got.body)
		}
		for _, page := range []string{"/healthz", "/readyz", "/metrics"} {
			if got := ask(t, s, "GET", "http://"+s.Config.Listen+page, nil); got.status != 200 || strings.Contains(string(got.body), "resourceType") {
				t.Errorf("%q: %s gave %d %s", root, page, got.status, got.body)
			}
		}
	}
}

// TestT70_OneCanonicalRoute: what is not the canonical path of a resource is
// none of its paths, and nothing redirects to it.
func TestT70_OneCanonicalRoute(t *testing.T) {
	s := start(t, "embedded:"+t.TempDir())
	if got := ask(t, s, "PUT", "Patient/a", []byte(`{"resourceType":"Patient","id":"a"}`)); got.status != 201 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	for _, path := range []string{"/Patient//a", "//Patient/a", "/Patient/a/", "/Patient/./a", "/Patient/b/../a", "/../fhir/Patient/a", "/%2e/Patient/a"} {
		got := ask(t, s, "GET", s.Base+path, nil)
		if got.status != 404 && got.status != 400 || !strings.Contains(string(got.body), "OperationOutcome") {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
}

// TestRefusedBodiesAreNotAwaited: what a header alone condemns is answered at
// once, not after the body came or its time is over.
func TestRefusedBodiesAreNotAwaited(t *testing.T) {
	s := start(t, "embedded:"+t.TempDir())
	for _, c := range []struct{ header, status string }{
		{"Content-Type: application/fhir+json\r\nContent-Length: 999999999", "413"},
		{"Content-Type: application/fhir+json\r\nContent-Length: 999999999\r\nExpect: 100-continue", "413"},
		{"Content-Type: image/png\r\nContent-Length: 999999", "415"},
	} {
		conn, err := net.Dial("tcp", s.Config.Listen)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(4 * time.Second))
		_, err = conn.Write([]byte("POST /fhir/Basic HTTP/1.1\r\nHost: localhost\r\n" + c.header + "\r\n\r\n"))
		line := make([]byte, 12)
		if err == nil {
			_, err = io.ReadFull(conn, line)
		}
		if err := errors.Join(err, conn.Close()); err != nil || string(line) != "HTTP/1.1 "+c.status {
			t.Errorf("%q: %q, %v", c.header, line, err)
		}
	}
}

// TestLogsHoldNoPatientData holds R46 and T88: unique strings sent in every
// place of a request are found neither in the log nor in the metrics.
func TestLogsHoldNoPatientData(t *testing.T) {
	var log lockedBuffer
	c := testConfig("embedded:" + t.TempDir())
	c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := startWith(t, c)
	const canary = "Kanarienvogel"
	for _, r := range []struct{ method, path, body string }{
		{"POST", "Patient", `{"resourceType":"Patient","name":[{"family":"` + canary + `"}]}`},
		{"POST", "Patient", `{"resourceType":"Patient","` + canary + `":1}`},
		{"POST", "Patient", `{"resourceType":"Patient","birthDate":"` + canary + `"}`},
		{"POST", "Patient", `{"resourceType":"` + canary + `"`},
		{"GET", "Patient?name=" + canary, ""}, {"GET", "Patient?birthdate=" + canary, ""}, {"GET", "Patient/" + canary, ""},
		{"GET", canary, ""}, {"GET", "Patient?_page=" + canary, ""}, {"GET", "Patient?" + canary + "=1", ""},
		{"POST", "", `{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":"POST","url":"` + canary + `"}}]}`},
	} {
		if got := ask(t, s, r.method, r.path, []byte(r.body)); got.status >= 500 {
			t.Errorf("%s %s: %d", r.method, r.path, got.status)
		}
	}
	metrics := ask(t, s, "GET", strings.TrimSuffix(s.Base, "/fhir")+"/metrics", nil)
	if strings.Contains(log.String(), canary) || strings.Contains(string(metrics.body), canary) {
		t.Errorf("patient data in the log or the metrics:\n%s", log.String())
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
