package guard

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"sync"
	"time"

	"candela/fhir"
	"candela/store"
)

const consentType = "Consent"

// consents are the active consents about privacy of patients of whom one
// withholds something, as they stand in the store at a moment.
type consents struct {
	mu       sync.Mutex
	read     bool
	seq      store.Seq // of the newest version of a Consent that was looked at
	of       map[string][]consent
	patients []string // the keys of of, sorted
}

// consent is one active Consent about privacy.
type consent struct {
	id        string
	patient   string
	at        time.Time
	unread    bool // it says something that is not understood: it withholds all
	withholds bool
	provision provision
}

// withheld adds to what a caller is denied what the consents of patients deny it.
// A store that cannot be asked lets nobody in.
func (g *Guard) withheld(ctx context.Context, c fhir.Caller, have rights, now time.Time) (fhir.Caller, error) {
	if have.exempt() {
		return c, nil
	}
	about, seq, err := g.about(ctx, c)
	if err != nil {
		return fhir.Caller{}, g.refusal(err)
	}
	if len(about) == 0 {
		return c, nil
	}
	if deny, known := have.memo.get(seq, c.Purpose); known {
		c.Deny = deny
		return c, nil
	}
	asker := asker{Guard: g, ctx: ctx, caller: &c, now: now}
	deny := slices.Clone(c.Deny)
	for _, of := range about {
		if c.User == (fhir.Reference{Type: "Patient", ID: of[0].patient}) {
			continue // people are not kept from their own record by their own word
		}
		more, err := asker.denied(of)
		if err != nil {
			return fhir.Caller{}, g.refusal(err)
		}
		deny = append(deny, more...)
	}
	c.Deny = deny
	have.memo.put(seq, c.Purpose, deny)
	return c, nil
}

// exempt are those who keep the consents themselves: their policy shows them no
// charts.
func (have rights) exempt() bool { return have.role == privacyOfficer }

