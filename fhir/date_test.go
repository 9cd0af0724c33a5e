package fhir_test

import (
	"testing"
	"time"

	"candela/fhir"

	"pgregory.net/rapid"
)

func TestDateRanges(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text   string
		zone   *time.Location
		lo, hi string // RFC 3339, both inclusive
		prec   fhir.Precision
		zoned  bool
	}{
		{"2020", nil, "2020-01-01T00:00:00Z", "2020-12-31T23:59:59.999999Z", fhir.Year, false},
		{"2020-02", nil, "2020-02-01T00:00:00Z", "2020-02-29T23:59:59.999999Z", fhir.Month, false},
		{"2020-12", nil, "2020-12-01T00:00:00Z", "2020-12-31T23:59:59.999999Z", fhir.Month, false},
		{"2020-12-31", nil, "2020-12-31T00:00:00Z", "2020-12-31T23:59:59.999999Z", fhir.Day, false},
		{"1900-02-28", nil, "1900-02-28T00:00:00Z", "1900-02-28T23:59:59.999999Z", fhir.Day, false},
		{"2020-07-01", berlin, "2020-06-30T22:00:00Z", "2020-07-01T21:59:59.999999Z", fhir.Day, false},
		{"2020-03-29", berlin, "2020-03-28T23:00:00Z", "2020-03-29T21:59:59.999999Z", fhir.Day, false},
		{"2020-05-17T10:30", nil, "2020-05-17T10:30:00Z", "2020-05-17T10:30:59.999999Z", fhir.Minute, false},
		{"2020-05-17T10:30Z", berlin, "2020-05-17T10:30:00Z", "2020-05-17T10:30:59.999999Z", fhir.Minute, true},
		{"2020-05-17T10:30:05", berlin, "2020-05-17T08:30:05Z", "2020-05-17T08:30:05.999999Z", fhir.Second, false},
		{"2020-05-17T10:30:05+14:00", nil, "2020-05-16T20:30:05Z", "2020-05-16T20:30:05.999999Z", fhir.Second, true},
		{"2020-05-17T10:30:05-05:30", berlin, "2020-05-17T16:00:05Z", "2020-05-17T16:00:05.999999Z", fhir.Second, true},
		{"2020-05-17T10:30:05.5Z", nil, "2020-05-17T10:30:05.5Z", "2020-05-17T10:30:05.599999Z", fhir.Fraction, true},
		{"2020-05-17T10:30:05.123456789Z", nil, "2020-05-17T10:30:05.123456Z", "2020-05-17T10:30:05.123456Z", fhir.Fraction, true},
		{"2016-12-31T23:59:60Z", nil, "2017-01-01T00:00:00Z", "2017-01-01T00:00:00.999999Z", fhir.Second, true},
		{"0001-01-01", nil, "0001-01-01T00:00:00Z", "0001-01-01T23:59:59.999999Z", fhir.Day, false},
		{"9999", nil, "9999-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", fhir.Year, false},
	} {
		d, err := fhir.ParseDate(c.text, c.zone)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		lo, hi := time.UnixMicro(d.Lo).UTC().Format(time.RFC3339Nano), time.UnixMicro(d.Hi).UTC().Format(time.RFC3339Nano)
		if lo != c.lo || hi != c.hi || d.Precision != c.prec || d.Zoned != c.zoned {
			t.Errorf("%s: %s to %s, precision %d, zoned %v; want %s to %s", c.text, lo, hi, d.Precision, d.Zoned, c.lo, c.hi)
		}
	}
}

func TestDateRefuses(t *testing.T) {
	for _, text := range []string{
		"", "20", "202", "0000", "02020", "2020-", "2020-5", "2020-00", "2020-13", "2020-05-", "2020-05-0", "2020-05-00", "2020-05-32", "2020-02-30", "2019-02-29", "1900-02-29",
		"2020-04-31", "2020T10:00", "2020-05T10:00", "2020-05-17T", "2020-05-17T10", "2020-05-17T10:", "2020-05-17T24:00:00", "2020-05-17T10:60:00", "2020-05-17T10:30:61",
		"2020-05-17T10:30:00.", "2020-05-17T10:30:00.Z", "2020-05-17T10:30:00+", "2020-05-17T10:30:00+1", "2020-05-17T10:30:00+14:01", "2020-05-17T10:30:00+15:00",
		"2020-05-17T10:30:00+0100", "2020-05-17T10:30:00z", "2020-05-17 10:30:00", "2020-05-17Z", "2020-05-17T10:30:00ZZ", " 2020", "2020 ", "2020-05-17T1a:30:00", "-2020", "２０２０",
	} {
		if d, err := fhir.ParseDate(text, nil); err == nil {
			t.Errorf("%q was read as %+v", text, d)
		}
	}
}

func TestTimeOfDay(t *testing.T) {
	for text, want := range map[string][2]int64{
		"00:00:00":      {0, 999_999},
		"10:30:05.25":   {37_805_250_000, 37_805_259_999},
		"23:59:59.9999": {86_399_999_900, 86_399_999_999},
	} {
		lo, hi, err := fhir.ParseTime(text)
		if err != nil || lo != want[0] || hi != want[1] {
			t.Errorf("%s: %d to %d, %v", text, lo, hi, err)
		}
	}
	for _, text := range []string{"", "10", "10:30", "10:30:00Z", "10:30:00+01:00", "24:00:00", "1:30:00", "10:30:00.", "T10:30:00"} {
		if _, _, err := fhir.ParseTime(text); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}

// Whole instants agree with Go's own reader, in every zone.
func TestDateAgreesWithGo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		moment := time.UnixMicro(rapid.Int64Range(-62_135_500_000_000_000, 253_402_000_000_000_000).Draw(t, "moment"))
		zone := time.FixedZone("", 60*rapid.IntRange(-14*60, 14*60).Draw(t, "offset"))
		if y := moment.In(zone).Year(); y < 1 || y > 9999 {
			return
		}
		d, err := fhir.ParseDate(moment.In(zone).Format("2006-01-02T15:04:05.000000Z07:00"), nil)
		if err != nil || d.Lo != moment.UnixMicro() || d.Hi != d.Lo {
			t.Fatalf("%s: %+v %v", moment.In(zone), d, err)
		}
		local, err := fhir.ParseDate(moment.In(zone).Format("2006-01-02T15:04:05.000000"), zone)
		if err != nil || local.Lo != moment.UnixMicro() || local.Zoned {
			t.Fatalf("%s read in its zone: %+v %v", moment.In(zone), local, err)
		}
		day, err := fhir.ParseDate(moment.UTC().Format("2006-01-02"), nil)
		if err != nil || day.Lo > moment.UnixMicro() || day.Hi < moment.UnixMicro() || day.Hi-day.Lo != 86_400_000_000-1 {
			t.Fatalf("%s: its day is %+v %v", moment.UTC(), day, err)
		}
	})
}
