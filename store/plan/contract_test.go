package plan_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"candela/store"
	"candela/store/plan"
	"candela/store/storetest"
)

// shelf is a store of the contract on the memory engine: it proves the planner
// by the contract, and the contract by a store.
type shelf struct {
	*planner
	mu       sync.Mutex
	closed   bool
	now      func() time.Time
	memory   *memory
	versions []store.Version
	seq      store.Seq
	last     map[store.Key]store.Version
	owners   map[store.Key]map[store.Key]bool // owner -> what was its, once
	kv       map[string]value
	wake     chan struct{}
}

type planner = plan.Planner

type value struct {
	data []byte
	ends time.Time
}

func newShelf(opt plan.Options) *shelf {
	m := newMemory()
	return &shelf{planner: plan.New(m, opt), memory: m, last: map[store.Key]store.Version{}, owners: map[store.Key]map[store.Key]bool{}, kv: map[string]value{}, wake: make(chan struct{})}
}

// TestContract: the planner passes the stores' contract however wrong the
// engine's estimates and prices are, since they choose plans but no answers.
func TestContract(t *testing.T) {
	for name, opt := range map[string]plan.Options{
		"default": {},
		"dear":    {SeekCost: 500, RowCost: 5},
		"tiny":    {SeekCost: 1, RowCost: 1000, Batch: 3},
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, opener(opt, nil))
		})
	}
}

// TestAnyPlan: estimates that are lies lead to every plan, and every plan gives
// the same answers.
func TestAnyPlan(t *testing.T) {
	for seed, opt := range []plan.Options{{}, {SeekCost: 500, RowCost: 5, Batch: 2}, {SeekCost: 1, RowCost: 1000}, {SeekCost: 3, RowCost: 3}} {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			storetest.Random(t, opener(opt, rand.New(rand.NewPCG(7, uint64(seed)))))
		})
	}
}

// opener keeps a shelf for each folder, so that a reopen finds it.
func opener(opt plan.Options, lies *rand.Rand) storetest.Opener {
	shelves := map[string]*shelf{}
	return func(_ *testing.T, dir string, now func() time.Time) store.Store {
		s := shelves[dir]
		if s == nil {
			s = newShelf(opt)
			s.memory.lies = lies
			shelves[dir] = s
		}
		s.mu.Lock()
		s.now, s.closed = now, false
		s.mu.Unlock()
		return s
	}
}

func (s *shelf) lock(ctx context.Context) (func(), error) {
	s.mu.Lock()
	if s.closed || ctx.Err() != nil {
		s.mu.Unlock()
		return nil, errors.Join(store.ErrUnavailable, ctx.Err())
	}
	return s.mu.Unlock, nil
}

func (s *shelf) Find(ctx context.Context, q store.Query) (store.Page, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return store.Page{}, err
	}
	unlock()
	return s.planner.Find(ctx, q)
}

func (s *shelf) Get(ctx context.Context, k store.Key) (store.Version, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return store.Version{}, err
	}
	defer unlock()
	return found(s.last[k])
}

func found(v store.Version) (store.Version, error) {
	switch {
	case v.RID == 0:
		return v, store.ErrNotFound
	case v.Action == store.Delete:
		return v, store.ErrGone
	}
	return v, nil
}

func (s *shelf) GetVersion(ctx context.Context, k store.Key, number int64) (store.Version, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return store.Version{}, err
	}
	defer unlock()
	for _, v := range s.versions {
		if v.Key == k && v.Number == number && v.Action != store.Erase {
			return found(v)
		}
	}
	return store.Version{}, store.ErrNotFound
}

func (s *shelf) Commit(ctx context.Context, ops ...store.Op) ([]store.Result, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := store.Twins(ops, s.now()); err != nil {
		return nil, err
	}
	results := make([]store.Result, len(ops))
	claims := map[string]bool{}
	for i, op := range ops {
		if results[i], err = s.decide(ctx, op, ops[:i], claims); err != nil {
			return nil, &store.OpError{Index: i, Err: err}
		}
	}
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	for i, op := range ops {
		s.apply(op, &results[i])
	}
	close(s.wake)
	s.wake = make(chan struct{})
	return results, nil
}

