package sets

import (
	"context"
	"fmt"
	"runtime"
	"slices"

	"github.com/RoaringBitmap/roaring/v2/roaring64"
	"golang.org/x/sync/errgroup"

	"candela/store"
	"candela/store/plan"
)

// Reader reads posting lists of one snapshot.
type Reader interface {
	// Cost guesses, cheaply, what it costs to read the list that a leaf of a
	// formula names, in list entries: no less than its length.
	Cost(ctx context.Context, leaf *plan.Formula) (int64, error)
	// Read calls add with the records of a list from from to to, ascending, in
	// parts that are valid during the call only.
	Read(ctx context.Context, leaf *plan.Formula, from, to store.RID, add func([]uint64)) error
	Top() store.RID
}

// Source opens readers.
type Source interface {
	// Fresh opens a reader of all that can be seen now, and how to close it.
	Fresh(ctx context.Context) (Reader, func() error, error)
	// Later runs work that outlives the call; ctx ends when the store closes.
	Later(work func(ctx context.Context))
}

// short is how long a list may be to be read each time.
const short = 4096

// patience is how many times what a query costs without bitmaps it may cost to
// make them. What is dearer is made in the background.
const patience = 4

// Match answers f as of the snapshot that r reads, taken after m. worth is what
// answering otherwise costs, in list entries. ok is false when it must be
// answered otherwise.
func (k *Keeper) Match(ctx context.Context, src Source, r Reader, m Mark, f *plan.Formula, worth int64) (plan.Match, bool, error) {
	given := map[uint64]*roaring64.Bitmap{}
	var long []*plan.Formula
	cost := int64(0)
	for _, leaf := range k.missing(f) {
		n, err := r.Cost(ctx, leaf)
		if err != nil {
			return plan.Match{}, false, err
		}
		cost += n
		if n > short {
			long = append(long, leaf)
		} else if given[leaf.Hash], err = read(ctx, r, leaf, 1); err != nil {
			return plan.Match{}, false, err
		}
	}
	if !k.fits(int64(len(long)), r.Top()) {
		return plan.Match{}, false, nil
	}
	if len(long) > 0 && cost > patience*worth {
		k.later(src, long)
		return plan.Match{}, false, nil
	}
	if err := k.makeAll(ctx, src, long); err != nil {
		return plan.Match{}, false, err
	}
	found, ok := k.match(m, f, given, r.Top())
	found.Read = cost
	return found, ok, nil
}

// fits says whether n lists of records up to top may be kept.
func (k *Keeper) fits(n int64, top store.RID) bool { return n*int64(top/8) <= k.limit }

// missing are the lists of f that are not kept, each once.
func (k *Keeper) missing(f *plan.Formula) (leaves []*plan.Formula) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	for leaf := range f.Leaves() {
		if l := k.lists[leaf.Hash]; l != nil && l.rids != nil {
			continue
		}
		if !slices.ContainsFunc(leaves, func(o *plan.Formula) bool { return o.Hash == leaf.Hash }) {
			leaves = append(leaves, leaf)
		}
	}
	return leaves
}

// later makes lists in the background, unless others are being made.
func (k *Keeper) later(src Source, leaves []*plan.Formula) {
	select {
	case k.busy <- struct{}{}:
	default:
		return // the next query asks again
	}
	src.Later(func(ctx context.Context) {
		defer func() { <-k.busy }()
		_ = k.makeAll(ctx, src, leaves) // who needs them tries again and is told
	})
}

func (k *Keeper) makeAll(ctx context.Context, src Source, leaves []*plan.Formula) error {
	for _, leaf := range leaves {
		if err := k.make(ctx, src, leaf); err != nil {
			return err
		}
	}
	return nil
}

// make makes a list, or waits until somebody else has.
func (k *Keeper) make(ctx context.Context, src Source, leaf *plan.Formula) (err error) {
	l, first := k.start(leaf.Hash, leaf.Op == plan.Held)
	if l == nil {
		return nil
	}
	if !first {
		select {
		case <-l.ready:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", store.ErrUnavailable, ctx.Err())
		}
	}
	var rids *roaring64.Bitmap
	defer func() { k.finish(leaf.Hash, l, rids) }()
	r, closed, err := src.Fresh(ctx)
	if err != nil {
		return err
	}
	made, err := read(ctx, r, leaf, runtime.GOMAXPROCS(0))
	if cerr := closed(); err == nil {
		err = cerr
	}
	if err == nil {
		rids = made
	}
	return err
}

