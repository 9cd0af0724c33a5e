package interaction

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"candela/fhir"
	"candela/fhir/interaction/page"
	"candela/fhir/interaction/reach"
	"candela/fhir/interaction/subset"
	"candela/fhir/search"
	"candela/store"
)

// one finds the single resource that criteria of a conditional interaction
// match: nil when there is none, 412 when there are many. Its bytes are read
// only where whole asks for them. The query comes back for the commit to hold true.
func (e *Engine) one(ctx context.Context, v view, typ, criteria string, whole bool) (*store.Version, *store.Query, error) {
	s, err := e.config.Search.Select(typ, below(criteria), search.Options{Now: e.config.Now()})
	if err == nil {
		err = v.certain(ctx, s.Bare)
	}
	if err != nil {
		return nil, nil, err
	}
	q := s.Query
	claim, err := v.held(q)
	if err != nil {
		return nil, nil, err
	}
	q.NoRaw = !whole
	found, err := v.find(ctx, q)
	if err != nil {
		return nil, nil, err
	}
	switch len(found.Versions) {
	case 0:
		return nil, claim, nil
	case 1:
		return &found.Versions[0], claim, nil
	default:
		return nil, nil, fhir.Errorf(412, fhir.CodeMultiple, "the criteria match more than one resource")
	}
}

// below is the query part of criteria, which some write as a whole URL.
func below(criteria string) string {
	for i := range len(criteria) {
		if criteria[i] == '?' {
			return criteria[i+1:]
		}
		if criteria[i] == '=' {
			break
		}
	}
	return criteria
}

// pageBytes bounds the resources of a page, and what they include as much again:
// a page that would be larger ends early.
const pageBytes = 32 << 20

// bookmark is what a page link remembers.
type bookmark struct {
	Compartment string `json:"c,omitempty"`
	ID          string `json:"i,omitempty"`
	Query       string `json:"q,omitempty"`
	Cursor      string `json:"a"`
	Total       int64  `json:"t"` // of the first page, -1 unknown: it must not drift
	Strict      bool   `json:"s,omitempty"`
	// Slots is how many slots of contained resources are asked, Slot the one that
	// the page begins in.
	Slots int `json:"n,omitempty"`
	Slot  int `json:"o,omitempty"`
	// Parked are the keys under which texts are kept that are too long for a link:
	// of Query, then of Cursor.
	Parked [2]string `json:"k,omitzero"`
}

// search answers all forms of search.
func (e *Engine) search(ctx context.Context, v view, r fhir.Request) (fhir.Response, error) {
	mark, err := e.bookmarked(ctx, &r)
	if err != nil {
		return fhir.Response{}, err
	}
	s, err := e.parseSearch(v, r, mark.Strict)
	if err == nil && !mark.inside() {
		err = v.certain(ctx, s.Bare)
	}
	if err != nil {
		return fhir.Response{}, err
	}
	if !s.Contained {
		return e.matches(ctx, v, r, s, mark)
	}
	in, err := e.within(ctx, v, s, &mark)
	if err != nil {
		return fhir.Response{}, err
	}
	if s.Alone {
		return e.alone(ctx, v, r, s, in, mark)
	}
	if s.Query, err = in.Containers(); err != nil {
		return fhir.Response{}, err
	}
	return e.matches(ctx, v, r, s, mark)
}

// bookmarked is where the page begins; a page link puts what was asked at the
// first page into the request.
func (e *Engine) bookmarked(ctx context.Context, r *fhir.Request) (bookmark, error) {
	token := r.Query.Get("_page")
	if token == "" {
		return bookmark{Compartment: r.Compartment, ID: r.ID, Total: -1, Strict: r.Prefer.Handling == "strict"}, nil
	}
	if r.Compartment != "" { // links name no compartment: the token knows it, and whose it is
		return bookmark{}, store.ErrCursor
	}
	mark, err := e.resume(ctx, "search:"+r.Type+bound(r.Caller), token)
	if err != nil {
		return mark, err
	}
	r.Compartment, r.ID = mark.Compartment, mark.ID
	if r.Compartment != "" && r.Type == "" {
		r.Type = "*"
	}
	r.Query, err = fhir.ParseParams(mark.Query)
	return mark, err
}

