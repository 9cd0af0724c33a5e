package system

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// precision is how much of a moment is known. Seconds and their fraction are
// one precision, as FHIRPath compares them.
type precision byte

const (
	precNone precision = iota
	precYear
	precMonth
	precDay
	precHour
	precMinute
	precSecond
)

// moment is a date, dateTime or time with just the parts that were written.
type moment struct {
	year, month, day, hour, minute, second int16
	nano                                   int32
	prec                                   precision
	fraction                               int8 // digits of the fraction that were written
	zoned                                  bool
	zone                                   int16 // minutes east of UTC
}

var errMoment = errors.New("expected a date @YYYY-MM-DD, a dateTime @YYYY-MM-DDThh:mm:ss.fff+zz:zz or a time @Thh:mm:ss.fff, or the first parts of one")

// scan takes fixed-width digits from text; ok is false when they aren't there.
func scan(text string, width int) (n int16, rest string, ok bool) {
	if len(text) < width {
		return 0, text, false
	}
	for i := range width {
		if !isDigit(text[i]) {
			return 0, text, false
		}
		n = n*10 + int16(text[i]-'0')
	}
	return n, text[width:], true
}

// part reads sep and two digits of at most limit when sep comes next.
func part(text string, sep byte, least, limit int16) (n int16, rest string, there, ok bool) {
	if text == "" || text[0] != sep {
		return 0, text, false, true
	}
	n, rest, ok = scan(text[1:], 2)
	return n, rest, true, ok && n >= least && n <= limit
}

// parseDate reads YYYY, YYYY-MM or YYYY-MM-DD and gives what is left.
func parseDate(text string) (m moment, rest string, ok bool) {
	if m.year, rest, ok = scan(text, 4); !ok || m.year == 0 {
		return m, rest, false
	}
	m.prec = precYear
	var there bool
	if m.month, rest, there, ok = part(rest, '-', 1, 12); !there || !ok {
		return m, rest, ok
	}
	m.prec = precMonth
	if m.day, rest, there, ok = part(rest, '-', 1, 31); !there || !ok {
		return m, rest, ok
	}
	m.prec = precDay
	return m, rest, int(m.day) <= daysIn(int(m.year), int(m.month))
}

