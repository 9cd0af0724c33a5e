package storetest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"candela/store"
)

// model is a store so simple that it is right by reading: the last version of
// every key ever written.
type model map[store.Key]*state

type state struct {
	store.Version
	live bool
	raw  string
	had  map[store.Key]bool // owners of earlier versions
}

// commit tells what ops must do, or the errors one of which they must give; the
// model changes only in done.
func (m model) commit(ops []store.Op) (results []store.Result, errs []error) {
	seen := map[store.Key]bool{}
	for _, op := range ops {
		if seen[op.Key] {
			errs = append(errs, store.ErrTwice)
		}
		seen[op.Key] = true
		r, err := m.apply(op)
		if err != nil {
			errs = append(errs, err)
		}
		results = append(results, r)
	}
	return results, errs
}

func (m model) apply(op store.Op) (r store.Result, err error) {
	now := m[op.Key]
	live := now != nil && now.live
	r.Key, r.Number = op.Key, 1
	if now != nil {
		r.Number = now.Number + 1
	}
	if op.Action == store.Erase {
		r.Number = 0
		return r, erasable(now, op)
	}
	switch {
	case op.IfMatch != 0 && !live, op.IfMatch > 0 && now.Number != op.IfMatch:
		return r, store.ErrPrecondition
	case op.Action == store.Create && now != nil:
		return r, store.ErrConflict
	case op.Action == store.Delete && now == nil:
		return r, store.ErrNotFound
	}
	r.Created = op.Action != store.Delete && !live
	r.Unchanged = op.Action == store.Delete && !live || op.Action == store.Put && live && now.raw == string(op.Raw)
	if r.Unchanged {
		r.Number = now.Number
	}
	return r, nil
}

func erasable(now *state, op store.Op) error {
	switch {
	case now == nil && op.IfMatch == 0:
		return store.ErrNotFound
	case now == nil, op.IfMatch == -1 && !now.live, op.IfMatch > 0 && op.IfMatch != now.Number:
		return store.ErrPrecondition
	}
	return nil
}

// done takes over what the store answered.
func (m model) done(v store.Version, op store.Op) {
	now := m[v.Key]
	if op.Action == store.Erase {
		delete(m, v.Key)
		return
	}
	if now != nil && now.Number == v.Number {
		return
	}
	had := map[store.Key]bool{}
	if now != nil {
		maps.Copy(had, now.had)
		maps.Copy(had, owners(now.Entries))
	}
	v.Entries = append(store.Builtin(v.Key, v.Time), op.Entries...)
	m[v.Key] = &state{Version: v, live: op.Action != store.Delete, raw: string(op.Raw), had: had}
}

func owners(entries []store.Entry) map[store.Key]bool {
	out := map[store.Key]bool{}
	for _, e := range entries {
		if e.Role&store.Anchor != 0 && e.Kind == store.Link {
			out[store.Key{Type: e.Space, ID: e.Name}] = true
		}
	}
	return out
}

// former are the keys that Former must yield for owner, and those it may.
func (m model) former(owner store.Key) (must, may []string) {
	for k, s := range m {
		if !s.had[owner] {
			continue
		}
		if may = append(may, k.String()); !s.live || !owners(s.Entries)[owner] {
			must = append(must, k.String())
		}
	}
	return must, may
}

// find evaluates q on everything.
func (m model) find(q store.Query) []store.Key {
	var found []*state
	for k, s := range m {
		if s.live && slices.Contains(q.Types, k.Type) && m.holds(q.Where, s) {
			found = append(found, s)
		}
	}
	slices.SortFunc(found, func(a, b *state) int { return compare(q.Sort, a, b) })
	keys := make([]store.Key, 0, len(found))
	for _, s := range found {
		keys = append(keys, s.Key)
	}
	return keys
}

func compare(sorts []store.Sort, a, b *state) int {
	for _, s := range sorts {
		x, hasX := s.Value(a.Entries)
		y, hasY := s.Value(b.Entries)
		switch {
		case hasX != hasY && hasX:
			return -1
		case hasX != hasY:
			return 1
		case x != y && s.Desc:
			return strings.Compare(y, x)
		case x != y:
			return strings.Compare(x, y)
		}
	}
	if len(sorts) > 0 && sorts[0].Desc {
		return cmp.Compare(b.RID, a.RID)
	}
	return cmp.Compare(a.RID, b.RID)
}

// holds is store.Holds with chains followed one by one.
func (m model) holds(x store.Expr, s *state) bool {
	switch x := x.(type) {
	case store.And:
		return !slices.ContainsFunc(x, func(part store.Expr) bool { return !m.holds(part, s) })
	case store.Or:
		return slices.ContainsFunc(x, func(part store.Expr) bool { return m.holds(part, s) })
	case store.Not:
		return !m.holds(x.Of, s)
	case store.Via:
		return slices.ContainsFunc(s.Entries, func(e store.Entry) bool {
			to := m[store.Key{Type: e.Space, ID: e.Name}]
			return e.Param == x.Param && e.Kind == store.Link && e.Space == x.Type && to != nil && to.live && m.holds(x.Of, to)
		})
	case store.Has:
		return m.has(x, s)
	case store.Tree:
		ids := m.tree(x)
		return slices.ContainsFunc(s.Entries, func(e store.Entry) bool {
			return e.Param == x.Param && e.Kind == store.Link && e.Space == x.Type && ids[e.Name]
		})
	}
	ok, err := store.Holds(x, s.Entries)
	return ok && err == nil
}

func (m model) has(x store.Has, s *state) bool {
	for k, from := range m {
		if k.Type != x.Type || !from.live {
			continue
		}
		links := slices.ContainsFunc(from.Entries, func(e store.Entry) bool {
			return e.Param == x.Param && e.Kind == store.Link && e.Space == s.Key.Type && e.Name == s.Key.ID
		})
		if links && m.holds(x.Of, from) {
			return true
		}
	}
	return false
}

// tree is what a walk reaches: it adds whatever one more step finds until
// nothing new comes.
func (m model) tree(x store.Tree) map[string]bool {
	ids := map[string]bool{x.ID: true}
	for before := 0; before < len(ids); {
		before = len(ids)
		for k, from := range m {
			if k.Type != x.Type || !from.live || !m.holds(x.Of, from) {
				continue
			}
			for _, e := range from.Entries {
				up := e.Param == x.Up && e.Kind == store.Link && e.Space == x.Type
				if up && x.Above && ids[k.ID] {
					ids[e.Name] = true
				}
				if up && !x.Above && ids[e.Name] {
					ids[k.ID] = true
				}
			}
		}
	}
	return ids
}

func (m model) String() string {
	var b strings.Builder
	for k, s := range m {
		if s.live {
			fmt.Fprintf(&b, "%v rid %d: %+v\n", k, s.RID, s.Entries)
		}
	}
	return b.String()
}
