package authorize

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"

	"candela/fhir"
	"candela/smart/account"
	"candela/smart/authorize/page"
	"candela/smart/client"
	"candela/smart/scope"
	"candela/smart/token"
)

// handler answers a request or says why not.
type handler func(http.ResponseWriter, *http.Request) error

// kind is for whom an endpoint is, which decides how it says no.
type kind int

const (
	public kind = iota // documents that everybody may read, from any origin
	shown              // pages for people
	called             // endpoints for clients
)

// route is what is served at one path.
type route struct {
	kind    kind
	limited string // the kind of Allow; "": not limited
	methods map[string]handler
}

// table is every path that is served. What is not in it is not there.
func (s *Server) table(base *url.URL) map[string]route {
	get := func(h handler) map[string]handler { return map[string]handler{http.MethodGet: h} }
	post := func(h handler) map[string]handler { return map[string]handler{http.MethodPost: h} }
	both := func(g, p handler) map[string]handler {
		return map[string]handler{http.MethodGet: g, http.MethodPost: p}
	}
	t := map[string]route{
		"/jwks":       {public, "", get(s.jwks)},
		"/authorize":  {shown, "authorize", both(s.authorize, s.authorize)},
		"/continue":   {shown, "", get(s.proceed)},
		"/cancel":     {shown, "", get(s.cancel)},
		"/login":      {shown, "login", post(s.login)},
		"/factor":     {shown, "login", post(s.secondFactor)},
		"/enrol":      {shown, "login", post(s.enrol)},
		"/password":   {shown, "login", both(s.invited, s.setPassword)},
		"/patient":    {shown, "", post(s.pickPatient)},
		"/encounter":  {shown, "", post(s.pickEncounter)},
		"/consent":    {shown, "", post(s.consent)},
		"/manage":     {shown, "", both(s.manage, s.endAccess)},
		"/signout":    {shown, "", post(s.signOut)},
		"/launch":     {called, "launch", post(s.launch)},
		"/token":      {called, "token", post(s.token)},
		"/introspect": {called, "token", post(s.introspect)},
		"/revoke":     {called, "token", post(s.revoke)},
	}
	style, css := s.pages.Stylesheet()
	t[strings.TrimPrefix(style, s.path)] = route{public, "", get(fixed("text/css; charset=utf-8", css))}
	t[strings.TrimPrefix(s.styled, s.root)] = route{public, "", get(fixed("application/json", s.Style))}
	if s.Provider != nil {
		t["/provider"] = route{shown, "login", get(s.toProvider)}
		t["/callback"] = route{shown, "login", get(s.fromProvider)}
	}
	if s.Config.Launcher {
		t["/launcher"] = route{shown, "", get(s.launcher)}
	}
	if s.Config.Brands != nil {
		t["/brands"] = route{public, "", get(s.brands)}
	}
	if s.Config.Register {
		t["/register"] = route{called, "register", post(s.register)}
	}
	out := make(map[string]route, len(t)+5)
	for path, one := range t {
		out[s.path+path] = one
	}
	root, known := base.EscapedPath(), "/.well-known/"
	for _, path := range []string{root + known + "smart-configuration", root + known + "openid-configuration",
		root + known + "oauth-authorization-server", known + "oauth-authorization-server" + root, known + "openid-configuration" + root} {
		out[path] = route{public, "", get(s.discovery)}
	}
	return out
}

// Serves says whether a path (as it was sent, escaped) is one of ours.
func (s *Server) Serves(path string) bool {
	_, ok := s.routes[path]
	return ok || path == s.path || strings.HasPrefix(path, s.path+"/")
}

// find is the route of a path; that of a registered client ends in its id.
func (s *Server) find(path string) (route, bool) {
	if one, ok := s.routes[path]; ok {
		return one, true
	}
	if id, ok := strings.CutPrefix(path, s.path+"/register/"); ok && s.Config.Register && id != "" && !strings.Contains(id, "/") {
		return route{called, "register", map[string]handler{http.MethodGet: s.registered, http.MethodPut: s.registered, http.MethodDelete: s.registered}}, true
	}
	return route{}, false
}

// ServeHTTP answers at the paths that Serves names.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	if s.secure {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
	one, ok := s.find(r.URL.EscapedPath())
	if !ok {
		s.refuse(w, r, shown, &Error{Code: "not_found", Description: "There is no such page.", Status: http.StatusNotFound})
		return
	}
	if r.Method == http.MethodOptions && one.kind != shown {
		s.preflight(w, r, one)
		return
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet // net/http sends no body then
	}
	do, ok := one.methods[method]
	if !ok {
		h.Set("Allow", strings.Join(methodsOf(one), ", "))
		s.refuse(w, r, one.kind, &Error{Code: "invalid_request", Description: "The method is not allowed here.", Status: http.StatusMethodNotAllowed})
		return
	}
	if err := s.allowed(w, r, one, method); err != nil {
		s.refuse(w, r, one.kind, err)
		return
	}
	if err := do(w, r); err != nil {
		s.refuse(w, r, one.kind, err)
	}
}

func methodsOf(one route) []string {
	var out []string
	for method := range one.methods {
		out = append(out, method)
	}
	slices.Sort(out)
	return out
}

func (s *Server) allowed(w http.ResponseWriter, r *http.Request, one route, method string) error {
	if one.limited == "" || s.Allow == nil || one.limited == "login" && method == http.MethodGet {
		return nil
	}
	after, ok := s.Allow(one.limited, r)
	if ok {
		return nil
	}
	w.Header().Set("Retry-After", strconv.Itoa(int(after.Seconds())+1))
	return &Error{Code: "slow_down", Description: "Too many requests. Try again in a while.", Status: http.StatusTooManyRequests}
}

