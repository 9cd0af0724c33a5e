package plan

import (
	"fmt"
	"slices"

	"candela/store"
)

// mostTree bounds how many resources a walk in a hierarchy may reach.
const mostTree = 20_000

// grown is x with each Tree walked: what it reaches becomes tests.
func (r *run) grown(x store.Expr) (store.Expr, error) {
	var err error
	switch x := x.(type) {
	case store.And:
		parts, err := r.grownAll(x)
		return store.And(parts), err
	case store.Or:
		parts, err := r.grownAll(x)
		return store.Or(parts), err
	case store.Not:
		x.Of, err = r.grown(x.Of)
		return x, err
	case store.Via:
		x.Of, err = r.grown(x.Of)
		return x, err
	case store.Has:
		x.Of, err = r.grown(x.Of)
		return x, err
	case store.Tree:
		if x.Of, err = r.grown(x.Of); err != nil {
			return nil, err
		}
		return r.tree(x)
	}
	return x, nil
}

func (r *run) grownAll(parts []store.Expr) ([]store.Expr, error) {
	out := make([]store.Expr, len(parts))
	for i, part := range parts {
		var err error
		if out[i], err = r.grown(part); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// tree walks level by level, each resource once.
func (r *run) tree(t store.Tree) (store.Expr, error) {
	seen := map[string]bool{t.ID: true}
	level := []string{t.ID}
	union := store.Or{linkTest(t.Param, t.Type, t.ID)}
	for len(level) > 0 {
		r.reading = t.Param
		next, err := r.treeLevel(&t, level)
		if err != nil {
			return nil, err
		}
		level = level[:0]
		for _, id := range next {
			if !seen[id] {
				seen[id] = true
				level = append(level, id)
				union = append(union, linkTest(t.Param, t.Type, id))
			}
		}
		if len(seen) > mostTree {
			return nil, fmt.Errorf("%s: a hierarchy of more than %d: %w", t.Param, mostTree, store.ErrTooCostly)
		}
	}
	return union, nil
}

func linkTest(param, typ, id string) store.Test {
	return store.Test{Param: param, Cond: store.Cond{How: store.Is, Space: typ, Name: id}}
}

// treeLevel is what one step leads to from all of a level; names may repeat.
func (r *run) treeLevel(t *store.Tree, level []string) (next []string, err error) {
	if !t.Above {
		var up store.Or
		for _, id := range level {
			up = append(up, linkTest(t.Up, t.Type, id))
		}
		err = newArm(r, t.Type, store.And{up, t.Of}).each(func(rows []Row) error {
			for i := range rows {
				next = append(next, rows[i].Key.ID)
			}
			return nil
		})
		return next, err
	}
	keys := make([]store.Key, 0, len(level))
	for _, id := range level {
		keys = append(keys, store.Key{Type: t.Type, ID: id})
	}
	rids, err := r.lookup(keys)
	if err != nil {
		return nil, err
	}
	rows, err := r.rows(slices.Compact(rids))
	if err != nil {
		return nil, err
	}
	if rows, err = kept(r, compile(normal(t.Of, false), t.Type), rows); err != nil {
		return nil, err
	}
	for i := range rows {
		err = rows[i].each(t.Up, func(v *store.Value) bool {
			if v.Kind == store.Link && v.Space == t.Type {
				next = append(next, string([]byte(v.Name))) // rows alias their record
			}
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	return next, nil
}
