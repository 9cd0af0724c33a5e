package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"candela/store"
)

// lookup is a copy of the value under key, nil when there is none.
func (s *Store) lookup(r pebble.Reader, key []byte) ([]byte, error) {
	value, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fault(err)
	}
	out := append(make([]byte, 0, len(value)), value...)
	return out, fault(closer.Close())
}

// current reads what stands under k; the zero value when nothing does.
func (s *Store) current(r pebble.Reader, k store.Key) (current, error) {
	var space [64]byte
	value, closer, err := r.Get(currentKey(space[:0], k))
	if errors.Is(err, pebble.ErrNotFound) {
		return current{}, nil
	}
	if err != nil {
		return current{}, fault(err)
	}
	c, err := readCurrent(value)
	return c, errors.Join(err, fault(closer.Close()))
}

func (s *Store) version(r pebble.Reader, rid store.RID, number int64) (store.Version, error) {
	var space [17]byte
	key := versionKey(space[:0], rid, number)
	value, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return store.Version{}, store.ErrNotFound
	}
	if err != nil {
		return store.Version{}, fault(err)
	}
	v, err := readVersion(key, value)
	return v, errors.Join(err, fault(closer.Close()))
}

// Get is the current version of k.
func (s *Store) Get(ctx context.Context, k store.Key) (store.Version, error) {
	return s.get(ctx, k, func(c current) int64 { return c.number })
}

// GetVersion is version number of k.
func (s *Store) GetVersion(ctx context.Context, k store.Key, number int64) (store.Version, error) {
	return s.get(ctx, k, func(current) int64 { return number })
}

func (s *Store) get(ctx context.Context, k store.Key, pick func(current) int64) (store.Version, error) {
	if err := s.enter(ctx); err != nil {
		return store.Version{}, err
	}
	defer s.leave()
	if !nameable(k) {
		return store.Version{}, fmt.Errorf("%s: %w", k, store.ErrNotFound)
	}
	c, err := s.current(s.db, k)
	if err != nil {
		return store.Version{}, err
	}
	if c.absent() {
		return store.Version{}, fmt.Errorf("%s: %w", k, store.ErrNotFound)
	}
	number := pick(c)
	v, err := s.version(s.db, c.rid, number)
	switch {
	case errors.Is(err, store.ErrNotFound) && number > 0 && number <= c.number:
		return v, fmt.Errorf("%w: %s has no version %d", store.ErrCorrupt, k, number)
	case err != nil:
		return v, fmt.Errorf("%s version %d: %w", k, number, err)
	case v.Key != k:
		return store.Version{}, fmt.Errorf("%w: %s stands where %s should", store.ErrCorrupt, v.Key, k)
	case v.Action == store.Delete:
		return v, fmt.Errorf("%s: %w", k, store.ErrGone)
	}
	return v, nil
}

// nameable says whether k can stand in the store.
func nameable(k store.Key) bool {
	return k.Type != "" && k.ID != "" && len(k.Type) <= maxName && len(k.ID) <= maxName
}

// Find answers a query.
func (s *Store) Find(ctx context.Context, q store.Query) (store.Page, error) {
	if err := s.enter(ctx); err != nil {
		return store.Page{}, err
	}
	defer s.leave()
	return s.planner.Find(ctx, q)
}

// sameBody says whether the present version of c has exactly these bytes.
func (s *Store) sameBody(c *current, raw []byte, hash uint64) (store.Version, bool, error) {
	if !c.live() || c.hash != hash {
		return store.Version{}, false, nil
	}
	v, err := s.version(s.db, c.rid, c.number)
	return v, err == nil && bytes.Equal(v.Raw, raw), err
}
