package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2"

	"candela/store"
)

// kvItem is a value with its end; expiry 0 is none, else milliseconds since 1970.
type kvItem struct {
	expiry uint64
	value  []byte
}

func (s *Store) expiry(ttl time.Duration) uint64 {
	if ttl <= 0 {
		return 0
	}
	return uint64(s.opt.Now().Add(ttl).UnixMilli())
}

func (i *kvItem) alive(now time.Time) bool {
	return i.expiry == 0 || i.expiry > uint64(now.UnixMilli())
}

// kvAt reads what stands under key; ok is false when nothing does that lives.
func (s *Store) kvAt(key []byte) (item kvItem, ok bool, err error) {
	data, err := s.lookup(s.db, key)
	if err != nil || data == nil {
		return kvItem{}, false, err
	}
	if len(data) < 8 {
		return kvItem{}, false, fmt.Errorf("%w: value of a key", store.ErrCorrupt)
	}
	item = kvItem{binary.BigEndian.Uint64(data), data[8:]}
	return item, item.alive(s.opt.Now()), nil
}

func expiryKey(expiry uint64, key []byte) []byte {
	return append(number8(nil, spaceExpiry, expiry), key...)
}

// KVGet is the value under key.
func (s *Store) KVGet(ctx context.Context, bucket, key string) ([]byte, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	item, ok, err := s.kvAt(kvKey(nil, bucket, key))
	if err == nil && !ok {
		err = fmt.Errorf("%s/%s: %w", bucket, key, store.ErrNotFound)
	}
	return item.value, err
}

// KVPut sets the value under key.
func (s *Store) KVPut(ctx context.Context, bucket, key string, value []byte, ttl time.Duration) error {
	return s.kvWrite(ctx, bucket, key, func(kvItem, bool) (*kvItem, error) {
		return &kvItem{s.expiry(ttl), value}, nil
	})
}

// KVSwap replaces old by new.
func (s *Store) KVSwap(ctx context.Context, bucket, key string, old, new []byte, ttl time.Duration) error {
	return s.kvWrite(ctx, bucket, key, func(have kvItem, ok bool) (*kvItem, error) {
		if ok != (old != nil) || ok && !bytes.Equal(have.value, old) {
			return nil, fmt.Errorf("%s/%s: %w", bucket, key, store.ErrConflict)
		}
		return &kvItem{s.expiry(ttl), new}, nil
	})
}

// KVTake reads and deletes.
func (s *Store) KVTake(ctx context.Context, bucket, key string) (value []byte, err error) {
	err = s.kvWrite(ctx, bucket, key, func(have kvItem, ok bool) (*kvItem, error) {
		if !ok {
			return nil, fmt.Errorf("%s/%s: %w", bucket, key, store.ErrNotFound)
		}
		value = have.value
		return nil, nil
	})
	if err != nil {
		return nil, err
	}
	return value, nil
}

// KVDelete removes what stands under key, if anything does.
func (s *Store) KVDelete(ctx context.Context, bucket, key string) error {
	return s.kvWrite(ctx, bucket, key, func(kvItem, bool) (*kvItem, error) { return nil, nil })
}

// kvWrite replaces the item under key by what next makes of it (nil: nothing),
// under the key's lock, and waits for the disk.
func (s *Store) kvWrite(ctx context.Context, bucket, key string, next func(have kvItem, ok bool) (*kvItem, error)) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if len(bucket) > maxName {
		return fmt.Errorf("%w: bucket name of more than %d bytes", store.ErrQuery, maxName)
	}
	if err := s.room(len(key)); err != nil {
		return err
	}
	full := kvKey(nil, bucket, key)
	held := []uint16{uint16(xxhash.Sum64(full))}
	s.locks.lock(held)
	b, err := s.kvStage(full, next)
	s.locks.unlock(held)
	if err != nil {
		return err
	}
	if !s.opt.Relaxed {
		if err := b.SyncWait(); err != nil {
			return s.health.fail(err)
		}
	}
	return fault(b.Close())
}