func (s *shelf) decide(ctx context.Context, op store.Op, before []store.Op, claims map[string]bool) (r store.Result, err error) {
	now := s.last[op.Key]
	live := now.RID != 0 && now.Action != store.Delete
	claim := ""
	if op.IfNone != nil {
		claim = fmt.Sprintf("%+v", *op.IfNone)
	}
	blind := op.Action == store.Erase && op.IfMatch > 0 // a delete has a number too
	switch {
	case slices.ContainsFunc(before, func(o store.Op) bool { return o.Key == op.Key }), claims[claim]:
		return r, store.ErrTwice
	case op.IfMatch != 0 && !live && !blind, op.IfMatch > 0 && now.Number != op.IfMatch:
		return r, store.ErrPrecondition
	case op.Action == store.Create && now.RID != 0:
		return r, store.ErrConflict
	case op.Action != store.Create && op.Action != store.Put && now.RID == 0:
		return r, store.ErrNotFound
	}
	if claim != "" {
		claims[claim] = true
		page, err := s.planner.Find(ctx, *op.IfNone)
		if err != nil || len(page.Versions) > 0 {
			return r, errors.Join(err, store.ErrPrecondition)
		}
	}
	r.Version = now
	r.Created = !live && (op.Action == store.Create || op.Action == store.Put)
	r.Unchanged = op.Action == store.Delete && !live || live && op.Action == store.Put && bytes.Equal(now.Raw, op.Raw)
	return r, nil
}

func (s *shelf) apply(op store.Op, r *store.Result) {
	if r.Unchanged {
		return
	}
	if op.Action == store.Reindex {
		s.memory.set(r.Version, op.Entries)
		return
	}
	now := r.Version
	at := s.now().UTC().Truncate(time.Millisecond)
	if at.Before(now.Time) {
		at = now.Time
	}
	s.seq++
	if op.Action == store.Erase {
		s.erase(now.Key)
		r.Version = store.Version{Key: op.Key, RID: now.RID, Seq: s.seq, Time: at, Action: store.Erase}
		s.versions = append(s.versions, r.Version)
		return
	}
	if now.RID == 0 {
		s.memory.top++
		now.RID = s.memory.top
	}
	s.remember(now)
	r.Version = store.Version{Key: op.Key, RID: now.RID, Number: now.Number + 1, Seq: s.seq, Time: at, Action: op.Action, Raw: bytes.Clone(op.Raw)}
	s.versions = append(s.versions, r.Version)
	s.last[op.Key] = r.Version
	if op.Action == store.Delete {
		s.memory.remove(now.RID)
		return
	}
	s.memory.set(r.Version, op.Entries)
}

// remember keeps the owners of the version that now is replaced.
func (s *shelf) remember(now store.Version) {
	row, ok := s.memory.rows[now.RID]
	if !ok {
		return
	}
	r, _ := plan.DecodeRow(row) // of our own making
	for _, e := range r.Entries {
		owner := store.Key{Type: e.Space, ID: e.Name}
		if e.Role&store.Anchor == 0 || e.Kind != store.Link {
			continue
		}
		if s.owners[owner] == nil {
			s.owners[owner] = map[store.Key]bool{}
		}
		s.owners[owner][now.Key] = true
	}
}

func (s *shelf) erase(k store.Key) {
	s.memory.remove(s.last[k].RID)
	s.versions = slices.DeleteFunc(slices.Clone(s.versions), func(v store.Version) bool { return v.Key == k && v.Action != store.Erase })
	delete(s.last, k)
	for _, had := range s.owners {
		delete(had, k)
	}
}

func (s *shelf) History(ctx context.Context, span store.Span) (store.Page, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return store.Page{}, err
	}
	defer unlock()
	after, level := uint64(0), span.Key.String()
	if span.After != "" {
		n, rest, ok := strings.Cut(span.After, "@")
		if _, err := fmt.Sscanf(n, "%d", &after); err != nil || !ok || rest != level {
			return store.Page{}, store.ErrCursor
		}
	}
	page := store.Page{Total: -1}
	total, used, full := int64(0), 0, false
	for _, v := range slices.Backward(s.versions) {
		if v.Action == store.Erase {
			continue
		}
		in := span.Key == store.Key{} || span.Key == v.Key || span.Key.ID == "" && span.Key.Type == v.Key.Type
		if !in || !span.Since.IsZero() && v.Time.Before(span.Since) || !span.Until.IsZero() && v.Time.After(span.Until) {
			continue
		}
		total++
		switch {
		case after != 0 && uint64(v.Seq) >= after, span.Count == 0:
		case !full && len(page.Versions) < span.Count && (len(page.Versions) == 0 || span.Bytes == 0 || used+len(v.Raw) <= span.Bytes):
			page.Versions, used = append(page.Versions, v), used+len(v.Raw)
		default:
			full = true
			page.Next = fmt.Sprintf("%d@%s", page.Versions[len(page.Versions)-1].Seq, level)
		}
	}
	if span.Total {
		page.Total = total
	}
	return page, nil
}

