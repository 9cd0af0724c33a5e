package embedded

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"candela/store"
)

// lookup is a copy of the value under key, nil when there is none.
func (s *Store) lookup(r pebble.Reader, key []byte) ([]byte, error) {
	value, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fault(err)
	}
	out := append(make([]byte, 0, len(value)), value...)
	return out, fault(closer.Close())
}

// current reads what stands under k; the zero value when nothing does.
func (s *Store) current(r pebble.Reader, k store.Key) (current, error) {
	var space [64]byte
	value, closer, err := r.Get(currentKey(space[:0], k))
	if errors.Is(err, pebble.ErrNotFound) {
		return current{}, nil
	}
	if err != nil {
		return current{}, fault(err)
	}
	c, err := readCurrent(value)
	return c, errors.Join(err, fault(closer.Close()))
}

func (s *Store) version(r pebble.Reader, rid store.RID, number int64) (store.Version, error) {
	var space [17]byte
	key := versionKey(space[:0], rid, number)
	value, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return store.Version{}, store.ErrNotFound
	}
	if err != nil {
		return store.Version{}, fault(err)
	}
	v, err := s.readVersion(r, key, value)
	return v, errors.Join(err, fault(closer.Close()))
}

// Get is the current version of k.
func (s *Store) Get(ctx context.Context, k store.Key) (store.Version, error) {
	return s.get(ctx, k, func(c current) int64 { return c.number })
}

// GetVersion is version number of k.
func (s *Store) GetVersion(ctx context.Context, k store.Key, number int64) (store.Version, error) {
	return s.get(ctx, k, func(current) int64 { return number })
}

func (s *Store) get(ctx context.Context, k store.Key, pick func(current) int64) (store.Version, error) {
	if err := s.enter(ctx); err != nil {
		return store.Version{}, err
	}
	defer s.leave()
	if !nameable(k) {
		return store.Version{}, fmt.Errorf("%s: %w", k, store.ErrNotFound)
	}
	c, err := s.current(s.db, k)
	if err != nil {
		return store.Version{}, err
	}
	if c.absent() {
		return store.Version{}, fmt.Errorf("%s: %w", k, store.ErrNotFound)
	}
	number := pick(c)
	v, err := s.version(s.db, c.rid, number)
	switch {
	case errors.Is(err, store.ErrNotFound) && number > 0 && number <= c.number:
		return v, fmt.Errorf("%w: %s has no version %d", store.ErrCorrupt, k, number)
	case err != nil:
		return v, fmt.Errorf("%s version %d: %w", k, number, err)
	case v.Key != k:
		return store.Version{}, fmt.Errorf("%w: %s stands where %s should", store.ErrCorrupt, v.Key, k)
	case v.Action == store.Delete:
		return v, fmt.Errorf("%s: %w", k, store.ErrGone)
	}
	return v, nil
}

// nameable says whether k can stand in the store.
func nameable(k store.Key) bool {
	return k.Type != "" && k.ID != "" && len(k.Type) <= maxName && len(k.ID) <= maxName
}

// Find answers a query.
func (s *Store) Find(ctx context.Context, q store.Query) (store.Page, error) {
	if err := s.enter(ctx); err != nil {
		return store.Page{}, err
	}
	defer s.leave()
	return s.planner.Find(ctx, q)
}

// sameBody says whether the present version of c has exactly these bytes.
func (s *Store) sameBody(c *current, raw []byte, hash uint64) (store.Version, bool, error) {
	if !c.live() || c.hash != hash {
		return store.Version{}, false, nil
	}
	v, err := s.version(s.db, c.rid, c.number)
	return v, err == nil && bytes.Equal(v.Raw, raw), err
}

// walk is one span of history as a range of keys, newest first, and how to
// read the version under one.
type walk struct {
	lower, upper []byte
	desc         bool // the newest version has the highest key
	read         func(key, value []byte) (entry, error)
}

// entry is what a walk meets.
type entry struct {
	time, latest time.Time
	rid          store.RID
	number       int64
	version      *store.Version // when it was read already
	erased       bool           // a step of the feed that is no version
}

