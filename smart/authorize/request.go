package authorize

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"candela/smart/client"
	"candela/smart/scope"
	"candela/store"
)

// request is what an app asks for at the authorization endpoint, checked.
type request struct {
	Client    string `json:"client"`
	Redirect  string `json:"redirect"`
	State     string `json:"state"`
	Scope     string `json:"scope"` // what may be granted at most
	Challenge string `json:"challenge"`
	Nonce     string `json:"nonce,omitzero"`
	Silent    bool   `json:"-"`               // prompt=none
	Fresh     bool   `json:"fresh,omitzero"`  // the user has to sign in for it
	MaxAge    int64  `json:"maxAge,omitzero"` // seconds since the sign-in; 0: any
	handle    string // of the EHR's launch
}

// authorize begins the way to a code (RFC 6749 §4.1.1). Until the client and its
// redirect_uri are known to be right, what is wrong is told here and nowhere else.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) error {
	sent, err := s.sent(w, r)
	if err != nil {
		return err
	}
	c, err := s.sender(r.Context(), sent)
	if err != nil {
		return err
	}
	back := request{Client: c.ID, Redirect: sent.Get("redirect_uri")}
	if states := sent["state"]; len(states) == 1 {
		back.State = states[0]
	}
	req, err := s.check(c, sent)
	var l *launch
	if err == nil && req.handle != "" {
		l, err = s.take(r, &req)
	}
	if err == nil && req.Silent {
		err = s.silent(r, &req)
	}
	if err == nil {
		return s.begin(w, r, ask{Request: req, Launch: l})
	}
	e, ok := fault(err)
	if !ok {
		return err
	}
	return s.sendBack(w, r, &back, e)
}

// sent are the parameters: of the query, or of the body and it alone.
func (s *Server) sent(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	raw := r.URL.RawQuery
	if r.Method == http.MethodPost {
		media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
		if !strings.EqualFold(strings.TrimSpace(media), "application/x-www-form-urlencoded") {
			return nil, invalidRequest("the request is no form")
		}
		posted, err := body(w, r, maxForm)
		if err != nil {
			return nil, err
		}
		raw = string(posted)
	} else if len(raw) > maxQuery {
		return nil, invalidRequest("the request is too long")
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, invalidRequest("the request cannot be read")
	}
	return values, nil
}

// sender is the client that asks, if it may be answered where it says.
func (s *Server) sender(ctx context.Context, sent url.Values) (client.Client, error) {
	unknown := invalidRequest("the app that sent you here is not registered, or may not ask for access")
	if len(sent["client_id"]) != 1 {
		return client.Client{}, unknown
	}
	c, err := s.Clients.Get(ctx, sent.Get("client_id"))
	if errors.Is(err, store.ErrNotFound) {
		return client.Client{}, unknown
	}
	if err != nil {
		return client.Client{}, err
	}
	if c.Disabled || !c.Has(client.GrantCode) {
		return client.Client{}, unknown
	}
	if len(sent["redirect_uri"]) != 1 || !c.Redirect(sent.Get("redirect_uri")) {
		return client.Client{}, invalidRequest("the app that sent you here wants you back at an address that is not registered for it")
	}
	return c, nil
}

// check judges all other parameters; what is wrong is told to the app.
func (s *Server) check(c client.Client, sent url.Values) (request, error) {
	for name, all := range sent {
		if len(all) > 1 {
			return request{}, invalidRequest(named(name) + " is there more than once")
		}
	}
	for _, name := range []string{"response_type", "scope", "state", "code_challenge", "code_challenge_method"} {
		if sent.Get(name) == "" {
			return request{}, invalidRequest(name + " is missing")
		}
	}
	if err := modes(sent); err != nil {
		return request{}, err
	}
	if err := s.audience(sent); err != nil {
		return request{}, err
	}
	req := request{Client: c.ID, Redirect: sent.Get("redirect_uri"), State: sent.Get("state"), Nonce: sent.Get("nonce"),
		Challenge: sent.Get("code_challenge"), handle: sent.Get("launch")}
	if err := prompts(&req, sent); err != nil {
		return request{}, err
	}
	granted, _, err := s.Clients.Grant(c, client.GrantCode, sent.Get("scope"))
	if err != nil {
		return request{}, err
	}
	if !c.Has(client.GrantRefresh) {
		granted = slices.DeleteFunc(granted, func(one scope.Scope) bool {
			return one.Text == "offline_access" || one.Text == "online_access"
		})
	}
	req.Scope = granted.String()
	switch {
	case req.Scope == "":
		return request{}, &Error{Code: "invalid_scope", Description: "no scope that can be granted was asked for", Status: 400}
	case granted.Has("launch") != (req.handle != ""):
		return request{}, invalidRequest("the scope launch and the parameter launch go together")
	}
	return req, nil
}

