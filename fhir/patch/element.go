package patch

import (
	"candela/fhir"
)

// An element is written in up to two members: its value in member, and, for a
// primitive, its id and extensions in _member. In a list both are arrays of one
// length, padded with null.

// slot is the place of an element's value; nil when there is none.
func (t *tree) slot(b *branch, member string, at int) *value {
	i := t.find(b, member)
	if i < 0 {
		return nil
	}
	v := &b.kids[i].value
	if at == absent {
		return v
	}
	if v.kind() != fhir.Array {
		return nil
	}
	list := t.open(v)
	if at >= len(list.kids) {
		return nil
	}
	return &list.kids[at].value
}

// present says whether something other than null stands in a slot.
func (t *tree) present(b *branch, member string, at int) bool {
	v := t.slot(b, member, at)
	return v != nil && v.kind() != fhir.Null
}

// size is the number of elements of a list.
func (t *tree) size(b *branch, member string) int {
	n := 0
	for _, name := range [...]string{member, "_" + member} {
		if i := t.find(b, name); i >= 0 && b.kids[i].kind() == fhir.Array {
			n = max(n, len(t.open(&b.kids[i].value).kids))
		}
	}
	return n
}

// list gives the array of a member, made behind the member called after or else
// at the end, and padded with null to n elements; nil when the member is no array.
func (t *tree) list(b *branch, member, after string, n int) *branch {
	i := t.find(b, member)
	if i < 0 {
		if i = t.find(b, after) + 1; i == 0 {
			i = len(b.kids)
		}
		t.insert(b, i, fhir.Quote(member), value{in: &branch{kind: fhir.Array}})
	}
	if b.kids[i].kind() != fhir.Array {
		return nil
	}
	list := t.open(&b.kids[i].value)
	for len(list.kids) < n {
		t.insert(list, len(list.kids), nil, null())
	}
	return list
}

// put adds an element to an object: at the end of its list, or where nothing of
// it is there yet.
func (t *tree) put(b *branch, e element, c content) problem {
	if e.many {
		return t.putAt(b, c, t.size(b, c.member))
	}
	for _, member := range e.members {
		if t.find(b, member) >= 0 || t.find(b, "_"+member) >= 0 {
			return problem(e.name + " is there already and does not repeat; replace it")
		}
	}
	t.write(b, len(b.kids), c)
	return ""
}

// write puts an element that does not repeat before the member at a position.
func (t *tree) write(b *branch, at int, c content) {
	if c.value.exists() {
		t.insert(b, at, fhir.Quote(c.member), c.value)
		at++
	}
	if c.beside.exists() {
		t.insert(b, at, fhir.Quote("_"+c.member), c.beside)
	}
}

// putAt puts an element into a list before the one at a position.
func (t *tree) putAt(b *branch, c content, at int) problem {
	n := t.size(b, c.member)
	double := c.beside.exists() || t.find(b, "_"+c.member) >= 0
	pad := 0
	if double {
		pad = n
	}
	values := t.list(b, c.member, "", pad)
	if values == nil {
		return notList
	}
	t.insert(values, at, nil, c.value.orNull())
	if !double {
		return ""
	}
	beside := t.list(b, "_"+c.member, c.member, n)
	if beside == nil {
		return notList
	}
	t.insert(beside, at, nil, c.beside.orNull())
	return ""
}

const notList problem = "its path does not name a list"

func (v value) orNull() value {
	if !v.exists() {
		return null()
	}
	return v
}

// exchange puts content in the place of the element that stands there.
func (t *tree) exchange(at place, c content) problem {
	b := at.holder
	if at.at != absent {
		return t.exchangeAt(b, c, at.at)
	}
	first := len(b.kids)
	for _, name := range [...]string{at.member, "_" + at.member} {
		if i := t.find(b, name); i >= 0 {
			first = min(first, i)
			t.cut(b, i)
		}
	}
	t.write(b, first, c)
	return ""
}

func (t *tree) exchangeAt(b *branch, c content, at int) problem {
	n := t.size(b, c.member)
	values := t.list(b, c.member, "", n)
	if values == nil {
		return notList
	}
	values.kids[at].value = c.value.orNull()
	if !c.beside.exists() && t.find(b, "_"+c.member) < 0 {
		return ""
	}
	beside := t.list(b, "_"+c.member, c.member, n)
	if beside == nil {
		return notList
	}
	beside.kids[at].value = c.beside.orNull()
	t.tidy(b, c.member)
	return ""
}

// shift moves an element within its list.
func (t *tree) shift(b *branch, member string, from, to int) {
	n := t.size(b, member)
	for _, name := range [...]string{member, "_" + member} {
		if t.find(b, name) < 0 {
			continue
		}
		list := t.list(b, name, "", n)
		moved := list.kids[from].value
		t.cut(list, from)
		t.insert(list, to, nil, moved)
	}
}

// take takes an element out of its holder, in whole.
func (t *tree) take(b *branch, member string, at int) {
	for _, name := range [...]string{member, "_" + member} {
		i := t.find(b, name)
		if i < 0 {
			continue
		}
		if at == absent {
			t.cut(b, i)
			continue
		}
		if list := t.open(&b.kids[i].value); at < len(list.kids) {
			t.cut(list, at)
		}
	}
	if at != absent {
		t.tidy(b, member)
	}
}

// tidy drops the arrays of a list that say nothing any more: what stands beside
// when it is all null, the values when they are all null and alone.
func (t *tree) tidy(b *branch, member string) {
	if i := t.find(b, "_"+member); i >= 0 && t.hollow(b.kids[i].value) {
		t.cut(b, i)
	}
	if i := t.find(b, member); i >= 0 && t.find(b, "_"+member) < 0 && t.hollow(b.kids[i].value) {
		t.cut(b, i)
	}
}

// hollow says whether an array holds nothing but null.
func (t *tree) hollow(v value) bool {
	for _, one := range v.children() {
		if t.work++; one.kind() != fhir.Null {
			return false
		}
	}
	return v.kind() == fhir.Array
}

// besides opens what stands beside a primitive, made when missing.
func (t *tree) besides(b *branch, member string, at int) *branch {
	v := t.slot(b, "_"+member, at)
	switch {
	case v != nil:
	case at != absent:
		t.list(b, "_"+member, member, t.size(b, member))
		v = t.slot(b, "_"+member, at)
	default:
		t.insert(b, t.find(b, member)+1, fhir.Quote("_"+member), value{})
		v = t.slot(b, "_"+member, at)
	}
	if v.kind() != fhir.Object {
		*v = value{in: &branch{kind: fhir.Object}}
	}
	return t.open(v)
}

// bare takes away what stands beside a primitive and says whether the primitive
// has a value without it.
func (t *tree) bare(b *branch, member string, at int) bool {
	if !t.present(b, member, at) {
		return false
	}
	if at == absent {
		t.cut(b, t.find(b, "_"+member))
		return true
	}
	*t.slot(b, "_"+member, at) = null()
	t.tidy(b, member)
	return true
}
