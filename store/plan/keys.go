package plan

import (
	"time"

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
	Low   byte = 'l' // Ordered: Lo of ranges, and latitude of places
	High  byte = 'h' // Ordered: Hi of ranges that are wider than Slack
	Words byte = 'w' // Prefix: folded texts from each word start on
	Paths byte = 'u' // Prefix: URIs without their scheme
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
	d := xxhash.New()
	var n [4]byte
	for _, p := range parts {
		n[0], n[1], n[2], n[3] = byte(len(p)), byte(len(p)>>8), byte(len(p)>>16), byte(len(p)>>24)
		_, _ = d.Write(n[:]) // a hash never fails to write
		_, _ = d.WriteString(p)
	}
	return d.Sum64()
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