// named keeps what was sent out of descriptions, but for the names that we know.
func named(name string) string {
	for _, known := range []string{"response_type", "scope", "state", "aud", "resource", "code_challenge", "code_challenge_method", "launch",
		"nonce", "prompt", "max_age", "response_mode"} {
		if name == known {
			return name
		}
	}
	return "a parameter"
}

// modes refuses forms of request and answer other than the one there is.
func modes(sent url.Values) error {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(sent.Get("code_challenge"))
	mode := sent.Get("response_mode")
	switch {
	case sent.Has("request"):
		return &Error{Code: "request_not_supported", Description: "request objects are not supported", Status: 400}
	case sent.Has("request_uri"):
		return &Error{Code: "request_uri_not_supported", Description: "request objects are not supported", Status: 400}
	case sent.Get("response_type") != "code":
		return &Error{Code: "unsupported_response_type", Description: "the only response_type is code", Status: 400}
	case mode != "" && mode != "query":
		return invalidRequest("the only response_mode is query")
	case sent.Get("code_challenge_method") != "S256":
		return invalidRequest("the only code_challenge_method is S256")
	case err != nil || len(raw) != 32 || len(sent.Get("code_challenge")) != 43:
		return invalidRequest("code_challenge is not that of S256")
	case len(sent.Get("nonce")) > 1024:
		return invalidRequest("nonce is too long")
	}
	return nil
}

// audience holds that the app means this server: it is the last defence of a user
// whom another server sent here for a token of ours.
func (s *Server) audience(sent url.Values) error {
	aud, resource := sent.Get("aud"), sent.Get("resource")
	switch {
	case aud == "" && resource == "":
		return invalidRequest("aud is missing")
	case aud != "" && strings.TrimSuffix(aud, "/") != s.Base:
		return invalidRequest("aud is another server")
	case resource != "" && strings.TrimSuffix(resource, "/") != s.Base:
		return &Error{Code: "invalid_target", Description: "resource is another server", Status: 400}
	}
	return nil
}

// prompts reads prompt and max_age (OpenID Connect Core §3.1.2.1).
func prompts(req *request, sent url.Values) error {
	words := strings.Fields(sent.Get("prompt"))
	for _, word := range words {
		switch word {
		case "none":
			req.Silent = true
		case "login", "select_account":
			req.Fresh = true
		case "consent": // which is asked for always
		default:
			return invalidRequest("prompt has a value that is not known")
		}
	}
	if req.Silent && len(words) > 1 {
		return invalidRequest("prompt=none stands alone")
	}
	if text := sent.Get("max_age"); text != "" {
		age, err := strconv.ParseInt(text, 10, 32)
		if err != nil || age < 0 {
			return invalidRequest("max_age is no number of seconds")
		}
		req.MaxAge, req.Fresh = age, req.Fresh || age == 0
	}
	return nil
}

// silent answers prompt=none: consent is given on a page, so there is no code
// without one.
func (s *Server) silent(r *http.Request, req *request) error {
	now, err := s.session(r)
	if err != nil {
		return err
	}
	if now == nil || !s.recent(req, now.AuthTime, s.Now()) {
		return &Error{Code: "login_required", Description: "the user has to sign in", Status: 400}
	}
	return &Error{Code: "consent_required", Description: "the user has to agree", Status: 400}
}

// recent says whether a sign-in is young enough; begun is when the request came.
func (s *Server) recent(req *request, signedIn, begun time.Time) bool {
	if req.Fresh && signedIn.Before(begun) {
		return false
	}
	return req.MaxAge == 0 || s.Now().Sub(signedIn) <= time.Duration(req.MaxAge)*time.Second
}

// sendBack tells the app that there is no code (RFC 6749 §4.1.2.1).
func (s *Server) sendBack(w http.ResponseWriter, r *http.Request, req *request, e *Error) error {
	code := e.Code
	if e.Status >= http.StatusInternalServerError {
		code = "temporarily_unavailable"
	}
	if err := s.tell(r, Event{What: Denied, Client: req.Client, Reason: code}); err != nil {
		return err
	}
	s.redirect(w, req, url.Values{"error": {code}, "error_description": {e.Description}})
	return nil
}

// redirect sends the browser to the app, with the state exactly as it came and
// who we are (RFC 9207). 303 turns every method into GET, so that a form that was
// posted here, with a password, is never posted on.
func (s *Server) redirect(w http.ResponseWriter, req *request, with url.Values) {
	if req.State != "" {
		with.Set("state", req.State)
	}
	with.Set("iss", s.Base)
	join := "?"
	if strings.Contains(req.Redirect, "?") {
		join = "&"
	}
	w.Header().Set("Location", req.Redirect+join+with.Encode())
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(http.StatusSeeOther)
}
