// Package directory finds the patients and encounters that users choose from,
// through the one door and with the user's own access: what they may not see is
// not there. It knows how a patient and a visit are said in a line. It must not
// know sessions, requests for access, or pages.
package directory

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"candela/fhir"
	"candela/smart/authorize"
	"candela/store"
)

// Directory is an authorize.Directory over a Doer.
type Directory struct {
	Door fhir.Doer
	Base string // our FHIR base
	// NewID gives request ids, by which what was looked at is on record.
	NewID func() string
}

const (
	shown = "20"    // in a list
	most  = 1 << 26 // octets of an answer of ours
)

// Patients gives some patients by the beginning of a name or a whole number.
func (d Directory) Patients(ctx context.Context, caller fhir.Caller, text string) ([]authorize.Person, bool, error) {
	var out []authorize.Person
	more, seen := false, map[string]bool{}
	for _, query := range queries(text) {
		found, next, err := d.search(ctx, caller, "Patient", query)
		if err != nil {
			return nil, false, err
		}
		more = more || next
		for _, one := range found {
			if p := person(one); !seen[p.ID] {
				seen[p.ID] = true
				out = append(out, p)
			}
		}
	}
	return out, more, nil
}

// queries are the searches that a text means: each word the beginning of a name,
// or all of it a number.
func queries(text string) []fhir.Params {
	words := strings.Fields(text)
	list := fhir.Params{{Name: "_count", Value: shown}, {Name: "_sort", Value: "family"}}
	if len(words) == 0 {
		return []fhir.Params{list}
	}
	var names fhir.Params
	for _, word := range words[:min(len(words), 5)] {
		names = append(names, fhir.Param{Name: "name", Value: escape(word)})
	}
	out := []fhir.Params{append(names, list...)}
	if strings.ContainsAny(text, "0123456789") {
		out = append(out, append(fhir.Params{{Name: "identifier", Value: escape(text)}}, list...))
	}
	return out
}

