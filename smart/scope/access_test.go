package scope_test

import (
	"errors"
	"slices"
	"testing"

	"candela/fhir"
	"candela/smart/scope"
)

var everyType = []string{"Binary", "Condition", "Observation", "Patient", "Practitioner", "Subscription"}

// chart is the context of Patient/1 over a small table of types.
func chart(policy fhir.Access) scope.Context {
	return scope.Context{
		Patient: fhir.ParseReference("Patient/1"), Policy: policy, Types: everyType,
		Member: func(typ string) bool { return typ == "Observation" || typ == "Condition" || typ == "Patient" },
		Shared: func(typ string) bool { return typ == "Practitioner" },
	}
}

func show(a fhir.Access) []string {
	out := []string{}
	for _, r := range a {
		out = append(out, r.Compartment.String()+" "+r.Type+"."+r.Letters+"?"+r.Filter)
	}
	slices.Sort(out)
	return out
}

func TestAccess(t *testing.T) {
	p1, doctor := "Patient/1", "Practitioner/7"
	for _, one := range []struct {
		scopes, patient, user string
		policy                fhir.Access
		want                  []string
	}{
		{"patient/Observation.rs", p1, "", fhir.Full(), []string{"Patient/1 Observation.rs?"}},
		{"patient/Observation.read", p1, "", fhir.Full(), []string{"Patient/1 Observation.rs?"}},
		{"patient/Observation.write", p1, "", fhir.Full(), []string{"Patient/1 Observation.cud?"}},
		{"patient/Observation.* patient/Observation.rs", p1, "", fhir.Full(), []string{"Patient/1 Observation.cruds?"}},
		{"patient/Practitioner.cruds", p1, "", fhir.Full(), []string{" Practitioner.rs?"}},
		{"patient/Practitioner.cud", p1, "", fhir.Full(), []string{}},
		{"patient/Binary.rs patient/Subscription.cruds", p1, "", fhir.Full(), []string{}},
		{"patient/*.rs", p1, "", fhir.Full(), []string{" Practitioner.rs?", "Patient/1 Condition.rs?", "Patient/1 Observation.rs?", "Patient/1 Patient.rs?"}},
		{"patient/*.cud", p1, "", fhir.Full(), []string{"Patient/1 Condition.cud?", "Patient/1 Observation.cud?", "Patient/1 Patient.cud?"}},
		{"patient/*.rs", p1, "", nil, []string{}},
		{"patient/*.rs", p1, "", fhir.Access{{Type: "Observation", Letters: "r", Filter: "status=final"}}, []string{"Patient/1 Observation.r?status=final"}},
		{"patient/Observation.rs", p1, "", fhir.Access{{Type: "*", Letters: "cruds", Compartment: fhir.ParseReference("Patient/2")}}, []string{}},
		{"user/*.rs", "", doctor, fhir.Full(), []string{" *.rs?"}},
		{"user/*.cruds", "", doctor, fhir.Access{{Type: "Observation", Letters: "rs"}}, []string{" Observation.rs?"}},
		{"user/*.cruds", "", "Patient/1", fhir.Full(), []string{}},
		{"user/Practitioner.cruds", "", "Patient/1", fhir.Full(), []string{" Practitioner.rs?"}},
		{"user/Observation.cruds", "", "RelatedPerson/1", fhir.Access{{Type: "*", Letters: "rs", Compartment: fhir.ParseReference("Patient/9")}}, []string{"Patient/9 Observation.rs?"}},
		{"openid fhirUser", "", doctor, nil, []string{" Practitioner.r?_id=7"}},
		{"openid fhirUser", "", "https://other.example/fhir/Practitioner/7", fhir.Full(), []string{}},
		{"fhirUser", "", doctor, fhir.Full(), []string{}},
		{"openid", "", doctor, fhir.Full(), []string{}},
		{"openid launch offline_access", "", "", fhir.Full(), []string{}},
		{"system/Patient.rs", "", "", fhir.Full(), []string{" Patient.rs?"}},
		{"system/*.rs?_tag=x", "", "", fhir.Access{{Type: "Patient", Letters: "rs", Filter: "active=true"}}, []string{" Patient.rs?_tag=x&active=true"}},
		{"system/Patient.rs", "", "", nil, []string{}},
	} {
		c := chart(one.policy)
		c.Patient, c.User = fhir.ParseReference(one.patient), fhir.ParseReference(one.user)
		got, err := grant(t, scope.New(real(t)), one.scopes).Access(c)
		if err != nil || !slices.Equal(show(got), one.want) {
			t.Errorf("%s for %s%s: %q, %v; want %q", one.scopes, one.patient, one.user, show(got), err, one.want)
		}
	}
}

