package authorize

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"candela/fhir"
	"candela/smart/account"
	"candela/smart/authorize/page"
	"candela/smart/scope"
	"candela/store"
)

// choose draws the choice that a request waits for: patient, encounter, consent.
func (s *Server) choose(w http.ResponseWriter, r *http.Request, a *ask, now *account.Session) error {
	if a.User != now.User.Name { // nobody inherits another's choice
		a.User, a.Patient, a.Encounter, a.Without = now.User.Name, "", "", false
		if a.Launch != nil {
			a.Patient, a.Encounter = a.Launch.Patient, a.Launch.Encounter
		}
		if err := s.settle(r.Context(), a, now); err != nil {
			return err
		}
		if err := s.keep(r, a); err != nil {
			return err
		}
	}
	asked, _ := s.Scopes.Parse(a.Request.Scope)
	switch {
	case a.Patient == "" && needsPatient(asked):
		return s.askPatient(w, r, a, now)
	case a.Encounter == "" && !a.Without && asked.Has("launch/encounter"):
		return s.askEncounter(w, r, a, now)
	}
	return s.askConsent(w, r, a, now, "")
}

// needsPatient says whether scopes make no sense without a patient in context.
func needsPatient(asked scope.Set) bool {
	for _, one := range asked {
		if one.Level == scope.Patient || one.Text == "launch/patient" || one.Text == "launch/encounter" {
			return true
		}
	}
	return false
}

// settle chooses for those who have nothing to choose: patients with one record.
func (s *Server) settle(ctx context.Context, a *ask, now *account.Session) error {
	own := now.User.Own()
	if a.Patient != "" || len(own) != 1 {
		return nil
	}
	caller, err := s.Caller(ctx, now.User)
	if err != nil {
		return err
	}
	_, err = s.Directory.Patient(ctx, caller, own[0])
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	a.Patient = own[0]
	return err
}

func (s *Server) askPatient(w http.ResponseWriter, r *http.Request, a *ask, now *account.Session) error {
	caller, app, err := s.both(r.Context(), a, now)
	if err != nil {
		return err
	}
	text := strings.TrimSpace(r.URL.Query().Get("text"))
	found, more, err := s.patients(r.Context(), caller, now, text)
	if err != nil {
		return err
	}
	return s.draw(w, http.StatusOK, page.Patients{Form: s.form(r, a), App: app, User: shownName(now.User), Text: text, Found: shownPeople(found), More: more})
}

// patients are those of the user's own, or else those found.
func (s *Server) patients(ctx context.Context, caller fhir.Caller, now *account.Session, text string) ([]Person, bool, error) {
	own := now.User.Own()
	if len(own) == 0 {
		if len(text) > 100 {
			text = text[:100]
		}
		return s.Directory.Patients(ctx, caller, strings.ToValidUTF8(text, ""))
	}
	var found []Person
	for _, id := range own {
		one, err := s.Directory.Patient(ctx, caller, id)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, false, err
		}
		found = append(found, one)
	}
	return found, false, nil
}

func shownPeople(found []Person) []page.Person {
	out := make([]page.Person, len(found))
	for i, one := range found {
		out[i] = page.Person(one)
	}
	return out
}

func shownVisits(found []Visit) []page.Visit {
	out := make([]page.Visit, len(found))
	for i, one := range found {
		out[i] = page.Visit(one)
	}
	return out
}

// both are what a user may see and the name of the app.
func (s *Server) both(ctx context.Context, a *ask, now *account.Session) (fhir.Caller, string, error) {
	c, err := s.Clients.Get(ctx, a.Request.Client)
	if err != nil {
		return fhir.Caller{}, "", err
	}
	caller, err := s.Caller(ctx, now.User)
	return caller, c.Name, err
}

