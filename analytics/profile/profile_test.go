package profile_test

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"candela/analytics/profile"
	"candela/fhir"
)

// door answers reads and searches from a list of resources, in pages.
type door struct {
	t     testing.TB
	all   []string
	asked []string
}

func (d *door) Do(_ context.Context, r fhir.Request) (fhir.Response, error) {
	d.asked = append(d.asked, string(r.Interaction)+" "+r.Type)
	if r.Caller.Name != "test" {
		d.t.Error("asked as somebody else")
	}
	if r.Interaction == fhir.Read {
		for _, raw := range d.all {
			if res := fhir.Stored([]byte(raw)); res.Type() == r.Type && res.ID() == r.ID {
				return fhir.Response{Resource: res}, nil
			}
		}
		return fhir.Response{}, fhir.Errorf(410, fhir.CodeDeleted, "gone")
	}
	if got := r.Query.Get("patient"); got != "Patient/p" {
		d.t.Errorf("asked for %s", got)
	}
	var hits []string
	for _, raw := range d.all {
		res := fhir.Stored([]byte(raw))
		if status := r.Query.Get("status"); res.Type() == r.Type && (status == "" || status == res.Root().Get("status").Text()) {
			hits = append(hits, `{"resource":`+raw+`}`)
		}
	}
	count, _ := strconv.Atoi(r.Query.Get("_count"))
	at, _ := strconv.Atoi(r.Query.Get("at"))
	body := `{"resourceType":"Bundle","entry":[` + strings.Join(hits[min(at, len(hits)):min(at+count, len(hits))], ",") + `]`
	if at+count < len(hits) {
		body += fmt.Sprintf(`,"link":[{"relation":"self","url":"x"},{"relation":"next","url":"http://h/fhir/%s?patient=Patient%%2Fp&_count=%d&at=%d&status=%s"}]`, r.Type, count, at+count, r.Query.Get("status"))
	}
	return fhir.Response{Body: []byte(body + "}")}, nil
}

const patient = `{"resourceType":"Patient","id":"p","meta":{"versionId":"3"},"gender":"male","birthDate":"1960-07-15"}`

