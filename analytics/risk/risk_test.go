package risk_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"candela/analytics/model"
	"candela/analytics/profile"
	"candela/analytics/risk"
	"candela/fhir"
)

func at(date string) time.Time {
	t, err := time.Parse("2006-01-02", date)
	if err != nil {
		return time.Time{}
	}
	return t
}

func measured(code, date, value, unit string) string {
	return fmt.Sprintf(`{"resourceType":"Observation","id":"%s-%s","status":"final","code":{"coding":[{"system":"http://loinc.org","code":%q}]},"effectiveDateTime":%q,"valueQuantity":{"value":%s,"code":%q}}`, code, date, code, date, value, unit)
}

func smoking(date, code string) string {
	return fmt.Sprintf(`{"resourceType":"Observation","id":"smk-%s","status":"final","code":{"coding":[{"system":"http://loinc.org","code":"72166-2"}]},"effectiveDateTime":%q,"valueCodeableConcept":{"coding":[{"system":"http://snomed.info/sct","code":%q}]}}`, date, date, code)
}

func condition(code, onset string) string {
	return fmt.Sprintf(`{"resourceType":"Condition","id":"c-%s","clinicalStatus":{"coding":[{"code":"active"}]},"code":{"coding":[{"system":"http://snomed.info/sct","code":%q}]},"onsetDateTime":%q}`, code, code, onset)
}

func order(name, since string) string {
	return fmt.Sprintf(`{"resourceType":"MedicationRequest","id":"m-%s","status":"active","medicationCodeableConcept":{"text":%q},"authoredOn":%q}`, name, name, since)
}

// man is 66 on 2020-06-01: 148, 188/52, BMI 30, creatinine 1.195451 (eGFR 67), smoker.
func man() []string {
	return []string{
		`{"resourceType":"Patient","id":"p","gender":"male","birthDate":"1954-05-30"}`,
		measured("8480-6", "2020-06-01", "148", "mm[Hg]"), measured("2093-3", "2020-05-01", "188", "mg/dL"), measured("2085-9", "2020-05-01", "52", "mg/dL"),
		measured("2160-0", "2020-06-01", "1.195451", "mg/dL"), measured("39156-5", "2020-06-01", "30", "kg/m2"), smoking("2020-06-01", "77176002"),
	}
}

