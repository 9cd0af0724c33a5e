package validate_test

import (
	"testing"

	"candela/fhir"
	"candela/fhir/r4"
	"candela/fhir/validate"
)

func BenchmarkNew(b *testing.B) {
	spec, err := r4.Load()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		validate.New(spec)
	}
}

// BenchmarkCheck: each Observation of one Synthea patient in turn, and a whole
// transaction Bundle.
func BenchmarkCheck(b *testing.B) {
	check := structure(b)
	var bundle fhir.Resource
	bodies(b, "synthea-2.7", func(name string, body []byte) {
		if name == "057aa36e-b892-9964-75b9-ffb46b097e34.json.gz" {
			bundle = resource(b, body)
		}
	})
	var observations []fhir.Resource
	bytes := 0
	for e := range bundle.Root().Get("entry").Elements() {
		one, err := fhir.ResourceAt(e.Get("resource"))
		if err != nil {
			b.Fatal(err)
		}
		if one.Type() == "Observation" {
			observations = append(observations, one)
			bytes += len(one.Raw())
		}
	}
	b.Run("Observation", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(bytes / len(observations)))
		for i := 0; b.Loop(); i++ {
			if issues := check.Check(observations[i%len(observations)], false); issues != nil {
				b.Fatal(issues)
			}
		}
	})
	b.Run("Bundle", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(bundle.Raw())))
		for b.Loop() {
			if issues := check.Check(bundle, false); issues != nil {
				b.Fatal(issues)
			}
		}
	})
}
