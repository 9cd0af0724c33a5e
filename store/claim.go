package store

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Claims names, coarsely, what an IfNone query is about: sorted, each once, at
// least one. Backends let no two commits that share a claim go side by side, so
// that the second sees what the first wrote.
//
// Two queries with a type in common share a claim
//   - when both test one Identity (or _id) for equality, however it is spelled:
//     with or without Space, in any letter case, by another parameter, among
//     alternatives, beside any other tests;
//   - when neither tests an Identity, and both name one owner (Anchor);
//   - when both test neither: their claims are the types.
//
// No more is promised. A query by an identity and one by other marks of the same
// resource share none, nor do queries by two identities that one resource has;
// an Or counts only where each of its alternatives is a test for equality.
// Writes without IfNone claim nothing.
func Claims(q Query) []string {
	kind, names := "i", naming(q.Where, Identity)
	if names == nil {
		kind, names = "o", naming(q.Where, Anchor)
	}
	if names == nil {
		kind, names = "t", []string{""}
	}
	claims := make([]string, 0, len(names)*max(len(q.Types), 1))
	for _, typ := range typesOf(q) {
		for _, name := range names {
			claims = append(claims, kind+"\x00"+typ+"\x00"+name)
		}
	}
	slices.Sort(claims)
	return slices.Compact(claims)
}

// typesOf is the query's types; "" stands for all.
func typesOf(q Query) []string {
	if len(q.Types) == 0 {
		return []string{""}
	}
	return q.Types
}

// naming is the folded names one of which a resource must have for x to hold, as
// far as tests for equality with a role say; role 0 is any. nil: they say nothing.
func naming(x Expr, role Role) (names []string) {
	switch x := x.(type) {
	case Test:
		has := x.Role
		if x.Param == ParamID {
			has |= Identity
		}
		if equality := x.Cond.How == Is || x.Cond.How == Named || x.Cond.How == Versioned; equality && x.Cond.Name != "" && has&role == role {
			return []string{strings.ToLower(x.Cond.Name)}
		}
	case And:
		for _, part := range x {
			names = append(names, naming(part, role)...)
		}
	case Or:
		found := role == 0
		for _, part := range x {
			some := naming(part, 0)
			if some == nil {
				return nil
			}
			names = append(names, some...)
			found = found || naming(part, role) != nil
		}
		if !found {
			return nil
		}
	}
	return names
}

// Twins fails with ErrTwice, in an OpError on the later of the two, where one op
// of a commit writes what another's IfNone must not find, or where two ask the
// same. Chains cannot be asked of what is not stored yet and are passed over.
// at is the time of the commit.
func Twins(ops []Op, at time.Time) error {
	if len(ops) < 2 || !slices.ContainsFunc(ops, func(o Op) bool { return o.IfNone != nil }) {
		return nil
	}
	a := asked{ops: ops, at: at, where: map[Key][]int{}, tried: make([]int, len(ops))}
	same := map[string]int{}
	for i := range ops {
		q := ops[i].IfNone
		if q == nil {
			continue
		}
		question := fmt.Sprintf("%q %#v", q.Types, q.Where)
		if first, twice := same[question]; twice {
			return twins(first, i)
		}
		same[question] = i
		if Check(q.Where, false) == nil {
			a.file(i)
		}
	}
	for j := range ops {
		if i := a.about(j); i >= 0 {
			return twins(i, j)
		}
	}
	return nil
}

func twins(i, j int) error {
	return &OpError{Index: max(i, j), Err: fmt.Errorf("ops %d and %d are about one identity: %w", min(i, j), max(i, j), ErrTwice)}
}

// asked is the IfNone queries of a commit, to be found by what could meet them.
type asked struct {
	ops   []Op
	at    time.Time
	where map[Key][]int // by type and, in place of the id, a folded name that must be there; or by type alone
	tried []int         // by op: 1 + the last one that its query was held against
}

func (a *asked) file(i int) {
	q := *a.ops[i].IfNone
	names := naming(q.Where, Identity)
	for _, role := range []Role{Anchor, 0} {
		if names == nil {
			names = naming(q.Where, role)
		}
	}
	if names == nil {
		names = []string{""}
	}
	for _, typ := range typesOf(q) {
		for _, name := range names {
			a.where[Key{typ, name}] = append(a.where[Key{typ, name}], i)
		}
	}
}

// about is another op whose query finds what op j writes, or -1.
func (a *asked) about(j int) int {
	o := &a.ops[j]
	if o.Action != Create && o.Action != Put {
		return -1
	}
	var all []Entry // with the builtin ones, once they are needed
	for _, typ := range [...]string{o.Key.Type, ""} {
		for n := -2; n < len(o.Entries); n++ { // the type alone, the id, the entries
			place := Key{Type: typ}
			switch {
			case n >= 0:
				place.ID = strings.ToLower(o.Entries[n].Name)
			case n == -1:
				place.ID = strings.ToLower(o.Key.ID)
			}
			candidates := a.where[place]
			if n >= 0 && place.ID == "" || len(candidates) == 0 || len(candidates) == 1 && candidates[0] == j {
				continue
			}
			if all == nil {
				all = append(o.Entries[:len(o.Entries):len(o.Entries)], Builtin(o.Key, a.at)...)
			}
			if i := a.met(j, candidates, all); i >= 0 {
				return i
			}
		}
	}
	return -1
}

// met is the first of the candidates, other than op j itself, whose query holds.
func (a *asked) met(j int, candidates []int, entries []Entry) int {
	for _, i := range candidates {
		if i == j || a.tried[i] == j+1 {
			continue
		}
		a.tried[i] = j + 1
		if holds(a.ops[i].IfNone.Where, entries) {
			return i
		}
	}
	return -1
}
