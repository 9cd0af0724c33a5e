package fhir

import "time"

// Precision is how far a date was written.
type Precision uint8

// The precisions of dates. Minute is no FHIR data type's; search allows it.
const (
	Year Precision = iota + 1
	Month
	Day
	Minute
	Second
	Fraction
)

// Date is a FHIR date, dateTime or instant of any precision as the moments that
// it covers: Lo to Hi, both inclusive, in microseconds since 1970-01-01 UTC.
type Date struct {
	Lo, Hi    int64
	Precision Precision
	Zoned     bool // written with Z or an offset
}

// ParseDate reads "2020", "2020-05", "2020-05-17" and "2020-05-17T10:30[:00[.5]]"
// with Z, an offset up to ±14:00 or neither. What has no zone is read in zone;
// nil is UTC. Days that the calendar does not have are refused. Digits beyond
// microseconds are read and dropped.
func ParseDate(text string, zone *time.Location) (Date, error) {
	p := dateText{text, true}
	c := civil{year: p.number(4), month: 1, day: 1}
	d := Date{Precision: Year}
	if p.next('-') {
		c.month, d.Precision = p.number(2), Month
		if p.next('-') {
			c.day, d.Precision = p.number(2), Day
		}
	}
	if p.ok = p.ok && c.valid(); p.ok && d.Precision == Day && p.next('T') {
		t := p.clock()
		offset := p.offset()
		if !p.done() {
			return Date{}, badDate()
		}
		d.Precision, d.Zoned = t.precision, offset.given
		d.Lo = c.start(zone, offset, t.micros)
		d.Hi = d.Lo + t.width - 1
		return d, nil
	}
	if !p.done() {
		return Date{}, badDate()
	}
	d.Lo = c.start(zone, offset{}, 0)
	d.Hi = c.following(d.Precision).start(zone, offset{}, 0) - 1
	return d, nil
}

// ParseTime reads a FHIR time of day ("10:30:00.5") as the microseconds since
// midnight that it covers, both ends inclusive.
func ParseTime(text string) (lo, hi int64, err error) {
	p := dateText{text, true}
	t := p.clock()
	if !p.done() || t.precision == Minute {
		return 0, 0, Errorf(400, CodeValue, "not a time of day; expected hh:mm:ss")
	}
	return t.micros, t.micros + t.width - 1, nil
}

func badDate() *Error {
	return Errorf(400, CodeValue, "not a date; expected YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss with Z or an offset")
}

// civil is a day of the Gregorian calendar.
type civil struct{ year, month, day int }

func (c civil) valid() bool {
	return c.year > 0 && c.month > 0 && c.month < 13 && c.day > 0 && c.day <= daysIn(c.year, c.month)
}

func daysIn(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	default:
		return 31
	}
}

// following is the first day after the year, month or day that c begins.
func (c civil) following(p Precision) civil {
	switch {
	case p == Year:
		return civil{c.year + 1, 1, 1}
	case p == Day && c.day < daysIn(c.year, c.month):
		return civil{c.year, c.month, c.day + 1}
	case c.month == 12:
		return civil{c.year + 1, 1, 1}
	default:
		return civil{c.year, c.month + 1, 1}
	}
}

// start is the moment micros after midnight of the day, in its own offset or in zone.
func (c civil) start(zone *time.Location, o offset, micros int64) int64 {
	if !o.given && zone != nil && zone != time.UTC {
		clock := time.Duration(micros) * time.Microsecond
		h, rest := clock/time.Hour, clock%time.Hour
		t := time.Date(c.year, time.Month(c.month), c.day, int(h), int(rest/time.Minute), 0, 0, zone)
		return t.UnixMicro() + int64(rest%time.Minute/time.Microsecond)
	}
	return c.days()*86_400_000_000 + micros - o.micros
}

// days since 1970-01-01, counted in years that begin in March so that the leap
// day is the last of its year.
func (c civil) days() int64 {
	year, month := int64(c.year), int64(c.month)
	if month <= 2 {
		year--
		month += 12
	}
	return 365*year + year/4 - year/100 + year/400 + (153*(month-3)+2)/5 + int64(c.day) - 719_469
}

type offset struct {
	micros int64
	given  bool
}

// clockTime is a time of day in microseconds, and how many the last digit covers.
type clockTime struct {
	micros, width int64
	precision     Precision
}

// dateText is what is left to read; ok turns false at the first misfit.
type dateText struct {
	rest string
	ok   bool
}

func (p *dateText) done() bool { return p.ok && p.rest == "" }

// next consumes c when it comes next.
func (p *dateText) next(c byte) bool {
	if !p.ok || p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// number consumes exactly n digits.
func (p *dateText) number(n int) int {
	if len(p.rest) < n {
		p.ok = false
		return 0
	}
	v := 0
	for i := range n {
		c := p.rest[i]
		if c < '0' || c > '9' {
			p.ok = false
			return 0
		}
		v = v*10 + int(c-'0')
	}
	p.rest = p.rest[n:]
	return v
}

// clock consumes hh:mm[:ss[.f…]]. 60 seconds are a leap second.
func (p *dateText) clock() clockTime {
	h := p.number(2)
	p.ok = p.next(':') && p.ok
	m := p.number(2)
	t := clockTime{micros: int64(h*3600+m*60) * 1_000_000, width: 60_000_000, precision: Minute}
	p.ok = p.ok && h < 24 && m < 60
	if !p.next(':') {
		return t
	}
	s := p.number(2)
	p.ok = p.ok && s <= 60
	t.micros, t.width, t.precision = t.micros+int64(s)*1_000_000, 1_000_000, Second
	if p.next('.') {
		p.fraction(&t)
	}
	return t
}

func (p *dateText) fraction(t *clockTime) {
	t.precision = Fraction
	p.ok = p.ok && p.rest != "" && isDigit(p.rest[0])
	for p.rest != "" && isDigit(p.rest[0]) {
		if t.width > 1 {
			t.width /= 10
			t.micros += int64(p.rest[0]-'0') * t.width
		}
		p.rest = p.rest[1:]
	}
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// offset consumes Z or ±hh:mm, or nothing.
func (p *dateText) offset() offset {
	if p.next('Z') {
		return offset{given: true}
	}
	sign := int64(1)
	if p.next('-') {
		sign = -1
	} else if !p.next('+') {
		return offset{}
	}
	h := p.number(2)
	p.ok = p.next(':') && p.ok
	m := p.number(2)
	p.ok = p.ok && m < 60 && h*60+m <= 14*60
	return offset{sign * int64(h*60+m) * 60_000_000, true}
}
