package plan

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"
	"unsafe"

	"candela/store"
)

// Row is a forward record: all that the exact test and the sort need.
type Row struct {
	RID     store.RID
	Key     store.Key
	Number  int64
	Seq     store.Seq
	Time    time.Time     // milliseconds
	Entries []store.Entry // nil in a row of OpenRow that was not decoded yet
	packed  []byte        // the entries as EncodeRow wrote them
}

// The format: version byte, uvarints and length-prefixed texts for the head,
// then one group per parameter: name, byte length, entries. A reader that wants
// one parameter skips the other groups.
const rowFormat = 1

// EncodeRow appends the packed forward record of r to dst. Entries come back
// grouped by parameter, in their order within one.
func EncodeRow(dst []byte, r Row) []byte {
	dst = append(dst, rowFormat)
	dst = binary.AppendUvarint(dst, uint64(r.RID))
	dst = appendText(dst, r.Key.Type)
	dst = appendText(dst, r.Key.ID)
	dst = binary.AppendUvarint(dst, uint64(r.Number))
	dst = binary.AppendUvarint(dst, uint64(r.Seq))
	dst = binary.AppendVarint(dst, r.Time.UnixMilli())
	var scratch []byte
	for i := range r.Entries {
		if firstOf(r.Entries, i) {
			scratch = appendGroup(scratch[:0], r.Entries[i:])
			dst = appendText(dst, r.Entries[i].Param)
			dst = binary.AppendUvarint(dst, uint64(len(scratch)))
			dst = append(dst, scratch...)
		}
	}
	return dst
}

// firstOf says whether entry i is the first of its parameter.
func firstOf(entries []store.Entry, i int) bool {
	for j := range i {
		if entries[j].Param == entries[i].Param {
			return false
		}
	}
	return true
}

func appendGroup(dst []byte, entries []store.Entry) []byte {
	for i := range entries {
		if entries[i].Param == entries[0].Param {
			dst = appendValue(dst, entries[i].Role, &entries[i].Value)
		}
	}
	return dst
}

// OpenRow reads the head of a packed forward record and keeps the entries
// packed: tests read from them what they need. data must not change afterwards.
func OpenRow(data []byte) (Row, error) {
	r := reader{data: data}
	if len(data) == 0 || data[0] != rowFormat {
		return Row{}, fmt.Errorf("forward record of unknown format: %w", store.ErrCorrupt)
	}
	r.at = 1
	row := Row{RID: store.RID(r.uvarint()), Key: store.Key{Type: r.text(), ID: r.text()}}
	row.Number = int64(r.uvarint())
	row.Seq = store.Seq(r.uvarint())
	row.Time = time.UnixMilli(r.varint()).UTC()
	if r.bad {
		return Row{}, errRow(row.RID)
	}
	row.packed = data[r.at:]
	return row, nil
}

// DecodeRow reads a whole packed forward record. data must not change afterwards.
func DecodeRow(data []byte) (Row, error) {
	row, err := OpenRow(data)
	if err == nil {
		err = row.Decode()
	}
	return row, err
}

// Decode fills Entries of a row of OpenRow.
func (r *Row) Decode() error {
	if r.packed == nil || r.Entries != nil {
		return nil
	}
	rd := reader{data: r.packed}
	for rd.more() {
		param := rd.text()
		group := reader{data: rd.bytes()}
		for group.more() {
			e := store.Entry{Param: param}
			e.Role = group.value(&e.Value)
			r.Entries = append(r.Entries, e)
		}
		rd.bad = rd.bad || group.bad
	}
	if rd.bad {
		return errRow(r.RID)
	}
	return nil
}

// each calls do with the values of one parameter, built-in ones included, until
// it answers false. A value is valid only during its call.
func (r *Row) each(param string, do func(*store.Value) bool) error {
	if strings.HasPrefix(param, "_") && !r.builtin(param, do) {
		return nil
	}
	if r.Entries == nil {
		return r.unpack(param, do)
	}
	for i := range r.Entries {
		if r.Entries[i].Param == param && !do(&r.Entries[i].Value) {
			return nil
		}
	}
	return nil
}

// builtin does _id and _lastUpdated; false ends the walk.
func (r *Row) builtin(param string, do func(*store.Value) bool) bool {
	switch param {
	case store.ParamID:
		return do(&store.Value{Kind: store.Code, Space: r.Key.Type, Name: r.Key.ID})
	case store.ParamUpdated:
		t := store.OrderedTime(r.Time)
		return do(&store.Value{Kind: store.Range, Lo: t, Hi: t})
	}
	return true
}

// unpack does the values of param from the packed entries.
func (r *Row) unpack(param string, do func(*store.Value) bool) error {
	rd := reader{data: r.packed}
	var v store.Value
	for rd.more() {
		name := rd.text()
		group := reader{data: rd.bytes()}
		if name != param {
			continue
		}
		for group.more() {
			v = store.Value{Parts: v.Parts[:0]}
			if group.value(&v); group.bad {
				return errRow(r.RID)
			}
			if !do(&v) {
				return nil
			}
		}
		return nil
	}
	if rd.bad {
		return errRow(r.RID)
	}
	return nil
}

// meets says whether some entry meets the test.
func (r *Row) meets(t *store.Test) (met bool, err error) {
	err = r.each(t.Param, func(v *store.Value) bool {
		met = t.Cond.Met(v)
		return !met
	})
	return met, err
}

// Has says whether it has an entry of param.
func (r *Row) Has(param string) (has bool, err error) {
	err = r.each(param, func(*store.Value) bool {
		has = true
		return false
	})
	return has, err
}

// All is the entries, built-in ones included.
func (r *Row) All() ([]store.Entry, error) {
	err := r.Decode()
	return append(store.Builtin(r.Key, r.Time), r.Entries...), err
}

func errRow(rid store.RID) error {
	return fmt.Errorf("forward record %d: %w", rid, store.ErrCorrupt)
}

// textOf is b as a string without a copy: rows are never written again.
func textOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

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
