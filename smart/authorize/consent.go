package authorize

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"candela/smart/account"
	"candela/smart/authorize/page"
	"candela/smart/scope"
	"candela/smart/token"
)

// offer is what a user can give of what was asked: user/ scopes and fhirUser need
// a user who is a resource.
func (s *Server) offer(a *ask, now *account.Session) scope.Set {
	asked, _ := s.Scopes.Parse(a.Request.Scope)
	if now.User.FHIRUser.Type != "" {
		return asked
	}
	return slices.DeleteFunc(asked, func(one scope.Scope) bool { return one.Level == scope.User || one.Text == "fhirUser" })
}

// bare scopes say what the launch is, not what is given.
func bare(one scope.Scope) bool {
	return one.Text == "launch" || one.Text == "launch/patient" || one.Text == "launch/encounter"
}

// worth says whether anything is left to give.
func worth(given scope.Set) bool {
	return slices.ContainsFunc(given, func(one scope.Scope) bool {
		return !bare(one) && one.Text != "offline_access" && one.Text != "online_access"
	})
}

// askConsent draws the consent.
func (s *Server) askConsent(w http.ResponseWriter, r *http.Request, a *ask, now *account.Session, problem string) error {
	offered := s.offer(a, now)
	if !worth(offered) {
		return s.deny(w, r, a, "nothing of what was asked for can be given by this user")
	}
	caller, app, err := s.both(r.Context(), a, now)
	if err != nil {
		return err
	}
	v := page.Consent{Form: s.form(r, a), App: app, User: shownName(now.User), Host: hostOf(a.Request.Redirect), Problem: problem,
		Offline: offered.Has("offline_access"), Online: offered.Has("online_access"), Life: inWords(s.Tokens.RefreshLife)}
	if a.Patient != "" {
		one, err := s.seen(r, a.Request.Client, now, caller, a.Patient)
		if err != nil {
			return err
		}
		v.Patient = one.Name
	}
	for _, one := range offered {
		choice := page.Choice{Scope: one.Text, Label: page.Say(one)}
		for _, part := range s.Scopes.Offer(one) {
			choice.Narrow = append(choice.Narrow, page.Choice{Scope: part.Scope.Text, Label: part.Label})
		}
		switch {
		case one.Level == scope.Patient:
			v.Record = append(v.Record, choice)
		case one.Level != "":
			v.Work = append(v.Work, choice)
		case one.Text == "openid" || one.Text == "fhirUser" || one.Text == "profile":
			v.Identity = append(v.Identity, choice)
		}
	}
	status := http.StatusOK
	if problem != "" {
		status = http.StatusBadRequest
	}
	return s.draw(w, status, v)
}

// hostOf names where a redirect leads: a host, or an app on the user's device.
func hostOf(redirect string) string {
	u, err := url.Parse(redirect)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return "an app on this device"
	}
	return u.Host
}

func inWords(life time.Duration) string {
	if days := int(life.Hours() / 24); days > 1 {
		return plural(days, "day")
	}
	return plural(max(int(life.Hours()), 1), "hour")
}

