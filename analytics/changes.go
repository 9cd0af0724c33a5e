package analytics

import (
	"context"
	"errors"
	"iter"
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
	touched, erased := map[string]bool{}, map[string]bool{}
	for v, err := range r.Store.Changes(ctx, from) {
		if err != nil {
			return part, err
		}
		part.changes, part.to = part.changes+1, v.Seq
		if v.Action == store.Erase && slices.Contains(profile.Types(), v.Key.Type) {
			erased[v.Key.String()] = true
		}
		if err := r.touch(ctx, v, touched); err != nil {
			return part, err
		}
		if v.Seq >= head || len(touched) >= r.Slice {
			break
		}
	}
	if err := r.restingOn(ctx, erased, touched); err != nil {
		return part, err
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
	if v.Number <= 1 {
		return nil
	}
	before, err := r.Store.GetVersion(ctx, v.Key, v.Number-1)
	if errors.Is(err, store.ErrGone) || errors.Is(err, store.ErrNotFound) {
		return nil
	}
	mark(before.Raw, touched)
	return err
}

// restingOn adds the patients with a result that rests on an erased record. Of
// the record itself nothing tells any more whom it was about.
func (r *Runner) restingOn(ctx context.Context, erased, touched map[string]bool) error {
	if len(erased) == 0 {
		return nil
	}
	query := fhir.Params{{Name: "_tag", Value: Tag + "|"}}
	return r.door.Each(ctx, "RiskAssessment", query, func(root fhir.Node, _ string) {
		for basis := range root.Get("basis").Elements() {
			to := fhir.ParseReference(basis.Get("reference").Text())
			if erased[to.Type+"/"+to.ID] {
				markReference(root.Path("subject", "reference"), touched)
				return
			}
		}
	})
}

// mark reads whom a record is about. Of the whole record only the two members
// that can say so are parsed.
func mark(raw []byte, touched map[string]bool) {
	for key, value := range members(raw) {
		if string(key) != `"subject"` && string(key) != `"patient"` {
			continue
		}
		if tree, err := fhir.ParseTree(value, fhir.Limits{}); err == nil {
			markReference(tree.Root().Get("reference"), touched)
		}
	}
}

func markReference(reference fhir.Node, touched map[string]bool) {
	if to := fhir.ParseReference(reference.Text()); to.Type == "Patient" {
		touched[to.ID] = true
	}
}

// members walks the members of a stored resource, which is compact and well
// formed, without looking into their values. Keys are quoted.
func members(raw []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		for at := 1; at < len(raw) && raw[at] == '"'; {
			colon := skipString(raw, at)
			end := skipValue(raw, colon+1)
			if colon >= len(raw) || end > len(raw) || !yield(raw[at:colon], raw[colon+1:end]) {
				return
			}
			at = end + 1
		}
	}
}

// skipValue is the position behind the value at a position.
func skipValue(raw []byte, at int) int {
	for depth := 0; at < len(raw); at++ {
		switch raw[at] {
		case '"':
			at = skipString(raw, at) - 1
		case '{', '[':
			depth++
		case '}', ']', ',':
			if depth == 0 {
				return at
			}
			if raw[at] != ',' {
				depth--
			}
		}
	}
	return at
}

// skipString is the position behind the string literal at a position.
func skipString(raw []byte, at int) int {
	for at++; at < len(raw); at++ {
		switch raw[at] {
		case '\\':
			at++
		case '"':
			return at + 1
		}
	}
	return at
}

// users are the patients with an order or statement of a medication.
func (r *Runner) users(ctx context.Context, medication string, touched map[string]bool) error {
	for _, kind := range []string{"MedicationRequest", "MedicationStatement"} {
		query := fhir.Params{{Name: "medication", Value: "Medication/" + medication}}
		err := r.door.Each(ctx, kind, query, func(root fhir.Node, _ string) {
			markReference(root.Path("subject", "reference"), touched)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
