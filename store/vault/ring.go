package vault

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"
)

// Use is what a key of a ring is for.
type Use string

// The uses.
const (
	Files Use = "files" // files are encrypted with keys that it wraps
	Data  Use = "data"  // it wraps data keys
)

// Entry is one key of a ring. Number 0 is none.
type Entry struct {
	Number uint32    `json:"number"`
	Use    Use       `json:"use"`
	Made   time.Time `json:"made"`
	Key    Key       `json:"-"`
}

// ringKey is an Entry as it is sealed.
type ringKey struct {
	Entry
	Raw []byte `json:"key"`
}

// Ring is the store's own keys, in a file that the master key opens. Other
// processes may change the file meanwhile: what is new in it is seen.
type Ring struct {
	path   string
	master Master
	stale  func(error)
	id     []byte // of the store; never changes

	mu    sync.Mutex
	state ringState
	seen  os.FileInfo // of the file that state was read from
	blind bool        // a newer file could not be read; stale was told
}

type ringState struct {
	Store   []byte // names the store; in every sealed thing's place
	Version uint64 // of the file
	Master  string // fingerprint of the key that opens it
	Keys    []Entry
}

// ringFile is the file: JSON, so that an operator sees which master key it
// wants. Sealed are the keys; Store and Version are their place.
type ringFile struct {
	Format  string `json:"candela-keys"`
	Store   string `json:"store"`
	Version uint64 `json:"version"`
	Master  string `json:"master"`
	Sealed  []byte `json:"sealed"`
}

const ringFormat = "1"

func (f *ringFile) place() []byte {
	return fmt.Appendf(nil, "candela keys %s %s %d", f.Format, f.Store, f.Version)
}

// CreateRing writes a ring with a key for each use; the file must not be there.
func CreateRing(ctx context.Context, path string, master Master) (*Ring, error) {
	key, err := master.Key(ctx)
	if err != nil {
		return nil, err
	}
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	s := ringState{Store: id, Version: 1}
	s.add(Files)
	s.add(Data)
	data, err := s.encode(key)
	if err != nil {
		return nil, err
	}
	if err := writeNew(path, data); err != nil {
		return nil, fmt.Errorf("key ring: %w", err)
	}
	return OpenRing(ctx, path, master, nil)
}

// OpenRing opens the ring in a file; fs.ErrNotExist where there is none, ErrKey
// where the master key is another. stale, if not nil, is told once when the file
// was changed in such a way that it cannot be read any more; the ring then goes
// on with what it has.
func OpenRing(ctx context.Context, path string, master Master, stale func(error)) (*Ring, error) {
	r := &Ring{path: path, master: master, stale: stale}
	state, info, err := r.read(ctx)
	if err != nil {
		return nil, err
	}
	r.state, r.seen, r.id = state, info, state.Store
	return r, nil
}

func (s *ringState) add(use Use) {
	var last uint32
	for _, e := range s.Keys {
		last = max(last, e.Number)
	}
	s.Keys = append(s.Keys, Entry{Number: last + 1, Use: use, Made: time.Now().UTC().Truncate(time.Second), Key: NewKey()})
}

func (s *ringState) encode(master Key) ([]byte, error) {
	keys := make([]ringKey, len(s.Keys))
	for i, e := range s.Keys {
		keys[i] = ringKey{e, e.Key[:]}
	}
	plain, err := json.Marshal(keys)
	if err != nil {
		return nil, fmt.Errorf("key ring: %w", err)
	}
	defer clear(plain)
	f := ringFile{Format: ringFormat, Store: hex.EncodeToString(s.Store), Version: s.Version, Master: master.Fingerprint()}
	if f.Sealed, err = master.Wrap(nil, plain, f.place()); err != nil {
		return nil, err
	}
	data, err := json.MarshalIndent(f, "", "  ")
	return append(data, '\n'), err
}

// read reads the file with the master key.
func (r *Ring) read(ctx context.Context) (s ringState, info os.FileInfo, err error) {
	if info, err = os.Stat(r.path); err != nil {
		return s, nil, fmt.Errorf("key ring: %w", err)
	}
	f, err := readRingFile(r.path)
	if err != nil {
		return s, nil, err
	}
	key, err := r.master.Key(ctx)
	if err != nil {
		return s, nil, fmt.Errorf("%w (%s needs master key %s)", err, r.path, f.Master)
	}
	if got := key.Fingerprint(); got != f.Master {
		return s, nil, fmt.Errorf("%w: %s needs master key %s, but %s gives %s", ErrKey, r.path, f.Master, r.master, got)
	}
	plain, err := key.Unwrap(nil, f.Sealed, f.place())
	if err != nil {
		return s, nil, fmt.Errorf("key ring %s: %w", r.path, err)
	}
	defer clear(plain)
	s = ringState{Version: f.Version, Master: f.Master}
	if s.Store, err = hex.DecodeString(f.Store); err == nil {
		err = s.decode(plain)
	}
	if err != nil {
		return s, nil, fmt.Errorf("key ring %s: %w: %w", r.path, ErrDamaged, err)
	}
	return s, info, nil
}

