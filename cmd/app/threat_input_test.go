package app_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"candela/cmd/app"
	"candela/fhir"
	"candela/fhir/rest"
	"candela/store/mongo/mongotest"
)

// operators are names of the database's language.
var operators = []string{"$gt", "$ne", "$where", "$regex", "$function", "$expr", "$or", "$in", "$jsonSchema", "$accumulator", "$lookup", "$merge"}

// TestT60_NoOperatorReachesTheDatabase sends operators in every place of a request
// and reads what the database was told (its profile of all commands): what we sent
// is there as text only, and no operator but those that harmless requests use.
func TestT60_NoOperatorReachesTheDatabase(t *testing.T) {
	uri := mongotest.URI(t)
	s := start(t, uri)
	profile := mongotest.Profile(t, uri)
	const canary = "kanarie60"
	send := func(op string) {
		sendAll(t, s, func(name string) string { return name + "[" + op + "]" }, op)
		sendAll(t, s, func(name string) string { return name }, `{"`+op+`":"`+canary+`"}`)
		sendAll(t, s, func(name string) string { return op + "." + name }, canary)
	}
	send("harmless")
	usual := dollars(profile())
	for _, op := range operators {
		send(op)
	}
	keys := profile()
	seen := dollars(keys)
	for op := range seen {
		if !usual[op] {
			t.Errorf("the database was told %s", op)
		}
	}
	for key := range keys {
		if strings.Contains(key, canary) || strings.Contains(key, "harmless") {
			t.Errorf("what a caller sent became the name %q", key)
		}
	}
	for _, op := range []string{"$where", "$regex", "$function", "$jsonSchema", "$accumulator", "$lookup", "$merge"} {
		if seen[op] {
			t.Errorf("%s is no operator that we use", op)
		}
	}
	if len(usual) < 3 || len(keys) < 20 {
		t.Errorf("the profile saw too little: %v, %d names", usual, len(keys))
	}
}

// sendAll sends a name and a value in the places that requests have for them.
func sendAll(t *testing.T, s *app.Server, name func(string) string, value string) {
	t.Helper()
	v, quoted := url.QueryEscape(value), string(fhir.Quote(value))
	n := func(param string) string { return url.QueryEscape(name(param)) }
	for _, r := range []struct{ method, path, body string }{
		{"GET", "Patient?" + n("identifier") + "=" + v, ""}, {"GET", "Patient?identifier=" + v, ""}, {"GET", "Patient?" + n("birthdate") + "=" + v, ""}, {"GET", "Patient?name=" + v + "&_id=" + v, ""},
		{"GET", "Patient?identifier=" + v + "%7C" + v + "&organization=" + v, ""}, {"GET", "Patient?_filter=" + url.QueryEscape("name eq "+quoted), ""}, {"GET", "Patient?_sort=" + n("name") + "&_elements=" + v, ""},
		{"GET", "Patient?_has:Observation:patient:code=" + v, ""}, {"GET", "Observation?subject:Patient.name=" + v, ""}, {"GET", "Observation?value-quantity=" + v + "&code:text=" + v, ""}, {"GET", "Patient?_page=" + v, ""},
		{"GET", "Patient/" + url.PathEscape(value), ""}, {"GET", "Patient/1/_history/" + url.PathEscape(value), ""}, {"GET", "_history?_since=" + v, ""},
		{"POST", "Patient", `{"resourceType":"Patient","identifier":[{"system":` + quoted + `,"value":` + quoted + `}],"name":[{"family":` + quoted + `}]}`},
		{"POST", "Patient", `{"resourceType":"Patient","id":{"$ne":null},"name":{"$gt":""}}`},
		{"POST", "Patient", `{"resourceType":"Patient",` + string(fhir.Quote(name("name"))) + `:[{"family":` + quoted + `}]}`},
		{"POST", "Basic", `{"resourceType":"Basic","code":{"text":"x"},"extension":[{"url":` + quoted + `,"valueString":` + quoted + `}]}`},
		{"PUT", "Patient?identifier=" + v, `{"resourceType":"Patient"}`}, {"DELETE", "Patient?identifier=" + v, ""}, {"GET", "Patient/$match?x=" + v, ""},
		{"POST", "", `{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":` + string(fhir.Quote("Patient?identifier="+v)) + `}},{"request":{"method":"DELETE","url":` + string(fhir.Quote("Patient/"+url.PathEscape(value))) + `}}]}`},
	} {
		if got := ask(t, s, r.method, r.path, []byte(r.body)); got.status >= 500 {
			t.Errorf("%s %s %s: %d %s", r.method, r.path, r.body, got.status, got.body)
		}
	}
	req, err := http.NewRequest("POST", s.Base+"/Patient/_search", strings.NewReader(n("identifier")+"="+v+"&"+n("name")+"="+v))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("If-None-Match", value)
	if got := do(t, req); got.status >= 500 {
		t.Errorf("form: %d %s", got.status, got.body)
	}
}

