// Package system is FHIRPath's namespace System: its values (booleans, exact
// decimals, partial dates, quantities), how they are compared, calculated with
// and converted.
//
// It knows values and units. It must not know elements, resources or
// expressions.
package system

import (
	"errors"
	"strconv"
	"strings"

	"github.com/cockroachdb/apd/v3"
)

// Kind is the System type of a value.
type Kind byte

// The System types. KindNone is no value.
const (
	KindNone Kind = iota
	KindBoolean
	KindInteger
	KindDecimal
	KindString
	KindDate
	KindDateTime
	KindTime
	KindQuantity
	KindType // what type() gives: namespace in unit, name in text
)

// names are the System types by kind.
var names = [...]string{"", "System.Boolean", "System.Integer", "System.Decimal", "System.String",
	"System.Date", "System.DateTime", "System.Time", "System.Quantity", "System.ClassInfo"}

// Name is the type's name: "System.Boolean".
func (k Kind) Name() string { return names[k] }

// KindOf finds a kind by its name without the namespace; KindNone when there is none.
func KindOf(name string) Kind {
	for k := KindBoolean; k <= KindQuantity; k++ {
		if names[k][len("System."):] == name {
			return k
		}
	}
	return KindNone
}

// Value is a System value. Which fields count depends on Kind.
type Value struct {
	Kind     Kind
	Truth    bool   // of a boolean
	Calendar bool   // the unit of a quantity is a calendar word, not UCUM
	Number   int64  // of an integer
	Text     string // of a string
	Unit     string // of a quantity
	moment   moment
	decimal  apd.Decimal
}

// The values that are made most are made once; nobody changes a value.
var (
	trueValue  = &Value{Kind: KindBoolean, Truth: true}
	falseValue = &Value{Kind: KindBoolean}
)

// OfBool is b as a value.
func OfBool(b bool) *Value {
	if b {
		return trueValue
	}
	return falseValue
}

// OfText is s as a value.
func OfText(s string) *Value { return &Value{Kind: KindString, Text: s} }

// OfInt is n as a value.
func OfInt(n int64) *Value { return &Value{Kind: KindInteger, Number: n} }

func decimalValue(d *apd.Decimal) *Value {
	v := &Value{Kind: KindDecimal}
	v.decimal.Set(d)
	return v
}

// OfQuantity gives a number a unit; a calendar unit is its word in the singular.
func OfQuantity(n *Value, unit string, calendar bool) *Value {
	v := &Value{Kind: KindQuantity, Unit: unit, Calendar: calendar}
	n.toDecimal(&v.decimal)
	return v
}

var (
	errNumber = errors.New("integer is out of range")
	errDigits = errors.New("decimal is out of range")
)

// ReadNumber reads 12 or 12.50 as an integer or a decimal.
func ReadNumber(text string) (*Value, error) {
	if !strings.Contains(text, ".") {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, errNumber
		}
		return OfInt(n), nil
	}
	v := &Value{Kind: KindDecimal}
	if !parseDecimal(&v.decimal, text) {
		return nil, errDigits
	}
	return v, nil
}

// maxExponent bounds decimals, so that 1e999999999 can't become a gigabyte of digits.
const maxExponent = 1000

// parseDecimal reads a JSON or FHIRPath number exactly.
func parseDecimal(d *apd.Decimal, text string) bool {
	if text == "" || !isDigit(text[len(text)-1]) || len(text) > maxExponent {
		return false
	}
	_, _, err := d.SetString(text)
	return err == nil && d.Form == apd.Finite && d.Exponent <= maxExponent && d.Exponent >= -maxExponent
}

// IsNumber: an integer or decimal.
func (v *Value) IsNumber() bool { return v.Kind == KindInteger || v.Kind == KindDecimal }

// IsMoment: a date, dateTime or time.
func (v *Value) IsMoment() bool { return v.Kind >= KindDate && v.Kind <= KindTime }

// toDecimal sets d to the number in v (integer, decimal or quantity).
func (v *Value) toDecimal(d *apd.Decimal) {
	if v.Kind == KindInteger {
		d.SetInt64(v.Number)
		return
	}
	d.Set(&v.decimal)
}

// String is the value as toString() gives it.
func (v *Value) String() string {
	switch v.Kind {
	case KindBoolean:
		return strconv.FormatBool(v.Truth)
	case KindInteger:
		return strconv.FormatInt(v.Number, 10)
	case KindDecimal:
		return v.decimal.Text('f')
	case KindDate, KindDateTime, KindTime:
		return v.moment.text(v.Kind)
	case KindQuantity:
		if v.Calendar {
			return v.decimal.Text('f') + " " + v.Unit
		}
		return v.decimal.Text('f') + " '" + v.Unit + "'"
	case KindType:
		return v.Unit + "." + v.Text
	default:
		return v.Text
	}
}

// Read makes v the value of kind that text writes, as FHIR's JSON has it. A
// quantity is read as its number, with unit 1; ok is false for a wrong form.
func (v *Value) Read(kind Kind, text string) (ok bool) {
	*v = Value{Kind: kind, Text: text}
	switch kind {
	case KindBoolean:
		v.Truth = text == "true"
		return v.Truth || text == "false"
	case KindQuantity:
		v.Unit, v.Text = "1", ""
		return parseDecimal(&v.decimal, text)
	case KindInteger:
		var err error
		v.Number, err = strconv.ParseInt(text, 10, 64)
		return err == nil
	case KindDecimal:
		return parseDecimal(&v.decimal, text)
	case KindDate:
		v.moment, ok = dateOf(text)
		return ok
	case KindDateTime:
		v.moment, ok = dateTimeOf(text)
		return ok
	case KindTime:
		v.moment, ok = timeOf(text)
		return ok
	default:
		return true
	}
}
