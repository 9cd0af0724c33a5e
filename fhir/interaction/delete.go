package interaction

import (
	"context"
	"errors"
	"strconv"

	"candela/fhir"
	"candela/fhir/interaction/reach"
	"candela/fhir/search"
	"candela/store"
)

// resolveDelete decides what a DELETE does: it ends Type/id, or the one
// resource that criteria match (many: 412, unless the server is set up to
// delete many). Deleting what is not there is done already.
func (e *Engine) resolveDelete(ctx context.Context, v view, r fhir.Request) ([]*write, error) {
	if r.ID == "" {
		return e.deleteByCriteria(ctx, v, r)
	}
	w := &write{req: r, op: store.Op{Action: store.Delete, Key: store.Key{Type: r.Type, ID: r.ID}}}
	if r.IfMatch == "" {
		return []*write{w}, e.idleIfAbsent(ctx, v, w)
	}
	return []*write{w}, guarded(ctx, v, w)
}

// deleteByCriteria ends everything that the criteria match, up to the bound
// that is set; each must still be the version that matched.
func (e *Engine) deleteByCriteria(ctx context.Context, v view, r fhir.Request) ([]*write, error) {
	most := max(e.config.DeleteMany, 1)
	found, err := e.some(ctx, v, r, most+1)
	if err != nil {
		return nil, err
	}
	if len(found) > most || len(found) > 1 && r.IfMatch != "" {
		return nil, fhir.Errorf(412, fhir.CodeMultiple, "the criteria match more than %d of %s", most, r.Type)
	}
	if len(found) == 0 {
		return []*write{{req: r, idle: true, op: store.Op{Action: store.Delete, Key: store.Key{Type: r.Type}}}}, nil
	}
	writes := make([]*write, len(found))
	for i, one := range found {
		writes[i] = &write{req: r, decided: true, ended: len(found), op: store.Op{Action: store.Delete, Key: one.Key, IfMatch: one.Number}}
	}
	if r.IfMatch == "" {
		return writes, nil
	}
	writes[0].decided = false
	return writes, guarded(ctx, v, writes[0])
}

// some are the first resources that criteria match, at most count, without
// their bytes.
func (e *Engine) some(ctx context.Context, v view, r fhir.Request, count int) ([]store.Version, error) {
	s, err := e.config.Search.Select(r.Type, below(r.Query.Encode()), search.Options{Now: e.config.Now()})
	if err == nil {
		err = v.certain(ctx, s.Bare)
	}
	if err != nil {
		return nil, err
	}
	q := s.Query
	var out []store.Version
	for q.NoRaw = true; len(out) < count; {
		q.Count = min(count-len(out), maxCount)
		found, err := v.find(ctx, q)
		if err != nil {
			return nil, err
		}
		out = append(out, found.Versions...)
		if q.After = found.Next; q.After == "" {
			break
		}
	}
	return out, nil
}

// idleIfAbsent spares the commit of a delete of what never was.
func (e *Engine) idleIfAbsent(ctx context.Context, v view, w *write) error {
	_, err := v.get(ctx, w.op.Key, reach.Delete)
	if errors.Is(err, store.ErrNotFound) {
		w.idle = true
		return nil
	}
	if errors.Is(err, store.ErrGone) {
		return nil
	}
	return err
}

// deleted is 204, or 200 with an outcome where one is asked for, or where the
// caller cannot know how many were deleted.
func deleted(r fhir.Request, w *write) fhir.Response {
	answer := fhir.Response{Status: 204}
	if n := w.result.Number; n > 0 && w.ended <= 1 {
		answer.ETag, answer.LastModified = strconv.FormatInt(n, 10), w.result.Time
	}
	switch {
	case w.ended > 1 && r.Prefer.Return != "minimal":
		answer.Status, answer.Body = 200, fhir.OutcomeOf(fhir.Issue{
			Severity: fhir.Information, Code: fhir.CodeInformational, Diagnostics: "deleted " + strconv.Itoa(w.ended) + " resources",
		})
	case r.Prefer.Return == "OperationOutcome":
		answer.Status, answer.Body = 200, fhir.OutcomeOf()
	}
	return answer
}
