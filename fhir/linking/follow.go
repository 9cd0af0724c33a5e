package linking

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"candela/store"
)

// Buckets of the store's KV: how far each configuration has come, and who links.
const (
	positionBucket = "linking"
	leaseBucket    = "linking-lease"
)

// longestPause is the longest wait between two tries of what fails.
const longestPause = time.Minute

// errElsewhere says that another process links.
var errElsewhere = errors.New("another process links")

// Run follows the changes and links, until ctx ends. What fails is told to the
// log and tried again, with growing pauses, from where it stood.
func (l *Linker) Run(ctx context.Context) {
	pause := l.Settle
	for ctx.Err() == nil {
		before := [outcomes]int64{linked: l.total(linked), ambiguous: l.total(ambiguous)}
		at, err := l.Turn(ctx)
		l.tell(before)
		switch {
		case err == nil:
			pause = l.Settle
			l.await(ctx, at)
			sleep(ctx, l.Settle)
		case errors.Is(err, errElsewhere):
			sleep(ctx, l.Lease/3)
		case ctx.Err() == nil:
			l.Log.Error("linking stopped; it goes on from its last position", slog.Any("error", err), slog.Duration("in", pause))
			sleep(ctx, pause)
			pause = min(2*pause, longestPause)
		}
	}
}

// tell says what a turn did. The log names no identifier and no resource.
func (l *Linker) tell(before [outcomes]int64) {
	if n := l.total(linked) - before[linked]; n > 0 {
		l.Log.Info("logical references are linked", slog.Int64("linked", n))
	}
	if n := l.total(ambiguous) - before[ambiguous]; n > 0 {
		l.Log.Warn("logical references are not linked: several resources have the identifier", slog.Int64("references", n))
	}
}

// await blocks until there is a change behind a position. A feed that fails is
// told to the log, and the next turn looks for itself.
func (l *Linker) await(ctx context.Context, at store.Seq) {
	for _, err := range l.Store.Changes(ctx, at) {
		if err != nil && ctx.Err() == nil {
			l.Log.Warn("the feed of changes failed; linking will look again", slog.Any("error", err))
		}
		return
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// Turn takes the lease and links by all changes up to now; at is the position it
// has come to. An error says why it stopped before; the next Turn, of whichever
// process, goes on there.
func (l *Linker) Turn(ctx context.Context) (at store.Seq, err error) {
	if err := l.leased(ctx); err != nil {
		return 0, err
	}
	defer l.release(context.WithoutCancel(ctx))
	inner, cancel := context.WithCancelCause(ctx)
	var group sync.WaitGroup
	group.Go(func() { l.renew(inner, cancel) })
	at, err = l.catchUp(inner)
	lost := context.Cause(inner)
	cancel(nil)
	group.Wait()
	if err != nil && lost != nil && ctx.Err() == nil {
		return at, lost
	}
	return at, err
}

// leased takes or renews the lease.
func (l *Linker) leased(ctx context.Context) error {
	now, err := l.Store.KVGet(ctx, leaseBucket, l.key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		now = nil
	case err != nil:
		return err
	case !bytes.Equal(now, l.owner):
		return errElsewhere
	}
	err = l.Store.KVSwap(ctx, leaseBucket, l.key, now, l.owner, l.Lease)
	if errors.Is(err, store.ErrConflict) {
		return errElsewhere
	}
	return err
}

// renew keeps the lease until ctx ends, and ends the turn when it cannot.
func (l *Linker) renew(ctx context.Context, stop context.CancelCauseFunc) {
	tick := time.NewTicker(l.Lease / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := l.leased(ctx); err != nil {
			stop(err)
			return
		}
	}
}

// release lets another process begin at once; a failure only delays it.
func (l *Linker) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if now, err := l.Store.KVGet(ctx, leaseBucket, l.key); err == nil && bytes.Equal(now, l.owner) {
		_ = l.Store.KVDelete(ctx, leaseBucket, l.key)
	}
}

// position is where the next turn begins, and its value in KV.
func (l *Linker) position(ctx context.Context) ([]byte, store.Seq, error) {
	value, err := l.Store.KVGet(ctx, positionBucket, l.key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	seq, err := strconv.ParseUint(string(value), 10, 64)
	if err != nil {
		return nil, 0, fmt.Errorf("position of linking: %w", store.ErrCorrupt)
	}
	return value, store.Seq(seq), nil
}

// catchUp links by what changed, stretch by stretch, and saves how far it came.
func (l *Linker) catchUp(ctx context.Context) (store.Seq, error) {
	saved, at, err := l.position(ctx)
	if err != nil {
		return at, err
	}
	for {
		head, err := l.Store.Head(ctx)
		if err != nil {
			return at, err
		}
		if at > head { // the store was set back
			at = 0
		}
		if at == head {
			return at, nil
		}
		part, next, err := l.collect(ctx, at, head)
		if err != nil {
			return at, err
		}
		if err := l.process(ctx, part); err != nil {
			return at, err
		}
		value := strconv.AppendUint(nil, uint64(next), 10)
		err = l.Store.KVSwap(ctx, positionBucket, l.key, saved, value, 0)
		if errors.Is(err, store.ErrConflict) {
			return at, errElsewhere
		}
		if err != nil {
			return at, err
		}
		saved, at = value, next
	}
}

// longest bounds how many changes that concern nobody stand in one stretch.
const longest = 10_000

// collect reads a stretch of changes behind from, not far behind head, and
// keeps those that may have something to link.
func (l *Linker) collect(ctx context.Context, from, head store.Seq) ([]store.Version, store.Seq, error) {
	var part []store.Version
	at, read := from, 0
	for v, err := range l.Store.Changes(ctx, from) {
		if err != nil {
			return nil, from, err
		}
		at, read = v.Seq, read+1
		if l.concerns(v) {
			part = append(part, v)
		}
		if at >= head || len(part) >= l.Page || read >= longest {
			break
		}
	}
	return part, at, ctx.Err()
}

func (l *Linker) concerns(v store.Version) bool {
	switch v.Action {
	case store.Create, store.Put:
		return (l.byType[v.Key.Type] != nil || l.byTarget[v.Key.Type] != nil) && (v.Number > 1 || mentions(v.Raw))
	case store.Delete, store.Erase: // of two with one identifier, the other may be left
		return l.byTarget[v.Key.Type] != nil
	default:
		return false
	}
}

// process links what the changed resources refer to, then what refers to them.
func (l *Linker) process(ctx context.Context, part []store.Version) error {
	if err := l.linkAll(ctx, part); err != nil {
		return err
	}
	erased := map[string]bool{}
	for _, v := range part {
		if l.byTarget[v.Key.Type] == nil {
			continue
		}
		if v.Action == store.Erase {
			erased[v.Key.Type] = true
			continue
		}
		if err := l.arrived(ctx, v); err != nil {
			return err
		}
	}
	for typ := range erased {
		if err := l.vanished(ctx, typ); err != nil {
			return err
		}
	}
	return nil
}

// linkAll links resources, several at a time.
func (l *Linker) linkAll(ctx context.Context, referrers []store.Version) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(l.Workers)
	for _, v := range referrers {
		if l.byType[v.Key.Type] != nil && mentions(v.Raw) {
			group.Go(func() error { return l.link(ctx, v) })
		}
	}
	return group.Wait()
}
