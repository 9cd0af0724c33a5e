package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"candela/store"
	"candela/store/embedded/cipherfs"
	"candela/store/vault"
)

// The files of a folder that are not the database's.
const (
	ringName   = "candela.keys" // the store's keys, which the master key opens
	masterName = "master.key"   // the master key, where nobody said that it is elsewhere
)

// ErrClear says that a folder holds a store that is not encrypted.
var ErrClear = errors.New("the folder is not encrypted")

// keeper is the keys of an open store.
type keeper struct {
	ring     *vault.Ring
	files    *cipherfs.FS
	cache    vault.Cache
	shared   *vault.DataKey // of what has no owner
	rewrites uint32         // the files key for which logs and manifests are made anew, or were
	unused   []uint32       // files keys that no file needed when last looked
}

// keysKept is how many data keys are kept unwrapped, about 1 KB each.
const keysKept = 8192

// unlock opens the ring, or makes one for a new folder, before anything else of
// the folder is touched. It leaves the store's file system.
func (s *Store) unlock() error {
	disk := vfs.OnDiskFull(s.opt.disk, s.waitForSpace)
	s.fs = disk
	_, err := os.Stat(filepath.Join(s.dir, ringName))
	locked := !errors.Is(err, fs.ErrNotExist)
	switch {
	case s.opt.Unencrypted && locked:
		return fmt.Errorf("%w: folder %s is encrypted; it cannot be opened with encryption off", store.ErrUnavailable, s.dir)
	case s.opt.Unencrypted:
		return nil
	}
	if !locked {
		if err := s.mayLock(); err != nil {
			return err
		}
	}
	ring, err := s.ring(locked)
	if err != nil {
		return lockError(s.dir, err)
	}
	s.keys = &keeper{ring: ring, files: cipherfs.New(disk, ring), cache: vault.Cache{Size: keysKept}}
	s.fs = s.keys.files
	return nil
}

// mayLock refuses a folder that has a store already, or must not be written.
func (s *Store) mayLock() error {
	names, err := s.opt.disk.List(s.dir)
	if err != nil {
		return fault(err)
	}
	if slices.ContainsFunc(names, isTheDatabases) {
		return fmt.Errorf("%w: %w: %s", store.ErrUnavailable, ErrClear, s.dir)
	}
	if s.opt.ReadOnly {
		return fmt.Errorf("%w: folder %s holds no store", store.ErrUnavailable, s.dir)
	}
	return nil
}

func isTheDatabases(name string) bool {
	return strings.HasPrefix(name, "MANIFEST-") || strings.HasPrefix(name, "marker.") || strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".log")
}

func lockError(dir string, err error) error {
	if errors.Is(err, vault.ErrDamaged) {
		return fmt.Errorf("folder %s: %w: %w", dir, store.ErrCorrupt, err)
	}
	return fmt.Errorf("%w: folder %s cannot be decrypted: %w", store.ErrUnavailable, dir, err)
}

// ring opens the ring of a locked folder, or makes one, and the master key with
// it where none is configured.
func (s *Store) ring(locked bool) (*vault.Ring, error) {
	ctx, path := context.Background(), filepath.Join(s.dir, ringName)
	master, own := masterOf(s.dir, s.opt.Master)
	stale := func(err error) {
		s.opt.Logger.Error("the key ring was changed and cannot be read any more; this process goes on with the keys it has", slog.Any("cause", err))
	}
	if locked {
		return vault.OpenRing(ctx, path, master, stale)
	}
	if own {
		if err := vault.CreateMaster(filepath.Join(s.dir, masterName)); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		s.opt.Logger.Warn("no master key is configured: one was made beside the data, which protects nothing from who takes the whole disk; move it elsewhere and name it with --master-key",
			slog.String("file", filepath.Join(s.dir, masterName)))
	}
	if _, err := vault.CreateRing(ctx, path, master); err != nil && !errors.Is(err, fs.ErrExist) { // another process was first
		return nil, err
	}
	return vault.OpenRing(ctx, path, master, stale)
}

// masterOf is the master key of a folder; own says that it lies in the folder.
func masterOf(dir string, configured vault.Master) (m vault.Master, own bool) {
	if !configured.IsZero() {
		return configured, false
	}
	return vault.MasterFile(filepath.Join(dir, masterName)), true
}