// dollars are the operators among names.
func dollars(names map[string]bool) map[string]bool {
	out := map[string]bool{}
	for name := range names {
		if strings.HasPrefix(name, "$") {
			out[name] = true
		}
	}
	return out
}

// TestT81_ConditionalReferencesInNumbers: hundreds of transactions at once, all of
// them full of references to the same few by criteria, end soon, each whole.
func TestT81_ConditionalReferencesInNumbers(t *testing.T) {
	onBoth(t, func(t *testing.T, s *app.Server) {
		for i := range 4 {
			ask(t, s, "PUT", fmt.Sprintf("Patient/p%d", i), fmt.Appendf(nil, `{"resourceType":"Patient","id":"p%d","identifier":[{"value":"c%d"}]}`, i, i))
		}
		var entries []string
		for i := range 10 {
			entries = append(entries, fmt.Sprintf(`{"resource":{"resourceType":"Basic","code":{"text":"x"},"subject":{"reference":"Patient?identifier=c%d"}},"request":{"method":"POST","url":"Basic"}}`, i%4))
		}
		body := []byte(`{"resourceType":"Bundle","type":"transaction","entry":[` + strings.Join(entries, ",") + `]}`)
		begun, whole := time.Now(), make(chan int, 100)
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				for range 5 {
					got := ask(t, s, "POST", "", body)
					if got.status != 200 && got.status != 429 && got.status != 409 {
						t.Errorf("%d %.300s", got.status, got.body)
					}
					whole <- got.status
				}
			})
		}
		group.Wait()
		close(whole)
		done := 0
		for status := range whole {
			if status == 200 {
				done++
			}
		}
		count := ask(t, s, "GET", "Basic?_summary=count", nil).tree(t).Get("total").Text()
		if count != fmt.Sprint(10*done) || done < 90 || time.Since(begun) > time.Minute {
			t.Errorf("%d of 100 transactions made %s resources in %v", done, count, time.Since(begun))
		}
	})
}

// leaks are what no answer may tell: our code, files, stores and their language.
var leaks = regexp.MustCompile(`goroutine |\.go:\d|runtime error|panic|0x[0-9a-f]{6}|/tmp/|/home/|/etc/|mongo|pebble|BSON|E11000|dup key|collection|WriteConflict|\$set|\$match|system\.|stack`)

