package authorize

import (
	"context"
	"crypto/hmac"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"candela/smart/account"
	"candela/smart/authorize/page"
)

// sessionLife is how long a browser keeps the cookie; the session ends before.
const sessionLife = 12 * time.Hour

// idle is after how long a page that was left open draws itself anew, which shows
// the sign-in instead of it once the session is over.
const idle = 15*time.Minute + 5*time.Second

// proceed shows the step that a request waits for.
func (s *Server) proceed(w http.ResponseWriter, r *http.Request) error {
	a, err := s.ask(r, r.URL.Query().Get("ask"))
	if err != nil {
		return err
	}
	now, err := s.half(r)
	if err != nil {
		return err
	}
	if now != nil && !now.Complete() {
		return s.askFactor(w, r, a, now, "")
	}
	if why, ok := s.fits(a, now); !ok {
		return s.askLogin(w, r, http.StatusOK, a, page.Login{Problem: why})
	}
	if a.Page != "" {
		if err := s.end(w, r, a); err != nil {
			return err
		}
		s.see(w, a.Page)
		return nil
	}
	w.Header().Set("Refresh", strconv.Itoa(int(idle.Seconds())))
	return s.choose(w, r, a, now)
}

// fits says whether a session will do for a request, and if not what to tell.
func (s *Server) fits(a *ask, now *account.Session) (why string, ok bool) {
	switch {
	case now == nil:
		return "", false
	case !s.recent(&a.Request, now.AuthTime, a.Created):
		return "", false
	case a.Launch != nil && a.Launch.User != now.User.Name:
		return "The app was launched for another user. Sign in as the one who launched it.", false
	}
	return "", true
}

// form is what the forms of a request's pages carry.
func (s *Server) form(r *http.Request, a *ask) page.Form {
	f := page.Form{Token: s.formToken(r, a)}
	if a != nil {
		f.Ask = a.ID
	}
	if a != nil && a.Page == "" {
		f.Cancel = s.path + "/cancel?" + url.Values{"ask": {a.ID}, "token": {f.Token}}.Encode()
	}
	return f
}

// askLogin draws the sign-in.
func (s *Server) askLogin(w http.ResponseWriter, r *http.Request, status int, a *ask, v page.Login) error {
	v.Form = s.form(r, a)
	if a.Page == "" {
		c, err := s.Clients.Get(r.Context(), a.Request.Client)
		if err != nil {
			return err
		}
		v.App = c.Name
	}
	if s.Provider != nil {
		v.Provider = s.ProviderLabel
		v.Through = s.path + "/provider?" + url.Values{"ask": {a.ID}, "token": {v.Token}}.Encode()
	}
	return s.draw(w, status, v)
}

// login judges a name and a password.
func (s *Server) login(w http.ResponseWriter, r *http.Request) error {
	sent, a, err := s.posted(w, r)
	if err != nil {
		return err
	}
	if a == nil {
		return expired()
	}
	signed, err := s.Accounts.SignIn(r.Context(), account.Login{Name: sent.Get("user"), Password: sent.Get("password"), Address: s.Address(r)})
	var wrong *account.Error
	if errors.As(err, &wrong) {
		return s.askLogin(w, r, again(w, wrong), a, page.Login{User: sent.Get("user"), Problem: sentence(wrong.Description)})
	}
	if err != nil {
		return err
	}
	return s.enter(w, r, a, signed)
}

// again is the status of a page that asks once more.
func again(w http.ResponseWriter, wrong *account.Error) int {
	if wrong.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(wrong.RetryAfter.Seconds())+1))
	}
	if wrong.Status == http.StatusUnauthorized { // which is for challenges of HTTP itself
		return http.StatusForbidden
	}
	return wrong.Status
}

