package embedded

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"candela/store"
)

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
// where to go on.
func (s *Store) readChanges(ctx context.Context, after, head store.Seq) (batch []store.Version, last store.Seq, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, 0, err
	}
	defer s.leave()
	it, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: seqKey(nil, after+1), UpperBound: seqKey(nil, head+1)})
	if err != nil {
		return nil, 0, fault(err)
	}
	last = head
	for ok := it.First(); ok; ok = it.Next() {
		v, err := s.changed(it.Value())
		if err != nil {
			return nil, 0, errors.Join(err, it.Close())
		}
		if batch = append(batch, v); len(batch) == chunk {
			last = store.Seq(lastEight(it.Key()))
			break
		}
	}
	return batch, last, errors.Join(fault(it.Error()), fault(it.Close()))
}

func (s *Store) changed(value []byte) (store.Version, error) {
	c, err := readChange(value)
	if err != nil {
		return store.Version{}, err
	}
	v, err := s.version(s.db, c.rid, c.number)
	if errors.Is(err, store.ErrNotFound) {
		err = fmt.Errorf("%w: version %d of record %d is missing", store.ErrCorrupt, c.number, c.rid)
	}
	return v, err
}
