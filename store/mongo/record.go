package mongo

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	bc "go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"candela/store"
	"candela/store/body"
	"candela/store/plan"
)

// maxDocument is the most bytes of BSON that MongoDB takes as one document,
// less what it needs for itself.
const maxDocument = 16<<20 - 16<<10

// record is one version as it is stored.
type record struct {
	store.Version        // without Raw and Entries
	hash          []byte // of the raw body, see hashOf
	packed        []byte // the body, packed
	row           []byte // the forward record, packed; only where a write reads what it replaces
}

// live says whether the record is one that can be found.
func (r *record) live() bool { return r.Action == store.Create || r.Action == store.Put }

// version is the record with its body unpacked and checked.
func (r *record) version() (store.Version, error) {
	v := r.Version
	if !r.live() {
		return v, nil
	}
	raw, err := body.Expand(nil, r.packed)
	if err == nil && !bytes.Equal(hashOf(raw), r.hash) {
		err = fmt.Errorf("the body of %s version %d does not fit its checksum", v.Key, v.Number)
	}
	if err != nil {
		return store.Version{}, fmt.Errorf("mongo: %w: %w", store.ErrCorrupt, err)
	}
	v.Raw = raw
	return v, nil
}

// hashOf tells contents apart: two that agree in it are taken for equal, so it
// is cryptographic.
func hashOf(raw []byte) []byte {
	sum := sha256.Sum256(raw)
	return sum[:16]
}

// readRecord reads a document of res or hist; it keeps doc's bytes. A document
// without a type is a void sequence number, or what is left of an erased version,
// and has a RID of 0.
func readRecord(doc bson.Raw) (record, error) {
	var r record
	rest := []byte(doc)
	if len(rest) < 5 {
		return r, fmt.Errorf("mongo: empty document: %w", store.ErrCorrupt)
	}
	rest = rest[4:]
	for len(rest) > 1 {
		e, tail, ok := bc.ReadElement(rest)
		if !ok {
			return r, fmt.Errorf("mongo: unreadable document: %w", store.ErrCorrupt)
		}
		if !r.field(e) {
			return r, fmt.Errorf("mongo: document has a %s field %q: %w", e.Value().Type, e.Key(), store.ErrCorrupt)
		}
		rest = tail
	}
	if r.Key.Type == "" {
		r.RID = 0
	}
	return r, nil
}

// field takes one element; false when it has the wrong type.
func (r *record) field(e bc.Element) (ok bool) {
	v := e.Value()
	var n int64
	switch string(e.KeyBytes()) {
	case "_id":
		return r.identity(v)
	case "t", "et":
		r.Key.Type, ok = v.StringValueOK()
	case "i", "ei":
		r.Key.ID, ok = v.StringValueOK()
	case "v":
		r.Number, ok = v.Int64OK()
	case "s":
		n, ok = v.Int64OK()
		r.Seq = store.Seq(n)
	case "lu":
		n, ok = v.DateTimeOK()
		r.Time = time.UnixMilli(n).UTC()
	case "a":
		var a int32
		a, ok = v.Int32OK()
		r.Action = store.Action(a)
	case "h":
		_, r.hash, ok = v.BinaryOK()
	case "z":
		_, r.packed, ok = v.BinaryOK()
	case "fw":
		_, r.row, ok = v.BinaryOK()
	default:
		ok = true
	}
	return ok
}

// identity reads the _id of res (rid) or of hist ({r: rid, v: number}).
func (r *record) identity(v bc.Value) (ok bool) {
	rid, ok := v.Int64OK()
	if doc, is := v.DocumentOK(); is {
		if rid, ok = doc.Lookup("r").Int64OK(); !ok {
			return false
		}
		r.Number, ok = doc.Lookup("v").Int64OK()
	}
	r.RID = store.RID(rid)
	return ok
}

// headOf projects a document to what readRecord reads, and more fields.
func headOf(more ...string) bson.D {
	d := make(bson.D, 0, 10)
	for _, f := range append([]string{"t", "i", "v", "s", "lu", "a", "h"}, more...) {
		d = append(d, bson.E{Key: f, Value: int32(1)})
	}
	return d
}

