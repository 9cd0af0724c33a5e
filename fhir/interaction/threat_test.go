package interaction_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"candela/fhir"
	"candela/fhir/interaction"
	"candela/fhir/interaction/reach"
	"candela/fhir/r4"
)

// The threats of the security reference that are the view's to meet, each by its
// number. What E1 proves for all paths at once these tests say one by one.

// chart are the rules of patient a's app, as scope.Chart makes them.
func chart(t testing.TB, letters string) fhir.Access {
	t.Helper()
	spec, err := r4.Load()
	if err != nil {
		t.Fatal(err)
	}
	var out fhir.Access
	for _, typ := range spec.Resources() {
		switch own, _ := spec.Ownership(typ); own.Belonging {
		case r4.Owned, r4.Through:
			out = append(out, fhir.Rule{Type: typ, Letters: letters, Compartment: fhir.Reference{Type: "Patient", ID: "a"}})
		case r4.Shared:
			out = append(out, fhir.Rule{Type: typ, Letters: "rs"})
		default:
		}
	}
	return out
}

// hospital is a ward with what belongs to patient a and to patient b of each kind.
func hospital(t *testing.T) *server {
	t.Helper()
	s := ward(t)
	for _, p := range []string{"a", "b"} {
		for _, body := range []string{
			`{"resourceType":"Patient","id":"P","name":[{"family":"Smith"}],"identifier":[{"system":"urn:mrn","value":"MRN-P"}]}`,
			`{"resourceType":"RelatedPerson","id":"rP","patient":{"reference":"Patient/P"}}`,
			`{"resourceType":"CareTeam","id":"tP","subject":{"reference":"Patient/P"}}`,
			`{"resourceType":"List","id":"lP","status":"current","mode":"working","subject":{"reference":"Patient/P"}}`,
			`{"resourceType":"Device","id":"dP","patient":{"reference":"Patient/P"}}`,
			`{"resourceType":"Basic","id":"bP","code":{"text":"x"},"subject":{"reference":"Patient/P"}}`,
			`{"resourceType":"Media","id":"mP","status":"completed","subject":{"reference":"Patient/P"},"content":{"contentType":"text/plain"}}`,
			`{"resourceType":"Binary","id":"fP","contentType":"text/plain","securityContext":{"reference":"Patient/P"},"data":"eA=="}`,
			`{"resourceType":"Binary","id":"gP","contentType":"text/plain","securityContext":{"reference":"Observation/oP"},"data":"eA=="}`,
			`{"resourceType":"Provenance","id":"vP","target":[{"reference":"Observation/oP"}],"recorded":"2020-01-01T00:00:00Z","agent":[{"who":{"display":"x"}}]}`,
			`{"resourceType":"Task","id":"kP","status":"requested","intent":"order","for":{"reference":"Patient/P"}}`,
			`{"resourceType":"Encounter","id":"eP","status":"finished","class":{"code":"AMB"},"subject":{"reference":"Patient/P"}}`,
			`{"resourceType":"Observation","id":"qP","status":"final","code":{"text":"y"},"subject":{"reference":"Patient/P"},"valueQuantity":{"value":7},"performer":[{"reference":"RelatedPerson/rb"}]}`,
			`{"resourceType":"Group","id":"groupP","type":"person","actual":true,"member":[{"entity":{"reference":"Patient/P"}}]}`,
			`{"resourceType":"Subscription","id":"sP","status":"off","reason":"x","criteria":"Observation?subject=Patient/P","channel":{"type":"rest-hook"}}`,
			`{"resourceType":"AuditEvent","id":"uP","type":{"code":"rest"},"recorded":"2020-01-01T00:00:00Z","agent":[{"requestor":true}],"source":{"observer":{"display":"x"}},"entity":[{"what":{"reference":"Patient/P"}}]}`,
		} {
			body = strings.NewReplacer("Patient/P", "Patient/"+p, "MRN-P", "MRN-"+p, "Observation/oP", "Observation/o"+p, `"id":"P"`, `"id":"`+p+`"`, `P","status`, p+`","status`, `P","patient`, p+`","patient`,
				`P","subject`, p+`","subject`, `P","code`, p+`","code`, `P","content`, p+`","content`, `P","target`, p+`","target`, `P","type`, p+`","type`).Replace(body)
			res := resource(t, body)
			if status, text := s.as(t, fhir.Full(), "PUT", res.Type()+"/"+res.ID(), body); status >= 300 {
				t.Fatalf("%s: %d %s", body, status, text)
			}
		}
	}
	s.write(t, `{"resourceType":"Binary","id":"loose","contentType":"text/plain","data":"eA=="}`)
	s.write(t, `{"resourceType":"Practitioner","id":"p"}`)
	return s
}

func (s *server) write(t testing.TB, body string) {
	t.Helper()
	res := resource(t, body)
	if status, text := s.from(t.(*testing.T), fhir.Caller{Access: fhir.Full()}, "PUT", res.Type()+"/"+res.ID(), body); status >= 300 {
		t.Fatalf("%s: %d %s", body, status, text)
	}
}

// wantsStatus asks as patient a's app.
func (s *server) wantsStatus(t *testing.T, access fhir.Access, want int, method, url, body string) string {
	t.Helper()
	status, text := s.as(t, access, method, url, body)
	if status != want {
		t.Errorf("%s %s %.200s: %d %.300s, want %d", method, url, body, status, text, want)
	}
	return text
}