func (s *Store) kvStage(full []byte, next func(have kvItem, ok bool) (*kvItem, error)) (*pebble.Batch, error) {
	have, ok, err := s.kvAt(full)
	if err != nil {
		return nil, err
	}
	item, err := next(have, ok)
	if err != nil {
		return nil, err
	}
	b := s.db.NewBatch()
	if have.expiry != 0 {
		err = b.Delete(expiryKey(have.expiry, full), nil)
	}
	switch {
	case item == nil:
		err = errors.Join(err, b.Delete(full, nil))
	default:
		err = errors.Join(err, b.Set(full, append(binary.BigEndian.AppendUint64(nil, item.expiry), item.value...), nil))
		if item.expiry != 0 {
			err = errors.Join(err, b.Set(expiryKey(item.expiry, full), nil, nil))
		}
	}
	if err != nil {
		return nil, fault(err)
	}
	return b, s.apply(b)
}

// KVList yields the keys of bucket that start with prefix, in order.
func (s *Store) KVList(ctx context.Context, bucket, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		lower := kvKey(nil, bucket, prefix)
		end := after(lower)
		skip := len(kvKey(nil, bucket, ""))
		for lower != nil {
			keys, next, err := s.kvChunk(ctx, lower, end)
			if err != nil {
				yield("", err)
				return
			}
			for _, k := range keys {
				if !yield(string(k[skip:]), nil) {
					return
				}
			}
			lower = next
		}
	}
}

// kvChunk reads some keys that live, and where to go on (nil: at the end).
func (s *Store) kvChunk(ctx context.Context, lower, end []byte) (keys [][]byte, next []byte, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, nil, err
	}
	defer s.leave()
	it, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: lower, UpperBound: end})
	if err != nil {
		return nil, nil, fault(err)
	}
	now := s.opt.Now()
	for ok := it.First(); ok; ok = it.Next() {
		if len(keys) == chunk {
			next = bytes.Clone(it.Key())
			break
		}
		if v := it.Value(); len(v) >= 8 && (&kvItem{expiry: binary.BigEndian.Uint64(v)}).alive(now) {
			keys = append(keys, bytes.Clone(it.Key()))
		}
	}
	return keys, next, errors.Join(fault(it.Error()), fault(it.Close()))
}

// every is how often expired values are removed from disk.
const every = time.Minute

// sweep removes expired values until the store closes.
func (s *Store) sweep() {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
			if err := s.sweepOnce(context.Background()); err != nil {
				s.opt.Logger.Warn("expired values stay for now", slog.Any("cause", err))
			}
			if err := s.renew(context.Background()); err != nil {
				s.opt.Logger.Warn("keys stay as they are for now", slog.Any("cause", err))
			}
		}
	}
}

func (s *Store) sweepOnce(ctx context.Context) error {
	if err := s.enter(ctx); err != nil {
		return nil // closing
	}
	defer s.leave()
	now := uint64(s.opt.Now().UnixMilli())
	it, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: []byte{spaceExpiry}, UpperBound: number8(nil, spaceExpiry, now)})
	if err != nil {
		return fault(err)
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		err = s.expire(bytes.Clone(it.Key()))
	}
	return errors.Join(err, fault(it.Error()), fault(it.Close()))
}

// expire removes one expired value, unless it was replaced meanwhile.
func (s *Store) expire(key []byte) error {
	full := key[splitAt:]
	held := []uint16{uint16(xxhash.Sum64(full))}
	s.locks.lock(held)
	defer s.locks.unlock(held)
	have, alive, err := s.kvAt(full)
	if err != nil {
		return err
	}
	if err := s.db.Delete(key, pebble.NoSync); err != nil {
		return fault(err)
	}
	if alive || have.expiry != binary.BigEndian.Uint64(key[1:splitAt]) {
		return nil
	}
	return fault(s.db.Delete(full, pebble.NoSync))
}
