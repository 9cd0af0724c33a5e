package interaction

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"candela/fhir"
	"candela/fhir/interaction/page"
	"candela/fhir/interaction/reach"
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
		if mark, err = e.resume(ctx, path+bound(r.Caller), token); err != nil {
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
	if err := e.pageLinks(ctx, out, path+bound(r.Caller), path, found, mark); err != nil {
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
	if _, err := v.get(ctx, k, reach.Read); refusalOrNil(err) == 404 {
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
	span := span{Span: store.Span{Key: store.Key{Type: r.Type, ID: r.ID}, Count: defaultCount, Bytes: pageBytes}}
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
	used := 0
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
				used += len(one.Raw)
			}
		}
		s.After, out.Next = found.Next, found.Next
		if read += len(found.Versions); s.After == "" || len(out.Versions) == s.Count || used > s.Bytes || read >= maxPast {
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

// glimpse is a page of the past for a caller who may not see all of it: versions
// are read newest first and judged one by one. A version is in view where both it
// and what the resource is now, or was to the last, are.
type glimpse struct {
	view
	letter string
	span   store.Span
	seen   map[store.Key]bool // whether what a resource is now is in view
	out    store.Page
	last   spot
}

// spot is where the last version of the page stands: behind the cursor of the
// block it was read in.
type spot struct {
	after string
	seq   store.Seq
}

// glimpsed is how many versions are read at once.
const glimpsed = 200

func (p spot) cursor() string { return strconv.FormatUint(uint64(p.seq), 36) + "@" + p.after }

func spotOf(cursor string) (spot, error) {
	if cursor == "" {
		return spot{}, nil
	}
	seq, after, ok := strings.Cut(cursor, "@")
	n, err := strconv.ParseUint(seq, 36, 64)
	if err != nil || !ok {
		return spot{}, store.ErrCursor
	}
	return spot{after, store.Seq(n)}, nil
}

// page fills the page, and reads on until it knows whether there is more in view:
// what is hidden must not show in a link to a page that has nothing.
func (g *glimpse) page(ctx context.Context) (store.Page, error) {
	if g.span.Key.ID != "" {
		if _, err := g.get(ctx, g.span.Key, g.letter); err != nil && !errors.Is(err, store.ErrGone) {
			return store.Page{}, err
		}
	}
	from, err := spotOf(g.span.After)
	if err != nil {
		return store.Page{}, err
	}
	ask := g.span
	ask.After, ask.Count, ask.Total = from.after, glimpsed, false
	g.out.Total = -1
	var counted int64
	used := 0
	for read := 0; ; {
		block, err := g.store.History(ctx, ask)
		if err != nil {
			return store.Page{}, err
		}
		for _, one := range block.Versions {
			read++
			if from.seq != 0 && one.Seq >= from.seq {
				continue
			}
			ok, err := g.visible(ctx, one)
			if err != nil {
				return store.Page{}, err
			}
			if !ok {
				continue
			}
			used += len(one.Raw)
			full := len(g.out.Versions) == g.span.Count || len(g.out.Versions) > 0 && used > g.span.Bytes
			if counted++; g.span.Count > 0 && full {
				g.out.Next = g.last.cursor()
				return g.out, nil
			}
			if g.span.Count > 0 {
				g.out.Versions = append(g.out.Versions, one)
			}
			g.last = spot{ask.After, one.Seq}
		}
		switch {
		case block.Next == "":
			if g.span.Count == 0 {
				g.out.Total = counted
			}
			return g.out, nil
		case read >= maxPast && len(block.Versions) > 0:
			g.out.Next = spot{ask.After, block.Versions[len(block.Versions)-1].Seq}.cursor()
			return g.out, nil
		}
		ask.After = block.Next
	}
}

func (g *glimpse) visible(ctx context.Context, one store.Version) (bool, error) {
	limit, err := g.Limit(one.Key.Type, g.letter)
	if err != nil {
		return false, nil //nolint:nilerr // a type without a rule is out of view
	}
	now, known := g.seen[one.Key]
	if !known {
		_, err := g.get(ctx, one.Key, g.letter)
		if now = err == nil || errors.Is(err, store.ErrGone); !now && !errors.Is(err, store.ErrNotFound) {
			return false, err
		}
		g.seen[one.Key] = now
	}
	if !now || limit == nil {
		return now, nil
	}
	err = g.past(ctx, one, limit)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
