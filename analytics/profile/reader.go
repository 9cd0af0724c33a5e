package profile

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"strings"

	"candela/fhir"
)

// Types are the resource types that profiles are read from; a change of any
// other type changes no profile.
func Types() []string {
	return []string{"Patient", "Observation", "Condition", "MedicationRequest", "MedicationStatement", "Medication"}
}

// Reader reads profiles through a door. Safe for concurrent use.
type Reader struct {
	Door   fhir.Doer
	Caller fhir.Caller
	Base   string // the server's base URL, as page links have it
	// Page is the number of resources asked for at a time; 0 is 500.
	Page int
}

// Read is the profile of one patient as recorded now. A patient who does not
// exist (any more) is no error: the profile says so.
func (r Reader) Read(ctx context.Context, id string) (Profile, error) {
	p := Profile{ID: id}
	patient, err := r.Get(ctx, "Patient", id)
	if err != nil || !patient.Exists() {
		return p, err
	}
	p.describe(patient)
	for _, part := range []struct {
		kind  string
		query fhir.Params
		take  func(root fhir.Node, source string)
	}{
		{"Observation", fhir.Params{{Name: "code", Value: codeList()}}, p.observe},
		{"Condition", nil, p.diagnose},
		{"MedicationRequest", fhir.Params{{Name: "status", Value: "active"}}, r.medicine(ctx, &p, &err, "authoredOn")},
		{"MedicationStatement", fhir.Params{{Name: "status", Value: "active"}}, r.medicine(ctx, &p, &err, "effectiveDateTime")},
	} {
		query := append(fhir.Params{{Name: "patient", Value: "Patient/" + id}}, part.query...)
		if failed := r.Each(ctx, part.kind, query, part.take); failed != nil || err != nil {
			return p, errors.Join(failed, err)
		}
	}
	p.sort()
	return p, nil
}

// Get reads one resource; one that is not there is the zero Resource.
func (r Reader) Get(ctx context.Context, kind, id string) (fhir.Resource, error) {
	res, err := r.Door.Do(ctx, fhir.Request{Interaction: fhir.Read, Type: kind, ID: id, Base: r.Base, Caller: r.Caller})
	var refused *fhir.Error
	if errors.As(err, &refused) && (refused.Status == 404 || refused.Status == 410) {
		return fhir.Resource{}, nil
	}
	return res.Resource, err
}

// Each runs take over all resources of a type that a search finds, page by page;
// source is the reference of the resource version.
func (r Reader) Each(ctx context.Context, kind string, query fhir.Params, take func(root fhir.Node, source string)) error {
	count := strconv.Itoa(cmp.Or(r.Page, 500))
	req := fhir.Request{Interaction: fhir.SearchType, Type: kind, Query: append(query, fhir.Param{Name: "_count", Value: count})}
	for {
		req.Base, req.Caller = r.Base, r.Caller
		res, err := r.Door.Do(ctx, req)
		if err != nil {
			return err
		}
		bundle := fhir.Stored(res.Body).Root()
		for entry := range bundle.Get("entry").Elements() {
			one := entry.Get("resource")
			if one.Get("resourceType").Text() == kind { // not an outcome among the hits
				take(one, sourceOf(one))
			}
		}
		next := nextLink(bundle)
		if next == "" {
			return nil
		}
		if req, err = fhir.RouteURL("GET", next, r.Base); err != nil {
			return err
		}
	}
}

func nextLink(bundle fhir.Node) string {
	for link := range bundle.Get("link").Elements() {
		if link.Get("relation").Text() == "next" {
			return link.Get("url").Text()
		}
	}
	return ""
}

// sourceOf is the reference of a resource's version.
func sourceOf(root fhir.Node) string {
	ref := fhir.Reference{Type: root.Get("resourceType").Text(), ID: root.Get("id").Text(), Version: root.Path("meta", "versionId").Text()}
	return ref.String()
}

func (p *Profile) describe(patient fhir.Resource) {
	root := patient.Root()
	p.Exists, p.Source = true, sourceOf(root)
	p.Inactive = root.Get("active").Kind() == fhir.False
	p.Gender = root.Get("gender").Text()
	p.Born, _ = momentOf(root.Get("birthDate"))
	died, dated := momentOf(root.Get("deceasedDateTime"))
	p.Died, p.Deceased = died, dated || root.Get("deceasedBoolean").Kind() == fhir.True
}

func (p *Profile) diagnose(root fhir.Node, source string) {
	switch root.Path("verificationStatus", "coding", "code").Text() {
	case "refuted", "entered-in-error":
		return
	}
	c := Condition{Codes: codesOf(root.Get("code")), Sources: []string{source}}
	switch root.Path("clinicalStatus", "coding", "code").Text() {
	case "active", "recurrence", "relapse", "":
		c.Active = true
	}
	for _, n := range []fhir.Node{root.Get("onsetDateTime"), root.Path("onsetPeriod", "start"), root.Get("recordedDate")} {
		if at, ok := momentOf(n); ok {
			c.Onset = at
			break
		}
	}
	for _, n := range []fhir.Node{root.Get("abatementDateTime"), root.Path("abatementPeriod", "end")} {
		if at, ok := momentOf(n); ok {
			c.Abated = at
			break
		}
	}
	p.Conditions = append(p.Conditions, c)
}

// medicine reads requests and statements. A medicine that is only referred to
// is looked up: inside the resource, else through the door.
func (r Reader) medicine(ctx context.Context, p *Profile, failed *error, since string) func(fhir.Node, string) {
	return func(root fhir.Node, source string) {
		if root.Get("doNotPerform").Kind() == fhir.True {
			return
		}
		m := Medication{Sources: []string{source}}
		m.Since, _ = momentOf(root.Get(since))
		m.Codes = codesOf(root.Get("medicationCodeableConcept"))
		if ref := root.Path("medicationReference", "reference").Text(); ref != "" {
			codes, source, err := r.referred(ctx, root, ref)
			if err != nil {
				*failed = err
			}
			m.Codes = append(m.Codes, codes...)
			if source != "" {
				m.Sources = append(m.Sources, source)
			}
		}
		if len(m.Codes) > 0 {
			p.Medications = append(p.Medications, m)
		}
	}
}

func (r Reader) referred(ctx context.Context, root fhir.Node, ref string) ([]Code, string, error) {
	if name, inside := strings.CutPrefix(ref, "#"); inside {
		for one := range root.Get("contained").Elements() {
			if one.Get("id").Text() == name {
				return codesOf(one.Get("code")), "", nil
			}
		}
		return nil, "", nil
	}
	to := fhir.ParseReference(ref)
	if to.Type != "Medication" || to.Base != "" && to.Base != r.Base {
		return nil, "", nil
	}
	res, err := r.Get(ctx, to.Type, to.ID)
	if err != nil || !res.Exists() {
		return nil, "", err
	}
	return codesOf(res.Root().Get("code")), sourceOf(res.Root()), nil
}
