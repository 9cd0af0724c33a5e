package erase

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"

	"candela/fhir"
	"candela/store"
)

// The types with rules of their own.
const (
	patient    = "Patient"
	auditEvent = "AuditEvent" // it tells what was done with the data, and stays
	provenance = "Provenance" // it goes when nothing is left that it tells of
	binary     = "Binary"     // it goes with what it is attached to
)

const pageSize = 500

// found is what is known of the resources that have to do with the patient.
type found struct {
	*Order
	owner    store.Key
	gone     map[store.Key]store.Version // current version, without bytes
	left     map[store.Key]Why
	attached map[store.Key]bool // Binaries of what goes
	needed   map[store.Key]bool // Binaries of what stays
	kept     int64
}

// look finds everything that has to do with the patient and judges it.
func (o *Order) look(ctx context.Context) (*found, error) {
	f := &found{
		Order: o, owner: store.Key{Type: patient, ID: o.Request.ID}, gone: map[store.Key]store.Version{}, left: map[store.Key]Why{},
		attached: map[store.Key]bool{}, needed: map[store.Key]bool{},
	}
	for _, step := range []func(context.Context) error{f.present, f.former, f.self, f.earlier, f.binaries, f.referrers, f.records} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// present judges the present members of the compartment.
func (f *found) present(ctx context.Context) error {
	owner := fhir.Reference{Type: patient, ID: f.owner.ID}
	for _, typ := range f.Search.CompartmentTypes(patient) {
		if typ == patient || typ == auditEvent {
			continue
		}
		q := store.Query{Types: []string{typ}, Where: f.Search.Compartment(owner, typ), Count: pageSize, Entries: true}
		if err := f.each(ctx, q, func(v store.Version) { f.judge(v, v.Raw, v.Entries) }); err != nil {
			return err
		}
	}
	return nil
}

// each hands on everything that a query finds.
func (f *found) each(ctx context.Context, q store.Query, do func(store.Version)) error {
	for {
		page, err := f.Whole.Find(ctx, q)
		if err != nil {
			return err
		}
		for _, v := range page.Versions {
			do(v)
		}
		if q.After = page.Next; q.After == "" {
			return nil
		}
	}
}

// former judges what was a member once: deleted resources by what they said last.
func (f *found) former(ctx context.Context) error {
	for k, err := range f.Whole.Former(ctx, f.owner) {
		if err != nil {
			return err
		}
		if _, judged := f.left[k]; judged || k == f.owner || k.Type == auditEvent || f.goes(k) {
			continue
		}
		if err := f.once(ctx, k); err != nil {
			return err
		}
	}
	return nil
}

func (f *found) once(ctx context.Context, k store.Key) error {
	now, err := f.Whole.Get(ctx, k)
	last := now
	for errors.Is(err, store.ErrGone) && last.Number > 1 {
		last, err = f.Whole.GetVersion(ctx, k, last.Number-1)
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil // erased while we looked
	}
	if err != nil {
		return err
	}
	entries, err := f.Search.Entries(fhir.Stored(last.Raw))
	if err != nil {
		return err
	}
	f.judge(now, last.Raw, entries)
	return nil
}

// judge decides about a member: it goes when it belongs to nobody else. Another
// patient that only was linked once stays a patient.
func (f *found) judge(now store.Version, raw []byte, entries []store.Entry) {
	own, others := f.owners(now.Key.Type, entries)
	why := Why("")
	switch {
	case now.Key.Type == patient:
		why = Refers
	case f.Shared || !others:
	case own:
		why = Shared
	default:
		why = Moved
	}
	binaries := f.needed
	if why == "" {
		binaries = f.attached
		f.take(now)
	} else {
		f.left[now.Key] = why
	}
	f.attachments(raw, binaries)
}

func (f *found) take(now store.Version) {
	now.Raw, now.Entries = nil, nil
	f.gone[now.Key] = now
	delete(f.left, now.Key)
}

func (f *found) goes(k store.Key) bool {
	_, goes := f.gone[k]
	return goes
}

// owners says whose a resource is by its compartment parameters: the patient's,
// and others', also those of other servers.
func (f *found) owners(typ string, entries []store.Entry) (own, others bool) {
	params := codes(nil, f.Search.Compartment(fhir.Reference{Type: patient, ID: f.owner.ID}, typ))
	for _, e := range entries {
		if e.Kind != store.Link || !slices.Contains(params, e.Param) {
			continue
		}
		switch {
		case e.Space == patient && e.Name == f.owner.ID:
			own = true
		case e.Space == patient, e.Space == "" && fhir.ParseReference(e.Name).Type == patient:
			others = true
		}
	}
	return own, others
}

// codes are the parameters that a compartment's condition tests.
func codes(out []string, x store.Expr) []string {
	switch x := x.(type) {
	case store.Test:
		out = append(out, x.Param)
	case store.Or:
		for _, part := range x {
			out = codes(out, part)
		}
	}
	return out
}

// self takes the Patient, live or deleted, if it was ever there.
func (f *found) self(ctx context.Context) error {
	now, err := f.Whole.Get(ctx, f.owner)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil && !errors.Is(err, store.ErrGone):
		return err
	}
	f.take(now)
	f.attachments(now.Raw, f.attached)
	return nil
}

// earlier notes the Binaries that what goes led to in former versions: nothing
// else leads to them any more.
func (f *found) earlier(ctx context.Context) error {
	for k, now := range f.gone {
		if now.Number < 2 {
			continue
		}
		for span := (store.Span{Key: k, Count: pageSize}); ; {
			page, err := f.Whole.History(ctx, span)
			if errors.Is(err, store.ErrNotFound) {
				break // erased while we looked
			}
			if err != nil {
				return err
			}
			for _, v := range page.Versions {
				f.attachments(v.Raw, f.attached)
			}
			if span.After = page.Next; span.After == "" {
				break
			}
		}
	}
	return nil
}

// inOrder is what goes: first what only others lead to, last the patient, so that
// a run that breaks off leaves nothing that the next one cannot find.
func (f *found) inOrder() []store.Version {
	rank := map[string]int{binary: 1, provenance: 2, patient: 4}
	of := func(v store.Version) int { return cmp.Or(rank[v.Key.Type], 3) }
	return slices.SortedFunc(maps.Values(f.gone), func(a, b store.Version) int {
		return cmp.Or(cmp.Compare(of(a), of(b)), cmp.Compare(a.Key.Type, b.Key.Type), cmp.Compare(a.Key.ID, b.Key.ID))
	})
}

func (f *found) leftOver() []Left {
	out := make([]Left, 0, len(f.left))
	for k, why := range f.left {
		out = append(out, Left{k, why})
	}
	return out
}
