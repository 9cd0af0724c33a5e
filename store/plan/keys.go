package plan

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"

	"candela/store"
)

// Keys are the physical index keys of one resource: what a backend writes on a
// commit and removes when the entries change.
type Keys struct {
	Equal   []uint64 // HashOfType, and per entry HashOf and HashOfName or another
	Ordered []Point  // 8-byte prefixes of range ends
	Prefix  []Point  // folded, truncated word starts
	Timed   []uint64 // hashes walked in clock order; written with Clock
	Clock   []byte   // the 8-byte clock value, nil when the resource has none
}

// Point is one key of an Ordered or Prefix index.
type Point struct {
	Field uint64 // FieldHash
	Order []byte
}

// The edges: what the values of one Ordered or Prefix index are.
const (
	Low      byte = 'l' // Ordered: Lo of ranges, and latitude of places
	High     byte = 'h' // Ordered: Hi of ranges that are wider than Slack
	BaseLow  byte = 'b' // Ordered: Lo of ranges in base units
	BaseHigh byte = 'B' // Ordered: Hi of ranges in base units that are wider than Slack
	Words    byte = 'w' // Prefix: folded texts from each word start on
	Paths    byte = 'u' // Prefix: URIs without their scheme
)

// Slack is how far apart, as big-endian numbers, the 8-byte prefixes of a
// range's ends may be for it to have a Low key only; a walk for what ends
// behind a bound starts so much earlier. In OrderedTime it is 38 hours, so that
// whole days still need one key.
const Slack = 1 << 37

// PrefixLen is how many bytes of a folded text a Prefix key keeps.
const PrefixLen = 24

