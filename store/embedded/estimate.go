package embedded

import (
	"context"
	"sync"

	"github.com/cespare/xxhash/v2"

	"candela/store"
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
