package reach

import (
	"context"
	"fmt"
	"time"

	"candela/store"
)

// Judge decides conditions about content that is not, or no longer, what the
// store finds by: old versions, and what is about to be written.
type Judge struct {
	// Find answers queries on everything that is stored.
	Find func(ctx context.Context, q store.Query) (store.Page, error)
	// Pending is what is written together: it stands for what is stored.
	Pending map[store.Key][]store.Entry
}

// Holds says whether x holds for the resource of the key with these entries. A
// chain goes on from its links to what is stored now. What cannot be decided is
// an error, which is the same as no.
func (j Judge) Holds(ctx context.Context, x store.Expr, k store.Key, entries []store.Entry) (bool, error) {
	switch x := x.(type) {
	case store.And:
		for _, part := range x {
			if ok, err := j.Holds(ctx, part, k, entries); err != nil || !ok {
				return false, err
			}
		}
		return true, nil
	case store.Or:
		for _, part := range x {
			if ok, err := j.Holds(ctx, part, k, entries); err != nil || ok {
				return ok, err
			}
		}
		return false, nil
	case store.Not:
		ok, err := j.Holds(ctx, x.Of, k, entries)
		return err == nil && !ok, err
	case store.Via:
		return j.via(ctx, x, entries)
	case store.Has:
		return j.any(ctx, x.Type, Both(store.Test{Param: x.Param, Cond: store.Cond{How: store.Is, Space: k.Type, Name: k.ID}}, x.Of))
	case store.Tree:
		return false, fmt.Errorf("a hierarchy cannot be a rule: %w", store.ErrQuery)
	default:
		return store.Holds(x, entries)
	}
}

func (j Judge) via(ctx context.Context, x store.Via, entries []store.Entry) (bool, error) {
	var links store.Or
	for i := range entries {
		e := &entries[i]
		if e.Param != x.Param || e.Kind != store.Link || e.Space != x.Type {
			continue
		}
		if to := (store.Key{Type: e.Space, ID: e.Name}); j.Pending[to] != nil {
			if ok, err := j.Holds(ctx, x.Of, to, j.Pending[to]); err != nil || ok {
				return ok, err
			}
			continue
		}
		links = append(links, store.Test{Param: store.ParamID, Cond: store.Cond{How: store.Is, Space: e.Space, Name: e.Name}})
	}
	if len(links) == 0 {
		return false, nil
	}
	return j.any(ctx, x.Type, Both(links, x.Of))
}

func (j Judge) any(ctx context.Context, typ string, where store.Expr) (bool, error) {
	found, err := j.Find(ctx, store.Query{Types: []string{typ}, Where: where, Count: 1, NoRaw: true})
	return err == nil && len(found.Versions) > 0, err
}

// Entries are the entries of content as it is stored: those given and those that
// every resource has.
func Entries(k store.Key, at time.Time, written []store.Entry) []store.Entry {
	out := make([]store.Entry, 0, len(written)+2)
	return append(append(out, written...), store.Builtin(k, at)...)
}
