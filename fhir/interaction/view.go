package interaction

import (
	"context"
	"errors"
	"time"

	"candela/fhir"
	"candela/fhir/interaction/page"
	"candela/fhir/interaction/reach"
	"candela/fhir/operation/erase"
	"candela/fhir/search"
	"candela/store"
)

// views makes views. It and view are the only holders of the store in this
// package: what a caller may not see has no second way out.
type views struct {
	store  store.Store
	search *search.Registry
	laws   *reach.Laws
	now    func() time.Time
}

func openViews(s store.Store, registry *search.Registry, now func() time.Time, ownerTags []string) (views, *page.Sealer, error) {
	laws, err := reach.New(registry, ownerTags...)
	return views{s, registry, laws, now}, page.New(s), err
}

func (vs views) of(c fhir.Caller) view { return view{vs, vs.laws.Of(c)} }

// view is what one caller may see and do.
type view struct {
	views
	reach.View
}

var errForbidden = reach.ErrForbidden

// judge decides conditions about content that the store does not find by.
func (v view) judge(pending map[store.Key][]store.Entry) reach.Judge {
	return reach.Judge{Find: v.store.Find, Pending: pending}
}

// get is the current version of one resource for one of the letters. Under a
// narrowed rule the store is asked for one that meets it, so that what is hidden
// takes the way of what is absent.
func (v view) get(ctx context.Context, k store.Key, letters string) (store.Version, error) {
	limit, err := v.Limit(k.Type, letters)
	if err != nil {
		return store.Version{}, err
	}
	if limit == nil {
		return v.store.Get(ctx, k)
	}
	q := store.Query{Types: []string{k.Type}, Where: store.And{byID(k).Where, limit}, Count: 1}
	found, err := v.store.Find(ctx, q)
	if err != nil {
		return store.Version{}, err
	}
	if len(found.Versions) == 1 {
		return found.Versions[0], nil
	}
	return v.ended(ctx, k, limit)
}

// ended is ErrGone for a deleted resource that was in view to the last, and
// ErrNotFound for all else that is not in view.
func (v view) ended(ctx context.Context, k store.Key, limit store.Expr) (store.Version, error) {
	gone, err := v.store.Get(ctx, k)
	if !errors.Is(err, store.ErrGone) {
		if err == nil || errors.Is(err, store.ErrNotFound) {
			err = store.ErrNotFound
		}
		return store.Version{}, err
	}
	last, err := v.store.GetVersion(ctx, k, gone.Number-1)
	if err == nil {
		err = v.inside(ctx, last, limit)
	}
	if err != nil {
		return store.Version{}, hidden(err)
	}
	return gone, store.ErrGone
}

// hidden makes all that is not trouble of the store look like what never was.
func hidden(err error) error {
	if errors.Is(err, store.ErrGone) || errors.Is(err, store.ErrQuery) {
		return store.ErrNotFound
	}
	return err
}

// getVersion is one version. Under a narrowed rule both it and what the resource
// is now, or was before it was deleted, must be in view: either may have belonged
// to somebody else.
func (v view) getVersion(ctx context.Context, k store.Key, number int64) (store.Version, error) {
	limit, err := v.Limit(k.Type, reach.Read)
	if err != nil {
		return store.Version{}, err
	}
	if limit == nil {
		return v.store.GetVersion(ctx, k, number)
	}
	now, err := v.get(ctx, k, reach.Read)
	if err != nil && !errors.Is(err, store.ErrGone) || now.Number == number {
		return now, err
	}
	found, err := v.store.GetVersion(ctx, k, number)
	if errors.Is(err, store.ErrGone) {
		if err := v.past(ctx, store.Version{Key: k, Number: number, Action: store.Delete}, limit); err != nil {
			return store.Version{}, err
		}
		return found, store.ErrGone
	}
	if err == nil {
		err = v.inside(ctx, found, limit)
	}
	if err != nil {
		return store.Version{}, err
	}
	return found, nil
}

// past says ErrNotFound unless a version of the past was in view; a delete is
// where what it ended was.
func (v view) past(ctx context.Context, one store.Version, limit store.Expr) error {
	if one.Action == store.Delete {
		before, err := v.store.GetVersion(ctx, one.Key, one.Number-1)
		if err != nil {
			return hidden(err)
		}
		one = before
	}
	return v.inside(ctx, one, limit)
}

// inside says ErrNotFound unless the version's own content meets the limit.
func (v view) inside(ctx context.Context, found store.Version, limit store.Expr) error {
	entries, err := v.search.Entries(fhir.Stored(found.Raw))
	if err != nil {
		return store.ErrNotFound // an old version that no parameter can be read from
	}
	ok, err := v.judge(nil).Holds(ctx, limit, found.Key, reach.Entries(found.Key, found.Time, entries))
	if err == nil && !ok {
		err = store.ErrNotFound
	}
	return hidden(err)
}

// find answers a query of a search.
func (v view) find(ctx context.Context, q store.Query) (store.Page, error) {
	return v.findFor(ctx, q, reach.Search)
}

// findFor answers a query for one of the letters: what an include points to may
// be read or searched for.
func (v view) findFor(ctx context.Context, q store.Query, letters string) (store.Page, error) {
	if err := v.Narrow(&q, letters); err != nil {
		return store.Page{}, err
	}
	return v.store.Find(ctx, q)
}