// read reads a whole list, in parts at once.
func read(ctx context.Context, r Reader, leaf *plan.Formula, parts int) (*roaring64.Bitmap, error) {
	all := make([]*roaring64.Bitmap, max(1, min(parts, 4)))
	step := r.Top()/store.RID(len(all)) + 1
	work, ctx := errgroup.WithContext(ctx)
	for i := range all {
		all[i] = roaring64.New()
		from, to := step*store.RID(i), step*store.RID(i+1)-1
		if i == len(all)-1 {
			to = ^store.RID(0)
		}
		work.Go(func() error { return r.Read(ctx, leaf, from, to, all[i].AddMany) })
	}
	err := work.Wait()
	for _, part := range all[1:] {
		all[0].Or(part)
	}
	return all[0], err
}

// match evaluates f; given are lists of the snapshot itself.
func (k *Keeper) match(m Mark, f *plan.Formula, given map[uint64]*roaring64.Bitmap, top store.RID) (plan.Match, bool) {
	k.touch(f)
	k.mu.RLock()
	defer k.mu.RUnlock()
	unsure, ok := k.unsure(m, top)
	if !ok {
		return plan.Match{}, false
	}
	rids, ok := k.eval(f, given)
	if !ok {
		return plan.Match{}, false
	}
	leave := roaring64.New()
	for _, rid := range unsure {
		leave.Add(uint64(rid))
	}
	return plan.Match{Set: &set{rids: roaring64.AndNot(rids, leave)}, Unsure: unsure}, true
}

// touch notes that the lists of f are in use.
func (k *Keeper) touch(f *plan.Formula) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.clock++
	for leaf := range f.Leaves() {
		if l := k.lists[leaf.Hash]; l != nil {
			l.used = k.clock
		}
	}
}

// eval gives what f holds. The result may be a kept list: it must not be changed.
func (k *Keeper) eval(f *plan.Formula, given map[uint64]*roaring64.Bitmap) (*roaring64.Bitmap, bool) {
	if f.Op == plan.List || f.Op == plan.Held {
		if l := k.lists[f.Hash]; l != nil && l.rids != nil {
			return l.rids, true
		}
		rids, ok := given[f.Hash]
		return rids, ok
	}
	var result *roaring64.Bitmap
	for i := range f.Of {
		part, ok := k.eval(&f.Of[i], given)
		switch {
		case !ok:
			return nil, false
		case result == nil:
			result = part
		case f.Op == plan.EveryOf:
			result = roaring64.And(result, part)
		case f.Op == plan.SomeOf:
			result = roaring64.Or(result, part)
		default:
			result = roaring64.AndNot(result, part)
		}
	}
	if result == nil {
		result = roaring64.New()
	}
	return result, true
}

// set is an answer.
type set struct{ rids *roaring64.Bitmap }

// Len is how many records up to top there are.
func (s *set) Len(top store.RID) int64 { return int64(s.rids.Rank(uint64(top))) }

// Take appends records to dst up to its capacity: from from on, upwards or downwards.
func (s *set) Take(dst []store.RID, from store.RID, desc bool) []store.RID {
	room := uint64(cap(dst) - len(dst))
	it := s.rids.Iterator()
	if !desc {
		for it.AdvanceIfNeeded(uint64(from)); it.HasNext() && room > 0; room-- {
			dst = append(dst, store.RID(it.Next()))
		}
		return dst
	}
	n := s.rids.Rank(uint64(from))
	room = min(room, n)
	if room == 0 {
		return dst
	}
	first, err := s.rids.Select(n - room)
	if err != nil {
		return dst // there are n
	}
	at := len(dst)
	for it.AdvanceIfNeeded(first); it.HasNext() && room > 0; room-- {
		dst = append(dst, store.RID(it.Next()))
	}
	slices.Reverse(dst[at:])
	return dst
}
