package app_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"candela/cmd/app"
	"candela/fhir"
	"candela/store"
	"candela/store/mongo/mongotest"
)

// eye is a search parameter for an extension of patients.
func eye(status, expression string) []byte {
	return fmt.Appendf(nil, `{"resourceType":"SearchParameter","id":"eye","url":"urn:test:eye","name":"eye","status":%q,"description":"eye colour","code":"eye","base":["Patient"],"type":"token","expression":%q}`, status, expression)
}

const eyeColour = "Patient.extension.where(url='urn:test:eye').value"

func eyed(id, colour string) []byte {
	return fmt.Appendf(nil, `{"resourceType":"Patient","id":%q,"extension":[{"url":"urn:test:eye","valueCode":%q}]}`, id, colour)
}

// hits are the matches of a search and the warnings beside them.
func hits(t *testing.T, s *app.Server, query string) (ids []string, warned string) {
	t.Helper()
	for e := range ask(t, s, "GET", query, nil).tree(t).Get("entry").Elements() {
		if e.Path("search", "mode").Text() == "match" {
			ids = append(ids, e.Path("resource", "id").Text())
		} else {
			warned += string(e.Get("resource").Raw())
		}
	}
	return ids, warned
}

func want(t *testing.T, got answer, status int, text string) {
	t.Helper()
	if got.status != status || !strings.Contains(string(got.body), text) {
		t.Fatalf("%d %s, want %d with %q", got.status, got.body, status, text)
	}
}

// await waits until the parameter is complete.
func await(t *testing.T, s *app.Server) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		got := ask(t, s, "GET", "SearchParameter/eye/$status", nil)
		if strings.Contains(string(got.body), `"valueCode":"complete"`) {
			want(t, got, 200, `{"name":"percent","valueInteger":100}`)
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not complete in a minute: %d %s", got.status, got.body)
		}
	}
}

func strictly(t *testing.T, s *app.Server, query string) answer {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, s.Base+"/"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Prefer", "handling=strict")
	return do(t, req)
}

// TestAddedSearchParameter follows one from its POST to its end.
func TestAddedSearchParameter(t *testing.T) {
	onBoth(t, func(t *testing.T, s *app.Server) {
		for i := range 450 { // more than two pages
			want(t, ask(t, s, "PUT", fmt.Sprintf("Patient/old%d", i), eyed(fmt.Sprintf("old%d", i), "green")), 201, "")
		}
		want(t, strictly(t, s, "Patient?eye=green"), 400, "not known")
		want(t, ask(t, s, "PUT", "SearchParameter/eye", eye("active", eyeColour)), 201, "")
		want(t, ask(t, s, "PUT", "Patient/new", eyed("new", "blue")), 201, "")
		if ids, warned := hits(t, s, "Patient?eye=blue"); len(ids) != 1 || !strings.Contains(warned, "still being indexed") {
			t.Fatalf("at once: %v, warned %s", ids, warned)
		}
		want(t, strictly(t, s, "Patient?eye=blue"), 400, "still being indexed")
		want(t, ask(t, s, "GET", "SearchParameter/eye/$status", nil), 200, `"valueCode":"building"`)
		if strings.Contains(string(ask(t, s, "GET", "metadata", nil).body), "urn:test:eye") {
			t.Error("/metadata lists it before it is complete")
		}
		await(t, s)
		if ids, warned := hits(t, s, "Patient?eye=green&_count=1000"); len(ids) != 450 || warned != "" {
			t.Errorf("complete: %d found, warned %s", len(ids), warned)
		}
		want(t, strictly(t, s, "Patient?eye=blue&_sort=eye"), 200, `"id":"new"`)
		want(t, ask(t, s, "GET", "metadata", nil), 200, `{"name":"eye","definition":"urn:test:eye","type":"token"}`)
		want(t, ask(t, s, "PUT", "SearchParameter/eye", eye("retired", eyeColour)), 200, "")
		want(t, strictly(t, s, "Patient?eye=blue"), 400, "not known")
		want(t, ask(t, s, "GET", "SearchParameter/eye/$status", nil), 200, `"valueCode":"unused"`)
		want(t, ask(t, s, "PUT", "SearchParameter/eye", eye("active", eyeColour)), 200, "")
		want(t, strictly(t, s, "Patient?eye=blue"), 400, "still being indexed")
		want(t, ask(t, s, "DELETE", "SearchParameter/eye", nil), 204, "")
		want(t, strictly(t, s, "Patient?eye=blue"), 400, "not known")
		want(t, ask(t, s, "PUT", "Patient/new", eyed("new", "brown")), 200, "")
	})
}

// TestRefusedSearchParameters: what cannot be searched by is 422 with the reason.
func TestRefusedSearchParameters(t *testing.T) {
	s := start(t, "embedded:"+t.TempDir())
	with := func(old, text string) []byte {
		return []byte(strings.Replace(string(eye("active", eyeColour)), old, text, 1))
	}
	for reason, body := range map[string][]byte{
		"has no element colour":          eye("active", "Patient.colour"),
		"never matches":                  eye("active", "Observation.code"),
		"nothing(":                       eye("active", "Patient.name.nothing()"),
		"longer than":                    eye("active", "Patient.id"+strings.Repeat(".first()", 1000)),
		"is a parameter of Patient":      with(`"code":"eye"`, `"code":"name"`),
		"a search name is":               with(`"code":"eye"`, `"code":"_count"`),
		"special parameters":             with(`"type":"token"`, `"type":"special"`),
		"needs an expression":            with(`"expression"`, `"xpath"`),
		"SearchParameter.expression":     eye("active", "Patient.name.matches('"+strings.Repeat("x{1000}", 50)+"')"),
		"not a regular expression of RE": eye("active", "Patient.name.family.matches('(')"),
	} {
		got := ask(t, s, "PUT", "SearchParameter/eye", body)
		if got.status != 422 || !strings.Contains(string(got.body), reason) {
			t.Errorf("%s: %d %s", reason, got.status, got.body)
		}
	}
	want(t, ask(t, s, "PUT", "SearchParameter/eye", eye("active", eyeColour)), 201, "")
	second := []byte(strings.Replace(string(eye("active", eyeColour)), `"id":"eye"`, `"id":"eye2"`, 1))
	want(t, ask(t, s, "PUT", "SearchParameter/eye2", second), 422, "by SearchParameter/eye")
	want(t, ask(t, s, "PUT", "SearchParameter/draft", []byte(strings.Replace(string(eye("draft", "no(")), `"eye"`, `"draft"`, 1))), 201, "")
}

