package interaction

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"

	"candela/fhir"
	"candela/store"
)

// refusals is the one table from the store's sentinels to what a caller sees.
// The texts never carry the inner error, which could name patient data.
var refusals = []struct {
	is     error
	status int
	code   string
	text   string
}{
	{store.ErrNotFound, 404, fhir.CodeNotFound, "there is no such resource"},
	{store.ErrGone, 410, fhir.CodeDeleted, "the resource was deleted; its history tells when"},
	{store.ErrPrecondition, 412, fhir.CodeConflict, "a precondition (If-Match, If-None-Match or If-None-Exist) does not hold; read the current version and try again"},
	{store.ErrConflict, 409, fhir.CodeConflict, "another write came first; read the current version and try again"},
	{store.ErrTwice, 400, fhir.CodeInvalid, "one resource is written twice in one transaction"},
	{store.ErrCursor, 400, fhir.CodeInvalid, "the page link is not valid here or has expired; search again"},
	{store.ErrQuery, 400, fhir.CodeInvalid, "the search cannot be answered in this form"},
	{store.ErrTooCostly, 400, fhir.CodeTooCostly, "the search costs more than this server allows; add a more selective parameter"},
	{store.ErrTooLarge, 413, fhir.CodeTooLong, "the write is too large for one commit; split it"},
	{store.ErrFull, 507, fhir.CodeNoStore, "the server has no storage space left; nothing was stored"},
	{context.DeadlineExceeded, 503, fhir.CodeTimeout, "the request took longer than this server allows"},
	{context.Canceled, 503, fhir.CodeTimeout, "the request was cancelled"},
	{store.ErrUnavailable, 503, fhir.CodeTransient, "the store cannot be reached at the moment; try again"},
	{store.ErrCorrupt, 500, fhir.CodeException, "stored data is damaged; the operator has been told"},
}

// explain turns any error into a *fhir.Error and logs what is the server's fault.
func (e *Engine) explain(ctx context.Context, err error) error {
	refusal := refusalOf(err)
	if refusal.Status >= 500 && !errors.Is(err, context.Canceled) {
		e.config.Log.LogAttrs(ctx, slog.LevelError, "request failed", slog.Int("status", refusal.Status), slog.Any("cause", errors.Unwrap(refusal)))
	}
	return refusal
}

func refusalOf(err error) *fhir.Error {
	var own *fhir.Error
	if errors.As(err, &own) {
		return own
	}
	for _, one := range refusals {
		if errors.Is(err, one.is) {
			return fhir.Errorf(one.status, one.code, "%s", one.text).Because(err)
		}
	}
	return fhir.Errorf(500, fhir.CodeException, "an internal error; the operator has been told").Because(err)
}

// safely turns a panic into a 500. Bundles are worked on in goroutines, where
// one that nobody recovers would end the process. The log gets the place, not
// what was said: that could be patient data.
func (e *Engine) safely(ctx context.Context, do func() error) (err error) {
	defer func() {
		if recover() != nil {
			e.config.Log.LogAttrs(ctx, slog.LevelError, "an entry panicked", slog.String("stack", string(debug.Stack())))
			err = fhir.Errorf(500, fhir.CodeException, "an internal error; the operator has been told")
		}
	}()
	return do()
}

func lostRace(err error) bool {
	return errors.Is(err, store.ErrPrecondition) || errors.Is(err, store.ErrConflict)
}
