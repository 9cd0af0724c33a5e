package mongo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"candela/store"
	"candela/store/body"
)

const (
	commitTime   = 15 * time.Second     // for a commit of one op
	commitTimeOp = 5 * time.Millisecond // more for each op
	commitMost   = 55 * time.Second     // MongoDB ends a transaction after 60
	maxTries     = 100                  // of one commit that keeps losing races
	maxOps       = 50_000               // what one transaction can write in its time
)

// timeFor is how long a commit of n ops may take.
func timeFor(n int) time.Duration { return min(commitTime+time.Duration(n)*commitTimeOp, commitMost) }

// pending is one op with what can be made ready before anything is read.
type pending struct {
	*store.Op
	hash, packed []byte
	claim        []byte // of IfNone, nil without
}

// Commit does all ops or none. A single op is one insert, or one insert into
// hist and one compare-and-swap; several, or one with IfNone, are a transaction.
func (s *Store) Commit(ctx context.Context, ops ...store.Op) ([]store.Result, error) {
	if err := s.open(); err != nil || len(ops) == 0 {
		return nil, err
	}
	batch, err := ready(ops)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeFor(len(ops)))
	defer cancel()
	unlock, err := s.keys.lock(ctx, lockNames(batch))
	if err != nil {
		return nil, classify("commit", err)
	}
	defer unlock()
	defer s.reaper.watch(s)()
	attempt := s.transact
	if len(ops) == 1 && ops[0].IfNone == nil {
		attempt = s.single
	}
	results, err := s.insist(ctx, batch, attempt)
	if err == nil {
		s.feed.wake()
	}
	return results, err
}

// insist tries until the commit is decided. Each try reads and validates anew.
func (s *Store) insist(ctx context.Context, batch []pending, attempt func(context.Context, []pending) ([]store.Result, error)) ([]store.Result, error) {
	var err error
	for n := range maxTries {
		var results []store.Result
		if results, err = attempt(ctx, batch); err == nil || !again(err) {
			return results, err
		}
		pause := time.Duration(rand.Int64N(int64(time.Millisecond) << min(n, 7)))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, errors.Join(classify("commit", ctx.Err()), err)
		}
	}
	return nil, fmt.Errorf("mongo: lost %d races: %w: %w", maxTries, store.ErrConflict, err)
}

// again says whether another try may succeed. That no server is there was
// found out by waiting for one.
func again(err error) bool {
	return errors.Is(err, errAgain) || hasLabel(err, "TransientTransactionError") && !selectionFailed(err)
}

// ready checks ops among themselves and packs their bodies.
func ready(ops []store.Op) ([]pending, error) {
	if len(ops) > maxOps {
		return nil, fmt.Errorf("mongo: %d ops in one commit, at most %d: %w", len(ops), maxOps, store.ErrTooLarge)
	}
	batch := make([]pending, len(ops))
	seen := make(map[store.Key]bool, len(ops))
	claims := map[string]bool{}
	for i := range ops {
		p := pending{Op: &ops[i]}
		if ops[i].IfNone != nil {
			p.claim = claimOf(ops[i].IfNone)
		}
		if seen[p.Key] || claims[string(p.claim)] {
			return nil, &store.OpError{Index: i, Err: store.ErrTwice}
		}
		seen[p.Key] = true
		if p.claim != nil {
			claims[string(p.claim)] = true
		}
		if p.Action == store.Create || p.Action == store.Put {
			p.hash, p.packed = hashOf(p.Raw), body.Compress(nil, p.Raw)
		}
		batch[i] = p
	}
	return batch, nil
}

// claimOf names a query by what it can match: two with equal names exclude each other.
func claimOf(q *store.Query) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%#v %#v", q.Types, q.Where))
	return sum[:16]
}

// lockNames is what the commits of this process must not do at the same time.
func lockNames(batch []pending) []string {
	var names []string
	for i := range batch {
		if batch[i].Action != store.Create {
			names = append(names, "k"+batch[i].Key.String())
		}
		if batch[i].claim != nil {
			names = append(names, "c"+string(batch[i].claim))
		}
	}
	return names
}

