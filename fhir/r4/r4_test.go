package r4_test

import (
	"slices"
	"strings"
	"testing"

	"candela/fhir/r4"
)

func spec(t testing.TB) *r4.Spec {
	t.Helper()
	s, err := r4.Load()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestResourcesAreTheConcreteTypes(t *testing.T) {
	names := spec(t).Resources()
	if len(names) != 146 || !slices.IsSorted(names) {
		t.Fatalf("%d resources, sorted %v; R4 has 146", len(names), slices.IsSorted(names))
	}
	for _, abstract := range []string{"Resource", "DomainResource"} {
		if slices.Contains(names, abstract) || spec(t).IsResource(abstract) {
			t.Errorf("%s is abstract and must not be offered as a resource type", abstract)
		}
	}
}

func TestChild(t *testing.T) {
	for _, c := range []struct{ typ, name, members, types string }{
		{"Patient", "id", "id", "id"},
		{"Patient", "deceased", "deceasedBoolean deceasedDateTime", "boolean dateTime"},
		{"Patient", "contact", "contact", "Patient.contact"},
		{"Patient.contact", "name", "name", "HumanName"},
		{"Observation.component", "referenceRange", "referenceRange", "Observation.referenceRange"},
		{"Questionnaire.item", "item", "item", "Questionnaire.item"},
		{"Bundle.entry", "resource", "resource", "Resource"},
		{"Timing", "repeat", "repeat", "Timing.repeat"},
		{"ElementDefinition", "slicing", "slicing", "ElementDefinition.slicing"},
		{"Age", "value", "value", "decimal"},
		{"date", "extension", "extension", "Extension"},
		{"ExampleScenario.instance", "resourceType", "resourceType", "code"},
	} {
		members, types, ok := spec(t).Child(c.typ, c.name)
		if !ok || strings.Join(members, " ") != c.members || strings.Join(types, " ") != c.types {
			t.Errorf("Child(%s, %s) = %v %v %v", c.typ, c.name, members, types, ok)
		}
	}
	for _, c := range [][2]string{{"Patient", "name2"}, {"Patient", "deceasedBoolean"}, {"Patient", "deceased[x]"}, {"Nobody", "id"}} {
		if _, _, ok := spec(t).Child(c[0], c[1]); ok {
			t.Errorf("Child(%s, %s) must not exist", c[0], c[1])
		}
	}
}

func TestChildrenKeepTheOrderOfTheSpecification(t *testing.T) {
	got := strings.Join(spec(t).Children("Observation.component"), " ")
	want := "id extension modifierExtension code value dataAbsentReason interpretation referenceRange"
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestIsA(t *testing.T) {
	for _, c := range []struct {
		typ, base string
		want      bool
	}{
		{"Age", "Quantity", true}, {"Age", "Element", true}, {"Quantity", "Age", false},
		{"Patient", "DomainResource", true}, {"Patient", "Resource", true}, {"Bundle", "DomainResource", false},
		{"Observation.component", "BackboneElement", true}, {"Observation.component", "Element", true},
		{"Observation.component", "Observation", false},
		{"code", "string", true}, {"id", "string", true}, {"canonical", "uri", true}, {"positiveInt", "integer", true}, {"string", "code", false},
		{"Nobody", "Element", false},
	} {
		if got := spec(t).IsA(c.typ, c.base); got != c.want {
			t.Errorf("IsA(%s, %s) = %v", c.typ, c.base, got)
		}
	}
}

func TestCodes(t *testing.T) {
	gender, complete := spec(t).Codes("http://hl7.org/fhir/ValueSet/administrative-gender")
	if !complete || !gender.Has("female") || gender.Has("Female") || gender.SystemOf("male") != "http://hl7.org/fhir/administrative-gender" {
		t.Errorf("administrative-gender: %v %v", complete, gender)
	}
	types, complete := spec(t).Codes("http://hl7.org/fhir/ValueSet/all-types")
	if !complete || !types.HasIn("http://hl7.org/fhir/resource-types", "Patient") || types.HasIn("http://hl7.org/fhir/data-types", "Patient") {
		t.Errorf("all-types: the system of a code must count")
	}
	if set, complete := spec(t).Codes("http://hl7.org/fhir/ValueSet/mimetypes"); complete || set.SystemOf("text/plain") != "urn:ietf:bcp:13" {
		t.Errorf("MIME types are open: no code may be refused")
	}
	if set, complete := spec(t).Codes("http://example.org/none"); set != nil || complete {
		t.Errorf("an unknown value set has no codes")
	}
}

func TestCaseSensitive(t *testing.T) {
	if sensitive, known := spec(t).CaseSensitive("http://hl7.org/fhir/administrative-gender"); !sensitive || !known {
		t.Error("administrative-gender is case-sensitive")
	}
	if sensitive, known := spec(t).CaseSensitive("http://terminology.hl7.org/CodeSystem/v2-0203"); sensitive || !known {
		t.Error("the v2 tables are not case-sensitive")
	}
	if _, known := spec(t).CaseSensitive("http://loinc.org"); known {
		t.Error("LOINC is not defined by the specification")
	}
}

func TestCompartmentOfAPatient(t *testing.T) {
	patient := spec(t).Compartment("Patient")
	if !slices.Equal(patient["Observation"], []string{"subject", "performer"}) {
		t.Errorf("Observation is in the Patient compartment by %v", patient["Observation"])
	}
	if _, in := patient["Practitioner"]; in {
		t.Error("Practitioner is not in the Patient compartment")
	}
	if spec(t).Compartment("Nobody") != nil {
		t.Error("an unknown compartment has no types")
	}
}

func TestSearchParametersHoldNoExamples(t *testing.T) {
	seen := map[string]string{}
	for _, p := range spec(t).SearchParameters() {
		if len(p.Base) == 0 {
			t.Errorf("%s searches on nothing", p.URL)
		}
		for _, base := range p.Base {
			if other, twice := seen[base+" "+p.Code]; twice {
				t.Errorf("%s.%s is defined by both %s and %s", base, p.Code, other, p.URL)
			}
			seen[base+" "+p.Code] = p.URL
		}
	}
	if seen["Observation component-code-value-quantity"] == "" || seen["Patient birthdate"] == "" {
		t.Error("well-known parameters are missing")
	}
}

func TestManySaysWhatIsAnArray(t *testing.T) {
	for _, c := range []struct {
		typ, name string
		want      bool
	}{
		{"Patient", "name", true},
		{"Patient", "birthDate", false},
		{"HumanName", "given", true},
		{"HumanName", "family", false},
		{"Patient", "deceased", false},
		{"Observation.component", "extension", true},
		{"Observation.component", "nothing", false},
		{"Nothing", "name", false},
	} {
		if got := spec(t).Many(c.typ, c.name); got != c.want {
			t.Errorf("Many(%s, %s) = %v", c.typ, c.name, got)
		}
	}
}
