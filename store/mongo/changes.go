package mongo

import (
	"context"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"candela/store"
)

// feed knows up to where the sequence is settled: every number up to there is a
// version that can be read, or void for good. Numbers are granted before their
// commit, and commits land in any order, so a reader that finds a gap waits. If
// the gap stays for a lease, its writer is taken for dead and the numbers are
// marked void by documents with the same s: the unique index on s then refuses
// the late commit, which starts anew with a higher number. Writers that fail
// void their numbers themselves, so that a lease runs only when a process dies.
//
// Nothing polls while nobody waits. While somebody does, one goroutine of the
// process reads the counter, woken by the commits of its own process and else
// every pause.
type feed struct {
	s     *Store
	lease time.Duration
	kick  chan struct{} // holds one wake-up
	token chan struct{} // held by whoever polls

	mu        sync.Mutex
	settled   store.Seq
	changed   chan struct{} // closed when settled moves
	loaded    bool          // settled was read from the database once
	persisted store.Seq
	gap       gap
}

// gap is missing numbers: all up to upto were granted before at.
type gap struct {
	from, upto store.Seq
	at         time.Time
}

const (
	pauseMin     = 2 * time.Millisecond
	pauseMax     = 50 * time.Millisecond
	settleStep   = 5000 // numbers looked at in one read
	persistEvery = 2000
	changesStep  = 200 // versions read at once
)

func newFeed(s *Store, lease time.Duration) *feed {
	return &feed{s: s, lease: lease, kick: make(chan struct{}, 1), token: make(chan struct{}, 1), changed: make(chan struct{})}
}

