// Package embedded is the store in one folder, on Pebble: no server, one
// process, every acknowledged write on disk.
//
// What is erased is gone for every reader at once. Its bytes leave the folder's
// tables, logs and manifests in the background, some seconds later and when no
// reader is left who began before; where the process ends sooner, the next one
// rewrites all tables. Type, id and time of an erase stay in the feed.
//
// The folder is encrypted unless it was made otherwise: all files by package
// cipherfs; bodies and forward records once more, one by one, under the data key
// of their owner, which an erase of the owner destroys (package vault). Names,
// sizes and times of files show. What is read later than it was made, an older
// copy of a file or record in its own place, is not told from the present one.
//
// It knows keys, records, locks and the disk. It must not know FHIR, nor how a
// query is answered: that is package plan.
package embedded

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"candela/store"
	"candela/store/embedded/sets"
	"candela/store/plan"
	"candela/store/vault"
)

// Options of Open. The zero value is good for use.
type Options struct {
	Now      func() time.Time // the clock of version times and expiry; nil: time.Now
	Logger   *slog.Logger     // what the database has to tell; nil: nothing
	Relaxed  bool             // acknowledge before fsync: a crash of the machine may lose the last writes
	ReadOnly bool             // refuse writes; the folder must exist
	// CacheBytes is the memory for blocks read from disk; 0: 64 MiB.
	CacheBytes int64
	// SetBytes is the memory for bitmaps of long posting lists; 0: 64 MiB, negative: none.
	SetBytes int64
	// MinFree is the free disk space in bytes below which writes are refused
	// with ErrFull; 0: 64 MiB, negative: never.
	MinFree int64
	// Master is where the master key comes from; zero: a file beside the data,
	// which is made with the folder.
	Master vault.Master
	// Unencrypted keeps the folder in the clear. A folder stays what it was made as.
	Unencrypted bool
	// Owners are the types of which each resource has a data key of its own: those
	// that Anchor entries name.
	Owners []string

	settle   time.Duration // how long after an erase the disk is purged of what was erased
	plain    bool          // tables are not packed, so that tests see what is in them
	still    bool          // tables are rewritten by a purge only
	disk     vfs.FS        // what tests put in place of the real file system
	patience time.Duration // how long a write that met the end of the disk waits for space before the database is told
}

// Store is a store.Store in one folder.
type Store struct {
	db      *pebble.DB
	opt     Options
	fs      vfs.FS
	dir     string
	planner *plan.Planner
	secret  []byte // signs cursors
	feed    feed
	locks   locks
	sizes   sizes
	sets    *sets.Keeper
	gate    gate
	health  *health
	keys    *keeper // nil: in the clear
	purge   purge
	stop    chan struct{} // closed when Close begins
	sweeper sync.WaitGroup
}

var _ store.Store = (*Store)(nil)

// Open opens the store in dir, which is made if it is not there.
func Open(dir string, opt Options) (*Store, error) {
	opt = withDefaults(opt)
	if err := prepareDir(dir, opt); err != nil {
		return nil, err
	}
	s := &Store{opt: opt, dir: dir, stop: make(chan struct{}), health: newHealth(opt.Logger), sets: sets.New(opt.SetBytes)}
	s.purge.wake = make(chan struct{}, 1)
	if err := s.unlock(); err != nil {
		return nil, err
	}
	if err := s.open(); err != nil {
		return nil, err
	}
	if !opt.ReadOnly {
		s.sweeper.Go(s.sweep)
		s.sweeper.Go(s.purgeErased)
	}
	return s, nil
}

func withDefaults(opt Options) Options {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.CacheBytes == 0 {
		opt.CacheBytes = 64 << 20
	}
	if opt.SetBytes == 0 {
		opt.SetBytes = 64 << 20
	}
	if opt.MinFree == 0 {
		opt.MinFree = 64 << 20
	}
	if opt.patience == 0 {
		opt.patience = 20 * time.Second
	}
	if opt.settle == 0 {
		opt.settle = settle
	}
	if opt.disk == nil {
		opt.disk = vfs.Default
	}
	return opt
}

func prepareDir(dir string, opt Options) error {
	if dir == "" {
		return fmt.Errorf("%w: no folder given", store.ErrUnavailable)
	}
	if !opt.ReadOnly {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("%w: folder of the store: %w", store.ErrUnavailable, err)
		}
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: folder %s does not exist", store.ErrUnavailable, dir)
	case err != nil:
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	case !info.IsDir():
		return fmt.Errorf("%w: %s is not a folder", store.ErrUnavailable, dir)
	}
	return nil
}

func (s *Store) open() error {
	cache := pebble.NewCache(s.opt.CacheBytes + 3*memTable) // memory tables are taken off the cache
	defer cache.Unref()
	db, err := pebble.Open(s.dir, s.pebbleOptions(cache))
	if err != nil {
		return openError(s.dir, err)
	}
	s.db = db
	if err := s.begin(); err != nil {
		_ = db.Close() // the first error tells more
		return err
	}
	return nil
}

