package patch

import (
	"slices"
	"strings"

	"candela/fhir"
)

// pointer is a JSON Pointer (RFC 6901) in its unescaped steps.
type pointer []string

// parsePointer reads a JSON Pointer; ok is false when text has not its form.
func parsePointer(text string) (p pointer, ok bool) {
	if text == "" {
		return nil, true
	}
	if text[0] != '/' {
		return nil, false
	}
	p = strings.Split(text[1:], "/")
	for i, step := range p {
		if p[i], ok = unescape(step); !ok {
			return nil, false
		}
	}
	return p, true
}

// unescape reads ~0 and ~1; no other use of ~ is a pointer.
func unescape(step string) (string, bool) {
	if strings.IndexByte(step, '~') < 0 {
		return step, true
	}
	for i := range len(step) {
		if step[i] == '~' && (i+1 == len(step) || step[i+1] != '0' && step[i+1] != '1') {
			return "", false
		}
	}
	return strings.ReplaceAll(strings.ReplaceAll(step, "~1", "/"), "~0", "~"), true
}

// within says whether p lies in the value at outer, and not at it.
func (p pointer) within(outer pointer) bool {
	return len(p) > len(outer) && slices.Equal(p[:len(outer)], outer)
}

// position reads an array index: digits without a leading zero.
func position(step string) (at int, ok bool) {
	if step == "" || len(step) > 9 || step[0] == '0' && len(step) > 1 {
		return 0, false
	}
	for i := range len(step) {
		if step[i] < '0' || step[i] > '9' {
			return 0, false
		}
		at = at*10 + int(step[i]-'0')
	}
	return at, true
}

// look finds the value at p and opens nothing.
func (t *tree) look(p pointer) (v value, ok bool) {
	v = t.root
	for _, step := range p {
		if v, ok = t.child(v, step); !ok {
			return value{}, false
		}
	}
	return v, true
}

func (t *tree) child(v value, step string) (value, bool) {
	if v.in != nil {
		if at := t.index(v.in, step); at >= 0 {
			return v.in.kids[at].value, true
		}
		return value{}, false
	}
	if v.node.Kind() == fhir.Object {
		n := v.node.Get(step)
		return value{node: n}, n.Exists()
	}
	at, ok := position(step)
	for c := v.node.Cursor(); ok && c.Next(); at-- {
		if t.work++; at == 0 {
			return value{node: c.Value()}, true
		}
	}
	return value{}, false
}

// index is where the child that a step names stands; -1 when there is none.
func (t *tree) index(b *branch, step string) int {
	if b.kind == fhir.Object {
		return t.find(b, step)
	}
	if at, ok := position(step); ok && at < len(b.kids) {
		return at
	}
	return -1
}

// parent opens all that is above p, and gives the innermost; nil when there is
// nothing that could hold p. p has at least one step.
func (t *tree) parent(p pointer) *branch {
	v := &t.root
	for _, step := range p[:len(p)-1] {
		if k := v.kind(); k != fhir.Object && k != fhir.Array {
			return nil
		}
		b := t.open(v)
		at := t.index(b, step)
		if at < 0 {
			return nil
		}
		v = &b.kids[at].value
	}
	if k := v.kind(); k != fhir.Object && k != fhir.Array {
		return nil
	}
	return t.open(v)
}
