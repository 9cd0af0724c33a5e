package guard_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"candela/smart/guard"
	"candela/store"
)

// shifted moves the beginning of emergencies.
type shifted struct {
	store.Store
	by time.Duration
}

func (s shifted) KVGet(ctx context.Context, bucket, key string) ([]byte, error) {
	raw, err := s.Store.KVGet(ctx, bucket, key)
	if err != nil || bucket != "smart.glass" {
		return raw, err
	}
	var o struct {
		At time.Time `json:"at"`
	}
	if err := json.Unmarshal(raw, &o); err != nil {
		return nil, err
	}
	o.At = o.At.Add(s.by)
	return json.Marshal(o)
}

// consentOf is an active consent about the privacy of a patient.
func consentOf(id, patient, provision, more string) string {
	return `{"resourceType":"Consent","id":"` + id + `","status":"active","scope":{"coding":[{"code":"patient-privacy"}]},"category":[{"coding":[{"code":"IDSCL"}]}],"patient":{"reference":"Patient/` + patient +
		`"},"policyRule":{"coding":[{"code":"OPTIN"}]}` + more + `,"provision":{` + provision + `}}`
}

func coded(code string) string { return `{"coding":[{"system":"urn:c","code":"` + code + `"}]}` }

const (
	observations = `"class":[{"system":"http://hl7.org/fhir/resource-types","code":"Observation"}]`
	restricted   = `"securityLabel":[{"system":"http://terminology.hl7.org/CodeSystem/v3-Confidentiality","code":"R"}]`
	byRuth       = `"actor":[{"role":{"text":"x"},"reference":{"reference":"Practitioner/r"}}]`
	byNina       = `"actor":[{"role":{"text":"x"},"reference":{"reference":"Practitioner/n"}}]`
	byClinic     = `"actor":[{"role":{"text":"x"},"reference":{"reference":"Organization/clinic"}}]`
	byTeam       = `"actor":[{"role":{"text":"x"},"reference":{"reference":"CareTeam/t"}}]`
	byApp        = `"actor":[{"role":{"text":"x"},"reference":{"reference":"Device/app"}}]`
)