// Error is an OAuth error: code and status of RFC 6749 §5.2. Its description
// holds nothing that was sent.
type Error struct {
	Code, Description string
	Status            int
}

func (e *Error) Error() string { return e.Code + ": " + e.Description }

func invalidRequest(description string) *Error {
	return &Error{Code: "invalid_request", Description: description, Status: http.StatusBadRequest}
}

// fault is what the caller did wrong; ok is false for trouble of the moment.
func fault(err error) (e *Error, ok bool) {
	var ofClient *client.Error
	var ofToken *token.Error
	var ofScope *scope.Error
	var ofAccount *account.Error
	var ofFHIR *fhir.Error
	switch {
	case errors.As(err, &e):
		return e, true
	case errors.As(err, &ofClient):
		return &Error{ofClient.Code, ofClient.Description, ofClient.Status}, true
	case errors.As(err, &ofToken):
		return &Error{ofToken.Code, ofToken.Description, ofToken.Status}, true
	case errors.As(err, &ofScope):
		return &Error{ofScope.Code, ofScope.Description, ofScope.Status}, true
	case errors.As(err, &ofAccount) && ofAccount.Status < http.StatusInternalServerError:
		return &Error{ofAccount.Code, ofAccount.Description, ofAccount.Status}, true
	case errors.As(err, &ofFHIR) && ofFHIR.Status < http.StatusInternalServerError:
		return &Error{"access_denied", "this is not for you", http.StatusForbidden}, true
	}
	return nil, false
}

// refuse says no: as JSON to clients, as a page to people. Trouble of the moment
// is a 503, so that no client takes its grant for dead.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, k kind, err error) {
	e, ok := fault(err)
	if !ok {
		if !errors.Is(err, context.Canceled) {
			s.Log.Error("authorization is not possible for the moment", slog.String("path", r.URL.Path), slog.Any("error", err))
		}
		w.Header().Set("Retry-After", "2")
		e = &Error{Code: "temporarily_unavailable", Description: "This does not work for the moment. Try again in a while.", Status: http.StatusServiceUnavailable}
	}
	if k == shown {
		s.say(w, e)
		return
	}
	if e.Status == http.StatusUnauthorized {
		scheme := "Basic"
		if e.Code != "invalid_client" {
			scheme = "Bearer"
		}
		challenge := scheme + ` realm="smart"`
		if scheme == "Bearer" && e.Code != "" {
			challenge += `, error="` + e.Code + `"`
		}
		w.Header().Set("WWW-Authenticate", challenge)
	}
	body, err := json.Marshal(struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{e.Code, e.Description})
	if err == nil {
		err = send(w, e.Status, "application/json", body)
	}
	s.lost(err)
}

// say draws an error as a page.
func (s *Server) say(w http.ResponseWriter, e *Error) {
	title := "This does not work"
	if e.Status == http.StatusServiceUnavailable || e.Status == http.StatusTooManyRequests {
		title = "Not now"
	}
	s.lost(s.draw(w, e.Status, page.Message{Title: title, Text: sentence(e.Description)}))
}

// sentence begins with a capital and ends with a full stop.
func sentence(text string) string {
	if text == "" {
		return text
	}
	return strings.ToUpper(text[:1]) + strings.TrimSuffix(text[1:], ".") + "."
}

// lost notes that an answer could not be written.
func (s *Server) lost(err error) {
	if err != nil {
		s.Log.Debug("an answer could not be written", slog.Any("error", err))
	}
}

// draw sends a page. Nothing in it may run, be framed by strangers or be kept.
func (s *Server) draw(w http.ResponseWriter, status int, v page.View) error {
	html, err := s.pages.Draw(v)
	if err != nil {
		return err
	}
	frames := "'none'"
	if len(s.Frames) > 0 {
		frames = strings.Join(s.Frames, " ")
	} else {
		w.Header().Set("X-Frame-Options", "DENY")
	}
	policy := "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors " + frames
	switch v.(type) {
	case page.Consent, page.Launcher:
		// Their answers lead on to the app, which may lead on itself; browsers hold
		// form-action against every hop of that.
	default:
		policy += "; form-action 'self'"
	}
	w.Header().Set("Content-Security-Policy", policy)
	return send(w, status, "text/html; charset=utf-8", html)
}

func send(w http.ResponseWriter, status int, media string, body []byte) error {
	w.Header().Set("Content-Type", media)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, err := w.Write(body)
	return err
}

const (
	maxQuery = 64 << 10  // octets of a query
	maxForm  = 128 << 10 // octets of a form
)

// form reads the body of a form; the query is never mixed in. A parameter that is
// there twice is refused, but for those named.
func form(w http.ResponseWriter, r *http.Request, many ...string) (url.Values, error) {
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if !strings.EqualFold(strings.TrimSpace(media), "application/x-www-form-urlencoded") {
		return nil, invalidRequest("the body has to be application/x-www-form-urlencoded")
	}
	body, err := body(w, r, maxForm)
	if err != nil {
		return nil, err
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, invalidRequest("the form cannot be read")
	}
	for name, all := range values {
		if len(all) > 1 && !slices.Contains(many, name) {
			return nil, invalidRequest("a parameter is there more than once")
		}
	}
	return values, nil
}