// inside says that the page is not the first.
func (m bookmark) inside() bool { return m.Cursor != "" || m.Slot > 0 }

// matches answers with a page of matches and what they include.
func (e *Engine) matches(ctx context.Context, v view, r fhir.Request, s search.Search, mark bookmark) (fhir.Response, error) {
	cut, err := e.cutOf(s)
	if err != nil {
		return fhir.Response{}, err
	}
	found, err := matching(ctx, v, s, &mark)
	if err != nil {
		return fhir.Response{}, err
	}
	more, err := e.include(ctx, v, s, found.Versions)
	if err != nil {
		return fhir.Response{}, err
	}
	out := page.NewBundle(r.Base, "searchset", size(found.Versions)+size(more.versions))
	out.Total(mark.Total)
	if err := e.links(ctx, out, r, s, found, mark); err != nil {
		return fhir.Response{}, err
	}
	out.Form = formOf(cut)
	for _, one := range found.Versions {
		out.Match(one, "match")
	}
	return e.completed(out, v, s, more, cut, found.Explain), nil
}

// completed ends a page with what its matches include and what is to be said.
func (e *Engine) completed(out *page.Bundle, v view, s search.Search, more *included, cut subset.Cut, how store.Explain) fhir.Response {
	out.Form = formOf(cut.Included())
	for _, one := range more.versions {
		out.Match(one, "include")
	}
	if s.Explain {
		more.warnings = append(more.warnings, explained(v, how))
	}
	out.Outcome(append(s.Warnings, more.warnings...))
	return fhir.Response{Status: 200, Body: out.Bytes()}
}

// certain refuses ids without a type that are the ids of resources of several
// types, as far as the caller may see them (R4 search, reference).
func (v view) certain(ctx context.Context, bare []search.Bare) error {
	var types []string
	var any store.Or
	for _, b := range bare {
		types = append(types, b.Types...)
		any = append(any, store.Test{Param: store.ParamID, Cond: store.Cond{How: store.Named, Name: b.ID}})
	}
	slices.Sort(types)
	types = v.Searchable(slices.Compact(types))
	if len(types) < 2 {
		return nil
	}
	alive, err := v.find(ctx, store.Query{Types: types, Where: any, Count: maxCount, NoRaw: true})
	if err != nil {
		return err
	}
	for _, b := range bare {
		var of []string
		for _, one := range alive.Versions {
			if one.Key.ID == b.ID && slices.Contains(b.Types, one.Key.Type) {
				of = append(of, one.Key.Type)
			}
		}
		if len(of) > 1 {
			slices.Sort(of)
			return fhir.Errorf(400, fhir.CodeMultiple, "search parameter %q: the id is that of several resources (%s); write Type/id", b.Param, strings.Join(of, ", "))
		}
	}
	return nil
}

// cutOf is what the search leaves of its resources.
func (e *Engine) cutOf(s search.Search) (subset.Cut, error) {
	if s.CountOnly() || s.Summary == "" && s.Elements == nil {
		return subset.Cut{}, nil
	}
	return e.cuts.Cut(s.Summary, s.Elements)
}

