package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2"

	"candela/store"
	"candela/store/body"
	"candela/store/plan"
	"candela/store/vault"
)

// maxCommit is the most bytes one commit may write.
const maxCommit = 1 << 30

// task is one op of a commit under way.
type task struct {
	op     *store.Op
	time   time.Time
	packed []byte        // the body
	hash   uint64        // of the raw bytes
	keys   plan.Keys     // wanted after the commit
	had    current       // before the commit
	old    plan.Keys     // before the commit
	left   []store.Entry // before the commit
	lost   [][]byte      // owners that the resource has no more
	past   []place       // what an erase takes away: all versions,
	owners [][]byte      // and the former owners
	result store.Result
	owner  []byte         // whose key seals it, nil: the shared one
	key    *vault.DataKey // that seals what it writes
	sealed vault.ID       // the key of the forward record of before
}

// Commit does all ops or none. What costs most, packing bodies and deriving
// keys, is done before locks are taken; the wait for the disk comes after they
// are released, so that many commits share one sync.
func (s *Store) Commit(ctx context.Context, ops ...store.Op) ([]store.Result, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	if len(ops) == 0 {
		return nil, nil
	}
	tasks, size, err := s.prepare(ops)
	if err != nil {
		return nil, err
	}
	if err := store.Twins(ops, s.now()); err != nil {
		return nil, err
	}
	if err := s.room(size); err != nil {
		return nil, err
	}
	if err := s.commit(ctx, tasks, size); err != nil {
		return nil, err
	}
	results := make([]store.Result, len(tasks))
	for i := range tasks {
		results[i] = tasks[i].result
	}
	return results, nil
}

// prepare does what needs no lock.
func (s *Store) prepare(ops []store.Op) (tasks []task, size int, err error) {
	now := s.now()
	tasks = make([]task, len(ops))
	seen := make(map[store.Key]struct{}, len(ops))
	for i := range ops {
		op := &ops[i]
		if err := checkOp(op); err != nil {
			return nil, 0, &store.OpError{Index: i, Err: err}
		}
		if _, twice := seen[op.Key]; twice {
			return nil, 0, &store.OpError{Index: i, Err: fmt.Errorf("%s: %w", op.Key, store.ErrTwice)}
		}
		seen[op.Key] = struct{}{}
		t := &tasks[i]
		t.op, t.time = op, now
		if indexed(op) {
			t.keys = plan.KeysOf(op.Key.Type, op.Entries, now)
			t.owner = s.ownerOf(op.Key, op.Entries)
		}
		if op.Action == store.Create || op.Action == store.Put {
			t.packed = body.Compress(nil, op.Raw)
			t.hash = xxhash.Sum64(op.Raw)
		}
		if size += len(t.packed) + 64*(len(t.keys.Equal)+len(op.Entries)) + versionHead; size > maxCommit {
			return nil, 0, &store.OpError{Index: i, Err: store.ErrTooLarge}
		}
	}
	return tasks, size, nil
}

// indexed says whether a resource has index keys behind an op.
func indexed(op *store.Op) bool { return op.Action != store.Delete && op.Action != store.Erase }

// now is the clock in the store's resolution.
func (s *Store) now() time.Time { return s.opt.Now().UTC().Truncate(time.Millisecond) }

func checkOp(op *store.Op) error {
	switch {
	case !nameable(op.Key):
		return fmt.Errorf("%w: type and id must have 1 to %d bytes", store.ErrQuery, maxName)
	case op.Action < store.Create || op.Action > store.Erase:
		return fmt.Errorf("%w: action %d", store.ErrQuery, op.Action)
	case len(op.Raw) > body.MaxSize:
		return store.ErrTooLarge
	}
	return nil
}

// commit checks and writes tasks under their locks, then waits for the disk.
func (s *Store) commit(ctx context.Context, tasks []task, size int) error {
	held, err := s.lock(tasks)
	if err != nil {
		return err
	}
	ticket, batch, err := s.stage(ctx, tasks, size)
	s.locks.unlock(held)
	if err != nil || ticket == nil {
		return err
	}
	return s.settle(ticket, batch)
}

