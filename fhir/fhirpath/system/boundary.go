package system

import (
	"time"

	"github.com/cockroachdb/apd/v3"
)

// Boundary is the least or greatest value that v can be, to digits; given is
// false for the default digits of its type. nil when it has none.
func (v *Value) Boundary(high bool, digits int, given bool) (*Value, error) {
	switch {
	case v.IsNumber() || v.Kind == KindQuantity:
		if !given {
			digits = 8
		}
		return v.decimalBoundary(high, digits), nil
	case v.IsMoment():
		return v.momentBoundary(high, digits, given), nil
	default:
		return nil, Errorf("boundaries are not defined for %s", v.Kind.Name())
	}
}

// Precision counts digits: behind the dot of a decimal, of the whole of a moment.
func (v *Value) Precision() (int, error) {
	switch {
	case v.IsNumber():
		return int(max(-v.decimal.Exponent, 0)), nil
	case v.IsMoment():
		n := [...]int{0, 4, 6, 8, 10, 12, 14}[v.moment.prec] + int(v.moment.fraction)
		if v.Kind == KindTime {
			n -= 8
		}
		return n, nil
	default:
		return 0, Errorf("precision() is not defined for %s", v.Kind.Name())
	}
}

// Clock is the present moment as now(), today() or timeOfDay() gives it.
func Clock(function string, now time.Time) *Value {
	v := &Value{Kind: KindDateTime, moment: momentOf(now, precSecond)}
	switch function {
	case "today":
		v.Kind, v.moment = KindDate, v.moment.cut(precDay)
	case "timeOfDay":
		v.Kind = KindTime
		v.moment.year, v.moment.month, v.moment.day, v.moment.zoned, v.moment.zone = 0, 0, 0, false, 0
	}
	return v
}

// decimalBoundary is half a unit of the last digit away, rounded outwards to
// digits places. As the official suite has it, a value that lies wholly below
// those places (less than a tenth of the last) is 0 there.
func (v *Value) decimalBoundary(high bool, digits int) *Value {
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
	if v.Kind == KindQuantity {
		to.Kind, to.Unit, to.Calendar = KindQuantity, v.Unit, v.Calendar
	}
	return to
}

// momentBoundary fills the unknown parts with their least or greatest values,
// then cuts to digits: 4, 6, 8 for dates, 10 to 17 for dateTimes, 2 to 9 for times.
func (v *Value) momentBoundary(high bool, digits int, given bool) *Value {
	to := &Value{Kind: v.Kind, moment: v.moment.filled(high, v.Kind)}
	if !given {
		digits = 17
	} else if v.Kind == KindTime {
		digits += 8
	}
	prec, ok := precisionFor(digits)
	if !ok {
		return nil
	}
	if v.Kind == KindDate && !given {
		prec = precDay
	}
	to.moment = to.moment.cut(prec)
	if v.Kind == KindDate && prec > precDay {
		to.Kind = KindDateTime
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
func (m moment) filled(high bool, kind Kind) moment {
	pick := func(low, top int16) int16 {
		if high {
			return top
		}
		return low
	}
	if kind != KindTime && m.prec < precMonth {
		m.month = pick(1, 12)
	}
	if kind != KindTime && m.prec < precDay {
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
	if kind != KindTime && !m.zoned {
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