// verdict is what an op comes to, given the present version.
type verdict uint8

const (
	nothing verdict = iota // the present version stays
	fresh                  // a new resource
	next                   // a version that replaces another
	renew                  // the same version with other entries
)

// judge decides an op. cur is nil when the key never existed.
func (p *pending) judge(cur *record) (verdict, error) {
	live := cur != nil && cur.live()
	if p.IfMatch != 0 && (!live || p.IfMatch > 0 && cur.Number != p.IfMatch) {
		return nothing, store.ErrPrecondition
	}
	switch p.Action {
	case store.Create:
		if cur != nil {
			return nothing, store.ErrConflict
		}
		return fresh, nil
	case store.Put:
		switch {
		case cur == nil:
			return fresh, nil
		case live && bytes.Equal(cur.hash, p.hash):
			return nothing, nil
		}
		return next, nil
	case store.Delete:
		switch {
		case cur == nil:
			return nothing, store.ErrNotFound
		case !live:
			return nothing, nil
		}
		return next, nil
	case store.Reindex:
		if p.IfMatch <= 0 {
			return nothing, store.ErrPrecondition
		}
		return renew, nil
	}
	return nothing, fmt.Errorf("action %d: %w", p.Action, store.ErrQuery)
}

// make is the record that p makes of cur, at seq and at t or later.
func (p *pending) make(v verdict, cur *record, seq store.Seq, rid store.RID, t time.Time) *record {
	if v == renew {
		r := *cur
		return &r
	}
	r := &record{Version: store.Version{Key: p.Key, RID: rid, Number: 1, Seq: seq, Time: t, Action: p.Action}, hash: p.hash, packed: p.packed}
	if cur != nil {
		r.RID, r.Number = cur.RID, cur.Number+1
		if cur.Time.After(t) {
			r.Time = cur.Time
		}
	}
	return r
}

// result says what came of p.
func (p *pending) result(v verdict, cur, r *record) store.Result {
	if v == nothing {
		r = cur
	}
	out := store.Result{Version: r.Version, Unchanged: v == nothing}
	out.Created = (v == fresh || v == next) && r.live() && (cur == nil || !cur.live())
	if r.live() && p.Action != store.Reindex {
		out.Raw = p.Raw
	}
	return out
}

// single does one op without IfNone and without a transaction.
func (s *Store) single(ctx context.Context, batch []pending) ([]store.Result, error) {
	p := &batch[0]
	var cur *record
	if p.Action != store.Create {
		var err error
		if cur, err = s.head(ctx, p.Key, true); err != nil {
			return nil, err
		}
	}
	v, err := p.judge(cur)
	if err != nil {
		return nil, &store.OpError{Err: err}
	}
	var r *record
	switch v {
	case nothing:
	case fresh:
		r, err = s.insert(ctx, p)
	case next:
		r, err = s.replace(ctx, p, cur)
	case renew:
		r = p.make(v, cur, 0, 0, time.Time{})
		err = s.swap(ctx, cur, r, p.Entries)
	}
	if err != nil {
		return nil, err
	}
	return []store.Result{p.result(v, cur, r)}, nil
}

// insert makes a new resource: one insert, which the index on (t, i) decides.
func (s *Store) insert(ctx context.Context, p *pending) (*record, error) {
	g, err := s.counter.take(ctx, 1, 1)
	if err != nil {
		return nil, err
	}
	r := p.make(fresh, nil, g.seq, g.rid, g.time)
	doc, err := r.current(p.Entries)
	if err == nil {
		_, err = s.res.InsertOne(ctx, doc)
		err = raced(err, p.Action)
	}
	if err != nil {
		s.forfeit(g, err)
		return nil, opError(0, err)
	}
	return r, nil
}

// raced turns the error of an insert that met a twin into what it means.
func raced(err error, a store.Action) error {
	switch field, _ := twin(err); field {
	case "":
		return classify("insert", err)
	case "t":
		if a == store.Create {
			return store.ErrConflict
		}
	}
	return errAgain // another Put was first, or a reader took the sequence number for lost
}

