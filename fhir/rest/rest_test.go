package rest_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"candela/fhir"
	"candela/fhir/rest"
)

const patient = `{"resourceType":"Patient","id":"1","multipleBirthInteger":1,"extension":[{"url":"x","valueDecimal":1.00}]}`

// echo keeps the last request and answers with what it is told.
type echo struct {
	last   fhir.Request
	answer fhir.Response
	err    error
	panics string
}

func (e *echo) Do(ctx context.Context, r fhir.Request) (fhir.Response, error) {
	e.last = r
	if e.panics != "" {
		panic(e.panics)
	}
	if e.answer.Status == 0 && e.err == nil {
		return fhir.Response{Status: 200, Resource: fhir.Stored([]byte(patient)), ETag: "3", LastModified: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)}, nil
	}
	return e.answer, e.err
}

type setup struct {
	*echo
	http.Handler
	log bytes.Buffer
	saw []string
}

func open(t *testing.T, change func(*rest.Config)) *setup {
	t.Helper()
	s := &setup{echo: &echo{}}
	c := rest.Config{
		Doer: s.echo, Base: "http://us.example/fhir", NewID: func() string { return "made" },
		Caller:  func(*http.Request) (fhir.Caller, error) { return fhir.Caller{Access: fhir.Full()}, nil },
		Log:     slog.New(slog.NewTextHandler(&s.log, nil)),
		Observe: func(route string, status int, _ time.Duration) { s.saw = append(s.saw, route) },
	}
	if change != nil {
		change(&c)
	}
	h, err := rest.New(c)
	if err != nil {
		t.Fatal(err)
	}
	s.Handler = h
	return s
}

// call sends one request; headers are "Name: value".
func (s *setup) call(method, url, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, url, strings.NewReader(body))
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

const fhirJSON = "Content-Type: application/fhir+json"

