package fhirpath

import (
	"strconv"
	"strings"
)

// converting: toX and convertsToX.
func converting(name string) (function, bool) {
	short, asks := strings.CutPrefix(name, "convertsTo")
	if !asks {
		var ok bool
		if short, ok = strings.CutPrefix(name, "to"); !ok {
			return function{}, false
		}
	}
	target := kindNone
	for k := kindBoolean; k <= kindQuantity; k++ {
		if systemTypes[k] == "System."+short {
			target = k
		}
	}
	if target == kindNone {
		return function{}, false
	}
	most := 0
	if target == kindQuantity {
		most = 1
	}
	gives := givesAny
	if asks {
		gives = givesBoolean
	}
	return function{0, most, onContext, gives, false, conversion(target, asks)}, true
}

func conversion(target kind, asks bool) body {
	return func(r *run, k *call, this *Item, in, out []Item) ([]Item, error) {
		if len(in) == 0 {
			return out, nil
		}
		if len(in) > 1 {
			return out, errorf("%s() needs one item, got %d", k.name, len(in))
		}
		var v, to value
		ok := r.load(&in[0], &v) && convert(&v, target, &to)
		if ok && len(k.args) == 1 {
			unit, given, err := r.textArg(k, this, 0)
			if err != nil {
				return out, err
			}
			ok = !given || to.inUnit(unit)
		}
		if asks {
			return appendBool(out, ok), nil
		}
		if ok {
			made := to
			out = append(out, made.item())
		}
		return out, nil
	}
}

// convert sets to to v as a value of kind target.
func convert(v *value, target kind, to *value) bool {
	if v.kind == target {
		*to = *v
		return true
	}
	*to = value{kind: target}
	switch target {
	case kindString:
		to.text = v.String()
		return v.kind != kindType
	case kindBoolean:
		return v.asBoolean(to)
	case kindInteger:
		return v.asInteger(to)
	case kindDecimal:
		return v.asDecimal(to)
	case kindQuantity:
		return v.asQuantity(to)
	default:
		return v.asMoment(to)
	}
}

func (v *value) asBoolean(to *value) bool {
	text := strings.ToLower(v.text)
	if v.isNumber() {
		text = v.String()
		if v.kind == kindDecimal {
			text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
			if text == "" {
				text = "0"
			}
		}
	}
	switch text {
	case "true", "t", "yes", "y", "1", "1.0":
		to.truth = true
		return v.isNumber() || v.kind == kindString
	case "false", "f", "no", "n", "0", "0.0":
		return v.isNumber() || v.kind == kindString
	}
	return false
}

// one is a boolean as 1 or 0.
func (v *value) one() int64 {
	if v.truth {
		return 1
	}
	return 0
}

func (v *value) asInteger(to *value) bool {
	switch v.kind {
	case kindBoolean:
		to.number = v.one()
		return true
	case kindString:
		n, err := strconv.ParseInt(v.text, 10, 32)
		to.number = n
		return err == nil
	}
	return false
}

func (v *value) asDecimal(to *value) bool {
	switch v.kind {
	case kindBoolean:
		to.decimal.SetInt64(v.one())
		return true
	case kindInteger:
		to.decimal.SetInt64(v.number)
		return true
	case kindString:
		return isDecimal(v.text) && parseDecimal(&to.decimal, strings.TrimPrefix(v.text, "+"))
	}
	return false
}

// isDecimal: a sign, digits, and digits behind a dot.
func isDecimal(s string) bool {
	s = strings.TrimLeft(s, "+-")
	whole, fraction, dotted := strings.Cut(s, ".")
	digits := func(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
	return digits(whole) && (!dotted || digits(fraction))
}

func (v *value) asQuantity(to *value) bool {
	to.unit = "1"
	if v.kind != kindString {
		return v.asDecimal(to) || v.kind == kindDecimal && v.copyDecimal(to)
	}
	text := strings.TrimSpace(v.text)
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
	if word, ok := calendarUnit(unit); ok {
		to.unit, to.calendar = word, true
		return true
	}
	if len(unit) < 3 || unit[0] != '\'' || unit[len(unit)-1] != '\'' {
		return false
	}
	to.unit = unit[1 : len(unit)-1]
	return true
}

func (v *value) copyDecimal(to *value) bool {
	to.decimal.Set(&v.decimal)
	return true
}

func (v *value) asMoment(to *value) (ok bool) {
	switch {
	case v.kind == kindString:
		to.moment, ok = momentText(v.text, to.kind)
		return ok
	case v.kind == kindDate && to.kind == kindDateTime:
		to.moment = v.moment
		return true
	case v.kind == kindDateTime && to.kind == kindDate:
		to.moment = moment{year: v.moment.year, month: v.moment.month, day: v.moment.day, prec: min(v.moment.prec, precDay)}
		return true
	}
	return false
}

func momentText(text string, kind kind) (moment, bool) {
	switch kind {
	case kindDate:
		return dateOf(text)
	case kindTime:
		return timeOf(strings.TrimPrefix(text, "T"))
	default:
		return dateTimeOf(text)
	}
}

// calendarUnit gives the singular of a calendar word.
func calendarUnit(word string) (singular string, ok bool) {
	singular = strings.TrimSuffix(word, "s")
	switch singular {
	case "year", "month", "week", "day", "hour", "minute", "second", "millisecond":
		return singular, true
	}
	return "", false
}
