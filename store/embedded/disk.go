package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"candela/store"
	"candela/store/body"
	"candela/store/vault"
)

// Sizes of the database. Postings are short keys in long lists: blocks are
// large because neighbours resemble each other.
const (
	memTable  = 16 << 20 // grows to this from 256 KiB
	blockSize = 32 << 10
	fileSize  = 8 << 20 // of the uppermost level; doubles downwards
)

func (s *Store) pebbleOptions(cache *pebble.Cache) *pebble.Options {
	o := &pebble.Options{
		Cache:                       cache,
		Comparer:                    newComparer(),
		FS:                          s.fs,
		FormatMajorVersion:          pebble.FormatNewest,
		ReadOnly:                    s.opt.ReadOnly,
		MemTableSize:                memTable,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       2,
		L0StopWritesThreshold:       1000,
		LBaseMaxBytes:               64 << 20,
		MaxOpenFiles:                1000,
		Cleaner:                     forgetful{},
		DisableAutomaticCompactions: s.opt.still,
		MaxManifestFileSize:         1, // a new one whenever as many tables have changed as there are
		BytesPerSync:                1 << 20,
		CompactionConcurrencyRange:  func() (int, int) { return 1, max(1, min(4, runtime.GOMAXPROCS(0))) },
		Logger:                      s.health,
		EventListener:               s.health.listener(),
	}
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings {
		if s.opt.plain {
			return pebble.DBCompressionNone
		}
		return pebble.DBCompressionBalanced
	})
	for i := range o.Levels {
		o.Levels[i].BlockSize = blockSize
		o.Levels[i].IndexBlockSize = 4 * blockSize
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		o.TargetFileSizes[i] = fileSize << i
	}
	return o
}

// forgetful removes files that are no longer needed, as the default does. By
// what it embeds deeper down it claims to need their contents, so that no old
// log is kept to be written over: what was erased would stay in it.
type forgetful struct {
	pebble.DeleteCleaner
	needy
}

type needy struct{ pebble.ArchiveCleaner }

// openError says in plain words why a folder cannot be opened.
func openError(dir string, err error) error {
	switch {
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EACCES) && strings.Contains(err.Error(), "LOCK"),
		strings.Contains(err.Error(), "lock held by current process"):
		return fmt.Errorf("%w: folder %s is already open in another process", store.ErrUnavailable, dir)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: no right to use folder %s: %w", store.ErrUnavailable, dir, err)
	}
	return fmt.Errorf("folder %s: %w", dir, fault(err))
}

// fault turns an error of the database into one of package store.
func fault(err error) error {
	switch {
	case err == nil:
		return nil
	case isOurs(err):
		return err
	case pebble.IsCorruptionError(err), errors.Is(err, body.ErrDamaged), errors.Is(err, vault.ErrDamaged):
		return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}

func isOurs(err error) bool {
	for _, sentinel := range [...]error{
		store.ErrNotFound, store.ErrGone, store.ErrConflict, store.ErrPrecondition, store.ErrCursor, store.ErrQuery, store.ErrTooCostly,
		store.ErrTooLarge, store.ErrUnavailable, store.ErrFull, store.ErrCorrupt, store.ErrTwice,
	} {
		if errors.Is(err, sentinel) {
			return true
		}
	}
	return false
}

// health hears what the database reports. Once the database cannot write any
// more, writes are refused; reads go on.
type health struct {
	log    *slog.Logger
	mu     sync.Mutex
	cause  error         // why writes are over, nil while they are not
	broken chan struct{} // closed with cause
}

func newHealth(log *slog.Logger) *health { return &health{log: log, broken: make(chan struct{})} }

func (h *health) err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cause
}

// fail ends writing. The first cause stays.
func (h *health) fail(cause error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cause == nil {
		h.cause = fmt.Errorf("%w (no more writes until the program is started again)", fault(cause))
		close(h.broken)
		h.log.Error("the store takes no more writes", slog.Any("cause", cause))
	}
	return h.cause
}

// Infof, Errorf and Fatalf are the database's logger.
func (h *health) Infof(format string, args ...any) {
	if h.log.Enabled(context.Background(), slog.LevelDebug) {
		h.log.Debug("the database reports", slog.String("text", fmt.Sprintf(format, args...)))
	}
}

// Errorf logs an error that the database lives on with.
func (h *health) Errorf(format string, args ...any) {
	h.log.Error("the database reports an error", slog.String("text", fmt.Sprintf(format, args...)))
}