// enter begins the session of who signed in. That of another user in the same
// browser ends, and with it what was granted for as long as it lasts.
func (s *Server) enter(w http.ResponseWriter, r *http.Request, a *ask, signed account.Signed) error {
	before, err := s.session(r)
	if err != nil {
		return err
	}
	if before != nil && before.User.Name != signed.User.Name {
		if err := s.leave(r.Context(), before, s.cookie(r, "session")); err != nil {
			return err
		}
	}
	cookie, _, err := s.Accounts.Start(r.Context(), signed, s.Address(r))
	if err != nil {
		return err
	}
	s.setCookie(w, "session", cookie, sessionLife)
	s.see(w, s.step(a))
	return nil
}

func (s *Server) leave(ctx context.Context, now *account.Session, cookie string) error {
	if err := s.Tokens.RevokeSession(ctx, now.User.Name, now.ID); err != nil {
		return err
	}
	return s.Accounts.End(ctx, cookie)
}

// askFactor draws what a half session lacks: a code of the second factor, or the
// beginning of one.
func (s *Server) askFactor(w http.ResponseWriter, r *http.Request, a *ask, half *account.Session, problem string) error {
	status := http.StatusOK
	if problem != "" {
		status = http.StatusForbidden
	}
	if half.Needs == account.Code {
		return s.draw(w, status, page.Factor{Form: s.form(r, a), User: shownName(half.User), Problem: problem})
	}
	enrolment, err := s.Accounts.Enrol(r.Context(), half.User.Name)
	if err != nil {
		return err
	}
	return s.draw(w, status, page.Enrol{Form: s.form(r, a), User: shownName(half.User), Secret: groups(enrolment.Secret), Problem: problem})
}

// groups writes a secret so that it can be typed.
func groups(secret string) string {
	var out []byte
	for i := range len(secret) {
		if i > 0 && i%4 == 0 {
			out = append(out, ' ')
		}
		out = append(out, secret[i])
	}
	return string(out)
}

func shownName(u account.User) string {
	if u.Display != "" {
		return u.Display
	}
	return u.Name
}

// secondFactor judges a code.
func (s *Server) secondFactor(w http.ResponseWriter, r *http.Request) error {
	sent, a, half, err := s.postedHalf(w, r)
	if err != nil {
		return err
	}
	cookie, _, err := s.Accounts.SecondFactor(r.Context(), s.cookie(r, "session"), sent.Get("code"), s.Address(r))
	if wrong, ok := wrongCode(err); ok {
		again(w, wrong)
		return s.askFactor(w, r, a, half, sentence(wrong.Description))
	}
	if err != nil {
		return err
	}
	s.setCookie(w, "session", cookie, sessionLife)
	s.see(w, s.step(a))
	return nil
}

func wrongCode(err error) (*account.Error, bool) {
	var wrong *account.Error
	if !errors.As(err, &wrong) || wrong.Code == account.LoginRequired {
		return nil, false
	}
	return wrong, true
}

// postedHalf is posted for a session that lacks something.
func (s *Server) postedHalf(w http.ResponseWriter, r *http.Request) (url.Values, *ask, *account.Session, error) {
	sent, a, err := s.posted(w, r)
	if err != nil {
		return nil, nil, nil, err
	}
	half, err := s.half(r)
	if err != nil {
		return nil, nil, nil, err
	}
	if a == nil || half == nil || half.Complete() {
		return nil, nil, nil, expired()
	}
	return sent, a, half, nil
}

// enrol gives staff their second factor, and shows the recovery codes once.
func (s *Server) enrol(w http.ResponseWriter, r *http.Request) error {
	sent, a, half, err := s.postedHalf(w, r)
	if err != nil {
		return err
	}
	cookie, _, codes, err := s.Accounts.Enrolled(r.Context(), s.cookie(r, "session"), sent.Get("code"), s.Address(r))
	if wrong, ok := wrongCode(err); ok {
		again(w, wrong)
		return s.askFactor(w, r, a, half, sentence(wrong.Description)+" The key below is a new one: add it to your app in place of the last.")
	}
	if err != nil {
		return err
	}
	s.setCookie(w, "session", cookie, sessionLife)
	return s.draw(w, http.StatusOK, page.Recovery{Codes: codes, Next: s.step(a)})
}

