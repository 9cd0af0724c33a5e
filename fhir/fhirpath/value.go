package fhirpath

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"github.com/cockroachdb/apd/v3"

	"candela/fhir"
)

// kind is the System type of a value.
type kind byte

const (
	kindNone kind = iota
	kindBoolean
	kindInteger
	kindDecimal
	kindString
	kindDate
	kindDateTime
	kindTime
	kindQuantity
	kindType // what type() gives: namespace in unit, name in text
)

// systemTypes names the System types by kind.
var systemTypes = [...]string{"", "System.Boolean", "System.Integer", "System.Decimal", "System.String",
	"System.Date", "System.DateTime", "System.Time", "System.Quantity", "System.ClassInfo"}

// value is a System value. Which fields count depends on kind.
type value struct {
	kind     kind
	truth    bool
	calendar bool // the unit is a calendar word, not UCUM
	moment   moment
	number   int64
	text     string
	unit     string
	decimal  apd.Decimal
}

// The values that are made most are made once; nobody changes a value.
var (
	trueValue  = &value{kind: kindBoolean, truth: true}
	falseValue = &value{kind: kindBoolean}
)

func boolValue(b bool) *value {
	if b {
		return trueValue
	}
	return falseValue
}

func stringValue(s string) *value { return &value{kind: kindString, text: s} }
func intValue(n int64) *value     { return &value{kind: kindInteger, number: n} }

func decimalValue(d *apd.Decimal) *value {
	v := &value{kind: kindDecimal}
	v.decimal.Set(d)
	return v
}

// quantityValue gives a number a unit.
func quantityValue(n *value, unit string, calendar bool) *value {
	v := &value{kind: kindQuantity, unit: unit, calendar: calendar}
	n.toDecimal(&v.decimal)
	return v
}

// item wraps v.
func (v *value) item() Item { return Item{Type: systemTypes[v.kind], val: v} }

var (
	errNumber = errors.New("integer is out of range")
	errDigits = errors.New("decimal is out of range")
)

// numberLiteral reads 12 or 12.50.
func numberLiteral(text string) (*value, error) {
	if !strings.Contains(text, ".") {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, errNumber
		}
		return intValue(n), nil
	}
	v := &value{kind: kindDecimal}
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

func (v *value) isNumber() bool { return v.kind == kindInteger || v.kind == kindDecimal }
func (v *value) isMoment() bool { return v.kind >= kindDate && v.kind <= kindTime }

// toDecimal sets d to the number in v (integer, decimal or quantity).
func (v *value) toDecimal(d *apd.Decimal) {
	if v.kind == kindInteger {
		d.SetInt64(v.number)
		return
	}
	d.Set(&v.decimal)
}

// String is the value as toString() gives it.
func (v *value) String() string {
	switch v.kind {
	case kindBoolean:
		return strconv.FormatBool(v.truth)
	case kindInteger:
		return strconv.FormatInt(v.number, 10)
	case kindDecimal:
		return v.decimal.Text('f')
	case kindDate, kindDateTime, kindTime:
		return v.moment.text(v.kind)
	case kindQuantity:
		if v.calendar {
			return v.decimal.Text('f') + " " + v.unit
		}
		return v.decimal.Text('f') + " '" + v.unit + "'"
	case kindType:
		return v.unit + "." + v.text
	default:
		return v.text
	}
}

// primitiveKind is the System kind of a FHIR primitive type; kindNone for others.
func primitiveKind(typ string) kind {
	switch typ {
	case "boolean":
		return kindBoolean
	case "integer", "positiveInt", "unsignedInt":
		return kindInteger
	case "decimal":
		return kindDecimal
	case "date":
		return kindDate
	case "dateTime", "instant":
		return kindDateTime
	case "time":
		return kindTime
	}
	if isPrimitive(typ) {
		return kindString
	}
	return kindNone
}

// isPrimitive: FHIR writes exactly its primitive types with a small letter.
func isPrimitive(typ string) bool { return typ != "" && typ[0] >= 'a' && typ[0] <= 'z' }

// load reads the System value of an item into v; false when it has none (a
// complex element, a primitive without value or with one of a wrong form).
func (r *run) load(it *Item, v *value) bool {
	if it.val != nil {
		*v = *it.val
		return true
	}
	kind := primitiveKind(it.Type)
	switch kind {
	case kindNone:
		return r.loadQuantity(it, v)
	case kindBoolean:
		k := it.Node.Kind()
		*v = value{kind: kind, truth: k == fhir.True}
		return k == fhir.True || k == fhir.False
	}
	if k := it.Node.Kind(); k != fhir.String && k != fhir.Number {
		return false
	}
	text := it.Node.Text()
	*v = value{kind: kind, text: text}
	return v.fill(text)
}

// fill reads text as v.kind says.
func (v *value) fill(text string) (ok bool) {
	switch v.kind {
	case kindInteger:
		var err error
		v.number, err = strconv.ParseInt(text, 10, 64)
		return err == nil
	case kindDecimal:
		return parseDecimal(&v.decimal, text)
	case kindDate:
		v.moment, ok = dateOf(text)
		return ok
	case kindDateTime:
		v.moment, ok = dateTimeOf(text)
		return ok
	case kindTime:
		v.moment, ok = timeOf(text)
		return ok
	default:
		return true
	}
}

const ucumSystem = "http://unitsofmeasure.org"

// loadQuantity reads a FHIR Quantity: the unit is its UCUM code, else its unit
// text. A Quantity with a comparator is a range and has no value.
func (r *run) loadQuantity(it *Item, v *value) bool {
	number := it.Node.Get("value")
	if number.Kind() != fhir.Number || it.Node.Get("comparator").Exists() || !r.model.IsA(it.Type, "Quantity") {
		return false
	}
	*v = value{kind: kindQuantity, unit: "1"}
	code := it.Node.Get("code")
	if it.Node.Get("system").Text() != ucumSystem || !code.Exists() {
		if unit := it.Node.Get("unit"); unit.Exists() {
			code = unit
		}
	}
	if code.Exists() {
		v.unit = code.Text()
	}
	return parseDecimal(&v.decimal, string(number.Raw()))
}

// Bool is the item's truth; ok is false when it is no boolean.
func (i Item) Bool() (v, ok bool) {
	if i.val != nil {
		return i.val.truth, i.val.kind == kindBoolean
	}
	k := i.Node.Kind()
	return k == fhir.True, k == fhir.True || k == fhir.False
}

// Text is the item's value as text: a primitive's JSON value, a computed value
// as toString() writes it; "" for complex elements.
func (i Item) Text() string {
	if i.val != nil {
		return i.val.String()
	}
	return i.Node.Text()
}

// Computed says whether the item is a value that the expression made, not an
// element of a resource.
func (i Item) Computed() bool { return i.val != nil }

// textIs compares a FHIR string with s without copying it.
func textIs(n fhir.Node, s string) bool {
	raw := n.Raw()
	if bytes.IndexByte(raw, '\\') >= 0 {
		return n.Text() == s
	}
	return string(raw[1:len(raw)-1]) == s
}
