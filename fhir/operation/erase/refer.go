package erase

import (
	"context"
	"errors"
	"maps"
	"slices"

	"candela/fhir"
	"candela/fhir/search"
	"candela/store"
)

// attachments notes the Binaries of this server that a resource is the way to.
func (f *found) attachments(raw []byte, into map[store.Key]bool) {
	for key, n := range fhir.Stored(raw).Root().Strings() {
		if string(key) != `"url"` && string(key) != `"reference"` {
			continue
		}
		if ref := fhir.ParseReference(n.Text()); ref.Type == binary && ref.ID != "" && (ref.Base == "" || ref.Base == f.Request.Base) {
			into[store.Key{Type: ref.Type, ID: ref.ID}] = true
		}
	}
}

// binaries takes the Binaries that nothing needs but what goes. Which documents
// stay and lead to one, the parameter location of DocumentReference knows.
func (f *found) binaries(ctx context.Context) error {
	for k := range f.attached {
		where := store.Or{}
		for _, url := range []string{k.String(), f.Request.Base + "/" + k.String()} {
			where = append(where, store.Test{Param: "location", Cond: store.Cond{How: store.Is, Name: url}})
		}
		q := store.Query{Types: []string{"DocumentReference"}, Where: where, Count: pageSize, NoRaw: true}
		err := f.each(ctx, q, func(v store.Version) { f.needed[k] = f.needed[k] || !f.goes(v.Key) })
		if err != nil {
			return err
		}
		now, err := f.Whole.Get(ctx, k)
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil && !errors.Is(err, store.ErrGone):
			return err
		case f.needed[k] && !f.Shared:
			f.left[k] = Shared
		default:
			f.take(now)
		}
	}
	return nil
}

// perQuery is how many references one query asks for.
const perQuery = 400

// referrers finds what refers to something that goes, by any search parameter. A
// Provenance goes when all that it tells of does; the others stay and are named.
func (f *found) referrers(ctx context.Context) error {
	pointers, err := f.pointers(ctx)
	if err != nil {
		return err
	}
	for fresh := slices.Collect(maps.Keys(f.gone)); len(fresh) > 0; {
		added := map[store.Key]bool{}
		for typ, params := range pointers {
			for tests := range slices.Chunk(tests(params, fresh), perQuery) {
				q := store.Query{Types: []string{typ}, Where: store.Or(tests), Count: pageSize, NoRaw: true, Entries: typ == provenance}
				if err := f.each(ctx, q, func(v store.Version) { f.referrer(v, added) }); err != nil {
					return err
				}
			}
		}
		fresh = slices.Collect(maps.Keys(added))
	}
	return nil
}

// pointers are the reference parameters that some resource has a value of, by
// type, but for AuditEvents: most types have few, which spares most questions.
func (f *found) pointers(ctx context.Context) (map[string][]*search.Param, error) {
	out := map[string][]*search.Param{}
	for _, typ := range f.Types {
		if typ == auditEvent {
			continue
		}
		any, err := f.any(ctx, typ, nil)
		if err != nil {
			return nil, err
		}
		for _, p := range f.Search.Params(typ) {
			if !any || p.Type != search.Reference {
				continue
			}
			held, err := f.any(ctx, typ, store.Test{Param: p.Code, Cond: store.Cond{How: store.Present}})
			if err != nil {
				return nil, err
			}
			if held {
				out[typ] = append(out[typ], p)
			}
		}
	}
	return out, nil
}

// any says whether there is a live resource of the type that meets x.
func (f *found) any(ctx context.Context, typ string, x store.Expr) (bool, error) {
	page, err := f.Whole.Find(ctx, store.Query{Types: []string{typ}, Where: x, Count: 1, NoRaw: true})
	return len(page.Versions) > 0, err
}

// tests ask whether a resource refers to one of the keys by one of the parameters.
func tests(params []*search.Param, keys []store.Key) (out []store.Expr) {
	for _, p := range params {
		for _, k := range keys {
			if _, may := slices.BinarySearch(p.Targets, k.Type); may {
				out = append(out, store.Test{Param: p.Code, Cond: store.Cond{How: store.Is, Space: k.Type, Name: k.ID}})
			}
		}
	}
	return out
}

func (f *found) referrer(v store.Version, added map[store.Key]bool) {
	if f.goes(v.Key) {
		return
	}
	if v.Key.Type == provenance && f.pointless(v) {
		f.take(v)
		added[v.Key] = true
		return
	}
	if _, named := f.left[v.Key]; !named {
		f.left[v.Key] = Refers
	}
}

// pointless says that all targets of a Provenance go.
func (f *found) pointless(v store.Version) bool {
	for _, e := range v.Entries {
		if e.Param == "target" && (e.Kind != store.Link || !f.goes(store.Key{Type: e.Space, ID: e.Name})) {
			return false
		}
	}
	return true
}

// records counts the AuditEvents about the patient.
func (f *found) records(ctx context.Context) error {
	page, err := f.Whole.Find(ctx, store.Query{
		Types: []string{auditEvent}, Where: f.Search.Compartment(fhir.Reference{Type: patient, ID: f.owner.ID}, auditEvent), Total: true,
	})
	f.kept = page.Total
	return err
}