// History is the versions of a span, newest first.
func (s *Store) History(ctx context.Context, span store.Span) (store.Page, error) {
	if err := s.enter(ctx); err != nil {
		return store.Page{}, err
	}
	defer s.leave()
	at, back, err := s.openCursor(&span)
	if err != nil {
		return store.Page{}, err
	}
	snap := s.db.NewSnapshot()
	defer func() { _ = snap.Close() }() // of a reader: nothing to lose
	w, err := s.walkOf(snap, span.Key)
	if err != nil {
		return store.Page{}, err
	}
	h := historian{s: s, snap: snap, span: &span, walk: w}
	page, err := h.page(ctx, at, back)
	if err == nil && span.Total {
		page.Total, err = h.count(ctx)
	}
	return page, err
}

// walkOf is the keys of a span's level.
func (s *Store) walkOf(snap *pebble.Snapshot, k store.Key) (walk, error) {
	switch {
	case k.Type == "":
		return feedWalk([]byte{spaceSeq}), nil
	case k.ID == "":
		return feedWalk(typeKey(nil, k.Type)), nil
	}
	if !nameable(k) {
		return walk{}, fmt.Errorf("%s: %w", k, store.ErrNotFound)
	}
	c, err := s.current(snap, k)
	if err != nil {
		return walk{}, err
	}
	if c.absent() {
		return walk{}, fmt.Errorf("%s: %w", k, store.ErrNotFound)
	}
	prefix := number8(nil, spaceVersion, uint64(c.rid))
	return walk{lower: prefix, upper: after(prefix), read: func(key, value []byte) (entry, error) {
		v, err := s.readVersion(snap, key, value)
		return entry{time: v.Time, latest: v.Time, version: &v}, err
	}}, nil
}

func feedWalk(prefix []byte) walk {
	return walk{lower: prefix, upper: after(prefix), desc: true, read: func(_, value []byte) (entry, error) {
		c, err := readChange(value)
		return entry{time: c.time, latest: c.latest, rid: c.rid, number: c.number, erased: c.number == 0}, err
	}}
}

// historian reads one page of a walk.
type historian struct {
	s    *Store
	snap *pebble.Snapshot
	span *store.Span
	walk walk
}

// page reads behind position at, or before it when back.
func (h *historian) page(ctx context.Context, at []byte, back bool) (store.Page, error) {
	page := store.Page{Total: -1}
	if h.span.Count <= 0 || at != nil && !bytes.HasPrefix(at, h.walk.lower) {
		return page, nil // a position of a record that was erased has nothing behind it
	}
	var keys [][]byte
	used := 0
	for e, err := range h.entries(ctx, at, back) {
		if err != nil {
			return store.Page{}, err
		}
		keys = append(keys, e.key)
		if len(keys) > h.span.Count {
			break
		}
		v, err := h.version(&e.entry)
		if err != nil {
			return store.Page{}, err
		}
		if used += len(v.Raw); h.span.Bytes > 0 && used > h.span.Bytes && len(page.Versions) > 0 {
			break
		}
		page.Versions = append(page.Versions, v)
	}
	h.links(&page, keys, at, back)
	return page, nil
}

// links sets the cursors. keys are those of the page in the order they were
// read, and one more where there is more.
func (h *historian) links(page *store.Page, keys [][]byte, at []byte, back bool) {
	more := len(keys) > len(page.Versions)
	keys = keys[:len(page.Versions)]
	if back {
		slices.Reverse(page.Versions)
		slices.Reverse(keys)
	}
	if len(keys) == 0 {
		return
	}
	if more && !back || back {
		page.Next = h.s.cursor(h.span, keys[len(keys)-1], false)
	}
	if more && back || !back && at != nil {
		page.Prev = h.s.cursor(h.span, keys[0], true)
	}
}

type keyed struct {
	entry
	key []byte
}

// entries walks from position at to older versions, to newer ones when back,
// and leaves out what lies outside the span's times.
func (h *historian) entries(ctx context.Context, at []byte, back bool) iter.Seq2[keyed, error] {
	return func(yield func(keyed, error) bool) {
		it, err := h.snap.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: h.walk.lower, UpperBound: h.walk.upper})
		if err != nil {
			yield(keyed{}, fault(err))
			return
		}
		falling := h.walk.desc != back
		for ok := seek(it, at, falling); ok; ok = step(it, falling) {
			e, err := h.walk.read(it.Key(), it.Value())
			if err == nil && (e.erased || e.time.Before(h.span.Since) || !h.span.Until.IsZero() && e.time.After(h.span.Until)) {
				if !back && e.latest.Before(h.span.Since) || ctx.Err() != nil {
					break
				}
				continue
			}
			if !yield(keyed{e, slices.Clone(it.Key())}, err) || err != nil {
				_ = it.Close() // the caller has what it wants, or an error already
				return
			}
		}
		if err := errors.Join(it.Error(), it.Close(), ctx.Err()); err != nil {
			yield(keyed{}, fault(err))
		}
	}
}

