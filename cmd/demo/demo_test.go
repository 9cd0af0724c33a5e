package demo

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"candela/fhir"
)

var now = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)

func bundles(t testing.TB, seed uint64, n int) []fhir.Resource {
	t.Helper()
	var all []fhir.Resource
	for raw := range Generate(seed, n, now) {
		res, err := fhir.ParseResource(raw, fhir.BundleLimits())
		if err != nil {
			t.Fatalf("bundle %d: %v", len(all), err)
		}
		all = append(all, res)
	}
	return all
}

func TestSameArgumentsSameBytes(t *testing.T) {
	var first [][]byte
	for raw := range Generate(7, 40, now) {
		first = append(first, bytes.Clone(raw))
	}
	i := 0
	for raw := range Generate(7, 60, now) {
		if i < len(first) && !bytes.Equal(raw, first[i]) {
			t.Fatalf("bundle %d differs when more patients are made", i)
		}
		i++
	}
	if i != 61 || len(first) != 41 {
		t.Fatalf("want patients+1 bundles, got %d and %d", len(first), i)
	}
	if bytes.Equal(Patient(7, 3, now), Patient(8, 3, now)) {
		t.Fatal("another seed makes the same patient")
	}
}

// TestReferencesResolve: every urn:uuid names an entry of the same bundle, ids
// are unique over all bundles, and conditional references find their target in
// the infrastructure bundle.
func TestReferencesResolve(t *testing.T) {
	infra := string(Infrastructure())
	seen := map[string]bool{}
	for _, b := range bundles(t, 1, 120) {
		here := map[string]bool{}
		for e := range b.Root().Get("entry").Elements() {
			full := e.Get("fullUrl").Text()
			if seen[full] {
				t.Fatalf("%s is there twice", full)
			}
			seen[full], here[full] = true, true
			id := e.Path("resource", "id").Text()
			if id != "" && full != "urn:uuid:"+id || id != "" && !fhir.ValidID(id) {
				t.Errorf("fullUrl %s does not fit id %s", full, id)
			}
		}
		walk(b.Root(), func(ref string) {
			if strings.HasPrefix(ref, "urn:") {
				if !here[ref] {
					t.Errorf("%s dangles", ref)
				}
				return
			}
			_, criteria, ok := strings.Cut(ref, "?identifier=")
			if !ok || !strings.Contains(infra, `"ifNoneExist":"identifier=`+criteria+`"`) {
				t.Errorf("%s finds nothing in the infrastructure", ref)
			}
		})
	}
}

func walk(n fhir.Node, visit func(reference string)) {
	for key, v := range n.Members() {
		if key == "reference" {
			visit(v.Text())
		}
		walk(v, visit)
	}
	for e := range n.Elements() {
		walk(e, visit)
	}
}

// census collects what the population shows.
type census struct {
	types    map[string]int
	outcomes map[string]int
	classes  map[string]int
	hba1c    map[bool][]float64
	systolic map[bool][]float64 // by age 60 and over
}

func take(t *testing.T, all []fhir.Resource) census {
	c := census{map[string]int{}, map[string]int{}, map[string]int{}, map[bool][]float64{}, map[bool][]float64{}}
	for _, b := range all[1:] {
		c.count(t, b)
	}
	return c
}

func (c census) count(t *testing.T, b fhir.Resource) {
	var diabetic, old bool
	for e := range b.Root().Get("entry").Elements() {
		r := e.Get("resource")
		kind := r.Get("resourceType").Text()
		c.types[kind]++
		code := r.Path("code", "coding", "code").Text()
		switch {
		case kind == "Patient":
			old = r.Get("birthDate").Text() < "1966"
		case kind == "Condition" && code == diabetes.code:
			diabetic = true
		case kind == "Appointment":
			c.outcomes[r.Get("status").Text()]++
			if r.Get("cancelationReason").Exists() != (r.Get("status").Text() == "cancelled") {
				t.Error("cancelationReason and status disagree")
			}
		case kind == "Encounter":
			c.classes[r.Path("class", "code").Text()]++
		case code == glycated.code.code:
			c.hba1c[diabetic] = append(c.hba1c[diabetic], number(t, r))
		case code == "85354-9":
			c.systolic[old] = append(c.systolic[old], number(t, r.Path("component").First()))
		}
	}
}

func number(t *testing.T, r fhir.Node) float64 {
	v, err := strconv.ParseFloat(r.Path("valueQuantity", "value").Text(), 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func mean(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}

func TestPopulationIsPlausible(t *testing.T) {
	c := take(t, bundles(t, 42, 600))
	for _, kind := range []string{"Encounter", "Condition", "Observation", "MedicationRequest", "Appointment", "Communication", "QuestionnaireResponse"} {
		if c.types[kind] < 400 {
			t.Errorf("only %d %s for 600 patients", c.types[kind], kind)
		}
	}
	for _, outcome := range []string{"fulfilled", "noshow", "cancelled", "booked"} {
		if c.outcomes[outcome] == 0 {
			t.Errorf("no appointment is %s", outcome)
		}
	}
	planned := float64(c.outcomes["fulfilled"] + c.outcomes["noshow"] + c.outcomes["cancelled"])
	if share := float64(c.outcomes["noshow"]) / planned; share < 0.08 || share > 0.25 {
		t.Errorf("no-shows are %.3f of past appointments", share)
	}
	for _, class := range []string{"AMB", "EMER", "IMP"} {
		if c.classes[class] == 0 {
			t.Errorf("no encounter of class %s", class)
		}
	}
	if d := mean(c.hba1c[true]) - mean(c.hba1c[false]); math.IsNaN(d) || d < 1 {
		t.Errorf("diabetes raises HbA1c by %.2f only", d)
	}
	if d := mean(c.systolic[true]) - mean(c.systolic[false]); math.IsNaN(d) || d < 5 {
		t.Errorf("age raises systolic pressure by %.1f only", d)
	}
	t.Log(c.types, c.outcomes, c.classes)
}

// TestTimes: nothing recorded lies after now or after death, but booked
// appointments do.
func TestTimes(t *testing.T) {
	for _, b := range bundles(t, 3, 300)[1:] {
		var died string
		for e := range b.Root().Get("entry").Elements() {
			r := e.Get("resource")
			if at := r.Get("deceasedDateTime").Text(); at != "" {
				died = at
			}
			at := r.Get("effectiveDateTime").Text() + r.Path("period", "end").Text()
			if at > now.Format(instant) || died != "" && at > died {
				t.Errorf("%s at %s lies behind now or death %s", r.Get("resourceType").Text(), at, died)
			}
			if r.Get("status").Text() == "booked" && r.Get("start").Text() <= now.Format(instant) {
				t.Error("a booked appointment lies in the past")
			}
		}
	}
}

func BenchmarkPatient(b *testing.B) {
	b.ReportAllocs()
	size := 0
	for n := 0; b.Loop(); n++ {
		size += len(Patient(1, n, now))
	}
	b.ReportMetric(float64(size)/float64(b.N), "B/bundle")
}
