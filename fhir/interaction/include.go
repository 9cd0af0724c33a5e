package interaction

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"candela/fhir"
	"candela/fhir/interaction/contained"
	"candela/fhir/interaction/page"
	"candela/fhir/interaction/reach"
	"candela/fhir/search"
	"candela/store"
)

// maxIncluded bounds what one page may include (security requirement R43).
const maxIncluded = 10_000

// included is what the matches of a page bring along.
type included struct {
	view
	search   search.Search
	versions []store.Version
	bytes    int // of versions
	warnings []fhir.Issue
	seen     map[string]bool // Type/id in the page, and Type/id/_history/n of versioned links
	asked    map[string]bool // Type/id looked for already
}

// include follows _include and _revinclude from the matches, and with :iterate
// from what they brought, until nothing new comes. Targets that are absent, or
// out of the caller's view, are left out.
func (e *Engine) include(ctx context.Context, v view, s search.Search, matches []store.Version) (*included, error) {
	in := &included{view: v, search: s, seen: map[string]bool{}, asked: map[string]bool{}}
	if len(s.Includes) == 0 && len(s.RevIncludes) == 0 {
		return in, nil
	}
	for _, m := range matches {
		in.seen[m.Key.String()] = true
	}
	from := matches
	for round := 0; len(from) > 0; round++ {
		before := len(in.versions)
		if err := in.follow(ctx, from, round > 0); err != nil {
			return nil, err
		}
		from = in.versions[before:]
		if in.full() {
			in.versions = in.versions[:min(len(in.versions), maxIncluded)]
			in.warnings = append(in.warnings, fhir.Issue{Severity: fhir.Warning, Code: fhir.CodeTooCostly,
				Diagnostics: fmt.Sprintf("more than %d resources or %d MB would be included; the rest was left out", maxIncluded, pageBytes>>20)})
			return in, nil
		}
	}
	return in, nil
}

// full says that no more is included; the last resource may pass the bound.
func (in *included) full() bool { return len(in.versions) >= maxIncluded || in.bytes >= pageBytes }

func (in *included) put(v store.Version) {
	in.versions = append(in.versions, v)
	in.bytes += len(v.Raw)
}

// follow adds what one generation points to and what points to it.
func (in *included) follow(ctx context.Context, from []store.Version, iterating bool) error {
	wanted := map[string][]string{} // type -> ids
	for _, inc := range in.search.Includes {
		if iterating && !inc.Iterate {
			continue
		}
		for _, v := range from {
			if v.Key.Type == inc.Type {
				if err := in.targets(ctx, v, inc, wanted); err != nil {
					return err
				}
			}
		}
	}
	for _, typ := range slices.Sorted(maps.Keys(wanted)) {
		if err := in.byIDs(ctx, typ, wanted[typ]); err != nil {
			return err
		}
	}
	pointing := map[string][]search.Include{} // by type
	for _, inc := range in.search.RevIncludes {
		if !iterating || inc.Iterate {
			pointing[inc.Type] = append(pointing[inc.Type], inc)
		}
	}
	for _, typ := range slices.Sorted(maps.Keys(pointing)) {
		if err := in.referrers(ctx, from, typ, pointing[typ]); err != nil {
			return err
		}
	}
	return nil
}

// targets notes what v points to by the parameter. A versioned link is read at
// once, as that version.
func (in *included) targets(ctx context.Context, v store.Version, inc search.Include, wanted map[string][]string) error {
	for _, e := range v.Entries {
		if e.Param != inc.Param || e.Kind != store.Link || e.Space == "" || inc.Target != "" && inc.Target != e.Space {
			continue
		}
		key := store.Key{Type: e.Space, ID: e.Name}
		if number, err := strconv.ParseInt(e.Text, 10, 64); err == nil && number > 0 {
			if err := in.version(ctx, key, number); err != nil {
				return err
			}
			continue
		}
		if name := key.String(); !in.seen[name] && !in.asked[name] {
			in.asked[name] = true
			wanted[key.Type] = append(wanted[key.Type], key.ID)
		}
	}
	return nil
}

func (in *included) version(ctx context.Context, k store.Key, number int64) error {
	name := k.String() + "/_history/" + strconv.FormatInt(number, 10)
	if in.seen[name] {
		return nil
	}
	in.seen[name] = true
	found, err := in.getVersion(ctx, k, number)
	if err == nil {
		in.put(found)
	}
	return in.leaveOut(err)
}

// leaveOut forgives what makes a target absent for this caller.
func (in *included) leaveOut(err error) error {
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrGone) || errors.Is(err, errForbidden) {
		return nil
	}
	return err
}

func (in *included) byIDs(ctx context.Context, typ string, ids []string) error {
	for some := range slices.Chunk(ids, 500) {
		var any store.Or
		for _, id := range some {
			any = append(any, store.Test{Param: store.ParamID, Cond: store.Cond{How: store.Is, Space: typ, Name: id}})
		}
		if err := in.add(ctx, typ, any, len(some), reach.See); err != nil {
			return err
		}
	}
	return nil
}

