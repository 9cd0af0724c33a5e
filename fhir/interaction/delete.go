package interaction

import (
	"context"
	"errors"
	"strconv"

	"candela/fhir"
	"candela/store"
)

// resolveDelete decides what a DELETE does: it ends Type/id, or the one
// resource that criteria match (many: 412). Deleting what is not there is done
// already.
func (e *Engine) resolveDelete(ctx context.Context, v view, r fhir.Request) (*write, error) {
	w := &write{req: r, op: store.Op{Action: store.Delete, Key: store.Key{Type: r.Type, ID: r.ID}}}
	if r.ID == "" {
		found, _, err := e.one(ctx, v, r.Type, r.Query.Encode(), false)
		if err != nil {
			return nil, err
		}
		if found == nil {
			w.idle = true
			return w, nil
		}
		w.op.Key, w.op.IfMatch, w.decided = found.Key, found.Number, true
	}
	if r.IfMatch == "" {
		return w, e.idleIfAbsent(ctx, v, w)
	}
	w.decided = false
	return w, guarded(ctx, v, w)
}

// idleIfAbsent spares the commit of a delete of what never was.
func (e *Engine) idleIfAbsent(ctx context.Context, v view, w *write) error {
	_, err := v.get(ctx, w.op.Key, letterDelete)
	if errors.Is(err, store.ErrNotFound) {
		w.idle = true
		return nil
	}
	if errors.Is(err, store.ErrGone) {
		return nil
	}
	return err
}

// deleted is 204, or 200 with an outcome where one is asked for.
func deleted(r fhir.Request, w *write) fhir.Response {
	answer := fhir.Response{Status: 204}
	if n := w.result.Number; n > 0 {
		answer.ETag, answer.LastModified = strconv.FormatInt(n, 10), w.result.Time
	}
	if r.Prefer.Return == "OperationOutcome" {
		answer.Status, answer.Body = 200, fhir.OutcomeOf()
	}
	return answer
}
