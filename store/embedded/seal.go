package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2"

	"candela/store"
	"candela/store/vault"
)

// Bodies and forward records of an encrypted store are sealed one by one, under
// the data key of their owner. The key under which a record stands, and all of
// the record in front of the body, are what it is sealed for.

// ownerOf is the owner of a resource, in the form of appendOwner; nil for those
// that share a key.
func (s *Store) ownerOf(k store.Key, entries []store.Entry) []byte {
	if slices.Contains(s.opt.Owners, k.Type) {
		return appendOwner(nil, k)
	}
	for i := range entries {
		if owner := (store.Key{Type: entries[i].Space, ID: entries[i].Name}); owns(&entries[i]) && nameable(owner) {
			return appendOwner(nil, owner)
		}
	}
	return nil
}

// dataKeyKey is where the data key with an id lies, markKey says that something
// of rid is sealed with it, ownedKey names an owner's present one.
func dataKeyKey(dst []byte, id vault.ID) []byte { return number8(dst, spaceKey, uint64(id)) }

func markKey(dst []byte, id vault.ID, rid store.RID) []byte {
	return binary.BigEndian.AppendUint64(dataKeyKey(dst, id), uint64(rid))
}

func ownedKey(dst []byte, owner []byte) []byte { return append(append(dst, spaceOwned), owner...) }

func number8Of(key []byte) uint64 { return binary.BigEndian.Uint64(key[1:9]) }

// putKey writes a new data key.
func (s *Store) putKey(b *pebble.Batch, d *vault.DataKey) error {
	wrapped, err := d.Wrap(s.keys.ring)
	if err != nil {
		return err
	}
	id := binary.BigEndian.AppendUint64(nil, uint64(d.ID))
	return fault(errors.Join(b.Set(dataKeyKey(nil, d.ID), wrapped, nil), b.Set(ownedKey(nil, []byte(d.Owner)), id, nil)))
}

// keyOf is the data key of an owner, nil where there is none. It must not be
// made or destroyed meanwhile.
func (s *Store) keyOf(owner []byte) (*vault.DataKey, error) {
	if d := s.keys.cache.Of(string(owner)); d != nil {
		return d, nil
	}
	id, err := s.lookup(s.db, ownedKey(nil, owner))
	if err != nil || id == nil {
		return nil, err
	}
	if len(id) != 8 {
		return nil, fmt.Errorf("%w: name of a data key", store.ErrCorrupt)
	}
	d, err := s.keyNumbered(s.db, vault.ID(binary.BigEndian.Uint64(id)))
	if err == nil {
		s.keys.cache.Add(d, true)
	}
	return d, err
}

// keyNumbered is the data key with an id, as r sees it.
func (s *Store) keyNumbered(r pebble.Reader, id vault.ID) (*vault.DataKey, error) {
	if id == s.keys.shared.ID {
		return s.keys.shared, nil
	}
	if d := s.keys.cache.Get(id); d != nil {
		return d, nil
	}
	data, err := s.lookup(r, dataKeyKey(nil, id))
	if err != nil {
		return nil, err
	}
	if data == nil {
		return nil, fmt.Errorf("%w: data key %x is not there", store.ErrCorrupt, uint64(id))
	}
	d, err := vault.OpenDataKey(s.keys.ring, id, data)
	if err != nil {
		return nil, fault(err)
	}
	s.keys.cache.Add(d, false)
	return d, nil
}

// loadShared reads, or makes, the key of what has no owner.
func (s *Store) loadShared() error {
	if s.keys == nil {
		return nil
	}
	d, err := s.sharedKey()
	s.keys.shared = d
	return err
}

func (s *Store) sharedKey() (*vault.DataKey, error) {
	id, err := s.lookup(s.db, ownedKey(nil, nil))
	if err != nil {
		return nil, err
	}
	if len(id) == 8 {
		id := vault.ID(binary.BigEndian.Uint64(id))
		data, err := s.lookup(s.db, dataKeyKey(nil, id))
		if err != nil {
			return nil, err
		}
		d, err := vault.OpenDataKey(s.keys.ring, id, data)
		return d, fault(err)
	}
	d, err := vault.NewDataKey("")
	if err != nil {
		return nil, err
	}
	b := s.db.NewBatch()
	if err := s.putKey(b, d); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return d, fault(b.Commit(pebble.Sync))
}