func (s *Server) askEncounter(w http.ResponseWriter, r *http.Request, a *ask, now *account.Session) error {
	caller, app, err := s.both(r.Context(), a, now)
	if err != nil {
		return err
	}
	patient, err := s.seen(r, a.Request.Client, now, caller, a.Patient)
	if err != nil {
		return err
	}
	found, err := s.Directory.Encounters(r.Context(), caller, a.Patient)
	if err != nil {
		return err
	}
	return s.draw(w, http.StatusOK, page.Visits{Form: s.form(r, a), App: app, User: shownName(now.User), Patient: patient.Name, Found: shownVisits(found)})
}

// chooser is a posted choice of a request by a user who may go on with it.
func (s *Server) chooser(w http.ResponseWriter, r *http.Request) (a *ask, value func(string) string, now *account.Session, caller fhir.Caller, err error) {
	sent, a, err := s.posted(w, r)
	if err != nil {
		return nil, nil, nil, caller, err
	}
	if now, err = s.session(r); err != nil {
		return nil, nil, nil, caller, err
	}
	if a == nil || a.Page != "" {
		return nil, nil, nil, caller, expired()
	}
	if _, ok := s.fits(a, now); !ok || a.User != now.User.Name {
		return nil, nil, nil, caller, expired()
	}
	caller, err = s.Caller(r.Context(), now.User)
	return a, sent.Get, now, caller, err
}

// pickPatient takes the choice of a patient, which is judged once more: that the
// list did not show somebody keeps nobody from sending their id.
func (s *Server) pickPatient(w http.ResponseWriter, r *http.Request) error {
	a, value, now, caller, err := s.chooser(w, r)
	if err != nil {
		return err
	}
	if a.Launch != nil && a.Launch.Patient != "" { // which is not to be changed
		return expired()
	}
	one, err := s.seen(r, a.Request.Client, now, caller, value("patient"))
	if err != nil {
		return err
	}
	a.Patient, a.Encounter, a.Without = one.ID, "", false
	if err := s.keep(r, a); err != nil {
		return err
	}
	s.see(w, s.step(a))
	return nil
}

// seen is a patient that the user may see; else a 403 that is audited.
func (s *Server) seen(r *http.Request, client string, now *account.Session, caller fhir.Caller, id string) (Person, error) {
	one, err := Person{}, store.ErrNotFound
	if fhir.ValidID(id) {
		one, err = s.Directory.Patient(r.Context(), caller, id)
	}
	return one, s.unseen(r, client, now, id, err)
}

func (s *Server) unseen(r *http.Request, client string, now *account.Session, patient string, err error) error {
	var refused *fhir.Error
	if err == nil || !errors.Is(err, store.ErrNotFound) && !(errors.As(err, &refused) && refused.Status < http.StatusInternalServerError) {
		return err
	}
	if !fhir.ValidID(patient) {
		patient = ""
	}
	if err := s.tell(r, Event{What: PickRefused, User: now.User.Name, Client: client, Patient: patient, Reason: "access_denied"}); err != nil {
		return err
	}
	return &Error{Code: "access_denied", Description: "this record is not there, or not for you to open", Status: http.StatusForbidden}
}

// pickEncounter takes the choice of an encounter, or of none.
func (s *Server) pickEncounter(w http.ResponseWriter, r *http.Request) error {
	a, value, now, caller, err := s.chooser(w, r)
	if err != nil {
		return err
	}
	if a.Patient == "" || a.Launch != nil && a.Launch.Encounter != "" {
		return expired()
	}
	a.Encounter, a.Without = value("encounter"), false
	if a.Encounter == "none" {
		a.Encounter, a.Without = "", true
	} else if err := s.seenVisit(r, a.Request.Client, now, caller, a.Patient, a.Encounter); err != nil {
		return err
	}
	if err := s.keep(r, a); err != nil {
		return err
	}
	s.see(w, s.step(a))
	return nil
}

// seenVisit refuses an encounter that is not the patient's or that the user may
// not see.
func (s *Server) seenVisit(r *http.Request, client string, now *account.Session, caller fhir.Caller, patient, id string) error {
	err := store.ErrNotFound
	if fhir.ValidID(id) && fhir.ValidID(patient) {
		_, err = s.Directory.Encounter(r.Context(), caller, patient, id)
	}
	return s.unseen(r, client, now, patient, err)
}
