package analytics

import (
	"context"
	"errors"
	"maps"
	"slices"

	"candela/analytics/profile"
	"candela/fhir"
	"candela/store"
)

// slice is a stretch of the change feed: the patients it touches, sorted.
type slice struct {
	from, to store.Seq
	changes  int
	patients []string
}

// collect reads changes behind from, up to head or until enough patients are
// touched. Only ids are kept.
func (r *Runner) collect(ctx context.Context, from, head store.Seq) (slice, error) {
	part := slice{from: from, to: from}
	touched := map[string]bool{}
	for v, err := range r.Store.Changes(ctx, from) {
		if err != nil {
			return part, err
		}
		part.changes, part.to = part.changes+1, v.Seq
		if err := r.touch(ctx, v, touched); err != nil {
			return part, err
		}
		if v.Seq >= head || len(touched) >= r.Slice {
			break
		}
	}
	if err := ctx.Err(); err != nil {
		return part, err
	}
	part.patients = slices.Sorted(maps.Keys(touched))
	return part, nil
}

// touch adds the patients a version is about, and those its predecessor was
// about: a record that moves to another patient, or is deleted, concerns both.
func (r *Runner) touch(ctx context.Context, v store.Version, touched map[string]bool) error {
	if !slices.Contains(profile.Types(), v.Key.Type) {
		return nil
	}
	if v.Key.Type == "Patient" {
		touched[v.Key.ID] = true
		return nil
	}
	if v.Key.Type == "Medication" {
		return r.users(ctx, v.Key.ID, touched)
	}
	mark(v.Raw, touched)
	if v.Number == 1 {
		return nil
	}
	before, err := r.Store.GetVersion(ctx, v.Key, v.Number-1)
	if errors.Is(err, store.ErrGone) || errors.Is(err, store.ErrNotFound) {
		return nil
	}
	mark(before.Raw, touched)
	return err
}

// mark reads whom a record is about.
func mark(raw []byte, touched map[string]bool) {
	if len(raw) > 0 {
		markNode(fhir.Stored(raw).Root(), touched)
	}
}

func markNode(root fhir.Node, touched map[string]bool) {
	for _, element := range []string{"subject", "patient"} {
		to := fhir.ParseReference(root.Path(element, "reference").Text())
		if to.Type == "Patient" {
			touched[to.ID] = true
		}
	}
}

// users are the patients with an order or statement of a medication.
func (r *Runner) users(ctx context.Context, medication string, touched map[string]bool) error {
	for _, kind := range []string{"MedicationRequest", "MedicationStatement"} {
		query := fhir.Params{{Name: "medication", Value: "Medication/" + medication}}
		err := r.door.Each(ctx, kind, query, func(root fhir.Node, _ string) { markNode(root, touched) })
		if err != nil {
			return err
		}
	}
	return nil
}
