package bulk

import (
	"context"
	"errors"

	"candela/fhir"
	"candela/fhir/search"
	"candela/store"
)

// Reindex renews the index entries of every current resource of Types (all
// when empty), because the set of search parameters or their extraction
// changed. It makes no versions; a resource written meanwhile has fresh entries
// already and is left alone. It may be stopped and run again.
type Reindex struct {
	Store    store.Store
	Search   *search.Registry
	Progress func(done int64)
}

// reindexPage bounds memory: so many resources are held at once.
const reindexPage = 500

// Run goes through the store once and returns how many resources it renewed.
func (x Reindex) Run(ctx context.Context, types ...string) (int64, error) {
	var done int64
	q := store.Query{Types: types, Count: reindexPage}
	for {
		page, err := x.Store.Find(ctx, q)
		if err != nil {
			return done, err
		}
		if err := x.Renew(ctx, page.Versions); err != nil {
			return done, err
		}
		done += int64(len(page.Versions))
		if x.Progress != nil {
			x.Progress(done)
		}
		if page.Next == "" {
			return done, nil
		}
		q.After = page.Next
	}
}

// Renew renews the entries of a page of versions at once; where a resource
// changed under way, one by one. A *fhir.Error is of a resource whose entries
// cannot be made.
func (x Reindex) Renew(ctx context.Context, page []store.Version) error {
	ops := make([]store.Op, 0, len(page))
	for _, v := range page {
		entries, err := x.Search.Entries(fhir.Stored(v.Raw))
		if err != nil {
			return err
		}
		ops = append(ops, store.Op{Action: store.Reindex, Key: v.Key, Entries: entries, IfMatch: v.Number})
	}
	if len(ops) == 0 {
		return nil
	}
	_, err := x.Store.Commit(ctx, ops...)
	if !overtaken(err) {
		return err
	}
	for _, op := range ops {
		if _, err := x.Store.Commit(ctx, op); err != nil && !overtaken(err) {
			return err
		}
	}
	return nil
}

// overtaken says that a newer version is there, which has its own entries.
func overtaken(err error) bool {
	return errors.Is(err, store.ErrPrecondition) || errors.Is(err, store.ErrConflict) ||
		errors.Is(err, store.ErrGone) || errors.Is(err, store.ErrNotFound)
}
