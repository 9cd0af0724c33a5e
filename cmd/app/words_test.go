package app_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"candela/cmd/app"
	"candela/store/mongo/mongotest"
)

// says asks a server and gives status and body.
func says(t *testing.T, s *app.Server, path, prefer string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.Base+"/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Prefer", prefer)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err := res.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func note(t *testing.T, s *app.Server, id, narrative, text string) {
	t.Helper()
	body := `{"resourceType":"Basic","id":"` + id + `","text":{"status":"additional","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>` + narrative + `</p></div>"},"code":{"text":"` + text + `"}}`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.Base+"/Basic/"+id, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/fhir+json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil || res.StatusCode >= 300 {
		t.Fatalf("got %d, %v", res.StatusCode, err)
	}
}

// The switch of the index of words, on each store: what was stored before is
// found once it is indexed and not without a warning before, the store remembers,
// and after a time without nothing old is trusted.
func TestWordsAreSwitchedOnAndOff(t *testing.T) {
	for _, kind := range []string{"embedded", "mongodb"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			address := "embedded:" + t.TempDir()
			if kind == "mongodb" {
				address = mongotest.URI(t)
			}
			run := func(words string, do func(s *app.Server)) {
				c := testConfig(address)
				c.Words = words
				s, err := app.Start(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				do(s)
				if err := s.Stop(); err != nil {
					t.Fatal(err)
				}
			}
			run("", func(s *app.Server) {
				note(t, s, "old", "a Hollow back", "chronic")
				unserved(t, s)
			})
			run("on", func(s *app.Server) {
				note(t, s, "new", "a hollow tooth", "acute")
				served(t, s, "_text=hollow", 2)
			})
			run("", func(s *app.Server) {
				note(t, s, "third", "nothing", "hollow")
				served(t, s, "_text=hollow", 2)
				served(t, s, "_content=hollow", 3)
				served(t, s, "_content=hollow chronic", 1)
				served(t, s, "_text=tooth,back", 2)
			})
			run("off", func(s *app.Server) {
				note(t, s, "fourth", "hollow", "x")
				unserved(t, s)
			})
			run("on", func(s *app.Server) { served(t, s, "_content=hollow", 4) })
		})
	}
}

func unserved(t *testing.T, s *app.Server) {
	t.Helper()
	if status, body := says(t, s, "Basic?_text=hollow", ""); status != 200 || !strings.Contains(body, "keeps no index of words") || !strings.Contains(body, `"old"`) {
		t.Errorf("not ignored with a warning: %d %s", status, body)
	}
	if status, body := says(t, s, "Basic?_content=hollow", "handling=strict"); status != 400 {
		t.Errorf("strict: %d %s", status, body)
	}
	if _, body := says(t, s, "metadata", ""); strings.Contains(body, `"_text"`) || strings.Contains(body, `"_content"`) {
		t.Error("metadata lists what is not served")
	}
}

// served waits until a search carries no warning any more, and checks what it
// finds then; while it warns, a strict caller is refused.
func served(t *testing.T, s *app.Server, query string, want int) {
	t.Helper()
	name, value, _ := strings.Cut(query, "=")
	path := "Basic?" + name + "=" + url.QueryEscape(value)
	for until := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		status, strict := says(t, s, path, "handling=strict")
		if status == 200 {
			if n := strings.Count(strict, `"mode":"match"`); n != want || strings.Contains(strict, "still being indexed") {
				t.Errorf("%s finds %d, want %d: %s", query, n, want, strict)
			}
			break
		}
		if status != 400 || !strings.Contains(strict, "still being indexed") || time.Now().After(until) {
			t.Fatalf("%s: %d %s", query, status, strict)
		}
	}
	if _, body := says(t, s, "metadata", ""); !strings.Contains(body, `"name":"_text"`) || !strings.Contains(body, `"name":"_content"`) {
		t.Error("metadata does not list what is served")
	}
}