// begin reads the state that is kept in memory.
func (s *Store) begin() error {
	if err := s.checkFormat(); err != nil {
		return err
	}
	var err error
	if s.secret, err = s.setting("secret", func() []byte { return []byte(rand.Text() + rand.Text()) }); err != nil {
		return err
	}
	if err := s.loadShared(); err != nil {
		return err
	}
	if unfinished, err := s.lookup(s.db, purgeKey()); err != nil {
		return err
	} else if unfinished != nil {
		s.purge.resume()
	}
	if err := s.lastNumbers(); err != nil {
		return err
	}
	s.planner = plan.New(engine{s}, plan.Options{})
	return s.loadSets()
}

// format is the number of the layout on disk; a folder of another is refused.
const format = "3"

func (s *Store) checkFormat() error {
	have, err := s.setting("format", func() []byte { return []byte(format) })
	if err != nil {
		return err
	}
	if string(have) != format {
		return fmt.Errorf("%w: folder %s has format %q, this program reads %q", store.ErrUnavailable, s.dir, have, format)
	}
	return nil
}

// setting reads a setting, and writes its first value when there is none.
func (s *Store) setting(name string, first func() []byte) ([]byte, error) {
	key := append([]byte{spaceSetting}, name...)
	value, err := s.lookup(s.db, key)
	if err != nil || value != nil {
		return value, err
	}
	if s.opt.ReadOnly {
		return nil, fmt.Errorf("%w: folder %s holds no store", store.ErrUnavailable, s.dir)
	}
	value = first()
	if err := s.db.Set(key, value, pebble.Sync); err != nil {
		return nil, fault(err)
	}
	// The log that a new database starts with lacks the marks by which damage
	// in its middle is told from its end; the next one has them.
	return value, fault(s.db.Flush())
}

// lastNumbers finds where sequence numbers and record ids go on.
func (s *Store) lastNumbers() error {
	if err := s.last(spaceSeq, func(key, value []byte) error {
		c, err := readChange(value)
		s.feed.seq = store.Seq(lastEight(key))
		s.feed.head, s.feed.latest = s.feed.seq, c.latest
		return err
	}); err != nil {
		return err
	}
	return s.last(spaceVersion, func(key, _ []byte) error {
		s.feed.rid = store.RID(lastEight(key[:splitAt]))
		return nil
	})
}

// last calls use with the last key of a keyspace, if there is one.
func (s *Store) last(space byte, use func(key, value []byte) error) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{space}, UpperBound: []byte{space + 1}})
	if err != nil {
		return fault(err)
	}
	if it.Last() {
		err = use(it.Key(), it.Value())
	}
	return errors.Join(fault(err), fault(it.Close()))
}

// Ping says whether the store can answer and take writes.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if err := s.health.err(); err != nil {
		return err
	}
	_, err := s.lookup(s.db, append([]byte{spaceSetting}, "format"...))
	return err
}

// Close waits for calls under way, then closes the folder. Changes calls end.
func (s *Store) Close() error {
	if !s.gate.shut() {
		return nil
	}
	close(s.stop)
	s.sweeper.Wait()
	s.gate.wait()
	return s.closeDB()
}

// closeDB closes the database. One that failed may never answer: it is given
// a moment and then left to the end of the process.
func (s *Store) closeDB() error {
	if s.health.err() == nil {
		s.saveSets()
		s.tidy()
		return fault(s.db.Close())
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = recover() }() // a failed database may refuse to close
		_ = s.db.Close()                 // its failure was told when it happened
	}()
	select {
	case <-done:
	case <-time.After(2 * time.Second):
		s.opt.Logger.Warn("the failed store did not close; its folder stays locked until the program ends", slog.String("folder", s.dir))
	}
	return nil
}

// tidy moves what is only in the log into tables, so that the next start need
// not replay it. It is no loss when that does not come to an end.
func (s *Store) tidy() {
	if s.room(2*memTable) != nil {
		return
	}
	flushed, err := s.db.AsyncFlush()
	if err != nil {
		return
	}
	select {
	case <-flushed:
	case <-time.After(10 * time.Second):
	}
}

// enter counts a call in; every enter without error needs a leave.
func (s *Store) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	if !s.gate.enter() {
		return fmt.Errorf("%w: the store is closed", store.ErrUnavailable)
	}
	return nil
}

func (s *Store) leave() { s.gate.leave() }

// gate counts calls under way, so that Close can wait for them.
type gate struct {
	mu     sync.Mutex
	calls  int
	closed bool
	idle   chan struct{}
}

func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.calls++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls--
	if g.closed && g.calls == 0 {
		close(g.idle)
	}
}

// shut lets nobody in any more; false when it was shut before.
func (g *gate) shut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.closed = true
	g.idle = make(chan struct{})
	if g.calls == 0 {
		close(g.idle)
	}
	return true
}

func (g *gate) wait() { <-g.idle }
