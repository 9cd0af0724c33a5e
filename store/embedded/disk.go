package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"candela/store"
	"candela/store/body"
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
		BytesPerSync:                1 << 20,
		CompactionConcurrencyRange:  func() (int, int) { return 1, max(1, min(4, runtime.GOMAXPROCS(0))) },
		Logger:                      s.health,
		EventListener:               s.health.listener(),
	}
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionBalanced })
	for i := range o.Levels {
		o.Levels[i].BlockSize = blockSize
		o.Levels[i].IndexBlockSize = 4 * blockSize
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		o.TargetFileSizes[i] = fileSize << i
	}
	return o
}

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
	case pebble.IsCorruptionError(err), errors.Is(err, body.ErrDamaged):
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