// matching finds the page of matches and notes their total, which is found
// once, on the first page.
func matching(ctx context.Context, v view, s search.Search, mark *bookmark) (store.Page, error) {
	q, all := s.Query, store.Page{Total: -1}
	if q.Total && mark.Total < 0 {
		var err error
		if all, err = count(ctx, v, q); err != nil {
			return all, err
		}
		mark.Total = all.Total
	}
	if q.Count == 0 {
		return all, nil
	}
	q.Total, q.After, q.Entries, q.Bytes = false, mark.Cursor, len(s.Includes) > 0, pageBytes
	if s.Total != search.TotalEstimate {
		q.Of = max(mark.Total, 0)
	}
	found, err := v.find(ctx, q)
	if err != nil {
		return found, err
	}
	if mark.Total = totalOf(found, *mark); mark.Total < 0 && s.Total == search.TotalEstimate && mark.Cursor == "" {
		mark.Total, err = estimate(ctx, v, q, found)
	}
	return found, err
}

// count is the exact number of matches.
func count(ctx context.Context, v view, q store.Query) (store.Page, error) {
	q.Count, q.Total, q.Sort, q.After = 0, true, nil, ""
	return v.find(ctx, q)
}

// estimate is about how many match: what the scan was thought to yield, less
// the share that a page of it did not hold. Who may not see everything gets the
// exact number instead: the scan also counts what is out of sight.
func estimate(ctx context.Context, v view, q store.Query, found store.Page) (int64, error) {
	if !v.Open(reach.Search) || found.Explain.Estimate <= 0 {
		all, err := count(ctx, v, q)
		return all.Total, err
	}
	share := 1.0
	if read := max(found.Explain.Scanned, found.Explain.Examined); read > int64(len(found.Versions)) {
		share = float64(len(found.Versions)) / float64(read)
	}
	return max(int64(float64(found.Explain.Estimate)*share), int64(len(found.Versions))+1), nil
}

// explained tells how the matches were found. Its numbers also count what is
// out of a caller's sight; such a caller is not told.
func explained(v view, how store.Explain) fhir.Issue {
	out := fhir.Issue{Severity: fhir.Information, Code: fhir.CodeInformational, Diagnostics: "_explain is for callers that may search everything"}
	if v.Open(reach.Search) {
		out.Diagnostics = fmt.Sprintf("driver: %s; estimate: %d; index entries scanned: %d; resources examined: %d", how.Driver, how.Estimate, how.Scanned, how.Examined)
	}
	return out
}

// size is about how many bytes versions take in a Bundle.
func size(versions []store.Version) int {
	bytes := 0
	for _, v := range versions {
		bytes += len(v.Raw) + 256
	}
	return bytes
}

// totalOf is the exact number of matches where it was asked for, or where the
// first page holds them all; -1 when it is not known.
func totalOf(found store.Page, mark bookmark) int64 {
	switch {
	case mark.Total >= 0:
		return mark.Total
	case found.Total >= 0:
		return found.Total
	case mark.Cursor == "" && found.Next == "":
		return int64(len(found.Versions))
	default:
		return -1
	}
}

// parseSearch reads the parameters and narrows to the compartment.
func (e *Engine) parseSearch(v view, r fhir.Request, strict bool) (search.Search, error) {
	var types []string
	if r.Type != "" && r.Type != "*" {
		types = []string{r.Type}
	}
	if r.Compartment == "" {
		return e.config.Search.Parse(types, r.Query, search.Options{Strict: strict, Now: e.config.Now()})
	}
	members := e.config.Search.CompartmentTypes(r.Compartment)
	if members == nil {
		return search.Search{}, fhir.Errorf(404, fhir.CodeNotSupported, "there is no %s compartment", r.Compartment)
	}
	if types == nil {
		types = v.Searchable(members) // what is not for the caller is not asked for
	}
	if len(types) == 0 {
		return search.Search{}, errForbidden
	}
	s, err := e.config.Search.Parse(types, r.Query, search.Options{Strict: strict, Now: e.config.Now()})
	if err == nil && s.Contained {
		err = fhir.Errorf(400, fhir.CodeNotSupported, "search parameter _contained is not supported within a compartment")
	}
	if err != nil {
		return s, err
	}
	owner := fhir.Reference{Type: r.Compartment, ID: r.ID}
	var union store.Or
	for _, t := range s.Query.Types {
		x := e.config.Search.Compartment(owner, t)
		if len(s.Query.Types) > 1 {
			x = store.And{ofType(t), x}
		}
		union = append(union, x)
	}
	if len(union) == 1 {
		s.Query.Where = reach.Both(s.Query.Where, union[0])
		return s, nil
	}
	s.Query.Where = reach.Both(s.Query.Where, union)
	return s, nil
}

