package analytics_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"candela/analytics"
	"candela/analytics/risk"
	"candela/analytics/segment"
	"candela/store"
)

func runner(t testing.TB, w world, change ...func(*analytics.Config)) *analytics.Runner {
	t.Helper()
	prevent, err := risk.New(risk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := analytics.Config{
		Door: w, Store: w, Base: base, Version: "test", Now: func() time.Time { return time.Unix(1.7e9, 0) },
		Capabilities: []analytics.Capability{prevent, segment.New(segment.Hypertension(time.Time{}))},
	}
	for _, f := range change {
		f(&c)
	}
	r, err := analytics.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func run(t testing.TB, r *analytics.Runner) analytics.Report {
	t.Helper()
	report, err := r.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func quantity(id, patient, code, date, value, unit string) string {
	return fmt.Sprintf(`{"resourceType":"Observation","id":%q,"status":"final","code":{"coding":[{"system":"http://loinc.org","code":%q}]},"subject":{"reference":"Patient/%s"},"effectiveDateTime":%q,"valueQuantity":{"value":%s,"unit":%q,"system":"http://unitsofmeasure.org","code":%q}}`,
		id, code, patient, date, value, unit, unit)
}

func pressure(id, patient, date, systolic string) string {
	return fmt.Sprintf(`{"resourceType":"Observation","id":%q,"status":"final","code":{"coding":[{"system":"http://loinc.org","code":"85354-9"}]},"subject":{"reference":"Patient/%s"},"effectiveDateTime":%q,"component":[{"code":{"coding":[{"system":"http://loinc.org","code":"8462-4"}]},"valueQuantity":{"value":80,"unit":"mmHg","system":"http://unitsofmeasure.org","code":"mm[Hg]"}},{"code":{"coding":[{"system":"http://loinc.org","code":"8480-6"}]},"valueQuantity":{"value":%s,"unit":"mmHg","system":"http://unitsofmeasure.org","code":"mm[Hg]"}}]}`,
		id, patient, date, systolic)
}

// person are the records of the published example (Khan 2024, table S25):
// female, 50, 160 treated, 200/45, diabetes, BMI 35; creatinine 0.79 gives eGFR 91.
func person(p string) map[string]string {
	out := map[string]string{
		"Patient/" + p:                    fmt.Sprintf(`{"resourceType":"Patient","id":%q,"gender":"female","birthDate":"1970-03-01"}`, p),
		"Condition/" + p + "-dm":          condition(p+"-dm", p, "44054006", "2015-01-01"),
		"Condition/" + p + "-htn":         condition(p+"-htn", p, "59621000", "2014-01-01"),
		"MedicationRequest/" + p + "-ace": fmt.Sprintf(`{"resourceType":"MedicationRequest","id":"%s-ace","status":"active","intent":"order","medicationCodeableConcept":{"coding":[{"system":"http://www.nlm.nih.gov/research/umls/rxnorm","code":"314076","display":"lisinopril 10 MG Oral Tablet"}]},"subject":{"reference":"Patient/%s"},"authoredOn":"2019-01-01"}`, p, p),
		"Observation/" + p + "-smk":       fmt.Sprintf(`{"resourceType":"Observation","id":"%s-smk","status":"final","code":{"coding":[{"system":"http://loinc.org","code":"72166-2"}]},"subject":{"reference":"Patient/%s"},"effectiveDateTime":"2020-05-01","valueCodeableConcept":{"coding":[{"system":"http://snomed.info/sct","code":"8517006"}]}}`, p, p),
		"Observation/" + p + "-bp":        pressure(p+"-bp", p, "2020-06-01T10:00:00Z", "160"),
	}
	for _, o := range [][3]string{{"2093-3", "200", "mg/dL"}, {"2085-9", "45", "mg/dL"}, {"2160-0", "0.79", "mg/dL"}, {"39156-5", "35", "kg/m2"}} {
		id := p + "-" + o[0]
		out["Observation/"+id] = quantity(id, p, o[0], "2020-05-01", o[1], o[2])
	}
	return out
}

func condition(id, patient, code, onset string) string {
	return fmt.Sprintf(`{"resourceType":"Condition","id":%q,"clinicalStatus":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/condition-clinical","code":"active"}]},"code":{"coding":[{"system":"http://snomed.info/sct","code":%q}]},"subject":{"reference":"Patient/%s"},"onsetDateTime":%q}`, id, code, patient, onset)
}

func assessmentID(patient string) string {
	return analytics.ID("prevent-base-10y", "Patient/"+patient)
}

// percents are the probabilities of a RiskAssessment as they are written.
func percents(t testing.TB, w world, patient string) []string {
	t.Helper()
	raw := read(t, w, "RiskAssessment", assessmentID(patient))
	var out []string
	for _, part := range strings.Split(raw, `"probabilityDecimal":`)[1:] {
		out = append(out, part[:strings.IndexByte(part, ',')])
	}
	return out
}

const group = "segment-hypertension-sbp-130"

func members(t testing.TB, w world) []string {
	t.Helper()
	raw := read(t, w, "Group", group)
	if raw == "" {
		return nil
	}
	var out []string
	g := decode(t, raw)
	for _, m := range list(g["member"]) {
		out = append(out, m.(object)["entity"].(object)["reference"].(string))
	}
	if n := int(g["quantity"].(float64)); n != len(out) || !slices.IsSorted(out) {
		t.Errorf("quantity %d of members %v", n, out)
	}
	return out
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}

func TestRunTwiceAndOneChange(t *testing.T) {
	w := newMemory()
	send(t, w, person("a"))
	send(t, w, person("b"))
	send(t, w, map[string]string{"Patient/c": `{"resourceType":"Patient","id":"c","gender":"male","birthDate":"2015-01-01"}`})
	r := runner(t, w)
	report := run(t, r)
	if report.Subjects != 3 || report.Written != 4 { // two assessments, the group, the device
		t.Errorf("first run: %+v", report)
	}
	if got := report.Refused["prevent-base-10y 2024.1 max-age=24"]["systolic-bp is missing"]; got != 1 {
		t.Errorf("refused: %v", report.Refused)
	}
	// Age 50, SBP 160 treated, 200/45, DM, eGFR 91.2: the published case has 90.
	if got := percents(t, w, "a"); !slices.Equal(got, []string{"14.6", "9.2", "8.0"}) {
		t.Errorf("probabilities %v", got)
	}
	if got := members(t, w); !slices.Equal(got, []string{"Patient/a", "Patient/b"}) {
		t.Errorf("members %v", got)
	}
	if n := len(all(t, w, "Provenance")); n != 1 {
		t.Errorf("%d Provenances after one run", n)
	}
	quiet(t, w, r)
	before := all(t, w, "RiskAssessment")
	send(t, w, map[string]string{"Observation/a-bp2": pressure("a-bp2", "a", "2020-07-01T10:00:00Z", "120")})
	if report := run(t, r); report.Subjects != 1 || report.Written != 2 {
		t.Errorf("one observation: %+v", report)
	}
	after := all(t, w, "RiskAssessment")
	if before[assessmentID("a")] == after[assessmentID("a")] || before[assessmentID("b")] != after[assessmentID("b")] {
		t.Error("the change of a's records must change a's assessment alone")
	}
	if !strings.Contains(after[assessmentID("a")], `"Observation/a-bp2/_history/1"`) || strings.Contains(after[assessmentID("a")], `"Observation/a-bp/`) {
		t.Error("basis is not the newest observation")
	}
	if got := members(t, w); !slices.Equal(got, []string{"Patient/b"}) {
		t.Errorf("members %v", got)
	}
	quiet(t, w, r)
}

// quiet asserts that further runs, of this Runner and of a new one that starts
// at the beginning, write nothing.
func quiet(t *testing.T, w world, r *analytics.Runner) {
	t.Helper()
	head, err := w.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if report := run(t, r); report.Written != 0 || report.Subjects != 0 {
			t.Errorf("nothing changed, and yet %+v", report)
		}
	}
	now, err := w.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if now != head {
		t.Errorf("%d versions were written though nothing changed", now-head)
	}
}

// TestVanishedAndExcluded runs on the product: deletions and all.
func TestVanishedAndExcluded(t *testing.T) {
	for _, c := range []struct {
		name   string
		change map[string]string
		status string
		reason string
	}{
		{"input deleted", map[string]string{"Observation/a-2093-3": ""}, "entered-in-error", "total-cholesterol is missing"},
		{"input mistaken", map[string]string{"Observation/a-2093-3": strings.Replace(person("a")["Observation/a-2093-3"], `"final"`, `"entered-in-error"`, 1)}, "entered-in-error", "total-cholesterol is missing"},
		{"input moved", map[string]string{"Observation/a-bp": pressure("a-bp", "z", "2020-06-01T10:00:00Z", "160")}, "entered-in-error", "systolic-bp is missing"},
		{"stroke", map[string]string{"Condition/a-s": condition("a-s", "a", "230690007", "2020-05-05")}, "cancelled", "not for people with cardiovascular-disease"},
		{"out of range", map[string]string{"Observation/a-39156-5": quantity("a-39156-5", "a", "39156-5", "2020-05-01", "41", "kg/m2")}, "cancelled", "bmi is not within 18.5 to 39.9 kg/m2"},
		{"too old", map[string]string{"Observation/a-n": pressure("a-n", "a", "2022-05-02T10:00:00Z", "160")}, "entered-in-error", "total-cholesterol is older than 24 months"},
		{"died", map[string]string{"Patient/a": `{"resourceType":"Patient","id":"a","gender":"female","birthDate":"1970-03-01","deceasedBoolean":true}`}, "cancelled", "patient is deceased"},
		{"patient deleted", map[string]string{"Patient/a": ""}, "entered-in-error", "patient was deleted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := openProduct(t)
			send(t, w, person("z"))
			send(t, w, person("a"))
			r := runner(t, w)
			run(t, r)
			send(t, w, c.change)
			report := run(t, r)
			got := decode(t, read(t, w, "RiskAssessment", assessmentID("a")))
			if got["status"] != c.status || got["prediction"] != nil {
				t.Errorf("status %v with predictions %v, want %s without", got["status"], got["prediction"], c.status)
			}
			if !strings.Contains(fmt.Sprint(got["note"]), c.reason) || report.Refused["prevent-base-10y 2024.1 max-age=24"][c.reason] == 0 {
				t.Errorf("reason %q is neither in %v nor in %v", c.reason, got["note"], report.Refused)
			}
			quiet(t, w, r)
			send(t, w, person("a"))
			restored := run(t, r)
			if c.name != "stroke" && c.name != "too old" && len(percents(t, w, "a")) != 3 {
				t.Errorf("the records are back and the assessment is not: %+v", restored)
			}
		})
	}
}

var errKilled = errors.New("killed")

// TestKilledBeforeCursor: the process dies after the results were written and
// before the position was saved. The next run writes nothing new.
func TestKilledBeforeCursor(t *testing.T) {
	w := newMemory()
	send(t, w, person("a"))
	w.swap = func() error { return errKilled }
	if _, err := runner(t, w).Run(t.Context()); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	w.swap = nil
	written := len(w.log)
	if report := run(t, runner(t, w)); report.Written != 0 || report.Unchanged != 2 || report.From != 0 {
		t.Errorf("second run: %+v", report)
	}
	if len(w.log) != written {
		t.Errorf("%d versions more after the second run", len(w.log)-written)
	}
}

// TestSlicesAndBatches: however the work is cut, the results are the same.
func TestSlicesAndBatches(t *testing.T) {
	var want map[string]string
	var wantGroup string
	for _, cut := range []struct{ batch, slice int }{{100, 0}, {1, 0}, {3, 2}, {2, 1}} {
		w := newMemory()
		for i := range 7 {
			send(t, w, person(string(rune('a'+i))))
		}
		r := runner(t, w, func(c *analytics.Config) { c.Batch, c.Slice, c.Workers = cut.batch, cut.slice, 3 })
		run(t, r)
		got, gotGroup := all(t, w, "RiskAssessment"), read(t, w, "Group", group)
		if want == nil {
			want, wantGroup = got, gotGroup
		}
		if len(got) != 7 || !maps.Equal(got, want) || gotGroup != wantGroup {
			t.Errorf("batches of %d, slices of %d give other results", cut.batch, cut.slice)
		}
		quiet(t, w, r)
	}
}

// TestTakenOver: whoever takes our tag off a result owns it.
func TestTakenOver(t *testing.T) {
	w := newMemory()
	send(t, w, person("a"))
	r := runner(t, w)
	run(t, r)
	id := assessmentID("a")
	mine := fmt.Sprintf(`{"resourceType":"RiskAssessment","id":%q,"status":"amended","subject":{"reference":"Patient/a"}}`, id)
	send(t, w, map[string]string{"RiskAssessment/" + id: mine, "Observation/a-bp": pressure("a-bp", "a", "2020-06-01T10:00:00Z", "150")})
	if report := run(t, r); report.Kept != 1 {
		t.Errorf("%+v", report)
	}
	if got := read(t, w, "RiskAssessment", id); got != mine {
		t.Errorf("overwritten: %s", got)
	}
}

func TestMedicationChange(t *testing.T) {
	t.Run("memory", func(t *testing.T) { medicationChange(t, newMemory()) })
	t.Run("product", func(t *testing.T) { medicationChange(t, openProduct(t)) })
}

// medicationChange: a Medication has no patient; those who take it are touched.
func medicationChange(t *testing.T, w world) {
	records := person("a")
	records["MedicationRequest/a-ace"] = `{"resourceType":"MedicationRequest","id":"a-ace","status":"active","intent":"order","medicationReference":{"reference":"Medication/m"},"subject":{"reference":"Patient/a"},"authoredOn":"2019-01-01"}`
	records["Medication/m"] = `{"resourceType":"Medication","id":"m","code":{"text":"24 HR metoprolol succinate 50 MG Extended Release Oral Tablet"}}`
	send(t, w, records)
	r := runner(t, w)
	run(t, r)
	treated := percents(t, w, "a")
	send(t, w, map[string]string{"Medication/m": `{"resourceType":"Medication","id":"m","code":{"text":"Paracetamol 500 MG"}}`})
	if report := run(t, r); report.Subjects != 1 {
		t.Errorf("%+v", report)
	}
	if got := percents(t, w, "a"); slices.Equal(got, treated) || !slices.Equal(treated, []string{"14.6", "9.2", "8.0"}) {
		t.Errorf("treated %v, then %v", treated, got)
	}
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newMemory()
		send(t, w, person("a"))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- runner(t, w).Follow(ctx) }()
		time.Sleep(10 * time.Second)
		if len(percents(t, w, "a")) != 3 {
			t.Error("not assessed after the start")
		}
		send(t, w, person("b"))
		time.Sleep(10 * time.Second)
		if len(percents(t, w, "b")) != 3 {
			t.Error("not assessed while following")
		}
		settled := len(w.log)
		time.Sleep(time.Minute)
		if len(w.log) != settled {
			t.Errorf("own results cause runs without end: %d versions more", len(w.log)-settled)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestStoreSetBack: a store restored from a backup has fewer changes than the
// saved position; the Runner starts over and writes nothing twice.
func TestStoreSetBack(t *testing.T) {
	w := newMemory()
	send(t, w, person("a"))
	r := runner(t, w)
	run(t, r)
	for key := range w.kv {
		w.kv[key] = []byte("99999")
	}
	if report := run(t, r); report.From != 0 || report.Written != 0 {
		t.Errorf("%+v", report)
	}
	if report := run(t, r); report.Changes != 0 {
		t.Errorf("position was not saved: %+v", report)
	}
}

func TestTwoRunners(t *testing.T) {
	w := newMemory()
	send(t, w, person("a"))
	first := true
	other := runner(t, w)
	w.swap = nil
	slow := runner(t, w, func(c *analytics.Config) {
		c.Now = func() time.Time { // between reading the position and writing
			if first {
				first = false
				run(t, other)
			}
			return time.Unix(1.7e9, 0)
		}
	})
	_, err := slow.Run(t.Context())
	if err == nil || !errors.Is(err, store.ErrConflict) && !strings.Contains(err.Error(), "412") {
		t.Errorf("two at once: %v", err)
	}
	quiet(t, w, other)
}
