package embedded

import (
	"encoding/binary"
	"fmt"
	"time"

	"candela/store"
	"candela/store/body"
)

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
	return p, nil
}

// readVersion reads the record under a version key.
func readVersion(key, data []byte) (store.Version, error) {
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
	var err error
	if v.Raw, err = body.Expand(nil, f.data); err != nil {
		return store.Version{}, fmt.Errorf("%w: %s version %d: %w", store.ErrCorrupt, v.Key, v.Number, err)
	}
	return v, nil
}

// place is where a version stands: among those of its key, and in the feed.
type place struct {
	number int64
	seq    store.Seq
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
