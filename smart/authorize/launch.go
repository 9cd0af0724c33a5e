package authorize

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"candela/fhir"
	"candela/smart/account"
	"candela/smart/authorize/page"
	"candela/smart/client"
	"candela/smart/token"
	"candela/store"
)

// launchLife is how long a launch handle is good.
const launchLife = 5 * time.Minute

// launch is what an EHR sets for an app that it starts.
type launch struct {
	Client    string         `json:"client"` // the app it is for
	User      string         `json:"user"`   // the user of the EHR
	Patient   string         `json:"patient,omitzero"`
	Encounter string         `json:"encounter,omitzero"`
	Intent    string         `json:"intent,omitzero"`
	Tenant    string         `json:"tenant,omitzero"`
	Context   jsontext.Value `json:"context,omitzero"` // fhirContext
	Banner    bool           `json:"banner"`           // need_patient_banner
	Until     time.Time      `json:"until"`
}

// take uses up the handle of a request. It is good once, for one app; whoever
// sends one that is not theirs has used it up as well.
func (s *Server) take(r *http.Request, req *request) (*launch, error) {
	bad := invalidRequest("launch is not good, or not any more")
	if len(req.handle) > 128 {
		return nil, bad
	}
	raw, err := s.KV.KVTake(r.Context(), bucketLaunch, s.handleKey(req.handle))
	if errors.Is(err, store.ErrNotFound) {
		return nil, bad
	}
	var l launch
	if err == nil && json.Unmarshal(raw, &l) != nil {
		err = store.ErrCorrupt
	}
	if err != nil {
		return nil, fmt.Errorf("smart/authorize: take a launch: %w", err)
	}
	if l.Client != req.Client || !s.Now().Before(l.Until) {
		if err := s.tell(r, Event{What: LaunchRefused, User: l.User, Client: req.Client, Patient: l.Patient, Reason: bad.Code}); err != nil {
			return nil, err
		}
		return nil, bad
	}
	return &l, nil
}

func (s *Server) handleKey(handle string) string {
	return fmt.Sprintf("%x", s.digest("launch", handle))
}

// launch makes a handle: for an EHR, which proves who it is as it does at the
// token endpoint and is told the handle, or for the launcher page of a user, who
// is sent to the app. Fields: app, patient, encounter, intent, tenant,
// need_patient_banner, fhirContext and, from an EHR, user.
func (s *Server) launch(w http.ResponseWriter, r *http.Request) error {
	if s.cookie(r, "session") != "" && len(r.Header.Values("Authorization")) == 0 {
		err := s.launchByUser(w, r)
		if e, ok := fault(err); ok {
			s.say(w, e)
			return nil
		}
		return err
	}
	sent, err := form(w, r)
	if err != nil {
		return err
	}
	ehr, err := s.Clients.Authenticate(r.Context(), client.Credentials{Authorization: r.Header.Values("Authorization"), Form: sent})
	if err != nil {
		return err
	}
	if !ehr.CreateLaunch || ehr.Kind == client.Public {
		return &Error{Code: "unauthorized_client", Description: "the client may not create launches", Status: http.StatusForbidden}
	}
	user, err := s.Accounts.Active(r.Context(), sent.Get("user"))
	if errors.Is(err, store.ErrNotFound) {
		return invalidRequest("user is not one that may sign in")
	}
	if err != nil {
		return err
	}
	handle, app, err := s.newLaunch(r, user, sent)
	if err != nil {
		return err
	}
	body, err := json.Marshal(struct {
		Launch  string `json:"launch"`
		Iss     string `json:"iss"`
		URL     string `json:"launch_url,omitzero"`
		Expires int    `json:"expires_in"`
	}{handle, s.Base, s.launchURL(app, handle), int(launchLife.Seconds())})
	if err != nil {
		return fmt.Errorf("smart/authorize: write a launch: %w", err)
	}
	return send(w, http.StatusCreated, "application/json", body)
}

// launchURL is where the app is started; "" for one that has no such URL.
func (s *Server) launchURL(app client.Client, handle string) string {
	if app.LaunchURL == "" {
		return ""
	}
	join := "?"
	if strings.Contains(app.LaunchURL, "?") {
		join = "&"
	}
	return app.LaunchURL + join + url.Values{"iss": {s.Base}, "launch": {handle}}.Encode()
}

