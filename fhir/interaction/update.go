package interaction

import (
	"context"
	"errors"

	"candela/fhir"
	"candela/fhir/interaction/reach"
	"candela/fhir/patch"
	"candela/store"
)

// resolveUpdate decides what a PUT does. PUT Type/id creates or replaces that
// id; PUT Type?criteria does what the criteria find (R4 http, conditional
// update): none creates, one is replaced, many are 412.
func (e *Engine) resolveUpdate(ctx context.Context, v view, r fhir.Request) (*write, error) {
	if err := matches(r); err != nil {
		return nil, err
	}
	if err := whole(r.Resource); err != nil {
		return nil, err
	}
	if r.ID == "" {
		return e.resolveByCriteria(ctx, v, r)
	}
	if id := r.Resource.ID(); id != r.ID {
		return nil, fhir.Errorf(400, fhir.CodeInvalid, "the body's id must be there and equal the id in the URL").At(r.Type + ".id")
	}
	w := &write{req: r, op: store.Op{Action: store.Put, Key: store.Key{Type: r.Type, ID: r.ID}}}
	return w, guarded(ctx, v, w)
}

// guarded puts If-Match and If-None-Match into the op.
func guarded(ctx context.Context, v view, w *write) error {
	match, err := precondition(ctx, v, w.op.Key, w.req.IfMatch)
	if err != nil {
		return err
	}
	w.op.IfMatch = match
	if w.req.IfNoneMatch == "" || w.op.Action != store.Put {
		return nil
	}
	if asked := tags(w.req.IfNoneMatch); asked.any {
		w.op.IfNone = byID(w.op.Key)
		return nil
	}
	now, err := v.get(ctx, w.op.Key, reach.Update)
	if err == nil && tags(w.req.IfNoneMatch).has(now.Number) {
		return store.ErrPrecondition
	}
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrGone) {
		return nil
	}
	return err
}

// byID finds the resource itself: as an IfNone, "create only".
func byID(k store.Key) *store.Query {
	return &store.Query{Types: []string{k.Type}, Where: store.Test{
		Param: store.ParamID, Cond: store.Cond{How: store.Is, Space: k.Type, Name: k.ID},
	}}
}

func (e *Engine) resolveByCriteria(ctx context.Context, v view, r fhir.Request) (*write, error) {
	found, query, err := e.one(ctx, v, r.Type, r.Query.Encode(), false)
	if err != nil {
		return nil, err
	}
	id := r.Resource.ID()
	w := &write{req: r, decided: true, about: store.Claims(*query)}
	switch {
	case found != nil && id != "" && id != found.Key.ID:
		return nil, fhir.Errorf(400, fhir.CodeInvalid, "the criteria match a resource with another id than the body's").At(r.Type + ".id")
	case found != nil:
		w.op = store.Op{Action: store.Put, Key: found.Key}
		if r.IfMatch == "" {
			w.op.IfMatch = found.Number // it must still be what the criteria matched
			return w, nil
		}
		w.decided = false
		return w, guarded(ctx, v, w)
	case r.IfMatch != "":
		return nil, store.ErrPrecondition
	case id != "":
		w.op = store.Op{Action: store.Put, Key: store.Key{Type: r.Type, ID: id}, IfNone: query}
	default:
		w.op = store.Op{Action: store.Create, Key: store.Key{Type: r.Type, ID: e.config.NewID()}, IfNone: query}
	}
	return w, nil
}

// whole refuses what a server cut down for a summary (tag SUBSETTED): writing
// it back would lose data.
func whole(res fhir.Resource) error {
	for tag := range res.Root().Path("meta", "tag").Elements() {
		if tag.Get("code").Text() == "SUBSETTED" {
			return fhir.Errorf(400, fhir.CodeInvalid, "the body is a subset of the resource (tag SUBSETTED); read it whole before you write").At(res.Type() + ".meta.tag")
		}
	}
	return nil
}

// resolvePatch decides what a PATCH makes of Type/id, or of the one resource
// that criteria match (R4 http, patch: none is 404, many are 412). The patch
// sees the resource as a read would give it; what it makes is a Put on that
// very version. The history shows it as one.
func (e *Engine) resolvePatch(ctx context.Context, v view, r fhir.Request) (*write, error) {
	now, about, err := e.toPatch(ctx, v, r)
	if err != nil {
		return nil, err
	}
	if r.IfMatch != "" && !tags(r.IfMatch).has(now.Number) {
		return nil, store.ErrPrecondition
	}
	r.Resource, err = patch.Apply(stamped(now), r.Format, r.Body, e.config.Elements)
	if err != nil {
		return nil, err
	}
	if err := whole(r.Resource); err != nil {
		return nil, err
	}
	op := store.Op{Action: store.Put, Key: now.Key, IfMatch: now.Number}
	return &write{req: r, op: op, decided: r.IfMatch == "", about: about}, nil
}

// toPatch is the current version of what a PATCH is about, and the claims of its
// criteria.
func (e *Engine) toPatch(ctx context.Context, v view, r fhir.Request) (store.Version, []string, error) {
	if r.ID != "" {
		now, err := v.get(ctx, store.Key{Type: r.Type, ID: r.ID}, reach.Update)
		return now, nil, err
	}
	found, query, err := e.one(ctx, v, r.Type, r.Query.Encode(), true)
	switch {
	case err != nil:
		return store.Version{}, nil, err
	case found == nil:
		return store.Version{}, nil, fhir.Errorf(404, fhir.CodeNotFound, "the criteria match no %s to patch", r.Type)
	default:
		return *found, store.Claims(*query), nil
	}
}

// resolveReplace is PUT or PATCH: of a transaction's entries both are done in
// one go.
func (e *Engine) resolveReplace(ctx context.Context, v view, r fhir.Request) ([]*write, error) {
	does := e.resolveUpdate
	if r.Interaction == fhir.Patch {
		does = e.resolvePatch
	}
	w, err := does(ctx, v, r)
	return []*write{w}, err
}