// TestR28_MissingContext: a scope without what it is about is a 403, never a
// rule without narrowing. T2 is the case of patient/*.rs.
func TestR28_MissingContext(t *testing.T) {
	for _, one := range []struct{ scopes, patient, user string }{
		{"patient/*.rs", "", ""},
		{"patient/*.rs", "", "Practitioner/1"},
		{"patient/*.rs", "Group/1", ""},
		{"patient/*.rs", "https://other.example/fhir/Patient/1", ""},
		{"patient/*.rs", "Patient/1/_history/2", ""},
		{"patient/*.rs", "urn:uuid:0d8a1a57-7a40-4a2b-9a87-0c4a4b1a2b3c", ""},
		{"user/*.rs", "Patient/1", ""},
		{"user/*.rs", "", "Organization/1"},
		{"user/*.rs", "", "#me"},
		{"patient/Observation.rs user/Observation.rs", "Patient/1", ""},
	} {
		c := chart(fhir.Full())
		c.Patient, c.User = fhir.ParseReference(one.patient), fhir.ParseReference(one.user)
		access, err := grant(t, scope.New(real(t)), one.scopes).Access(c)
		var refusal *fhir.Error
		if !errors.As(err, &refusal) || refusal.Status != 403 || access != nil {
			t.Errorf("%v: %v, %v", one, access, err)
		}
	}
	for _, c := range []scope.Context{{Patient: fhir.Reference{Type: "Patient"}}, {User: fhir.Reference{Type: "Practitioner"}}, {User: fhir.Reference{Type: "Practitioner", ID: "a/b"}}} {
		c.Policy, c.Types, c.Member = fhir.Full(), everyType, func(string) bool { return true }
		text := "patient/Patient.rs"
		if c.User.Type != "" {
			text = "user/Patient.rs"
		}
		if access, err := grant(t, scope.New(real(t)), text).Access(c); err == nil {
			t.Errorf("%+v opens %v", c, access)
		}
	}
	if access, err := (scope.Set{}).Access(scope.Context{Policy: fhir.Full()}); err != nil || len(access) != 0 {
		t.Errorf("no scopes open %v, %v", access, err)
	}
	bare := scope.Context{Patient: fhir.ParseReference("Patient/1"), Policy: fhir.Full(), Types: everyType}
	if access, err := grant(t, scope.New(real(t)), "patient/*.cruds").Access(bare); err != nil || len(access) != 0 {
		t.Errorf("without a table of types: %v, %v", access, err)
	}
}

func TestChart(t *testing.T) {
	got, err := scope.Chart(chart(nil))
	want := []string{" Practitioner.rs?", "Patient/1 Condition.cruds?", "Patient/1 Observation.cruds?", "Patient/1 Patient.cruds?"}
	if err != nil || !slices.Equal(show(got), want) {
		t.Errorf("%q, %v", show(got), err)
	}
	c := chart(got)
	c.Patient, c.User = fhir.Reference{}, fhir.ParseReference("Patient/1")
	access, err := grant(t, scope.New(real(t)), "user/*.rs").Access(c)
	want = []string{" Practitioner.rs?", "Patient/1 Condition.rs?", "Patient/1 Observation.rs?", "Patient/1 Patient.rs?"}
	if err != nil || !slices.Equal(show(access), want) {
		t.Errorf("a patient as user: %q, %v", show(access), err)
	}
	if _, err := scope.Chart(scope.Context{}); err == nil {
		t.Error("a chart of nobody")
	}
}

func TestPolicy(t *testing.T) {
	g := scope.New(real(t))
	got, err := g.Policy([]string{"Observation.rs?status=final,amended", "Patient.r", "Patient.s", "*.r?_tag=open"})
	if want := []string{" *.r?_tag=open", " Observation.rs?status=amended%2Cfinal", " Patient.rs?"}; err != nil || !slices.Equal(show(got), want) {
		t.Errorf("%q, %v", show(got), err)
	}
	for _, bad := range []string{"", "Foo.rs", "user/Patient.rs", "Patient.rs?active:not=true", "openid"} {
		if got, err := g.Policy([]string{"Patient.rs", bad}); err == nil || got != nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
}