// TestT89_ErrorsTellNothing: errors of every kind say what was wrong with the
// request and nothing of the inside, nor of what others keep.
func TestT89_ErrorsTellNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, s *app.Server) {
		const secret = "Geheimnis89"
		for i := range 2 {
			ask(t, s, "PUT", fmt.Sprintf("Patient/x%d", i), fmt.Appendf(nil, `{"resourceType":"Patient","id":"x%d","identifier":[{"value":"twin"}],"name":[{"family":"%s"}]}`, i, secret))
		}
		for _, r := range []struct{ method, path, body string }{
			{"GET", "Patient/none", ""}, {"GET", "Nothing", ""}, {"DELETE", "Patient?nonsense=1", ""}, {"GET", "Patient?birthdate=x", ""}, {"GET", "Patient?_page=x", ""}, {"GET", "Patient?_count=-1", ""},
			{"GET", "Patient?_filter=((", ""}, {"GET", "Patient?a=%zz", ""}, {"GET", "Patient/%00", ""}, {"GET", "Patient/x0/_history/9", ""}, {"GET", "Patient/x0/$nope", ""}, {"GET", "a/b/c/d/e/f", ""},
			{"POST", "Patient", `{`}, {"POST", "Patient", `{"resourceType":"Patient","birthDate":"x"}`}, {"POST", "Patient", `[]`}, {"POST", "Patient", "\xff"}, {"PUT", "Patient/x0", `{"resourceType":"Patient","id":"other"}`},
			{"PUT", "Patient?identifier=twin", `{"resourceType":"Patient"}`}, {"DELETE", "Patient?identifier=twin", ""}, {"PATCH", "Patient/x0", `{}`}, {"TRACE", "Patient/x0", ""}, {"PUT", "", "{}"},
			{"POST", "", `{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":"PATCH","url":"Patient/x0"}}]}`},
			{"POST", "", `{"resourceType":"Bundle","type":"transaction","entry":[{"resource":{"resourceType":"Basic","code":{"text":"x"},"subject":{"reference":"Patient?identifier=twin"}},"request":{"method":"POST","url":"Basic"}}]}`},
		} {
			got := ask(t, s, r.method, r.path, []byte(r.body))
			if got.status < 400 || got.status >= 500 {
				t.Errorf("%s %s %s: %d", r.method, r.path, r.body, got.status)
			}
			if found := leaks.Find(got.body); found != nil || strings.Contains(string(got.body), secret) {
				t.Errorf("%s %s: %q in %s", r.method, r.path, found, got.body)
			}
			if got.header.Get("X-Request-Id") == "" || got.header.Get("Server") != "" || got.header.Get("X-Powered-By") != "" {
				t.Errorf("%s %s: headers %v", r.method, r.path, got.header)
			}
		}
	})
}

// TestT91_HeadersOfRefusals: the headers of an answer that refuses what is hidden are
// those for what is absent, and carry no version, time or place.
func TestT91_HeadersOfRefusals(t *testing.T) {
	onBoth(t, func(t *testing.T, s *app.Server) {
		for _, id := range []string{"a", "b", "gone"} {
			ask(t, s, "PUT", "Patient/"+id, []byte(`{"resourceType":"Patient","id":"`+id+`"}`))
		}
		ask(t, s, "DELETE", "Patient/gone", nil)
		mine := fhir.Access{{Type: "*", Letters: "cruds", Compartment: fhir.Reference{Type: "Patient", ID: "a"}}}
		api, err := rest.New(rest.Config{Doer: s.Door, Base: s.Base, NewID: func() string { return "r" }, Caller: func(*http.Request) (fhir.Caller, error) {
			return fhir.Caller{Name: "a", Access: mine}, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range []struct{ method, below, body string }{
			{"GET", "", ""}, {"HEAD", "", ""}, {"GET", "/_history", ""}, {"GET", "/_history/1", ""}, {"GET", "/$everything", ""}, {"DELETE", "", ""},
			{"PUT", "", `{"resourceType":"Patient","id":"%s","active":true}`},
		} {
			absent := refusal(api, r.method, "/fhir/Patient/none"+r.below, strings.ReplaceAll(r.body, "%s", "none"))
			for _, id := range []string{"b", "gone"} {
				hidden := refusal(api, r.method, "/fhir/Patient/"+id+r.below, strings.ReplaceAll(r.body, "%s", id))
				if hidden != absent {
					t.Errorf("%s Patient/%s%s:\n%s\nabsent:\n%s", r.method, id, r.below, hidden, absent)
				}
			}
			if regexp.MustCompile(`Etag|Last-Modified|Location`).MatchString(absent) {
				t.Errorf("%s %s: %s", r.method, r.below, absent)
			}
		}
	})
}

// refusal is a whole answer as text.
func refusal(api http.Handler, method, path, body string) string {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/fhir+json")
	w := httptest.NewRecorder()
	api.ServeHTTP(w, r)
	return fmt.Sprint(w.Code, w.Header(), w.Body)
}