// opError names the op, except where another try may still succeed or the store is to blame.
func opError(index int, err error) error {
	if again(err) || errors.Is(err, store.ErrUnavailable) {
		return err
	}
	return &store.OpError{Index: index, Err: err}
}

// replace keeps cur in hist, then swaps the current version. A copy in hist of
// a version that is still current, left by a lost race or a crash, is harmless:
// readers know it by its sequence number.
func (s *Store) replace(ctx context.Context, p *pending, cur *record) (*record, error) {
	kept := make(chan error, 1)
	go func() { kept <- s.keep(ctx, cur) }()
	g, err := s.counter.take(ctx, 1, 0)
	if err = errors.Join(err, <-kept); err != nil {
		s.forfeit(g, err)
		return nil, opError(0, err)
	}
	r := p.make(next, cur, g.seq, 0, g.time)
	if err := s.swap(ctx, cur, r, p.Entries); err != nil {
		s.forfeit(g, err)
		return nil, err
	}
	return r, nil
}

// keep copies a version to hist, where it may be already.
func (s *Store) keep(ctx context.Context, cur *record) error {
	doc, err := cur.replaced()
	if err != nil {
		return err
	}
	_, err = s.hist.InsertOne(ctx, doc)
	if mongo.IsDuplicateKeyError(err) {
		return nil
	}
	return classify("keep the old version", err)
}

// swap replaces cur by r if cur is still current.
func (s *Store) swap(ctx context.Context, cur, r *record, entries []store.Entry) error {
	doc, err := r.current(entries)
	if err != nil {
		return opError(0, err)
	}
	done, err := s.res.ReplaceOne(ctx, isVersion(cur), doc, options.Replace().SetHint(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		return opError(0, raced(err, store.Put))
	}
	if done.MatchedCount == 0 {
		return errAgain
	}
	return nil
}

// isVersion finds the current document of cur's resource if it is still cur.
func isVersion(cur *record) bson.D {
	return bson.D{{Key: "_id", Value: int64(cur.RID)}, {Key: "v", Value: cur.Number}, {Key: "s", Value: int64(cur.Seq)}}
}

// forfeit voids a grant before the caller hears why, so that the feed does not
// wait. When the store cannot be reached it is tried later, once. It does not
// use the caller's context, which may be over.
func (s *Store) forfeit(g grant, why error) {
	if g.seqs == 0 {
		return
	}
	if errors.Is(why, store.ErrUnavailable) {
		s.background(func(ctx context.Context) { s.void(ctx, g) })
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), selectTime)
	defer cancel()
	s.void(ctx, g)
}

// keyLocks lets the commits of this process to one resource or claim go one
// after another, so that only other processes can win a race against them.
// MongoDB decides all races; this only saves losing them.
type keyLocks struct {
	mu   sync.Mutex
	held map[string]*keyLock
}

type keyLock struct {
	token chan struct{} // holds one token while free
	users int
}

// lock locks all names, which it sorts; unlock gives them back. It fails only with ctx.
func (l *keyLocks) lock(ctx context.Context, names []string) (unlock func(), err error) {
	slices.Sort(names)
	names = slices.Compact(names)
	for i, name := range names {
		if err := l.one(ctx, name); err != nil {
			l.release(names[:i])
			return nil, err
		}
	}
	return func() { l.release(names) }, nil
}

func (l *keyLocks) one(ctx context.Context, name string) error {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]*keyLock{}
	}
	k := l.held[name]
	if k == nil {
		k = &keyLock{token: make(chan struct{}, 1)}
		k.token <- struct{}{}
		l.held[name] = k
	}
	k.users++
	l.mu.Unlock()
	select {
	case <-k.token:
		return nil
	case <-ctx.Done():
		l.leave(name, k)
		return ctx.Err()
	}
}

func (l *keyLocks) release(names []string) {
	for _, name := range names {
		l.mu.Lock()
		k := l.held[name]
		l.mu.Unlock()
		k.token <- struct{}{}
		l.leave(name, k)
	}
}

func (l *keyLocks) leave(name string, k *keyLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.users--; k.users == 0 {
		delete(l.held, name)
	}
}