func TestAnswerHeaders(t *testing.T) {
	s := open(t, nil)
	w := s.call("GET", "/fhir/Patient/1", "", "X-Request-Id: abc-1")
	for name, want := range map[string]string{
		"ETag": `W/"3"`, "Last-Modified": "Fri, 02 Jan 2026 03:04:05 GMT", "Content-Type": "application/fhir+json; charset=utf-8", "X-Request-Id": "abc-1",
		"Cache-Control": "no-store",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if w.Code != 200 || w.Body.String() != patient {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if head := s.call("HEAD", "/fhir/Patient/1", ""); head.Body.Len() != 0 || head.Header().Get("ETag") != `W/"3"` || !s.last.Head {
		t.Errorf("HEAD: body %q, ETag %q", head.Body, head.Header().Get("ETag"))
	}
	if s.last.Base != "http://us.example/fhir" {
		t.Errorf("base is %q", s.last.Base)
	}
	s.answer = fhir.Response{Status: 201, Location: "Patient/9/_history/1"}
	w = s.call("POST", "/fhir/Patient", patient, fhirJSON, "Host: evil", "X-Forwarded-Host: evil", "X-Forwarded-For: 1.2.3.4")
	if got := w.Header().Get("Location"); got != "http://us.example/fhir/Patient/9/_history/1" {
		t.Errorf("T73: Location is %q", got)
	}
	if len(s.saw) != 3 || s.saw[0] != "read" || s.saw[2] != "create" {
		t.Errorf("observed %v", s.saw)
	}
}

func TestRequestIDs(t *testing.T) {
	s := open(t, nil)
	for _, bad := range []string{"", strings.Repeat("a", 129), "a\x1b[31m", "a b", "ä"} {
		if got := s.call("GET", "/fhir/Patient/1", "", "X-Request-Id: "+bad).Header().Get("X-Request-Id"); got != "made" {
			t.Errorf("id %q became %q", bad, got)
		}
	}
}

func TestFhir12_13_Negotiation(t *testing.T) {
	s := open(t, nil)
	for _, c := range []struct {
		url, accept string
		status      int
	}{
		{"", "", 200}, {"", "*/*", 200}, {"", "application/fhir+json", 200}, {"", "application/json", 200}, {"", "text/html, */*;q=0.1", 200},
		{"", "application/fhir+xml", 406}, {"", "text/html", 406}, {"", "application/fhir+json;q=0", 406}, {"", "application/fhir+xml, application/fhir+json;q=0.5", 200},
		{"?_format=json", "application/fhir+xml", 200}, {"?_format=xml", "application/fhir+json", 406}, {"?_format=application/fhir+json", "", 200},
		{"?_format=application/fhir%2Bjson", "", 200}, {"?_format=garbage/", "", 406},
		{"", "application/fhir+json; fhirVersion=4.0", 200}, {"", "application/fhir+json; fhirVersion=3.0", 406}, {"", "application/fhir+json; fhirVersion=5.0", 406},
		{"?_format=application/fhir%2Bjson;fhirVersion=3.0", "", 406},
	} {
		w := s.call("GET", "/fhir/Patient/1"+c.url, "", "Accept: "+c.accept)
		if w.Code != c.status {
			t.Errorf("%q Accept %q: %d, want %d", c.url, c.accept, w.Code, c.status)
		}
		if c.status == 406 && !strings.Contains(w.Body.String(), `"resourceType":"OperationOutcome"`) {
			t.Errorf("406 without OperationOutcome: %s", w.Body)
		}
	}
	if got := s.call("GET", "/fhir/Patient/1", "", "Accept: application/fhir+json; fhirVersion=4.0").Header().Get("Content-Type"); !strings.Contains(got, "fhirVersion=4.0") {
		t.Errorf("the named version is not named back: %q", got)
	}
	for kind, status := range map[string]int{
		"application/fhir+json": 200, "application/json": 200, "application/fhir+json; charset=UTF-8": 200, "application/fhir+json; fhirVersion=4.0": 200,
		"application/fhir+json; fhirVersion=3.0": 415, "application/fhir+xml": 415, "text/plain": 415, "": 415, "application/fhir+json; charset=utf-16": 415, "application/x-www-form-urlencoded": 415,
	} {
		if w := s.call("PUT", "/fhir/Patient/1", patient, "Content-Type: "+kind); w.Code != status {
			t.Errorf("Content-Type %q: %d, want %d", kind, w.Code, status)
		}
	}
}

func TestHeadersIntoRequest(t *testing.T) {
	s := open(t, nil)
	s.call("PUT", "/fhir/Patient?identifier=a%7Cb&_pretty=true&x=+", patient, fhirJSON, `If-Match: W/"2"`, "If-None-Match: *", "If-None-Exist: identifier=1",
		"If-Modified-Since: Fri, 02 Jan 2026 03:04:05 GMT", "Prefer: return=OperationOutcome; handling=lenient", "Prefer: return=minimal")
	r := s.last
	if r.Interaction != fhir.Update || r.ID != "" || r.Query.Encode() != "identifier=a%7Cb&x=+" || r.IfMatch != `W/"2"` || r.IfNoneMatch != "*" || r.IfNoneExist != "identifier=1" ||
		r.IfModifiedSince.Year() != 2026 || r.Prefer != (fhir.Prefer{Return: "OperationOutcome", Handling: "lenient"}) {
		t.Errorf("got %+v", r)
	}
	if string(r.Resource.Raw()) != patient {
		t.Errorf("the body became %s", r.Resource.Raw())
	}
}

func TestPostSearchMergesForm(t *testing.T) {
	s := open(t, nil)
	w := s.call("POST", "/fhir/Patient/_search?name=a", "name=b&_format=json&birthdate=ge2000", "Content-Type: application/x-www-form-urlencoded", "Accept: text/html")
	if w.Code == 200 {
		t.Errorf("Accept is judged before the form: got %d", w.Code)
	}
	w = s.call("POST", "/fhir/Patient/_search?name=a", "name=b&_format=json&birthdate=ge2000", "Content-Type: application/x-www-form-urlencoded; charset=utf-8")
	if w.Code != 200 || s.last.Interaction != fhir.SearchType || s.last.Query.Encode() != "name=a&name=b&birthdate=ge2000" {
		t.Errorf("got %d %s %s", w.Code, s.last.Interaction, s.last.Query.Encode())
	}
	if w := s.call("POST", "/fhir/Patient/_search", "{}", fhirJSON); w.Code != 415 {
		t.Errorf("JSON to _search: %d", w.Code)
	}
}

func TestT64_T65_T66_BadBodies(t *testing.T) {
	s := open(t, func(c *rest.Config) { c.Resource = fhir.Limits{Bytes: 100 << 10} })
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write([]byte(`{"resourceType":"Patient","x":"`))
	_, _ = z.Write(bytes.Repeat([]byte("a"), 10<<20))
	_ = z.Close()
	for _, c := range []struct {
		name, body string
		status     int
		headers    []string
	}{
		{"malformed", `{"resourceType":"Patient",`, 400, nil}, {"empty", ``, 400, nil}, {"array", `[]`, 400, nil}, {"no type", `{"id":"1"}`, 400, nil}, {"two values", patient + patient, 400, nil},
		{"duplicate key", `{"resourceType":"Patient","id":"1","id":"2"}`, 400, nil}, {"type twins", `{"resourceType":"Patient","RESOURCETYPE":"Group"}`, 400, nil},
		{"bad UTF-8", "{\"resourceType\":\"Patient\",\"id\":\"\xff\"}", 400, nil}, {"BOM", "\xef\xbb\xbf" + patient, 400, nil}, {"UTF-16", "{\x00\"\x00", 400, nil},
		{"deep", `{"resourceType":"Patient","x":` + strings.Repeat("[", 10000) + strings.Repeat("]", 10000) + `}`, 413, nil},
		{"huge", `{"resourceType":"Patient","x":"` + strings.Repeat("a", 200<<10) + `"}`, 413, nil},
		{"gzip bomb", bomb.String(), 413, []string{"Content-Encoding: gzip"}}, {"no gzip", patient, 400, []string{"Content-Encoding: gzip"}},
		{"nested codings", bomb.String(), 415, []string{"Content-Encoding: gzip, gzip"}}, {"brotli", patient, 415, []string{"Content-Encoding: br"}},
	} {
		w := s.call("POST", "/fhir/Patient", c.body, append(c.headers, fhirJSON)...)
		if w.Code != c.status || !strings.Contains(w.Body.String(), `"OperationOutcome"`) {
			t.Errorf("%s: %d %s, want %d", c.name, w.Code, w.Body, c.status)
		}
	}
	if s.last.Interaction != "" {
		t.Error("a bad body reached the engine")
	}
}

func TestGzipBothWays(t *testing.T) {
	s := open(t, nil)
	big := `{"resourceType":"Patient","id":"1","x":"` + strings.Repeat("abc ", 2000) + `"}`
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = io.WriteString(z, big)
	_ = z.Close()
	s.answer = fhir.Response{Status: 200, Body: []byte(big)}
	w := s.call("PUT", "/fhir/Patient/1", packed.String(), fhirJSON, "Content-Encoding: gzip", "Accept-Encoding: deflate, gzip")
	if string(s.last.Resource.Raw()) != big {
		t.Error("the packed body did not come through")
	}
	u, err := gzip.NewReader(w.Body)
	if err != nil || w.Header().Get("Content-Encoding") != "gzip" {
		t.Fatalf("answer is not packed: %v", err)
	}
	if got, _ := io.ReadAll(u); string(got) != big {
		t.Error("the packed answer differs")
	}
	if w := s.call("PUT", "/fhir/Patient/1", big, fhirJSON, "Accept-Encoding: gzip;q=0"); w.Body.String() != big {
		t.Error("packed against the caller's will")
	}
}

func TestPrettyKeepsLiterals(t *testing.T) {
	s := open(t, nil)
	got := s.call("GET", "/fhir/Patient/1?_pretty=true", "").Body.String()
	if !strings.Contains(got, "\n  \"id\": \"1\"") || !strings.Contains(got, "1.00") {
		t.Errorf("got %s", got)
	}
}

func TestFhir14_ErrorsHaveOutcomes(t *testing.T) {
	s := open(t, nil)
	for _, c := range []struct {
		method, url string
		status      int
	}{
		{"GET", "/fhir/Patient/1/", 404}, {"GET", "/fhir/Patient//1", 404}, {"GET", "/fhir/a/b/c/d/e/f", 404}, {"GET", "/elsewhere", 404}, {"GET", "/fhirs", 404},
		{"GET", "/fhir/Patient/..%2fx", 400}, {"GET", "/fhir/Patient/%00", 400}, {"POST", "/fhir/Patient/1", 405}, {"TRACE", "/fhir/Patient", 405}, {"GET", "/fhir/Patient?a=%zz", 400},
		{"GET", "/fhir/Patient?a=" + strings.Repeat("x", 17<<10), 414},
	} {
		w := s.call(c.method, c.url, "", fhirJSON)
		if w.Code != c.status || !strings.Contains(w.Body.String(), `"OperationOutcome"`) {
			t.Errorf("%s %.40s: %d %s, want %d", c.method, c.url, w.Code, w.Body, c.status)
		}
	}
	if got := s.call("POST", "/fhir/Patient/1", "").Header().Get("Allow"); got != "GET, HEAD, PUT, PATCH, DELETE" {
		t.Errorf("Allow is %q", got)
	}
	s.err = fhir.Errorf(503, fhir.CodeTransient, "down").At("x")
	w := s.call("GET", "/fhir/Patient/1", "")
	if w.Code != 503 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), `"expression":["x"]`) {
		t.Errorf("got %d %q %s", w.Code, w.Header().Get("Retry-After"), w.Body)
	}
	s.err = io.ErrUnexpectedEOF
	if w := s.call("GET", "/fhir/Patient/1", ""); w.Code != 500 || strings.Contains(w.Body.String(), "EOF") {
		t.Errorf("an inner error: %d %s", w.Code, w.Body)
	}
}

