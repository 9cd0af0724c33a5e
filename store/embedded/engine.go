package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"candela/store"
	"candela/store/plan"
)

// engine is what the planner sees of the store.
type engine struct{ s *Store }

// Snapshot opens a view.
func (e engine) Snapshot(ctx context.Context) (plan.Snapshot, error) {
	if err := e.s.enter(ctx); err != nil {
		return nil, err
	}
	// Top comes first: what was acknowledged before this call is not above it.
	top := e.s.feed.top()
	return &snapshot{s: e.s, db: e.s.db.NewSnapshot(), top: top}, nil
}

type snapshot struct {
	s   *Store
	db  *pebble.Snapshot
	top store.RID
}

func (v *snapshot) Top() store.RID { return v.top }

func (v *snapshot) Close() error {
	defer v.s.leave()
	return fault(v.db.Close())
}

// Lookup gives the RID of each key, 0 for what is absent or deleted.
func (v *snapshot) Lookup(ctx context.Context, keys []store.Key) ([]store.RID, error) {
	rids := make([]store.RID, len(keys))
	for i, k := range keys {
		if !nameable(k) {
			continue
		}
		c, err := v.s.current(v.db, k)
		if err != nil {
			return nil, err
		}
		if c.live() {
			rids[i] = c.rid
		}
		if err := ctx.Err(); err != nil {
			return nil, fault(err)
		}
	}
	return rids, nil
}

// Types names the types that have, or once had, resources: those of the feed.
func (v *snapshot) Types(ctx context.Context) (types []string, err error) {
	it, err := v.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: []byte{spaceType}, UpperBound: []byte{spaceType + 1}})
	if err != nil {
		return nil, fault(err)
	}
	for ok := it.First(); ok; {
		key := it.Key()
		typ := string(key[2 : 2+int(key[1])])
		types = append(types, typ)
		ok = it.SeekGE(after(typeKey(nil, typ)))
	}
	return types, errors.Join(fault(it.Error()), fault(it.Close()))
}

// spaceOf is the keyspace of an index.
func spaceOf(i plan.Index) (byte, error) {
	switch i {
	case plan.Equal:
		return spaceEqual, nil
	case plan.Ordered:
		return spaceOrdered, nil
	case plan.Prefix:
		return spacePrefix, nil
	case plan.Timed:
		return spaceTimed, nil
	}
	return 0, fmt.Errorf("%w: index %d", store.ErrQuery, i)
}

// bounds is the range of keys that a scan walks.
func bounds(space byte, s *plan.Scan) (lower, upper []byte) {
	list := number8(make([]byte, 0, 48), space, s.Hash)
	lower = append(slices.Clip(list), s.From...)
	upper = after(append(slices.Clip(list), s.To...))
	if s.After.RID == 0 && s.After.Order == nil {
		return lower, upper
	}
	hit := appendPosting(nil, space, s.Hash, s.After.Order, s.After.RID)
	if s.Desc {
		if bytes.Compare(hit, upper) < 0 {
			upper = hit
		}
		return lower, upper
	}
	if hit = append(hit, 0); bytes.Compare(hit, lower) > 0 {
		lower = hit
	}
	return lower, upper
}

// walker is an open scan.
type walker struct {
	it    *pebble.Iterator
	space byte
	desc  bool
	lower []byte
	upper []byte
}

func (v *snapshot) walk(ctx context.Context, s *plan.Scan) (*walker, error) {
	space, err := spaceOf(s.Index)
	if err != nil {
		return nil, err
	}
	lower, upper := bounds(space, s)
	if bytes.Compare(lower, upper) >= 0 {
		return nil, nil // nothing can stand there
	}
	it, err := v.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, fault(err)
	}
	return &walker{it: it, space: space, desc: s.Desc, lower: lower, upper: upper}, nil
}

// first finds the first key. Going up it asks the bloom filters for the list.
func (w *walker) first() bool {
	if w.desc {
		return w.it.Last()
	}
	return w.it.SeekPrefixGE(w.lower)
}

func (w *walker) close() error { return errors.Join(fault(w.it.Error()), fault(w.it.Close())) }

// hit is the present hit.
func (w *walker) hit() plan.Hit {
	key := w.it.Key()
	h := plan.Hit{RID: store.RID(lastEight(key))}
	if w.space != spaceEqual {
		h.Order = orderOf(w.space, key)
	}
	return h
}

// glance is how many hits are read between two looks at the context.
const glance = 1024

// Scan walks one index in its order.
func (v *snapshot) Scan(ctx context.Context, s plan.Scan) iter.Seq2[plan.Hit, error] {
	return func(yield func(plan.Hit, error) bool) {
		w, err := v.walk(ctx, &s)
		if err != nil {
			yield(plan.Hit{}, err)
			return
		}
		if w == nil {
			return
		}
		n := 0
		for ok := w.first(); ok; ok = step(w.it, w.desc) {
			if !yield(w.hit(), nil) {
				_ = w.it.Close() // the reader has all it wants
				return
			}
			if n++; n%glance == 0 && ctx.Err() != nil {
				break
			}
		}
		if err := errors.Join(w.close(), ctx.Err()); err != nil {
			yield(plan.Hit{}, fault(err))
		}
	}
}

// Rows gives forward records; entries stay packed until asked for.
func (v *snapshot) Rows(ctx context.Context, rids []store.RID) ([]plan.Row, error) {
	rows := make([]plan.Row, 0, len(rids))
	var arena []byte
	err := v.each(ctx, spaceRow, rids, func(_, value []byte) error {
		if len(arena)+len(value) > cap(arena) {
			arena = make([]byte, 0, max(32<<10, len(value)))
		}
		from := len(arena)
		arena = append(arena, value...)
		row, err := plan.OpenRow(arena[from:len(arena):len(arena)])
		rows = append(rows, row)
		return err
	})
	return rows, err
}

// Bodies gives the current versions.
func (v *snapshot) Bodies(ctx context.Context, rids []store.RID) ([]store.Version, error) {
	versions := make([]store.Version, 0, len(rids))
	err := v.each(ctx, spaceVersion, rids, func(key, value []byte) error {
		version, err := readVersion(key, value)
		if err == nil && version.Action != store.Delete {
			versions = append(versions, version)
		}
		return err
	})
	return versions, err
}

// each finds, for each rid, the first record in space that starts with it.
func (v *snapshot) each(ctx context.Context, space byte, rids []store.RID, use func(key, value []byte) error) error {
	it, err := v.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: []byte{space}, UpperBound: []byte{space + 1}})
	if err != nil {
		return fault(err)
	}
	var key [splitAt]byte
	for i, rid := range rids {
		if !it.SeekPrefixGE(number8(key[:0], space, uint64(rid))) {
			if it.Error() != nil {
				break
			}
			continue
		}
		value, err := it.ValueAndErr()
		if err == nil {
			err = use(it.Key(), value)
		}
		if i%glance == glance-1 {
			err = errors.Join(err, ctx.Err())
		}
		if err != nil {
			return errors.Join(fault(err), it.Close())
		}
	}
	return errors.Join(fault(it.Error()), fault(it.Close()))
}
