package search

import (
	"math"
	"time"

	"candela/fhir"
	"candela/fhir/fhirpath"
	"candela/store"
)

// date gives what a date, Period or Timing covers.
func (x *extraction) date(dst []store.Value, item fhirpath.Item) []store.Value {
	n := item.Node
	switch item.Type {
	case "date", "dateTime", "instant", "System.Date", "System.DateTime":
		m, ok := parseDate(item.Text(), x.zone)
		if !ok {
			return dst
		}
		if item.Type == "instant" {
			m.hi = m.lo
		}
		return x.window(dst, m.lo, m.hi)
	case "Period":
		lo, hi, ok := x.period(n)
		if !ok {
			return dst
		}
		return x.window(dst, lo, hi)
	case "Timing":
		return x.timing(dst, n)
	}
	return dst
}

// The open ends of a period.
const (
	longAgo = math.MinInt64
	forever = math.MaxInt64
)

func (x *extraction) window(dst []store.Value, lo, hi int64) []store.Value {
	v := store.Value{Kind: store.Range}
	if lo != longAgo {
		v.Lo = x.moment(lo)
	}
	if hi != forever {
		v.Hi = x.moment(hi)
	}
	return append(dst, v)
}

// period reads start and end; a missing one is open.
func (x *extraction) period(n fhir.Node) (lo, hi int64, ok bool) {
	start, ok1 := parseDate(n.Get("start").Text(), x.zone)
	end, ok2 := parseDate(n.Get("end").Text(), x.zone)
	lo, hi = longAgo, forever
	if ok1 {
		lo = start.lo
	}
	if ok2 {
		hi = end.hi
	}
	return lo, hi, ok1 || ok2
}

// timing gives the outer bounds of a schedule: its events and its bounds period.
func (x *extraction) timing(dst []store.Value, n fhir.Node) []store.Value {
	lo, hi, found := int64(forever), int64(longAgo), false
	for e := range n.Get("event").Each() {
		if m, ok := parseDate(e.Text(), x.zone); ok {
			lo, hi, found = min(lo, m.lo), max(hi, m.hi), true
		}
	}
	if from, to, ok := x.period(n.Path("repeat", "boundsPeriod")); ok {
		lo, hi, found = min(lo, from), max(hi, to), true
	}
	if !found {
		return dst
	}
	return x.window(dst, lo, hi)
}

func (x *extraction) moment(micros int64) []byte {
	from := len(x.bytes)
	x.bytes = append(x.bytes, store.OrderedInt(micros)...)
	return x.bytes[from:len(x.bytes):len(x.bytes)]
}

func (r reader) dateConds(name, value string) ([]store.Cond, error) {
	how, rest, err := cutPrefix(name, value)
	if err != nil {
		return nil, err
	}
	m, ok := parseDate(rest, r.zone)
	if !ok {
		return nil, invalid(name, "not a date; use yyyy, yyyy-mm, yyyy-mm-dd or yyyy-mm-ddThh:mm[:ss[.sss]][Z|±hh:mm]")
	}
	if how == store.Overlaps {
		m = m.approximately(r.now)
	}
	c := store.Cond{How: how}
	c.Lo, c.Hi = m.bytes()
	return []store.Cond{c}, nil
}

// moments is an inclusive range of microseconds since 1970, UTC: what a date of
// some precision covers.
type moments struct{ lo, hi int64 }

// parseDate reads a FHIR date, dateTime or instant of any precision, also the
// minute precision that search allows. Text without a zone is read in zone. A
// space where the zone's sign stands is a plus that was not percent-encoded.
func parseDate(s string, zone *time.Location) (moments, bool) {
	y, ok := digits(s, 0, 4)
	if !ok || y == 0 {
		return moments{}, false
	}
	year, month, day := y, 1, 1
	if len(s) == 4 {
		return span(time.Date(year, 1, 1, 0, 0, 0, 0, zone), time.Date(year+1, 1, 1, 0, 0, 0, 0, zone))
	}
	if month, ok = digits(s, 5, 2); !ok || s[4] != '-' || month < 1 || month > 12 {
		return moments{}, false
	}
	if len(s) == 7 {
		from := time.Date(year, time.Month(month), 1, 0, 0, 0, 0, zone)
		return span(from, from.AddDate(0, 1, 0))
	}
	if day, ok = digits(s, 8, 2); !ok || s[7] != '-' || day < 1 || day > daysIn(year, month) {
		return moments{}, false
	}
	if len(s) == 10 {
		from := time.Date(year, time.Month(month), day, 0, 0, 0, 0, zone)
		return span(from, from.AddDate(0, 0, 1))
	}
	if s[10] != 'T' {
		return moments{}, false
	}
	return parseTime(s[11:], time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC), zone)
}