func TestPanicTellsNothing(t *testing.T) {
	s := open(t, nil)
	s.panics = "John Doe"
	w := s.call("GET", "/fhir/Patient/1", "")
	if w.Code != 500 || strings.Contains(w.Body.String(), "John") || strings.Contains(s.log.String(), "John") {
		t.Errorf("got %d %s, log %s", w.Code, w.Body, s.log.String())
	}
	if strings.Count(s.log.String(), "panicked") != 1 {
		t.Errorf("log: %s", s.log.String())
	}
}

func TestAdmissionAndDeadline(t *testing.T) {
	hold, in := make(chan struct{}), make(chan struct{}, 2)
	slow := fhir.DoerFunc(func(ctx context.Context, r fhir.Request) (fhir.Response, error) {
		in <- struct{}{}
		<-hold
		return fhir.Response{Status: 204}, nil
	})
	s := open(t, func(c *rest.Config) {
		c.Doer, c.InFlight, c.Timeout = slow, 150, 50*time.Millisecond
	})
	done := make(chan int)
	go func() { done <- s.call("PUT", "/fhir/Patient/1", patient, fhirJSON).Code }()
	<-in
	if got := s.call("PUT", "/fhir/Patient/1", patient, fhirJSON).Code; got != 503 {
		t.Errorf("a second body without room: %d, want 503", got)
	}
	close(hold)
	if got := <-done; got != 204 {
		t.Errorf("the first: %d", got)
	}
	if got := s.call("PUT", "/fhir/Patient/1", patient, fhirJSON).Code; got != 204 {
		t.Errorf("after room is free again: %d", got)
	}
}

func BenchmarkRead(b *testing.B) {
	h, err := rest.New(rest.Config{Doer: &echo{}, Base: "http://us/fhir", NewID: func() string { return "x" }, Caller: func(*http.Request) (fhir.Caller, error) { return fhir.Caller{}, nil }})
	if err != nil {
		b.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/fhir/Patient/1", nil)
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
}