// TestR35_Consents: what consents of patient a leave of a's record to a
// practitioner who sees all of it without them.
func TestR35_Consents(t *testing.T) {
	all := "a oa ra ca"
	for _, c := range []struct {
		name, want string
		provisions []string
	}{
		{"permit", all, []string{`"type":"permit"`}},
		{"deny", "", []string{`"type":"deny"`}},
		{"OPTIN without a type", all, []string{`"period":{"start":"2020"}`}},
		{"deny a class", "a ca", []string{`"type":"permit","provision":[{"type":"deny",` + observations + `}]`}},
		{"deny a code", "a ra ca", []string{`"type":"permit","provision":[{"type":"deny","code":[` + coded("k1") + `]}]`}},
		{"deny a label", "a oa ca", []string{`"type":"permit","provision":[{"type":"deny",` + restricted + `}]`}},
		{"deny a class by code", "a ra ca", []string{`"type":"permit","provision":[{"type":"deny",` + observations + `,"code":[` + coded("k1") + `]}]`}},
		{"deny one thing", "a oa ra", []string{`"type":"permit","provision":[{"type":"deny","data":[{"meaning":"instance","reference":{"reference":"Condition/ca"}}]}]`}},
		{"deny things related to one", "", []string{`"type":"permit","provision":[{"type":"deny","data":[{"meaning":"related","reference":{"reference":"Condition/ca"}}]}]`}},
		{"deny but a class", "oa ra", []string{`"type":"deny","provision":[{"type":"permit",` + observations + `}]`}},
		{"deny but a code", "oa", []string{`"type":"deny","provision":[{"type":"permit","code":[` + coded("k1") + `]}]`}},
		{"deny but a class by code", "oa", []string{`"type":"deny","provision":[{"type":"permit",` + observations + `,"code":[` + coded("k1") + `]}]`}},
		{"deny but a class less a label", "oa", []string{`"type":"deny","provision":[{"type":"permit",` + observations + `,"provision":[{"type":"deny",` + restricted + `}]}]`}},
		{"deny a class but a label", "a ra ca", []string{`"type":"permit","provision":[{"type":"deny",` + observations + `,"provision":[{"type":"permit",` + restricted + `}]}]`}},
		{"a denial within a permission within a permission", "a ca", []string{`"type":"permit","provision":[{"type":"permit","provision":[{"type":"deny",` + observations + `}]}]`}},
		{"a denial of another class within a class", "a ra ca", []string{`"type":"permit","provision":[{"type":"deny",` + observations + `,"provision":[{"type":"permit",` + restricted + `,"provision":[{"type":"deny","class":[{"system":"http://hl7.org/fhir/resource-types","code":"Condition"}]}]}]}]`}},
		{"one thing of another class", all, []string{`"type":"permit","provision":[{"type":"deny",` + observations + `,"data":[{"meaning":"instance","reference":{"reference":"Condition/ca"}}],"provision":[{"type":"permit",` + observations + `}]}]`}},
		{"deny but a time that is not understood", "", []string{`"type":"deny","provision":[{"type":"permit","dataPeriod":{"start":"2020"}}]`}},
		{"deny a time that is not understood", "", []string{`"type":"permit","provision":[{"type":"deny",` + observations + `,"dataPeriod":{"start":"2020"}}]`}},
		{"deny me", "", []string{`"type":"permit","provision":[{"type":"deny",` + byRuth + `}]`}},
		{"deny another", all, []string{`"type":"permit","provision":[{"type":"deny",` + byNina + `}]`}},
		{"deny my organization", "", []string{`"type":"permit","provision":[{"type":"deny",` + byClinic + `}]`}},
		{"deny a team", "", []string{`"type":"permit","provision":[{"type":"deny",` + byTeam + `}]`}},
		{"deny the app", "", []string{`"type":"permit","provision":[{"type":"deny",` + byApp + `}]`}},
		{"deny all but me", all, []string{`"type":"deny","provision":[{"type":"permit",` + byRuth + `}]`}},
		{"deny all but another", "", []string{`"type":"deny","provision":[{"type":"permit",` + byNina + `}]`}},
		{"deny all but a team", "", []string{`"type":"deny","provision":[{"type":"permit",` + byTeam + `}]`}},
		{"deny research", all, []string{`"type":"permit","provision":[{"type":"deny","purpose":[{"code":"HRESCH"}]}]`}},
		{"deny treatment", "", []string{`"type":"permit","provision":[{"type":"deny","purpose":[{"code":"TREAT"}]}]`}},
		{"deny all but treatment", all, []string{`"type":"deny","provision":[{"type":"permit","purpose":[{"code":"TREAT"}]}]`}},
		{"deny all but to correct", "", []string{`"type":"deny","provision":[{"type":"permit","action":[{"coding":[{"code":"correct"}]}]}]`}},
		{"deny all but to use", all, []string{`"type":"deny","provision":[{"type":"permit","action":[{"coding":[{"code":"use"}]}]}]`}},
		{"T25: over, but active", all, []string{`"type":"deny","period":{"end":"2026-02-28"}`}},
		{"not yet", all, []string{`"type":"deny","period":{"start":"2026-03-02"}`}},
		{"now", "", []string{`"type":"deny","period":{"start":"2026-02","end":"2026-03"}`}},
		{"an exception that is over", "", []string{`"type":"deny","provision":[{"type":"permit","period":{"end":"2026-02-28"}}]`}},
		{"the newest wins", all, []string{"2026-01-01", `"type":"deny"`, "2026-01-02", `"type":"permit"`}},
		{"the newest wins, though stored first", "", []string{"2026-01-02", `"type":"deny"`, "2026-01-01", `"type":"permit"`}},
		{"deny on a tie", "", []string{"2026-01-01", `"type":"deny"`, "2026-01-01", `"type":"permit"`}},
		{"a newer one that speaks of another", "", []string{"2026-01-01", `"type":"deny"`, "2026-01-02", `"type":"permit",` + byNina}},
		{"a newer one that is over", "", []string{"2026-01-01", `"type":"deny"`, "2026-01-02", `"type":"permit","period":{"end":"2026-02-01"}`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			bearer := s.token("ruth", "user/*.rs", "")
			if len(c.provisions) == 1 {
				s.store1(consentOf("c", "a", c.provisions[0], ""))
			}
			for i := 0; i+1 < len(c.provisions); i += 2 {
				s.store1(consentOf("c"+string(rune('0'+i)), "a", c.provisions[i+1], `,"dateTime":"`+c.provisions[i]+`"`))
			}
			got := s.sees(bearer)
			want := strings.TrimSpace(strings.Join(insert(strings.Fields(c.want)), " "))
			if got != want {
				t.Errorf("sees %q, want %q", got, want)
			}
			if own := s.sees(s.token("ann", "patient/*.rs", "a")); own != all {
				t.Errorf("the patient sees %q", own)
			}
		})
	}
}

// insert puts patient b and b's observation, which no consent speaks of, where
// sees lists them.
func insert(seen []string) []string {
	order := []string{"a", "b", "oa", "ob", "ra", "va", "xa", "ca"}
	has := map[string]bool{"b": true, "ob": true}
	for _, one := range seen {
		has[one] = true
	}
	var out []string
	for _, one := range order {
		if has[one] {
			out = append(out, one)
		}
	}
	return out
}

// A user that is a role is denied as the practitioner and the organization of it.
func TestR35_RolesStandForTheirPeople(t *testing.T) {
	for actor, want := range map[string]string{byClinic: "b ob", byRuth: "b ob", byNina: "a b oa ob ra ca", strings.Replace(byRuth, "Practitioner/r", "PractitionerRole/role", 1): "b ob"} {
		s := open(t)
		s.store1(consentOf("c", "a", `"type":"permit","provision":[{"type":"deny",`+actor+`}]`, ""))
		if got := s.sees(s.token("rita", "user/*.rs", "")); got != want {
			t.Errorf("deny %s: %q, want %q", actor, got, want)
		}
	}
}

