package link_test

import (
	"testing"

	"candela/fhir"
	"candela/fhir/interaction/link"
	"candela/fhir/r4"
)

func rewritten(t *testing.T, m link.Map, raw, fullURL string) string {
	t.Helper()
	res, err := fhir.ParseResource([]byte(raw), fhir.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	edits := m.Edits(res, fullURL)
	got, err := res.Edited(edits)
	if err != nil {
		t.Fatal(err)
	}
	return string(got.Raw())
}

func TestEdits(t *testing.T) {
	spec, err := r4.Load()
	if err != nil {
		t.Fatal(err)
	}
	m := link.Map{
		FullURLs: map[string]link.Target{"urn:uuid:1": {"Patient/1", true}, "urn:oid:1.2": {"Patient/2", true}, "http://x/fhir/Patient/3": {"Patient/3", false}},
		Criteria: map[string]link.Target{"Practitioner?identifier=a|b": {"Practitioner/9", false}},
		Base:     "http://us/fhir", Elements: spec,
	}
	wrap := func(s string) string { return `{"resourceType":"Basic",` + s + `}` }
	for _, c := range []struct{ full, from, to string }{
		{"", `"subject":{"reference":"urn:uuid:1"}`, `"subject":{"reference":"Patient/1"}`},
		{"", `"subject":{"reference":"urn:uuid:1#part"}`, `"subject":{"reference":"Patient/1#part"}`},
		{"", `"subject":{"reference":"urn:uuid:11"}`, ""}, {"", `"subject":{"reference":"#urn:uuid:1"}`, ""}, {"", `"subject":{"reference":""}`, ""},
		{"", `"subject":{"reference":"Practitioner?identifier=a|b"}`, `"subject":{"reference":"Practitioner/9"}`},
		{"", `"subject":{"reference":"http://us/fhir/Practitioner?identifier=a|b"}`, `"subject":{"reference":"Practitioner/9"}`},
		{"", `"subject":{"reference":"http://them/Practitioner?identifier=a|b"}`, ""},
		{"", `"subject":{"reference":"Patient/3"}`, ""}, {"urn:uuid:7", `"subject":{"reference":"Patient/3"}`, ""},
		{"http://y/fhir/Basic/1", `"subject":{"reference":"Patient/3"}`, ""},
		{"", `"subject":{"reference":"http://x/fhir/Patient/3/_history/5"}`, `"subject":{"reference":"Patient/3/_history/5"}`},
		{"", `"extension":[{"url":"urn:oid:1.2","valueOid":"urn:oid:1.2"}]`, `"extension":[{"url":"urn:oid:1.2","valueOid":"Patient/2"}]`},
		{"", `"extension":[{"url":"http://x/fhir/Patient/3","valueUri":"http://x/fhir/Patient/3"}]`, `"extension":[{"url":"http://x/fhir/Patient/3","valueUri":"Patient/3"}]`},
		{"", `"identifier":[{"system":"http://x/fhir/Patient/3","value":"urn:uuid:1"}]`, ""},
		{"", `"identifier":[{"system":"urn:uuid:1","value":"x"}]`, ""},
		{"", `"meta":{"source":"urn:uuid:1"}`, `"meta":{"source":"Patient/1"}`}, {"", `"meta":{"source":"http://x/fhir/Patient/3"}`, ""},
		{"", `"meta":{"profile":["urn:uuid:1"]}`, ""}, {"", `"unknown":{"uri":"urn:uuid:1"}`, ""},
		{"", `"text":{"div":"<div><a href=\"urn:uuid:1\">urn:uuid:1<\/a><img  src = 'http:\/\/x\/fhir\/Patient\/3'/></div>"}`, `"text":{"div":"<div><a href=\"Patient/1\">urn:uuid:1</a><img  src = 'Patient/3'/></div>"}`},
		{"", `"text":{"div":"<div><a xhref=\"urn:uuid:1\" href=urn:uuid:1 href=\"#x\" href=\"urn:uuid:1"}`, ""},
		{"", `"text":{"div":"<a href=\"http://x/fhir/Patient?a=1&amp;b=2\">"}`, ""},
	} {
		want := c.to
		if want == "" {
			want = c.from
		}
		if got := rewritten(t, m, wrap(c.from), c.full); got != wrap(want) {
			t.Errorf("%s\n got %s\nwant %s", c.from, got, wrap(want))
		}
	}
}

func BenchmarkEdits(b *testing.B) {
	spec, err := r4.Load()
	if err != nil {
		b.Fatal(err)
	}
	m := link.Map{FullURLs: map[string]link.Target{"urn:uuid:1": {"Patient/1", true}, "urn:uuid:2": {"Encounter/1", true}}, Elements: spec}
	res, err := fhir.ParseResource([]byte(`{"resourceType":"Observation","id":"1","status":"final","category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs","display":"vital-signs"}]}],`+
		`"code":{"coding":[{"system":"http://loinc.org","code":"8302-2","display":"Body Height"}],"text":"Body Height"},"subject":{"reference":"urn:uuid:1"},"encounter":{"reference":"urn:uuid:2"},"effectiveDateTime":"2011-05-28T15:03:55-04:00","valueQuantity":{"value":166.0,"unit":"cm","system":"http://unitsofmeasure.org","code":"cm"}}`), fhir.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if len(m.Edits(res, "urn:uuid:9")) != 2 {
			b.Fatal("wrong edits")
		}
	}
}
