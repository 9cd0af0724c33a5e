package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"candela/store"
	"candela/store/body"
	"candela/store/embedded/sets"
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
	top, mark := e.s.feed.top(), e.s.sets.Mark()
	return &snapshot{s: e.s, db: e.s.db.NewSnapshot(), top: top, mark: mark}, nil
}

// snapshot keeps an iterator of each keyspace for the next use: planners read
// in many small steps, and a step forward in a list costs little on an open one.
type snapshot struct {
	s    *Store
	db   *pebble.Snapshot
	top  store.RID
	mark sets.Mark // of the commits that it may lack
	mu   sync.Mutex
	idle map[byte]*pebble.Iterator
}

func (v *snapshot) Top() store.RID { return v.top }

// Close releases the view. No scan of it may be under way.
func (v *snapshot) Close() error {
	defer v.s.leave()
	var err error
	for _, it := range v.idle {
		err = errors.Join(err, it.Close())
	}
	v.idle = nil
	return fault(errors.Join(err, v.db.Close()))
}

// take gives an iterator of a keyspace; put takes it back.
func (v *snapshot) take(ctx context.Context, space byte, lower, upper []byte) (*pebble.Iterator, error) {
	v.mu.Lock()
	it := v.idle[space]
	delete(v.idle, space)
	v.mu.Unlock()
	if it != nil {
		it.SetBounds(lower, upper)
		return it, nil
	}
	it, err := v.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	return it, fault(err)
}

// put keeps it for the next take, and gives the error that ended its walk.
func (v *snapshot) put(space byte, it *pebble.Iterator) error {
	if err := it.Error(); err != nil {
		return fault(errors.Join(err, it.Close()))
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.idle[space] != nil {
		return fault(it.Close())
	}
	if v.idle == nil {
		v.idle = map[byte]*pebble.Iterator{}
	}
	v.idle[space] = it
	return nil
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
	it, err := v.take(ctx, spaceType, []byte{spaceType}, []byte{spaceType + 1})
	if err != nil {
		return nil, err
	}
	for ok := it.First(); ok; {
		key := it.Key()
		typ := string(key[2 : 2+int(key[1])])
		types = append(types, typ)
		ok = it.SeekGE(after(typeKey(nil, typ)))
	}
	return types, v.put(spaceType, it)
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

// walker is a scan under way: a list between two bounds, and where it starts.
type walker struct {
	v            *snapshot
	it           *pebble.Iterator
	space        byte
	desc         bool
	lower, upper []byte
	start        []byte // the first key that may follow (desc: the first that may not); nil: a bound
}

// walk opens a scan; nil when nothing can stand between its bounds.
func (v *snapshot) walk(ctx context.Context, s *plan.Scan) (*walker, error) {
	space, err := spaceOf(s.Index)
	if err != nil {
		return nil, err
	}
	list := number8(make([]byte, 0, 48), space, s.Hash)
	w := &walker{v: v, space: space, desc: s.Desc, lower: append(slices.Clip(list), s.From...), upper: after(append(list, s.To...))}
	if bytes.Compare(w.lower, w.upper) >= 0 {
		return nil, nil
	}
	if s.After.RID != 0 || s.After.Order != nil {
		w.start = appendPosting(nil, space, s.Hash, s.After.Order, s.After.RID)
		if !s.Desc {
			w.start = append(w.start, 0)
		}
	}
	w.it, err = v.take(ctx, space, w.lower, w.upper)
	return w, err
}

// first finds the first key. Going up it asks the bloom filters for the list.
func (w *walker) first() bool {
	switch {
	case w.desc && w.start == nil:
		return w.it.Last()
	case w.desc:
		return w.it.SeekLT(w.start)
	case bytes.Compare(w.start, w.lower) < 0:
		return w.it.SeekPrefixGE(w.lower)
	case bytes.Compare(w.start, w.upper) >= 0:
		return false
	}
	return w.it.SeekPrefixGE(w.start)
}

func (w *walker) close() error { return w.v.put(w.space, w.it) }

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
				_ = w.close() // the reader has all it wants
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
	var arena []byte // one for many rows: they live and die together
	var opened []byte
	err := v.each(ctx, spaceRow, rids, func(key, value []byte) error {
		packed, err := v.s.reveal(v.db, opened[:0], key, nil, value)
		if err != nil {
			return err
		}
		if v.s.keys != nil {
			opened = packed
		}
		if guess := 4 * len(packed); cap(arena)-len(arena) < guess {
			arena = make([]byte, 0, max(min(64<<10, guess*(len(rids)-len(rows))), guess))
		}
		plain, err := body.Expand(arena, packed)
		if err != nil {
			return err
		}
		row, err := plan.OpenRow(plain[len(arena):len(plain):len(plain)])
		rows, arena = append(rows, row), plain
		return err
	})
	return rows, err
}

// Bodies gives the current versions.
func (v *snapshot) Bodies(ctx context.Context, rids []store.RID) ([]store.Version, error) {
	versions := make([]store.Version, 0, len(rids))
	err := v.each(ctx, spaceVersion, rids, func(key, value []byte) error {
		version, err := v.s.readVersion(v.db, key, value)
		if err == nil && version.Action != store.Delete && version.Action != store.Erase {
			versions = append(versions, version)
		}
		return err
	})
	return versions, err
}

// each finds, for each rid, the first record in space that starts with it.
func (v *snapshot) each(ctx context.Context, space byte, rids []store.RID, use func(key, value []byte) error) error {
	it, err := v.take(ctx, space, []byte{space}, []byte{space + 1})
	if err != nil {
		return err
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
			return errors.Join(fault(err), v.put(space, it))
		}
	}
	return v.put(space, it)
}