func read(t testing.TB, page int, resources ...string) profile.Profile {
	t.Helper()
	r := profile.Reader{Door: &door{t: t, all: append([]string{patient}, resources...)}, Base: "http://h/fhir", Page: page, Caller: fhir.Caller{Name: "test"}}
	p, err := r.Read(t.Context(), "p")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestOf: records at hand give the same profile as records behind a door.
func TestOf(t *testing.T) {
	records := []string{
		order(`"medicationReference":{"reference":"Medication/x"}`, ""), `{"resourceType":"Medication","id":"x","meta":{"versionId":"4"},"code":{"text":"rosuvastatin"}}`,
		strings.Replace(order(`"medicationCodeableConcept":{"text":"lisinopril"}`, ""), "active", "stopped", 1),
		diagnosis("http://snomed.info/sct", "44054006", ""), dated("a", "2020-01-01", "180"), dated("b", "2021-01-01", "190"),
		`{"resourceType":"Encounter","id":"e"}`,
	}
	var parsed []fhir.Resource
	for _, raw := range records {
		parsed = append(parsed, fhir.Stored([]byte(raw)))
	}
	got, err := profile.Of(fhir.Stored([]byte(patient)), parsed...)
	if want := read(t, 0, records...); err != nil || !reflect.DeepEqual(got, want) || len(got.Medications) != 1 {
		t.Errorf("%+v %v\nwant %+v", got, err, want)
	}
}

func observation(id, code, rest string) string {
	return fmt.Sprintf(`{"resourceType":"Observation","id":%q,"meta":{"versionId":"2"},"code":{"coding":[{"system":"http://example.org","code":"x"},{"system":"http://loinc.org","code":%q}]},%s}`, id, code, rest)
}

func value(v, unit string) string {
	return fmt.Sprintf(`"status":"final","effectiveDateTime":"2020-01-02","valueQuantity":{"value":%s,"code":%q,"system":"http://unitsofmeasure.org"}`, v, unit)
}

func TestValues(t *testing.T) {
	for _, c := range []struct {
		code, rest string
		kind       profile.Kind
		want       float64 // NaN: no fact
	}{
		{"2093-3", value("201.50", "mg/dL"), profile.TotalChol, 201.5},
		{"14647-2", value("5", "mmol/L"), profile.TotalChol, 193.34880123743232},
		{"2160-0", value("88.4", "umol/L"), profile.Creatinine, 1},
		{"4548-4", value("53", "mmol/mol"), profile.HbA1c, 7.00044},
		{"29463-7", value("200", "[lb_av]"), profile.Weight, 90.718474},
		{"8302-2", value("70", "[in_i]"), profile.Height, 177.8},
		{"2093-3", value("201", "g/L"), profile.TotalChol, math.NaN()},
		{"2093-3", `"status":"preliminary","effectiveDateTime":"2020-01-02","valueQuantity":{"value":201,"code":"mg/dL"}`, profile.TotalChol, math.NaN()},
		{"2093-3", `"status":"entered-in-error","effectiveDateTime":"2020-01-02","valueQuantity":{"value":201,"code":"mg/dL"}`, profile.TotalChol, math.NaN()},
		{"2093-3", `"status":"amended","effectiveDateTime":"2020-01-02","valueQuantity":{"value":201,"code":"mg/dL"}`, profile.TotalChol, 201},
		{"2093-3", `"status":"corrected","effectivePeriod":{"start":"2019-01-02","end":"2020-01-02"},"valueQuantity":{"value":201,"unit":"mg/dL"}`, profile.TotalChol, 201},
		{"2093-3", `"status":"final","effectiveDateTime":"2020-01-02","valueQuantity":{"value":201,"comparator":">","code":"mg/dL"}`, profile.TotalChol, math.NaN()},
		{"2093-3", `"status":"final","effectiveDateTime":"2020-01-02","dataAbsentReason":{"text":"lost"}`, profile.TotalChol, math.NaN()},
		{"2093-3", `"status":"final","valueQuantity":{"value":201,"code":"mg/dL"}`, profile.TotalChol, math.NaN()},
		{"8480-6", value("131", "mm[Hg]"), profile.Systolic, 131},
		{"55284-4", `"status":"final","effectiveDateTime":"2020-01-02T10:00:00+05:00","component":[{"code":{"coding":[{"system":"http://loinc.org","code":"8480-6"}]},"valueQuantity":{"value":129.12055328738617,"code":"mm[Hg]"}}]`, profile.Systolic, 129.12055328738617},
		{"72166-2", `"status":"final","effectiveDateTime":"2020-01-02","valueCodeableConcept":{"coding":[{"system":"http://snomed.info/sct","code":"449868002"}]}`, profile.Smoker, 1},
		{"72166-2", `"status":"final","effectiveDateTime":"2020-01-02","valueCodeableConcept":{"coding":[{"system":"http://snomed.info/sct","code":"266919005"}]}`, profile.Smoker, 0},
		{"72166-2", `"status":"final","effectiveDateTime":"2020-01-02","valueCodeableConcept":{"coding":[{"system":"http://snomed.info/sct","code":"266927001"}]}`, profile.Smoker, math.NaN()},
		{"33914-3", value("60", "mL/min"), profile.Creatinine, math.NaN()},
	} {
		p := read(t, 0, observation("o", c.code, c.rest))
		got, ok := p.Latest(c.kind, time.Time{})
		if ok == math.IsNaN(c.want) || ok && math.Abs(got.Value-c.want) > 1e-9 {
			t.Errorf("%s %s: %v %v, want %v", c.code, c.rest, got.Value, ok, c.want)
		}
		if ok && !slices.Equal(got.Sources, []string{"Observation/o/_history/2"}) {
			t.Errorf("source %v", got.Sources)
		}
	}
}

func dated(id, date, v string) string {
	return observation(id, "2093-3", fmt.Sprintf(`"status":"final","effectiveDateTime":%q,"valueQuantity":{"value":%s,"code":"mg/dL"}`, date, v))
}

// TestLatest: by the moment, whatever the zone, the order or the page.
func TestLatest(t *testing.T) {
	records := []string{
		dated("a", "2020-03-01T23:30:00-05:00", "3"), // 04:30 the next day in UTC: the newest
		dated("b", "2020-03-02T04:00:00Z", "2"),
		dated("c", "2019-01-01", "1"),
		dated("d", "2018-12-31T23:59:59Z", "0"),
	}
	for page := 1; page <= 5; page++ {
		slices.Reverse(records)
		p := read(t, page, records...)
		if f, ok := p.Latest(profile.TotalChol, time.Time{}); !ok || f.Value != 3 || len(p.Series(profile.TotalChol)) != 4 {
			t.Errorf("pages of %d: newest is %v of %d", page, f.Value, len(p.Series(profile.TotalChol)))
		}
		asOf := time.Date(2019, 1, 1, 0, 0, 0, 0, time.UTC)
		if f, ok := p.Latest(profile.TotalChol, asOf); !ok || f.Value != 1 {
			t.Errorf("as of the first of January: %v", f.Value)
		}
		if _, ok := p.Latest(profile.TotalChol, asOf.AddDate(-1, 0, 0)); ok {
			t.Error("a fact from the future")
		}
		if got := p.Newest(time.Time{}); !got.Equal(time.Date(2020, 3, 2, 4, 30, 0, 0, time.UTC)) {
			t.Errorf("newest is at %s", got)
		}
	}
	for _, ids := range [][2]string{{"a", "b"}, {"b", "a"}} { // the same moment twice: other ids, same fact
		p := read(t, 0, dated(ids[0], "2020-01-01", "180"), dated(ids[1], "2020-01-01", "190"))
		if f, _ := p.Latest(profile.TotalChol, time.Time{}); f.Value != 190 {
			t.Errorf("tie gives %v", f.Value)
		}
	}
}

func TestAge(t *testing.T) {
	p := read(t, 0)
	for date, want := range map[string]int{"2020-07-14": 59, "2020-07-15": 60, "1960-07-15": 0, "2021-01-01": 60} {
		at, err := time.Parse("2006-01-02", date)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := p.Age(at); !ok || got != want {
			t.Errorf("%s: %d, want %d", date, got, want)
		}
	}
	if _, ok := p.Age(time.Date(1960, 7, 14, 0, 0, 0, 0, time.UTC)); ok {
		t.Error("an age before birth")
	}
}

func TestDerived(t *testing.T) {
	weight, height := observation("w", "29463-7", value("81", "kg")), observation("h", "8302-2", value("180", "cm"))
	p := read(t, 0, weight, height)
	if f, ok := p.BodyMass(time.Time{}); !ok || math.Abs(f.Value-25) > 1e-9 || len(f.Sources) != 2 {
		t.Errorf("derived %v", f)
	}
	p = read(t, 0, weight, height, observation("b", "39156-5", value("26", "kg/m2")))
	if f, _ := p.BodyMass(time.Time{}); f.Value != 26 {
		t.Errorf("measured is 26, got %v", f.Value)
	}
	p = read(t, 0, observation("c", "38483-4", value("1.4", "mg/dL")))
	// 59 years old on 2020-01-02; by hand 142 * (1.4/0.9)^-1.2 * 0.9938^59
	if f, ok := p.Filtration(time.Time{}); !ok || math.Abs(f.Value-57.89836) > 1e-3 {
		t.Errorf("filtration %v", f.Value)
	}
}

func diagnosis(system, code, rest string) string {
	return fmt.Sprintf(`{"resourceType":"Condition","id":"c","meta":{"versionId":"1"},"code":{"coding":[{"system":%q,"code":%q}]}%s}`, system, code, rest)
}

func TestConditions(t *testing.T) {
	const sct, icd = "http://snomed.info/sct", "http://hl7.org/fhir/sid/icd-10-cm"
	active := `,"clinicalStatus":{"coding":[{"code":"active"}]}`
	resolved := `,"clinicalStatus":{"coding":[{"code":"resolved"}]},"onsetDateTime":"2018-01-01"`
	asOf := time.Date(2019, 6, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name          string
		record        string
		asOf          time.Time
		present, ever bool
	}{
		{"SNOMED", diagnosis(sct, "44054006", active), time.Time{}, true, true},
		{"prediabetes", diagnosis(sct, "15777000", active), time.Time{}, false, false},
		{"ICD-10-CM with dot", diagnosis(icd, "E11.9", active), time.Time{}, true, true},
		{"ICD-10", diagnosis("http://hl7.org/fhir/sid/icd-10", "E10", active), time.Time{}, true, true},
		{"ICD-10-CM prediabetes", diagnosis(icd, "R73.03", active), time.Time{}, false, false},
		{"code of another system", diagnosis("http://example.org", "44054006", active), time.Time{}, false, false},
		{"resolved", diagnosis(sct, "44054006", resolved), time.Time{}, false, true},
		{"resolved later than asked for", diagnosis(sct, "44054006", resolved+`,"abatementDateTime":"2020-01-01"`), asOf, true, true},
		{"begun later than asked for", diagnosis(sct, "44054006", active+`,"onsetDateTime":"2020-01-01"`), asOf, false, false},
		{"refuted", diagnosis(sct, "44054006", active+`,"verificationStatus":{"coding":[{"code":"refuted"}]}`), time.Time{}, false, false},
		{"mistaken", diagnosis(sct, "44054006", active+`,"verificationStatus":{"coding":[{"code":"entered-in-error"}]}`), time.Time{}, false, false},
	} {
		p := read(t, 0, c.record)
		if got := len(p.Present(profile.Diabetes(), c.asOf)) > 0; got != c.present {
			t.Errorf("%s: present %v", c.name, got)
		}
		if got := len(p.Ever(profile.Diabetes(), c.asOf)) > 0; got != c.ever {
			t.Errorf("%s: ever %v", c.name, got)
		}
	}
	p := read(t, 0, diagnosis(icd, "I63.9", resolved))
	if len(p.Ever(profile.Cardiovascular(), time.Time{})) != 1 || len(p.Present(profile.Cardiovascular(), time.Time{})) != 0 {
		t.Error("a past stroke counts for good, and is not present")
	}
}

func order(medication, rest string) string {
	return `{"resourceType":"MedicationRequest","id":"m","meta":{"versionId":"1"},"status":"active",` + medication + rest + `}`
}

func TestMedications(t *testing.T) {
	code := func(code, display string) string {
		return fmt.Sprintf(`"medicationCodeableConcept":{"coding":[{"system":"http://www.nlm.nih.gov/research/umls/rxnorm","code":%q,"display":%q}]}`, code, display)
	}
	asOf := time.Date(2019, 6, 1, 0, 0, 0, 0, time.UTC)
	medication := `{"resourceType":"Medication","id":"x","meta":{"versionId":"4"},"code":{"coding":[{"display":"Rosuvastatin calcium 5 MG"}]}}`
	for _, c := range []struct {
		name         string
		record       string
		asOf         time.Time
		bp, statin   bool
		wantedSource string
	}{
		{"ingredient", order(code("29046", ""), ""), time.Time{}, true, false, ""},
		{"clinical drug", order(code("314231", ""), ""), time.Time{}, false, true, ""},
		{"display", order(code("1", "24 HR Metoprolol succinate 50 MG Extended Release Oral Tablet"), ""), time.Time{}, true, false, ""},
		{"tall man", order(code("1", "amLODIPine 2.5 MG Oral Tablet"), ""), time.Time{}, true, false, ""},
		{"combination", order(code("1", "Hydrochlorothiazide 12.5 MG / lisinopril 10 MG"), ""), time.Time{}, true, false, ""},
		{"nystatin", order(code("1", "Nystatin 100 UNT/MG Topical Cream"), ""), time.Time{}, false, false, ""},
		{"stopped", strings.Replace(order(code("29046", ""), ""), "active", "stopped", 1), time.Time{}, false, false, ""},
		{"order not to take", order(code("29046", ""), `,"doNotPerform":true`), time.Time{}, false, false, ""},
		{"ordered later", order(code("29046", ""), `,"authoredOn":"2019-07-01"`), asOf, false, false, ""},
		{"referred to", order(`"medicationReference":{"reference":"Medication/x"}`, ""), time.Time{}, false, true, "Medication/x/_history/4"},
		{"contained", order(`"contained":[{"resourceType":"Medication","id":"y","code":{"text":"simvastatin 20 mg"}}],"medicationReference":{"reference":"#y"}`, ""), time.Time{}, false, true, ""},
		{"statement", strings.Replace(order(code("29046", ""), ""), "MedicationRequest", "MedicationStatement", 1), time.Time{}, true, false, ""},
		{"referred to and gone", order(`"medicationReference":{"reference":"Medication/gone"}`, ""), time.Time{}, false, false, ""},
	} {
		p := read(t, 0, c.record, medication)
		if got := len(p.Taking(profile.Antihypertensives(), c.asOf)) > 0; got != c.bp {
			t.Errorf("%s: antihypertensive %v", c.name, got)
		}
		statins := p.Taking(profile.Statins(), c.asOf)
		if got := len(statins) > 0; got != c.statin {
			t.Errorf("%s: statin %v", c.name, got)
		}
		if c.wantedSource != "" && !slices.Contains(statins[0].Sources, c.wantedSource) {
			t.Errorf("%s: sources %v", c.name, statins[0].Sources)
		}
	}
}

func TestPatient(t *testing.T) {
	d := &door{t: t}
	p, err := profile.Reader{Door: d, Caller: fhir.Caller{Name: "test"}}.Read(t.Context(), "p")
	if err != nil || p.Exists || p.ID != "p" || len(d.asked) != 1 {
		t.Errorf("a deleted patient: %+v %v, asked %v", p, err, d.asked)
	}
	d.all = []string{strings.Replace(patient, `"gender"`, `"active":false,"deceasedDateTime":"2021-05-01T10:00:00Z","gender"`, 1)}
	p, err = profile.Reader{Door: d, Caller: fhir.Caller{Name: "test"}}.Read(t.Context(), "p")
	if err != nil || !p.Exists || !p.Inactive || p.Source != "Patient/p/_history/3" {
		t.Errorf("%+v %v", p, err)
	}
	died := time.Date(2021, 5, 1, 10, 0, 0, 0, time.UTC)
	if !p.Dead(time.Time{}) || !p.Dead(died) || p.Dead(died.Add(-time.Second)) {
		t.Error("dead from the moment of death on")
	}
}

func TestDoorFails(t *testing.T) {
	fails := fhir.DoerFunc(func(_ context.Context, r fhir.Request) (fhir.Response, error) {
		if r.Interaction == fhir.Read {
			return fhir.Response{Resource: fhir.Stored([]byte(patient))}, nil
		}
		return fhir.Response{}, fhir.Errorf(503, fhir.CodeTransient, "down")
	})
	if _, err := (profile.Reader{Door: fails}).Read(t.Context(), "p"); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("half a profile: %v", err)
	}
}

// BenchmarkRead reads a patient of 60 cholesterol values; the door costs nothing.
func BenchmarkRead(b *testing.B) {
	var entries []string
	for i := range 60 {
		entries = append(entries, `{"resource":`+dated("o"+strconv.Itoa(i), fmt.Sprintf("20%02d-01-02", i%20), "200")+`}`)
	}
	full := []byte(`{"resourceType":"Bundle","entry":[` + strings.Join(entries, ",") + `]}`)
	r := profile.Reader{Door: fhir.DoerFunc(func(_ context.Context, r fhir.Request) (fhir.Response, error) {
		switch {
		case r.Interaction == fhir.Read:
			return fhir.Response{Resource: fhir.Stored([]byte(patient))}, nil
		case r.Type == "Observation":
			return fhir.Response{Body: full}, nil
		default:
			return fhir.Response{Body: []byte(`{"resourceType":"Bundle"}`)}, nil
		}
	})}
	b.ReportAllocs()
	b.SetBytes(int64(len(full)))
	for b.Loop() {
		if _, err := r.Read(b.Context(), "p"); err != nil {
			b.Fatal(err)
		}
	}
}