// stage checks tasks and applies their batch. A nil ticket: nothing to write.
func (s *Store) stage(ctx context.Context, tasks []task, size int) (*ticket, *pebble.Batch, error) {
	for i := range tasks {
		if err := s.check(ctx, &tasks[i]); err != nil {
			return nil, nil, &store.OpError{Index: i, Err: err}
		}
	}
	seqs, rids, newest, any := demand(tasks)
	if !any {
		return nil, nil, nil
	}
	sealing, err := s.sealing(tasks)
	if err != nil {
		return nil, nil, err
	}
	t := s.feed.begin(seqs, rids, newest, slices.ContainsFunc(tasks, func(k task) bool { return k.op.Action == store.Erase }))
	b := s.db.NewBatchWithSize(size + 512)
	if err := s.fill(b, tasks, t, &sealing); err != nil {
		s.feed.end(t)
		return nil, nil, errors.Join(err, fault(b.Close()))
	}
	defer s.purge.begin(t, b)()
	changing := s.sets.Begin(touched(tasks))
	if err := s.apply(b); err != nil {
		s.sets.Spoil() // nobody knows what was written
		return t, b, err
	}
	sealing.settled(s)
	s.sets.End(changing, func(held bool, changed func(hash uint64, rid store.RID, gone bool)) {
		for i := range tasks {
			if rid := tasks[i].rid(); rid != 0 {
				tasks[i].changes(held, func(hash uint64, gone bool) { changed(hash, rid, gone) })
			}
		}
	})
	return t, b, nil
}

// changes tells which lists a task changes; with held also those of parameters
// that the resource has.
func (t *task) changes(held bool, tell func(hash uint64, gone bool)) {
	differ(t.old.Equal, t.keys.Equal, cmp.Compare[uint64], tell)
	if !held {
		return
	}
	var now []store.Entry
	if t.op.Action != store.Delete && t.op.Action != store.Erase {
		now = t.op.Entries
	}
	differ(plan.HeldOf(t.op.Key.Type, t.left), plan.HeldOf(t.op.Key.Type, now), cmp.Compare[uint64], tell)
}

// rid is the record that a task changes, 0 for none.
func (t *task) rid() store.RID {
	switch {
	case t.result.Unchanged:
		return 0
	case t.had.rid != 0:
		return t.had.rid
	}
	return t.result.RID
}

func touched(tasks []task) []store.RID {
	rids := make([]store.RID, 0, len(tasks))
	for i := range tasks {
		if rid := tasks[i].rid(); rid != 0 {
			rids = append(rids, rid)
		}
	}
	return rids
}

// demand counts the sequence numbers and new record ids that tasks need.
func demand(tasks []task) (seqs, rids int, newest time.Time, any bool) {
	for i := range tasks {
		t := &tasks[i]
		if t.result.Unchanged {
			continue
		}
		any = true
		if t.op.Action == store.Reindex {
			continue
		}
		seqs++
		if t.had.absent() {
			rids++
		}
		if t.time.After(newest) {
			newest = t.time
		}
	}
	return seqs, rids, newest, any
}

// check reads the present state of a task's key and holds its conditions
// against it.
func (s *Store) check(ctx context.Context, t *task) (err error) {
	if t.had, err = s.current(s.db, t.op.Key); err != nil {
		return err
	}
	if err := precondition(t.op, &t.had); err != nil {
		return err
	}
	if err := s.checkNone(ctx, t.op.IfNone); err != nil {
		return err
	}
	if unchanged, err := s.unchanged(t); err != nil || unchanged {
		return err
	}
	return s.ready(t)
}