// What cannot be read withholds everything; what is no consent about privacy, or
// not active, nothing.
func TestR28_UnreadableConsent(t *testing.T) {
	for name, c := range map[string]struct{ edit, to, want string }{
		"no base rule":         {`"policyRule":{"coding":[{"code":"OPTIN"}]},`, "", "b ob"},
		"an unknown base rule": {"OPTIN", "HIPAA-Auth", "b ob"},
		"OPTOUT":               {"OPTIN", "OPTOUT", "b ob"},
		"research":             {"patient-privacy", "research", "a b oa ob ra ca"},
		"nobody's":             {`"patient":{"reference":"Patient/a"},`, "", "a b oa ob ra ca"},
		"a group's":            {`"Patient/a"`, `"Group/a"`, "a b oa ob ra ca"},
		"another server's":     {`"Patient/a"`, `"https://elsewhere.example/fhir/Patient/a"`, "a b oa ob ra ca"},
		"a draft":              {`"status":"active"`, `"status":"draft"`, "a b oa ob ra ca"},
		"about research":       {`"patient-privacy"}]}`, `"research"}]},"policyRule":{"coding":[{"code":"OPTOUT"}]}`, "a b oa ob ra ca"},
		"about nothing":        {`"scope":{"coding":[{"code":"patient-privacy"}]}`, `"scope":{"text":"x"},"policyRule":{"coding":[{"code":"OPTOUT"}]}`, "b ob"},
	} {
		s := open(t)
		body := strings.Replace(consentOf("c", "a", `"period":{"start":"2020"}`, ""), c.edit, c.to, 1)
		if strings.Count(body, "policyRule") == 2 {
			body = strings.Replace(body, `,"policyRule":{"coding":[{"code":"OPTIN"}]}`, "", 1)
		}
		s.store1(body)
		if got := s.sees(s.token("ruth", "user/*.rs", "")); got != c.want {
			t.Errorf("%s: sees %q, want %q", name, got, c.want)
		}
	}
}

// T26: a consent that is given, changed, revoked or deleted holds on the next
// request; other processes look at the same store.
func TestT26_NextRequest(t *testing.T) {
	s := open(t)
	bearer := s.token("ruth", "user/*.rs", "")
	step := func(what, want string) {
		t.Helper()
		if got := s.sees(bearer); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
		if status, text := s.get(bearer, "Patient/a/$everything"); (status == 200) != strings.HasPrefix(want, "a ") {
			t.Errorf("%s, $everything: %d %s", what, status, text)
		}
	}
	const all, without = "a b oa ob ra ca", "b ob"
	step("none", all)
	s.store1(consentOf("c", "a", `"type":"deny"`, ""))
	step("given", without)
	s.store1(consentOf("c", "a", `"type":"permit"`, ""))
	step("changed", all)
	s.store1(consentOf("c", "a", `"type":"deny"`, ""))
	step("changed back", without)
	s.store1(strings.Replace(consentOf("c", "a", `"type":"deny"`, ""), `"active"`, `"inactive"`, 1))
	step("revoked", all)
	s.store1(consentOf("c", "a", `"type":"deny"`, ""))
	step("again", without)
	s.store1(consentOf("c", "b", `"type":"deny"`, ""))
	step("now of another", "a oa ra ca")
	if _, err := s.store.Commit(t.Context(), store.Op{Action: store.Delete, Key: store.Key{Type: "Consent", ID: "c"}}); err != nil {
		t.Fatal(err)
	}
	step("deleted", all)
	s.store1(consentOf("d", "a", `"type":"deny"`, ""))
	step("another", without)
	if _, err := s.store.Commit(t.Context(), store.Op{Action: store.Erase, Key: store.Key{Type: "Consent", ID: "d"}}); err != nil {
		t.Fatal(err)
	}
	step("erased", all)
}

// A caller who is confined to a patient is asked about that one's consents only;
// one with other rules about all.
func TestR35_WhoseConsents(t *testing.T) {
	s := open(t)
	s.store1(consentOf("c", "b", `"type":"deny"`, ""))
	for scopes, want := range map[string]int{"patient/*.rs": 0, "patient/*.rs user/Observation.rs": 1, "user/*.rs": 1} {
		c, err := s.Caller(request(s.token("ruth", scopes, "a"), "Patient"))
		s.must(err)
		n := 0
		for _, rule := range c.Deny {
			if rule.Compartment.ID == "b" {
				n++
			}
		}
		if n != want {
			t.Errorf("%s: %d rules of b, want %d: %v", scopes, n, want, c.Deny)
		}
	}
	if got := s.sees(s.token("ruth", "patient/*.rs", "b")); got != "" {
		t.Errorf("b's record: %q", got)
	}
	_ = guard.PurposeHeader
}
