package embedded

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"candela/store"
)

// feed hands out sequence numbers and record ids, and knows up to where the
// sequence is complete and safe on disk: readers of changes never see a
// version before all that stand ahead of it.
type feed struct {
	mu     sync.Mutex
	seq    store.Seq // last handed out
	rid    store.RID // last handed out
	head   store.Seq // all up to here are on disk
	latest time.Time // newest time handed out with a sequence number
	open   []*ticket // commits under way, in order
	wake   chan struct{}
}

// ticket is one commit's share of the sequence.
type ticket struct {
	first, last store.Seq
	rid         store.RID // first of the new record ids
	latest      time.Time
	done        bool
	keys        [][]byte      // that it removes for ever
	erased      chan struct{} // of a commit that erases: closed when it is on disk or never will be
}

// begin hands out seqs sequence numbers and rids record ids to a commit whose
// newest version is of time newest.
func (f *feed) begin(seqs, rids int, newest time.Time, erases bool) *ticket {
	f.mu.Lock()
	defer f.mu.Unlock()
	if newest.After(f.latest) {
		f.latest = newest
	}
	t := &ticket{first: f.seq + 1, last: f.seq + store.Seq(seqs), rid: f.rid + 1, latest: f.latest}
	if erases {
		t.erased = make(chan struct{})
	}
	f.seq = t.last
	f.rid += store.RID(rids)
	f.open = append(f.open, t)
	return t
}

// end says that a commit is on disk, or that it never will be.
func (f *feed) end(t *ticket) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t.done = true
	if t.erased != nil {
		close(t.erased)
	}
	n := 0
	for n < len(f.open) && f.open[n].done {
		f.head = f.open[n].last
		n++
	}
	f.open = append(f.open[:0], f.open[n:]...)
	if n > 0 && f.wake != nil {
		close(f.wake)
		f.wake = nil
	}
}

// state is the head, and a channel that closes when it has moved.
func (f *feed) state() (store.Seq, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.wake == nil {
		f.wake = make(chan struct{})
	}
	return f.head, f.wake
}

// erasing is the commits under way that erase.
func (f *feed) erasing() (under []<-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.open {
		if t.erased != nil && !t.done {
			under = append(under, t.erased)
		}
	}
	return under
}

func (f *feed) top() store.RID {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rid
}

// chunk is how many changes are read at a time.
const chunk = 64

// Head is the newest version that is on disk, and all before it.
func (s *Store) Head(ctx context.Context) (store.Seq, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	head, _ := s.feed.state()
	return head, nil
}

// Changes yields every version behind after, in order, then waits for more
// until ctx ends or the store closes; closing is told as ErrUnavailable.
func (s *Store) Changes(ctx context.Context, after store.Seq) iter.Seq2[store.Version, error] {
	return func(yield func(store.Version, error) bool) {
		for {
			head, moved := s.feed.state()
			for after < head {
				batch, last, err := s.readChanges(ctx, after, head)
				if err != nil {
					if ctx.Err() == nil {
						yield(store.Version{}, err)
					}
					return
				}
				for _, v := range batch {
					if ctx.Err() != nil || !yield(v, nil) {
						return
					}
				}
				after = last
			}
			select {
			case <-moved:
			case <-ctx.Done():
				return
			case <-s.stop:
				yield(store.Version{}, fmt.Errorf("%w: the store is closed", store.ErrUnavailable))
				return
			}
		}
	}
}

// readChanges reads up to chunk versions behind after and up to head. last is
// where to go on. What it misses because it was erased is erased on disk when
// it returns: no crash brings back a version that a reader has passed.
func (s *Store) readChanges(ctx context.Context, after, head store.Seq) (batch []store.Version, last store.Seq, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, 0, err
	}
	defer s.leave()
	snap := s.db.NewSnapshot()
	defer func() { _ = snap.Close() }() // of a reader: nothing to lose
	under := s.feed.erasing()
	it, err := snap.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: seqKey(nil, after+1), UpperBound: seqKey(nil, head+1)})
	if err != nil {
		return nil, 0, fault(err)
	}
	last = head
	for ok := it.First(); ok; ok = it.Next() {
		v, err := s.changed(snap, it.Value())
		if err != nil {
			return nil, 0, errors.Join(err, it.Close())
		}
		if batch = append(batch, v); len(batch) == chunk {
			last = store.Seq(lastEight(it.Key()))
			break
		}
	}
	if err := errors.Join(fault(it.Error()), fault(it.Close())); err != nil {
		return nil, 0, err
	}
	return batch, last, s.awaitAll(ctx, under)
}

func (s *Store) awaitAll(ctx context.Context, under []<-chan struct{}) error {
	for _, erased := range under {
		select {
		case <-erased:
		case <-ctx.Done():
			return fault(ctx.Err())
		case <-s.stop:
			return fmt.Errorf("%w: the store is closed", store.ErrUnavailable)
		case <-s.health.broken:
			return s.health.err()
		}
	}
	return nil
}

func (s *Store) changed(r pebble.Reader, value []byte) (store.Version, error) {
	c, err := readChange(value)
	if err != nil {
		return store.Version{}, err
	}
	v, err := s.version(r, c.rid, c.number)
	if errors.Is(err, store.ErrNotFound) {
		err = fmt.Errorf("%w: version %d of record %d is missing", store.ErrCorrupt, c.number, c.rid)
	}
	return v, err
}
