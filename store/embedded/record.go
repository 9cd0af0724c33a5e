package embedded

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"candela/store"
	"candela/store/body"
	"candela/store/vault"
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
	spaceOwned   = 'l' // owner -> id of the data key that its values are sealed with; none: the shared one
	spaceTimed   = 'm' // hash clock rid -> nothing
	spaceOrdered = 'o' // field order rid -> nothing
	spacePrefix  = 'p' // field text 0 rid -> nothing
	spaceSeq     = 's' // seq -> change: every version in commit order
	spaceType    = 't' // len(type) type seq -> change: the same by type
	spaceVersion = 'v' // rid ^number -> version: head and packed body; number 0 tells that rid was erased
	spaceOwner   = 'w' // rid owner -> nothing: the keys that rid has in spaceFormer
	spaceExpiry  = 'x' // expiry, KV key -> nothing
	spaceKey     = 'y' // id -> data key, wrapped; id rid -> nothing: something of rid is sealed with it
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

// current is what stands under a key: which version is the present one.
type current struct {
	rid    store.RID
	number int64
	seq    store.Seq
	time   time.Time
	action store.Action
	hash   uint64 // of the raw bytes
}

// absent says that the key was never written.
func (c *current) absent() bool { return c.rid == 0 }

func (c *current) live() bool { return c.rid != 0 && c.action != store.Delete }

func appendCurrent(dst []byte, c *current) []byte {
	dst = append(dst, byte(c.action))
	dst = binary.AppendUvarint(dst, uint64(c.rid))
	dst = binary.AppendUvarint(dst, uint64(c.number))
	dst = binary.AppendUvarint(dst, uint64(c.seq))
	dst = binary.AppendVarint(dst, c.time.UnixMilli())
	return binary.BigEndian.AppendUint64(dst, c.hash)
}

// fields reads varints from a record; a fault is kept until asked for.
type fields struct {
	data []byte
	bad  bool
}

func (f *fields) byte() byte {
	if len(f.data) == 0 {
		f.bad = true
		return 0
	}
	b := f.data[0]
	f.data = f.data[1:]
	return b
}

func (f *fields) uvarint() uint64 {
	v, n := binary.Uvarint(f.data)
	if n <= 0 {
		f.bad, n = true, 0
	}
	f.data = f.data[n:]
	return v
}

func (f *fields) time() time.Time {
	v, n := binary.Varint(f.data)
	if n <= 0 {
		f.bad, n = true, 0
	}
	f.data = f.data[n:]
	return time.UnixMilli(v).UTC()
}

func (f *fields) text() string {
	n := f.uvarint()
	if n > uint64(len(f.data)) {
		f.bad, n = true, 0
	}
	s := string(f.data[:n])
	f.data = f.data[n:]
	return s
}

// name reads what appendName wrote.
func (f *fields) name() string {
	n := int(f.byte())
	if n > len(f.data) {
		f.bad, n = true, 0
	}
	s := string(f.data[:n])
	f.data = f.data[n:]
	return s
}

func (f *fields) err(what string) error {
	if f.bad {
		return fmt.Errorf("%w: %s cannot be read", store.ErrCorrupt, what)
	}
	return nil
}

func readCurrent(data []byte) (current, error) {
	f := fields{data: data}
	c := current{action: store.Action(f.byte()), rid: store.RID(f.uvarint()), number: int64(f.uvarint()), seq: store.Seq(f.uvarint())}
	c.time = f.time()
	if f.bad || len(f.data) != 8 || c.rid == 0 {
		f.bad = true
		return current{}, f.err("entry of a key")
	}
	c.hash = binary.BigEndian.Uint64(f.data)
	return c, nil
}

// versionFormat is the first byte of a version record.
const versionFormat = 1

// appendVersion packs a version: its head, then the packed body.
func appendVersion(dst []byte, v *store.Version, packed []byte) []byte {
	dst = append(dst, versionFormat, byte(v.Action))
	dst = binary.AppendUvarint(dst, uint64(v.Seq))
	dst = binary.AppendVarint(dst, v.Time.UnixMilli())
	dst = append(binary.AppendUvarint(dst, uint64(len(v.Key.Type))), v.Key.Type...)
	dst = append(binary.AppendUvarint(dst, uint64(len(v.Key.ID))), v.Key.ID...)
	return append(dst, packed...)
}

// versionHead is an upper bound for what appendVersion puts before the body.
const versionHead = 2 + 2*binary.MaxVarintLen64 + 2*(2+maxName)

// readPlace reads of a version record only where the version stands in the feed.
func readPlace(key, data []byte) (place, error) {
	f := fields{data: data}
	f.bad = f.byte() != versionFormat || len(key) != 17
	f.byte()
	p := place{seq: store.Seq(f.uvarint())}
	if err := f.err("version"); err != nil {
		return place{}, err
	}
	p.number = int64(^lastEight(key))
	if _, rest, err := splitVersion(data); err == nil && len(rest) > 0 {
		p.key, _ = vault.SealedBy(rest) // 0 of a store in the clear
	}
	return p, nil
}

// splitVersion is the head of a version record and what is behind it.
func splitVersion(data []byte) (head, packed []byte, err error) {
	f := fields{data: data}
	f.bad = f.byte() != versionFormat
	f.byte()
	f.uvarint()
	f.time()
	f.text()
	f.text()
	return data[:len(data)-len(f.data)], f.data, f.err("version")
}

// readVersion reads the record under a version key.
func (s *Store) readVersion(r pebble.Reader, key, data []byte) (store.Version, error) {
	f := fields{data: data}
	f.bad = f.byte() != versionFormat || len(key) != 17
	v := store.Version{Action: store.Action(f.byte()), Seq: store.Seq(f.uvarint())}
	v.Time = f.time()
	v.Key.Type, v.Key.ID = f.text(), f.text()
	if err := f.err("version"); err != nil {
		return store.Version{}, err
	}
	v.RID = store.RID(binary.BigEndian.Uint64(key[1:9]))
	v.Number = int64(^lastEight(key))
	if v.Action == store.Delete || v.Action == store.Erase {
		return v, nil
	}
	packed, err := s.reveal(r, nil, key, data[:len(data)-len(f.data)], f.data)
	if err == nil {
		v.Raw, err = body.Expand(nil, packed)
	}
	if err != nil {
		return store.Version{}, fmt.Errorf("%w: %s version %d: %w", store.ErrCorrupt, v.Key, v.Number, err)
	}
	return v, nil
}

// place is where a version stands: among those of its key, and in the feed.
type place struct {
	number int64
	seq    store.Seq
	key    vault.ID // that it is sealed with
}

// change is one step of the feed: which version, and when. latest is the
// newest time of all versions up to this one, so that a walk back in time
// knows where to stop although clocks may step back. number 0 is an erase.
type change struct {
	rid    store.RID
	number int64
	time   time.Time
	latest time.Time
}

func appendChange(dst []byte, c *change) []byte {
	dst = binary.AppendUvarint(dst, uint64(c.rid))
	dst = binary.AppendUvarint(dst, uint64(c.number))
	dst = binary.AppendVarint(dst, c.time.UnixMilli())
	return binary.AppendVarint(dst, c.latest.UnixMilli())
}

func readChange(data []byte) (change, error) {
	f := fields{data: data}
	c := change{rid: store.RID(f.uvarint()), number: int64(f.uvarint())}
	c.time, c.latest = f.time(), f.time()
	return c, f.err("entry of the feed")
}
