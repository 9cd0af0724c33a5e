//go:build clients

package clients_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"
)

// step is a thing that somebody does at a browser.
type step struct {
	Do        string   `json:"do"`
	Person    string   `json:"person"`
	URL       string   `json:"url,omitzero"`
	Find      string   `json:"find,omitzero"`
	Patient   string   `json:"patient,omitzero"`
	Encounter string   `json:"encounter,omitzero"`
	Path      string   `json:"path,omitzero"`
	Untick    []string `json:"untick,omitzero"`
	Deny      bool     `json:"deny,omitzero"`
}

// outcome is what came of it: what the app learned, and the pages on the way.
type outcome struct {
	Seen, Wrong                                     []string
	Error, Patient, Name, Encounter, User, UserType string
	UserRead, Scope                                 string
	Visits, Strangers, Status, Had, Has             int
	Refresh, Changed                                bool
}

type person struct {
	Password string `json:"password"`
	TOTP     string `json:"totp"`
}

func (c *clinic) browse(t *testing.T, steps ...step) []outcome {
	t.Helper()
	plan := struct {
		Chromium string            `json:"chromium"`
		People   map[string]person `json:"people"`
		Steps    []step            `json:"steps"`
	}{chromium(t), map[string]person{"doctor": {password, c.secret}, "patient": {password, ""}}, steps}
	out := run[outcome](t, npm(t), plan, "node", script(t, "browser.mjs"))
	if len(out) != len(steps) {
		t.Fatalf("%d of %d steps were done", len(out), len(steps))
	}
	return out
}

// standalone is where the app starts by itself, to ask for a scope.
func (c *clinic) standalone(scope string) string {
	return c.app + "/launch.html?" + url.Values{"iss": {c.base}, "scope": {scope}}.Encode()
}

// saw holds that the app got what it came for, over these pages, with no complaint
// of the browser.
func (o *outcome) saw(t *testing.T, who record, pages ...string) {
	t.Helper()
	if o.Error != "" || len(o.Wrong) > 0 {
		t.Fatalf("%s %q, after %q", o.Error, o.Wrong, o.Seen)
	}
	if o.Patient != who.id || o.Name != who.name || o.Visits == 0 || o.Strangers != 0 {
		t.Errorf("the app shows %s %q with %d visits (%d of others), not %s %q", o.Patient, o.Name, o.Visits, o.Strangers, who.id, who.name)
	}
	if !slices.EqualFunc(o.Seen, pages, strings.HasPrefix) {
		t.Errorf("the way was %q, not %q", o.Seen, pages)
	}
}

// A patient starts an app of their own, which reads the record, renews its token,
// and loses it when the patient ends its access.
func TestBrowser_StandaloneLaunchOfAPatient(t *testing.T) {
	c := open(t)
	other := c.patient[1].id
	got := c.browse(t,
		step{Do: "walk", Person: "patient", URL: c.standalone("launch/patient openid fhirUser offline_access patient/Patient.rs patient/Encounter.rs patient/Condition.rs"),
			Untick: []string{"patient/Condition.rs"}},
		step{Do: "call", Person: "patient", Path: "Patient/" + other},
		step{Do: "call", Person: "patient", Path: "Condition?patient=" + c.patient[0].id},
		step{Do: "refresh", Person: "patient"},
		step{Do: "end", Person: "patient", URL: c.auth + "/manage"},
		step{Do: "call", Person: "patient", Path: "Patient/" + c.patient[0].id},
	)
	first := &got[0]
	first.saw(t, c.patient[0], "Sign in", "Let Growth chart in?")
	if first.Scope != "launch/patient openid fhirUser offline_access patient/Patient.rs patient/Encounter.rs" || !first.Refresh {
		t.Errorf("granted %q, refresh token: %v", first.Scope, first.Refresh)
	}
	if first.UserType != "Patient" || first.UserRead != c.patient[0].id {
		t.Errorf("the user is %s, read as %s", first.User, first.UserRead)
	}
	if got[1].Status != 404 && got[1].Status != 403 {
		t.Errorf("another patient's record: %d", got[1].Status)
	}
	if got[2].Status != 403 {
		t.Errorf("what was unticked: %d", got[2].Status)
	}
	if !got[3].Changed || got[3].Patient != c.patient[0].id || got[3].Error != "" {
		t.Errorf("refresh: %+v", got[3])
	}
	if got[4].Had != 1 || got[4].Has != 0 || got[4].Error != "" {
		t.Errorf("ended: %+v", got[4])
	}
	if got[5].Status != 401 {
		t.Errorf("after the end: %d", got[5].Status)
	}
}

// A doctor launches the app from the EHR with a patient and a visit; then starts it
// without an EHR and picks another patient and a visit; then says no.
func TestBrowser_EHRLaunchOfADoctor(t *testing.T) {
	c := open(t)
	first, second := c.patient[2], c.patient[3]
	got := c.browse(t,
		step{Do: "walk", Person: "doctor", URL: c.auth + "/launcher", Find: first.family, Patient: first.id, Encounter: first.encounter},
		step{Do: "walk", Person: "doctor", URL: c.standalone("launch/patient launch/encounter openid fhirUser user/*.rs"), Find: second.family, Patient: second.id, Encounter: second.encounter},
		step{Do: "walk", Person: "doctor", URL: c.standalone("launch/patient patient/*.rs"), Find: second.family, Patient: second.id, Deny: true},
	)
	got[0].saw(t, first, "Sign in", "Your second factor", "Launch an app", "Launch an app", "Let Growth chart in?")
	if got[0].Encounter != first.encounter || got[0].UserType != "Practitioner" || got[0].UserRead != "mary-doe" || got[0].Scope != "launch openid fhirUser user/*.rs" {
		t.Errorf("in context: %+v", got[0])
	}
	got[1].saw(t, second, "Choose a patient", "Choose a visit", "Let Growth chart in?")
	if got[1].Refresh || got[1].Encounter != second.encounter {
		t.Errorf("another context, or more than was asked for: %+v", got[1])
	}
	if !strings.Contains(got[2].Error, "access_denied") && !strings.Contains(got[2].Error, "the user") {
		t.Errorf("denied: %+v", got[2])
	}
}
