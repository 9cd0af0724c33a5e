package interaction

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"candela/fhir"
	"candela/fhir/interaction/reach"
	"candela/fhir/interaction/subset"
	"candela/store"
)

// read answers GET Type/id: 404 for what never was, 410 for what was deleted,
// 304 for what the caller has already.
func (e *Engine) read(ctx context.Context, v view, r fhir.Request) (fhir.Response, error) {
	found, err := v.get(ctx, store.Key{Type: r.Type, ID: r.ID}, reach.Read)
	if err != nil {
		return fhir.Response{}, err
	}
	return e.current(r, found)
}

// vread answers GET Type/id/_history/vid; a delete version is 410.
func (e *Engine) vread(ctx context.Context, v view, r fhir.Request) (fhir.Response, error) {
	number, err := strconv.ParseInt(r.Version, 10, 64)
	if err != nil || number < 1 || strconv.FormatInt(number, 10) != r.Version {
		return fhir.Response{}, store.ErrNotFound
	}
	found, err := v.getVersion(ctx, store.Key{Type: r.Type, ID: r.ID}, number)
	if err != nil {
		return fhir.Response{}, err
	}
	return e.current(r, found)
}

// current answers with a version, cut where _summary or _elements say so.
func (e *Engine) current(r fhir.Request, found store.Version) (fhir.Response, error) {
	answer := fhir.Response{Status: 200, ETag: strconv.FormatInt(found.Number, 10), LastModified: found.Time}
	if has(r, found) {
		answer.Status = 304
		return answer, nil
	}
	answer.Resource = stamped(found)
	if len(r.Query) == 0 {
		return answer, nil
	}
	cut, err := e.cuts.Read(r.Query)
	if err == nil && !cut.Whole() {
		answer.Resource = fhir.Stored(cut.Append(nil, answer.Resource.Raw()))
	}
	return answer, err
}

// trim takes _summary and _elements out of the parameters of a write: they say
// how it is answered, and are no part of its criteria.
func (e *Engine) trim(r *fhir.Request) (subset.Cut, error) {
	switch r.Interaction {
	case fhir.Create, fhir.Update, fhir.Patch:
	default:
		return subset.Cut{}, nil
	}
	if !r.Query.Has("_summary") && !r.Query.Has("_elements") {
		return subset.Cut{}, nil
	}
	cut, err := e.cuts.Read(r.Query)
	r.Query = slices.DeleteFunc(slices.Clone(r.Query), func(p fhir.Param) bool { return p.Name == "_summary" || p.Name == "_elements" })
	return cut, err
}

// cutDown cuts the resource of an answer, never what is stored.
func cutDown(cut subset.Cut) func(fhir.Response, error) (fhir.Response, error) {
	return func(answer fhir.Response, err error) (fhir.Response, error) {
		if err == nil && !cut.Whole() && answer.Resource.Exists() {
			answer.Resource = fhir.Stored(cut.Append(nil, answer.Resource.Raw()))
		}
		return answer, err
	}
}

// formOf is how the entries of a page are written under a cut; nil: whole.
func formOf(cut subset.Cut) func([]byte, store.Version) []byte {
	if cut.Whole() {
		return nil
	}
	var whole []byte
	return func(dst []byte, v store.Version) []byte {
		whole = fhir.AppendStamped(whole[:0], v.Raw, v.Number, v.Time)
		return cut.Append(dst, whole)
	}
}

// has says whether the caller's copy is as new as what was found. If-None-Match
// wins over If-Modified-Since (RFC 9110, 13.2.2).
func has(r fhir.Request, found store.Version) bool {
	if r.IfNoneMatch != "" {
		return tags(r.IfNoneMatch).has(found.Number)
	}
	return !r.IfModifiedSince.IsZero() && !found.Time.Truncate(time.Second).After(r.IfModifiedSince)
}

// etags is a parsed If-Match or If-None-Match: any, or version numbers.
type etags struct {
	any     bool
	numbers []int64
}

// tags reads W/"2", "2", 2 or a comma list of these, or *. What is no version
// number matches nothing.
func tags(header string) etags {
	var out etags
	for one := range strings.SplitSeq(header, ",") {
		one = strings.TrimSpace(one)
		if one == "*" {
			out.any = true
			continue
		}
		one = strings.Trim(strings.TrimPrefix(one, "W/"), `"`)
		if n, err := strconv.ParseInt(one, 10, 64); err == nil && n > 0 && strconv.FormatInt(n, 10) == one {
			out.numbers = append(out.numbers, n)
		}
	}
	return out
}

func (t etags) has(number int64) bool {
	for _, n := range t.numbers {
		if n == number {
			return true
		}
	}
	return t.any
}

// precondition is what an If-Match header asks of a commit: 0 for no header,
// -1 for *, else the version number. A list is decided by the current version.
func precondition(ctx context.Context, v view, key store.Key, header string) (int64, error) {
	if header == "" {
		return 0, nil
	}
	asked := tags(header)
	switch {
	case asked.any:
		return -1, nil
	case len(asked.numbers) == 1:
		return asked.numbers[0], nil
	case len(asked.numbers) == 0:
		return 0, store.ErrPrecondition
	}
	now, err := v.get(ctx, key, reach.Update)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrGone) || err == nil && !asked.has(now.Number) {
		return 0, store.ErrPrecondition
	}
	return now.Number, err
}
