package interaction_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"candela/fhir"
)

// as sends a request with the access given: the status, and the answer's bytes.
func (s *server) as(t *testing.T, access fhir.Access, method, url, body string) (int, string) {
	t.Helper()
	return s.from(t, fhir.Caller{Access: access}, method, url, body)
}

func (s *server) from(t *testing.T, c fhir.Caller, method, url, body string) (int, string) {
	t.Helper()
	r, err := fhir.RouteURL(method, url, s.base)
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Resource = resource(t, body)
	}
	r.Base, r.Caller = s.base, c
	answer, err := s.Do(context.Background(), r)
	var refusal *fhir.Error
	if errors.As(err, &refusal) {
		return refusal.Status, string(fhir.OutcomeOf(refusal.Issues...))
	}
	if answer.Resource.Exists() {
		return answer.Status, string(answer.Resource.Raw())
	}
	return answer.Status, string(answer.Body)
}

// ward has two patients with an observation each.
func ward(t *testing.T) *server {
	s := open(t, openStore(t, time.Now), time.Now)
	text := bundle("transaction", 4, func(i int) string {
		id := []string{"a", "b"}[i%2]
		if i < 2 {
			return put(id, "")
		}
		return `{"resource":{"resourceType":"Observation","id":"o` + id + `","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/` + id + `"}},"request":{"method":"PUT","url":"Observation/o` + id + `"}}`
	})
	if status, _, body := s.send(t, "POST", "", text); status != 200 {
		t.Fatalf("got %d %s", status, body)
	}
	return s
}

func TestR29_NoRuleIs403WithOrWithoutData(t *testing.T) {
	s := ward(t)
	letters := fhir.Access{{Type: "Patient", Letters: "rs"}}
	for _, c := range []struct{ method, url, body string }{
		{"GET", "Observation/oa", ""}, {"GET", "Observation/none", ""}, {"GET", "Observation/oa/_history/1", ""}, {"GET", "Observation", ""}, {"GET", "Observation?_id=none", ""},
		{"GET", "Observation/oa/_history", ""}, {"GET", "Observation/_history", ""}, {"DELETE", "Patient/a", ""}, {"DELETE", "Patient/none", ""},
		{"PUT", "Patient/a", `{"resourceType":"Patient","id":"a","active":true}`}, {"PUT", "Patient/new", `{"resourceType":"Patient","id":"new"}`}, {"POST", "Patient", `{"resourceType":"Patient"}`},
		{"GET", "Patient?_has:Observation:subject:status=final", ""}, {"POST", "", `{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":"DELETE","url":"Patient/a"}}]}`},
	} {
		if status, body := s.as(t, letters, c.method, c.url, c.body); status != 403 {
			t.Errorf("%s %s: %d %s, want 403", c.method, c.url, status, body)
		}
		if status, _ := s.as(t, nil, c.method, c.url, c.body); status != 403 {
			t.Errorf("%s %s with no rule at all: %d, want 403", c.method, c.url, status)
		}
	}
	if status, body := s.as(t, letters, "GET", "Patient?_revinclude=Observation:subject", ""); status != 200 || strings.Contains(body, "Observation/") {
		t.Errorf("an include leaks: %d %s", status, body)
	}
	if status, _ := s.as(t, letters, "GET", "Patient/a", ""); status != 200 {
		t.Errorf("what is allowed: %d", status)
	}
	updating := fhir.Access{{Type: "Patient", Letters: "u"}}
	if status, _ := s.as(t, updating, "PUT", "Patient/new", `{"resourceType":"Patient","id":"new"}`); status != 403 {
		t.Errorf("update-as-create without c: %d", status)
	}
	if status, _ := s.as(t, updating, "PUT", "Patient/a", `{"resourceType":"Patient","id":"a","active":true}`); status != 200 {
		t.Errorf("update with u: %d", status)
	}
}