// withBody is what a reader of versions needs, toReplace what a writer of the
// next one does, toFollow what a reader of the feed does.
func withBody() bson.D { return headOf("z") }

func toReplace() bson.D { return headOf("z", "fw") }

func toFollow() bson.D { return headOf("z", "et", "ei") }

// current is the document of res for a current version. entries are nil for a
// deleted one.
func (r *record) current(entries []store.Entry) (bson.Raw, error) {
	at, dst := bc.AppendDocumentStart(make([]byte, 0, 1024+len(r.packed)+64*len(entries)))
	dst = bc.AppendInt64Element(dst, "_id", int64(r.RID))
	dst = r.appendHead(dst, true)
	if r.live() {
		dst = appendKeys(dst, plan.KeysOf(r.Key.Type, entries, r.Time))
		row := plan.Row{RID: r.RID, Key: r.Key, Number: r.Number, Seq: r.Seq, Time: r.Time, Entries: entries}
		dst = bc.AppendBinaryElement(dst, "fw", 0, body.Compress(nil, plan.EncodeRow(nil, row)))
	}
	return finish(dst, at, r.Key)
}

// replaced is the document of hist for a version that another replaces.
func (r *record) replaced() (bson.Raw, error) {
	owners, err := r.owners()
	if err != nil {
		return nil, err
	}
	at, dst := bc.AppendDocumentStart(make([]byte, 0, 256+len(r.packed)))
	dst = bc.AppendDocumentElement(dst, "_id", histID(r.RID, r.Number))
	dst = r.appendHead(dst, false)
	dst = appendHashes(dst, "o", owners)
	return finish(dst, at, r.Key)
}

// owners are the hashes of what the Anchor entries link to.
func (r *record) owners() (hashes []uint64, err error) {
	if len(r.row) == 0 {
		return nil, nil
	}
	row, err := openRow(r.row)
	if err == nil {
		err = row.Decode()
	}
	if err != nil {
		return nil, fmt.Errorf("mongo: forward record of %s: %w: %w", r.Key, store.ErrCorrupt, err)
	}
	for i := range row.Entries {
		if e := &row.Entries[i]; e.Role&store.Anchor != 0 && e.Kind == store.Link {
			hashes = append(hashes, ownerHash(store.Key{Type: e.Space, ID: e.Name}))
		}
	}
	slices.Sort(hashes)
	return slices.Compact(hashes), nil
}

// ownerHash is of a cryptographic one, so that nobody can choose an id that
// looks like another.
func ownerHash(k store.Key) uint64 {
	return binary.BigEndian.Uint64(hashOf([]byte(k.Type + "\x00" + k.ID)))
}

// tombstone is the document of res that says that a record was erased, and when.
// Its key stands where no reader of keys looks.
func (r *record) tombstone() (bson.Raw, error) {
	at, dst := bc.AppendDocumentStart(make([]byte, 0, 128))
	dst = bc.AppendInt64Element(dst, "_id", int64(r.RID))
	dst = bc.AppendStringElement(dst, "et", r.Key.Type)
	dst = bc.AppendStringElement(dst, "ei", r.Key.ID)
	dst = bc.AppendInt64Element(dst, "s", int64(r.Seq))
	dst = bc.AppendDateTimeElement(dst, "lu", r.Time.UnixMilli())
	dst = bc.AppendInt32Element(dst, "a", int32(r.Action))
	return finish(dst, at, r.Key)
}

func histID(rid store.RID, number int64) bson.Raw {
	at, dst := bc.AppendDocumentStart(make([]byte, 0, 32))
	dst = bc.AppendInt64Element(dst, "r", int64(rid))
	dst = bc.AppendInt64Element(dst, "v", number)
	dst = append(dst, 0)
	return bson.Raw(bc.UpdateLength(dst, at, int32(len(dst))))
}