// seek places it behind at in its direction; at nil: at the start.
func seek(it *pebble.Iterator, at []byte, falling bool) bool {
	switch {
	case falling && at == nil:
		return it.Last()
	case falling:
		return it.SeekLT(at)
	case at == nil:
		return it.First()
	}
	return it.SeekGE(append(slices.Clone(at), 0))
}

func step(it *pebble.Iterator, falling bool) bool {
	if falling {
		return it.Prev()
	}
	return it.Next()
}

func (h *historian) version(e *entry) (store.Version, error) {
	if e.version != nil {
		return *e.version, nil
	}
	v, err := h.s.version(h.snap, e.rid, e.number)
	if errors.Is(err, store.ErrNotFound) {
		err = fmt.Errorf("%w: version %d of record %d is missing", store.ErrCorrupt, e.number, e.rid)
	}
	return v, err
}

func (h *historian) count(ctx context.Context) (n int64, err error) {
	for _, err := range h.entries(ctx, nil, false) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// cursor is a place in a span that nobody else can make: direction, key, and a
// signature over both and the span.
func (s *Store) cursor(span *store.Span, key []byte, back bool) string {
	data := []byte{0}
	if back {
		data[0] = 1
	}
	data = append(data, key...)
	return base64.RawURLEncoding.EncodeToString(append(data, s.sign(span, data)...))
}

const signature = 16

func (s *Store) sign(span *store.Span, data []byte) []byte {
	m := hmac.New(sha256.New, s.secret)
	head := binary.AppendVarint(binary.AppendVarint(nil, span.Since.UnixNano()), span.Until.UnixNano())
	for _, part := range [...][]byte{head, []byte(span.Key.Type), {0}, []byte(span.Key.ID), {0}, data} {
		_, _ = m.Write(part) // a hash never fails to write
	}
	return m.Sum(nil)[:signature]
}

func (s *Store) openCursor(span *store.Span) (at []byte, back bool, err error) {
	if span.After == "" {
		return nil, false, nil
	}
	data, err := base64.RawURLEncoding.DecodeString(span.After)
	if err != nil || len(data) < signature+2 {
		return nil, false, store.ErrCursor
	}
	data, signed := data[:len(data)-signature], data[len(data)-signature:]
	if !hmac.Equal(signed, s.sign(span, data)) {
		return nil, false, store.ErrCursor
	}
	return data[1:], data[0] == 1, nil
}

// Former yields the keys of what had owner once and then no more, by record
// id. It is kept when an owner is lost; a create costs nothing.
func (s *Store) Former(ctx context.Context, owner store.Key) iter.Seq2[store.Key, error] {
	return func(yield func(store.Key, error) bool) {
		if !nameable(owner) {
			return
		}
		prefix := appendOwner([]byte{spaceFormer}, owner)
		for lower := prefix; lower != nil; {
			keys, next, err := s.formerChunk(ctx, lower, after(prefix))
			if err != nil {
				yield(store.Key{}, err)
				return
			}
			for _, k := range keys {
				if !yield(k, nil) {
					return
				}
			}
			lower = next
		}
	}
}

// formerChunk reads some keys, and where to go on (nil: at the end).
func (s *Store) formerChunk(ctx context.Context, lower, end []byte) (keys []store.Key, next []byte, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, nil, err
	}
	defer s.leave()
	it, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: lower, UpperBound: end})
	if err != nil {
		return nil, nil, fault(err)
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		if len(keys) == chunk {
			next = slices.Clone(it.Key())
			break
		}
		var k store.Key
		k, err = readOwner(it.Value())
		keys = append(keys, k)
	}
	return keys, next, errors.Join(err, fault(it.Error()), fault(it.Close()))
}