// wake tells the poller that this process has committed.
func (f *feed) wake() {
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

// Changes yields every version with a Seq above after, once, in order.
func (s *Store) Changes(ctx context.Context, after store.Seq) iter.Seq2[store.Version, error] {
	return func(yield func(store.Version, error) bool) {
		for {
			upto, err := s.feed.wait(ctx, after)
			if err != nil {
				if ctx.Err() == nil || s.open() != nil {
					yield(store.Version{}, err)
				}
				return
			}
			for after < upto {
				var records []record
				records, after, err = s.between(ctx, after, upto)
				if !yieldAll(records, err, yield) {
					return
				}
			}
		}
	}
}

func yieldAll(records []record, err error, yield func(store.Version, error) bool) bool {
	if err != nil {
		yield(store.Version{}, err)
		return false
	}
	for i := range records {
		v, err := records[i].version()
		if !yield(v, err) || err != nil {
			return false
		}
	}
	return true
}

// Head is the newest version that Changes would yield now.
func (s *Store) Head(ctx context.Context) (store.Seq, error) {
	if err := s.open(); err != nil {
		return 0, err
	}
	for {
		moved, err := s.feed.advance(ctx)
		if err != nil {
			return 0, err
		}
		if !moved {
			break
		}
	}
	settled, _ := s.feed.state()
	var head store.Seq
	for _, c := range []*mongo.Collection{s.res, s.hist} {
		r, err := one(c.FindOne(ctx, bson.D{{Key: "s", Value: bson.D{{Key: "$lte", Value: int64(settled)}}}, {Key: "a", Value: bson.D{{Key: "$exists", Value: true}}}},
			options.FindOne().SetHint(up("s")).SetSort(down("s")).SetProjection(bson.D{{Key: "s", Value: 1}})))
		if err != nil {
			return 0, err
		}
		if r != nil {
			head = max(head, r.Seq)
		}
	}
	return head, nil
}

// between reads versions in (after, upto] in order, and says how far it came.
// A version moves from res to hist in two steps, first into hist: reading res
// first misses none.
func (s *Store) between(ctx context.Context, after, upto store.Seq) ([]record, store.Seq, error) {
	var all []record
	reached := upto
	for _, c := range []*mongo.Collection{s.res, s.hist} {
		n := 0
		cur, err := c.Find(ctx, seqRange(after, upto), options.Find().SetHint(up("s")).SetSort(up("s")).
			SetProjection(toFollow()).SetLimit(changesStep).SetBatchSize(changesStep))
		err = each(ctx, cur, err, "read changes", func(doc bson.Raw) error {
			n++
			r, err := readRecord(bson.Raw(append([]byte(nil), doc...)))
			if n == changesStep { // there may be more behind it
				reached = min(reached, r.Seq)
			}
			all = append(all, r)
			return err
		})
		if err != nil {
			return nil, after, err
		}
	}
	return inOrder(all, reached), reached, nil
}

func seqRange(after, upto store.Seq) bson.D {
	return bson.D{{Key: "s", Value: bson.D{{Key: "$gt", Value: int64(after)}, {Key: "$lte", Value: int64(upto)}}}}
}

// inOrder is the versions up to reached, each once, without void numbers.
func inOrder(all []record, reached store.Seq) []record {
	all = slices.DeleteFunc(all, func(r record) bool { return r.RID == 0 || r.Seq > reached })
	slices.SortFunc(all, func(a, b record) int { return int(int64(a.Seq) - int64(b.Seq)) })
	return slices.CompactFunc(all, func(a, b record) bool { return a.Seq == b.Seq })
}

func (f *feed) state() (settled store.Seq, changed <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.settled, f.changed
}

// wait returns once the sequence is settled beyond after.
func (f *feed) wait(ctx context.Context, after store.Seq) (store.Seq, error) {
	for {
		if err := f.s.open(); err != nil {
			return 0, err
		}
		settled, changed := f.state()
		if settled > after {
			return settled, nil
		}
		select {
		case f.token <- struct{}{}:
			err := f.poll(ctx, after)
			<-f.token
			if err != nil {
				return 0, err
			}
		case <-changed:
		case <-f.s.closing:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// poll looks until settled is beyond after. Its caller holds the token.
func (f *feed) poll(ctx context.Context, after store.Seq) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for pause := pauseMin; ; pause = min(pause*3/2, pauseMax) {
		if _, err := f.advance(ctx); err != nil {
			return err
		}
		if settled, _ := f.state(); settled > after {
			return nil
		}
		timer.Reset(pause)
		select {
		case <-f.kick:
			pause = pauseMin
		case <-timer.C:
		case <-f.s.closing:
			return f.s.open()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// advance settles what it can and says whether that was anything.
func (f *feed) advance(ctx context.Context) (moved bool, err error) {
	settled, err := f.load(ctx)
	if err != nil {
		return false, err
	}
	last, err := f.s.counter.last(ctx)
	if err != nil || store.Seq(last.N) <= settled {
		return false, err
	}
	upto := min(store.Seq(last.N), settled+settleStep)
	present, err := f.present(ctx, settled, upto)
	if err != nil {
		return false, err
	}
	reached := settled
	for _, q := range present {
		if q != reached+1 {
			break
		}
		reached = q
	}
	if reached < upto {
		if err := f.mind(ctx, reached+1, upto, present); err != nil {
			return false, err
		}
	}
	return f.settle(reached), nil
}

// present is the numbers in (after, upto] that have a document, in order. As in
// between, res is read before hist.
func (f *feed) present(ctx context.Context, after, upto store.Seq) ([]store.Seq, error) {
	var all []store.Seq
	for _, c := range []*mongo.Collection{f.s.res, f.s.hist} {
		cur, err := c.Find(ctx, seqRange(after, upto), options.Find().SetHint(up("s")).SetBatchSize(settleStep).
			SetProjection(bson.D{{Key: "_id", Value: 0}, {Key: "s", Value: 1}}))
		err = each(ctx, cur, err, "read the sequence", func(doc bson.Raw) error {
			all = append(all, store.Seq(doc.Lookup("s").AsInt64()))
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// mind watches a gap that begins at from, and voids what is missing in it when
// the lease is over.
func (f *feed) mind(ctx context.Context, from, upto store.Seq, present []store.Seq) error {
	f.mu.Lock()
	if f.gap.from != from {
		f.gap = gap{from: from, upto: upto, at: time.Now()}
	}
	g := f.gap
	f.mu.Unlock()
	if time.Since(g.at) < f.lease {
		return nil
	}
	var missing []store.Seq
	for q := from; q <= g.upto; q++ {
		if _, found := slices.BinarySearch(present, q); !found {
			missing = append(missing, q)
		}
	}
	f.s.log.Warn("a writer did not finish; its sequence numbers are void", slog.Uint64("first", uint64(from)), slog.Int("count", len(missing)))
	f.mu.Lock()
	f.gap = gap{}
	f.mu.Unlock()
	defer f.s.reaper.watch(f.s)() // the dead writer may hold its numbers in a transaction
	return f.s.voidAll(ctx, missing)
}

// settle moves settled up to reached.
func (f *feed) settle(reached store.Seq) (moved bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if reached <= f.settled {
		return false
	}
	f.settled = reached
	close(f.changed)
	f.changed = make(chan struct{})
	if f.settled >= f.persisted+persistEvery {
		f.persisted = f.settled
		f.s.background(func(ctx context.Context) { f.save(ctx, reached) })
	}
	return true
}

// load is the settled number, at first the one that some process saved.
func (f *feed) load(ctx context.Context) (store.Seq, error) {
	f.mu.Lock()
	settled, loaded := f.settled, f.loaded
	f.mu.Unlock()
	if loaded {
		return settled, nil
	}
	var saved []counts
	cur, err := f.s.counter.coll.Find(ctx, bson.D{{Key: "_id", Value: "settled"}})
	if err == nil {
		err = cur.All(ctx, &saved)
	}
	if err != nil {
		return 0, classify("read the settled sequence", err)
	}
	if len(saved) > 0 {
		settled = store.Seq(saved[0].N)
	}
	f.settle(settled)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.loaded, f.persisted = true, max(f.persisted, settled)
	return f.settled, nil
}

// save stores how far the sequence is settled; later processes begin there.
func (f *feed) save(ctx context.Context, settled store.Seq) {
	_, err := f.s.counter.coll.UpdateOne(ctx, bson.D{{Key: "_id", Value: "settled"}},
		bson.D{{Key: "$max", Value: bson.D{{Key: "n", Value: int64(settled)}}}}, options.UpdateOne().SetUpsert(true))
	if err != nil && !mongo.IsDuplicateKeyError(err) {
		f.s.log.Debug("settled sequence not saved", slog.Any("error", err))
	}
}

// persist saves what is settled, at the end.
func (f *feed) persist(ctx context.Context) {
	f.mu.Lock()
	settled, persisted := f.settled, f.persisted
	f.mu.Unlock()
	if settled > persisted {
		f.save(ctx, settled)
	}
}