func ofType(t string) store.Expr {
	return store.Test{Param: store.ParamID, Cond: store.Cond{How: store.Within, Space: t}}
}

// links writes self, next and previous.
func (e *Engine) links(ctx context.Context, out *page.Bundle, r fhir.Request, s search.Search, found store.Page, mark bookmark) error {
	out.Link("self", urlOf(r)+"?"+s.Used.Encode())
	mark.Query = s.Used.Encode()
	path := r.Type
	if path == "*" {
		path = ""
	}
	return e.pageLinks(ctx, out, "search:"+path+bound(r.Caller), path, found, mark)
}

// pageLinks writes the links to the first page, the pages before and behind, and
// where it is known the last one, on the path below the base that purpose belongs to.
func (e *Engine) pageLinks(ctx context.Context, out *page.Bundle, purpose, path string, found store.Page, mark bookmark) error {
	inside := mark.Cursor != ""
	for _, to := range []struct {
		relation, cursor string
		here             bool
	}{{"first", "", inside}, {"previous", found.Prev, found.Prev != ""}, {"next", found.Next, found.Next != ""}, {"last", found.Last, found.Last != ""}} {
		if !to.here {
			continue
		}
		mark.Cursor = to.cursor
		if err := e.pageLink(ctx, out, purpose, path, to.relation, mark); err != nil {
			return err
		}
	}
	return nil
}

// pageLink writes one link to the page that begins at mark.
func (e *Engine) pageLink(ctx context.Context, out *page.Bundle, purpose, path, relation string, mark bookmark) error {
	plain, err := json.Marshal(mark)
	for i, text := range []*string{&mark.Query, &mark.Cursor} {
		if err != nil || len(plain) <= maxMark {
			break
		}
		if mark.Parked[i], err = e.pages.Park(ctx, *text); err != nil {
			return err
		}
		*text = ""
		plain, err = json.Marshal(mark)
	}
	if err != nil {
		return err
	}
	token, err := e.pages.Seal(ctx, purpose, plain)
	if err != nil {
		return err
	}
	url := out.Base
	if path != "" {
		url += "/" + path
	}
	out.Link(relation, url+"?_page="+token)
	return nil
}

// maxMark is how long a bookmark may be, in bytes, before texts of it are parked: a
// link stays below 8 KB, which proxies and clients take.
const maxMark = 5 << 10

func (e *Engine) resume(ctx context.Context, purpose, token string) (bookmark, error) {
	var mark bookmark
	plain, err := e.pages.Open(ctx, purpose, token)
	if err != nil {
		return mark, err
	}
	if json.Unmarshal(plain, &mark) != nil {
		return mark, store.ErrCursor
	}
	for i, text := range []*string{&mark.Query, &mark.Cursor} {
		if key := mark.Parked[i]; key != "" {
			if *text, err = e.pages.Parked(ctx, key); err != nil {
				return mark, err
			}
		}
	}
	mark.Parked = [2]string{}
	return mark, nil
}

// bound ties page links to whom they are given to: the same user, client and
// patient, with this token or the next. What the caller may see is asked anew on
// every page.
func bound(c fhir.Caller) string {
	return "\x00" + c.Name + "\x00" + c.Client + "\x00" + c.User.String() + "\x00" + c.Patient.String()
}

// urlOf is the URL a search or history was asked at, without its query.
func urlOf(r fhir.Request) string {
	url := r.Base
	for _, part := range []string{r.Compartment, r.ID, r.Type} {
		if part != "" {
			url += "/" + part
		}
	}
	return url
}