// reveal is what a sealed value holds, in dst; a store in the clear has none.
func (s *Store) reveal(r pebble.Reader, dst, key, head, value []byte) ([]byte, error) {
	if s.keys == nil {
		return value, nil
	}
	id, err := vault.SealedBy(value)
	if err != nil {
		return nil, fault(err)
	}
	d, err := s.keyNumbered(r, id)
	if err != nil {
		return nil, err
	}
	plain, err := d.Open(dst, value, slices.Concat(key, head))
	return plain, fault(err)
}

// sealings is what a commit does with keys.
type sealings struct {
	fresh map[string]*vault.DataKey // by owner
	ended []*vault.DataKey          // of owners that are erased
	moved []store.RID               // that had something sealed with one that ends, and stay
}

// sealing finds the key for each task that writes something to be sealed.
func (s *Store) sealing(tasks []task) (sealings, error) {
	var out sealings
	if s.keys == nil {
		return out, nil
	}
	for i := range tasks {
		if tasks[i].op.Action != store.Erase {
			continue
		}
		d, err := s.keyOf(appendOwner(nil, tasks[i].op.Key))
		if err != nil {
			return out, err
		}
		if d != nil {
			out.ended = append(out.ended, d)
		}
	}
	for i := range tasks {
		if t := &tasks[i]; indexed(t.op) && !t.result.Unchanged {
			if err := s.choose(t, &out); err != nil {
				return out, err
			}
		}
	}
	return out, nil
}

// choose sets the key of one task.
func (s *Store) choose(t *task, o *sealings) (err error) {
	if t.owner == nil {
		t.key = s.keys.shared
		return nil
	}
	if t.key = o.fresh[string(t.owner)]; t.key != nil {
		return nil
	}
	if t.key, err = s.keyOf(t.owner); err != nil {
		return err
	}
	if t.key != nil && !slices.Contains(o.ended, t.key) {
		return nil
	}
	if t.key, err = vault.NewDataKey(string(t.owner)); err != nil {
		return err
	}
	if o.fresh == nil {
		o.fresh = map[string]*vault.DataKey{}
	}
	o.fresh[string(t.owner)] = t.key
	return nil
}

// write puts keys that begin into a batch and takes those out that end; what
// stays of what they sealed is sealed with the shared key. It comes first in its
// batch: what tasks write stands over it.
func (o *sealings) write(w *writer, s *Store) error {
	for _, d := range o.ended {
		err := s.each(dataKeyKey(nil, d.ID), func(key, _ []byte) error {
			if len(key) == 17 {
				o.moved = append(o.moved, store.RID(lastEight(key)))
			}
			return w.b.Delete(key, nil)
		})
		for _, rid := range o.moved {
			err = errors.Join(err, w.move(s, d, rid))
		}
		o.moved = o.moved[:0]
		if err = errors.Join(err, fault(w.b.Delete(ownedKey(nil, []byte(d.Owner)), nil))); err != nil {
			return err
		}
		w.erased = append(w.erased, dataKeyKey(nil, d.ID))
	}
	for _, d := range o.fresh {
		if err := s.putKey(w.b, d); err != nil {
			return err
		}
	}
	return nil
}

// move seals with the shared key what a record has sealed with a key that ends.
func (w *writer) move(s *Store, d *vault.DataKey, rid store.RID) error {
	again := func(key, value []byte) error {
		value, err := s.reseal(s.keys.shared, key, value, func(place, value []byte) ([]byte, error) {
			if id, err := vault.SealedBy(value); err != nil || id != d.ID {
				return nil, err
			}
			return d.Open(nil, value, place)
		})
		if err != nil || value == nil {
			return fault(err)
		}
		return fault(w.b.Set(key, value, nil))
	}
	if err := s.each(number8(nil, spaceVersion, uint64(rid)), again); err != nil {
		return err
	}
	return s.each(rowKey(nil, rid), again)
}

// reseal is a record with what open finds in it sealed with d; nil where that
// is nothing.
func (s *Store) reseal(d *vault.DataKey, key, value []byte, open func(place, value []byte) ([]byte, error)) ([]byte, error) {
	head, rest := value[:0:0], value
	if key[0] == spaceVersion {
		var err error
		if head, rest, err = splitVersion(value); err != nil {
			return nil, err
		}
		if len(rest) == 0 { // a delete
			return value, nil
		}
	}
	place := slices.Concat(key, head)
	plain, err := open(place, rest)
	if err != nil || plain == nil {
		return nil, err
	}
	return d.Seal(slices.Clone(head), plain, place), nil
}

