package fhirpath

import (
	"bytes"

	"candela/fhir"
	"candela/fhir/fhirpath/system"
)

// itemOf wraps a computed value.
func itemOf(v *system.Value) Item { return Item{Type: v.Kind.Name(), val: v} }

// appendValue appends v, and nothing for nil.
func appendValue(out []Item, v *system.Value) []Item {
	if v == nil {
		return out
	}
	return append(out, itemOf(v))
}

func appendBool(out []Item, b bool) []Item   { return append(out, itemOf(system.OfBool(b))) }
func appendText(out []Item, s string) []Item { return append(out, itemOf(system.OfText(s))) }
func appendInt(out []Item, n int) []Item     { return append(out, itemOf(system.OfInt(int64(n)))) }

// primitiveKind is the System kind of a FHIR primitive type; system.KindNone for others.
func primitiveKind(typ string) system.Kind {
	switch typ {
	case "boolean":
		return system.KindBoolean
	case "integer", "positiveInt", "unsignedInt":
		return system.KindInteger
	case "decimal":
		return system.KindDecimal
	case "date":
		return system.KindDate
	case "dateTime", "instant":
		return system.KindDateTime
	case "time":
		return system.KindTime
	}
	if isPrimitive(typ) {
		return system.KindString
	}
	return system.KindNone
}

// isPrimitive: FHIR writes exactly its primitive types with a small letter.
func isPrimitive(typ string) bool { return typ != "" && typ[0] >= 'a' && typ[0] <= 'z' }

// load reads the System value of an item into v; false when it has none (a
// complex element, a primitive without value or with one of a wrong form).
func (r *run) load(it *Item, v *system.Value) bool {
	if it.val != nil {
		*v = *it.val
		return true
	}
	kind := primitiveKind(it.Type)
	if kind == system.KindNone {
		return r.loadQuantity(it, v)
	}
	switch it.Node.Kind() {
	case fhir.String, fhir.Number, fhir.True, fhir.False:
		return v.Read(kind, it.Node.Text())
	default:
		return false
	}
}

const ucumSystem = "http://unitsofmeasure.org"

// loadQuantity reads a FHIR Quantity: the unit is its UCUM code, else its unit
// text. A Quantity with a comparator is a range and has no value.
func (r *run) loadQuantity(it *Item, v *system.Value) bool {
	number := it.Node.Get("value")
	if number.Kind() != fhir.Number || it.Node.Get("comparator").Exists() || !r.model.IsA(it.Type, "Quantity") {
		return false
	}
	if !v.Read(system.KindQuantity, string(number.Raw())) {
		return false
	}
	code, space := it.Node.Get("code"), it.Node.Get("system")
	if code.Kind() != fhir.String || space.Kind() != fhir.String || !textIs(space, ucumSystem) {
		if unit := it.Node.Get("unit"); unit.Kind() == fhir.String {
			code = unit
		}
	}
	if code.Kind() == fhir.String {
		v.Unit = r.unit(code)
	}
	return true
}

// unit is a unit's text; the few codes that repeat are kept once.
func (r *run) unit(code fhir.Node) string {
	raw := code.Raw()
	if bytes.IndexByte(raw, '\\') >= 0 {
		return code.Text()
	}
	return r.name(raw[1 : len(raw)-1])
}

// Bool is the item's truth; ok is false when it is no boolean.
func (i Item) Bool() (v, ok bool) {
	if i.val != nil {
		return i.val.Truth, i.val.Kind == system.KindBoolean
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
