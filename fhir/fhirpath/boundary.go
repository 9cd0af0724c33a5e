package fhirpath

import (
	"github.com/cockroachdb/apd/v3"
)

// boundaries: the limits of what a partly known value can be, and the clock.
func boundaries(name string) (function, bool) {
	switch name {
	case "lowBoundary", "highBoundary":
		return function{0, 1, onContext, givesAny, false, boundary}, true
	case "precision":
		return function{0, 0, onContext, givesInteger, false, precisionOf}, true
	case "comparable":
		return function{1, 1, onContext, givesBoolean, false, comparableTo}, true
	case "now", "today", "timeOfDay":
		return function{0, 0, onContext, givesAny, false, clock}, true
	}
	return function{}, false
}

func clock(r *run, k *call, _ *Item, _, out []Item) ([]Item, error) {
	v := &value{kind: kindDateTime, moment: momentOf(r.now(), precSecond)}
	switch k.name {
	case "today":
		v = &value{kind: kindDate, moment: momentOf(r.now(), precDay)}
		v.moment.hour, v.moment.minute, v.moment.second, v.moment.nano = 0, 0, 0, 0
	case "timeOfDay":
		v.kind = kindTime
		v.moment.year, v.moment.month, v.moment.day, v.moment.zoned, v.moment.zone = 0, 0, 0, false, 0
	}
	return append(out, v.item()), nil
}

func boundary(r *run, k *call, this *Item, in, out []Item) ([]Item, error) {
	var v value
	ok, err := r.single(in, k.name+"()", &v)
	if err != nil || !ok {
		return out, err
	}
	digits, given := 0, false
	if len(k.args) == 1 {
		if digits, given, err = r.intArg(k, this, 0); err != nil {
			return out, err
		}
	}
	var to *value
	high := k.name == "highBoundary"
	switch {
	case v.isNumber() || v.kind == kindQuantity:
		if !given {
			digits = 8
		}
		to = v.decimalBoundary(high, digits)
	case v.isMoment():
		to = v.momentBoundary(high, digits, given)
	default:
		return out, errorf("%s() is not defined for %s", k.name, systemTypes[v.kind])
	}
	if to == nil {
		return out, nil
	}
	return append(out, to.item()), nil
}

// decimalBoundary is half a unit of the last digit away, rounded outwards to
// digits places. As the official suite has it, a value that lies wholly below
// those places (less than a tenth of the last) is 0 there.
func (v *value) decimalBoundary(high bool, digits int) *value {
	if digits < 0 || digits > places {
		return nil
	}
	var x, half, z apd.Decimal
	v.toDecimal(&x)
	half.SetFinite(5, min(x.Exponent, 0)-1)
	ctx := decimals()
	do := ctx.Sub
	ctx.Rounding = apd.RoundFloor
	if high {
		do, ctx.Rounding = ctx.Add, apd.RoundCeiling
	}
	if _, err := do(&z, &x, &half); err != nil {
		return nil
	}
	if z.NumDigits()+int64(z.Exponent) < int64(-digits) {
		ctx.Rounding = apd.RoundDown
	}
	if _, err := ctx.Quantize(&z, &z, int32(-digits)); err != nil {
		return nil
	}
	to := decimalValue(&z)
	if v.kind == kindQuantity {
		to.kind, to.unit, to.calendar = kindQuantity, v.unit, v.calendar
	}
	return to
}

// momentBoundary fills the unknown parts with their least or greatest values,
// then cuts to digits: 4, 6, 8 for dates, 10 to 17 for dateTimes, 2 to 9 for times.
func (v *value) momentBoundary(high bool, digits int, given bool) *value {
	to := &value{kind: v.kind, moment: v.moment.filled(high, v.kind)}
	if !given {
		digits = 17
	} else if v.kind == kindTime {
		digits += 8
	}
	prec, ok := precisionFor(digits)
	if !ok {
		return nil
	}
	if v.kind == kindDate && !given {
		prec = precDay
	}
	to.moment = to.moment.cut(prec)
	if v.kind == kindDate && prec > precDay {
		to.kind = kindDateTime
	}
	return to
}

func precisionFor(digits int) (precision, bool) {
	switch digits {
	case 4:
		return precYear, true
	case 6:
		return precMonth, true
	case 8:
		return precDay, true
	case 10:
		return precHour, true
	case 12:
		return precMinute, true
	case 14, 17:
		return precSecond, true
	}
	return precNone, false
}

// filled knows every part.
func (m moment) filled(high bool, kind kind) moment {
	pick := func(low, top int16) int16 {
		if high {
			return top
		}
		return low
	}
	if kind != kindTime && m.prec < precMonth {
		m.month = pick(1, 12)
	}
	if kind != kindTime && m.prec < precDay {
		m.day = pick(1, int16(daysIn(int(m.year), int(m.month))))
	}
	if m.prec < precHour {
		m.hour = pick(0, 23)
	}
	if m.prec < precMinute {
		m.minute = pick(0, 59)
	}
	if m.prec < precSecond {
		m.second = pick(0, 59)
	}
	if m.fraction < 3 && high {
		m.nano = 999_000_000
	}
	m.fraction = max(m.fraction, 3)
	if kind != kindTime && !m.zoned {
		m.zoned, m.zone = true, pick(14*60, -12*60)
	}
	m.prec = precSecond
	return m
}

// cut forgets what is finer than prec.
func (m moment) cut(prec precision) moment {
	m.prec = prec
	if prec < precSecond {
		m.second, m.nano, m.fraction = 0, 0, 0
	}
	if prec < precMinute {
		m.minute = 0
	}
	if prec < precHour {
		m.hour, m.zoned, m.zone = 0, false, 0
	}
	if prec < precDay {
		m.day = 0
	}
	if prec < precMonth {
		m.month = 0
	}
	return m
}

// precisionOf counts digits: behind the dot of a decimal, of the whole of a moment.
func precisionOf(r *run, k *call, _ *Item, in, out []Item) ([]Item, error) {
	var v value
	ok, err := r.single(in, "precision()", &v)
	if err != nil || !ok {
		return out, err
	}
	switch {
	case v.isNumber():
		return appendInt(out, int(max(-v.decimal.Exponent, 0))), nil
	case v.isMoment():
		n := [...]int{0, 4, 6, 8, 10, 12, 14}[v.moment.prec] + int(v.moment.fraction)
		if v.kind == kindTime {
			n -= 8
		}
		return appendInt(out, n), nil
	}
	return out, errorf("precision() is not defined for %s", systemTypes[v.kind])
}

func comparableTo(r *run, k *call, this *Item, in, out []Item) ([]Item, error) {
	var v, other value
	ok, err := r.single(in, "comparable()", &v)
	if err != nil || !ok {
		return out, err
	}
	if ok, err = r.one(k.args[0], this, "comparable()", &other); err != nil || !ok {
		return out, err
	}
	var x, y apd.Decimal
	fits := v.kind == kindQuantity && other.kind == kindQuantity && v.variable() == other.variable() && align(&v, &other, &x, &y)
	return appendBool(out, fits), nil
}
