package plan_test

import (
	"bytes"
	"cmp"
	"context"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"

	"candela/store"
	"candela/store/plan"
)

// memory is an Engine of sorted slices. It counts calls, and may lie about
// estimates, so that every plan is tried.
type memory struct {
	mu      sync.RWMutex
	index   map[indexKey][]plan.Hit
	rows    map[store.RID][]byte
	bodies  map[store.RID]store.Version
	rids    map[store.Key]store.RID
	clocks  map[store.RID]plan.Keys
	top     store.RID
	types   []string
	lies    *rand.Rand
	slow    bool
	calls   map[string]int
	callsMu sync.Mutex
}

type indexKey struct {
	index plan.Index
	hash  uint64
}

func newMemory() *memory {
	return &memory{
		index: map[indexKey][]plan.Hit{}, rows: map[store.RID][]byte{}, bodies: map[store.RID]store.Version{},
		rids: map[store.Key]store.RID{}, clocks: map[store.RID]plan.Keys{}, calls: map[string]int{},
	}
}

func compareHits(a, b plan.Hit) int {
	if d := bytes.Compare(a.Order, b.Order); d != 0 {
		return d
	}
	return cmp.Compare(a.RID, b.RID)
}

func (m *memory) eachKey(rid store.RID, k plan.Keys, do func(indexKey, plan.Hit)) {
	for _, h := range k.Equal {
		do(indexKey{plan.Equal, h}, plan.Hit{RID: rid})
	}
	for _, p := range k.Ordered {
		do(indexKey{plan.Ordered, p.Field}, plan.Hit{Order: p.Order, RID: rid})
	}
	for _, p := range k.Prefix {
		do(indexKey{plan.Prefix, p.Field}, plan.Hit{Order: p.Order, RID: rid})
	}
	for _, h := range k.Timed {
		do(indexKey{plan.Timed, h}, plan.Hit{Order: k.Clock, RID: rid})
	}
}

// set makes v the current version; remove takes it out of every index.
func (m *memory) set(v store.Version, entries []store.Entry) {
	m.remove(v.RID)
	k := plan.KeysOf(v.Key.Type, entries, v.Time)
	m.clocks[v.RID] = k
	m.eachKey(v.RID, k, func(key indexKey, h plan.Hit) {
		i, found := slices.BinarySearchFunc(m.index[key], h, compareHits)
		if !found {
			m.index[key] = slices.Insert(m.index[key], i, h)
		}
	})
	m.rows[v.RID] = plan.EncodeRow(nil, plan.Row{RID: v.RID, Key: v.Key, Number: v.Number, Seq: v.Seq, Time: v.Time, Entries: entries})
	m.bodies[v.RID] = v
	m.rids[v.Key] = v.RID
	if !slices.Contains(m.types, v.Key.Type) {
		m.types = append(m.types, v.Key.Type)
		slices.Sort(m.types)
	}
}

func (m *memory) remove(rid store.RID) {
	k, ok := m.clocks[rid]
	if !ok {
		return
	}
	m.eachKey(rid, k, func(key indexKey, h plan.Hit) {
		if i, found := slices.BinarySearchFunc(m.index[key], h, compareHits); found {
			m.index[key] = slices.Delete(m.index[key], i, i+1)
		}
	})
	delete(m.clocks, rid)
	delete(m.rids, m.bodies[rid].Key)
	delete(m.rows, rid)
	delete(m.bodies, rid)
}

func (m *memory) Snapshot(ctx context.Context) (plan.Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.RLock()
	return &view{m}, nil
}

type view struct{ *memory }

func (v *view) Close() error {
	v.mu.RUnlock()
	return nil
}

func (v *view) count(call string) {
	v.callsMu.Lock()
	v.calls[call]++
	v.callsMu.Unlock()
}

func (v *view) Lookup(_ context.Context, keys []store.Key) ([]store.RID, error) {
	v.count("lookup")
	out := make([]store.RID, len(keys))
	for i, k := range keys {
		out[i] = v.rids[k]
	}
	return out, nil
}

// within are the hits of a scan in ascending order.
func (v *view) within(s plan.Scan) []plan.Hit {
	hits := v.index[indexKey{s.Index, s.Hash}]
	from, to := 0, len(hits)
	if s.From != nil {
		from, _ = slices.BinarySearchFunc(hits, plan.Hit{Order: s.From}, compareHits)
	}
	if s.To != nil {
		to, _ = slices.BinarySearchFunc(hits, s.To, func(h plan.Hit, to []byte) int {
			if s.Index == plan.Prefix && bytes.HasPrefix(h.Order, to) || bytes.Compare(h.Order, to) <= 0 {
				return -1
			}
			return 1
		})
	}
	return hits[from:max(from, to)]
}