// hash joins parts with a separator no part may contain unescaped ambiguity
// from: each part is preceded by its length.
func hash(parts ...string) uint64 {
	var room [256]byte
	b := room[:0]
	for _, p := range parts {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	return xxhash.Sum64(b)
}

// HashOfType is the posting list of all live resources of a type.
func HashOfType(typ string) uint64 { return hash("t", typ) }

// HashOf is the posting list of (type, param, space, name).
func HashOf(typ, param, space, name string) uint64 { return hash("v", typ, param, space, name) }

// HashOfName is the posting list of (type, param, name) in any space.
func HashOfName(typ, param, name string) uint64 { return hash("n", typ, param, name) }

// HashOfTuple is the posting list of composites (type, param) whose parts that
// have names (codes, links, URIs) have these, in order.
func HashOfTuple(typ, param string, names ...string) uint64 {
	return hash(append([]string{"c", typ, param}, names...)...)
}

// HashOfHeld names the resources of a type that have an entry of param.
func HashOfHeld(typ, param string) uint64 { return hash("p", typ, param) }

// HeldOf is the HashOfHeld of each parameter that entries have, in order: what
// an engine that keeps such sets compares when a resource changes.
func HeldOf(typ string, entries []store.Entry) []uint64 {
	held := make([]uint64, 0, len(entries))
	for i := range entries {
		if i == 0 || entries[i].Param != entries[i-1].Param {
			held = append(held, HashOfHeld(typ, entries[i].Param))
		}
	}
	slices.Sort(held)
	return slices.Compact(held)
}

// HashOfUnclocked is the posting list of the resources of a type that have
// owners or Hot entries, but no clock: Timed lists miss them.
func HashOfUnclocked(typ string) uint64 { return hash("u", typ) }

// HashOfOdd is the posting list of the resources of a type whose clock is not
// one value of eight bytes: Timed lists miss them too.
func HashOfOdd(typ string) uint64 { return hash("o", typ) }

// HashOfWide is the posting list of the resources of a type that stand in Timed
// lists with a clock range wider than Slack.
func HashOfWide(typ string) uint64 { return hash("w", typ) }

// HashOfAnchored is the Timed list of (type, owner, param, name) with name in
// any space, and with space given in that space.
func HashOfAnchored(typ string, owner store.Value, param, space, name string, anySpace bool) uint64 {
	if anySpace {
		return hash("a", typ, owner.Space, owner.Name, param, name)
	}
	return hash("b", typ, owner.Space, owner.Name, param, space, name)
}

// FieldHash names one ordered or prefix index: an edge of (type, param).
func FieldHash(typ, param string, edge byte) uint64 { return hash("f", typ, param, string(edge)) }

// KeysOf derives the physical keys of a resource. updated is its version's time.
func KeysOf(typ string, entries []store.Entry, updated time.Time) Keys {
	return derive(typ, entries, updated)
}

// deriver gathers the keys of one resource.
type deriver struct {
	typ    string
	keys   Keys
	room   []byte // what ordered keys are cut from
	owners []store.Value
	hot    []*store.Entry
	clocks []*store.Entry
}

func derive(typ string, entries []store.Entry, updated time.Time) Keys {
	d := deriver{typ: typ, room: make([]byte, 0, 16*(len(entries)+1))}
	d.keys.Equal = make([]uint64, 0, 2*len(entries)+2)
	d.keys.Ordered = make([]Point, 0, len(entries)+1)
	d.equal(HashOfType(typ))
	for i := range entries {
		d.entry(&entries[i])
	}
	d.order(FieldHash(typ, store.ParamUpdated, Low), store.OrderedTime(updated))
	d.timed()
	return d.sorted()
}

// entry adds the keys of one entry and remembers its role.
func (d *deriver) entry(e *store.Entry) {
	switch e.Kind {
	case store.Code:
		if e.Name != "" { // only a text: no key would find it
			d.equal(HashOf(d.typ, e.Param, e.Space, e.Name))
			d.equal(HashOfName(d.typ, e.Param, e.Name))
		}
	case store.Link:
		d.equal(HashOf(d.typ, e.Param, e.Space, e.Name))
	case store.URI:
		d.equal(HashOf(d.typ, e.Param, e.Space, e.Name))
		d.prefix(FieldHash(d.typ, e.Param, Paths), withoutScheme(e.Name))
	case store.Text:
		d.words(e)
	case store.Range:
		d.span(e)
	case store.Tuple:
		if names, ok := tupleNames(e.Parts); ok {
			d.equal(HashOfTuple(d.typ, e.Param, names...))
		}
	case store.Place:
		d.order(FieldHash(d.typ, e.Param, Low), e.Lo)
	}
	d.role(e)
}

func (d *deriver) role(e *store.Entry) {
	if e.Role&store.Anchor != 0 && e.Kind == store.Link && !slices.ContainsFunc(d.owners, func(o store.Value) bool { return o.Space == e.Space && o.Name == e.Name }) {
		d.owners = append(d.owners, e.Value)
	}
	if e.Role&store.Hot != 0 && e.Kind == store.Code && e.Name != "" {
		d.hot = append(d.hot, e)
	}
	if e.Role&store.Clock != 0 {
		d.clocks = append(d.clocks, e)
	}
}

// words adds a key at each word start: "smith" finds "anna smith".
func (d *deriver) words(e *store.Entry) {
	field := FieldHash(d.typ, e.Param, Words)
	for i := range store.WordStarts(e.Text) {
		d.prefix(field, e.Text[i:])
	}
}

// span adds the low end, and the high end of a range wider than Slack.
func (d *deriver) span(e *store.Entry) {
	d.ends(e.Param, &e.Value, Low, High)
	if len(e.Parts) > 0 {
		d.ends(e.Param, &e.Parts[0], BaseLow, BaseHigh)
	}
}

func (d *deriver) ends(param string, v *store.Value, low, high byte) {
	d.order(FieldHash(d.typ, param, low), v.Lo)
	if wide(v.Lo, v.Hi) {
		d.order(FieldHash(d.typ, param, high), topEight(v.Hi))
	}
}

// timed adds the keys walked in clock order. They name values in any space
// only: the same code in another space is rare and the exact test sees it,
// while a key costs on every write.
func (d *deriver) timed() {
	clock, isWide, ok := oneClock(d.clocks)
	switch {
	case len(d.clocks) > 0 && !ok:
		d.equal(HashOfOdd(d.typ))
		return
	case len(d.owners) == 0 && len(d.hot) == 0:
		return
	case !ok:
		d.equal(HashOfUnclocked(d.typ))
		return
	case isWide:
		d.equal(HashOfWide(d.typ))
	}
	d.keys.Clock = clock
	for _, e := range d.hot {
		d.keys.Timed = append(d.keys.Timed, HashOfName(d.typ, e.Param, e.Name))
	}
	for _, o := range d.owners {
		d.keys.Timed = append(d.keys.Timed, HashOfAnchored(d.typ, o, "", "", "", true))
		for _, e := range d.hot {
			d.keys.Timed = append(d.keys.Timed, HashOfAnchored(d.typ, o, e.Param, "", e.Name, true))
		}
	}
}

// oneClock is the clock when it is one value that eight bytes hold exactly.
func oneClock(clocks []*store.Entry) (clock []byte, isWide, ok bool) {
	for _, e := range clocks {
		if e.Kind != store.Range || len(e.Lo) != 8 || clock != nil && !bytes.Equal(clock, e.Lo) {
			return nil, false, false
		}
		clock = e.Lo
		isWide = isWide || wide(e.Lo, e.Hi)
	}
	return clock, isWide, clock != nil
}

func (d *deriver) equal(h uint64) { d.keys.Equal = append(d.keys.Equal, h) }

func (d *deriver) order(field uint64, value []byte) {
	from := len(d.room)
	d.room = append(d.room, 0, 0, 0, 0, 0, 0, 0, 0)
	order := d.room[from : from+8 : from+8]
	copy(order, value)
	d.keys.Ordered = append(d.keys.Ordered, Point{field, order})
}

func (d *deriver) prefix(field uint64, text string) {
	d.keys.Prefix = append(d.keys.Prefix, Point{field, []byte(truncate(text))})
}

// sorted is the keys in order and without twins, so that two sets of keys can
// be compared by one merge.
func (d *deriver) sorted() Keys {
	slices.Sort(d.keys.Equal)
	slices.Sort(d.keys.Timed)
	d.keys.Equal = slices.Compact(d.keys.Equal)
	d.keys.Timed = slices.Compact(d.keys.Timed)
	d.keys.Ordered = points(d.keys.Ordered)
	d.keys.Prefix = points(d.keys.Prefix)
	return d.keys
}

func points(p []Point) []Point {
	slices.SortFunc(p, comparePoints)
	return slices.CompactFunc(p, func(a, b Point) bool { return comparePoints(a, b) == 0 })
}

func comparePoints(a, b Point) int {
	switch {
	case a.Field < b.Field:
		return -1
	case a.Field > b.Field:
		return 1
	}
	return bytes.Compare(a.Order, b.Order)
}

// tupleNames is the names of the parts that have one; ok when some do.
func tupleNames(parts []store.Value) (names []string, ok bool) {
	for i := range parts {
		switch parts[i].Kind {
		case store.Code, store.Link, store.URI:
			names = append(names, parts[i].Name)
		default: // has no name
		}
	}
	return names, len(names) > 0
}

// eight is the first eight bytes of a low value, filled with zeros; nil is 00….
func eight(value []byte) []byte {
	out := make([]byte, 8)
	copy(out, value)
	return out
}

// topEight is eight of a high value; nil is ff….
func topEight(value []byte) []byte {
	if value == nil {
		return bytes.Repeat([]byte{0xff}, 8)
	}
	return eight(value)
}

// wide says whether a range needs a High key.
func wide(lo, hi []byte) bool {
	l, h := binary.BigEndian.Uint64(eight(lo)), binary.BigEndian.Uint64(topEight(hi))
	return h > l && h-l > Slack
}

// truncate cuts folded text to PrefixLen bytes, at a rune.
func truncate(text string) string {
	if len(text) <= PrefixLen {
		return text
	}
	n := PrefixLen
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// schemes are what most URIs begin with.
var schemes = [...]string{"http://", "https://", "urn:oid:", "urn:uuid:"}

// withoutScheme leaves the scheme out, so that a truncated key tells more URIs apart.
func withoutScheme(uri string) string {
	for _, scheme := range schemes {
		if rest, ok := strings.CutPrefix(uri, scheme); ok {
			return rest
		}
	}
	return uri
}
