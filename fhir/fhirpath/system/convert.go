package system

import (
	"strconv"
	"strings"

	"candela/fhir/fhirpath/syntax"
)

// Convert sets to to v as a value of kind target, as toX() does; false when v
// can't be converted.
func Convert(v *Value, target Kind, to *Value) bool {
	if v.Kind == target {
		*to = *v
		return true
	}
	*to = Value{Kind: target}
	switch target {
	case KindString:
		to.Text = v.String()
		return v.Kind != KindType
	case KindBoolean:
		return v.asBoolean(to)
	case KindInteger:
		return v.asInteger(to)
	case KindDecimal:
		return v.asDecimal(to)
	case KindQuantity:
		return v.asQuantity(to)
	default:
		return v.asMoment(to)
	}
}

func (v *Value) asBoolean(to *Value) bool {
	text := strings.ToLower(v.Text)
	if v.IsNumber() {
		text = v.String()
		if v.Kind == KindDecimal {
			text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
			if text == "" {
				text = "0"
			}
		}
	}
	switch text {
	case "true", "t", "yes", "y", "1", "1.0":
		to.Truth = true
		return v.IsNumber() || v.Kind == KindString
	case "false", "f", "no", "n", "0", "0.0":
		return v.IsNumber() || v.Kind == KindString
	}
	return false
}

// one is a boolean as 1 or 0.
func (v *Value) one() int64 {
	if v.Truth {
		return 1
	}
	return 0
}

func (v *Value) asInteger(to *Value) bool {
	switch v.Kind {
	case KindBoolean:
		to.Number = v.one()
		return true
	case KindString:
		n, err := strconv.ParseInt(v.Text, 10, 32)
		to.Number = n
		return err == nil
	default:
		return false
	}
}

func (v *Value) asDecimal(to *Value) bool {
	switch v.Kind {
	case KindBoolean:
		to.decimal.SetInt64(v.one())
		return true
	case KindInteger:
		to.decimal.SetInt64(v.Number)
		return true
	case KindString:
		return isDecimal(v.Text) && parseDecimal(&to.decimal, strings.TrimPrefix(v.Text, "+"))
	default:
		return false
	}
}

// isDecimal: a sign, digits, and digits behind a dot.
func isDecimal(s string) bool {
	s = strings.TrimLeft(s, "+-")
	whole, fraction, dotted := strings.Cut(s, ".")
	digits := func(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
	return digits(whole) && (!dotted || digits(fraction))
}

func (v *Value) asQuantity(to *Value) bool {
	to.Unit = "1"
	if v.Kind != KindString {
		return v.asDecimal(to) || v.Kind == KindDecimal && v.copyDecimal(to)
	}
	text := strings.TrimSpace(v.Text)
	end := strings.IndexAny(text, " '")
	if end < 0 {
		end = len(text)
	}
	number, unit := text[:end], strings.TrimSpace(text[end:])
	if !isDecimal(number) || !parseDecimal(&to.decimal, strings.TrimPrefix(number, "+")) {
		return false
	}
	if unit == "" {
		return true
	}
	if word, ok := syntax.CalendarWord(unit); ok {
		to.Unit, to.Calendar = word, true
		return true
	}
	if len(unit) < 3 || unit[0] != '\'' || unit[len(unit)-1] != '\'' {
		return false
	}
	to.Unit = unit[1 : len(unit)-1]
	return true
}

func (v *Value) copyDecimal(to *Value) bool {
	to.decimal.Set(&v.decimal)
	return true
}

func (v *Value) asMoment(to *Value) (ok bool) {
	switch {
	case v.Kind == KindString:
		to.moment, ok = momentText(v.Text, to.Kind)
		return ok
	case v.Kind == KindDate && to.Kind == KindDateTime:
		to.moment = v.moment
		return true
	case v.Kind == KindDateTime && to.Kind == KindDate:
		to.moment = moment{year: v.moment.year, month: v.moment.month, day: v.moment.day, prec: min(v.moment.prec, precDay)}
		return true
	}
	return false
}

func momentText(text string, kind Kind) (moment, bool) {
	switch kind {
	case KindDate:
		return dateOf(text)
	case KindTime:
		return timeOf(strings.TrimPrefix(text, "T"))
	default:
		return dateTimeOf(text)
	}
}
