package plan

import (
	"encoding/binary"
	"fmt"
	"iter"
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

// Values yields the entries of one parameter, built-in ones included. The value
// is valid until the next one.
func (r *Row) Values(param string) iter.Seq2[store.Role, *store.Value] {
	return func(yield func(store.Role, *store.Value) bool) {
		if strings.HasPrefix(param, "_") && !r.builtin(param, yield) {
			return
		}
		if r.Entries == nil {
			r.unpack(param, yield)
			return
		}
		for i := range r.Entries {
			if r.Entries[i].Param == param && !yield(r.Entries[i].Role, &r.Entries[i].Value) {
				return
			}
		}
	}
}

// builtin yields _id and _lastUpdated; false ends the walk.
func (r *Row) builtin(param string, yield func(store.Role, *store.Value) bool) bool {
	switch param {
	case store.ParamID:
		return yield(0, &store.Value{Kind: store.Code, Space: r.Key.Type, Name: r.Key.ID})
	case store.ParamUpdated:
		t := store.OrderedTime(r.Time)
		return yield(0, &store.Value{Kind: store.Range, Lo: t, Hi: t})
	}
	return true
}

// unpack yields the values of param from the packed entries.
func (r *Row) unpack(param string, yield func(store.Role, *store.Value) bool) {
	rd := reader{data: r.packed}
	for rd.more() {
		name := rd.text()
		group := reader{data: rd.bytes()}
		if name != param {
			continue
		}
		var v store.Value
		for group.more() {
			v = store.Value{Parts: v.Parts[:0]}
			if role := group.value(&v); !yield(role, &v) {
				return
			}
		}
		return
	}
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
