package segment_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"candela/analytics/profile"
	"candela/analytics/segment"
	"candela/fhir"
)

func pressure(date, value string) string {
	return fmt.Sprintf(`{"resourceType":"Observation","id":"bp-%s","status":"final","code":{"coding":[{"system":"http://loinc.org","code":"85354-9"}]},"effectiveDateTime":%q,"component":[{"code":{"coding":[{"system":"http://loinc.org","code":"8480-6"}]},"valueQuantity":{"value":%s,"code":"mm[Hg]"}}]}`, date, date, value)
}

func weight(date string) string {
	return fmt.Sprintf(`{"resourceType":"Observation","id":"w-%s","status":"final","code":{"coding":[{"system":"http://loinc.org","code":"29463-7"}]},"effectiveDateTime":%q,"valueQuantity":{"value":80,"code":"kg"}}`, date, date)
}

const (
	patient      = `{"resourceType":"Patient","id":"p","gender":"male","birthDate":"1954-05-30"}`
	hypertension = `{"resourceType":"Condition","id":"c","clinicalStatus":{"coding":[{"code":"active"}]},"code":{"coding":[{"system":"http://hl7.org/fhir/sid/icd-10-cm","code":"I10"}]},"onsetDateTime":"2015-01-01"}`
)

func TestHypertension(t *testing.T) {
	resolved := strings.Replace(hypertension, `"active"`, `"resolved"`, 1)
	dead := strings.Replace(patient, `"gender"`, `"deceasedDateTime":"2020-07-01","gender"`, 1)
	day := func(text string) time.Time {
		at, err := time.Parse("2006-01-02", text)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	for _, c := range []struct {
		name    string
		asOf    time.Time
		records []string
		want    bool
	}{
		{"just high enough", time.Time{}, []string{patient, hypertension, pressure("2020-06-01", "130")}, true},
		{"just too low", time.Time{}, []string{patient, hypertension, pressure("2020-06-01", "129.9")}, false},
		{"the last one counts", time.Time{}, []string{patient, hypertension, pressure("2020-06-01", "120"), pressure("2020-05-01", "180")}, false},
		{"no condition", time.Time{}, []string{patient, pressure("2020-06-01", "150")}, false},
		{"resolved", time.Time{}, []string{patient, resolved, pressure("2020-06-01", "150")}, false},
		{"no measurement", time.Time{}, []string{patient, hypertension}, false},
		{"twelve months before the newest measurement", time.Time{}, []string{patient, hypertension, pressure("2020-06-01", "150"), weight("2021-06-01")}, true},
		{"a day more", time.Time{}, []string{patient, hypertension, pressure("2020-06-01", "150"), weight("2021-06-02")}, false},
		{"died", time.Time{}, []string{dead, hypertension, pressure("2020-06-01", "150")}, false},
		{"as of a day before death", day("2020-06-30"), []string{dead, hypertension, pressure("2020-06-01", "150")}, true},
		{"inactive record", time.Time{}, []string{strings.Replace(patient, `"gender"`, `"active":false,"gender"`, 1), hypertension, pressure("2020-06-01", "150")}, false},
		{"as of a year later", day("2021-06-01"), []string{patient, hypertension, pressure("2020-06-01", "150")}, true},
		{"as of a year and a day later", day("2021-06-02"), []string{patient, hypertension, pressure("2020-06-01", "150")}, false},
		{"as of before the high one", day("2020-05-31"), []string{patient, hypertension, pressure("2020-06-01", "150"), pressure("2020-05-01", "120")}, false},
		{"as of before the condition", day("2014-12-31"), []string{patient, hypertension, pressure("2014-12-01", "150")}, false},
	} {
		var parsed []fhir.Resource
		for _, raw := range c.records {
			parsed = append(parsed, fhir.Stored([]byte(raw)))
		}
		p, err := profile.Of(parsed[0], parsed[1:]...)
		if err != nil {
			t.Fatal(err)
		}
		if got := segment.Hypertension(c.asOf).Holds(&p); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	if gone := (profile.Profile{ID: "p"}); segment.Hypertension(time.Time{}).Holds(&gone) {
		t.Error("a deleted patient belongs to the segment")
	}
}
