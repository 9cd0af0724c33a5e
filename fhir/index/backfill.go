package index

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"candela/fhir"
	"candela/store"
)

// errOvertaken ends the indexing of a definition that has changed, or that
// another process has taken over.
var errOvertaken = errors.New("overtaken")

// Run follows other processes' changes and indexes older resources, until ctx
// ends. Of all processes on a store one indexes at a time; another goes on from
// its last page when it dies.
func (k *Keeper) Run(ctx context.Context) {
	var group sync.WaitGroup
	group.Go(func() { k.follow(ctx) })
	group.Go(func() { k.indexAll(ctx) })
	group.Wait()
}

func (k *Keeper) follow(ctx context.Context) {
	tick := time.NewTicker(k.Poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := k.catchUp(ctx); err != nil && ctx.Err() == nil {
			k.Log.Error("search parameters were not read", slog.Any("error", err))
		}
	}
}

// catchUp reads the parameters again when there are others, or any on its way.
func (k *Keeper) catchUp(ctx context.Context) error {
	newest, err := k.head(ctx)
	if err != nil {
		return err
	}
	switched, err := k.wordsChanged(ctx)
	if err != nil {
		return err
	}
	k.mu.Lock()
	changed := switched || newest != k.newest || len(k.todo) > 0
	k.mu.Unlock()
	if !changed {
		return nil
	}
	return k.Refresh(ctx)
}

// indexAll takes one parameter after the other.
func (k *Keeper) indexAll(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.wake:
		}
		if !k.leased(ctx) {
			continue // the next Refresh wakes it again
		}
		for _, id := range k.waiting() {
			err := k.index(ctx, id)
			if err == nil {
				k.Log.Info("a search parameter is indexed", slog.String("id", id))
			} else if ctx.Err() == nil && !errors.Is(err, errOvertaken) {
				k.Log.Error("indexing stopped; it goes on from its last page", slog.String("id", id), slog.Any("error", err))
			}
		}
		k.release(context.WithoutCancel(ctx))
	}
}

func (k *Keeper) waiting() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []string
	for id := range k.todo {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// leased takes or renews the lease.
func (k *Keeper) leased(ctx context.Context) bool {
	now, err := k.Store.KVGet(ctx, leaseBucket, "owner")
	switch {
	case errors.Is(err, store.ErrNotFound):
		now = nil
	case err != nil || !bytes.Equal(now, k.owner):
		return false
	}
	return k.Store.KVSwap(ctx, leaseBucket, "owner", now, k.owner, k.Lease) == nil
}

// release lets another process begin at once; a failure only delays it.
func (k *Keeper) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if now, err := k.Store.KVGet(ctx, leaseBucket, "owner"); err == nil && bytes.Equal(now, k.owner) {
		_ = k.Store.KVDelete(ctx, leaseBucket, "owner")
	}
}

// job is the indexing of one parameter under way.
type job struct {
	*Keeper
	id  string
	now progress
	raw []byte // as it stands in KV
}

// index goes on with a parameter from where it stood.
func (k *Keeper) index(ctx context.Context, id string) error {
	raw, err := k.Store.KVGet(ctx, progressBucket, id)
	if err != nil {
		return err
	}
	j := &job{Keeper: k, id: id, raw: raw}
	if err := json.Unmarshal(raw, &j.now); err != nil {
		return err
	}
	for i := range j.now.Parts {
		if err := j.pass(ctx, &j.now.Parts[i]); err != nil {
			return err
		}
	}
	if err := j.settle(ctx); err != nil {
		return err
	}
	if err := j.sweep(ctx); err != nil {
		return err
	}
	j.now.Done = true
	if err := j.save(ctx); err != nil {
		return err
	}
	return k.Refresh(ctx)
}

// pass indexes the resources of one type, page by page.
func (j *job) pass(ctx context.Context, p *part) error {
	if p.Passed {
		return nil
	}
	if j.now.Cursor == "" {
		count, err := j.Store.Find(ctx, store.Query{Types: p.types(), Total: true})
		if err != nil {
			return err
		}
		p.Done, p.Total = 0, count.Total
	}
	for {
		page, err := j.Store.Find(ctx, store.Query{Types: p.types(), Count: j.Page, After: j.now.Cursor})
		if errors.Is(err, store.ErrCursor) { // of an older layout: from the start
			j.now.Cursor, p.Done = "", 0
			continue
		}
		if err != nil {
			return err
		}
		if err := j.write(ctx, page.Versions); err != nil {
			return err
		}
		p.Done += int64(len(page.Versions))
		j.now.Cursor, p.Passed = page.Next, page.Next == ""
		if err := j.save(ctx); err != nil || p.Passed {
			return err
		}
	}
}

// write renews a page. A resource whose entries cannot be made keeps those it has.
func (j *job) write(ctx context.Context, page []store.Version) error {
	err := j.renew.Renew(ctx, page)
	var unreadable *fhir.Error
	if !errors.As(err, &unreadable) && !errors.Is(err, store.ErrTooLarge) {
		return err
	}
	for _, v := range page {
		err := j.renew.Renew(ctx, []store.Version{v})
		if err != nil && !errors.As(err, &unreadable) {
			return err
		}
		if err != nil {
			j.Log.Warn("a resource keeps its old index entries", slog.String("resource", v.Key.String()), slog.Any("error", err))
		}
	}
	return nil
}

// save keeps the progress and the lease; it fails when either is another's.
func (j *job) save(ctx context.Context) error {
	j.mu.Lock()
	version, wanted := j.todo[j.id]
	j.mu.Unlock()
	if !wanted || version != j.now.Version || !j.leased(ctx) {
		return errOvertaken
	}
	raw, err := json.Marshal(j.now)
	if err != nil {
		return err
	}
	err = j.Store.KVSwap(ctx, progressBucket, j.id, j.raw, raw, 0)
	if errors.Is(err, store.ErrConflict) {
		return errOvertaken
	}
	j.raw = raw
	return err
}

// settle waits until every process knows the parameter and what was written
// before is there to be swept.
func (j *job) settle(ctx context.Context) error {
	for until := time.Now().Add(j.Settle); time.Now().Before(until); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(j.Settle, j.Lease/3)):
		}
		if err := j.save(ctx); err != nil {
			return err
		}
	}
	return nil
}

// sweep indexes what was written since the definition was: other processes may
// not have known it yet.
func (j *job) sweep(ctx context.Context) error {
	head, err := j.Store.Head(ctx)
	if err != nil || head <= j.now.Seq {
		return err
	}
	var page []store.Version
	for v, err := range j.Store.Changes(ctx, j.now.Seq) {
		if err != nil {
			return err
		}
		page = slices.DeleteFunc(page, func(old store.Version) bool { return old.Key == v.Key }) // replaced, deleted or erased
		if v.Raw != nil && slices.ContainsFunc(j.now.Parts, func(p part) bool { return p.speaksOf(v.Key.Type) }) {
			page = append(page, v)
		}
		j.now.Seq = v.Seq
		if len(page) >= j.Page || v.Seq >= head {
			if err := j.write(ctx, page); err != nil {
				return err
			}
			if err := j.save(ctx); err != nil {
				return err
			}
			page = page[:0]
		}
		if v.Seq >= head {
			break
		}
	}
	return nil
}
