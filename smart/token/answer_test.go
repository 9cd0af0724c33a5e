package token_test

import (
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"candela/fhir"
	"candela/smart/token"
)

func TestR12_AnswerJSON(t *testing.T) {
	g := token.Grant{
		Patient: "pat1", Encounter: "e1", Intent: "reconcile", Tenant: "t1", StyleURL: "https://candela.example/style-1.json",
		Context: []byte(`[{"reference":"ImagingStudy/1","role":"https://x.example/r"}]`),
	}
	for name, c := range map[string]struct {
		answer token.Answer
		want   string
	}{
		"all": {
			token.Answer{AccessToken: "a", RefreshToken: "r", IDToken: "i", Scope: "openid", Expires: time.Hour, Grant: g},
			`{"access_token":"a","token_type":"Bearer","expires_in":3600,"scope":"openid","refresh_token":"r","id_token":"i",` +
				`"patient":"pat1","encounter":"e1","need_patient_banner":false,"intent":"reconcile","tenant":"t1",` +
				`"smart_style_url":"https://candela.example/style-1.json","fhirContext":[{"reference":"ImagingStudy/1","role":"https://x.example/r"}]}`,
		},
		"banner": {
			token.Answer{AccessToken: "a", Scope: "launch", Expires: 90*time.Second + time.Millisecond, Grant: token.Grant{Patient: "p", NeedBanner: true}},
			`{"access_token":"a","token_type":"Bearer","expires_in":90,"scope":"launch","patient":"p","need_patient_banner":true}`,
		},
		"bare": {
			token.Answer{AccessToken: "a", Scope: "system/*.rs", Expires: 5 * time.Minute},
			`{"access_token":"a","token_type":"Bearer","expires_in":300,"scope":"system/*.rs"}`,
		},
	} {
		if raw, err := c.answer.JSON(); err != nil || string(raw) != c.want {
			t.Errorf("%s:\n got %s\nwant %s\n%v", name, raw, c.want, err)
		}
	}
}

func TestR12_AnswerOfASignIn(t *testing.T) {
	h := open(t)
	a := h.sign(grant())
	if a.Expires > time.Hour || a.Expires < time.Minute || a.Scope != grant().Scope || a.RefreshToken == "" || a.IDToken != "" || a.Grant.Patient != "pat1" {
		t.Fatalf("answer %+v", a)
	}
	b, err := h.renew(a.RefreshToken)
	if err != nil || b.Expires != a.Expires || b.Grant.Patient != "pat1" || b.Grant.Created != a.Grant.Created {
		t.Fatalf("answer %+v, %v", b, err)
	}
}

func TestR13_Context(t *testing.T) {
	for raw, good := range map[string]bool{
		``:                                   true,
		`[]`:                                 true,
		`[{"reference":"ImagingStudy/123"}]`: true,
		`[{"reference":"ImagingStudy/123","type":"ImagingStudy","role":"launch"}]`:                                       true,
		`[{"canonical":"https://x.example/Questionnaire/1|2","type":"Questionnaire","role":"https://x.example/role/q"}]`: true,
		`[{"identifier":{"system":"https://x.example","value":"1"},"type":"Task"}]`:                                      true,
		`[{"reference":"Patient/2","role":"https://x.example/mother"}]`:                                                  true,
		`[{"reference":"Encounter/2","role":"https://x.example/former"}]`:                                                true,
		`[{"reference":"Task/2","https://x.example/ext":{"a":1},"__mine":[1]}]`:                                          true,
		`[{"reference":"Task/2"},{"reference":"Task/3"}]`:                                                                true,

		`{}`: false, `null x`: false, `null`: false, ` `: false, `[null]`: false, `["Task/1"]`: false, `[null,1]`: false, `[{}]`: false, `[{"type":"Task"}]`: false,
		`[{"reference":""}]`:                            false,
		`[{"reference":null}]`:                          false,
		`[{"reference":1}]`:                             false,
		`[{"reference":"https://x.example/Task/1"}]`:    false,
		`[{"reference":"Task"}]`:                        false,
		`[{"reference":"urn:uuid:1"}]`:                  false,
		`[{"reference":"#1"}]`:                          false,
		`[{"canonical":"Questionnaire/1"}]`:             false,
		`[{"canonical":"//x.example/y"}]`:               false,
		`[{"identifier":"1"}]`:                          false,
		`[{"identifier":null}]`:                         false,
		`[{"reference":"Task/1","role":""}]`:            false,
		`[{"reference":"Task/1","role":"mine"}]`:        false,
		`[{"reference":"Task/1","role":"a b:c"}]`:       false,
		`[{"reference":"Task/1","type":""}]`:            false,
		`[{"reference":"Patient/2"}]`:                   false,
		`[{"reference":"Patient/2","role":"launch"}]`:   false,
		`[{"reference":"Encounter/2"}]`:                 false,
		`[{"reference":"Encounter/2","role":"launch"}]`: false,
		`[{"reference":"Task/2","mine":1}]`:             false,
		`[{"reference":"Task/2","_mine":1}]`:            false,
		`[{"reference":"Task/2","/x/y":1}]`:             false,
		`[{"reference":"Task/2","reference":"Task/3"}]`: false,
	} {
		err := token.ValidateContext([]byte(raw))
		if good && err != nil {
			t.Errorf("%s: %v", raw, err)
		}
		if !good {
			refused(t, err, "invalid_request", 400)
		}
	}
}

func TestR23_Introspection(t *testing.T) {
	h := open(t)
	g := grant()
	g.Encounter = "e1"
	a := h.sign(g)
	i, err := h.Introspect(t.Context(), a.AccessToken)
	if err != nil || !i.Active {
		t.Fatalf("inactive, %v", err)
	}
	raw, err := i.JSON()
	want := `{"active":true,"scope":"launch/patient offline_access patient/Patient.rs patient/Observation.rs","client_id":"app","token_type":"Bearer",` +
		`"exp":1772370000,"iat":1772366400,"jti":"` + a.JTI + `","aud":"https://candela.example/fhir","patient":"pat1","encounter":"e1","need_patient_banner":false}`
	if err != nil || string(raw) != want {
		t.Fatalf("\n got %s\nwant %s\n%v", raw, want, err)
	}
	g.Scope = allScope
	g.FHIRUser = fhir.Reference{Type: "Practitioner", ID: "p1"}
	a = h.sign(g)
	i, err = h.Introspect(t.Context(), a.AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	var told, signed struct {
		Iss, Sub, FHIRUser string
	}
	raw, _ = i.JSON()
	payload := verified(t, h, a.IDToken)
	if json.Unmarshal(raw, &told, json.MatchCaseInsensitiveNames(true)) != nil || json.Unmarshal(payload, &signed, json.MatchCaseInsensitiveNames(true)) != nil {
		t.Fatal("no JSON")
	}
	if told != signed || told.Iss != issuer || told.Sub == "" || told.FHIRUser != base+"/Practitioner/p1" {
		t.Fatalf("told %+v, signed %+v", told, signed)
	}
}
