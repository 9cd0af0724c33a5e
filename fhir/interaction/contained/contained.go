// Package contained searches what resources contain (R4 search, contained): a
// query over the slots that the index numbers contained resources in, and pages
// of contained resources without their containers.
//
// It knows slots and pages. It must not know what a caller may see: whoever
// finds for it narrows each query.
package contained

import (
	"context"

	"candela/fhir"
	"candela/fhir/search"
	"candela/store"
)

// maxAlternatives bounds slots times tests of one query.
const maxAlternatives = 4000

// Search asks for contained resources of one type.
type Search struct {
	// Find answers queries as far as the caller may see.
	Find func(ctx context.Context, q store.Query) (store.Page, error)
	// Registry knows which contained resources stand in which slot.
	Registry *search.Registry
	// Types are those that the caller may search for containers; nil: all.
	Types []string
	// Query is what is searched for among resources of its one type.
	Query store.Query
	// Bytes bounds the containers that one page is read from.
	Bytes int
	// Both asks for the resources themselves too.
	Both bool
	// Slots is how many contained resources of the type one container has at
	// most; Measure sets it.
	Slots int
}

// Match is a resource that was found: contained in Container, or by itself where
// Resource is not there.
type Match struct {
	Container store.Version
	Resource  fhir.Resource
}

// Place is where a page of matches without containers begins: behind Cursor in a
// slot. Slot 0 is that of the resources themselves.
type Place struct {
	Slot   int    `json:"s"`
	Cursor string `json:"a,omitempty"`
}

// Page is one page of matches without containers; Next is nil at the end.
type Page struct {
	Matches []Match
	Next    *Place
	Explain store.Explain
}

func (s *Search) typ() string { return s.Query.Types[0] }

// Measure finds out how many slots must be asked, to the next power of two.
func (s *Search) Measure(ctx context.Context) error {
	for s.Slots = 1; s.Slots < search.MaxContained; s.Slots *= 2 {
		more, err := s.any(ctx, search.HasSlot(s.typ(), s.Slots))
		if err != nil || !more {
			return err
		}
	}
	s.Slots = search.MaxContained
	return nil
}

func (s *Search) any(ctx context.Context, x store.Expr) (bool, error) {
	found, err := s.Find(ctx, store.Query{Types: s.Types, Where: x, Count: 1, NoRaw: true})
	return len(found.Versions) > 0, err
}

// Containers is the query for what contains a match, or is one.
func (s *Search) Containers() (store.Query, error) {
	q := s.Query
	if tests(q.Where)*s.Slots > maxAlternatives {
		return q, fhir.Errorf(400, fhir.CodeTooCostly, "some resource contains so many of type %s that these criteria are too many; use fewer", s.typ())
	}
	var union store.Or
	for n := range s.Slots {
		union = append(union, search.InSlot(s.typ(), n, q.Where))
	}
	if s.Both {
		union = append(union, s.itself())
	}
	q.Types, q.Where = s.Types, union
	if len(union) == 1 {
		q.Where = union[0]
	}
	return q, nil
}

func (s *Search) itself() store.Expr {
	own := store.And{store.Test{Param: store.ParamID, Cond: store.Cond{How: store.Within, Space: s.typ()}}}
	if s.Query.Where != nil {
		own = append(own, s.Query.Where)
	}
	return own
}

// tests is how many conditions an expression has.
func tests(x store.Expr) int {
	switch x := x.(type) {
	case store.And:
		return sum(x)
	case store.Or:
		return sum(x)
	case store.Not:
		return tests(x.Of)
	}
	return 1
}

func sum(parts []store.Expr) int {
	n := 1
	for _, part := range parts {
		n += tests(part)
	}
	return n
}

// slot is the query of one place.
func (s *Search) slot(n int) store.Query {
	q := s.Query
	q.Sort, q.Total = nil, false
	if n > 0 {
		q.Types, q.Where = s.Types, search.InSlot(s.typ(), n-1, q.Where)
	}
	return q
}

func (s *Search) first() int {
	if s.Both {
		return 0
	}
	return 1
}

// Count is how many matches there are without their containers.
func (s *Search) Count(ctx context.Context) (int64, error) {
	var total int64
	for n := s.first(); n <= s.Slots; n++ {
		q := s.slot(n)
		q.Count, q.Total = 0, true
		found, err := s.Find(ctx, q)
		if err != nil {
			return 0, err
		}
		total += found.Total
	}
	return total, nil
}

// Page reads matches without their containers, slot by slot.
func (s *Search) Page(ctx context.Context, from Place) (Page, error) {
	var out Page
	used := 0
	for n := max(from.Slot, s.first()); n <= s.Slots; n++ {
		q := s.slot(n)
		q.Count, q.After, q.Bytes = s.Query.Count-len(out.Matches), from.Cursor, s.Bytes-used
		if q.Count == 0 || q.Bytes <= 0 {
			more, err := s.any(ctx, q.Where)
			if more {
				out.Next = &Place{Slot: n}
			}
			if more || err != nil {
				return out, err
			}
			continue
		}
		found, err := s.Find(ctx, q)
		if err != nil {
			return out, err
		}
		out.Explain, from.Cursor = found.Explain, ""
		for _, v := range found.Versions {
			used += len(v.Raw)
			out.Matches = append(out.Matches, s.matches(v, n)...)
		}
		if found.Next != "" {
			out.Next = &Place{Slot: n, Cursor: found.Next}
			return out, nil
		}
	}
	return out, nil
}

// matches is the match in a slot of v; none where v was written anew meanwhile.
func (s *Search) matches(v store.Version, n int) []Match {
	if n == 0 {
		return []Match{{Container: v}}
	}
	for _, res := range s.Registry.Contained(fhir.Stored(v.Raw).Root()) {
		if res.Type() != s.typ() {
			continue
		}
		if n--; n == 0 {
			return []Match{{Container: v, Resource: res}}
		}
	}
	return nil
}

// Versions are the matches as versions that includes start from: a contained one
// has a key that nothing points to, and with entries its own.
func (s *Search) Versions(p Page, entries bool) ([]store.Version, error) {
	out := make([]store.Version, len(p.Matches))
	for i, m := range p.Matches {
		if out[i] = m.Container; m.Resource.Exists() {
			out[i] = store.Version{Key: store.Key{Type: s.typ(), ID: m.Container.Key.String() + "#" + m.Resource.ID()}, Raw: m.Resource.Raw()}
		}
		if !entries {
			continue
		}
		var err error
		if out[i].Entries, err = s.Registry.Entries(fhir.Stored(out[i].Raw)); err != nil {
			return nil, err
		}
	}
	return out, nil
}
