package fhirpath_test

import (
	"slices"
	"testing"

	"candela/fhir"
	"candela/fhir/fhirpath"
)

const observation = `{"resourceType":"Observation","id":"0b0a7a6c-1","meta":{"profile":["http://hl7.org/fhir/StructureDefinition/bp"]},
"status":"final","category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs","display":"vital-signs"}]}],
"code":{"coding":[{"system":"http://loinc.org","code":"85354-9","display":"Blood Pressure"}],"text":"Blood Pressure"},
"subject":{"reference":"Patient/6c2b"},"encounter":{"reference":"Encounter/77e1"},"effectiveDateTime":"2012-05-04T04:03:06-04:00","issued":"2012-05-04T04:03:06.105-04:00",
"component":[{"code":{"coding":[{"system":"http://loinc.org","code":"8462-4","display":"Diastolic"}]},"valueQuantity":{"value":79.0,"unit":"mm[Hg]","system":"http://unitsofmeasure.org","code":"mm[Hg]"}},
{"code":{"coding":[{"system":"http://loinc.org","code":"8480-6","display":"Systolic"}]},"valueQuantity":{"value":119.00,"unit":"mm[Hg]","system":"http://unitsofmeasure.org","code":"mm[Hg]"}}]}`

const patient = `{"resourceType":"Patient","id":"6c2b","extension":[{"url":"http://hl7.org/fhir/us/core/StructureDefinition/us-core-race","extension":[{"url":"ombCategory","valueCoding":{"system":"urn:oid:2.16.840.1.113883.6.238","code":"2106-3","display":"White"}},{"url":"text","valueString":"White"}]}],
"identifier":[{"system":"https://github.com/synthetichealth/synthea","value":"6c2b"},{"type":{"coding":[{"code":"MR"}]},"system":"http://hospital.smarthealthit.org","value":"6c2b"}],
"name":[{"use":"official","family":"Abbott774","given":["Aaron697"],"prefix":["Mr."]}],"telecom":[{"system":"phone","value":"555-645-3821","use":"home"}],"gender":"male","birthDate":"1950-01-02","_birthDate":{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/patient-birthTime","valueDateTime":"1950-01-02T03:04:05Z"}]},
"address":[{"line":["774 Kub Manor"],"city":"Boston","state":"MA","postalCode":"02108","country":"US"}],"maritalStatus":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-MaritalStatus","code":"M"}],"text":"M"},"multipleBirthBoolean":false,
"communication":[{"language":{"coding":[{"system":"urn:ietf:bcp:47","code":"en-US"}]}}],"generalPractitioner":[{"reference":"Practitioner/99"}],"managingOrganization":{"reference":"Organization/1"}}`

const encounter = `{"resourceType":"Encounter","id":"77e1","status":"finished","class":{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"AMB"},"type":[{"coding":[{"system":"http://snomed.info/sct","code":"162673000"}],"text":"General examination"}],
"subject":{"reference":"Patient/6c2b","display":"Mr. Aaron697"},"participant":[{"individual":{"reference":"Practitioner/99","display":"Dr. X"}}],"period":{"start":"2012-05-04T04:03:06-04:00","end":"2012-05-04T04:18:06-04:00"},"serviceProvider":{"reference":"Organization/1","display":"PCP"}}`

func parse(t testing.TB, body string) fhirpath.Item {
	t.Helper()
	r, err := fhir.ParseResource([]byte(body), fhir.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return fhirpath.Root(r)
}

// parametersOf compiles all search parameters that apply to a type.
func parametersOf(t testing.TB, typ string) (out []*fhirpath.Expr) {
	t.Helper()
	model := spec(t)
	for _, p := range model.SearchParameters() {
		applies := slices.Contains(p.Base, typ) || slices.Contains(p.Base, "Resource") || slices.Contains(p.Base, "DomainResource")
		if p.Expression == "" || !applies {
			continue
		}
		e, err := fhirpath.Compile(p.Expression, typ, model)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func benchmarkParameters(b *testing.B, body string) {
	focus := parse(b, body)
	exprs := parametersOf(b, focus.Type)
	env := fhirpath.Env{Buffer: new(fhirpath.Buffer)}
	var items []fhirpath.Item
	found := 0
	b.ReportAllocs()
	for b.Loop() {
		found = 0
		for _, e := range exprs {
			var err error
			if items, err = e.Append(items[:0], env, focus); err != nil {
				b.Fatal(err)
			}
			found += len(items)
		}
	}
	b.ReportMetric(float64(len(exprs)), "params")
	b.ReportMetric(float64(found), "items")
}

func BenchmarkObservationParameters(b *testing.B) { benchmarkParameters(b, observation) }
func BenchmarkPatientParameters(b *testing.B)     { benchmarkParameters(b, patient) }
func BenchmarkEncounterParameters(b *testing.B)   { benchmarkParameters(b, encounter) }

func BenchmarkOne(b *testing.B) {
	for _, c := range []struct{ body, text string }{
		{observation, "Observation.code"},
		{observation, "(Observation.component.value as Quantity)"},
		{observation, "Observation.subject.where(resolve() is Patient)"},
		{patient, "Patient.name.family"},
		{patient, "Patient.telecom.where(system='phone')"},
		{patient, "Patient.extension.where(url='http://hl7.org/fhir/us/core/StructureDefinition/us-core-race').extension.value.code"},
		{patient, "Patient.deceased.exists() and Patient.deceased != false"},
	} {
		b.Run(c.text, func(b *testing.B) {
			focus := parse(b, c.body)
			e, err := fhirpath.Compile(c.text, focus.Type, spec(b))
			if err != nil {
				b.Fatal(err)
			}
			env := fhirpath.Env{Buffer: new(fhirpath.Buffer)}
			var items []fhirpath.Item
			b.ReportAllocs()
			for b.Loop() {
				if items, err = e.Append(items[:0], env, focus); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