// Ring opens the key ring of a folder, whether or not a store is open on it. A
// zero master is the file beside the data.
func Ring(ctx context.Context, dir string, master vault.Master) (*vault.Ring, error) {
	master, _ = masterOf(dir, master)
	ring, err := vault.OpenRing(ctx, filepath.Join(dir, ringName), master, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrClear, dir)
	}
	return ring, err
}

// Share is the files of a folder that one key of the ring protects.
type Share struct {
	Key          uint32
	Files, Bytes int64
}

// Shares tells which keys the files of a folder need, ascending; whether or not
// a store is open on it.
func Shares(dir string, ring *vault.Ring) ([]Share, error) {
	return shares(dir, cipherfs.New(vfs.Default, ring))
}

func shares(dir string, files *cipherfs.FS) ([]Share, error) {
	names, err := files.List(dir)
	if err != nil {
		return nil, fault(err)
	}
	count := map[uint32]Share{}
	for _, name := range names {
		path := filepath.Join(dir, name)
		key, err := files.KeyOf(path)
		info, err2 := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err2, fs.ErrNotExist) || key == 0 {
			continue // removed meanwhile, or none of the database's
		}
		if err := errors.Join(err, err2); err != nil {
			return nil, fault(err)
		}
		s := count[key]
		count[key] = Share{key, s.Files + 1, s.Bytes + info.Size()}
	}
	out := make([]Share, 0, len(count))
	for _, s := range count {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Share) int { return int(a.Key) - int(b.Key) })
	return out, nil
}

// renew brings what older keys of the ring protect under the newest: data keys
// are wrapped anew, tables rewritten in the background. What nothing needs any
// more leaves the ring.
func (s *Store) renew(ctx context.Context) error {
	if s.keys == nil || len(s.keys.ring.Status().Keys) == 2 {
		return nil
	}
	if err := s.enter(ctx); err != nil {
		return nil // closing
	}
	defer s.leave()
	if err := s.rewrap(ctx); err != nil {
		return err
	}
	all, err := shares(s.dir, s.keys.files)
	if err != nil {
		return err
	}
	if len(all) > 1 {
		if err := s.rewrite(); err != nil {
			return err
		}
	}
	return s.retire(ctx, all)
}

// rewrite has all tables rewritten in the background where some need an older
// key. A table that nothing overlaps would stay as it is: so that something does,
// keys are removed in each that never were.
func (s *Store) rewrite() error {
	newest := s.keys.ring.Newest(vault.Files).Number
	levels, err := s.db.SSTables()
	if err != nil {
		return fault(err)
	}
	chance := vault.NewKey()
	never := [][]byte{append([]byte{0}, chance[:]...), append([]byte{0xff}, chance[:]...)}
	for _, level := range levels {
		for _, table := range level {
			key, err := s.keys.files.KeyOf(filepath.Join(s.dir, fmt.Sprintf("%06d.sst", uint64(table.FileNum))))
			if err == nil && key != newest { // an error: it is gone already
				never = append(never, slices.Concat(table.Smallest.UserKey, chance[:]))
			}
		}
	}
	if len(never) == 2 && s.keys.rewrites == newest {
		return nil
	}
	s.purge.mu.Lock()
	defer s.purge.mu.Unlock()
	if s.purge.busy || s.purge.all || len(s.purge.keys) > 0 {
		return nil // what comes of that is seen next time
	}
	s.keys.rewrites = newest // logs and manifests, too
	s.purge.add(never, true, 0)
	return nil
}

// retire removes keys from the ring that nothing needed now nor when last looked:
// so long no file is being made, and no view read, with one.
func (s *Store) retire(ctx context.Context, needed []Share) error {
	var unused []uint32
	for _, e := range s.keys.ring.Status().Keys {
		if e.Number != s.keys.ring.Newest(e.Use).Number && !slices.ContainsFunc(needed, func(h Share) bool { return h.Key == e.Number }) {
			unused = append(unused, e.Number)
		}
	}
	before := s.keys.unused
	s.keys.unused = unused
	gone := func(n uint32) bool { return slices.Contains(before, n) }
	if !slices.ContainsFunc(unused, gone) {
		return nil
	}
	return s.keys.ring.Retire(ctx, func(e vault.Entry) bool { return !slices.Contains(unused, e.Number) || !gone(e.Number) })
}