// TestCostlySearchParameter: an expression that is too costly on a resource
// does not keep it from being written.
func TestCostlySearchParameter(t *testing.T) {
	s := start(t, "embedded:"+t.TempDir())
	want(t, ask(t, s, "PUT", "SearchParameter/eye", eye("active", "Patient.descendants().select(%resource.descendants().select(%resource.descendants())).ofType(code)")), 201, "")
	body := []byte(`{"resourceType":"Patient","id":"p","gender":"male","name":[` + strings.Repeat(`{"given":["a","b"]},`, 2000) + `{"family":"z"}]}`)
	began := time.Now()
	want(t, ask(t, s, "PUT", "Patient/p", body), 201, "")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the write took %s", took)
	}
	want(t, ask(t, s, "GET", "Patient?family=z", nil), 200, `"id":"p"`)
}

// TestIndexingSurvivesItsProcess: progress and lease as a killed process leaves
// them in the middle; the next one goes on behind the last page.
func TestIndexingSurvivesItsProcess(t *testing.T) {
	for name, address := range map[string]string{"embedded": "embedded:" + t.TempDir(), "mongodb": mongotest.URI(t)} {
		t.Run(name, func(t *testing.T) {
			c := testConfig(address)
			ctx := context.Background()
			a, err := app.Open(ctx, c) // indexes nothing: it does not serve
			if err != nil {
				t.Fatal(err)
			}
			for i := range 450 {
				put(t, a, "Patient", fmt.Sprintf("old%d", i), eyed(fmt.Sprintf("old%d", i), "green"))
			}
			put(t, a, "SearchParameter", "eye", eye("active", eyeColour))
			if err := a.Store.KVPut(ctx, "index-lease", "owner", []byte("killed"), 4*time.Second); err != nil {
				t.Fatal(err)
			}
			page, err := a.Store.Find(ctx, store.Query{Types: []string{"Patient"}, Count: 200})
			if err != nil {
				t.Fatal(err)
			}
			indexed(t, a, page.Versions)
			left := fmt.Appendf(nil, `{"version":1,"seq":451,"parts":[{"type":"Patient","done":200,"total":450}],"cursor":%q}`, page.Next)
			if err := a.Store.KVPut(ctx, "index", "eye", left, 0); err != nil {
				t.Fatal(err)
			}
			if err := a.Close(); err != nil {
				t.Fatal(err)
			}
			s := start(t, address)
			want(t, ask(t, s, "GET", "SearchParameter/eye/$status", nil), 200, `{"name":"percent","valueInteger":44}`)
			want(t, strictly(t, s, "Patient?eye=green"), 400, "still being indexed")
			await(t, s)
			if ids, warned := hits(t, s, "Patient?eye=green&_count=1000"); len(ids) != 450 || warned != "" {
				t.Errorf("%d found, warned %s", len(ids), warned)
			}
		})
	}
}

func put(t *testing.T, a *app.App, typ, id string, body []byte) {
	t.Helper()
	res, err := fhir.ParseResource(body, fhir.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Door.Do(context.Background(), fhir.Request{Interaction: fhir.Update, Type: typ, ID: id, Resource: res, Caller: fhir.Caller{Access: fhir.Full()}}); err != nil {
		t.Fatal(err)
	}
}

func indexed(t *testing.T, a *app.App, page []store.Version) {
	t.Helper()
	for _, v := range page {
		entries, err := a.Search.Entries(fhir.Stored(v.Raw))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Store.Commit(context.Background(), store.Op{Action: store.Reindex, Key: v.Key, Entries: entries, IfMatch: v.Number}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSecondProcessKnowsAddedParameters: two servers on one MongoDB.
func TestSecondProcessKnowsAddedParameters(t *testing.T) {
	address := mongotest.URI(t)
	one, two := start(t, address), start(t, address)
	want(t, ask(t, one, "PUT", "SearchParameter/eye", eye("active", eyeColour)), 201, "")
	for i := range 50 { // while the other learns of it
		want(t, ask(t, two, "PUT", fmt.Sprintf("Patient/p%d", i), eyed(fmt.Sprintf("p%d", i), "green")), 201, "")
	}
	await(t, one)
	await(t, two)
	for _, s := range []*app.Server{one, two} {
		if ids, warned := hits(t, s, "Patient?eye=green&_count=1000"); len(ids) != 50 || warned != "" {
			t.Errorf("%d found, warned %s", len(ids), warned)
		}
	}
	want(t, ask(t, two, "DELETE", "SearchParameter/eye", nil), 204, "")
	for deadline := time.Now().Add(20 * time.Second); strictly(t, one, "Patient?eye=green").status != 400; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the first process still knows it")
		}
	}
}