// Match answers a formula of long lists from memory.
func (v *snapshot) Match(ctx context.Context, f *plan.Formula, worth int64) (plan.Match, bool, error) {
	return v.s.sets.Match(ctx, setSource{v.s}, v, v.mark, f, worth)
}

// heldCost is how many list entries cost what looking into one record does.
const heldCost = 20

// Cost guesses what Read costs.
func (v *snapshot) Cost(ctx context.Context, leaf *plan.Formula) (int64, error) {
	if leaf.Op == plan.Held {
		n, err := v.Estimate(ctx, plan.Scan{Index: plan.Equal, Hash: plan.HashOfType(leaf.Type)}, 1<<40)
		return n * heldCost, err
	}
	return v.Estimate(ctx, plan.Scan{Index: plan.Equal, Hash: leaf.Hash}, 1<<40)
}

// Read hands on a part of an Equal list, without what a Scan costs for each
// hit; or what of the list of a type has a parameter.
func (v *snapshot) Read(ctx context.Context, leaf *plan.Formula, from, to store.RID, add func([]uint64)) error {
	if leaf.Op != plan.Held {
		return v.readList(ctx, leaf.Hash, from, to, func(part []uint64) error {
			add(part)
			return nil
		})
	}
	return v.readList(ctx, plan.HashOfType(leaf.Type), from, to, func(part []uint64) error {
		rids := make([]store.RID, len(part))
		for i, n := range part {
			rids[i] = store.RID(n)
		}
		rows, err := v.Rows(ctx, rids)
		part = part[:0]
		for i := range rows {
			has, broken := rows[i].Has(leaf.Param)
			if err = errors.Join(err, broken); has {
				part = append(part, uint64(rows[i].RID))
			}
		}
		add(part)
		return err
	})
}

func (v *snapshot) readList(ctx context.Context, hash uint64, from, to store.RID, use func([]uint64) error) error {
	list := number8(make([]byte, 0, 32), spaceEqual, hash)
	o := &pebble.IterOptions{LowerBound: number8(nil, spaceEqual, hash), UpperBound: after(list)}
	o.LowerBound = binary.BigEndian.AppendUint64(o.LowerBound, uint64(from))
	if to < ^store.RID(0) {
		o.UpperBound = binary.BigEndian.AppendUint64(list, uint64(to)+1)
	}
	it, err := v.db.NewIterWithContext(ctx, o)
	if err != nil {
		return fault(err)
	}
	part := make([]uint64, 0, glance)
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		if part = append(part, lastEight(it.Key())); len(part) == glance {
			err = errors.Join(use(part), ctx.Err())
			part = part[:0]
		}
	}
	if err == nil {
		err = use(part)
	}
	return fault(errors.Join(err, it.Error(), it.Close()))
}