// Encrypt makes an unencrypted folder an encrypted one: a copy is written beside
// it, takes its place, and the clear one is removed. No store may be open on it.
// What a file system or a disk keeps of removed files is beyond it.
func Encrypt(ctx context.Context, dir string, opt Options) error {
	dir = filepath.Clean(dir)
	fresh, old := dir+".encrypting", dir+".unencrypted"
	if _, err := os.Stat(old); err == nil {
		return fmt.Errorf("%w: %s is left from an earlier attempt; move it back or remove it", store.ErrUnavailable, old)
	}
	clear := opt
	clear.Unencrypted, clear.ReadOnly = true, true
	from, err := Open(dir, clear)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(fresh); err != nil { // of an attempt that was broken off
		return errors.Join(fault(err), from.Close())
	}
	opt.Relaxed = true // Close syncs
	to, err := Open(fresh, opt)
	if err != nil {
		return errors.Join(err, from.Close())
	}
	err = copyStore(ctx, from, to)
	if err = errors.Join(err, to.Close(), from.Close(), keepOthers(dir, fresh)); err != nil {
		return errors.Join(err, os.RemoveAll(fresh))
	}
	if err := errors.Join(os.Rename(dir, old), os.Rename(fresh, dir)); err != nil {
		return fmt.Errorf("%w: the encrypted copy is whole but cannot take the folder's place: %w", store.ErrUnavailable, err)
	}
	return os.RemoveAll(old)
}

// keepOthers takes along what stands in a folder and is not the database's.
func keepOthers(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return fault(err)
	}
	for _, e := range entries {
		name := e.Name()
		if isTheDatabases(name) || name == "LOCK" || strings.HasPrefix(name, "OPTIONS-") || strings.HasSuffix(name, ".dbtmp") {
			continue
		}
		source, target := filepath.Join(from, name), filepath.Join(to, name)
		if e.IsDir() {
			err = os.CopyFS(target, os.DirFS(source))
		} else {
			err = os.Link(source, target)
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
		}
	}
	return nil
}

// copyStore copies all records; bodies and forward records are sealed on the way.
func copyStore(ctx context.Context, from, to *Store) error {
	it, err := from.db.NewIterWithContext(ctx, nil)
	if err != nil {
		return fault(err)
	}
	c := copier{from: from, to: to, batch: to.db.NewBatch(), known: map[string]*vault.DataKey{}}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		err = c.record(it.Key(), it.Value())
		if err == nil && c.batch.Len() > 4<<20 {
			err = errors.Join(c.flush(), ctx.Err())
		}
	}
	err = errors.Join(err, fault(it.Error()), fault(it.Close()))
	if err == nil {
		err = c.flush()
	}
	if err != nil {
		return err
	}
	return fault(to.db.Flush())
}

type copier struct {
	from, to *Store
	batch    *pebble.Batch
	known    map[string]*vault.DataKey // of owners that have one already
	rid      store.RID                 // of the record last met
	key      *vault.DataKey            // its
}

func (c *copier) flush() error {
	err := c.to.apply(c.batch)
	c.batch = c.to.db.NewBatch()
	return err
}

// every record goes over as it is, but for those that are sealed. The forward
// record of a rid stands before its versions and says whose it is.
func (c *copier) record(key, value []byte) (err error) {
	switch key[0] {
	case spaceRow, spaceVersion:
		rid := store.RID(number8Of(key))
		if key[0] == spaceVersion || rid != c.rid {
			if err := c.owner(rid); err != nil {
				return err
			}
		}
		if value, err = c.to.reseal(c.key, key, value, func(_, packed []byte) ([]byte, error) { return packed, nil }); err != nil {
			return err
		}
	case spaceSet:
		return nil
	}
	return fault(c.batch.Set(key, value, nil))
}

// owner finds the key for what a rid has, and writes it where it is new.
func (c *copier) owner(rid store.RID) error {
	if c.rid == rid && c.key != nil {
		return nil
	}
	c.rid, c.key = rid, c.to.keys.shared
	data, err := c.from.lookup(c.from.db, rowKey(nil, rid))
	if err != nil || data == nil { // deleted: what owner it had stands in history only
		return err
	}
	row, _, err := c.from.row(c.from.db, rid)
	if err == nil {
		err = row.Decode()
	}
	if err != nil {
		return err
	}
	owner := c.to.ownerOf(row.Key, row.Entries)
	if owner == nil {
		return nil
	}
	if c.key = c.known[string(owner)]; c.key == nil {
		if c.key, err = vault.NewDataKey(string(owner)); err != nil {
			return err
		}
		c.known[string(owner)] = c.key
		if err := c.to.putKey(c.batch, c.key); err != nil {
			return err
		}
	}
	return fault(c.batch.Set(markKey(nil, c.key.ID, rid), nil, nil))
}