// held is a query as a condition of a commit: it sees what the caller sees.
func (v view) held(q store.Query) (*store.Query, error) {
	err := v.Narrow(&q, reach.Search)
	return &q, err
}

// history is a page of the past.
func (v view) history(ctx context.Context, s store.Span) (store.Page, error) {
	typ, letter := s.Key.Type, reach.Search
	if s.Key.ID != "" {
		letter = reach.Read
	}
	if typ == "" {
		typ = "*"
	}
	limit, err := v.Limit(typ, letter)
	switch {
	case err == nil && limit == nil:
		return v.store.History(ctx, s)
	case err != nil && typ != "*":
		return store.Page{}, err
	}
	g := glimpse{view: v, letter: letter, span: s, seen: map[store.Key]bool{}}
	return g.page(ctx)
}

// commit writes all or nothing, each write as its own caller. Writes that are idle
// are left out; results are put into the others.
func (v view) commit(ctx context.Context, writes []*write) error {
	ops := make([]store.Op, 0, len(writes))
	live := make([]*write, 0, len(writes))
	pending := pendingOf(writes)
	for _, w := range writes {
		if w.idle {
			continue
		}
		if err := v.of(w.req.Caller).mayWrite(ctx, w, pending); err != nil {
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

// pendingOf is what writes make, to be judged together.
func pendingOf(writes []*write) map[store.Key][]store.Entry {
	out := map[store.Key][]store.Entry{}
	for _, w := range writes {
		if !w.idle && w.op.Raw != nil && len(writes) > 1 {
			out[w.op.Key] = w.op.Entries
		}
	}
	return out
}

// mayWrite judges what is replaced and what replaces it. Under a narrowed rule
// the version that was judged must be the one that is replaced, and a Put makes
// nothing new: it could tell what is hidden from what is absent.
func (v view) mayWrite(ctx context.Context, w *write, pending map[store.Key][]store.Entry) error {
	k, action := w.op.Key, w.op.Action
	limit, err := v.Limit(k.Type, letterOf(action))
	if err != nil {
		return err
	}
	marked := w.op.Raw == nil || v.MayRelabel(k.Type)
	fresh, createErr := v.Limit(k.Type, reach.Create)
	if limit == nil && marked && (action != store.Put || createErr == nil && fresh == nil) {
		return nil
	}
	if err := v.admits(ctx, w, limit, pending); err != nil {
		return err
	}
	after := reach.State{Resource: fhir.Stored(w.op.Raw), Entries: w.op.Entries}
	if action == store.Create {
		return v.Keeps(k.Type, reach.State{}, after)
	}
	now, err := v.replaced(ctx, w)
	switch {
	case errors.Is(err, store.ErrGone) && action == store.Delete:
		return nil // it is done already
	case (errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrGone)) && limit == nil && action == store.Put:
		if createErr != nil {
			return createErr // what is not there is created, and that takes its own letter
		}
		if err := v.admits(ctx, w, fresh, pending); err != nil {
			return err
		}
		return v.Keeps(k.Type, reach.State{}, after)
	case errors.Is(err, store.ErrNotFound) && limit == nil:
		return nil // the store says so
	case errors.Is(err, store.ErrGone):
		return store.ErrNotFound
	case err != nil || marked:
		return err
	}
	entries, err := v.search.Entries(fhir.Stored(now.Raw))
	if err != nil {
		return err
	}
	return v.Keeps(k.Type, reach.State{Resource: fhir.Stored(now.Raw), Entries: entries}, after)
}

// admits refuses content that does not meet the limit, whatever is stored.
func (v view) admits(ctx context.Context, w *write, limit store.Expr, pending map[store.Key][]store.Entry) error {
	if w.op.Raw == nil || limit == nil {
		return nil
	}
	ok, err := v.judge(pending).Holds(ctx, limit, w.op.Key, reach.Entries(w.op.Key, v.now(), w.op.Entries))
	if errors.Is(err, store.ErrQuery) || err == nil && !ok {
		return errForbidden
	}
	return err
}

// replaced is the version that a write replaces, which is bound to it.
func (v view) replaced(ctx context.Context, w *write) (store.Version, error) {
	letters := letterOf(w.op.Action)
	now, err := v.get(ctx, w.op.Key, letters)
	if err == nil && w.op.IfMatch <= 0 {
		w.op.IfMatch = now.Number
	}
	return now, err
}

func letterOf(a store.Action) string {
	switch a {
	case store.Create:
		return reach.Create
	case store.Delete, store.Erase:
		return reach.Delete
	default:
		return reach.Update
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
	_, err := w.Limit(typ, reach.Search)
	return err == nil
}

// Get is the current version of one resource.
func (w window) Get(ctx context.Context, k store.Key) (store.Version, error) {
	return w.get(ctx, k, reach.Read)
}

// Seal makes a page link's token for the caller; nobody else can use it.
func (w window) Seal(ctx context.Context, purpose string, plain []byte) (string, error) {
	return w.Sealer.Seal(ctx, purpose+bound(w.caller), plain)
}

// Open is what Seal was given.
func (w window) Open(ctx context.Context, purpose, token string) ([]byte, error) {
	return w.Sealer.Open(ctx, purpose+bound(w.caller), token)
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
	limit, err := w.Limit("*", reach.Delete)
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
