package fhir_test

import (
	"strings"
	"testing"

	"candela/fhir"
)

func TestParseReference(t *testing.T) {
	for _, c := range []struct {
		text string
		want fhir.Reference
	}{
		{"Patient/1", fhir.Reference{Type: "Patient", ID: "1"}},
		{"Patient/1/_history/2", fhir.Reference{Type: "Patient", ID: "1", Version: "2"}},
		{"http://h/fhir/Patient/1", fhir.Reference{Base: "http://h/fhir", Type: "Patient", ID: "1"}},
		{"https://h/Patient/a.b-C/_history/x", fhir.Reference{Base: "https://h", Type: "Patient", ID: "a.b-C", Version: "x"}},
		{"", fhir.Reference{}},
		{"#p", fhir.Reference{Other: "#p"}},
		{"urn:uuid:1", fhir.Reference{Other: "urn:uuid:1"}},
		{"Patient", fhir.Reference{Other: "Patient"}},
		{"Patient/", fhir.Reference{Other: "Patient/"}},
		{"/Patient/1", fhir.Reference{Other: "/Patient/1"}},
		{"fhir/Patient/1", fhir.Reference{Other: "fhir/Patient/1"}},
		{"patient/1", fhir.Reference{Other: "patient/1"}},
		{"Patient/1#p", fhir.Reference{Other: "Patient/1#p"}},
		{"Patient?identifier=x|1/2", fhir.Reference{Other: "Patient?identifier=x|1/2"}},
		{"Patient/1/_history/", fhir.Reference{Other: "Patient/1/_history/"}},
		{"Patient/1/_history/2/3", fhir.Reference{Other: "Patient/1/_history/2/3"}},
		{"Patient/" + strings.Repeat("a", 65), fhir.Reference{Other: "Patient/" + strings.Repeat("a", 65)}},
		{"http://hl7.org/fhir/ValueSet/x|4.0", fhir.Reference{Other: "http://hl7.org/fhir/ValueSet/x|4.0"}},
	} {
		got := fhir.ParseReference(c.text)
		if got != c.want {
			t.Errorf("%s: %+v", c.text, got)
		}
		if got.String() != c.text {
			t.Errorf("%s prints as %s", c.text, got)
		}
	}
}

func TestValidID(t *testing.T) {
	for _, id := range []string{"1", "a-B.9", strings.Repeat("x", 64)} {
		if !fhir.ValidID(id) {
			t.Errorf("%q is an id", id)
		}
	}
	for _, id := range []string{"", "a_b", "a/b", "é", "a b", "1\n", "@", "[", "`", "{", strings.Repeat("x", 65)} {
		if fhir.ValidID(id) {
			t.Errorf("%q is no id", id)
		}
	}
}

func TestParamsKeepTheirOrder(t *testing.T) {
	p, err := fhir.ParseParams("name=a%26b&&x=1+2&name=%C3%A9&flag")
	if err != nil || len(p) != 4 || p.Get("name") != "a&b" || p.Get("x") != "1 2" || p[2].Value != "é" || !p.Has("flag") || p.Has("none") {
		t.Fatalf("%v %v", p, err)
	}
	if got := p.Encode(); got != "name=a%26b&x=1+2&name=%C3%A9&flag=" {
		t.Errorf("encoded %s", got)
	}
	if _, err := fhir.ParseParams("a=%zz"); statusOf(err) != 400 {
		t.Errorf("a broken escape: %v", err)
	}
}