func TestR29_CompartmentNarrows(t *testing.T) {
	s := ward(t)
	mine := fhir.Access{{Type: "*", Letters: "cruds", Compartment: fhir.Reference{Type: "Patient", ID: "a"}}}
	if status, body := s.as(t, mine, "GET", "Observation/oa", ""); status != 200 {
		t.Errorf("my own: %d %s", status, body)
	}
	_, absent := s.as(t, mine, "GET", "Observation/none", "")
	for _, url := range []string{"Observation/ob", "Observation/ob/_history/1", "Patient/b"} {
		if status, body := s.as(t, mine, "GET", url, ""); status != 404 || body != absent {
			t.Errorf("%s: %d %s, want the same as absent", url, status, body)
		}
	}
	for url, want := range map[string]string{"Observation": "oa", "Observation?status=final": "oa", "Patient": "a", "Observation?subject:Patient._id=b": "", "Patient?_has:Observation:subject:_id=ob": ""} {
		status, body := s.as(t, mine, "GET", url, "")
		entries := resource(t, body).Root().Get("entry")
		if status != 200 || entries.First().Path("resource", "id").Text() != want || entries.Len() > 1 {
			t.Errorf("%s: %d %s, want %q only", url, status, body, want)
		}
	}
	other := `{"resourceType":"Observation","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/b"}}`
	if status, body := s.as(t, mine, "POST", "Observation", other); status != 403 {
		t.Errorf("a create for somebody else: %d %s", status, body)
	}
	moved := strings.Replace(other, `"status"`, `"id":"oa","status"`, 1)
	if status, body := s.as(t, mine, "PUT", "Observation/oa", moved); status != 403 {
		t.Errorf("R33: my observation given away: %d %s", status, body)
	}
	taken := strings.NewReplacer(`"oa"`, `"ob"`, "Patient/b", "Patient/a").Replace(moved)
	if status, body := s.as(t, mine, "PUT", "Observation/ob", taken); status < 400 {
		t.Errorf("another's observation taken: %d %s", status, body)
	}
	gone, _ := s.as(t, mine, "DELETE", "Observation/none", "")
	if status, body := s.as(t, mine, "DELETE", "Observation/ob", ""); status != gone {
		t.Errorf("a delete outside: %d %s, want %d as for what is absent", status, body, gone)
	}
	if status, _ := s.as(t, fhir.Full(), "GET", "Observation/ob", ""); status != 200 {
		t.Errorf("it is gone: %d", status)
	}
	if status, body := s.as(t, mine, "GET", "Observation/ob/_history", ""); status < 400 {
		t.Errorf("another's history: %d %s", status, body)
	}
}

func TestFilterNarrows(t *testing.T) {
	s := ward(t)
	filtered := fhir.Access{{Type: "Observation", Letters: "rs", Filter: "subject=Patient/b"}, {Type: "Patient", Letters: "rs"}}
	if status, body := s.as(t, filtered, "GET", "Observation", ""); status != 200 || strings.Contains(body, "Observation/oa") || !strings.Contains(body, "Observation/ob") {
		t.Errorf("got %d %s", status, body)
	}
	if status, body := s.as(t, filtered, "GET", "Patient?_revinclude=Observation:subject", ""); status != 200 || strings.Contains(body, "Observation/oa") || !strings.Contains(body, "Observation/ob") {
		t.Errorf("an include leaks: %d %s", status, body)
	}
	if status, _ := s.as(t, filtered, "GET", "Observation/oa", ""); status != 404 {
		t.Errorf("a read outside: %d", status)
	}
}

// TestContainedIsSeenWithItsContainer: item 67 under rules.
func TestContainedIsSeenWithItsContainer(t *testing.T) {
	s := ward(t)
	for _, one := range []struct{ id, patient string }{{"fa", "a"}, {"fb", "b"}} {
		body := `{"resourceType":"Flag","id":"` + one.id + `","status":"active","code":{"text":"x"},"subject":{"reference":"Patient/` + one.patient +
			`"},"contained":[{"resourceType":"Practitioner","id":"p","active":true}],"author":{"reference":"#p"}}`
		if status, answer := s.as(t, fhir.Full(), "PUT", "Flag/"+one.id, body); status != 201 {
			t.Fatalf("got %d %s", status, answer)
		}
	}
	mine := fhir.Access{{Type: "*", Letters: "cruds", Compartment: fhir.Reference{Type: "Patient", ID: "a"}}}
	flags := fhir.Access{{Type: "Flag", Letters: "rs"}}
	both := append(flags, fhir.Rule{Type: "Practitioner", Letters: "rs"})
	for _, c := range []struct {
		who    string
		access fhir.Access
		status int
		want   []string
	}{
		{"all", fhir.Full(), 200, []string{"Flag/fa", "Flag/fb"}},
		{"my compartment", mine, 200, []string{"Flag/fa"}},
		{"both types", both, 200, []string{"Flag/fa", "Flag/fb"}},
		{"no rule for the type", flags, 403, nil},
		{"no rule for containers", both[1:], 200, nil},
	} {
		for _, form := range []string{"container", "contained"} {
			status, body := s.as(t, c.access, "GET", "Practitioner?active=true&_contained=true&_containedType="+form, "")
			if status != c.status {
				t.Errorf("%s, %s: %d %s, want %d", c.who, form, status, body, c.status)
			}
			for _, flag := range []string{"Flag/fa", "Flag/fb"} {
				if strings.Contains(body, flag) != slices.Contains(c.want, flag) {
					t.Errorf("%s, %s: want %v: %s", c.who, form, c.want, body)
				}
			}
		}
	}
}