func precondition(op *store.Op, had *current) error {
	ends := op.Action == store.Delete || op.Action == store.Erase
	switch {
	case op.Action == store.Reindex && had.absent(), ends && had.absent() && op.IfMatch == 0:
		return fmt.Errorf("%s: %w", op.Key, store.ErrNotFound)
	case op.IfMatch == -1 && !had.live():
		return fmt.Errorf("%s is not there: %w", op.Key, store.ErrPrecondition)
	case op.IfMatch > 0 && (op.IfMatch != had.number || !had.live() && op.Action != store.Erase):
		return fmt.Errorf("%s has version %d, not a live %d: %w", op.Key, had.number, op.IfMatch, store.ErrPrecondition)
	case op.Action == store.Create && !had.absent():
		return fmt.Errorf("%s exists: %w", op.Key, store.ErrConflict)
	case op.Action == store.Reindex && op.IfMatch != had.number:
		return fmt.Errorf("%s: a reindex names the version it is for: %w", op.Key, store.ErrPrecondition)
	}
	return nil
}

// checkNone looks for what must not be there. Its claim is locked.
func (s *Store) checkNone(ctx context.Context, none *store.Query) error {
	if none == nil {
		return nil
	}
	page, err := s.planner.Find(ctx, store.Query{Types: none.Types, Where: none.Where, Count: 1, NoRaw: true})
	switch {
	case err != nil:
		return err
	case len(page.Versions) > 0:
		return fmt.Errorf("%s matches: %w", page.Versions[0].Key, store.ErrPrecondition)
	}
	return nil
}

// unchanged finishes a task that would change nothing.
func (s *Store) unchanged(t *task) (bool, error) {
	var v store.Version
	same, err := false, error(nil)
	switch {
	case t.op.Action == store.Put:
		v, same, err = s.sameBody(&t.had, t.op.Raw, t.hash)
	case t.op.Action == store.Delete && !t.had.live():
		same = true
		v, err = s.version(s.db, t.had.rid, t.had.number)
	}
	if same && err == nil {
		t.result = store.Result{Version: v, Unchanged: true}
	}
	return same, err
}

// ready sets a task's time and loads the keys that its resource has now.
func (s *Store) ready(t *task) error {
	if t.op.Action == store.Reindex || t.had.time.After(t.time) {
		t.time = t.had.time
		if indexed(t.op) {
			t.keys = plan.KeysOf(t.op.Key.Type, t.op.Entries, t.time)
		}
	}
	if t.op.Action == store.Erase {
		if err := s.gather(t); err != nil {
			return err
		}
	}
	if !t.had.live() {
		return nil
	}
	row, sealed, err := s.row(s.db, t.had.rid)
	if err != nil {
		return err
	}
	t.sealed = sealed
	if err := row.Decode(); err != nil {
		return err
	}
	t.old, t.left = plan.KeysOf(row.Key.Type, row.Entries, row.Time), row.Entries
	t.lost = lostOwners(row.Entries, t.op)
	return nil
}

// lostOwners are the owners among entries that are none behind op.
func lostOwners(entries []store.Entry, op *store.Op) (lost [][]byte) {
	if op.Action == store.Erase {
		return nil
	}
	for i := range entries {
		e := &entries[i]
		kept := indexed(op) && slices.ContainsFunc(op.Entries, func(o store.Entry) bool {
			return owns(&o) && o.Space == e.Space && o.Name == e.Name
		})
		if !owns(e) || kept {
			continue
		}
		if owner := (store.Key{Type: e.Space, ID: e.Name}); nameable(owner) {
			lost = append(lost, appendOwner(nil, owner))
		}
	}
	return lost
}

func owns(e *store.Entry) bool { return e.Role&store.Anchor != 0 && e.Kind == store.Link }

// gather reads what an erase must take away besides the present state.
func (s *Store) gather(t *task) error {
	prefix := number8(nil, spaceVersion, uint64(t.had.rid))
	err := s.each(prefix, func(key, value []byte) error {
		p, err := readPlace(key, value)
		t.past = append(t.past, p)
		return err
	})
	if err != nil {
		return err
	}
	prefix = number8(nil, spaceOwner, uint64(t.had.rid))
	return s.each(prefix, func(key, _ []byte) error {
		t.owners = append(t.owners, slices.Clone(key[len(prefix):]))
		return nil
	})
}