// escape keeps what is typed from being read as search syntax (R4 search §3.1.1.3.1).
func escape(text string) string {
	return strings.NewReplacer(`\`, `\\`, `,`, `\,`, `$`, `\$`, `|`, `\|`).Replace(text)
}

// Patient gives one patient; store.ErrNotFound for one the caller may not see.
func (d Directory) Patient(ctx context.Context, caller fhir.Caller, id string) (authorize.Person, error) {
	answer, err := d.Door.Do(ctx, d.request(caller, fhir.Request{Interaction: fhir.Read, Type: "Patient", ID: id}))
	if err != nil {
		return authorize.Person{}, unseen(err)
	}
	return person(answer.Resource.Root()), nil
}

// Encounters gives the newest encounters of a patient.
func (d Directory) Encounters(ctx context.Context, caller fhir.Caller, patient string) ([]authorize.Visit, error) {
	found, _, err := d.search(ctx, caller, "Encounter", fhir.Params{{Name: "patient", Value: patient}, {Name: "_sort", Value: "-date"}, {Name: "_count", Value: shown}})
	if errors.Is(err, store.ErrNotFound) { // no access to encounters: none to choose
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := make([]authorize.Visit, len(found))
	for i, one := range found {
		out[i] = visit(one)
	}
	return out, nil
}

// Encounter gives one encounter of a patient.
func (d Directory) Encounter(ctx context.Context, caller fhir.Caller, patient, id string) (authorize.Visit, error) {
	found, _, err := d.search(ctx, caller, "Encounter", fhir.Params{{Name: "_id", Value: id}, {Name: "patient", Value: patient}})
	if err != nil {
		return authorize.Visit{}, err
	}
	if len(found) != 1 {
		return authorize.Visit{}, fmt.Errorf("smart/authorize/directory: %w", store.ErrNotFound)
	}
	return visit(found[0]), nil
}

func (d Directory) request(caller fhir.Caller, r fhir.Request) fhir.Request {
	r.Caller, r.Base, r.Safe = caller, d.Base, true
	if d.NewID != nil {
		r.RequestID = d.NewID()
	}
	return r
}

// search gives the matches of a search, and whether there are more.
func (d Directory) search(ctx context.Context, caller fhir.Caller, typ string, query fhir.Params) ([]fhir.Node, bool, error) {
	answer, err := d.Door.Do(ctx, d.request(caller, fhir.Request{Interaction: fhir.SearchType, Type: typ, Query: query}))
	if err != nil {
		return nil, false, unseen(err)
	}
	limits := fhir.BundleLimits()
	limits.Bytes = most
	bundle, err := fhir.ParseResource(answer.Body, limits)
	if err != nil {
		return nil, false, fmt.Errorf("smart/authorize/directory: read an answer: %w", err)
	}
	var out []fhir.Node
	for entry := range bundle.Root().Get("entry").Elements() {
		if one := entry.Get("resource"); one.Get("resourceType").Text() == typ {
			out = append(out, one)
		}
	}
	more := false
	for link := range bundle.Root().Get("link").Elements() {
		more = more || link.Get("relation").Text() == "next"
	}
	return out, more, nil
}

// unseen makes what the caller may not see the same as what is not there.
func unseen(err error) error {
	var refused *fhir.Error
	if errors.Is(err, store.ErrGone) || errors.As(err, &refused) && (refused.Status == 403 || refused.Status == 404 || refused.Status == 410) {
		return fmt.Errorf("smart/authorize/directory: %w", store.ErrNotFound)
	}
	return err
}

// person says a patient in a line.
func person(p fhir.Node) authorize.Person {
	out := authorize.Person{ID: p.Get("id").Text(), Name: name(p)}
	var detail []string
	if born := p.Get("birthDate").Text(); born != "" {
		detail = append(detail, "born "+born)
	}
	if gender := p.Get("gender").Text(); gender != "" {
		detail = append(detail, gender)
	}
	for one := range p.Get("identifier").Elements() {
		if value := one.Get("value").Text(); value != "" {
			detail = append(detail, "number "+value)
			break
		}
	}
	out.Detail = strings.Join(detail, ", ")
	if out.Name == "" {
		out.Name = "Patient/" + out.ID
	}
	return out
}

// name is the first name that is in use.
func name(p fhir.Node) string {
	first := ""
	for one := range p.Get("name").Elements() {
		text := one.Get("text").Text()
		if text == "" {
			var parts []string
			for given := range one.Get("given").Elements() {
				parts = append(parts, given.Text())
			}
			text = strings.TrimSpace(strings.Join(append(parts, one.Get("family").Text()), " "))
		}
		use := one.Get("use").Text()
		if use == "old" || use == "maiden" || text == "" {
			continue
		}
		if use == "official" {
			return text
		}
		if first == "" {
			first = text
		}
	}
	return first
}

// visit says an encounter in a line.
func visit(e fhir.Node) authorize.Visit {
	out := authorize.Visit{ID: e.Get("id").Text(), Name: said(e.Get("type").First())}
	if out.Name == "" {
		out.Name = coding(e.Get("class"))
	}
	if out.Name == "" {
		out.Name = "Visit"
	}
	var detail []string
	if start, _, _ := strings.Cut(e.Path("period", "start").Text(), "T"); start != "" {
		detail = append(detail, start)
	}
	if status := e.Get("status").Text(); status != "" {
		detail = append(detail, status)
	}
	out.Detail = strings.Join(detail, ", ")
	return out
}

// said is a CodeableConcept in words.
func said(concept fhir.Node) string {
	if text := concept.Get("text").Text(); text != "" {
		return text
	}
	return coding(concept.Get("coding").First())
}

func coding(c fhir.Node) string {
	if display := c.Get("display").Text(); display != "" {
		return display
	}
	return c.Get("code").Text()
}