func (s *ringState) decode(plain []byte) error {
	var keys []ringKey
	if err := json.Unmarshal(plain, &keys); err != nil {
		return err
	}
	for _, k := range keys {
		if len(k.Raw) != len(k.Key) {
			return fmt.Errorf("key %d has %d bytes", k.Number, len(k.Raw))
		}
		k.Entry.Key = Key(k.Raw)
		s.Keys = append(s.Keys, k.Entry)
	}
	return nil
}

func readRingFile(path string) (f ringFile, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return f, fmt.Errorf("key ring: %w", err)
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return f, fmt.Errorf("key ring %s: %w: %w", path, ErrDamaged, err)
	}
	if f.Format != ringFormat {
		return f, fmt.Errorf("key ring %s has format %q, this program reads %q", path, f.Format, ringFormat)
	}
	return f, nil
}

// Store names the store, in 16 bytes.
func (r *Ring) Store() []byte { return r.id }

// Newest is the key to use now.
func (r *Ring) Newest(use Use) Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refresh()
	return r.state.newest(use)
}

func (s *ringState) newest(use Use) (e Entry) {
	for _, k := range s.Keys {
		if k.Use == use && k.Number > e.Number {
			e = k
		}
	}
	return e
}

// Numbered is the key with a number; ErrKey where there is none.
func (r *Ring) Numbered(use Use, number uint32) (Entry, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for range 2 {
		for _, e := range r.state.Keys {
			if e.Use == use && e.Number == number {
				return e, nil
			}
		}
		r.refresh()
	}
	return Entry{}, fmt.Errorf("%w: key %d of %s is not in %s", ErrKey, number, use, r.path)
}

// refresh reads the file again where it is another. It is called with r locked.
func (r *Ring) refresh() {
	info, err := os.Stat(r.path)
	if err == nil && os.SameFile(info, r.seen) && info.ModTime().Equal(r.seen.ModTime()) {
		return
	}
	state, info, err := r.read(context.Background())
	if err == nil && !slices.Equal(state.Store, r.id) {
		err = fmt.Errorf("%w: %s is the ring of another store", ErrKey, r.path)
	}
	if err == nil {
		r.state, r.seen, r.blind = state, info, false
		return
	}
	if !r.blind && r.stale != nil {
		r.stale(err)
	}
	r.blind = true
}

// Status is what may be told of a ring.
type Status struct {
	Path, Store string
	Version     uint64
	Master      string  // fingerprint
	Keys        []Entry // without their keys
}

// Status tells of the ring.
func (r *Ring) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refresh()
	s := Status{Path: r.path, Store: hex.EncodeToString(r.state.Store), Version: r.state.Version, Master: r.state.Master}
	for _, e := range r.state.Keys {
		e.Key = Key{}
		s.Keys = append(s.Keys, e)
	}
	return s
}

// Rotate adds a new key of each use. Those of before go on opening what they closed.
func (r *Ring) Rotate(ctx context.Context, uses ...Use) error {
	return r.change(ctx, r.master, func(s *ringState) {
		for _, u := range uses {
			s.add(u)
		}
	})
}

// Retire removes keys that nothing needs any more, never the newest of a use.
func (r *Ring) Retire(ctx context.Context, needed func(Entry) bool) error {
	return r.change(ctx, r.master, func(s *ringState) {
		all := *s
		s.Keys = slices.DeleteFunc(slices.Clone(s.Keys), func(e Entry) bool {
			return e.Number != all.newest(e.Use).Number && !needed(e)
		})
	})
}

// Move wraps the ring with another master key. Who holds the ring open goes on.
func (r *Ring) Move(ctx context.Context, to Master) error {
	return r.change(ctx, to, func(*ringState) {})
}

// change rewrites the file, as nobody else does meanwhile.
func (r *Ring) change(ctx context.Context, to Master, how func(*ringState)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	unlock, err := lockFile(ctx, r.path+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	state, _, err := r.read(ctx)
	if err != nil {
		return err
	}
	key, err := to.Key(ctx)
	if err != nil {
		return err
	}
	how(&state)
	state.Version++
	data, err := state.encode(key)
	if err != nil {
		return err
	}
	if err := replace(r.path, data); err != nil {
		return fmt.Errorf("key ring: %w", err)
	}
	r.master = to
	r.state, r.seen, err = r.read(ctx)
	return err
}

// forgotten is the age at which a lock is one of a process that died.
const forgotten = time.Minute

// lockFile takes a lock that other processes respect.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err == nil {
			_ = f.Close()
			return func() { _ = os.Remove(path) }, nil // the age of what stays ends it
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("key ring: %w", err)
		}
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > forgotten {
			_ = os.Remove(path) // the next try tells what is wrong
			continue
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("key ring: another process changes it: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}