// mostTests bounds the tests of one query that looks for referrers.
const mostTests = 1000

// referrers adds the resources of typ that point to one of from by one of the
// parameters.
func (in *included) referrers(ctx context.Context, from []store.Version, typ string, by []search.Include) error {
	var any store.Or
	for _, v := range from {
		for _, inc := range by {
			if inc.Target == "" || inc.Target == v.Key.Type {
				any = append(any, store.Test{Param: inc.Param, Cond: store.Cond{How: store.Is, Space: v.Key.Type, Name: v.Key.ID}})
			}
		}
	}
	for some := range slices.Chunk(any, mostTests) {
		if err := in.add(ctx, typ, some, maxIncluded-len(in.versions), reach.Search); err != nil {
			return err
		}
	}
	return nil
}

// add puts in what a query finds and is not there yet, page by page.
func (in *included) add(ctx context.Context, typ string, where store.Expr, limit int, letters string) error {
	q := store.Query{Types: []string{typ}, Where: where, Entries: true}
	for limit > 0 && !in.full() {
		q.Count, q.Bytes = min(limit, 1000), pageBytes-in.bytes
		page, err := in.findFor(ctx, q, letters)
		if err != nil {
			return in.leaveOut(err)
		}
		for _, v := range page.Versions {
			if name := v.Key.String(); !in.seen[name] {
				in.seen[name] = true
				in.put(v)
			}
		}
		limit -= len(page.Versions)
		if q.After = page.Next; q.After == "" {
			return nil
		}
	}
	return nil
}

// within is the search in what is contained. Whoever may search for the type and
// sees a container sees what stands in it.
func (e *Engine) within(ctx context.Context, v view, s search.Search, mark *bookmark) (*contained.Search, error) {
	in := &contained.Search{Find: v.find, Registry: e.config.Search, Query: s.Query, Bytes: pageBytes, Both: s.Both, Slots: mark.Slots}
	_, err := v.Limit(s.Query.Types[0], reach.Search)
	if err != nil {
		return nil, err
	}
	if !v.Open(reach.Search) {
		in.Types = v.Searchable(e.config.Types)
	}
	if in.Slots == 0 {
		err = in.Measure(ctx)
	}
	mark.Slots = in.Slots
	return in, err
}

// alone answers with contained resources without their containers.
func (e *Engine) alone(ctx context.Context, v view, r fhir.Request, s search.Search, in *contained.Search, mark bookmark) (fhir.Response, error) {
	cut, err := e.cutOf(s)
	if err != nil {
		return fhir.Response{}, err
	}
	var found contained.Page
	if s.Query.Count > 0 {
		found, err = in.Page(ctx, contained.Place{Slot: mark.Slot, Cursor: mark.Cursor})
	}
	if err == nil && mark.Total < 0 && (s.Query.Total || s.Total == search.TotalEstimate) {
		mark.Total, err = in.Count(ctx)
	}
	if err != nil {
		return fhir.Response{}, err
	}
	if mark.Total < 0 && !mark.inside() && found.Next == nil {
		mark.Total = int64(len(found.Matches))
	}
	from, err := in.Versions(found, len(s.Includes) > 0)
	if err != nil {
		return fhir.Response{}, err
	}
	more, err := e.include(ctx, v, s, from)
	if err != nil {
		return fhir.Response{}, err
	}
	out := page.NewBundle(r.Base, "searchset", size(from)+size(more.versions))
	out.Total(mark.Total)
	if err := e.aloneLinks(ctx, out, r, s, found.Next, mark); err != nil {
		return fhir.Response{}, err
	}
	out.Form = formOf(cut)
	for _, one := range found.Matches {
		if one.Resource.Exists() {
			out.Label(one.Container.Raw)
			out.Contained(one.Container.Key, one.Resource.ID(), cut.Append(nil, one.Resource.Raw()))
		} else {
			out.Match(one.Container, "match")
		}
	}
	return e.completed(out, v, s, more, cut, found.Explain), nil
}

// aloneLinks writes self, first and next.
func (e *Engine) aloneLinks(ctx context.Context, out *page.Bundle, r fhir.Request, s search.Search, next *contained.Place, mark bookmark) error {
	mark.Query = s.Used.Encode()
	out.Link("self", urlOf(r)+"?"+mark.Query)
	inside := mark.inside()
	if mark.Slot, mark.Cursor = 0, ""; inside {
		if err := e.pageLink(ctx, out, "search:"+r.Type+bound(r.Caller), r.Type, "first", mark); err != nil {
			return err
		}
	}
	if next == nil {
		return nil
	}
	mark.Slot, mark.Cursor = next.Slot, next.Cursor
	return e.pageLink(ctx, out, "search:"+r.Type+bound(r.Caller), r.Type, "next", mark)
}