// What is withheld is absent for a caller who may see everything else.
func TestDenyIsTakenAway(t *testing.T) {
	s := ward(t)
	labelled := fhir.Caller{Access: fhir.Full(), Deny: fhir.Access{{Type: "Observation", Filter: "subject=Patient/b"}}}
	typed := fhir.Caller{Access: fhir.Full(), Deny: fhir.Access{{Type: "Observation"}}}
	whole := fhir.Caller{Access: fhir.Full(), Deny: fhir.Access{{Type: "*", Compartment: fhir.Reference{Type: "Patient", ID: "b"}}}}
	for name, c := range map[string]fhir.Caller{"label": labelled, "compartment": whole} {
		if status, body := s.from(t, c, "GET", "Observation", ""); status != 200 || strings.Contains(body, "Observation/ob") || !strings.Contains(body, "Observation/oa") {
			t.Errorf("%s: %d %s", name, status, body)
		}
		if status, body := s.from(t, c, "GET", "Patient?_has:Observation:subject:_id=ob", ""); status != 200 || strings.Contains(body, "Patient/b") {
			t.Errorf("%s: a chain tells: %d %s", name, status, body)
		}
		if status, body := s.from(t, c, "GET", "Patient?_revinclude=Observation:subject", ""); status != 200 || strings.Contains(body, "Observation/ob") {
			t.Errorf("%s: an include tells: %d %s", name, status, body)
		}
		for _, url := range []string{"Observation/ob", "Observation/ob/_history/1"} {
			if status, _ := s.from(t, c, "GET", url, ""); status != 404 {
				t.Errorf("%s: %s is %d", name, url, status)
			}
		}
		for url, want := range map[string]int{"Observation/ob/_history": 404, "Observation/_history": 200, "_history": 200, "": 403} {
			if status, body := s.from(t, c, "GET", url, ""); status != want || strings.Contains(body, "Observation/ob") || want == 200 && !strings.Contains(body, "Observation/oa") {
				t.Errorf("%s: %s is %d %s", name, url, status, body)
			}
		}
		given := `{"resourceType":"Observation","id":"oa","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/b"}}`
		if status, _ := s.from(t, c, "PUT", "Observation/oa", given); status != 403 {
			t.Errorf("%s: written into what is withheld: %d", name, status)
		}
		if status, _ := s.from(t, c, "DELETE", "Observation/ob", ""); status == 200 || s.status(t, "Observation/ob") != 200 {
			t.Errorf("%s: what is withheld was deleted", name)
		}
		if status, _ := s.from(t, c, "GET", "Observation/oa", ""); status != 200 {
			t.Errorf("%s: the rest: %d", name, status)
		}
	}
	for _, url := range []string{"Observation", "Observation/oa", "Observation/none", "Patient?_has:Observation:subject:status=final"} {
		if status, _ := s.from(t, typed, "GET", url, ""); status != 403 {
			t.Errorf("a type that is withheld: %s is %d", url, status)
		}
	}
	if status, _ := s.from(t, typed, "GET", "Patient/a", ""); status != 200 {
		t.Errorf("another type: %d", status)
	}
}

func (s *server) status(t *testing.T, url string) int {
	t.Helper()
	status, _ := s.as(t, fhir.Full(), "GET", url, "")
	return status
}
