package interaction

import (
	"context"
	"errors"
	"slices"
	"strings"

	"candela/fhir"
	"candela/fhir/interaction/page"
	"candela/fhir/operation/erase"
	"candela/fhir/search"
	"candela/store"
)

// views makes views. It and view are the only holders of the store in this
// package: what a caller may not see has no second way out.
type views struct {
	store  store.Store
	search *search.Registry
}

func openViews(s store.Store, registry *search.Registry) (views, *page.Sealer) {
	return views{s, registry}, page.New(s)
}

func (vs views) of(c fhir.Caller) view { return view{vs, c.Access, c.Deny} }

// view is what one caller may see and do.
type view struct {
	views
	access fhir.Access
	deny   fhir.Access // taken away from access
}

// The letters of a rule.
const (
	letterCreate = 'c'
	letterRead   = 'r'
	letterUpdate = 'u'
	letterDelete = 'd'
	letterSearch = 's'
)

var errForbidden = fhir.Errorf(403, fhir.CodeForbidden, "you may not do this with this resource type")

// reach is the one place where rules narrow: the condition that resources of
// typ must meet for the letter, nil when all of them are in reach. Without a
// rule it is 403, whether there is data or not. Nobody from whom anything is
// withheld reaches all types at once.
func (v view) reach(typ string, letter byte) (store.Expr, error) {
	allowed, err := v.allowed(typ, letter)
	if err != nil || len(v.deny) == 0 {
		return allowed, err
	}
	if typ == "*" {
		return nil, errForbidden
	}
	var out store.And
	if allowed != nil {
		out = append(out, allowed)
	}
	for _, rule := range v.deny {
		if rule.Type != "*" && rule.Type != typ {
			continue
		}
		if rule.Compartment == (fhir.Reference{}) && rule.Filter == "" {
			return nil, errForbidden
		}
		x, err := v.condition(typ, rule)
		if err != nil {
			return nil, err
		}
		out = append(out, store.Not{Of: x})
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, nil
}

// allowed is what the rules of access reach.
func (v view) allowed(typ string, letter byte) (store.Expr, error) {
	var union store.Or
	for _, rule := range v.access {
		if rule.Type != "*" && rule.Type != typ || strings.IndexByte(rule.Letters, letter) < 0 {
			continue
		}
		if rule.Compartment == (fhir.Reference{}) && rule.Filter == "" {
			return nil, nil
		}
		x, err := v.condition(typ, rule)
		if err != nil {
			return nil, err
		}
		union = append(union, x)
	}
	if len(union) == 0 {
		return nil, errForbidden
	}
	return union, nil
}

// condition is a narrowed rule as an expression over the type's entries.
func (v view) condition(typ string, rule fhir.Rule) (store.Expr, error) {
	var all store.And
	if c := rule.Compartment; c != (fhir.Reference{}) {
		all = append(all, v.search.Compartment(c, typ))
	}
	if rule.Filter == "" {
		return all, nil
	}
	params, err := fhir.ParseParams(rule.Filter)
	if err != nil {
		return nil, err
	}
	found, err := v.search.Parse([]string{typ}, params, search.Options{Strict: true})
	if err != nil || found.Query.Where == nil {
		return nil, errForbidden // a filter that filters nothing is a mistake, not a grant
	}
	return append(all, found.Query.Where), nil
}

// get is the current version of one resource.
func (v view) get(ctx context.Context, k store.Key, letter byte) (store.Version, error) {
	limit, err := v.reach(k.Type, letter)
	if err != nil {
		return store.Version{}, err
	}
	found, err := v.store.Get(ctx, k)
	if limit == nil || errors.Is(err, store.ErrNotFound) {
		return found, err
	}
	if err != nil {
		return store.Version{}, outside(err)
	}
	return found, v.inside(found, limit)
}

// getVersion is one version. Under a narrowed rule it must lie inside itself:
// an old version may have belonged to somebody else.
func (v view) getVersion(ctx context.Context, k store.Key, number int64) (store.Version, error) {
	limit, err := v.reach(k.Type, letterRead)
	if err != nil {
		return store.Version{}, err
	}
	found, err := v.store.GetVersion(ctx, k, number)
	if limit == nil || errors.Is(err, store.ErrNotFound) {
		return found, err
	}
	if err != nil {
		return store.Version{}, outside(err)
	}
	return found, v.inside(found, limit)
}

// outside makes a deleted resource look like one that never was, where a
// narrowed caller could learn from the difference.
func outside(err error) error {
	if errors.Is(err, store.ErrGone) {
		return store.ErrNotFound
	}
	return err
}

// inside says ErrNotFound unless the version's own entries meet the limit.
// Limits with chains are refused by Holds, and so is the caller.
func (v view) inside(found store.Version, limit store.Expr) error {
	entries, err := v.search.Entries(fhir.Stored(found.Raw))
	if err != nil {
		return err
	}
	entries = append(entries, store.Builtin(found.Key, found.Time)...)
	if ok, err := store.Holds(limit, entries); err != nil || !ok {
		return store.ErrNotFound
	}
	return nil
}

// find answers a query; letter is 's', or 'r' for what an include points to.
func (v view) find(ctx context.Context, q store.Query) (store.Page, error) {
	if err := v.narrow(&q); err != nil {
		return store.Page{}, err
	}
	return v.store.Find(ctx, q)
}

// narrow adds the caller's limits to a query: to the types it asks for and to
// every type that a chain looks into.
func (v view) narrow(q *store.Query) error {
	if limit, err := v.reach("*", letterSearch); err == nil && limit == nil {
		return nil
	}
	var err error
	if q.Where, err = v.chains(q.Where); err != nil {
		return err
	}
	if len(q.Types) == 0 {
		return errForbidden // only an unlimited rule for all types may ask across all
	}
	limited := false
	var union store.Or
	for _, t := range q.Types {
		limit, err := v.reach(t, letterSearch)
		if err != nil {
			return err
		}
		one := store.And{store.Test{Param: store.ParamID, Cond: store.Cond{How: store.Within, Space: t}}}
		if limit != nil {
			limited, one = true, append(one, limit)
		}
		union = append(union, one)
	}
	if limited {
		q.Where = both(q.Where, union)
	}
	return nil
}

func both(a, b store.Expr) store.Expr {
	if a == nil {
		return b
	}
	return store.And{a, b}
}

// chains puts the caller's limits inside every Via and Has.
func (v view) chains(x store.Expr) (store.Expr, error) {
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

func (v view) each(parts []store.Expr) ([]store.Expr, error) {
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

func (v view) linked(typ string, of store.Expr) (store.Expr, error) {
	limit, err := v.reach(typ, letterSearch)
	if err != nil {
		return nil, err
	}
	if of, err = v.chains(of); err != nil || limit == nil {
		return of, err
	}
	return both(of, limit), nil
}

// history is open to rules that do not narrow; the past of a resource may lie
// outside a narrowed view where its present does not.
func (v view) history(ctx context.Context, s store.Span) (store.Page, error) {
	typ, letter := s.Key.Type, byte(letterSearch)
	if s.Key.ID != "" {
		letter = letterRead
	}
	if typ == "" {
		typ = "*"
	}
	limit, err := v.reach(typ, letter)
	if err == nil && limit != nil {
		err = errForbidden
	}
	if err != nil {
		return store.Page{}, err
	}
	return v.store.History(ctx, s)
}

// commit writes all or nothing, each write as its own caller. Writes that are idle
// are left out; results are put into the others.
func (v view) commit(ctx context.Context, writes []*write) error {
	ops := make([]store.Op, 0, len(writes))
	live := make([]*write, 0, len(writes))
	for _, w := range writes {
		if w.idle {
			continue
		}
		if err := v.of(w.req.Caller).mayWrite(ctx, w); err != nil {
			return &store.OpError{Index: w.index, Err: err}
		}
		ops, live = append(ops, w.op), append(live, w)
	}
	if len(ops) == 0 {
		return nil
	}
	results, err := v.store.Commit(ctx, ops...)
	var at *store.OpError
	if errors.As(err, &at) && at.Index < len(live) {
		return &store.OpError{Index: live[at.Index].index, Err: at.Err}
	}
	if err != nil {
		return err
	}
	for i, w := range live {
		w.result = results[i]
	}
	return nil
}

// mayWrite judges what is replaced and what replaces it. Under a narrowed rule
// the version that was judged must be the one that is replaced.
func (v view) mayWrite(ctx context.Context, w *write) error {
	limit, err := v.reach(w.op.Key.Type, letterOf(w.op.Action))
	if err != nil {
		return err
	}
	_, err = v.reach(w.op.Key.Type, letterCreate)
	if limit == nil && (err == nil || w.op.Action != store.Put) {
		return nil
	}
	if w.op.Raw != nil && limit != nil {
		if ok, err := store.Holds(limit, w.op.Entries); err != nil || !ok {
			return errForbidden
		}
	}
	now, absent := v.store.Get(ctx, w.op.Key)
	if errors.Is(absent, store.ErrNotFound) || errors.Is(absent, store.ErrGone) {
		return err // what is not there is created, and that takes its own letter
	}
	if absent != nil {
		return absent
	}
	if w.op.IfMatch <= 0 {
		w.op.IfMatch = now.Number
	}
	if limit == nil {
		return nil
	}
	return v.inside(now, limit)
}

func letterOf(a store.Action) byte {
	switch a {
	case store.Create:
		return letterCreate
	case store.Delete, store.Erase:
		return letterDelete
	default:
		return letterUpdate
	}
}

// window is a view as operations get it: operation.View.
type window struct {
	view
	*page.Sealer
	engine *Engine
	caller fhir.Caller
}

func (e *Engine) windowOf(c fhir.Caller) window { return window{e.views.of(c), e.pages, e, c} }

// Sees says whether the caller may search the type at all.
func (w window) Sees(typ string) bool {
	_, err := w.reach(typ, letterSearch)
	return err == nil
}

// Get is the current version of one resource.
func (w window) Get(ctx context.Context, k store.Key) (store.Version, error) {
	return w.get(ctx, k, letterRead)
}

// Find answers a query.
func (w window) Find(ctx context.Context, q store.Query) (store.Page, error) { return w.find(ctx, q) }

// Do does another interaction as the same caller, through the door.
func (w window) Do(ctx context.Context, r fhir.Request) (fhir.Response, error) {
	r.Caller = w.caller
	return w.engine.Do(ctx, r)
}

// Whole is everything that is stored, for those who may delete all of it: erasing
// takes away what was somebody else's once, so that nothing may be out of reach.
func (w window) Whole() (erase.Whole, error) {
	limit, err := w.reach("*", letterDelete)
	if err == nil && limit != nil {
		err = errForbidden
	}
	return eraser{w.store, w}, err
}

// eraser is the store as an erasure gets it: erase.Whole.
type eraser struct {
	store.Store
	window window
}

// Erase takes resources away that are still as they were seen, and stores the
// record in the same commit. The record is the server's own: no rule of the
// caller's speaks of it.
func (w eraser) Erase(ctx context.Context, gone []store.Version, record fhir.Resource) (store.Key, error) {
	told := &write{
		req: fhir.Request{Interaction: fhir.Create, Type: record.Type(), Resource: record, Caller: fhir.Caller{Access: fhir.Full()}},
		op:  store.Op{Action: store.Create, Key: store.Key{Type: record.Type(), ID: w.window.engine.config.NewID()}},
	}
	if err := w.window.engine.index(told); err != nil {
		return store.Key{}, err
	}
	writes := make([]*write, 0, len(gone)+1)
	for _, v := range gone {
		writes = append(writes, &write{req: fhir.Request{Caller: w.window.caller}, op: store.Op{Action: store.Erase, Key: v.Key, IfMatch: v.Number}})
	}
	return told.op.Key, w.window.commit(ctx, append(writes, told))
}
