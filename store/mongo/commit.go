package mongo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"candela/store"
	"candela/store/body"
)

// maxOps is what one transaction can write in its time.
const maxOps = 50_000

// pending is one op with what can be made ready before anything is read.
type pending struct {
	*store.Op
	hash, packed []byte
	claims       []string // of IfNone
}

// Commit does all ops or none. A single op is one insert, or one insert into
// hist and one compare-and-swap; several, an erase, or one with IfNone, are a
// transaction.
func (s *Store) Commit(ctx context.Context, ops ...store.Op) ([]store.Result, error) {
	if err := s.open(); err != nil || len(ops) == 0 {
		return nil, err
	}
	batch, err := ready(ops)
	if err != nil {
		return nil, err
	}
	if err := store.Twins(ops, s.now()); err != nil {
		return nil, err
	}
	results, err := s.admitted(ctx, batch, false)
	if errors.Is(err, errCrowded) {
		results, err = s.admitted(ctx, batch, true)
	}
	if err == nil {
		s.feed.wake()
	}
	return results, err
}

// admitted does a batch once the gates let it in and no other commit of this
// process holds its keys. The keys come last, so that who waits at a gate keeps
// nobody from a key.
func (s *Store) admitted(ctx context.Context, batch []pending, alone bool) ([]store.Result, error) {
	leave, large, err := s.gates.enter(ctx, weightOf(batch), alone)
	if err != nil {
		return nil, classify("commit", err)
	}
	defer leave()
	done, err := s.turns.Take(ctx, lockNames(batch))
	if err != nil {
		return nil, classify("commit", err)
	}
	defer done()
	defer s.reaper.watch(s)()
	attempt := s.transact
	if len(batch) == 1 && batch[0].IfNone == nil && batch[0].Action != store.Erase {
		attempt = s.single
	}
	return s.insist(ctx, batch, attempt, patience{large: large, alone: alone})
}

// insist tries until the commit is decided. Each try reads and validates anew
// and has timeFor the batch; after that time no new one begins. A large one that
// may yet have the database for itself gives up at the first failure.
func (s *Store) insist(ctx context.Context, batch []pending, attempt func(context.Context, []pending) ([]store.Result, error), how patience) ([]store.Result, error) {
	limit, begin := timeFor(len(batch)), time.Now()
	var err error
	for n := range how.tries() {
		var results []store.Result
		if results, err = within(ctx, limit, batch, attempt); err == nil || !again(err) {
			return results, s.explain(ctx, batch, err)
		}
		if how.large && !how.alone && ctx.Err() == nil {
			return nil, fmt.Errorf("%w: %w", errCrowded, err)
		}
		select {
		case <-time.After(how.pause(n)):
		case <-ctx.Done():
		}
		if ctx.Err() != nil || time.Since(begin) > limit {
			break
		}
	}
	return nil, s.explain(ctx, batch, err)
}

// within makes one attempt, in its time.
func within(ctx context.Context, limit time.Duration, batch []pending, attempt func(context.Context, []pending) ([]store.Result, error)) ([]store.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return attempt(ctx, batch)
}

// explain tells what a commit failed of apart: that its caller's time was over,
// that others were first for too long, that it is more than the database writes
// in a transaction's time, or that there is no database.
func (s *Store) explain(ctx context.Context, batch []pending, err error) error {
	late := err != nil && (mongo.IsTimeout(err) || errors.Is(err, context.DeadlineExceeded))
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return errors.Join(classify("commit", ctx.Err()), err)
	case late && len(batch) >= manyOps && s.answers(ctx):
		return fmt.Errorf("mongo: %d ops were not written within %v; the database is slow or the bundle too large: %w (%s)",
			len(batch), timeFor(len(batch)), store.ErrTooLarge, err.Error())
	case hasCode(err, codesConflict...) && weightOf(batch) > s.gates.room:
		return fmt.Errorf("mongo: %d ops are more than the database's cache takes in one transaction: %w (%s)", len(batch), store.ErrTooLarge, err.Error())
	case !late && again(err) && !mongo.IsNetworkError(err):
		return fmt.Errorf("mongo: lost races for too long: %w (%s)", store.ErrConflict, err.Error())
	}
	return classify("commit", err)
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
	for i := range ops {
		p := pending{Op: &ops[i]}
		if seen[p.Key] {
			return nil, &store.OpError{Index: i, Err: store.ErrTwice}
		}
		seen[p.Key] = true
		if p.IfNone != nil {
			p.claims = store.Claims(*p.IfNone)
		}
		if p.Action == store.Create || p.Action == store.Put {
			p.hash, p.packed = hashOf(p.Raw), body.Compress(nil, p.Raw)
		}
		batch[i] = p
	}
	return batch, nil
}

// lockNames is what the commits of this process must not do at the same time.
func lockNames(batch []pending) []string {
	var names []string
	for i := range batch {
		if batch[i].Action != store.Create {
			names = append(names, "k"+batch[i].Key.String())
		}
		for _, claim := range batch[i].claims {
			names = append(names, "c"+claim)
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
	wipe                   // all versions end
)

// judge decides an op. cur is nil when the key never existed.
func (p *pending) judge(cur *record) (verdict, error) {
	live := cur != nil && cur.live()
	there := live || cur != nil && p.Action == store.Erase && p.IfMatch > 0 // a delete has a number too
	if p.IfMatch != 0 && (!there || p.IfMatch > 0 && cur.Number != p.IfMatch) {
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
	case store.Erase:
		if cur == nil {
			return nothing, store.ErrNotFound
		}
		return wipe, nil
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
	if v == wipe {
		r.Number = 0
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
		if cur, err = s.head(ctx, p.Key, toReplace()); err != nil {
			return nil, err
		}
	}
	v, err := p.judge(cur)
	if err != nil {
		return nil, &store.OpError{Err: err}
	}
	var r *record
	switch v {
	case nothing, wipe: // a wipe is a transaction's
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
// wait. When that takes long or the store cannot be reached it is done later,
// once. It does not use the caller's context, which may be over.
func (s *Store) forfeit(g grant, why error) {
	if g.seqs == 0 {
		return
	}
	if g.seqs > manyOps || errors.Is(why, store.ErrUnavailable) {
		s.background(func(ctx context.Context) { s.void(ctx, g) })
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), selectTime)
	defer cancel()
	s.void(ctx, g)
}