func plural(n int, what string) string {
	if n == 1 {
		return "one " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// consent takes the answer of the user, and sends the app a code or a no.
func (s *Server) consent(w http.ResponseWriter, r *http.Request) error {
	sent, a, err := s.posted(w, r, "scope")
	if err != nil {
		return err
	}
	now, err := s.session(r)
	if err != nil {
		return err
	}
	if a == nil || a.Page != "" {
		return expired()
	}
	if _, ok := s.fits(a, now); !ok || a.User != now.User.Name {
		s.see(w, s.step(a)) // the session is over: sign in and look again
		return nil
	}
	switch sent.Get("answer") {
	case "allow":
	case "deny":
		return s.deny(w, r, a, "the user did not allow it")
	default:
		return invalidRequest("the form has no answer")
	}
	given, ok := s.given(s.offer(a, now), sent["scope"])
	if !ok {
		return foreign()
	}
	if !worth(given) {
		return s.askConsent(w, r, a, now, "Nothing is ticked. Tick what the app may have, or do not allow it.")
	}
	return s.finish(w, r, a, now, given)
}

// given is what the user ticked of what was offered, in the order it was asked
// for, and the narrower scopes that were chosen instead. ok is false for a scope
// that the page did not offer.
func (s *Server) given(offered scope.Set, ticked []string) (out scope.Set, ok bool) {
	var narrow scope.Set
	for _, text := range ticked {
		if offered.Has(text) {
			continue
		}
		part, found := s.part(offered, text)
		if !found {
			return nil, false
		}
		narrow = append(narrow, part)
	}
	for _, one := range offered {
		if bare(one) || slices.Contains(ticked, one.Text) {
			out = append(out, one)
		}
	}
	for _, one := range narrow {
		if !out.Covers(scope.Set{one}) {
			out = append(out, one)
		}
	}
	return out, true
}

// part finds a narrower scope among those that the page offered.
func (s *Server) part(offered scope.Set, text string) (scope.Scope, bool) {
	for _, one := range offered {
		for _, choice := range s.Scopes.Offer(one) {
			if choice.Scope.Text == text {
				return choice.Scope, true
			}
		}
	}
	return scope.Scope{}, false
}

// finish makes the grant and sends the app its code. The choices are judged once
// more: what a user may see can change between the list and the answer.
func (s *Server) finish(w http.ResponseWriter, r *http.Request, a *ask, now *account.Session, given scope.Set) error {
	if needsPatient(given) && a.Patient == "" {
		return expired()
	}
	if err := s.judge(r, a, now); err != nil {
		return err
	}
	c, err := s.Clients.Get(r.Context(), a.Request.Client)
	if err != nil {
		return err
	}
	if c.Disabled || !c.Redirect(a.Request.Redirect) {
		return expired()
	}
	if err := s.end(w, r, a); err != nil {
		return err
	}
	g := s.grant(a, now, given)
	// Before the code, so that no code is out of which there is no record.
	if err := s.tell(r, Event{What: Allowed, User: g.User, Client: g.Client, Patient: g.Patient, Scope: g.Scope}); err != nil {
		return err
	}
	code, err := s.Tokens.Code(r.Context(), g, a.Request.Redirect, a.Request.Challenge)
	if err != nil {
		return err
	}
	s.redirect(w, &a.Request, url.Values{"code": {code}})
	return nil
}

func (s *Server) judge(r *http.Request, a *ask, now *account.Session) error {
	if a.Patient == "" {
		return nil
	}
	caller, err := s.Caller(r.Context(), now.User)
	if err != nil {
		return err
	}
	if _, err := s.seen(r, a.Request.Client, now, caller, a.Patient); err != nil {
		return err
	}
	if a.Encounter == "" {
		return nil
	}
	return s.seenVisit(r, a.Request.Client, now, caller, a.Patient, a.Encounter)
}

// grant is what was given. A standalone app shows its own banner.
func (s *Server) grant(a *ask, now *account.Session, given scope.Set) token.Grant {
	g := token.Grant{Client: a.Request.Client, User: now.User.Name, FHIRUser: now.User.FHIRUser, Scope: given.String(),
		Patient: a.Patient, Encounter: a.Encounter, StyleURL: s.styled, NeedBanner: true,
		Aud: s.Base, Nonce: a.Request.Nonce, AuthTime: now.AuthTime, Offline: given.Has("offline_access")}
	if a.Launch != nil {
		g.Intent, g.Tenant, g.Context, g.NeedBanner = a.Launch.Intent, a.Launch.Tenant, a.Launch.Context, a.Launch.Banner
	}
	if given.Has("online_access") && !g.Offline {
		g.Session = now.ID
	}
	return g
}

// manage shows a user which apps have access.
func (s *Server) manage(w http.ResponseWriter, r *http.Request) error {
	now, err := s.user(w, r)
	if now == nil {
		return err
	}
	held, err := s.Tokens.Grants(r.Context(), now.User.Name)
	if err != nil {
		return err
	}
	slices.SortFunc(held, func(a, b token.Held) int { return b.Used.Compare(a.Used) })
	v := page.Manage{Form: s.form(r, nil), User: shownName(now.User)}
	if r.URL.Query().Get("done") == "ended" {
		v.Done = "The access was ended."
	}
	for _, one := range held {
		v.Apps = append(v.Apps, s.shownApp(r.Context(), now, &one))
	}
	return s.draw(w, http.StatusOK, v)
}

// shownApp says what a grant is. A name that cannot be had is no reason to hide
// the grant from the one who may want to end it.
func (s *Server) shownApp(ctx context.Context, now *account.Session, g *token.Held) page.App {
	const day = "2 January 2006, 15:04 MST"
	out := page.App{Grant: g.ID, Name: g.Client, Since: g.Created.Format(day), Used: g.Used.Format(day), Until: g.Until.Format(day), Offline: g.Offline}
	if c, err := s.Clients.Get(ctx, g.Client); err == nil {
		out.Name = c.Name
	}
	if g.Patient != "" {
		out.Patient = "Patient/" + g.Patient
		if caller, err := s.Caller(ctx, now.User); err == nil {
			if one, err := s.Directory.Patient(ctx, caller, g.Patient); err == nil {
				out.Patient = one.Name
			}
		}
	}
	given, _ := s.Scopes.Parse(g.Scope)
	for _, one := range given {
		if !bare(one) {
			out.May = append(out.May, page.Say(one))
		}
	}
	return out
}

// endAccess ends what a user allowed, with all its tokens.
func (s *Server) endAccess(w http.ResponseWriter, r *http.Request) error {
	sent, _, err := s.posted(w, r)
	if err != nil {
		return err
	}
	now, err := s.session(r)
	if err != nil {
		return err
	}
	if now == nil || sent.Get("do") != "end" {
		return expired()
	}
	held, err := s.Tokens.Grants(r.Context(), now.User.Name)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(held, func(g token.Held) bool { return g.ID == strings.TrimSpace(sent.Get("grant")) })
	if i >= 0 {
		if err := s.Tokens.RevokeGrant(r.Context(), now.User.Name, held[i].ID); err != nil {
			return err
		}
		if err := s.tell(r, Event{What: Ended, User: now.User.Name, Client: held[i].Client, Patient: held[i].Patient}); err != nil {
			return err
		}
	}
	s.see(w, s.path+"/manage?done=ended")
	return nil
}
