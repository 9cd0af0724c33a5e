package patch

import (
	"bytes"

	"candela/fhir"
)

// equal is RFC 6902's equality (section 4.6): strings by their characters,
// numbers by their value, arrays by order, objects whatever their order. It
// gives up, and says no, when the tree has run over its limits.
func (t *tree) equal(v value, with fhir.Node) bool {
	t.work++
	if v.in == nil && bytes.Equal(v.node.Raw(), with.Raw()) {
		return true
	}
	if v.kind() != with.Kind() || t.over() {
		return false
	}
	switch v.kind() {
	case fhir.Object:
		return t.equalObjects(v, with)
	case fhir.Array:
		return t.equalArrays(v, with)
	case fhir.String:
		return v.node.Text() == with.Text()
	case fhir.Number:
		return equalNumbers(v.node.Text(), with.Text())
	default: // true, false and null have one spelling each
		return true
	}
}

func equalNumbers(a, b string) bool {
	x, err := fhir.ParseDecimal(a)
	if err != nil {
		return false
	}
	y, err := fhir.ParseDecimal(b)
	return err == nil && x.Compare(y) == 0
}

func (t *tree) equalArrays(v value, with fhir.Node) bool {
	c := with.Cursor()
	for _, one := range v.children() {
		if !c.Next() || !t.equal(one, c.Value()) {
			return false
		}
	}
	return !c.Next()
}

// equalObjects steps through both; only where the orders part does it search.
func (t *tree) equalObjects(v value, with fhir.Node) bool {
	c := with.Cursor()
	for name, one := range v.children() {
		if !c.Next() {
			return false
		}
		other := c.Value()
		if !bytes.Equal(name, c.Name()) {
			other = t.search(with, name)
		}
		if !other.Exists() || !t.equal(one, other) {
			return false
		}
	}
	return !c.Next()
}

func (t *tree) search(object fhir.Node, quoted []byte) fhir.Node {
	name := unquote(quoted)
	for c := object.Cursor(); c.Next(); {
		if t.work++; nameIs(c.Name(), name) {
			return c.Value()
		}
	}
	return fhir.Node{}
}
