package fhir_test

import (
	"os"
	"path/filepath"
	"testing"

	"candela/fhir"
)

// observation is what Synthea writes: 1.4 KB, compact.
const observation = `{"resourceType":"Observation","id":"d4c1a1e5-4f5b-9a26-6d25-0c3b12f9a5c1","meta":{"profile":["http://hl7.org/fhir/StructureDefinition/vitalsigns"]},` +
	`"status":"final","category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs","display":"vital-signs"}]}],` +
	`"code":{"coding":[{"system":"http://loinc.org","code":"85354-9","display":"Blood Pressure"}],"text":"Blood Pressure"},` +
	`"subject":{"reference":"urn:uuid:057aa36e-b892-9964-75b9-ffb46b097e34"},"encounter":{"reference":"urn:uuid:2b2b5f0e-6c1f-1d5c-55c8-5e4a34f07a0d"},` +
	`"effectiveDateTime":"2012-03-08T11:16:08-05:00","issued":"2012-03-08T11:16:08.093-05:00",` +
	`"component":[{"code":{"coding":[{"system":"http://loinc.org","code":"8462-4","display":"Diastolic Blood Pressure"}],"text":"Diastolic Blood Pressure"},` +
	`"valueQuantity":{"value":76.0,"unit":"mm[Hg]","system":"http://unitsofmeasure.org","code":"mm[Hg]"}},` +
	`{"code":{"coding":[{"system":"http://loinc.org","code":"8480-6","display":"Systolic Blood Pressure"}],"text":"Systolic Blood Pressure"},` +
	`"valueQuantity":{"value":123.0,"unit":"mm[Hg]","system":"http://unitsofmeasure.org","code":"mm[Hg]"}}]}`

func BenchmarkParseTree(b *testing.B) {
	b.Run("Observation", func(b *testing.B) { benchParse(b, []byte(observation)) })
	b.Run("Bundle", func(b *testing.B) {
		packed, err := os.ReadFile(filepath.Join(shared(b), "data", "fhir", "synthea-2.7", "057aa36e-b892-9964-75b9-ffb46b097e34.json.gz"))
		if err != nil {
			b.Fatal(err)
		}
		body, err := unzip(packed)
		if err != nil {
			b.Fatal(err)
		}
		benchParse(b, body)
	})
}

func benchParse(b *testing.B, body []byte) {
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := fhir.ParseTree(body, fhir.BundleLimits()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecimal(b *testing.B) {
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		d, err := fhir.ParseDecimal("123.40")
		if err != nil {
			b.Fatal(err)
		}
		dst = d.AppendOrdered(dst[:0])
	}
}

func BenchmarkParseDate(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := fhir.ParseDate("2012-03-08T11:16:08.093-05:00", nil); err != nil {
			b.Fatal(err)
		}
	}
}