// Fatalf is called where the database cannot go on, and must not return. It
// ends the calling goroutine, not the process: who waits for it is told by
// health, and reading goes on.
func (h *health) Fatalf(format string, args ...any) {
	cause := fmt.Errorf(format, args...)
	for _, a := range args {
		if err, ok := a.(error); ok {
			cause = fmt.Errorf("%w: %w", err, cause)
		}
	}
	_ = h.fail(cause) // kept inside
	runtime.Goexit()
}

func (h *health) listener() *pebble.EventListener {
	l := &pebble.EventListener{
		BackgroundError: func(err error) { h.log.Warn("database work in the background", slog.Any("cause", err)) },
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			h.log.Error("stored data is damaged", slog.String("where", info.Path), slog.Any("cause", info.Details))
		},
	}
	return l
}

// room refuses a write of about size bytes that the disk may have no space for,
// long before the database itself would meet the end of the disk.
func (s *Store) room(size int) error {
	if err := s.health.err(); err != nil {
		return err
	}
	if s.opt.ReadOnly {
		return fmt.Errorf("%w: the store is open for reading only", store.ErrUnavailable)
	}
	free, ok := s.free()
	if want := s.opt.MinFree + 2*int64(size); ok && s.opt.MinFree > 0 && free < want {
		return fmt.Errorf("%w: %d MiB free in %s, %d MiB needed", store.ErrFull, free>>20, s.dir, want>>20)
	}
	return nil
}

func (s *Store) free() (bytes int64, ok bool) {
	u, err := s.opt.disk.GetDiskUsage(s.dir)
	if err != nil {
		return 0, false
	}
	return int64(min(u.AvailBytes, 1<<62)), true
}

// pause is how often the disk is looked at while writes wait for space.
const pause = 50 * time.Millisecond

// waitForSpace runs while a write of the database has met the end of the disk;
// the write is tried again when it returns.
func (s *Store) waitForSpace() {
	s.opt.Logger.Error("the disk is full; writes wait for space", slog.String("folder", s.dir))
	for end := time.Now().Add(s.opt.patience); time.Now().Before(end); {
		select {
		case <-s.stop:
			return
		case <-time.After(pause):
		}
		if free, ok := s.free(); !ok || free > 4<<20 {
			return
		}
	}
}

// settle is how long after an erase the disk is purged: erases come in rows.
const settle = 2 * time.Second

// mostErased is how many keys a purge remembers; of more it rewrites all tables.
const mostErased = 1 << 18

// purge is what was erased and may still stand in files. While there is any,
// the setting under purgeKey says so, for the next start.
type purge struct {
	mu    sync.Mutex
	keys  [][]byte
	all   bool          // rewrite all tables
	seq   pebble.SeqNum // of the newest erase
	under int           // commits under way that erase
	busy  bool          // what was taken is being purged
	wake  chan struct{}
}

func purgeKey() []byte { return append([]byte{spaceSetting}, "purge"...) }

// begin is told of a batch before it is applied, and what it returns after
// that: then the keys that it has removed for ever are known. Of a batch that
// could not be applied none are; no other follows it.
func (p *purge) begin(t *ticket, b *pebble.Batch) (end func()) {
	if len(t.keys) == 0 {
		return func() {}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.under++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.under--
		p.add(t.keys, false, b.SeqNum())
	}
}

// resume is for a start after which nobody knows what was erased.
func (p *purge) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.add(nil, true, 0)
}

// add is called with p locked.
func (p *purge) add(keys [][]byte, all bool, seq pebble.SeqNum) {
	p.keys, p.all, p.seq = append(p.keys, keys...), p.all || all, max(p.seq, seq)
	if len(p.keys) > mostErased {
		p.keys, p.all = nil, true
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *purge) take() (keys [][]byte, all bool, seq pebble.SeqNum) {
	p.mu.Lock()
	defer p.mu.Unlock()
	keys, all = p.keys, p.all
	p.keys, p.all, p.busy = nil, false, true
	return keys, all, p.seq
}

// purgeErased takes what was erased out of the files too, some time after each
// row of erases, until the store closes. What it does not come to is left to
// the next start, which then rewrites all tables.
func (s *Store) purgeErased() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		defer cancel()
		select {
		case <-s.stop:
		case <-s.health.broken:
		case <-ctx.Done():
		}
	}()
	for wait := s.opt.settle; s.purgeAfter(ctx, wait); {
		keys, all, seq := s.purge.take()
		wait = s.opt.settle
		if err := s.purgeOnce(ctx, keys, all, seq); err != nil && ctx.Err() == nil {
			s.opt.Logger.Warn("what was erased stays on disk for now", slog.Any("cause", err))
			wait = every
			s.purge.mu.Lock()
			s.purge.add(keys, all, seq)
			s.purge.mu.Unlock()
		}
		s.purge.mu.Lock()
		s.purge.busy = false
		s.purge.mu.Unlock()
	}
}

