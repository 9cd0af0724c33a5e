package plan

import (
	"fmt"
	"slices"
	"strings"

	"candela/store"
)

// viaNode tests a forward chain: it looks the targets of a batch of rows up,
// tests their rows, and remembers the answers.
type viaNode struct {
	store.Via
	of    node
	known map[string]bool // id of a target: does it meet the chain
}

// mostKnown bounds what a chain remembers.
const mostKnown = 200_000

func (n *viaNode) keep(r *run, rows []Row, live []bool) error {
	if len(n.known) > mostKnown {
		clear(n.known)
	}
	unknown, err := n.unknown(rows, live)
	if err != nil {
		return err
	}
	for part := range slices.Chunk(unknown, r.opt.Batch) {
		if err := n.learn(r, part); err != nil {
			return err
		}
	}
	for i := range rows {
		if live[i] {
			if live[i], err = n.met(&rows[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (n *viaNode) targets(row *Row, do func(id string) bool) error {
	return row.each(n.Param, func(v *store.Value) bool {
		return v.Kind != store.Link || v.Space != n.Type || do(v.Name)
	})
}

func (n *viaNode) met(row *Row) (met bool, err error) {
	err = n.targets(row, func(id string) bool {
		met = n.known[id]
		return !met
	})
	return met, err
}

// unknown are the targets that must be looked at: those of rows that no known
// target settles.
func (n *viaNode) unknown(rows []Row, live []bool) (keys []store.Key, err error) {
	asked := map[string]bool{}
	for i := range rows {
		if !live[i] {
			continue
		}
		if met, err := n.met(&rows[i]); met || err != nil {
			if err != nil {
				return nil, err
			}
			continue
		}
		err = n.targets(&rows[i], func(id string) bool {
			if _, ok := n.known[id]; !ok && !asked[id] {
				asked[id] = true
				keys = append(keys, store.Key{Type: n.Type, ID: id})
			}
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	return keys, nil
}

func (n *viaNode) learn(r *run, keys []store.Key) error {
	r.reading = n.Param
	for _, k := range keys {
		n.known[strings.Clone(k.ID)] = false // rows alias the record they came from
	}
	rids, err := r.lookup(keys)
	if err != nil {
		return err
	}
	rows, err := r.rows(rids)
	if err != nil {
		return err
	}
	if rows, err = kept(r, n.of, rows); err != nil {
		return err
	}
	for i := range rows {
		n.known[rows[i].Key.ID] = true
	}
	return nil
}

// lookup gives the rids of the keys that live.
func (r *run) lookup(keys []store.Key) ([]store.RID, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	if err := r.scanned(len(keys)); err != nil {
		return nil, err
	}
	rids, err := r.snap.Lookup(r.ctx, keys)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(rids, func(rid store.RID) bool { return rid == 0 }), nil
}

// gather collects, over all rows of the chain's target that meet it, the
// resources of typ that name them. It remembers the targets.
func (n *viaNode) gather(r *run, typ string) ([]store.RID, error) {
	var set ridSet
	err := newArm(r, n.Type, n.Of).each(func(rows []Row) error {
		links := make([]Scan, len(rows))
		for i := range rows {
			id := rows[i].Key.ID
			n.known[strings.Clone(id)] = true
			links[i] = Scan{Index: Equal, Hash: HashOf(typ, n.Param, n.Type, id)}
		}
		for _, scan := range r.united(links) {
			scan.Hint = 1024
			if len(scan.More) > 0 {
				scan.Hint = 64 // the records of so few may come along
			}
			if err := r.drain(&scanStream{scan: scan, name: n.Param}, func(rid store.RID) { set.add(rid) }); err != nil {
				return err
			}
		}
		return nil
	})
	return set.list(), err
}

// drain reads a stream to its end.
func (r *run) drain(s stream, do func(store.RID)) error {
	for {
		h, ok, err := s.next(r)
		if err != nil || !ok {
			return err
		}
		do(h.RID)
	}
}

// hasNode tests a reverse chain: row by row through the postings of its links,
// or, when that has become dearer than finding all of them, against the set of
// all resources that are named.
type hasNode struct {
	store.Has
	typ     string // of the rows tested
	of      node
	inner   int64 // how many rows drive the other side; 0: not estimated yet
	asked   int64
	set     []store.RID
	settled bool
}

func (n *hasNode) keep(r *run, rows []Row, live []bool) error {
	if err := n.settle(r, rows, live); err != nil {
		return err
	}
	for i := range rows {
		if !live[i] {
			continue
		}
		if n.settled {
			_, live[i] = slices.BinarySearch(n.set, rows[i].RID)
			continue
		}
		met, err := n.probe(r, rows[i].Key.ID)
		if err != nil {
			return err
		}
		live[i] = met
	}
	return nil
}

// settle gathers the set once probing costs more.
func (n *hasNode) settle(r *run, rows []Row, live []bool) (err error) {
	if n.settled {
		return nil
	}
	for i := range rows {
		if live[i] {
			n.asked++
		}
	}
	if n.inner == 0 && n.asked > 4 {
		best, err := newArm(r, n.Type, n.Of).best()
		if err != nil {
			return err
		}
		n.inner = best.n + 1
	}
	if n.inner == 0 || n.asked*(r.opt.SeekCost+r.opt.RowCost) < n.inner*r.opt.RowCost*2 {
		return nil
	}
	_, err = n.gather(r)
	return err
}

// probe looks for one resource that names id and meets the chain.
func (n *hasNode) probe(r *run, id string) (bool, error) {
	s := &scanStream{scan: Scan{Index: Equal, Hash: HashOf(n.Type, n.Param, n.typ, id), Hint: 8}, name: n.Param}
	link := store.Test{Param: n.Param, Cond: store.Cond{How: store.Is, Space: n.typ, Name: id}}
	for size := 8; ; size = r.opt.Batch {
		rids, err := r.take(s, size)
		if err != nil || len(rids) == 0 {
			return false, err
		}
		rows, err := r.rows(rids)
		if err != nil {
			return false, err
		}
		if rows, err = kept(r, allNode{testNode{link}, n.of}, rows); err != nil || len(rows) > 0 {
			return err == nil, err
		}
	}
}

// take reads up to size rids.
func (r *run) take(s stream, size int) ([]store.RID, error) {
	rids := make([]store.RID, 0, size)
	for len(rids) < size {
		h, ok, err := s.next(r)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		rids = append(rids, h.RID)
	}
	return rids, nil
}

// gather collects all resources of the tested type that some row of the chain names.
func (n *hasNode) gather(r *run) ([]store.RID, error) {
	if n.settled {
		return n.set, nil
	}
	var set ridSet
	err := newArm(r, n.Type, n.Of).each(func(rows []Row) error {
		keys, err := n.named(rows)
		if err != nil {
			return err
		}
		for part := range slices.Chunk(keys, r.opt.Batch) {
			rids, err := r.lookup(part)
			if err != nil {
				return err
			}
			set.add(rids...)
		}
		return nil
	})
	n.set, n.settled = set.list(), err == nil
	return n.set, err
}

// named are the resources of the tested type that the rows name.
func (n *hasNode) named(rows []Row) (keys []store.Key, err error) {
	asked := map[string]bool{}
	for i := range rows {
		err = rows[i].each(n.Param, func(v *store.Value) bool {
			if v.Kind == store.Link && v.Space == n.typ && !asked[v.Name] {
				asked[v.Name] = true
				keys = append(keys, store.Key{Type: n.typ, ID: v.Name})
			}
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	return keys, nil
}

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
	if rows, err = kept(r, compile(normal(t.Of, false, t.Type), t.Type), rows); err != nil {
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