// invited asks for the password that a link lets a user set.
func (s *Server) invited(w http.ResponseWriter, r *http.Request) error {
	return s.draw(w, http.StatusOK, page.Password{Link: r.URL.Query().Get("link")})
}

// setPassword sets it. The link proves who it is, so that no session is needed.
func (s *Server) setPassword(w http.ResponseWriter, r *http.Request) error {
	sent, err := form(w, r)
	if err != nil {
		return err
	}
	v := page.Password{Link: sent.Get("link")}
	if sent.Get("password") != sent.Get("again") {
		v.Problem = "The two passwords are not the same."
		return s.draw(w, http.StatusBadRequest, v)
	}
	err = s.Accounts.Redeem(r.Context(), v.Link, sent.Get("password"))
	var wrong *account.Error
	if errors.As(err, &wrong) {
		v.Problem = sentence(wrong.Description)
		return s.draw(w, again(w, wrong), v)
	}
	if err != nil {
		return err
	}
	return s.draw(w, http.StatusOK, page.Message{Title: "Your password is set", Text: "You can sign in with it now."})
}

// cancel ends a request at the wish of the user.
func (s *Server) cancel(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	a, err := s.ask(r, query.Get("ask"))
	if err != nil {
		return err
	}
	if !hmac.Equal([]byte(query.Get("token")), []byte(s.formToken(r, a))) {
		return foreign()
	}
	return s.deny(w, r, a, "the user ended it")
}

// deny ends a request and tells the app so.
func (s *Server) deny(w http.ResponseWriter, r *http.Request, a *ask, why string) error {
	if err := s.end(w, r, a); err != nil {
		return err
	}
	return s.sendBack(w, r, &a.Request, &Error{Code: "access_denied", Description: why, Status: http.StatusForbidden})
}

// signOut ends the session, and what was granted for as long as it lasts.
func (s *Server) signOut(w http.ResponseWriter, r *http.Request) error {
	if _, _, err := s.posted(w, r); err != nil {
		return err
	}
	now, err := s.session(r)
	if err != nil {
		return err
	}
	if now != nil {
		if err := s.leave(r.Context(), now, s.cookie(r, "session")); err != nil {
			return err
		}
	}
	s.setCookie(w, "session", "", 0)
	return s.draw(w, http.StatusOK, page.Message{Title: "You are signed out", Text: "You can close this window."})
}

// user is who signed in, for a page of our own; nobody is sent to sign in first.
func (s *Server) user(w http.ResponseWriter, r *http.Request) (*account.Session, error) {
	now, err := s.session(r)
	if err != nil {
		return nil, err
	}
	if now == nil {
		return nil, s.begin(w, r, ask{Page: r.URL.EscapedPath()})
	}
	w.Header().Set("Refresh", strconv.Itoa(int(idle.Seconds())))
	return now, nil
}

// toProvider sends staff to the provider that they sign in at.
func (s *Server) toProvider(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	a, err := s.ask(r, query.Get("ask"))
	if err != nil {
		return err
	}
	if !hmac.Equal([]byte(query.Get("token")), []byte(s.formToken(r, a))) {
		return foreign()
	}
	to, binding, err := s.Provider.Begin(r.Context(), a.ID)
	if err != nil {
		return err
	}
	s.setCookie(w, "provider", binding, askLife)
	s.see(w, to)
	return nil
}

// fromProvider takes the answer of the provider and goes on with the request.
func (s *Server) fromProvider(w http.ResponseWriter, r *http.Request) error {
	signed, back, err := s.Provider.Finish(r.Context(), r.URL.Query(), s.cookie(r, "provider"), s.Address(r))
	s.setCookie(w, "provider", "", 0)
	if err != nil {
		return err
	}
	a, err := s.ask(r, back)
	if err != nil {
		return err
	}
	return s.enter(w, r, a, signed)
}
