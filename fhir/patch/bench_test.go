package patch_test

import (
	"strings"
	"testing"

	"candela/fhir"
	"candela/fhir/patch"
)

// patient is about what Synthea writes: 3 KB.
func patient() string {
	var b strings.Builder
	b.WriteString(`{"resourceType":"Patient","id":"1","active":true,"identifier":[`)
	for i := range 12 {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`{"use":"usual","type":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v2-0203","code":"MR","display":"Medical Record Number"}],"text":"Medical Record Number"},"system":"http://hospital.example.org","value":"1"}`)
	}
	b.WriteString(`],"name":[{"use":"official","family":"A","given":["B","C"],"_given":[null,{"id":"x"}]}],"gender":"male","birthDate":"1970-03-30","deceasedBoolean":false}`)
	return b.String()
}

func bench(b *testing.B, mediaType, body string) {
	res, types := parsed(b, patient()), model(b)
	b.SetBytes(int64(len(res.Raw())))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := patch.Apply(res, mediaType, []byte(body), types); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReadAndWrite is the floor of all others: the outcome is read once.
func BenchmarkReadAndWrite(b *testing.B) {
	text := []byte(patient())
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := fhir.ParseResource(text, fhir.Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkJSONPatch(b *testing.B) {
	bench(b, patch.JSON, `[{"op":"test","path":"/name/0/family","value":"A"},{"op":"replace","path":"/name/0/family","value":"Z"},{"op":"remove","path":"/identifier/3"}]`)
}

func BenchmarkMergePatch(b *testing.B) {
	bench(b, patch.Merge, `{"active":false,"deceasedBoolean":null,"maritalStatus":{"text":"x"}}`)
}

func BenchmarkFHIRPathPatch(b *testing.B) {
	bench(b, patch.FHIR, `{"resourceType":"Parameters","parameter":[{"name":"operation","part":[{"name":"type","valueCode":"replace"},{"name":"path","valueString":"Patient.name.where(use = 'official').family"},{"name":"value","valueString":"Z"}]}]}`)
}

func BenchmarkFHIRPathPatchOf10(b *testing.B) {
	one := `{"name":"operation","part":[{"name":"type","valueCode":"insert"},{"name":"path","valueString":"Patient.name[0].given"},{"name":"index","valueInteger":1},{"name":"value","valueString":"Z"}]}`
	bench(b, patch.FHIR, string(repeated(`{"resourceType":"Parameters","parameter":[`, one, `]}`, 10)))
}
