package system

import (
	"math"
	"time"

	"github.com/cockroachdb/apd/v3"

	"candela/fhir/fhirpath/syntax"
	"candela/fhir/fhirpath/ucum"
)

// unitCode is the UCUM code of a quantity's unit.
func (v *Value) unitCode() string {
	if !v.Calendar {
		return v.Unit
	}
	switch v.Unit {
	case "year":
		return "a"
	case "month":
		return "mo"
	case "week":
		return "wk"
	case "day":
		return "d"
	case "hour":
		return "h"
	case "minute":
		return "min"
	case "second":
		return "s"
	default:
		return "ms"
	}
}

// variable says that the length of a calendar unit is not fixed.
func (v *Value) variable() bool { return v.Calendar && (v.Unit == "year" || v.Unit == "month") }

// unitOf reads the unit of a number or quantity.
func unitOf(v *Value) (ucum.Unit, bool) {
	if v.Kind != KindQuantity {
		return ucum.Parse("1")
	}
	return ucum.Parse(v.unitCode())
}

// align brings b to the unit of a; ok is false when the units can't be compared.
func align(a, b *Value, x, y *apd.Decimal) (ok bool) {
	a.toDecimal(x)
	b.toDecimal(y)
	if a.Kind == b.Kind && a.unitCode() == b.unitCode() {
		return true
	}
	ua, okA := unitOf(a)
	ub, okB := unitOf(b)
	if !okA || !okB || !ua.SameBase(ub) {
		return false
	}
	ratio := ub.Div(ua)
	_, err := decimals().Mul(y, y, &ratio.Factor)
	return err == nil
}

// nearly compares after rounding away what unit factors add behind 28 digits.
func nearly(x, y *apd.Decimal) int {
	ctx := rounded()
	var a, b apd.Decimal
	_, _ = ctx.Round(&a, x) // rounding finite numbers can't fail without traps
	_, _ = ctx.Round(&b, y)
	return a.Cmp(&b)
}

func equivalentQuantities(a, b *Value) bool {
	var x, y apd.Decimal
	if !align(a, b, &x, &y) {
		return false
	}
	return equivalentNumbers(decimalValue(&x), decimalValue(&y))
}

// compareQuantities: units that can't be compared leave it open, and so does a
// calendar year or month that meets a definite duration.
func compareQuantities(a, b *Value) (order int, known bool) {
	if a.variable() != b.variable() {
		return 0, false
	}
	var x, y apd.Decimal
	if !align(a, b, &x, &y) {
		return 0, false
	}
	return nearly(&x, &y), true
}

// InUnit converts a quantity to a unit, a UCUM code or a calendar word.
func (v *Value) InUnit(unit string) bool {
	to := &Value{Kind: KindQuantity, Unit: unit}
	if word, ok := syntax.CalendarWord(unit); ok {
		to.Unit, to.Calendar = word, true
	}
	var x, y apd.Decimal
	if v.variable() != to.variable() || !align(to, v, &x, &y) {
		return false
	}
	to.decimal.Set(&y)
	*v = *to
	return true
}

// quantities does + - * / on quantities; nil when the units don't fit.
func quantities(op string, a, b *Value) (*Value, error) {
	var x, y, z apd.Decimal
	switch op {
	case "+", "-":
		if a.Kind != b.Kind || a.variable() != b.variable() || !align(a, b, &x, &y) {
			return nil, nil
		}
		do := decimals().Add
		if op == "-" {
			do = decimals().Sub
		}
		if _, err := do(&z, &x, &y); err != nil {
			return nil, nil //nolint:nilerr // a result beyond the decimals is empty in FHIRPath
		}
		return &Value{Kind: KindQuantity, decimal: z, Unit: a.Unit, Calendar: a.Calendar}, nil
	case "*", "/":
		return product(op, a, b), nil
	}
	return nil, Errorf("%s is not defined for quantities", op)
}

// product gives base units when both sides have a unit.
func product(op string, a, b *Value) *Value {
	ua, okA := unitOf(a)
	ub, okB := unitOf(b)
	var x, y, z apd.Decimal
	a.toDecimal(&x)
	b.toDecimal(&y)
	if !okA || !okB || op == "/" && y.IsZero() {
		return nil
	}
	unit, do := ua.Mul(ub), decimals().Mul
	if op == "/" {
		unit, do = ua.Div(ub), rounded().Quo
	}
	if _, err := do(&z, &x, &y); err != nil {
		return nil
	}
	if _, err := decimals().Mul(&z, &z, &unit.Factor); err != nil {
		return nil
	}
	if z.Form != apd.Finite {
		return nil
	}
	return &Value{Kind: KindQuantity, decimal: z, Unit: unit.Base()}
}