func assess(t *testing.T, o risk.Options, records ...string) (risk.Assessment, error) {
	t.Helper()
	var parsed []fhir.Resource
	for _, raw := range records {
		parsed = append(parsed, fhir.Stored([]byte(raw)))
	}
	p, err := profile.Of(parsed[0], parsed[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	c, err := risk.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c.Assess(&p)
}

func scored(t *testing.T, o risk.Options, records ...string) risk.Assessment {
	t.Helper()
	a, err := assess(t, o, records...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func inputs(a risk.Assessment) string {
	var out []string
	for _, in := range a.Features.All() {
		out = append(out, fmt.Sprintf("%s=%.4g", in.Name, in.Value))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// TestAsOf: what was recorded behind the assessment is not known to it, and the
// patient is as old as they were then.
func TestAsOf(t *testing.T) {
	later := append(man(),
		measured("8480-6", "2021-06-02", "170", "mm[Hg]"), condition("44054006", "2021-01-01"), condition("230690007", "2021-06-02"),
		order("lisinopril", "2021-06-02"), smoking("2021-06-02", "8517006"))
	want := inputs(scored(t, risk.Options{}, man()...))
	then := scored(t, risk.Options{AsOf: at("2020-06-01")}, later...)
	if got := inputs(then); got != want || !then.At.Equal(at("2020-06-01")) {
		t.Errorf("as of 2020-06-01:\n%s\nwant\n%s", got, want)
	}
	if _, err := assess(t, risk.Options{}, later...); err == nil || !strings.Contains(err.Error(), "cardiovascular-disease") {
		t.Errorf("after the stroke: %v", err)
	}
	between := scored(t, risk.Options{AsOf: at("2021-06-01")}, later...)
	if got := inputs(between); !strings.Contains(got, "diabetes=1") || !strings.Contains(got, "age=67") || !strings.Contains(got, "systolic-bp=148") {
		t.Errorf("as of 2021-06-01: %s", got)
	}
}

// TestMoment: without AsOf the newest input dates the assessment, be it a
// measurement, a diagnosis or an order.
func TestMoment(t *testing.T) {
	for want, record := range map[string]string{
		"2020-06-01": condition("73211009", "2010-01-01"),
		"2020-08-01": condition("44054006", "2020-08-01"),
		"2020-09-01": order("lisinopril", "2020-09-01"),
		"2020-10-01": order("simvastatin", "2020-10-01"),
		"2020-11-01": measured("2093-3", "2020-11-01", "190", "mg/dL"),
	} {
		a := scored(t, risk.Options{}, append(man(), record)...)
		if !a.At.Equal(at(want)) {
			t.Errorf("dated %s, want %s", a.At, want)
		}
	}
	a := scored(t, risk.Options{}, append(man(), order("paracetamol", "2020-12-01"), condition("15777000", "2020-12-01"))...)
	if !a.At.Equal(at("2020-06-01")) || strings.Contains(inputs(a), "diabetes=1") {
		t.Errorf("what is no input dates the assessment: %s", a.At)
	}
}

func TestWhoIsNotScored(t *testing.T) {
	replace := func(old, with string) []string {
		out := man()
		for i := range out {
			out[i] = strings.ReplaceAll(out[i], old, with)
		}
		return out
	}
	for _, c := range []struct {
		records  []string
		reason   string
		vanished bool
	}{
		{replace(`"male"`, `"other"`), "sex is missing", true},
		{replace(`"birthDate"`, `"was"`), "age is missing", true},
		{replace(`"birthDate":"1954`, `"birthDate":"1991`), "age is not within 30 to 79 a", false},
		{replace(`"birthDate":"1954`, `"birthDate":"1940`), "age is not within 30 to 79 a", false},
		{replace("77176002", "266927001"), "smoking is missing", true},
		{replace(`"value":1.195451`, `"value":9.9`), "egfr is not within 15 to 140 mL/min/{1.73_m2}", false},
		{replace(`"gender"`, `"deceasedBoolean":true,"gender"`), "patient is deceased", false},
		{replace(`"gender"`, `"active":false,"gender"`), "record is inactive", false},
		{append(man(), condition("22298006", "1999-01-01")), "not for people with cardiovascular-disease", false},
	} {
		_, err := assess(t, risk.Options{}, c.records...)
		var no *risk.NotScored
		if !errors.As(err, &no) || !slices.Contains(no.Reasons, c.reason) || no.Vanished != c.vanished {
			t.Errorf("want %q, got %v", c.reason, err)
		}
	}
	_, err := assess(t, risk.Options{MaxAgeMonths: 6}, append(man(), measured("8480-6", "2020-12-02", "150", "mm[Hg]"))...)
	var no *risk.NotScored
	if !errors.As(err, &no) || !slices.Contains(no.Reasons, "egfr is older than 6 months") || slices.Contains(no.Reasons, "systolic-bp is older than 6 months") {
		t.Errorf("six months: %v", err)
	}
}

// TestPublished: records that amount to a worked example give its risk.
func TestPublished(t *testing.T) {
	records := append(man(), condition("44054006", "2015-01-01"), order("atorvastatin", "2018-01-01"))
	a := scored(t, risk.Options{}, records...)
	egfr, _ := a.Features.Get(model.EGFR)
	if egfr.Value < 66.99 || egfr.Value > 67.01 {
		t.Fatalf("eGFR %v, the example has 67", egfr.Value)
	}
	for o, want := range map[model.Outcome]float64{model.TotalCVD: .224156, model.ASCVD: .142050, model.HeartFailure: .137948} {
		if got, ok := a.Chance(o); !ok || got < want-0.00001 || got > want+0.00001 {
			t.Errorf("%s is %v, the example has %v", o, got, want)
		}
	}
}

func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for _, o := range []risk.Options{{}, {MaxAgeMonths: 12}, {AsOf: at("2020-01-01")}, {AsOf: at("2020-01-02")}} {
		c, err := risk.New(o)
		if err != nil {
			t.Fatal(err)
		}
		if seen[c.Name()] {
			t.Errorf("%+v has the name of another configuration: results would not be renewed", o)
		}
		seen[c.Name()] = true
	}
}
