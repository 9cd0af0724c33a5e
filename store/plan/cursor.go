package plan

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"candela/store"
)

// cursor is a place between two rows of one query.
type cursor struct {
	set  bool // false: the first page
	back bool // towards the start
	top  store.RID
	at   position
}

// position is where a row stands in the order of the query.
type position struct {
	keys []sortKey
	rid  store.RID
}

type sortKey struct {
	text string
	ok   bool
}

const cursorFormat = 1

// sealCursor writes the place at an item: format, query, direction, newest rid,
// the item's sort keys and rid, a checksum. Keeping it secret is for others.
func (r *run) sealCursor(it *item, back bool) string {
	b := []byte{cursorFormat, 0}
	if back {
		b[1] = 1
	}
	b = binary.BigEndian.AppendUint64(b, hashOfQuery(r.q))
	b = binary.AppendUvarint(b, uint64(r.top))
	b = binary.AppendUvarint(b, uint64(it.at.rid))
	for _, k := range it.at.keys {
		if !k.ok {
			b = append(b, 0)
			continue
		}
		b = appendText(append(b, 1), k.text)
	}
	b = binary.BigEndian.AppendUint64(b, xxhash.Sum64(b))
	return base64.RawURLEncoding.EncodeToString(b)
}

// openCursor reads q.After; the error is ErrCursor.
func openCursor(q store.Query) (cursor, error) {
	if q.After == "" {
		return cursor{}, nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(q.After)
	if err != nil || len(b) < 18 || b[0] != cursorFormat || b[1] > 1 {
		return cursor{}, fmt.Errorf("unreadable: %w", store.ErrCursor)
	}
	body := b[:len(b)-8]
	if xxhash.Sum64(body) != binary.BigEndian.Uint64(b[len(body):]) {
		return cursor{}, fmt.Errorf("damaged: %w", store.ErrCursor)
	}
	if binary.BigEndian.Uint64(body[2:]) != hashOfQuery(q) {
		return cursor{}, fmt.Errorf("of another query: %w", store.ErrCursor)
	}
	rd := reader{data: body, at: 10}
	c := cursor{set: true, back: b[1] == 1, top: store.RID(rd.uvarint())}
	c.at.rid = store.RID(rd.uvarint())
	for range q.Sort {
		k := sortKey{ok: rd.byte() == 1}
		if k.ok {
			k.text = rd.text()
		}
		c.at.keys = append(c.at.keys, k)
	}
	if rd.bad || rd.at != len(body) {
		return cursor{}, fmt.Errorf("of another shape: %w", store.ErrCursor)
	}
	return c, nil
}

// hashOfQuery is a hash of all of q but After.
func hashOfQuery(q store.Query) uint64 {
	b := binary.AppendUvarint(nil, uint64(len(q.Types)))
	for _, t := range q.Types {
		b = appendText(b, t)
	}
	b = appendExpr(b, q.Where)
	b = binary.AppendUvarint(b, uint64(len(q.Sort)))
	for _, s := range q.Sort {
		b = append(appendText(b, s.Param), byte(s.Role), flag(s.Desc))
	}
	b = binary.AppendVarint(b, int64(q.Count))
	b = append(b, flag(q.Total), flag(q.Entries), flag(q.NoRaw))
	return xxhash.Sum64(b)
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func appendExpr(b []byte, x store.Expr) []byte {
	switch x := x.(type) {
	case store.And:
		return appendExprs(append(b, 'a'), x)
	case store.Or:
		return appendExprs(append(b, 'o'), x)
	case store.Not:
		return appendExpr(append(b, 'n'), x.Of)
	case store.Test:
		return appendCond(append(appendText(append(b, 't'), x.Param), byte(x.Role)), &x.Cond)
	case store.Via:
		return appendExpr(appendText(appendText(append(b, 'v'), x.Param), x.Type), x.Of)
	case store.Has:
		return appendExpr(appendText(appendText(append(b, 'h'), x.Param), x.Type), x.Of)
	}
	return append(b, 'x')
}

func appendExprs(b []byte, parts []store.Expr) []byte {
	b = binary.AppendUvarint(b, uint64(len(parts)))
	for _, p := range parts {
		b = appendExpr(b, p)
	}
	return b
}

func appendCond(b []byte, c *store.Cond) []byte {
	b = append(b, byte(c.How), flag(c.HiOpen), byte(c.Unit), flag(c.Lo == nil), flag(c.Hi == nil))
	for _, s := range [...]string{c.Space, c.Name, c.Text, c.Raw, textOf(c.Lo), textOf(c.Hi)} {
		b = appendText(b, s)
	}
	b = append(b, store.OrderedFloat(c.Radius)...)
	b = binary.AppendUvarint(b, uint64(len(c.Parts)))
	for i := range c.Parts {
		b = appendCond(b, &c.Parts[i])
	}
	return b
}