// each calls use with all that stands under keys with a prefix.
func (s *Store) each(prefix []byte, use func(key, value []byte) error) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return fault(err)
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		err = use(it.Key(), it.Value())
	}
	return errors.Join(err, fault(it.Error()), fault(it.Close()))
}

// row reads the forward record of a live resource, and which key sealed it.
func (s *Store) row(r pebble.Reader, rid store.RID) (row plan.Row, sealed vault.ID, err error) {
	key := rowKey(nil, rid)
	data, err := s.lookup(r, key)
	if err != nil {
		return row, 0, err
	}
	if data == nil {
		return row, 0, fmt.Errorf("%w: no forward record of %d", store.ErrCorrupt, rid)
	}
	if s.keys != nil {
		sealed, _ = vault.SealedBy(data) // reveal tells what is wrong
	}
	if data, err = s.reveal(r, nil, key, nil, data); err != nil {
		return row, 0, err
	}
	plain, err := body.Expand(nil, data)
	if err != nil {
		return row, 0, fault(err)
	}
	row, err = plan.OpenRow(plain)
	return row, sealed, err
}

// apply puts a batch into the database, in a goroutine of its own: where the
// database gives up it ends that goroutine and not the caller's.
func (s *Store) apply(b *pebble.Batch) error {
	done := make(chan error, 1)
	go func() {
		err := errGaveUp
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("%w: %v", errGaveUp, p)
				if cause, ok := p.(error); ok {
					err = cause
				}
			}
			done <- err
		}()
		if s.opt.Relaxed {
			err = s.db.Apply(b, pebble.NoSync)
			return
		}
		err = s.db.ApplyNoSyncWait(b, pebble.Sync)
	}()
	select {
	case err := <-done:
		if err != nil {
			return s.health.fail(err)
		}
		return nil
	case <-s.health.broken:
		return s.health.err()
	}
}

var errGaveUp = errors.New("the database gave up")

// settle waits until a batch is on disk and lets the feed go on.
func (s *Store) settle(t *ticket, b *pebble.Batch) error {
	if !s.opt.Relaxed {
		if err := b.SyncWait(); err != nil {
			return s.health.fail(err)
		}
	}
	s.feed.end(t)
	return fault(b.Close())
}

// stripes is how many locks all keys share: many, so that a large commit does
// not hold most of them.
const stripes = 1 << 16

// locks are taken in order, so that two commits never wait for each other.
type locks struct {
	once   sync.Once
	stripe []sync.Mutex
}

func (l *locks) lock(held []uint16) {
	l.once.Do(func() { l.stripe = make([]sync.Mutex, stripes) })
	for _, i := range held {
		l.stripe[i].Lock()
	}
}

func (l *locks) unlock(held []uint16) {
	for _, i := range held {
		l.stripe[i].Unlock()
	}
}

// claims is the stripes of all that tasks touch: their keys, and what the queries
// are about that must match nothing.
func (s *Store) claims(tasks []task) []uint16 {
	held := make([]uint16, 0, len(tasks))
	var space [128]byte
	for i := range tasks {
		op := tasks[i].op
		held = append(held, uint16(xxhash.Sum64(currentKey(space[:0], op.Key))))
		if tasks[i].owner != nil && s.keys != nil { // its key must not be made or destroyed meanwhile
			if k, err := readOwner(tasks[i].owner); err == nil {
				held = append(held, stripeOf(k))
			}
		}
		if op.IfNone == nil {
			continue
		}
		for _, claim := range store.Claims(*op.IfNone) {
			held = append(held, uint16(xxhash.Sum64String(claim)))
		}
	}
	slices.Sort(held)
	return slices.Compact(held)
}