func TestT1_AnothersResourceIsAsAbsent(t *testing.T) {
	s := hospital(t)
	mine := chart(t, "cruds")
	for _, form := range []string{"", "/_history/1", "/_history", "/$meta"} {
		absent := s.wantsStatus(t, mine, 404, "GET", "Observation/none"+form, "")
		if got := s.wantsStatus(t, mine, 404, "GET", "Observation/ob"+form, ""); got != absent {
			t.Errorf("%s: %s, absent is %s", form, got, absent)
		}
	}
	s.wantsStatus(t, fhir.Full(), 204, "DELETE", "Observation/ob", "")
	absent := s.wantsStatus(t, mine, 404, "GET", "Observation/none", "")
	if got := s.wantsStatus(t, mine, 404, "GET", "Observation/ob", ""); got != absent {
		t.Errorf("R29, deleted: %s, absent is %s", got, absent)
	}
	s.wantsStatus(t, fhir.Full(), 204, "DELETE", "Observation/oa", "")
	s.wantsStatus(t, mine, 410, "GET", "Observation/oa", "")
	if got := s.wantsStatus(t, mine, 200, "GET", "Observation/oa/_history", ""); !strings.Contains(got, `"DELETE"`) || !strings.Contains(got, `"total":2`) {
		t.Errorf("my own deleted one: %s", got)
	}
}

func TestT3_IncludeStopsAtTheView(t *testing.T) {
	s := hospital(t)
	for _, query := range []string{"_include=Observation:performer", "_include=*", "_include:iterate=Observation:*", "_revinclude=*&_include=*"} {
		if got := s.wantsStatus(t, chart(t, "rs"), 200, "GET", "Observation?_id=qa&"+query, ""); strings.Contains(got, `RelatedPerson/rb","resource`) || !strings.Contains(got, "Observation/qa") {
			t.Errorf("%s: %s", query, got)
		}
	}
	s.write(t, `{"resourceType":"Observation","id":"old","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/a"},"performer":[{"reference":"RelatedPerson/rb/_history/1"}]}`)
	if got := s.wantsStatus(t, chart(t, "rs"), 200, "GET", "Observation?_id=old&_include=Observation:performer", ""); strings.Contains(got, `"RelatedPerson","id"`) {
		t.Errorf("a version: %s", got)
	}
	reading := fhir.Access{{Type: "Observation", Letters: "rs"}, {Type: "Patient", Letters: "r"}}
	if got := s.wantsStatus(t, reading, 200, "GET", "Observation?_id=oa&_include=Observation:subject", ""); !strings.Contains(got, `"Patient","id":"a"`) {
		t.Errorf("R31: r is enough for what is included: %s", got)
	}
	if got := s.wantsStatus(t, reading, 200, "GET", "Observation?_id=oa&_include=Observation:subject&_revinclude=Encounter:patient", ""); strings.Contains(got, "Encounter/") {
		t.Errorf("a type without a rule: %s", got)
	}
}

func TestT4_IncludesOnEveryPage(t *testing.T) {
	s := hospital(t)
	url := "Observation?_count=1&_revinclude=*&_include:iterate=Observation:*"
	for pages := 0; url != "" && pages < 9; pages++ {
		got := s.wantsStatus(t, chart(t, "rs"), 200, "GET", url, "")
		for _, foreign := range []string{"Patient/b\",\"res", "Observation/ob", "Observation/qb", "Provenance/vb", "RelatedPerson/rb\",\"res", "Group/"} {
			if strings.Contains(got, foreign) {
				t.Errorf("page %d shows %s: %s", pages, foreign, got)
			}
		}
		url = linkTo(resource(t, got).Root(), "next")
	}
}

func TestT5_ReverseChainNeedsItsType(t *testing.T) {
	s := hospital(t)
	for _, query := range []string{"_has:Observation:patient:value-quantity=gt3", "_has:Encounter:patient:_has:Observation:encounter:code=y", "_list=lb"} {
		s.wantsStatus(t, fhir.Access{{Type: "Patient", Letters: "rs"}}, 403, "GET", "Patient?"+query, "")
	}
	two := fhir.Access{{Type: "Patient", Letters: "rs"}, {Type: "Encounter", Letters: "rs", Filter: "status=finished"}}
	s.wantsStatus(t, two, 403, "GET", "Patient?_has:Encounter:patient:_has:Observation:encounter:code=y", "")
	s.wantsStatus(t, two, 403, "GET", "Encounter?subject:Patient._has:Observation:patient:code=y", "")
}

func TestT6_BinarySearchFindsNothing(t *testing.T) {
	s := hospital(t)
	access := append(chart(t, "rs"), fhir.Rule{Type: "Patient", Letters: "rs"}) // both patients, but not b's observations
	for _, value := range []string{"gt3", "gt100", "7", "lt5"} {
		if got := s.wantsStatus(t, access, 200, "GET", "Patient?_id=b&_has:Observation:patient:value-quantity="+value, ""); !strings.Contains(got, `"total":0`) {
			t.Errorf("%s: %s", value, got)
		}
	}
}

