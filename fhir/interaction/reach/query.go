package reach

import (
	"slices"
	"strings"

	"candela/store"
)

// Searchable are those types that the caller may search.
func (v View) Searchable(types []string) []string {
	return slices.DeleteFunc(slices.Clone(types), func(t string) bool {
		_, err := v.Limit(t, Search)
		return err != nil
	})
}

// Narrow adds the caller's limits to a query: those of the letters to the types
// it asks for, and those of searching to every type that a chain looks into.
func (v View) Narrow(q *store.Query, letters string) error {
	if v.Open(Search) {
		return nil
	}
	var err error
	if q.Where, err = v.chains(q.Where); err != nil {
		return err
	}
	if len(q.Types) == 0 {
		return ErrForbidden // only an unlimited rule for all types may ask across all
	}
	limits := make([]store.Expr, len(q.Types))
	limited := false
	for i, t := range q.Types {
		if limits[i], err = v.Limit(t, letters); err != nil {
			return err
		}
		limited = limited || limits[i] != nil
	}
	switch {
	case !limited:
	case len(limits) == 1 && v.sure(q.Types[0], q.Where, limits[0]):
	case len(limits) == 1:
		q.Where = Both(q.Where, limits[0])
	default:
		q.Where = Both(q.Where, eachType(q.Types, limits))
	}
	return nil
}

// sure says that what meets where lies in the compartment that limit asks for
// anyhow, since it asks for the same patient by one of the parameters of the
// compartment, or by a part of one: the store need not look twice.
func (v View) sure(typ string, where, limit store.Expr) bool {
	all, ok := limit.(store.Or)
	if !ok {
		all = store.Or{limit}
	}
	parts, ok := where.(store.And)
	if !ok {
		parts = store.And{where}
	}
	for _, one := range parts {
		asked, ok := one.(store.Test)
		if !ok || asked.Cond.How != store.Is || asked.Cond.Space != "Patient" || asked.Cond.Name == "" {
			continue
		}
		for _, x := range all {
			t, ok := x.(store.Test)
			if !ok || t.Cond.How != store.Is || t.Cond.Space != asked.Cond.Space || t.Cond.Name != asked.Cond.Name || t.Cond.Text != "" {
				continue
			}
			if t.Param == asked.Param || v.part(typ, asked.Param, t.Param) {
				return true
			}
		}
	}
	return false
}

const toPatients = ".where(resolve() is Patient)"

// part says that a parameter takes its values from where another takes them, or
// only the patients of these ("patient" of "subject").
func (v View) part(typ, param, of string) bool {
	a, ok := v.search.Param(typ, param)
	b, also := v.search.Param(typ, of)
	if !ok || !also {
		return false
	}
	wider, _ := v.places(typ, b.Expression)
	narrower, whole := v.places(typ, a.Expression)
	for _, place := range narrower {
		if !slices.Contains(wider, place) && !slices.Contains(wider, strings.TrimSuffix(place, toPatients)) {
			return false
		}
	}
	return whole && len(narrower) > 0
}

// places are the parts of an expression that are about a type; whole says that
// nothing else in it is.
func (v View) places(typ, expression string) (out []string, whole bool) {
	whole = true
	for one := range strings.SplitSeq(expression, "|") {
		one = strings.TrimSpace(one)
		of, _, _ := strings.Cut(one, ".")
		if _, other := v.spec.Ownership(of); of == typ {
			out = append(out, one)
		} else if !other {
			whole = false // it may be about any type
		}
	}
	return out, whole
}

// eachType holds for resources of one of the types that meet its limit.
func eachType(types []string, limits []store.Expr) store.Expr {
	union := make(store.Or, len(types))
	for i, t := range types {
		one := store.And{store.Test{Param: store.ParamID, Cond: store.Cond{How: store.Within, Space: t}}}
		if limits[i] != nil {
			one = append(one, limits[i])
		}
		union[i] = one
	}
	return union
}

// Both holds when a and b do; nil holds always.
func Both(a, b store.Expr) store.Expr {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	if parts, ok := a.(store.And); ok {
		return append(slices.Clone(parts), b)
	}
	return store.And{a, b}
}

// chains puts the caller's limits inside every Via, Has and Tree.
func (v View) chains(x store.Expr) (store.Expr, error) {
	switch x := x.(type) {
	case store.And:
		parts, err := v.each(x)
		return store.And(parts), err
	case store.Or:
		parts, err := v.each(x)
		return store.Or(parts), err
	case store.Not:
		of, err := v.chains(x.Of)
		return store.Not{Of: of}, err
	case store.Via:
		of, err := v.linked(x.Type, x.Of)
		x.Of = of
		return x, err
	case store.Has:
		of, err := v.linked(x.Type, x.Of)
		x.Of = of
		return x, err
	case store.Tree:
		of, err := v.linked(x.Type, x.Of)
		x.Of = of
		return x, err
	default:
		return x, nil
	}
}

func (v View) each(parts []store.Expr) ([]store.Expr, error) {
	out := slices.Clone(parts)
	for i, p := range parts {
		one, err := v.chains(p)
		if err != nil {
			return nil, err
		}
		out[i] = one
	}
	return out, nil
}

func (v View) linked(typ string, of store.Expr) (store.Expr, error) {
	limit, err := v.Limit(typ, Search)
	if err != nil {
		return nil, err
	}
	if of, err = v.chains(of); err != nil || limit == nil {
		return of, err
	}
	return Both(of, limit), nil
}