// newLaunch stores what a user starts an app with, if the user may see it.
func (s *Server) newLaunch(r *http.Request, user account.User, sent url.Values) (string, client.Client, error) {
	app, err := s.Clients.Get(r.Context(), sent.Get("app"))
	if errors.Is(err, store.ErrNotFound) || err == nil && (app.Disabled || !app.Has(client.GrantCode)) {
		return "", app, invalidRequest("app is not registered")
	}
	if err != nil {
		return "", app, err
	}
	l := launch{Client: app.ID, User: user.Name, Patient: sent.Get("patient"), Encounter: sent.Get("encounter"), Intent: sent.Get("intent"),
		Tenant: sent.Get("tenant"), Context: jsontext.Value(sent.Get("fhirContext")), Banner: sent.Get("need_patient_banner") != "false",
		Until: s.Now().Add(launchLife).UTC()}
	if err := l.check(); err != nil {
		return "", app, err
	}
	if err := s.admit(r, user, &l); err != nil {
		return "", app, err
	}
	raw, err := json.Marshal(&l)
	handle := random(32)
	if err == nil {
		err = s.KV.KVSwap(r.Context(), bucketLaunch, s.handleKey(handle), nil, raw, launchLife)
	}
	if err != nil {
		return "", app, fmt.Errorf("smart/authorize: store a launch: %w", err)
	}
	return handle, app, s.tell(r, Event{What: Launched, User: user.Name, Client: app.ID, Patient: l.Patient})
}

// check says what of a launch could not stand in a token's answer.
func (l *launch) check() error {
	switch {
	case l.Encounter != "" && l.Patient == "":
		return invalidRequest("encounter is that of a patient")
	case len(l.Intent) > 200 || len(l.Tenant) > 200 || len(l.Context) > 16<<10:
		return invalidRequest("intent, tenant or fhirContext is too long")
	}
	if len(l.Context) == 0 {
		l.Context = nil
	}
	return token.ValidateContext(l.Context)
}

// admit holds that the user may see what the app is started with.
func (s *Server) admit(r *http.Request, user account.User, l *launch) error {
	if l.Patient == "" {
		return nil
	}
	caller, err := s.Caller(r.Context(), user)
	if err != nil {
		return err
	}
	now := &account.Session{User: user}
	if _, err := s.seen(r, l.Client, now, caller, l.Patient); err != nil {
		return err
	}
	if l.Encounter == "" {
		return nil
	}
	return s.seenVisit(r, l.Client, now, caller, l.Patient, l.Encounter)
}

// launchByUser starts an app from the launcher page.
func (s *Server) launchByUser(w http.ResponseWriter, r *http.Request) error {
	sent, _, err := s.posted(w, r)
	if err != nil {
		return err
	}
	now, err := s.session(r)
	if err != nil {
		return err
	}
	if now == nil || !s.Config.Launcher {
		return expired()
	}
	if !sent.Has("need_patient_banner") { // a box that is not ticked says nothing
		sent.Set("need_patient_banner", "false")
	}
	handle, app, err := s.newLaunch(r, now.User, sent)
	if err != nil {
		return err
	}
	to := s.launchURL(app, handle)
	if to == "" {
		return invalidRequest("the app has no launch URL")
	}
	s.see(w, to)
	return nil
}

// launcher draws the page that plays the EHR.
func (s *Server) launcher(w http.ResponseWriter, r *http.Request) error {
	now, err := s.user(w, r)
	if now == nil {
		return err
	}
	query := r.URL.Query()
	v := page.Launcher{Form: s.form(r, nil), User: shownName(now.User), Text: query.Get("text")}
	caller, err := s.Caller(r.Context(), now.User)
	if err != nil {
		return err
	}
	if v.Apps, err = s.launchable(r.Context()); err != nil {
		return err
	}
	if id := query.Get("patient"); id != "" {
		err = s.opened(r, now, caller, id, &v)
	} else {
		var found []Person
		found, _, err = s.patients(r.Context(), caller, now, v.Text)
		v.Found = shownPeople(found)
	}
	if err != nil {
		return err
	}
	return s.draw(w, http.StatusOK, v)
}

// opened fills in the patient that was chosen.
func (s *Server) opened(r *http.Request, now *account.Session, caller fhir.Caller, id string, v *page.Launcher) error {
	one, err := s.seen(r, "", now, caller, id)
	if err != nil {
		return err
	}
	v.Patient, v.PatientName = one.ID, one.Name
	visits, err := s.Directory.Encounters(r.Context(), caller, id)
	v.Visits = shownVisits(visits)
	return err
}

// launchable are the apps that have a launch URL, by name.
func (s *Server) launchable(ctx context.Context) ([]page.Option, error) {
	var out []page.Option
	for c, err := range s.Clients.List(ctx) {
		if err != nil {
			return nil, err
		}
		if c.LaunchURL != "" && !c.Disabled && c.Has(client.GrantCode) {
			out = append(out, page.Option{Value: c.ID, Label: c.Name})
		}
	}
	slices.SortFunc(out, func(a, b page.Option) int { return strings.Compare(a.Label, b.Label) })
	return out, nil
}
