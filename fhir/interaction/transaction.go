package interaction

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"candela/fhir"
	"candela/fhir/interaction/link"
	"candela/fhir/interaction/reach"
	"candela/store"
)

// transaction does all entries or none (R4 http, transaction rules): every
// write in one commit, then the reads, which see what was written. The entries
// come in through the door one by one, and get their answers.
func (e *Engine) transaction(ctx context.Context, r fhir.Request, entries []*entry) (err error) {
	for _, x := range entries {
		if x.err != nil {
			return inEntry(x.index, x.err)
		}
		if err := e.known(x.req); err != nil {
			return inEntry(x.index, err)
		}
		var err error
		if x.cut, err = e.trim(&x.req); err != nil {
			return inEntry(x.index, err)
		}
	}
	group := e.door.Open()
	undone := errUndone // what those learn who are inside when it ends
	defer func() { group.Close(undone) }()
	for _, x := range entries {
		var err error
		if x.req, err = group.Enter(ctx, x.req); err != nil {
			undone = refusalOf(err)
			return inEntry(x.index, err)
		}
		if err := e.views.of(x.req.Caller).Permit(x.req); err != nil {
			undone = refusalOf(err)
			return inEntry(x.index, err)
		}
	}
	writes, err := e.together(ctx, r, entries)
	if err != nil {
		undone = refusalOf(err)
		return err
	}
	e.finish(ctx, entries, writes)
	for i, x := range entries {
		if x.err != nil {
			x.err = refusalOf(x.err)
		}
		x.answer, x.err = group.Leave(i, x.answer, x.err)
	}
	return nil
}

var errUndone = fhir.Errorf(500, fhir.CodeException, "an internal error; the operator has been told")

// together commits the writes of all entries; where criteria decided and another
// write made them untrue meanwhile, it decides again.
func (e *Engine) together(ctx context.Context, r fhir.Request, entries []*entry) ([]*write, error) {
	race := race{turns: &e.turns}
	defer race.end()
	for {
		writes, err := e.resolve(ctx, entries)
		if err == nil {
			err = e.foresee(ctx, entries, writes)
		}
		if err == nil {
			err = e.ready(ctx, r, entries, writes)
		}
		if err == nil {
			err = e.views.of(r.Caller).commit(ctx, writes)
		}
		var at *store.OpError
		if err == nil || !errors.As(err, &at) {
			return writes, err
		}
		if lostRace(err) && decidedAt(writes, at.Index) {
			if at.Err = race.again(ctx, writes); at.Err == nil {
				continue
			}
		}
		return nil, inEntry(at.Index, at.Err)
	}
}

func decidedAt(writes []*write, index int) bool {
	return slices.ContainsFunc(writes, func(w *write) bool { return w.index == index && w.decided })
}

// resolve decides what each write does, in the order DELETE, POST, PUT, and
// refuses one identity in two writes.
func (e *Engine) resolve(ctx context.Context, entries []*entry) ([]*write, error) {
	var writes []*write
	resolvers := []resolver{e.resolveDelete, e.resolveCreate, e.resolveReplace}
	twice := map[store.Key]bool{}
	for rank, resolve := range resolvers {
		for _, x := range entries {
			if x.rank() != rank {
				continue
			}
			some, err := resolve(ctx, e.views.of(x.req.Caller), x.req)
			if err != nil {
				return nil, inEntry(x.index, err)
			}
			for _, w := range some {
				w.index = x.index
				if twice[w.op.Key] {
					return nil, inEntry(x.index, fhir.Errorf(400, fhir.CodeDuplicate, "two entries of the transaction write the same resource"))
				}
				// A create that found its resource writes nothing: others may.
				twice[w.op.Key] = w.op.Key.ID != "" && (rank == 0 || !w.idle)
			}
			writes = append(writes, some...)
		}
	}
	return writes, nil
}

// foresee fails the transaction before it writes where one of its reads will
// fail: what it asks for is not there, is deleted by it, or is malformed; or is an
// operation that changes data, which would not be undone with it. What another
// caller changes in between is said in the read's own entry.
func (e *Engine) foresee(ctx context.Context, entries []*entry, writes []*write) error {
	ends := map[store.Key]bool{} // written here -> deleted here
	for _, w := range writes {
		ends[w.op.Key] = w.op.Action == store.Delete
	}
	for _, x := range entries {
		if x.rank() != ranks-1 {
			continue
		}
		if err := e.readable(ctx, e.views.of(x.req.Caller), x.req, ends); err != nil {
			return inEntry(x.index, err)
		}
	}
	return nil
}

func (e *Engine) readable(ctx context.Context, v view, r fhir.Request, ends map[store.Key]bool) error {
	key := store.Key{Type: r.Type, ID: r.ID}
	gone, written := ends[key]
	var err error
	switch r.Interaction {
	case fhir.Read:
		if gone {
			return store.ErrGone
		}
		if !written {
			_, err = v.get(ctx, key, reach.Read)
		}
	case fhir.VRead:
		if !written {
			_, err = e.vread(ctx, v, r)
		}
	case fhir.SearchType, fhir.SearchSystem, fhir.SearchCompart:
		if !r.Query.Has("_page") {
			_, err = e.parseSearch(v, r, r.Prefer.Handling == "strict")
		}
	case fhir.HistoryInstance, fhir.HistoryType, fhir.HistorySystem:
		_, _, err = spanOf(r)
	case fhir.Operation:
		if err = unsupported(r); e.config.Operations != nil {
			err = e.config.Operations.Foresee(r)
		}
	default:
	}
	return err
}

