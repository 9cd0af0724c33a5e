package plan

import (
	"candela/store"
)

// node is a compiled condition. keep clears live[i] for each row i that is live
// and does not meet it; other rows are not looked at.
type node interface {
	keep(r *run, rows []Row, live []bool) error
}

type (
	allNode  []node
	someNode []node
	notNode  struct{ of node }
	testNode struct{ store.Test }
	// oneOfNode is a long Or of equalities on one parameter.
	oneOfNode struct {
		param string
		whole map[spaceName]struct{}
		named map[string]struct{}
	}
	spaceName struct{ space, name string }
)

// compile makes the filter of a normal expression on rows of a type.
func compile(x store.Expr, typ string) node {
	switch x := x.(type) {
	case store.And:
		all := make(allNode, len(x))
		for i, part := range x {
			all[i] = compile(part, typ)
		}
		return all
	case store.Or:
		return compileOr(x, typ)
	case store.Not:
		return notNode{compile(x.Of, typ)}
	case store.Test:
		return testNode{x}
	case store.Via:
		return &viaNode{Via: x, of: compile(normal(x.Of, false, x.Type), x.Type), known: map[string]bool{}}
	case store.Has:
		return &hasNode{Has: x, typ: typ, of: compile(normal(x.Of, false, x.Type), x.Type)}
	}
	return allNode{}
}

// compileOr gathers equalities on one parameter into a set.
func compileOr(parts store.Or, typ string) node {
	var some someNode
	sets := map[string]*oneOfNode{}
	for _, part := range parts {
		t, ok := part.(store.Test)
		if !ok || t.Cond.Text != "" || t.Cond.How != store.Is && t.Cond.How != store.Named {
			some = append(some, compile(part, typ))
			continue
		}
		set := sets[t.Param]
		if set == nil {
			set = &oneOfNode{param: t.Param, whole: map[spaceName]struct{}{}, named: map[string]struct{}{}}
			sets[t.Param] = set
			some = append(some, set)
		}
		if t.Cond.How == store.Is {
			set.whole[spaceName{t.Cond.Space, t.Cond.Name}] = struct{}{}
		} else {
			set.named[t.Cond.Name] = struct{}{}
		}
	}
	if len(some) == 1 {
		return some[0]
	}
	return some
}

// direct says whether x is a chain itself.
func direct(x store.Expr) bool {
	switch x.(type) {
	case store.Via, store.Has:
		return true
	}
	return false
}

// chainsIn are the nodes of the direct chains of a compiled Or, in its order.
func chainsIn(n node) (chains []node) {
	some, _ := n.(someNode)
	for _, part := range some {
		switch part.(type) {
		case *viaNode, *hasNode:
			chains = append(chains, part)
		}
	}
	return chains
}

func (n allNode) keep(r *run, rows []Row, live []bool) error {
	for _, part := range n {
		if err := part.keep(r, rows, live); err != nil {
			return err
		}
	}
	return nil
}

func (n someNode) keep(r *run, rows []Row, live []bool) error {
	met := make([]bool, len(rows))
	open := make([]bool, len(rows))
	for _, part := range n {
		for i := range open {
			open[i] = live[i] && !met[i]
		}
		if err := part.keep(r, rows, open); err != nil {
			return err
		}
		for i := range met {
			met[i] = met[i] || open[i]
		}
	}
	copy(live, met)
	return nil
}

func (n notNode) keep(r *run, rows []Row, live []bool) error {
	met := append([]bool(nil), live...)
	if err := n.of.keep(r, rows, met); err != nil {
		return err
	}
	for i := range live {
		live[i] = live[i] && !met[i]
	}
	return nil
}

func (n testNode) keep(_ *run, rows []Row, live []bool) (err error) {
	for i := range rows {
		if live[i] {
			if live[i], err = rows[i].meets(&n.Test); err != nil {
				return err
			}
		}
	}
	return nil
}

func (n *oneOfNode) keep(_ *run, rows []Row, live []bool) error {
	for i := range rows {
		if !live[i] {
			continue
		}
		met := false
		err := rows[i].each(n.param, func(v *store.Value) bool {
			met = n.met(v)
			return !met
		})
		if err != nil {
			return err
		}
		live[i] = met
	}
	return nil
}

func (n *oneOfNode) met(v *store.Value) bool {
	if v.Kind != store.Code && v.Kind != store.Link && v.Kind != store.URI {
		return false
	}
	if _, ok := n.whole[spaceName{v.Space, v.Name}]; ok {
		return true
	}
	_, ok := n.named[v.Name]
	return ok && v.Kind == store.Code
}

// kept gives the rows that meet n.
func kept(r *run, n node, rows []Row) ([]Row, error) {
	live := make([]bool, len(rows))
	for i := range live {
		live[i] = true
	}
	if err := n.keep(r, rows, live); err != nil {
		return nil, err
	}
	out := rows[:0]
	for i := range rows {
		if live[i] {
			out = append(out, rows[i])
		}
	}
	return out, nil
}