func TestT7_ChainOverHiddenPatients(t *testing.T) {
	s := hospital(t)
	access := fhir.Access{{Type: "Observation", Letters: "rs"}, {Type: "Patient", Letters: "rs", Compartment: fhir.Reference{Type: "Patient", ID: "a"}}}
	for query, want := range map[string]string{"patient.name=Smith&subject=Patient/b": `"total":0`, "patient.name=Smith": `"total":2`, "subject:Patient.identifier=MRN-b": `"total":0`, "_filter=patient.name%20eq%20Smith%20and%20subject%20eq%20Patient/b": `"total":0`} {
		if got := s.wantsStatus(t, access, 200, "GET", "Observation?"+query, ""); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

// A search by the patient whose record it is needs no second look; by other
// links to the patient it does.
func TestT7_OtherLinksToThePatient(t *testing.T) {
	s := hospital(t)
	s.write(t, `{"resourceType":"Observation","id":"about","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/b"},"focus":[{"reference":"Patient/a"}]}`)
	s.write(t, `{"resourceType":"Appointment","id":"with","status":"booked","participant":[{"actor":{"reference":"Patient/b"},"status":"accepted"}],"supportingInformation":[{"reference":"Patient/a"}]}`)
	for query, want := range map[string]string{
		"Observation?focus=Patient/a": `"total":0`, "Observation?focus=Patient/a&patient=a": `"total":0`, "Observation?patient=a": `"total":2`, "Observation?subject=Patient/a": `"total":2`, "Observation?performer=Patient/a": `"total":0`,
		"Observation?subject=Patient/b": `"total":0`, "Observation?focus:missing=false": `"total":0`, "Appointment?supporting-info=Patient/a": `"total":0`, "Observation?patient=a,b": `"total":2`,
	} {
		if got := s.wantsStatus(t, chart(t, "rs"), 200, "GET", query, ""); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

func TestT8_NoScopeIsTheSame403(t *testing.T) {
	s := hospital(t)
	only := fhir.Access{{Type: "Patient", Letters: "rs"}}
	seen := map[string]bool{}
	for _, url := range []string{"Observation/oa", "Observation/none", "Observation", "Observation?_id=none", "Observation/oa/_history", "Observation/none/_history/1", "Flag", "Flag/none", "Observation/$lastn?patient=a", "Patient/a/Observation"} {
		seen[s.wantsStatus(t, only, 403, "GET", url, "")] = true
	}
	if len(seen) != 1 {
		t.Errorf("different refusals: %v", seen)
	}
}

func TestT9_CountsOfTheViewOnly(t *testing.T) {
	s := hospital(t)
	for _, query := range []string{"_summary=count", "_total=accurate", "_total=estimate", "_sort=-date&_total=accurate", "_count=0"} {
		if got := s.wantsStatus(t, chart(t, "rs"), 200, "GET", "Observation?"+query, ""); !strings.Contains(got, `"total":2`) {
			t.Errorf("%s: %s", query, got)
		}
	}
	if got := s.wantsStatus(t, chart(t, "rs"), 200, "GET", "Observation?_explain=true", ""); strings.Contains(got, "scanned") || !strings.Contains(got, "_explain is for callers") {
		t.Errorf("_explain: %s", got)
	}
	if got := s.wantsStatus(t, chart(t, "rs"), 200, "GET", "Observation/_history?_count=0", ""); !strings.Contains(got, `"total":2`) {
		t.Errorf("history: %s", got)
	}
}

func TestT10_CursorsAreTheirCallers(t *testing.T) {
	s := hospital(t)
	mine := fhir.Caller{Name: "ann", Client: "app", Access: chart(t, "rs")}
	for _, url := range []string{"Observation?_count=1", "Observation/_history?_count=1", "_history?_count=1", "Patient/a/$everything?_count=1"} {
		status, first := s.from(t, mine, "GET", url, "")
		next := linkTo(resource(t, first).Root(), "next")
		if status != 200 || next == "" {
			t.Fatalf("%s: %d %s", url, status, first)
		}
		for name, c := range map[string]fhir.Caller{"user": {Name: "bob", Client: "app"}, "app": {Name: "ann", Client: "other"}, "patient": {Name: "ann", Client: "app", Patient: fhir.Reference{Type: "Patient", ID: "b"}}} {
			c.Access = mine.Access
			if status, _ := s.from(t, c, "GET", next, ""); status != 410 {
				t.Errorf("%s, another %s: %d", url, name, status)
			}
		}
		middle := strings.LastIndex(next, "=") + 20
		edited := next[:middle] + string('A'+(next[middle]-'A'+1)%20) + next[middle+1:]
		if status, _ := s.from(t, mine, "GET", edited, ""); status != 410 && status != 400 {
			t.Errorf("%s, edited: %d", url, status)
		}
		if status, text := s.from(t, mine, "GET", next, ""); status != 200 || !strings.Contains(text, `"entry"`) {
			t.Errorf("%s: %d %s", url, status, text)
		}
		narrower := mine
		narrower.Access = fhir.Access{{Type: "Patient", Letters: "rs", Compartment: fhir.Reference{Type: "Patient", ID: "a"}}}
		if status, text := s.from(t, narrower, "GET", next, ""); status == 200 && strings.Contains(text, "Observation/") {
			t.Errorf("T108: %s under a narrower scope: %s", url, text)
		}
	}
}

func TestT12_EveryTypeIsOwnOnly(t *testing.T) {
	s := hospital(t)
	mine := chart(t, "cruds")
	for own, foreign := range map[string]string{
		"CareTeam/ta": "CareTeam/tb", "List/la": "List/lb", "Device/da": "Device/db", "Basic/ba": "Basic/bb", "Media/ma": "Media/mb", "Binary/fa": "Binary/fb", "Binary/ga": "Binary/gb", "Provenance/va": "Provenance/vb",
		"Task/ka": "Task/kb", "RelatedPerson/ra": "RelatedPerson/rb", "Encounter/ea": "Encounter/eb", "Patient/a": "Patient/b",
	} {
		s.wantsStatus(t, mine, 200, "GET", own, "")
		s.wantsStatus(t, mine, 404, "GET", foreign, "")
		typ, _, _ := strings.Cut(own, "/")
		if got := s.wantsStatus(t, mine, 200, "GET", typ, ""); !strings.Contains(got, own+`"`) || strings.Contains(got, foreign+`","res`) {
			t.Errorf("search: %s", got)
		}
	}
	for _, url := range []string{"Group/groupa", "Group", "Subscription/sa", "AuditEvent/ua", "AuditEvent?patient=Patient/a", "Slot", "Bundle"} {
		s.wantsStatus(t, mine, 403, "GET", url, "")
	}
	s.wantsStatus(t, mine, 403, "POST", "Provenance", `{"resourceType":"Provenance","target":[{"reference":"Observation/ob"}],"recorded":"2020-01-01T00:00:00Z","agent":[{"who":{"reference":"Patient/a"}}]}`)
	s.wantsStatus(t, fhir.Access{{Type: "Basic", Letters: "c"}}, 201, "POST", "Basic", `{"resourceType":"Basic","code":{"text":"x"}}`)
	s.wantsStatus(t, mine, 200, "GET", "Practitioner/p", "")
	s.wantsStatus(t, mine, 403, "PUT", "Practitioner/p", `{"resourceType":"Practitioner","id":"p","active":true}`)
}

func TestT13_BinaryFollowsItsSecurityContext(t *testing.T) {
	s := hospital(t)
	mine := chart(t, "cruds")
	absent := s.wantsStatus(t, mine, 404, "GET", "Binary/none", "")
	for _, url := range []string{"Binary/fb", "Binary/gb", "Binary/loose"} {
		if got := s.wantsStatus(t, mine, 404, "GET", url, ""); got != absent {
			t.Errorf("%s: %s", url, got)
		}
	}
	binaries := fhir.Access{{Type: "Binary", Letters: "rs"}, {Type: "Observation", Letters: "rs", Filter: "subject=Patient/b"}}
	for url, want := range map[string]int{"Binary/fa": 404, "Binary/ga": 404, "Binary/gb": 200, "Binary/fb": 404, "Binary/loose": 200} {
		s.wantsStatus(t, binaries, want, "GET", url, "")
	}
	s.wantsStatus(t, mine, 403, "POST", "Binary", `{"resourceType":"Binary","contentType":"text/plain","securityContext":{"reference":"Patient/b"},"data":"eA=="}`)
	s.wantsStatus(t, mine, 403, "POST", "Binary", `{"resourceType":"Binary","contentType":"text/plain","data":"eA=="}`)
	s.wantsStatus(t, mine, 201, "POST", "Binary", `{"resourceType":"Binary","contentType":"text/plain","securityContext":{"reference":"Patient/a"},"data":"eA=="}`)
	s.wantsStatus(t, mine, 403, "PUT", "Binary/fa", `{"resourceType":"Binary","id":"fa","contentType":"text/plain","securityContext":{"reference":"Observation/oa"},"data":"eA=="}`)
}

func TestT14_PutOfHiddenIsAsOfAbsent(t *testing.T) {
	s := hospital(t)
	mine := chart(t, "cruds")
	body := func(id string) string {
		return `{"resourceType":"Observation","id":"` + id + `","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/a"}}`
	}
	absent := s.wantsStatus(t, mine, 404, "PUT", "Observation/none", body("none"))
	if got := s.wantsStatus(t, mine, 404, "PUT", "Observation/ob", body("ob")); got != absent {
		t.Errorf("hidden: %s, absent: %s", got, absent)
	}
	s.wantsStatus(t, mine, 200, "PUT", "Observation/oa", body("oa"))
	s.wantsStatus(t, fhir.Full(), 201, "PUT", "Observation/none", body("none"))
	if got := s.wantsStatus(t, fhir.Full(), 200, "GET", "Observation/ob", ""); !strings.Contains(got, "Patient/b") {
		t.Errorf("it was taken: %s", got)
	}
}

// conditional sends a request with criteria in If-None-Exist.
func (s *server) conditional(t *testing.T, access fhir.Access, typ, criteria, body string) (int, string) {
	t.Helper()
	answer, err := s.Do(t.Context(), fhir.Request{Interaction: fhir.Create, Type: typ, IfNoneExist: criteria, Resource: resource(t, body), Base: s.base, Caller: fhir.Caller{Access: access}})
	if err != nil {
		return refusalStatus(err), err.Error()
	}
	return answer.Status, string(answer.Resource.Raw())
}

func refusalStatus(err error) int {
	if own, ok := err.(*fhir.Error); ok {
		return own.Status
	}
	return 0
}

func TestT15_ConditionalCreateOverTheView(t *testing.T) {
	s := hospital(t)
	mine := append(chart(t, "cruds"), fhir.Rule{Type: "Patient", Letters: "c"})
	body := `{"resourceType":"Patient","name":[{"family":"New"}]}`
	for _, mrn := range []string{"MRN-b", "MRN-none"} {
		began := time.Now()
		if status, text := s.conditional(t, mine, "Patient", "identifier="+mrn, body); status != 201 {
			t.Errorf("%s: %d %s, want the same as if nobody had it", mrn, status, text)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("%s took %s", mrn, took)
		}
	}
	if status, text := s.conditional(t, mine, "Patient", "identifier=MRN-a", body); status != 200 || !strings.Contains(text, `"id":"a"`) {
		t.Errorf("my own: %d %s", status, text)
	}
	letters := fhir.Access{{Type: "Patient", Letters: "s"}}
	for _, mrn := range []string{"MRN-a", "MRN-none"} {
		if status, _ := s.conditional(t, letters, "Patient", "identifier="+mrn, body); status != 403 {
			t.Errorf("R19, s without c, %s: %d", mrn, status)
		}
		if status, _ := s.conditional(t, fhir.Access{{Type: "Patient", Letters: "c"}}, "Patient", "identifier="+mrn, body); status != 403 {
			t.Errorf("R19, c without s, %s: %d", mrn, status)
		}
	}
}

func TestT16_ConditionalWritesOverTheView(t *testing.T) {
	s := hospital(t)
	mine := chart(t, "cruds")
	gone := s.wantsStatus(t, mine, 204, "DELETE", "Basic?_id=none", "")
	if got := s.wantsStatus(t, mine, 204, "DELETE", "Basic?_id=bb", ""); got != gone {
		t.Errorf("delete: %s, %s", got, gone)
	}
	body := `{"resourceType":"Patient","active":true}`
	hidden := s.wantsStatus(t, mine, 403, "PUT", "Patient?identifier=MRN-b", body)
	if got := s.wantsStatus(t, mine, 403, "PUT", "Patient?identifier=MRN-none", body); got != hidden {
		t.Errorf("update: %s, %s", got, hidden)
	}
	s.wantsStatus(t, fhir.Full(), 200, "GET", "Basic/bb", "")
	for letters, url := range map[string]string{"d": "DELETE", "s": "DELETE"} {
		s.wantsStatus(t, fhir.Access{{Type: "Basic", Letters: letters}}, 403, url, "Basic?_id=bb", "")
	}
}

func TestT17_CreateForAnotherIs403(t *testing.T) {
	s := hospital(t)
	seen := map[string]bool{}
	for _, subject := range []string{"Patient/b", "Patient/none", "Group/groupa", "#x", "urn:uuid:1", s.base + "/Patient/b", "https://elsewhere.example/Patient/a"} {
		seen[s.wantsStatus(t, chart(t, "cruds"), 403, "POST", "Observation", `{"resourceType":"Observation","status":"final","code":{"text":"x"},"subject":{"reference":"`+subject+`"}}`)] = true
	}
	if len(seen) != 1 {
		t.Errorf("different answers: %v", seen)
	}
	s.wantsStatus(t, chart(t, "cruds"), 201, "POST", "Observation", `{"resourceType":"Observation","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/a"}}`)
	s.wantsStatus(t, chart(t, "cruds"), 403, "POST", "Observation", `{"resourceType":"Observation","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/a"},"performer":[{"reference":"Patient/b"}]}`)
}

func TestT18_SubjectsDoNotMove(t *testing.T) {
	s := hospital(t)
	staff := fhir.Access{{Type: "*", Letters: "cruds"}} // all records, and no leave to move them
	for _, access := range []fhir.Access{chart(t, "cruds"), staff} {
		s.wantsStatus(t, access, 403, "PUT", "Observation/oa", `{"resourceType":"Observation","id":"oa","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/b"}}`)
		s.wantsStatus(t, access, 403, "PUT", "Observation/oa", `{"resourceType":"Observation","id":"oa","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/a"},"performer":[{"reference":"Patient/b"}]}`)
		s.wantsStatus(t, access, 200, "PUT", "Observation/oa", `{"resourceType":"Observation","id":"oa","status":"amended","code":{"text":"x"},"subject":{"reference":"Patient/a"}}`)
	}
	s.wantsStatus(t, fhir.Full(), 200, "PUT", "Observation/oa", `{"resourceType":"Observation","id":"oa","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/b"}}`)
	if status, err := s.patch(t, staff, "Observation/qa", `[{"op":"replace","path":"/subject/reference","value":"Patient/b"}]`); status != 403 {
		t.Errorf("patch: %d %v", status, err)
	}
}

func (s *server) patch(t *testing.T, access fhir.Access, url, edits string) (int, error) {
	t.Helper()
	r, err := fhir.RouteURL("PATCH", url, s.base)
	if err != nil {
		t.Fatal(err)
	}
	r.Base, r.Format, r.Body, r.Caller = s.base, "application/json-patch+json", []byte(edits), fhir.Caller{Access: access}
	answer, err := s.Do(t.Context(), r)
	if err != nil {
		return refusalStatus(err), err
	}
	return answer.Status, nil
}

func TestT19_TransactionIsWholeOrNothing(t *testing.T) {
	s := hospital(t)
	mine := chart(t, "cruds")
	entry := func(id, subject string) string {
		return `{"fullUrl":"urn:uuid:` + id + `","resource":{"resourceType":"Observation","status":"final","code":{"text":"` + id + `"},"subject":{"reference":"` + subject + `"}},"request":{"method":"POST","url":"Observation"}}`
	}
	patient := `{"fullUrl":"urn:uuid:p","resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Patient"}}`
	for name, entries := range map[string][]string{
		"mine and theirs": {entry("t19", "Patient/a"), entry("x", "Patient/b")}, "a forward reference": {entry("t19", "urn:uuid:p"), patient}, "by criteria": {entry("t19", "Patient/a"), entry("x", "Patient?identifier=MRN-b")},
	} {
		want := 403
		if name == "by criteria" {
			want = 412 // it matches nothing, as for one that nobody has
		}
		s.wantsStatus(t, mine, want, "POST", "", bundleOf("transaction", entries...))
	}
	if got := s.wantsStatus(t, fhir.Full(), 200, "GET", "Observation?code:text=t19&_summary=count", ""); !strings.Contains(got, `"total":0`) {
		t.Errorf("something was written: %s", got)
	}
	told := `{"resource":{"resourceType":"Provenance","target":[{"reference":"urn:uuid:t19"}],"recorded":"2020-01-01T00:00:00Z","agent":[{"who":{"display":"x"}}]},"request":{"method":"POST","url":"Provenance"}}`
	s.wantsStatus(t, mine, 200, "POST", "", bundleOf("transaction", entry("t19", "Patient/a"), told))
}

func TestT20_BatchOfForeignIDs(t *testing.T) {
	s := hospital(t)
	var entries []string
	for i := range 50 {
		entries = append(entries, entryOf("GET", []string{"Observation/ob", "Observation/none"}[i%2], ""))
	}
	got := s.wantsStatus(t, chart(t, "rs"), 200, "POST", "", bundleOf("batch", entries...))
	if strings.Count(got, `"404 Not Found"`) != 50 {
		t.Errorf("%s", got)
	}
}

func TestT21_LinksReachNoOtherChart(t *testing.T) {
	s := hospital(t)
	mine := chart(t, "cruds")
	s.wantsStatus(t, mine, 403, "PUT", "Patient/a", `{"resourceType":"Patient","id":"a","link":[{"other":{"reference":"Patient/b"},"type":"seealso"}]}`)
	s.wantsStatus(t, mine, 403, "POST", "Person", `{"resourceType":"Person","link":[{"target":{"reference":"Patient/a"}},{"target":{"reference":"Patient/b"}}]}`)
	s.wantsStatus(t, mine, 200, "PUT", "Patient/a", `{"resourceType":"Patient","id":"a","active":true}`)
	s.write(t, `{"resourceType":"Patient","id":"a2","link":[{"other":{"reference":"Patient/a"},"type":"replaces"}]}`)
	s.wantsStatus(t, mine, 200, "GET", "Patient/a2", "") // SMART@139: a record that links to one's own is one's own
	s.write(t, `{"resourceType":"Patient","id":"a","link":[{"other":{"reference":"Patient/b"},"type":"seealso"}]}`)
	s.wantsStatus(t, mine, 404, "GET", "Patient/b", "") // but not what one's own links to
	s.wantsStatus(t, mine, 404, "GET", "Observation/ob", "")
}

// R32: a version is seen by whom sees both it and the current one.
func TestT22_HistoryNeedsNowAndThen(t *testing.T) {
	s := hospital(t)
	secret := func(id, label string) string {
		meta := ""
		if label != "" {
			meta = `"meta":{"security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-Confidentiality","code":"` + label + `"}]},`
		}
		return `{"resourceType":"Observation","id":"` + id + `",` + meta + `"status":"final","code":{"text":"` + label + `x"},"subject":{"reference":"Patient/a"}}`
	}
	for _, id := range []string{"tight", "loose"} { // one is tightened, one is loosened
		labels := []string{"", "R"}
		if id == "loose" {
			labels = []string{"R", ""}
		}
		for _, l := range labels {
			s.write(t, secret(id, l))
		}
	}
	c := fhir.Caller{Access: chart(t, "rs"), Deny: fhir.Access{{Type: "*", Filter: "_security=R"}}}
	for url, want := range map[string]int{"tight/_history/1": 404, "tight/_history/2": 404, "tight/_history": 404, "tight": 404, "loose/_history/1": 404, "loose/_history/2": 200, "loose": 200} {
		if status, text := s.from(t, c, "GET", "Observation/"+url, ""); status != want {
			t.Errorf("%s: %d %s, want %d", url, status, text, want)
		}
	}
	for _, url := range []string{"Observation/loose/_history", "Observation/_history", "_history"} {
		status, text := s.from(t, c, "GET", url, "")
		if status != 200 || strings.Contains(text, "tight") || strings.Contains(text, `"code":"R"`) || strings.Count(text, `"id":"loose"`) != 1 || strings.Contains(text, "Patient/b") {
			t.Errorf("%s: %d %s", url, status, text)
		}
	}
	if status, text := s.from(t, fhir.Caller{Access: fhir.Full()}, "GET", "Observation?_id=tight", ""); status != 200 || !strings.Contains(text, `"meta":{"security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-Confidentiality","code":"R"}]}}`) {
		t.Errorf("R34: the Bundle's own label: %d %s", status, text)
	}
}

func TestT23_LabelsAndOwnersNeedLeave(t *testing.T) {
	s := openAs(t, openStore(t, time.Now), time.Now, func(c *interaction.Config) { c.OwnerTags = []string{"urn:tenant"} })
	body := func(meta string) string {
		return `{"resourceType":"Basic","id":"x","meta":{` + meta + `},"code":{"text":"x"}}`
	}
	const mine, other, label, note = `"tag":[{"system":"urn:tenant","code":"a"}]`, `"tag":[{"system":"urn:tenant","code":"a"},{"system":"urn:tenant","code":"b"}]`, `"security":[{"system":"urn:s","code":"R"}]`, `"tag":[{"system":"urn:tenant","code":"a"},{"system":"urn:note","code":"n"}]`
	s.write(t, body(mine+","+label))
	tenant := fhir.Access{{Type: "Basic", Letters: "cruds", Filter: "_tag=urn:tenant|a"}}
	staff := fhir.Access{{Type: "*", Letters: "cruds"}}
	for _, access := range []fhir.Access{tenant, staff} {
		s.wantsStatus(t, access, 403, "PUT", "Basic/x", body(other+","+label))
		s.wantsStatus(t, access, 403, "PUT", "Basic/x", body(mine))
		s.wantsStatus(t, access, 403, "PUT", "Basic/x", body(mine+`,"security":[{"system":"urn:s","code":"N"}]`))
		s.wantsStatus(t, access, 403, "POST", "Basic", body(mine+","+label))
		s.wantsStatus(t, access, 403, "POST", "Basic", body(other))
		s.wantsStatus(t, access, 200, "PUT", "Basic/x", body(note+","+label))
		s.wantsStatus(t, access, 200, "PUT", "Basic/x", body(mine+`,"security":[{"code":"R","system":"urn:s"}]`))
	}
	s.wantsStatus(t, tenant, 201, "POST", "Basic", body(mine))
	s.wantsStatus(t, staff, 403, "POST", "Basic", body(mine))
	s.wantsStatus(t, staff, 201, "POST", "Basic", body(`"profile":["http://x"]`))
	s.wantsStatus(t, fhir.Access{{Type: "Basic", Letters: "cudl", Filter: "_tag=urn:tenant|a"}}, 200, "PUT", "Basic/x", body(mine))
	s.wantsStatus(t, fhir.Access{{Type: "Basic", Letters: "cudl", Filter: "_tag=urn:tenant|a"}}, 403, "PUT", "Basic/x", body(label))
}

func TestT24_LabelsByOtherWays(t *testing.T) {
	s := hospital(t)
	s.write(t, `{"resourceType":"Basic","id":"l","meta":{"security":[{"system":"urn:s","code":"R"}]},"code":{"text":"x"},"subject":{"reference":"Patient/a"}}`)
	for _, access := range []fhir.Access{chart(t, "cruds"), {{Type: "*", Letters: "cruds"}}} {
		if status, err := s.patch(t, access, "Basic/l", `[{"op":"remove","path":"/meta/security"}]`); status != 403 {
			t.Errorf("patch: %d %v", status, err)
		}
		for _, name := range []string{"meta-delete", "meta-add"} {
			code := map[string]string{"meta-delete": "R", "meta-add": "N"}[name]
			s.wantsStatus(t, access, 403, "POST", "Basic/l/$"+name, `{"resourceType":"Parameters","parameter":[{"name":"meta","valueMeta":{"security":[{"system":"urn:s","code":"`+code+`"}]}}]}`)
		}
		s.wantsStatus(t, access, 200, "POST", "Basic/l/$meta-add", `{"resourceType":"Parameters","parameter":[{"name":"meta","valueMeta":{"tag":[{"system":"urn:note","code":"n"}]}}]}`)
		s.wantsStatus(t, access, 403, "POST", "", bundleOf("transaction", entryOf("PUT", "Basic/l", `{"resourceType":"Basic","id":"l","code":{"text":"x"},"subject":{"reference":"Patient/a"}}`)))
	}
}

func TestT30_MatchIsForTheWholeView(t *testing.T) {
	s := hospital(t)
	ask := `{"resourceType":"Parameters","parameter":[{"name":"resource","resource":{"resourceType":"Patient","identifier":[{"system":"urn:mrn","value":"MRN-b"}]}}]}`
	for name, access := range map[string]fhir.Access{"patient": chart(t, "cruds"), "filtered": {{Type: "Patient", Letters: "rs", Filter: "active=true"}}, "reading": {{Type: "Patient", Letters: "r"}}} {
		if status, _ := s.as(t, access, "POST", "Patient/$match", ask); status != 403 {
			t.Errorf("%s: %d", name, status)
		}
	}
	s.wantsStatus(t, fhir.Access{{Type: "Patient", Letters: "rs"}}, 200, "POST", "Patient/$match", ask)
}

func TestT33_FiltersThatLookElsewhereGrantNothing(t *testing.T) {
	s := hospital(t)
	for _, filter := range []string{"_filter=status eq final", "_has:Observation:has-member:status=final", "_list=la", "_text=x", "_content=x", "_sort=date", "_count=1", "_include=Observation:subject", "_id=", "nonsense=1", "status=final&code=", "", "_query=x", "_summary=count&status=final", "%zz"} {
		access := fhir.Access{{Type: "Observation", Letters: "cruds", Filter: filter, Compartment: fhir.Reference{Type: "Group", ID: "x"}}}
		if filter != "" {
			access[0].Compartment = fhir.Reference{}
			s.wantsStatus(t, access, 403, "GET", "Observation", "")
			if status, _ := s.from(t, fhir.Caller{Access: fhir.Full(), Deny: access}, "GET", "Observation", ""); status != 403 {
				t.Errorf("what withholds by %q: %d", filter, status)
			}
		}
		also := append(fhir.Access{{Type: "Observation", Letters: "rs", Filter: "subject=Patient/a"}}, access...)
		if got := s.wantsStatus(t, also, 200, "GET", "Observation", ""); strings.Contains(got, "Observation/ob") {
			t.Errorf("beside a good rule, %q: %s", filter, got)
		}
	}
	chained := fhir.Access{{Type: "Observation", Letters: "cruds", Filter: "subject:Patient.identifier=urn:mrn|MRN-a"}}
	s.wantsStatus(t, chained, 200, "GET", "Observation/oa", "")
	s.wantsStatus(t, chained, 404, "GET", "Observation/ob", "")
	s.wantsStatus(t, chained, 403, "POST", "Observation", `{"resourceType":"Observation","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/b"}}`)
	s.wantsStatus(t, chained, 201, "POST", "Observation", `{"resourceType":"Observation","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/a"}}`)
	s.wantsStatus(t, chained, 200, "GET", "Observation/oa/_history/1", "")
}

func TestT36_GranularFilters(t *testing.T) {
	s := hospital(t)
	body := func(id, status string) string {
		return `{"resourceType":"Observation","id":"` + id + `","status":"` + status + `","code":{"text":"x"},"subject":{"reference":"Patient/a"}}`
	}
	s.write(t, body("draft", "preliminary"))
	final := fhir.Access{{Type: "Observation", Letters: "cruds", Filter: "status=final"}}
	s.wantsStatus(t, final, 404, "GET", "Observation/draft", "")
	s.wantsStatus(t, final, 403, "POST", "Observation", body("x", "preliminary"))
	s.wantsStatus(t, final, 201, "POST", "Observation", body("x", "final"))
	s.wantsStatus(t, final, 404, "PUT", "Observation/draft", body("draft", "final"))
	s.wantsStatus(t, final, 403, "PUT", "Observation/oa", body("oa", "preliminary"))
	s.wantsStatus(t, final, 204, "DELETE", "Observation/draft", "")
	s.wantsStatus(t, fhir.Full(), 200, "GET", "Observation/draft", "")
	s.wantsStatus(t, final, 204, "DELETE", "Observation/oa", "")
	s.wantsStatus(t, fhir.Full(), 410, "GET", "Observation/oa", "")
}

func TestT106_CriteriaThatSelectNothingKnown(t *testing.T) {
	s := hospital(t)
	for _, url := range []string{"Observation?subjct=Patient/a", "Observation?identifier=", "Observation?", "Observation?_sort=date", "Observation?_count=1"} {
		for _, access := range []fhir.Access{chart(t, "cruds"), fhir.Full()} {
			if status, text := s.as(t, access, "DELETE", url, ""); status != 400 && status != 412 && status != 405 {
				t.Errorf("DELETE %s: %d %s", url, status, text)
			}
		}
	}
	s.wantsStatus(t, fhir.Full(), 200, "GET", "Observation/oa", "")
}

func TestT107_EveryPageIsNarrowedAlike(t *testing.T) {
	s := hospital(t)
	for i := range 5 {
		s.write(t, fmt.Sprintf(`{"resourceType":"Observation","id":"p%d","status":"%s","code":{"text":"x"},"subject":{"reference":"Patient/a"}}`, i, []string{"final", "preliminary"}[i%2]))
	}
	access := fhir.Access{{Type: "Observation", Letters: "rs", Filter: "status=final", Compartment: fhir.Reference{Type: "Patient", ID: "a"}}, {Type: "Patient", Letters: "rs", Compartment: fhir.Reference{Type: "Patient", ID: "a"}}}
	for _, first := range []string{"Observation?_count=1", "Patient/a/$everything?_count=1&_type=Observation", "Observation/_history?_count=1"} {
		seen, pages := "", 0
		for url := first; url != "" && pages < 12; pages++ {
			got := s.wantsStatus(t, access, 200, "GET", url, "")
			seen += got
			url = linkTo(resource(t, got).Root(), "next")
		}
		if strings.Contains(seen, "preliminary") || strings.Contains(seen, `Patient/b`) || strings.Count(seen, `"search":{"mode":"match"`)+strings.Count(seen, `"request":{`) != 5 || pages != 5 {
			t.Errorf("%s, %d pages: %s", first, pages, seen)
		}
	}
}

// R30: system searches and compartments give what is in view and ask for nothing
// else.
func TestR31_CompartmentSearch(t *testing.T) {
	s := hospital(t)
	mine := chart(t, "rs")
	if got := s.wantsStatus(t, mine, 200, "GET", "Patient/a/*", ""); !strings.Contains(got, "Observation/oa") || strings.Contains(got, "Group/") || strings.Contains(got, "AuditEvent/") {
		t.Errorf("%s", got)
	}
	if got := s.wantsStatus(t, mine, 200, "GET", "Patient/b/Observation", ""); !strings.Contains(got, `"total":0`) {
		t.Errorf("%s", got)
	}
	s.wantsStatus(t, mine, 403, "GET", "Patient/a/AuditEvent", "")
	s.wantsStatus(t, mine, 403, "GET", "", "")
	s.wantsStatus(t, mine, 403, "GET", "?_type=Observation,Group", "")
	s.wantsStatus(t, mine, 200, "GET", "?_type=Observation,Encounter", "")
}

// R28: a route or operation without a policy fails here, and is refused.
func TestR28_EveryRouteHasAPolicy(t *testing.T) {
	laws, err := reach.New(mustParts(t).search)
	if err != nil {
		t.Fatal(err)
	}
	full := laws.Of(fhir.Caller{Access: fhir.Full()})
	all := []fhir.Interaction{fhir.Read, fhir.VRead, fhir.Create, fhir.Update, fhir.Patch, fhir.Delete, fhir.SearchType, fhir.SearchSystem, fhir.SearchCompart, fhir.HistoryInstance, fhir.HistoryType, fhir.HistorySystem, fhir.Batch, fhir.Capabilities, fhir.Operation}
	for _, does := range all {
		r := fhir.Request{Interaction: does, Type: "Patient", ID: "1", Operation: "everything"}
		if err := full.Permit(r); err != nil {
			t.Errorf("%s has no policy: %v", does, err)
		}
		if err := laws.Of(fhir.Caller{}).Permit(r); (err == nil) != (does == fhir.Capabilities) {
			t.Errorf("%s of nobody: %v", does, err)
		}
	}
	for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"} {
		for _, path := range []string{"", "metadata", "_history", "_search", "$meta", "Patient", "Patient/_search", "Patient/_history", "Patient/$match", "Patient/1", "Patient/1/_history", "Patient/1/_history/1", "Patient/1/$everything", "Patient/1/*", "Patient/1/Observation", "Patient/1/Observation/_search"} {
			if r, err := fhir.Route(method, path, nil); err == nil {
				if err := full.Permit(r); err != nil {
					t.Errorf("%s %s has no policy: %v", method, path, err)
				}
			}
		}
	}
	if err := full.Permit(fhir.Request{Interaction: "graphql", Type: "Patient"}); err == nil {
		t.Error("an interaction without a policy is let in")
	}
	if err := laws.Of(fhir.Caller{Access: fhir.Access{{Type: "Patient", Letters: "cruds"}}}).Permit(fhir.Request{Interaction: fhir.Operation, Operation: "new", Type: "Patient", ID: "1"}); err == nil {
		t.Error("an operation without a policy is let in")
	}
	p, err := parts()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range p.operations.Operations() {
		if !reach.Known(o.Name) {
			t.Errorf("$%s has no policy", o.Name)
		}
	}
}

func mustParts(t *testing.T) *twinParts {
	t.Helper()
	p, err := parts()
	if err != nil {
		t.Fatal(err)
	}
	return p
}