func (r *record) appendHead(dst []byte, number bool) []byte {
	dst = bc.AppendStringElement(dst, "t", r.Key.Type)
	dst = bc.AppendStringElement(dst, "i", r.Key.ID)
	if number {
		dst = bc.AppendInt64Element(dst, "v", r.Number)
	}
	dst = bc.AppendInt64Element(dst, "s", int64(r.Seq))
	dst = bc.AppendDateTimeElement(dst, "lu", r.Time.UnixMilli())
	dst = bc.AppendInt32Element(dst, "a", int32(r.Action))
	if r.live() {
		dst = bc.AppendBinaryElement(dst, "h", 0, r.hash)
		dst = bc.AppendBinaryElement(dst, "z", 0, r.packed)
	}
	return dst
}

func finish(dst []byte, at int32, k store.Key) (bson.Raw, error) {
	dst, err := bc.AppendDocumentEnd(dst, at)
	if err != nil {
		return nil, fmt.Errorf("mongo: %w", err)
	}
	if len(dst) > maxDocument {
		return nil, fmt.Errorf("mongo: %s needs %d bytes, a document takes %d: %w", k, len(dst), maxDocument, store.ErrTooLarge)
	}
	return bson.Raw(dst), nil
}

// appendKeys adds the physical keys. A field without keys is left out, so that
// its partial index has no entry.
func appendKeys(dst []byte, k plan.Keys) []byte {
	dst = appendHashes(dst, "ix", k.Equal)
	dst = appendPoints(dst, "rx", k.Ordered, func(dst []byte, at string, p plan.Point) []byte {
		return bc.AppendBinaryElement(dst, at, 0, orderedKey(p.Field, p.Order, 0))
	})
	dst = appendPoints(dst, "sx", k.Prefix, func(dst []byte, at string, p plan.Point) []byte {
		return bc.AppendStringElement(dst, at, prefixKey(p.Field, p.Order))
	})
	if k.Clock != nil && len(k.Timed) > 0 {
		dst = appendHashes(dst, "cx", k.Timed)
		dst = bc.AppendInt64Element(dst, "d", clockOf(k.Clock))
	}
	return dst
}

func appendHashes(dst []byte, field string, hashes []uint64) []byte {
	if len(hashes) == 0 {
		return dst
	}
	at, dst := bc.AppendArrayElementStart(dst, field)
	for i, h := range hashes {
		dst = bc.AppendInt64Element(dst, strconv.Itoa(i), int64(h))
	}
	return endArray(dst, at)
}

func appendPoints(dst []byte, field string, points []plan.Point, one func([]byte, string, plan.Point) []byte) []byte {
	if len(points) == 0 {
		return dst
	}
	at, dst := bc.AppendArrayElementStart(dst, field)
	for i, p := range points {
		dst = one(dst, strconv.Itoa(i), p)
	}
	return endArray(dst, at)
}

func endArray(dst []byte, at int32) []byte {
	dst = append(dst, 0)
	return bc.UpdateLength(dst, at, int32(len(dst))-at)
}

// orderedKey is 16 bytes, because MongoDB compares byte strings by their length
// first: the field's hash, then the order filled up with fill.
func orderedKey(field uint64, order []byte, fill byte) []byte {
	b := make([]byte, 16)
	binary.BigEndian.PutUint64(b, field)
	for i := 8 + copy(b[8:], order); i < 16; i++ {
		b[i] = fill
	}
	return b
}

// prefixLead is how many characters of a prefix key name its field.
const prefixLead = 11

// prefixKey is a string, whose bytes MongoDB compares: the field's hash, then
// the text, which is valid UTF-8.
func prefixKey(field uint64, text []byte) string {
	var lead [8]byte
	binary.BigEndian.PutUint64(lead[:], field)
	b := base64.RawURLEncoding.AppendEncode(make([]byte, 0, prefixLead+len(text)), lead[:])
	return string(append(b, text...))
}

// clockOf maps eight ordered bytes to the integer of the same order.
func clockOf(b []byte) int64 {
	var eight [8]byte
	copy(eight[:], b)
	return int64(binary.BigEndian.Uint64(eight[:]) ^ 1<<63)
}

func clockBytes(n int64) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(n)^1<<63)
}