// shift adds a duration to a moment.
func shift(a, by *Value, back bool) (*Value, error) {
	word, ok := shiftUnit(by)
	if !ok {
		return nil, Errorf("can't add '%s' to a date or time: it is no definite duration", by.Unit)
	}
	n, err := span(by, word)
	if err != nil {
		return nil, err
	}
	if back {
		n = -n
	}
	to := &Value{Kind: a.Kind, moment: a.moment}
	if a.Kind == KindTime {
		if word == "year" || word == "month" {
			return nil, Errorf("can't add a %s to a time", word)
		}
		day := 24 * int64(time.Hour)
		since := ((a.moment.clock()+n%(day/min(unitLength(word), day))*unitLength(word))%day + day) % day
		to.moment = to.moment.at(time.Unix(0, since).UTC())
		to.moment.year, to.moment.month, to.moment.day = 0, 0, 0
		return to, nil
	}
	m, fits := a.moment.plus(n, word)
	if !fits {
		return nil, nil
	}
	to.moment = m
	return to, nil
}

// clock is a time's nanoseconds since midnight.
func (m moment) clock() int64 {
	return (int64(m.hour)*3600+int64(m.minute)*60+int64(m.second))*1_000_000_000 + int64(m.nano)
}

// shiftUnit is the calendar word of a duration. UCUM years and months have no
// calendar meaning.
func shiftUnit(v *Value) (string, bool) {
	if word, ok := syntax.CalendarWord(v.Unit); ok {
		return word, true
	}
	switch v.Unit {
	case "wk":
		return "week", true
	case "d":
		return "day", true
	case "h":
		return "hour", true
	case "min":
		return "minute", true
	case "s":
		return "second", true
	case "ms":
		return "millisecond", true
	}
	return "", false
}

// maxSpan is the most units a moment is shifted by: more days than there are in
// the years that can be written.
const maxSpan int64 = 100_000_000_000

// span is how many whole units a duration has; fractions are dropped.
func span(v *Value, word string) (int64, error) {
	whole := v.Math("truncate")
	limit := min(maxSpan, math.MaxInt64/unitLength(word))
	if whole == nil || whole.Number > limit || whole.Number < -limit {
		return 0, Errorf("the duration is out of range")
	}
	return whole.Number, nil
}

// unitLength is a unit's nanoseconds; years and months by their shortest.
func unitLength(word string) int64 {
	switch word {
	case "year":
		return 365 * int64(24*time.Hour)
	case "month":
		return 28 * int64(24*time.Hour)
	case "week":
		return 7 * int64(24*time.Hour)
	case "day":
		return 24 * int64(time.Hour)
	case "hour":
		return int64(time.Hour)
	case "minute":
		return int64(time.Minute)
	case "second":
		return int64(time.Second)
	default:
		return int64(time.Millisecond)
	}
}

// plus adds n units; units finer than the moment count when they fill one of its own.
func (m moment) plus(n int64, word string) (moment, bool) {
	if m.prec <= precMonth && word != "year" && word != "month" {
		n, word = n/max(30*int64(24*time.Hour)/unitLength(word), 1), "month"
	}
	if m.prec == precYear && word == "month" {
		n, word = n/12, "year"
	}
	t := m.time()
	switch word {
	case "year":
		t = addMonths(t, 12*n)
	case "month":
		t = addMonths(t, n)
	case "week":
		t = t.AddDate(0, 0, int(7*n))
	case "day":
		t = t.AddDate(0, 0, int(n))
	default:
		if m.prec == precDay {
			t = t.AddDate(0, 0, int(n/(int64(24*time.Hour)/unitLength(word))))
			break
		}
		t = t.Add(time.Duration(n * unitLength(word)))
	}
	to := m.at(t)
	if m.prec < precDay {
		to.day = 0
	}
	if m.prec < precMonth {
		to.month = 0
	}
	return to, t.Year() >= 1 && t.Year() <= 9999
}

// addMonths keeps the day, or takes the last one of a shorter month.
func addMonths(t time.Time, n int64) time.Time {
	first := time.Date(t.Year(), t.Month()+time.Month(n), 1, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), t.Location())
	return first.AddDate(0, 0, min(t.Day(), daysIn(first.Year(), int(first.Month())))-1)
}