// purgeAfter waits for an erase and then so long; false when it is over.
func (s *Store) purgeAfter(ctx context.Context, wait time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-s.purge.wake:
	}
	return sleep(ctx, wait) == nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// purgeOnce rewrites the tables that keys stand in. The keys are removed once
// more when no view of the time before is open: a view may have kept them from
// being dropped when they first were. Then logs and manifests are made anew.
func (s *Store) purgeOnce(ctx context.Context, keys [][]byte, all bool, seq pebble.SeqNum) error {
	if err := s.room(2 * memTable); err != nil {
		return err
	}
	for m := s.db.Metrics(); m.Snapshots.Count > 0 && m.Snapshots.EarliestSeqNum <= seq; m = s.db.Metrics() {
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
	slices.SortFunc(keys, bytes.Compare)
	if err := s.removeAgain(keys); err != nil {
		return err
	}
	if err := s.flush(ctx); err != nil {
		return err
	}
	ranges, err := s.tablesOf(keys, all)
	if err != nil {
		return err
	}
	for _, r := range ranges {
		if err := s.db.Compact(ctx, r.lower, r.upper, false); err != nil {
			return fault(err)
		}
	}
	if err := s.newManifest(ctx); err != nil {
		return err
	}
	return s.purged()
}

func (s *Store) removeAgain(keys [][]byte) error {
	for part := range slices.Chunk(keys, 10_000) {
		b := s.db.NewBatch()
		for _, k := range part {
			if err := b.Delete(k, nil); err != nil {
				return fault(errors.Join(err, b.Close()))
			}
		}
		if err := errors.Join(s.db.Apply(b, pebble.NoSync), b.Close()); err != nil {
			return fault(err)
		}
	}
	return nil
}

// flush moves what is in the log into tables; the log of before is removed.
func (s *Store) flush(ctx context.Context) error {
	flushed, err := s.db.AsyncFlush()
	if err != nil {
		return fault(err)
	}
	select {
	case <-flushed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stretch is a range of keys, both ends in it.
type stretch struct{ lower, upper []byte }

// tablesOf is the ranges of the lowest level's tables that keys stand in, so
// that each is rewritten once; keys that stand in none are ranges of their own.
func (s *Store) tablesOf(keys [][]byte, all bool) (out []stretch, err error) {
	if all {
		return []stretch{{[]byte{0}, []byte{0xff}}}, nil
	}
	levels, err := s.db.SSTables()
	if err != nil {
		return nil, fault(err)
	}
	tables := levels[len(levels)-1]
	for _, k := range keys {
		for len(tables) > 0 && bytes.Compare(tables[0].Largest.UserKey, k) < 0 {
			tables = tables[1:]
		}
		r := stretch{k, append(bytes.Clone(k), 0)}
		if len(tables) > 0 && bytes.Compare(tables[0].Smallest.UserKey, k) <= 0 {
			r = stretch{tables[0].Smallest.UserKey, append(bytes.Clone(tables[0].Largest.UserKey), 0)}
		}
		if n := len(out); n > 0 && bytes.Compare(r.lower, out[n-1].upper) <= 0 {
			out[n-1].upper = slices.MaxFunc([][]byte{out[n-1].upper, r.upper}, bytes.Compare)
			continue
		}
		out = append(out, r)
	}
	return out, nil
}

// newManifest writes small tables until none of the present manifests is left:
// they name the ends of tables that are no more.
func (s *Store) newManifest(ctx context.Context) error {
	old, err := s.manifests()
	if err != nil {
		return err
	}
	for {
		if err := s.db.Set(purgeKey(), nil, pebble.NoSync); err != nil {
			return fault(err)
		}
		if err := s.flush(ctx); err != nil {
			return err
		}
		now, err := s.manifests()
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(old, func(name string) bool { return slices.Contains(now, name) }) {
			return nil
		}
		if err := sleep(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

func (s *Store) manifests() ([]string, error) {
	names, err := s.opt.disk.List(s.dir)
	return slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, "MANIFEST-") }), fault(err)
}

// purged forgets that there is something to purge, unless there is more.
func (s *Store) purged() error {
	s.purge.mu.Lock()
	defer s.purge.mu.Unlock()
	if s.purge.under > 0 || len(s.purge.keys) > 0 || s.purge.all {
		return nil
	}
	return fault(s.db.Delete(purgeKey(), pebble.Sync))
}