// settled keeps what a commit changed of the keys, once it is in the database
// and before others may ask.
func (o *sealings) settled(s *Store) {
	for _, d := range o.ended {
		s.keys.cache.Forget(d.ID)
	}
	for _, d := range o.fresh {
		s.keys.cache.Add(d, true)
	}
}

// lock takes the locks of tasks. With an owner that is erased they include those
// of what was sealed with its key: it is sealed anew.
func (s *Store) lock(tasks []task) (held []uint16, err error) {
	held = s.claims(tasks)
	for {
		s.locks.lock(held)
		more, err := s.dependants(tasks)
		missing := slices.DeleteFunc(more, func(h uint16) bool { _, in := slices.BinarySearch(held, h); return in })
		if err == nil && len(missing) == 0 {
			return held, nil
		}
		s.locks.unlock(held)
		if err != nil {
			return nil, err
		}
		held = append(held, missing...)
		slices.Sort(held)
		held = slices.Compact(held)
	}
}

// dependants is the locks of what is sealed with keys that tasks end.
func (s *Store) dependants(tasks []task) (held []uint16, err error) {
	for i := range tasks {
		if s.keys == nil || tasks[i].op.Action != store.Erase {
			continue
		}
		d, err := s.keyOf(appendOwner(nil, tasks[i].op.Key))
		if err != nil {
			return nil, err
		}
		if d == nil {
			continue
		}
		err = s.each(dataKeyKey(nil, d.ID), func(key, _ []byte) error {
			if len(key) != 17 {
				return nil
			}
			k, err := s.keyOfRecord(store.RID(lastEight(key)))
			held = append(held, stripeOf(k))
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return held, nil
}

func stripeOf(k store.Key) uint16 {
	var space [128]byte
	return uint16(xxhash.Sum64(currentKey(space[:0], k)))
}

// keyOfRecord is the key that a record has.
func (s *Store) keyOfRecord(rid store.RID) (k store.Key, err error) {
	err = s.each(number8(nil, spaceVersion, uint64(rid)), func(_, value []byte) error {
		f := fields{data: value}
		f.byte()
		f.byte()
		f.uvarint()
		f.time()
		k = store.Key{Type: f.text(), ID: f.text()}
		return f.err("version")
	})
	return k, err
}

// rewrap wraps data keys with the newest key of the ring.
func (s *Store) rewrap(ctx context.Context) error {
	newest := s.keys.ring.Newest(vault.Data).Number
	var todo []vault.ID
	it, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: []byte{spaceKey}, UpperBound: []byte{spaceKey + 1}})
	if err != nil {
		return fault(err)
	}
	for ok := it.First(); ok && err == nil; {
		var by uint32
		id := vault.ID(number8Of(it.Key()))
		if by, err = vault.WrappedBy(it.Value()); err == nil && by != newest {
			todo = append(todo, id)
		}
		ok = it.SeekGE(after(dataKeyKey(nil, id)))
	}
	if err = errors.Join(fault(err), fault(it.Error()), fault(it.Close())); err != nil {
		return err
	}
	for _, id := range todo {
		if err := errors.Join(s.rewrapOne(id), ctx.Err()); err != nil {
			return err
		}
	}
	if len(todo) == 0 {
		return nil
	}
	return fault(s.db.LogData(nil, pebble.Sync)) // and all before it
}

func (s *Store) rewrapOne(id vault.ID) error {
	data, err := s.lookup(s.db, dataKeyKey(nil, id))
	if err != nil || data == nil {
		return err
	}
	d, err := vault.OpenDataKey(s.keys.ring, id, data)
	if err != nil {
		return fault(err)
	}
	held := []uint16{uint16(xxhash.Sum64(append([]byte{spaceCurrent}, d.Owner...)))}
	if k, err := readOwner([]byte(d.Owner)); err == nil {
		held[0] = stripeOf(k)
	}
	s.locks.lock(held)
	defer s.locks.unlock(held)
	if data, err = s.lookup(s.db, dataKeyKey(nil, id)); err != nil || data == nil { // destroyed meanwhile
		return err
	}
	wrapped, err := d.Wrap(s.keys.ring)
	if err != nil {
		return err
	}
	return fault(s.db.Set(dataKeyKey(nil, id), wrapped, pebble.NoSync))
}
