package embedded

import (
	"encoding/binary"
	"math"

	"github.com/cockroachdb/pebble/v2"

	"candela/store"
)

// The keyspaces. Numbers are big-endian so that keys stand in their order;
// version numbers are inverted so that the newest stands first.
const (
	spaceSetting = 'a' // name -> value
	spaceSet     = 'b' // hash -> a posting list as a bitmap, only from one Close to the next Open
	spaceCurrent = 'c' // len(type) type id -> current: where a key's resource is and what state it is in
	spaceEqual   = 'e' // hash rid -> nothing
	spaceRow     = 'f' // rid -> forward record, live resources only
	spaceFormer  = 'h' // owner rid -> key: what had this owner once and then no more
	spaceKV      = 'k' // len(bucket) bucket key -> expiry value
	spaceTimed   = 'm' // hash clock rid -> nothing
	spaceOrdered = 'o' // field order rid -> nothing
	spacePrefix  = 'p' // field text 0 rid -> nothing
	spaceSeq     = 's' // seq -> change: every version in commit order
	spaceType    = 't' // len(type) type seq -> change: the same by type
	spaceVersion = 'v' // rid ^number -> version: head and packed body; number 0 tells that rid was erased
	spaceOwner   = 'w' // rid owner -> nothing: the keys that rid has in spaceFormer
	spaceExpiry  = 'x' // expiry, KV key -> nothing
)

// maxName is the longest type, id or bucket name.
const maxName = 255

// splitAt is the length of the part of posting and version keys that bloom
// filters are made of: a list (hash or field) or a rid.
const splitAt = 9

// split tells Pebble which part of a key a bloom filter answers for.
func split(key []byte) int {
	if len(key) <= splitAt {
		return len(key)
	}
	switch key[0] {
	case spaceEqual, spaceTimed, spaceOrdered, spacePrefix, spaceVersion:
		return splitAt
	}
	return len(key)
}

// newComparer orders keys as bytes. Its name stands in the database: another
// split needs another name.
func newComparer() *pebble.Comparer {
	c := *pebble.DefaultComparer
	c.Name = "candela.1"
	c.Split = split
	c.ImmediateSuccessor = immediateSuccessor
	return &c
}

func immediateSuccessor(dst, prefix []byte) []byte {
	n := len(dst)
	dst = append(append(dst, prefix...), 0)
	if split(dst[n:]) == len(dst)-n {
		return dst
	}
	return next(dst[:len(dst)-1], n)
}

// next is the first key behind all that start with key[from:], in place.
func next(key []byte, from int) []byte {
	for i := len(key) - 1; i >= from; i-- {
		if key[i] != math.MaxUint8 {
			key[i]++
			return key[:i+1]
		}
	}
	return append(key, math.MaxUint8)
}

// after is the first key behind all that start with prefix.
func after(prefix []byte) []byte { return next(append([]byte(nil), prefix...), 0) }

func appendName(dst []byte, name string) []byte {
	return append(append(dst, byte(len(name))), name...)
}

func currentKey(dst []byte, k store.Key) []byte {
	return append(appendName(append(dst, spaceCurrent), k.Type), k.ID...)
}

func number8(dst []byte, space byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, space), n)
}

func rowKey(dst []byte, rid store.RID) []byte { return number8(dst, spaceRow, uint64(rid)) }

func seqKey(dst []byte, seq store.Seq) []byte { return number8(dst, spaceSeq, uint64(seq)) }

func typeKey(dst []byte, typ string) []byte { return appendName(append(dst, spaceType), typ) }

func versionKey(dst []byte, rid store.RID, number int64) []byte {
	return binary.BigEndian.AppendUint64(number8(dst, spaceVersion, uint64(rid)), ^uint64(number))
}

func kvKey(dst []byte, bucket, key string) []byte {
	return append(appendName(append(dst, spaceKV), bucket), key...)
}

// appendOwner is an owner as a part of keys: none begins like another.
func appendOwner(dst []byte, k store.Key) []byte { return appendName(appendName(dst, k.Type), k.ID) }

// readOwner is the key that appendOwner wrote.
func readOwner(data []byte) (store.Key, error) {
	f := fields{data: data}
	k := store.Key{Type: f.name(), ID: f.name()}
	return k, f.err("key of a former")
}

func formerKey(dst []byte, owner []byte, rid store.RID) []byte {
	return binary.BigEndian.AppendUint64(append(append(dst, spaceFormer), owner...), uint64(rid))
}

func ownerKey(dst []byte, rid store.RID, owner []byte) []byte {
	return append(number8(dst, spaceOwner, uint64(rid)), owner...)
}

// lastEight reads the number that ends a key.
func lastEight(key []byte) uint64 { return binary.BigEndian.Uint64(key[len(key)-8:]) }
