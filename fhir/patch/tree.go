package patch

import (
	"bytes"
	"iter"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"candela/fhir"
)

// tree is a JSON value under work. Only the objects and arrays that a change
// goes into are opened; all else stays the text it was.
type tree struct {
	root   value
	work   int // members and elements compared so far, and moved by movesPerWork
	copied int // bytes made by copying so far
}

// value is one value of a tree: a piece of text that was read, or the branch
// that it became. The zero value is not there.
type value struct {
	node fhir.Node // the text; stays as the mark of where the value came from
	in   *branch   // the children, when opened; then they count, not the text
}

// branch is an opened object or array, or a null that we write.
type branch struct {
	kind fhir.Kind
	kids []kid
}

// kid is a member of an object or an element of an array.
type kid struct {
	name []byte // as it is written, with quotes; nil in an array
	value
}

// movesPerWork is how many elements move in the time that one is looked at.
const movesPerWork = 4

func (t *tree) over() bool { return t.work > maxWork || t.copied > maxCopied }

func null() value { return value{in: &branch{kind: fhir.Null}} }

func (v value) exists() bool { return v.in != nil || v.node.Exists() }

func (v value) kind() fhir.Kind {
	if v.in != nil {
		return v.in.kind
	}
	return v.node.Kind()
}

// open gives the children of an object or array for change.
func (t *tree) open(v *value) *branch {
	if v.in == nil {
		v.in = &branch{kind: v.node.Kind()}
		for c := v.node.Cursor(); c.Next(); {
			v.in.kids = append(v.in.kids, kid{c.Name(), value{node: c.Value()}})
		}
		t.work += len(v.in.kids)
	}
	return v.in
}

// children walks the members or elements of v without opening it.
func (v value) children() iter.Seq2[[]byte, value] {
	return func(yield func([]byte, value) bool) {
		if v.in != nil {
			for _, k := range v.in.kids {
				if !yield(k.name, k.value) {
					return
				}
			}
			return
		}
		for c := v.node.Cursor(); c.Next(); {
			if !yield(c.Name(), value{node: c.Value()}) {
				return
			}
		}
	}
}

// find is the position of an object's member; -1 when it has none of the name.
func (t *tree) find(b *branch, name string) int {
	for i := range b.kids {
		if nameIs(b.kids[i].name, name) {
			t.work += i + 1
			return i
		}
	}
	t.work += len(b.kids)
	return -1
}

func nameIs(quoted []byte, name string) bool {
	if bytes.IndexByte(quoted, '\\') >= 0 {
		return unquote(quoted) == name
	}
	return string(quoted[1:len(quoted)-1]) == name
}

func unquote(quoted []byte) string {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1])
	}
	text, err := jsontext.AppendUnquote(nil, quoted)
	if err != nil {
		return ""
	}
	return string(text)
}

// insert puts a child at a position; name is nil in an array.
func (t *tree) insert(b *branch, at int, name []byte, v value) {
	t.work += (len(b.kids)-at)/movesPerWork + 1
	b.kids = slices.Insert(b.kids, at, kid{name, v})
}

func (t *tree) cut(b *branch, at int) {
	t.work += (len(b.kids)-at)/movesPerWork + 1
	b.kids = slices.Delete(b.kids, at, at+1)
}

// copy gives a value that can be changed apart from v. It stops early when the
// tree has run over its limits.
func (t *tree) copy(v value) value {
	if v.in == nil || t.over() {
		t.copied += len(v.node.Raw())
		return v
	}
	t.work += len(v.in.kids)
	t.copied += 2
	twin := &branch{kind: v.in.kind, kids: slices.Clone(v.in.kids)}
	for i := range twin.kids {
		t.copied += len(twin.kids[i].name) + 2
		twin.kids[i].value = t.copy(twin.kids[i].value)
	}
	return value{in: twin}
}

// append writes v as compact JSON.
func (v value) append(dst []byte) []byte {
	if v.in == nil {
		return append(dst, v.node.Raw()...)
	}
	if v.in.kind == fhir.Null {
		return append(dst, "null"...)
	}
	dst = append(dst, byte(v.in.kind))
	for i := range v.in.kids {
		k := &v.in.kids[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		if k.name != nil {
			dst = append(append(dst, k.name...), ':')
		}
		dst = k.append(dst)
	}
	return append(dst, byte(v.in.kind)+2) // ] and } stand two behind [ and {
}