func daysIn(year, month int) int {
	return time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// parseTime reads hh, hh:mm, hh:mm:ss or hh:mm:ss.fff into m.
func (m *moment) parseTime(text string) (rest string, ok bool) {
	if m.hour, rest, ok = scan(text, 2); !ok || m.hour > 23 {
		return rest, false
	}
	m.prec = precHour
	var there bool
	if m.minute, rest, there, ok = part(rest, ':', 0, 59); !there || !ok {
		return rest, ok
	}
	m.prec = precMinute
	if m.second, rest, there, ok = part(rest, ':', 0, 60); !there || !ok {
		return rest, ok
	}
	m.prec = precSecond
	return m.parseFraction(rest)
}

// parseFraction keeps nanoseconds; further digits are dropped.
func (m *moment) parseFraction(text string) (rest string, ok bool) {
	if text == "" || text[0] != '.' {
		return text, true
	}
	unit := int32(100_000_000)
	i := 1
	for ; i < len(text) && isDigit(text[i]); i++ {
		m.nano += int32(text[i]-'0') * unit
		unit /= 10
	}
	m.fraction = int8(min(i-1, 9))
	return text[i:], i > 1
}

func (m *moment) parseZone(text string) bool {
	switch {
	case text == "":
		return true
	case text == "Z":
		m.zoned = true
		return true
	case len(text) != 6 || text[0] != '+' && text[0] != '-':
		return false
	}
	hours, rest, ok := scan(text[1:], 2)
	minutes, _, there, fine := part(rest, ':', 0, 59)
	if !ok || !there || !fine || hours > 14 {
		return false
	}
	m.zoned, m.zone = true, hours*60+minutes
	if text[0] == '-' {
		m.zone = -m.zone
	}
	return true
}

func dateOf(text string) (moment, bool) {
	m, rest, ok := parseDate(text)
	return m, ok && rest == ""
}

func timeOf(text string) (m moment, ok bool) {
	rest, ok := m.parseTime(text)
	return m, ok && rest == ""
}

// dateTimeOf reads a dateTime; text with a date alone is a partial dateTime.
func dateTimeOf(text string) (moment, bool) {
	m, rest, ok := parseDate(text)
	if !ok || rest == "" {
		return m, ok
	}
	if rest[0] != 'T' {
		return m, false
	}
	if rest = rest[1:]; rest == "" {
		return m, true
	}
	if m.prec != precDay {
		return m, false
	}
	rest, ok = m.parseTime(rest)
	return m, ok && m.parseZone(rest)
}

// ReadMoment reads the text of an @ literal, without the @.
func ReadMoment(text string) (*Value, error) {
	kind := KindDate
	read := dateOf
	if clock, ok := strings.CutPrefix(text, "T"); ok {
		kind, read, text = KindTime, timeOf, clock
	} else if strings.Contains(text, "T") {
		kind, read = KindDateTime, dateTimeOf
	}
	m, ok := read(text)
	if !ok {
		return nil, errMoment
	}
	return &Value{Kind: kind, moment: m}, nil
}

// text writes the parts that are known.
func (m moment) text(kind Kind) string {
	var b strings.Builder
	if kind != KindTime {
		fmt.Fprintf(&b, "%04d", m.year)
		if m.prec >= precMonth {
			fmt.Fprintf(&b, "-%02d", m.month)
		}
		if m.prec >= precDay {
			fmt.Fprintf(&b, "-%02d", m.day)
		}
		if m.prec >= precHour {
			b.WriteByte('T')
		}
	}
	m.clockText(&b)
	return b.String()
}

func (m moment) clockText(b *strings.Builder) {
	if m.prec >= precHour {
		fmt.Fprintf(b, "%02d", m.hour)
	}
	if m.prec >= precMinute {
		fmt.Fprintf(b, ":%02d", m.minute)
	}
	if m.prec >= precSecond {
		fmt.Fprintf(b, ":%02d", m.second)
	}
	if m.fraction > 0 {
		b.WriteString("." + fmt.Sprintf("%09d", m.nano)[:m.fraction])
	}
	if !m.zoned {
		return
	}
	if m.zone == 0 {
		b.WriteByte('Z')
		return
	}
	sign, zone := '+', m.zone
	if zone < 0 {
		sign, zone = '-', -zone
	}
	fmt.Fprintf(b, "%c%02d:%02d", sign, zone/60, zone%60)
}

// time is the earliest instant of m in its own zone (UTC when it has none).
func (m moment) time() time.Time {
	return time.Date(max(int(m.year), 1), time.Month(max(m.month, 1)), max(int(m.day), 1),
		int(m.hour), int(m.minute), int(m.second), int(m.nano), time.FixedZone("", int(m.zone)*60))
}

// at is m with the parts of t and m's own precision and zone.
func (m moment) at(t time.Time) moment {
	m.year, m.month, m.day = int16(t.Year()), int16(t.Month()), int16(t.Day())
	m.hour, m.minute, m.second, m.nano = int16(t.Hour()), int16(t.Minute()), int16(t.Second()), int32(t.Nanosecond())
	return m
}

func momentOf(t time.Time, prec precision) moment {
	_, offset := t.Zone()
	m := moment{prec: prec}.at(t.Truncate(time.Millisecond))
	if prec == precSecond {
		m.fraction, m.zoned, m.zone = 3, true, int16(offset/60)
	}
	return m
}

// parts are the fields in order of weight; the fraction goes with the second.
func (m moment) parts() [6]int64 {
	return [6]int64{int64(m.year), int64(m.month), int64(m.day), int64(m.hour), int64(m.minute),
		int64(m.second)*1_000_000_000 + int64(m.nano)}
}

// maxZone is the widest offset from UTC that a moment without zone may have.
const maxZone = 14 * time.Hour

// compareMoments orders two moments of one family (both clock times, or both
// dates or dateTimes); known is false when their precision or zones leave it open.
func compareMoments(a, b moment) (order int, known bool) {
	if a.zoned && b.zoned {
		a, b = a.at(a.time().UTC()), b.at(b.time().UTC())
	} else if a.zoned != b.zoned && a.prec >= precHour && b.prec >= precHour {
		switch gap := a.time().Sub(b.time()); {
		case gap > maxZone:
			return 1, true
		case gap < -maxZone:
			return -1, true
		default:
			return 0, false
		}
	}
	first := precYear
	if a.year == 0 { // clock times
		first = precHour
	}
	pa, pb := a.parts(), b.parts()
	for p := first; p <= min(a.prec, b.prec); p++ {
		if pa[p-1] != pb[p-1] {
			if pa[p-1] < pb[p-1] {
				return -1, true
			}
			return 1, true
		}
	}
	return 0, a.prec == b.prec
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
