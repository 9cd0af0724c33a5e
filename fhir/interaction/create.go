package interaction

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"

	"candela/fhir"
	"candela/fhir/interaction/reach"
	"candela/store"
)

// resolveCreate decides what a POST Type does: a new resource under an id of
// ours, or, with If-None-Exist, what its criteria find (none: create, one:
// nothing to do, many: 412).
func (e *Engine) resolveCreate(ctx context.Context, v view, r fhir.Request) ([]*write, error) {
	if err := matches(r); err != nil {
		return nil, err
	}
	w := &write{req: r, status: 201, op: store.Op{Action: store.Create}}
	if r.IfNoneExist != "" {
		found, query, err := e.one(ctx, v, r.Type, r.IfNoneExist, wantsBody(r.Prefer))
		if err != nil {
			return nil, err
		}
		w.decided, w.op.IfNone, w.about = true, query, store.Claims(*query)
		if found != nil {
			w.skip(200, *found)
			return []*write{w}, nil
		}
	}
	w.op.Key = store.Key{Type: r.Type, ID: e.config.NewID()}
	return []*write{w}, nil
}

// matches refuses a body that is none of the URL's type.
func matches(r fhir.Request) error {
	if !r.Resource.Exists() {
		return fhir.Errorf(400, fhir.CodeRequired, "a resource is expected in the body")
	}
	if t := r.Resource.Type(); t != r.Type {
		return fhir.Errorf(400, fhir.CodeInvalid, "the body is no %s, as the URL says", r.Type).At("resourceType")
	}
	return nil
}

// write is one create, update or delete on its way: resolved (what will happen
// to which key), indexed (bytes and entries ready), committed, answered.
type write struct {
	index  int // place in the bundle
	req    fhir.Request
	op     store.Op
	status int  // of the answer, when Created says nothing else
	idle   bool // nothing to commit: present is the answer
	// decided: criteria chose the key, so a lost race means to choose again.
	decided bool
	about   []string    // claims of the criteria
	ended   int         // how many resources the DELETE of criteria ends
	edits   []fhir.Edit // rewritten links
	issues  []fhir.Issue
	present store.Version
	result  store.Result
}

// names is what others that write it too have in common with it.
func (w *write) names() []string {
	if w.about != nil {
		return slices.Clone(w.about)
	}
	return []string{w.op.Key.String()}
}

func (w *write) skip(status int, found store.Version) {
	w.idle, w.status, w.present, w.op.Key = true, status, found, found.Key
}

// index makes the op's bytes and entries: structure checked as it came, links
// and id written, server-owned meta taken out, search parameters extracted.
func (e *Engine) index(w *write) error {
	if w.idle || w.op.Action == store.Delete {
		return nil
	}
	w.issues = e.config.Structure.Check(w.req.Resource, e.config.Lenient || w.req.Prefer.Handling == "lenient")
	if bad := failures(w.issues); len(bad) > 0 {
		status := 400
		if w.req.Interaction == fhir.Patch {
			status = 422 // the patch was understood; what it makes is no valid resource
		}
		return &fhir.Error{Status: status, Issues: bad}
	}
	edits := append(w.edits, fhir.DropServerMeta(w.req.Resource)...)
	if w.req.Resource.ID() != w.op.Key.ID {
		edits = append(edits, fhir.SetID(w.req.Resource, w.op.Key.ID))
	}
	res, err := w.req.Resource.Edited(edits)
	if err != nil {
		return err
	}
	if e.config.Admit != nil {
		if err := e.config.Admit(res); err != nil {
			return err
		}
	}
	if w.op.Entries, err = e.config.Search.Entries(res); err != nil {
		return err
	}
	w.op.Raw = res.Raw()
	return nil
}

func failures(issues []fhir.Issue) []fhir.Issue {
	var bad []fhir.Issue
	for _, one := range issues {
		if one.Severity == fhir.SevError || one.Severity == fhir.Fatal {
			bad = append(bad, one)
		}
	}
	return bad
}

// written is the answer to a write that is done.
func (e *Engine) written(r fhir.Request, w *write) fhir.Response {
	if w.op.Action == store.Delete {
		return deleted(r, w)
	}
	now := w.present
	status := w.status
	if !w.idle {
		now = w.result.Version
		if status = 200; w.result.Created {
			status = 201
		}
		if now.Raw == nil {
			now.Raw = w.op.Raw
		}
	}
	answer := fhir.Response{
		Status: status, ETag: strconv.FormatInt(now.Number, 10), LastModified: now.Time, Location: place(now), Issues: w.issues,
	}
	body(&answer, r.Prefer, now)
	return answer
}

// attested adds to a write the Provenance that came with it, in the same
// commit; its target is the version that the write makes.
func (e *Engine) attested(ctx context.Context, v view, r fhir.Request, writes []*write) ([]*write, error) {
	w := writes[0]
	if !r.Provenance.Exists() || w.idle {
		return writes, nil
	}
	if r.Provenance.Type() != "Provenance" {
		return nil, fhir.Errorf(400, fhir.CodeInvalid, "the header X-Provenance holds no Provenance")
	}
	number, err := e.next(ctx, v, w)
	if err != nil {
		return nil, err
	}
	target := append([]byte(`[{"reference":`), fhir.Quote(w.op.Key.String()+"/_history/"+strconv.FormatInt(number, 10))...)
	target = append(target, '}', ']')
	edit := fhir.Edit{With: target}
	if n := r.Provenance.Root().Get("target"); n.Exists() {
		edit.From, edit.To = n.Span()
	} else {
		_, edit.From = r.Provenance.Root().Get("resourceType").Span()
		edit.To, edit.With = edit.From, append([]byte(`,"target":`), target...)
	}
	told := &write{req: fhir.Request{Interaction: fhir.Create, Type: "Provenance", Prefer: r.Prefer, Caller: r.Caller}, index: 1}
	told.op = store.Op{Action: store.Create, Key: store.Key{Type: "Provenance", ID: e.config.NewID()}}
	if told.req.Resource, err = r.Provenance.Edited([]fhir.Edit{edit}); err != nil {
		return nil, err
	}
	return append(writes, told), e.index(told)
}

// next is the version number that a write will make, or the present one where
// it changes nothing. The write is bound to what that number was read from.
func (e *Engine) next(ctx context.Context, v view, w *write) (int64, error) {
	if w.op.Action == store.Create {
		return 1, nil
	}
	now, err := v.get(ctx, w.op.Key, reach.Update)
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrGone):
		if w.op.IfNone == nil {
			w.op.IfNone, w.decided = byID(w.op.Key), w.decided || w.req.IfNoneMatch == ""
		}
		return now.Number + 1, nil
	case err != nil:
		return 0, err
	}
	if w.op.IfMatch <= 0 {
		w.op.IfMatch, w.decided = now.Number, true
	}
	if bytes.Equal(now.Raw, w.op.Raw) {
		return now.Number, nil
	}
	return now.Number + 1, nil
}
