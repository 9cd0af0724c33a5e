package plan

import (
	"encoding/binary"

	"candela/store"
)

// The fields a packed value has. A value is one byte of kind and role, one of
// fields, then the fields in this order.
const (
	hasSpace = 1 << iota
	hasName
	hasText
	hasRaw
	hasLo
	hasHi
	isPoint // Hi equals Lo and is not written
	hasParts
)

func appendText(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

func fieldsOf(v *store.Value) (f byte) {
	for i, s := range [...]string{v.Space, v.Name, v.Text, v.Raw} {
		if s != "" {
			f |= hasSpace << i
		}
	}
	if v.Lo != nil {
		f |= hasLo
	}
	switch {
	case v.Hi != nil && v.Lo != nil && string(v.Hi) == string(v.Lo):
		f |= isPoint
	case v.Hi != nil:
		f |= hasHi
	}
	if len(v.Parts) > 0 {
		f |= hasParts
	}
	return f
}

func appendValue(dst []byte, role store.Role, v *store.Value) []byte {
	f := fieldsOf(v)
	dst = append(dst, byte(v.Kind)|byte(role)<<4, f)
	for i, s := range [...]string{v.Space, v.Name, v.Text, v.Raw} {
		if f&(hasSpace<<i) != 0 {
			dst = appendText(dst, s)
		}
	}
	if f&hasLo != 0 {
		dst = appendText(dst, textOf(v.Lo))
	}
	if f&hasHi != 0 {
		dst = appendText(dst, textOf(v.Hi))
	}
	if f&hasParts != 0 {
		dst = binary.AppendUvarint(dst, uint64(len(v.Parts)))
		for i := range v.Parts {
			dst = appendValue(dst, 0, &v.Parts[i])
		}
	}
	return dst
}

// reader walks packed bytes. After a fault bad is set and it reads zeros.
type reader struct {
	data []byte
	at   int
	bad  bool
}

func (r *reader) more() bool { return !r.bad && r.at < len(r.data) }

func (r *reader) fail() {
	r.bad = true
	r.at = len(r.data)
}

func (r *reader) byte() byte {
	if r.at >= len(r.data) {
		r.fail()
		return 0
	}
	r.at++
	return r.data[r.at-1]
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.data[r.at:])
	if n <= 0 {
		r.fail()
		return 0
	}
	r.at += n
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.data[r.at:])
	if n <= 0 {
		r.fail()
		return 0
	}
	r.at += n
	return v
}

func (r *reader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.data)-r.at) {
		r.fail()
		return nil
	}
	b := r.data[r.at : r.at+int(n) : r.at+int(n)]
	r.at += int(n)
	return b
}

func (r *reader) text() string { return textOf(r.bytes()) }

// value reads one packed value into v, whose Parts are used again, and gives its role.
func (r *reader) value(v *store.Value) store.Role {
	head, f := r.byte(), r.byte()
	v.Kind = store.Kind(head & 0x0f)
	for i, s := range [...]*string{&v.Space, &v.Name, &v.Text, &v.Raw} {
		if f&(hasSpace<<i) != 0 {
			*s = r.text()
		}
	}
	if f&hasLo != 0 {
		v.Lo = r.bytes()
	}
	switch {
	case f&isPoint != 0:
		v.Hi = v.Lo
	case f&hasHi != 0:
		v.Hi = r.bytes()
	}
	if f&hasParts != 0 {
		r.parts(v)
	}
	return store.Role(head >> 4)
}

func (r *reader) parts(v *store.Value) {
	n := r.uvarint()
	if n > uint64(len(r.data)-r.at) {
		r.fail()
		return
	}
	for range n {
		var part store.Value
		r.value(&part)
		v.Parts = append(v.Parts, part)
	}
}
