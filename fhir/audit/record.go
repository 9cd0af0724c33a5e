package audit

import (
	"encoding/binary"
	"strings"
	"time"
	"unicode"

	"candela/fhir"
	"candela/store"
)

// record is what the journal keeps of one interaction or event. AuditEvents are
// made of it, always the same: one for each patient, or one.
type record struct {
	at        time.Time // milliseconds
	what      string    // fhir.Interaction or fhir.EventKind, or one of the seals
	typ, id   string    // what it is about
	version   string
	operation string
	query     string // what was asked, as a URL below the base
	status    int    // of the HTTP answer
	code      string // of the issue, where it was refused or failed
	base      string
	request   string // X-Request-Id

	name, client, token, address string // of the caller
	user                         string // Type/id
	purpose                      []string

	patients  []string // ids
	reason    string
	recipient string
	sum       string // of a seal: SHA-256 of the resource as it is stored
}

// A seal is about an AuditEvent that somebody else wrote: it is told before the
// write and after it. No AuditEvent is made of a seal.
const (
	sealing = "seal" // it is about to be stored
	sealed  = "sealed"
)

// form is the version of the layout and of the AuditEvents that are made of it.
const form = 1

// maxName bounds, in bytes, what callers are called and other texts of theirs.
const maxName = 128

// clean is what others wrote, fit to be shown: of n bytes at most, and with ? for
// what controls a terminal or ends a line.
func clean(s string, n int) string {
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "")
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '?'
		}
		return r
	}, s)
}

// texts are the fields that are plain text, in their order.
func (r *record) texts() [17]*string {
	return [...]*string{
		&r.what, &r.typ, &r.id, &r.version, &r.operation, &r.query, &r.code, &r.base, &r.request,
		&r.name, &r.client, &r.token, &r.address, &r.user, &r.reason, &r.recipient, &r.sum,
	}
}

func (r *record) bytes() []byte {
	out := make([]byte, 0, 256)
	out = binary.AppendVarint(append(out, form), r.at.UnixMilli())
	out = binary.AppendUvarint(out, uint64(r.status))
	for _, t := range r.texts() {
		out = appendText(out, *t)
	}
	return appendList(appendList(out, r.purpose), r.patients)
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendList(dst []byte, list []string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(list)))
	for _, s := range list {
		dst = appendText(dst, s)
	}
	return dst
}

// parse reads a record back; false where it is none.
func parse(raw []byte) (r record, ok bool) {
	if len(raw) == 0 || raw[0] != form {
		return r, false
	}
	at, n := binary.Varint(raw[1:])
	if n <= 0 {
		return r, false
	}
	rest := raw[1+n:]
	status, rest, ok := number(rest)
	if !ok {
		return r, false
	}
	r.at, r.status = time.UnixMilli(at).UTC(), int(status)
	for _, t := range r.texts() {
		if *t, rest, ok = text(rest); !ok {
			return r, false
		}
	}
	for _, list := range []*[]string{&r.purpose, &r.patients} {
		var count uint64
		if count, rest, ok = number(rest); !ok || count > uint64(len(rest)) {
			return r, false
		}
		for range count {
			var one string
			if one, rest, ok = text(rest); !ok {
				return r, false
			}
			*list = append(*list, one)
		}
	}
	return r, len(rest) == 0
}

func number(raw []byte) (uint64, []byte, bool) {
	v, n := binary.Uvarint(raw)
	if n <= 0 {
		return 0, nil, false
	}
	return v, raw[n:], true
}

func text(raw []byte) (string, []byte, bool) {
	size, rest, ok := number(raw)
	if !ok || size > uint64(len(rest)) {
		return "", nil, false
	}
	return string(rest[:size]), rest[size:], true
}

// by says who asked.
func (r *record) by(c fhir.Caller) {
	r.name, r.client, r.token = clean(c.Name, maxName), clean(c.Client, maxName), clean(c.Token, maxName)
	r.address, r.purpose = clean(c.Address, maxName), c.Purpose
	if c.User != (fhir.Reference{}) {
		r.user = c.User.Type + "/" + c.User.ID
	}
}

func (r *record) key() store.Key { return store.Key{Type: r.typ, ID: r.id} }
