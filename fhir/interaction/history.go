package interaction

import (
	"context"
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
	found, err := v.history(ctx, span)
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
func spanOf(r fhir.Request) (store.Span, fhir.Params, error) {
	span := store.Span{Key: store.Key{Type: r.Type, ID: r.ID}, Count: defaultCount}
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
		case "_count":
			n, err := strconv.ParseUint(p.Value, 10, 31)
			if err != nil {
				return span, nil, fhir.Errorf(400, fhir.CodeValue, "_count must be a whole number from 0")
			}
			span.Count = min(int(n), maxCount)
		case "_summary", "_elements":
			used = append(used, p)
		case "_at", "_list":
			return span, nil, fhir.Errorf(400, fhir.CodeNotSupported, "%s is not supported on a history", p.Name)
		default:
			if r.Prefer.Handling == "strict" {
				return span, nil, fhir.Errorf(400, fhir.CodeNotSupported, "a history takes _since and _count only")
			}
		}
	}
	return span, append(used, fhir.Param{Name: "_count", Value: strconv.Itoa(span.Count)}), nil
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