// ready rewrites the links of all resources, then checks and indexes them side
// by side.
func (e *Engine) ready(ctx context.Context, r fhir.Request, entries []*entry, writes []*write) error {
	links := link.Map{FullURLs: map[string]link.Target{}, Base: r.Base, Elements: e.config.Elements}
	byCriteria := map[string]link.Target{}
	for _, w := range writes {
		if w.op.Action == store.Delete {
			continue
		}
		to := link.Target{Key: w.op.Key.String(), Fresh: w.op.Action == store.Create && !w.idle}
		if url := entries[w.index].fullURL; url != "" {
			if had, twice := links.FullURLs[url]; twice && had != to {
				return inEntry(w.index, fhir.Errorf(400, fhir.CodeDuplicate, "two entries have the same fullUrl"))
			}
			links.FullURLs[url] = to
		}
		if w.req.IfNoneExist != "" {
			byCriteria[w.req.Type+"?"+below(w.req.IfNoneExist)] = to
		}
	}
	var err error
	if links.Criteria, err = e.references(ctx, r.Base, writes, byCriteria); err != nil {
		return err
	}
	return e.each(ctx, writes, func(w *write) error {
		if w.idle || w.op.Action == store.Delete {
			return nil
		}
		w.edits = links.Edits(w.req.Resource, entries[w.index].fullURL)
		return e.index(w)
	})
}

// references resolves the conditional references of the bundle, each distinct
// one once: to the entry that is created on the same condition, else to the
// single resource that the criteria match.
func (e *Engine) references(ctx context.Context, base string, writes []*write, known map[string]link.Target) (map[string]link.Target, error) {
	first := map[string]*write{} // conditional reference -> first entry that has it
	ended := map[string]bool{}
	for _, w := range writes {
		if w.op.Action == store.Delete {
			ended[w.op.Key.String()] = true
		}
		if w.idle || w.op.Action == store.Delete {
			continue
		}
		for _, text := range link.Criteria(w.req.Resource, base) {
			if _, seen := first[text]; !seen {
				first[text] = w
			}
		}
	}
	var mu sync.Mutex
	out := make(map[string]link.Target, len(first))
	var group errgroup.Group
	group.SetLimit(e.workers())
	for text, w := range first {
		if to, ok := known[text]; ok {
			out[text] = to
			continue
		}
		group.Go(func() error {
			var to link.Target
			err := e.safely(ctx, func() (err error) {
				to, err = e.referenced(ctx, e.views.of(w.req.Caller), text)
				return err
			})
			if ended[to.Key] {
				err = fhir.Errorf(400, fhir.CodeInvalid, "a conditional reference matches what the transaction deletes")
			}
			if err != nil {
				return inEntry(w.index, err)
			}
			mu.Lock()
			defer mu.Unlock()
			out[text] = to
			return nil
		})
	}
	return out, group.Wait()
}

// referenced is the single resource that a conditional reference matches.
func (e *Engine) referenced(ctx context.Context, v view, text string) (link.Target, error) {
	typ := text[:len(text)-len(below(text))-1]
	if !e.served[typ] {
		return link.Target{}, fhir.Errorf(400, fhir.CodeInvalid, "a conditional reference names a type that is none of R4")
	}
	found, _, err := e.one(ctx, v, typ, text, false)
	if err != nil {
		return link.Target{}, err
	}
	if found == nil {
		return link.Target{}, fhir.Errorf(412, fhir.CodeNotFound, "a conditional reference to a %s matches nothing", typ)
	}
	return link.Target{Key: found.Key.String()}, nil
}

// each runs do on all writes, on a bounded number of goroutines, and gives the
// error of the first entry that has one.
func (e *Engine) each(ctx context.Context, writes []*write, do func(*write) error) error {
	errs := make([]error, len(writes))
	var group errgroup.Group
	workers := min(e.workers(), len(writes))
	for n := range workers {
		group.Go(func() error {
			for i := n; i < len(writes); i += workers {
				errs[i] = e.safely(ctx, func() error { return do(writes[i]) })
			}
			return nil
		})
	}
	_ = group.Wait() // errors are in errs
	failed := -1
	for i, err := range errs {
		if err != nil && (failed < 0 || writes[i].index < writes[failed].index) {
			failed = i
		}
	}
	if failed < 0 {
		return nil
	}
	return inEntry(writes[failed].index, errs[failed])
}

// finish finds every entry's answer. What a read misses after the commit is
// said in its own entry: the writes are done and stay.
func (e *Engine) finish(ctx context.Context, entries []*entry, writes []*write) {
	slices.SortFunc(writes, func(a, b *write) int { return cmp.Compare(a.index, b.index) })
	var room room
	for _, w := range writes {
		entries[w.index].answer, _ = cutDown(entries[w.index].cut)(e.written(w.req, w), nil)
		room.take(&entries[w.index].answer)
	}
	for _, x := range entries {
		if x.rank() == ranks-1 {
			e.answer(ctx, x, &room, e.inside)
		}
	}
}