func (s *shelf) Changes(ctx context.Context, after store.Seq) iter.Seq2[store.Version, error] {
	return func(yield func(store.Version, error) bool) {
		for {
			unlock, err := s.lock(ctx)
			if err != nil {
				yield(store.Version{}, err)
				return
			}
			behind := slices.IndexFunc(s.versions, func(v store.Version) bool { return v.Seq > after })
			var some []store.Version
			if behind >= 0 {
				some = s.versions[behind:]
			}
			wake := s.wake
			unlock()
			for _, v := range some {
				if after = v.Seq; !yield(v, nil) {
					return
				}
			}
			if len(some) > 0 {
				continue
			}
			select {
			case <-wake:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (s *shelf) Head(ctx context.Context) (store.Seq, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return 0, err
	}
	defer unlock()
	return s.seq, nil
}

func (s *shelf) Ping(ctx context.Context) error {
	unlock, err := s.lock(ctx)
	if err == nil {
		unlock()
	}
	return err
}

func (s *shelf) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// slot is the place of a key: no bucket's keys lie among another's.
func slot(bucket, key string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(bucket)))) + bucket + key
}

// kvDo runs do with the present value, nil when absent.
func (s *shelf) kvDo(ctx context.Context, bucket, key string, do func(at string, now []byte) error) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	at := slot(bucket, key)
	v, ok := s.kv[at]
	if !ok || !v.ends.IsZero() && !s.now().Before(v.ends) {
		return do(at, nil)
	}
	return do(at, v.data)
}

func (s *shelf) keep(at string, data []byte, ttl time.Duration) {
	v := value{data: append([]byte{}, data...)}
	if ttl > 0 {
		v.ends = s.now().Add(ttl)
	}
	s.kv[at] = v
}

func (s *shelf) KVGet(ctx context.Context, bucket, key string) (got []byte, err error) {
	err = s.kvDo(ctx, bucket, key, func(_ string, now []byte) error {
		if got = now; now == nil {
			return store.ErrNotFound
		}
		return nil
	})
	return got, err
}

func (s *shelf) KVPut(ctx context.Context, bucket, key string, data []byte, ttl time.Duration) error {
	return s.kvDo(ctx, bucket, key, func(at string, _ []byte) error {
		s.keep(at, data, ttl)
		return nil
	})
}

func (s *shelf) KVSwap(ctx context.Context, bucket, key string, old, data []byte, ttl time.Duration) error {
	return s.kvDo(ctx, bucket, key, func(at string, now []byte) error {
		if (old == nil) != (now == nil) || !bytes.Equal(old, now) {
			return store.ErrConflict
		}
		s.keep(at, data, ttl)
		return nil
	})
}

func (s *shelf) KVTake(ctx context.Context, bucket, key string) (got []byte, err error) {
	err = s.kvDo(ctx, bucket, key, func(at string, now []byte) error {
		if got = now; now == nil {
			return store.ErrNotFound
		}
		delete(s.kv, at)
		return nil
	})
	return got, err
}

func (s *shelf) KVDelete(ctx context.Context, bucket, key string) error {
	return s.kvDo(ctx, bucket, key, func(at string, _ []byte) error {
		delete(s.kv, at)
		return nil
	})
}

func (s *shelf) KVList(ctx context.Context, bucket, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		unlock, err := s.lock(ctx)
		if err != nil {
			yield("", err)
			return
		}
		var keys []string
		for at, v := range s.kv {
			if key, ok := strings.CutPrefix(at, slot(bucket, "")); ok && strings.HasPrefix(key, prefix) && (v.ends.IsZero() || s.now().Before(v.ends)) {
				keys = append(keys, key)
			}
		}
		unlock()
		slices.Sort(keys)
		for _, k := range keys {
			if !yield(k, nil) {
				return
			}
		}
	}
}

func (s *shelf) Former(ctx context.Context, owner store.Key) iter.Seq2[store.Key, error] {
	return func(yield func(store.Key, error) bool) {
		unlock, err := s.lock(ctx)
		if err != nil {
			yield(store.Key{}, err)
			return
		}
		keys := slices.Collect(maps.Keys(s.owners[owner]))
		unlock()
		for _, k := range keys {
			if !yield(k, nil) {
				return
			}
		}
	}
}