// about are the consents that can matter to a caller, by patient: of those whose
// compartments the caller is confined to, or of all; and the newest version of a
// Consent that they rest on.
func (g *Guard) about(ctx context.Context, c fhir.Caller) ([][]consent, store.Seq, error) {
	s := &g.consents
	newest, err := g.newest(ctx) // not the head of the feed: that can lag behind what is acknowledged
	if err != nil {
		return nil, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.read || newest != s.seq {
		if err := s.current(ctx, g); err != nil {
			s.read = false
			return nil, 0, err
		}
	}
	if len(s.of) == 0 {
		return nil, s.seq, nil
	}
	var out [][]consent
	if mine, confined := g.compartments(c.Access); confined {
		for _, id := range mine {
			if of := s.of[id]; of != nil {
				out = append(out, of)
			}
		}
		return out, s.seq, nil
	}
	for _, id := range s.patients {
		out = append(out, s.of[id])
	}
	return out, s.seq, nil
}

// compartments are the patients that all rules, but those on what all may see,
// confine a caller to.
func (g *Guard) compartments(access fhir.Access) (ids []string, confined bool) {
	for i := range access {
		switch c := access[i].Compartment; {
		case c.Type == "Patient":
			if !slices.Contains(ids, c.ID) {
				ids = append(ids, c.ID)
			}
		case !g.tables.Shared(access[i].Type):
			return nil, false
		}
	}
	return ids, len(ids) > 0
}

// newest is the newest version of any Consent, 0 when there is none. One look at
// it tells whether the consents that are held are still what the store has.
func (g *Guard) newest(ctx context.Context) (store.Seq, error) {
	page, err := g.Store.History(ctx, store.Span{Key: store.Key{Type: consentType}, Count: 1})
	if err != nil || len(page.Versions) == 0 {
		return 0, err
	}
	return page.Versions[0].Seq, nil
}

// current brings the consents to what the store has now.
func (s *consents) current(ctx context.Context, g *Guard) error {
	newest, err := g.newest(ctx)
	if err != nil || s.read && newest == s.seq {
		return err
	}
	if newest < s.seq {
		s.read = false // what was the newest is erased
	}
	patients, err := s.touched(ctx, g)
	if err != nil {
		return err
	}
	for id := range patients {
		of, err := g.consentsOf(ctx, id)
		if err != nil {
			return err
		}
		if delete(s.of, id); slices.ContainsFunc(of, func(c consent) bool { return c.withholds }) {
			s.of[id] = of
		}
	}
	s.read, s.seq = true, newest
	s.patients = s.patients[:0]
	for id := range s.of {
		s.patients = append(s.patients, id)
	}
	slices.Sort(s.patients)
	return nil
}

// touched are the patients whose consents changed since the last look: those
// that versions since then name, and those whose consents they had been. The
// first look, and one that finds an erasure, reads all active consents.
func (s *consents) touched(ctx context.Context, g *Guard) (map[string]bool, error) {
	out := map[string]bool{}
	if !s.read {
		s.of = map[string][]consent{}
		return out, g.each(ctx, "status=active", func(v store.Version) { out[patientOf(v.Raw)] = true })
	}
	gone := map[string]bool{}
	span := store.Span{Key: store.Key{Type: consentType}, Count: 200}
	for {
		page, err := g.Store.History(ctx, span)
		if err != nil {
			return nil, err
		}
		for _, v := range page.Versions {
			if v.Seq <= s.seq {
				return s.owners(out, gone), nil
			}
			gone[v.Key.ID] = true
			if v.Raw != nil {
				out[patientOf(v.Raw)] = true
			}
		}
		if span.After = page.Next; span.After == "" {
			break // what was looked at last is not there any more
		}
	}
	for id := range s.of {
		out[id] = true
	}
	return out, nil
}

// owners adds the patients whose known consents are among ids.
func (s *consents) owners(out, ids map[string]bool) map[string]bool {
	for patient, of := range s.of {
		if slices.ContainsFunc(of, func(c consent) bool { return ids[c.id] }) {
			out[patient] = true
		}
	}
	return out
}

// consentsOf are a patient's active consents about privacy.
func (g *Guard) consentsOf(ctx context.Context, id string) ([]consent, error) {
	if id == "" {
		return nil, nil
	}
	var out []consent
	err := g.each(ctx, "status=active&patient="+url.QueryEscape("Patient/"+id), func(v store.Version) {
		if c, ok := readConsent(v); ok && c.patient == id {
			out = append(out, c)
		}
	})
	return out, err
}

// each hands on all consents that a search finds.
func (g *Guard) each(ctx context.Context, query string, do func(store.Version)) error {
	q, err := g.Search.Criteria(consentType, query)
	if err != nil {
		return err
	}
	q.Count = 1000
	for {
		page, err := g.Store.Find(ctx, q)
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

func patientOf(raw []byte) string {
	r := fhir.ParseReference(fhir.Stored(raw).Root().Path("patient", "reference").Text())
	if r.Type != "Patient" {
		return ""
	}
	return r.ID
}

// asker is a caller whose questions consents are asked about.
type asker struct {
	*Guard
	ctx    context.Context
	caller *fhir.Caller
	now    time.Time
	stands []fhir.Reference // whom the caller acts for, once looked up
	looked bool
}

// denied are the rules that a patient's consents deny the caller: of those that
// speak of this request the newest counts, and of several as new all that deny.
func (a *asker) denied(of []consent) (fhir.Access, error) {
	var newest []*consent
	for i := range of {
		c := &of[i]
		applies, err := a.applies(c)
		if err != nil {
			return nil, err
		}
		switch {
		case !applies || len(newest) > 0 && c.at.Before(newest[0].at):
		case len(newest) > 0 && c.at.Equal(newest[0].at):
			newest = append(newest, c)
		default:
			newest = []*consent{c}
		}
	}
	var out fhir.Access
	for _, c := range newest {
		rules, err := a.withholds(c)
		if err != nil {
			return nil, err
		}
		out = append(out, rules...)
	}
	return out, nil
}

// theirs are the persons, roles and organizations that the caller acts for.
func (a *asker) theirs() ([]fhir.Reference, error) {
	if a.looked {
		return a.stands, nil
	}
	user := a.caller.User
	if a.caller.Client != "" {
		a.stands = append(a.stands, fhir.Reference{Type: "Device", ID: a.caller.Client})
	}
	if user.ID != "" {
		a.stands = append(a.stands, user)
	}
	if user.Type == "Practitioner" || user.Type == "PractitionerRole" {
		if err := a.roles(user); err != nil {
			return nil, err
		}
	}
	a.looked = true
	return a.stands, nil
}

func (a *asker) roles(user fhir.Reference) error {
	query := "practitioner=" + url.QueryEscape(user.String())
	if user.Type == "PractitionerRole" {
		query = "_id=" + user.ID
	}
	q, err := a.Search.Criteria("PractitionerRole", query)
	if err != nil {
		return err
	}
	q.Count = 100
	found, err := a.Store.Find(a.ctx, q)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	for _, v := range found.Versions {
		a.stands = append(a.stands, fhir.Reference{Type: v.Key.Type, ID: v.Key.ID})
		root := fhir.Stored(v.Raw).Root()
		for _, member := range []string{"practitioner", "organization"} {
			if r := fhir.ParseReference(root.Path(member, "reference").Text()); r.ID != "" {
				a.stands = append(a.stands, fhir.Reference{Type: r.Type, ID: r.ID})
			}
		}
	}
	return nil
}