func (v *view) Scan(ctx context.Context, s plan.Scan) iter.Seq2[plan.Hit, error] {
	v.count("scan")
	return func(yield func(plan.Hit, error) bool) {
		hits := slices.Clone(v.within(s))
		if s.Desc {
			slices.Reverse(hits)
		}
		order := make([]byte, 0, 64)
		for _, h := range hits {
			if s.After.RID != 0 || s.After.Order != nil {
				d := compareHits(h, s.After)
				if d == 0 || d < 0 != s.Desc {
					continue
				}
			}
			if v.slow && ctx.Err() != nil {
				yield(plan.Hit{}, ctx.Err())
				return
			}
			order = append(order[:0], h.Order...) // as engines do: the next hit takes its place
			if !yield(plan.Hit{Order: order, RID: h.RID}, nil) {
				return
			}
		}
	}
}

func (v *view) Estimate(_ context.Context, s plan.Scan, limit int64) (int64, error) {
	v.count("estimate")
	n := int64(len(v.within(s)))
	if v.lies != nil {
		v.callsMu.Lock()
		n = v.lies.Int64N(1 << v.lies.IntN(20))
		v.callsMu.Unlock()
	}
	return min(n, limit), nil
}

func (v *view) Rows(_ context.Context, rids []store.RID) ([]plan.Row, error) {
	v.count("rows")
	out := make([]plan.Row, 0, len(rids))
	for _, rid := range rids {
		if data, ok := v.rows[rid]; ok {
			row, err := plan.OpenRow(data)
			if err != nil {
				return nil, err
			}
			out = append(out, row)
		}
	}
	return out, nil
}

func (v *view) Bodies(_ context.Context, rids []store.RID) ([]store.Version, error) {
	v.count("bodies")
	out := make([]store.Version, 0, len(rids))
	for _, rid := range rids {
		if b, ok := v.bodies[rid]; ok {
			out = append(out, b)
		}
	}
	return out, nil
}

func (v *view) Types(context.Context) ([]string, error) { return v.types, nil }

func (v *view) Top() store.RID { return v.top }

// Match answers formulas when estimates are lies: at times it does not, and of
// some records it is not sure.
func (v *view) Match(_ context.Context, f *plan.Formula, _ int64) (plan.Match, bool, error) {
	v.count("match")
	v.callsMu.Lock()
	defer v.callsMu.Unlock()
	if v.lies == nil || v.lies.IntN(4) == 0 {
		return plan.Match{}, false, nil
	}
	var m plan.Match
	var sure members
	held := v.members(f)
	for rid := range v.rows {
		_, in := slices.BinarySearch(held, rid)
		switch {
		case v.lies.IntN(5) == 0:
			m.Unsure = append(m.Unsure, rid)
		case in:
			sure = append(sure, rid)
		}
	}
	m.Unsure = append(m.Unsure, v.top+7)
	slices.Sort(m.Unsure)
	slices.Sort(sure)
	m.Set = sure
	return m, true, nil
}

// members are the records that f holds, ascending.
func (v *view) members(f *plan.Formula) (rids members) {
	for rid := range v.rows {
		if v.holds(f, rid) {
			rids = append(rids, rid)
		}
	}
	slices.Sort(rids)
	return rids
}

func (v *view) holds(f *plan.Formula, rid store.RID) bool {
	in := func(part plan.Formula) bool { return v.holds(&part, rid) }
	switch f.Op {
	case plan.List:
		_, found := slices.BinarySearch(v.clocks[rid].Equal, f.Hash)
		return found
	case plan.Held:
		row, err := plan.OpenRow(v.rows[rid])
		has, broken := row.Has(f.Param)
		return has && row.Key.Type == f.Type && err == nil && broken == nil
	case plan.EveryOf:
		return !slices.ContainsFunc(f.Of, func(part plan.Formula) bool { return !in(part) })
	case plan.SomeOf:
		return slices.ContainsFunc(f.Of, in)
	}
	return in(f.Of[0]) && !slices.ContainsFunc(f.Of[1:], in)
}

// members is a plan.Set.
type members []store.RID

func (m members) Len(top store.RID) int64 {
	n, found := slices.BinarySearch(m, top)
	if found {
		n++
	}
	return int64(n)
}

func (m members) Take(dst []store.RID, from store.RID, desc bool) []store.RID {
	left := cap(dst) - len(dst)
	i, found := slices.BinarySearch(m, from)
	if !desc {
		return append(dst, m[i:min(len(m), i+left)]...)
	}
	if found {
		i++
	}
	part := slices.Clone(m[max(0, i-left):i])
	slices.Reverse(part)
	return append(dst, part...)
}
