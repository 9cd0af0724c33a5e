package embedded

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2"

	"candela/store"
	"candela/store/embedded/sets"
	"candela/store/plan"
)

// exact is how many hits are counted one by one; what is longer is judged by
// the space it takes on disk.
const exact = 4096

// worthKeeping is how long a list must be for its size to be remembered.
const worthKeeping = 128

// Estimate counts the hits of a short scan up to limit and guesses those of a
// long one.
func (v *snapshot) Estimate(ctx context.Context, s plan.Scan, limit int64) (int64, error) {
	s.Desc = false
	w, err := v.walk(ctx, &s)
	if err != nil || w == nil {
		return 0, err
	}
	if n, ok := v.s.sizes.find(w, v.top); ok {
		return min(n, limit), w.close()
	}
	n, more := w.count(min(limit, exact))
	if more && limit > exact {
		if n, err = v.s.extrapolate(w, n, limit); err != nil {
			_ = w.close() // the first error tells more
			return 0, err
		}
		more = false
	}
	if err := w.close(); err != nil {
		return 0, err
	}
	if !more && n >= worthKeeping {
		v.s.sizes.keep(w, n, v.top)
	}
	return min(n, limit), nil
}

// count counts hits up to limit and says whether there may be more.
func (w *walker) count(limit int64) (n int64, more bool) {
	for ok := w.first(); ok; ok = w.it.Next() {
		if n++; n >= limit {
			return n, true
		}
	}
	return n, false
}

// extrapolate guesses the length of a list whose first n hits the walker has
// just read. What still is in memory takes no space: then it reads on, which
// the size of the memory tables bounds.
func (s *Store) extrapolate(w *walker, n, limit int64) (int64, error) {
	for target := n; n < limit; target *= 2 {
		for n < target {
			if !w.it.Next() {
				return n, nil
			}
			n++
		}
		read, err := s.db.EstimateDiskUsage(w.lower, w.it.Key())
		if err != nil {
			return 0, fault(err)
		}
		if read < 4*blockSize/8 && n < 1<<20 {
			continue
		}
		all, err := s.db.EstimateDiskUsage(w.lower, w.upper)
		if err != nil {
			return 0, fault(err)
		}
		if read == 0 || all <= read {
			return 2 * n, nil
		}
		return int64(float64(n) * float64(all) / float64(read)), nil
	}
	return n, nil
}

// sizes remembers how long lists are: every search asks for the same few.
type sizes struct {
	mu   sync.Mutex
	list map[uint64]size
}

type size struct {
	n  int64
	at store.RID // how many resources there were
}

// mostSizes bounds the memory of sizes; then it starts anew.
const mostSizes = 10_000

func (w *walker) name() uint64 {
	d := xxhash.New()
	_, _ = d.Write(w.lower) // a hash never fails to write
	_, _ = d.Write(w.upper)
	return d.Sum64()
}

// find gives a size that can hardly have changed since it was kept.
func (z *sizes) find(w *walker, now store.RID) (int64, bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	k, ok := z.list[w.name()]
	if !ok || now < k.at || uint64(now-k.at) > uint64(k.n)/8 {
		return 0, false
	}
	return k.n, true
}

func (z *sizes) keep(w *walker, n int64, now store.RID) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.list == nil || len(z.list) >= mostSizes {
		z.list = map[uint64]size{}
	}
	z.list[w.name()] = size{n, now}
}

// setSource is what the keeper of bitmaps sees of the store.
type setSource struct{ s *Store }

// Fresh opens a view of all that can be seen now.
func (f setSource) Fresh(ctx context.Context) (sets.Reader, func() error, error) {
	view, err := engine(f).Snapshot(ctx)
	if err != nil {
		return nil, nil, err
	}
	return view.(*snapshot), view.Close, nil
}

// Later runs work in the background; its ctx ends when the store closes.
func (f setSource) Later(work func(ctx context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		select {
		case <-f.s.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	go func() {
		defer cancel()
		work(ctx)
	}()
}

// saveSets writes the bitmaps down for the next start: making them anew is what
// the first questions would wait for. It is no loss when that fails.
func (s *Store) saveSets() {
	_, size := s.sets.Kept()
	if s.opt.ReadOnly || size == 0 || s.room(int(size)) != nil {
		return
	}
	err := s.sets.Save(uint64(s.feed.seq), func(hash uint64, data []byte) error {
		return s.db.Set(number8(nil, spaceSet, hash), data, pebble.NoSync)
	})
	if err != nil {
		s.opt.Logger.Warn("bitmaps of long lists are not kept for the next start", slog.Any("cause", err))
	}
}

// loadSets reads what saveSets wrote and removes it: it is true only until the
// next commit, which stands behind the removal in the log.
func (s *Store) loadSets() error {
	lower, upper := []byte{spaceSet}, []byte{spaceSet + 1}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return fault(err)
	}
	found := it.First()
	for ok := found; ok; ok = it.Next() {
		s.sets.Load(uint64(s.feed.seq), lastEight(it.Key()), it.Value())
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil || !found || s.opt.ReadOnly {
		return fault(err)
	}
	return fault(s.db.DeleteRange(lower, upper, pebble.NoSync))
}
