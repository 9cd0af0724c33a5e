package interaction

import (
	"context"
	"errors"
	"strconv"
	"time"

	"candela/fhir"
	"candela/fhir/interaction/page"
	"candela/store"
)

const (
	defaultCount = 50
	maxCount     = 1000
)

// history answers _history of a resource, a type or all: newest first, each
// version with what asked for it and what was answered.
func (e *Engine) history(ctx context.Context, v view, r fhir.Request) (fhir.Response, error) {
	path := pathOf(r)
	mark := bookmark{Total: -1}
	if token := r.Query.Get("_page"); token != "" {
		var err error
		if mark, err = e.resume(ctx, path, token); err != nil {
			return fhir.Response{}, err
		}
		if r.Query, err = fhir.ParseParams(mark.Query); err != nil {
			return fhir.Response{}, err
		}
	}
	span, used, err := spanOf(r)
	if err != nil {
		return fhir.Response{}, err
	}
	span.After, span.Total = mark.Cursor, mark.Total < 0
	found, err := e.past(ctx, v, span)
	if err != nil {
		return fhir.Response{}, err
	}
	if len(found.Versions) == 0 && r.ID != "" {
		if err := e.existed(ctx, v, span.Key); err != nil {
			return fhir.Response{}, err
		}
	}
	mark.Total = totalOf(found, mark)
	mark.Query = used.Encode()
	out := page.NewBundle(r.Base, "history", size(found.Versions))
	out.Total(mark.Total)
	out.Link("self", r.Base+"/"+path+"?"+mark.Query)
	if err := e.pageLinks(ctx, out, path, path, found, mark); err != nil {
		return fhir.Response{}, err
	}
	cut, err := e.cuts.Read(used)
	if err != nil {
		return fhir.Response{}, err
	}
	out.Form = formOf(cut)
	for _, one := range found.Versions {
		out.Past(one)
	}
	return fhir.Response{Status: 200, Body: out.Bytes()}, nil
}

func pathOf(r fhir.Request) string {
	path := ""
	for _, part := range []string{r.Type, r.ID} {
		if part != "" {
			path += part + "/"
		}
	}
	return path + "_history"
}

// existed is 404 for a resource that has no history at all.
func (e *Engine) existed(ctx context.Context, v view, k store.Key) error {
	if _, err := v.get(ctx, k, letterRead); refusalOrNil(err) == 404 {
		return err
	}
	return nil
}

func refusalOrNil(err error) int {
	if err == nil {
		return 0
	}
	return refusalOf(err).Status
}

// spanOf reads the parameters of a history. Those that would cut it in a way
// this server cannot are refused, not ignored.
func spanOf(r fhir.Request) (span, fhir.Params, error) {
	span := span{Span: store.Span{Key: store.Key{Type: r.Type, ID: r.ID}, Count: defaultCount}}
	var used fhir.Params
	for _, p := range r.Query {
		switch p.Name {
		case "_since":
			since, err := instant(p.Value)
			if err != nil {
				return span, nil, err
			}
			span.Since = since
			used = append(used, p)
		case "_at":
			at, err := fhir.ParseDate(p.Value, time.UTC)
			if err != nil {
				return span, nil, fhir.Errorf(400, fhir.CodeValue, "_at must be a date or date-time")
			}
			span.at, span.Until = time.UnixMicro(at.Lo).UTC(), time.UnixMicro(at.Hi).UTC()
			used = append(used, p)
		case "_count":
			n, err := strconv.ParseUint(p.Value, 10, 31)
			if err != nil {
				return span, nil, fhir.Errorf(400, fhir.CodeValue, "_count must be a whole number from 0")
			}
			span.Count = min(int(n), maxCount)
		case "_summary", "_elements":
			used = append(used, p)
		case "_list":
			return span, nil, fhir.Errorf(400, fhir.CodeNotSupported, "%s is not supported on a history", p.Name)
		default:
			if r.Prefer.Handling == "strict" {
				return span, nil, fhir.Errorf(400, fhir.CodeNotSupported, "a history takes _since, _at, _count, _summary and _elements only")
			}
		}
	}
	return span, append(used, fhir.Param{Name: "_count", Value: strconv.Itoa(span.Count)}), nil
}

// span is a history's part that is asked for.
type span struct {
	store.Span
	at time.Time // the first moment of _at; Until is its last
}

// maxPast bounds how many versions one page of a history with _at reads.
const maxPast = 10_000

// past is a page of history. With _at it is the versions that were current at
// some moment of the period: those made in it, and what was there when it
// began. How many there are is not known.
func (e *Engine) past(ctx context.Context, v view, s span) (store.Page, error) {
	if s.at.IsZero() || s.Count == 0 {
		return v.history(ctx, s.Span)
	}
	s.Total = false
	out := store.Page{Total: -1}
	for read := 0; ; {
		ask := s.Span
		ask.Count -= len(out.Versions)
		found, err := v.history(ctx, ask)
		if err != nil {
			return out, err
		}
		for _, one := range found.Versions {
			current, err := currentAt(ctx, v, one, s.at)
			if err != nil {
				return out, err
			}
			if current {
				out.Versions = append(out.Versions, one)
			}
		}
		s.After, out.Next = found.Next, found.Next
		if read += len(found.Versions); s.After == "" || len(out.Versions) == s.Count || read >= maxPast {
			return out, nil
		}
	}
}

// currentAt says whether a version was current at the moment or is newer.
func currentAt(ctx context.Context, v view, one store.Version, at time.Time) (bool, error) {
	if !one.Time.Before(at) {
		return true, nil
	}
	if one.Action == store.Delete {
		return false, nil
	}
	next, err := v.getVersion(ctx, one.Key, one.Number+1)
	if errors.Is(err, store.ErrNotFound) {
		return true, nil
	}
	if errors.Is(err, store.ErrGone) {
		err = nil
	}
	return next.Time.After(at), err
}

// instant reads a FHIR instant, or a date or date-time as its first moment.
func instant(text string) (time.Time, error) {
	for _, form := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02", "2006-01", "2006"} {
		if t, err := time.Parse(form, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fhir.Errorf(400, fhir.CodeValue, "_since must be an instant like 2026-01-31T12:00:00Z")
}