// parseTime reads hh:mm[:ss[.fraction]][zone] on the given day.
func parseTime(s string, day time.Time, zone *time.Location) (moments, bool) {
	h, ok1 := digits(s, 0, 2)
	m, ok2 := digits(s, 3, 2)
	if !ok1 || !ok2 || s[2] != ':' || h > 23 || m > 59 {
		return moments{}, false
	}
	rest, sec, micro, width := s[5:], 0, 0, int64(60_000_000)
	if len(rest) > 0 && rest[0] == ':' {
		var ok bool
		if sec, ok = digits(rest, 1, 2); !ok || sec > 60 {
			return moments{}, false
		}
		rest, width = rest[3:], 1_000_000
		if len(rest) > 0 && rest[0] == '.' {
			if micro, width, rest, ok = fraction(rest[1:]); !ok {
				return moments{}, false
			}
		}
	}
	offset, local, ok := parseZone(rest)
	if !ok {
		return moments{}, false
	}
	t := time.Date(day.Year(), day.Month(), day.Day(), h, m, sec, micro*1000, time.UTC)
	if local {
		t = time.Date(day.Year(), day.Month(), day.Day(), h, m, sec, micro*1000, zone)
	}
	lo := t.UnixMicro() - int64(offset)*60_000_000
	return moments{lo, lo + width - 1}, true
}

// fraction reads the digits behind the second's point, down to microseconds;
// width is how many microseconds the last digit read covers.
func fraction(s string) (micro int, width int64, rest string, ok bool) {
	width = 1_000_000
	n := 0
	for ; n < len(s) && s[n] >= '0' && s[n] <= '9'; n++ {
		if width > 1 {
			width /= 10
			micro += int(s[n]-'0') * int(width)
		}
	}
	return micro, width, s[n:], n > 0
}

// parseZone reads Z, ±hh:mm or nothing (local).
func parseZone(s string) (minutes int, local, ok bool) {
	switch {
	case s == "":
		return 0, true, true
	case s == "Z":
		return 0, false, true
	case len(s) != 6 || s[3] != ':':
		return 0, false, false
	}
	h, ok1 := digits(s, 1, 2)
	m, ok2 := digits(s, 4, 2)
	if !ok1 || !ok2 || h > 14 || m > 59 {
		return 0, false, false
	}
	switch s[0] {
	case '+', ' ':
		return h*60 + m, false, true
	case '-':
		return -h*60 - m, false, true
	}
	return 0, false, false
}

func digits(s string, at, n int) (v int, ok bool) {
	if len(s) < at+n {
		return 0, false
	}
	for _, c := range []byte(s[at : at+n]) {
		if c < '0' || c > '9' {
			return 0, false
		}
		v = v*10 + int(c-'0')
	}
	return v, true
}

func daysIn(year, month int) int {
	return time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

func span(from, to time.Time) (moments, bool) {
	return moments{from.UnixMicro(), to.UnixMicro() - 1}, true
}

// approximately widens a date by a tenth of its distance from now (R4 search,
// prefix ap).
func (m moments) approximately(now time.Time) moments {
	gap := now.UnixMicro() - m.lo
	if gap < 0 {
		gap = -gap
	}
	return moments{m.lo - gap/10, m.hi + gap/10}
}

func (m moments) bytes() (lo, hi []byte) { return store.OrderedInt(m.lo), store.OrderedInt(m.hi) }
