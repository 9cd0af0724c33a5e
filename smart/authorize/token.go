package authorize

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"candela/smart/client"
	"candela/smart/token"
)

// token gives tokens for a code, a refresh token or a service's own name
// (RFC 6749 §3.2).
func (s *Server) token(w http.ResponseWriter, r *http.Request) error {
	s.cors(w, r, nil)
	sent, err := form(w, r)
	if err != nil {
		return err
	}
	grant := sent.Get("grant_type")
	if grant == "" {
		return invalidRequest("grant_type is missing")
	}
	if !slices.Contains([]string{client.GrantCode, client.GrantRefresh, client.GrantBackend}, grant) {
		return &Error{Code: "unsupported_grant_type", Description: "the grant_type is not supported", Status: http.StatusBadRequest}
	}
	if err := s.named(r, grant, sent); err != nil {
		return s.refusedToken(r, "", err)
	}
	c, err := s.caller(w, r, sent)
	if err != nil {
		return s.refusedToken(r, sent.Get("client_id"), err)
	}
	answer, err := s.give(r.Context(), c, grant, sent)
	if err != nil {
		return s.refusedToken(r, c.ID, err)
	}
	g := &answer.Grant
	if err := s.tell(r, Event{What: TokenGiven, User: g.User, Client: c.ID, Patient: g.Patient, Token: answer.JTI, Scope: answer.Scope}); err != nil {
		return err
	}
	body, err := answer.JSON()
	if err != nil {
		return err
	}
	return send(w, http.StatusOK, "application/json", body)
}

// named names the client of a refresh that says nothing of one, as public apps may
// (RFC 6749 §6; fhirclient does): the one that holds the token. Of a client that
// proves who it is, Authenticate asks that still.
func (s *Server) named(r *http.Request, grant string, sent url.Values) error {
	silent := grant == client.GrantRefresh && sent.Get("refresh_token") != "" && len(r.Header.Values("Authorization")) == 0
	for _, name := range []string{"client_id", "client_secret", "client_assertion", "client_assertion_type"} {
		silent = silent && sent.Get(name) == ""
	}
	if !silent {
		return nil
	}
	id, err := s.Tokens.Holder(r.Context(), sent.Get("refresh_token"))
	if err == nil {
		sent.Set("client_id", id)
	}
	return err
}

// refusedToken tells of what the caller did wrong, and gives it back. A client id
// that is none is left out: it can be anything.
func (s *Server) refusedToken(r *http.Request, id string, err error) error {
	e, ok := fault(err)
	if !ok {
		return err
	}
	if c, err := s.Clients.Get(r.Context(), id); err != nil || c.ID != id {
		id = ""
	}
	if err := s.tell(r, Event{What: TokenRefused, Client: id, Reason: e.Code}); err != nil {
		return err
	}
	return err
}

// caller is the client that sent a request. Pages of its origins may read the
// answer, those of others not any more.
func (s *Server) caller(w http.ResponseWriter, r *http.Request, sent url.Values) (client.Client, error) {
	c, err := s.Clients.Authenticate(r.Context(), client.Credentials{Authorization: r.Header.Values("Authorization"), Form: sent})
	if err != nil {
		return client.Client{}, err
	}
	s.cors(w, r, &c)
	return c, nil
}

func (s *Server) give(ctx context.Context, c client.Client, grant string, sent url.Values) (token.Answer, error) {
	if !c.Has(grant) {
		return token.Answer{}, &Error{Code: "unauthorized_client", Description: "the client is not registered for this grant type", Status: http.StatusBadRequest}
	}
	who := token.Client{ID: c.ID, Public: c.Kind == client.Public}
	aud := sent.Get("resource")
	if aud == "" {
		aud = sent.Get("aud")
	}
	switch grant {
	case client.GrantCode:
		if sent.Get("code") == "" || sent.Get("redirect_uri") == "" {
			return token.Answer{}, invalidRequest("code or redirect_uri is missing")
		}
		return s.Tokens.Redeem(ctx, token.Exchange{Client: who, Code: sent.Get("code"), Redirect: sent.Get("redirect_uri"),
			Verifier: sent.Get("code_verifier"), Aud: aud})
	case client.GrantRefresh:
		if sent.Get("refresh_token") == "" {
			return token.Answer{}, invalidRequest("refresh_token is missing")
		}
		return s.Tokens.Refresh(ctx, token.Renewal{Client: who, Token: sent.Get("refresh_token"), Scope: sent.Get("scope"), Aud: aud})
	}
	if aud != "" && strings.TrimSuffix(aud, "/") != s.Base {
		return token.Answer{}, &Error{Code: "invalid_target", Description: "resource is another server", Status: http.StatusBadRequest}
	}
	granted, _, err := s.Clients.Grant(c, grant, sent.Get("scope"))
	if err != nil {
		return token.Answer{}, err
	}
	return s.Tokens.Backend(ctx, who, granted.String())
}

// introspect says what a token stands for, to those who may ask (RFC 7662): a
// client, or the bearer of a client's token, with the right to introspect.
func (s *Server) introspect(w http.ResponseWriter, r *http.Request) error {
	sent, err := form(w, r)
	if err != nil {
		return err
	}
	if err := s.mayIntrospect(r, sent); err != nil {
		return err
	}
	if sent.Get("token") == "" {
		return invalidRequest("token is missing")
	}
	found, err := s.Tokens.Introspect(r.Context(), sent.Get("token"))
	if err != nil {
		return err
	}
	body, err := found.JSON()
	if err != nil {
		return err
	}
	return send(w, http.StatusOK, "application/json", body)
}

func (s *Server) mayIntrospect(r *http.Request, sent url.Values) error {
	c, err := s.asker(r, sent)
	if err != nil {
		return err
	}
	if !c.Introspect || c.Disabled || c.Kind == client.Public && r.Header.Get("Authorization") == "" {
		return &Error{Code: "access_denied", Description: "this client may not introspect", Status: http.StatusForbidden}
	}
	return nil
}

func (s *Server) asker(r *http.Request, sent url.Values) (client.Client, error) {
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return s.Clients.Authenticate(r.Context(), client.Credentials{Authorization: r.Header.Values("Authorization"), Form: sent})
	}
	text, err := token.Bearer(r.Header)
	if err != nil {
		return client.Client{}, err
	}
	info, err := s.Tokens.Check(r.Context(), text)
	if err != nil {
		return client.Client{}, err
	}
	return s.Clients.Get(r.Context(), info.Grant.Client)
}

// revoke ends a token (RFC 7009).
func (s *Server) revoke(w http.ResponseWriter, r *http.Request) error {
	s.cors(w, r, nil)
	sent, err := form(w, r)
	if err != nil {
		return err
	}
	c, err := s.caller(w, r, sent)
	if err != nil {
		return err
	}
	if sent.Get("token") == "" {
		return invalidRequest("token is missing")
	}
	if err := s.Tokens.Revoke(r.Context(), sent.Get("token"), token.Client{ID: c.ID, Public: c.Kind == client.Public}); err != nil {
		return err
	}
	if err := s.tell(r, Event{What: Ended, Client: c.ID}); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// cors lets pages of registered origins read an answer: those of any client until
// it is known which asks (nil), then its own.
func (s *Server) cors(w http.ResponseWriter, r *http.Request, c *client.Client) {
	h := w.Header()
	if !slices.Contains(h.Values("Vary"), "Origin") {
		h.Add("Vary", "Origin")
	}
	h.Del("Access-Control-Allow-Origin")
	origin := r.Header.Get("Origin")
	if origin == "" {
		return
	}
	ok := c != nil && c.Origin(origin)
	if c == nil {
		var err error
		if ok, err = s.Clients.Origin(r.Context(), origin); err != nil {
			return // the request meets the same trouble and says so
		}
	}
	if ok {
		h.Set("Access-Control-Allow-Origin", origin)
	}
}

// preflight answers what browsers ask before a request of a page elsewhere.
func (s *Server) preflight(w http.ResponseWriter, r *http.Request, one route) {
	h := w.Header()
	if one.kind == public {
		open(w)
	} else if _, posts := one.methods[http.MethodPost]; posts && one.limited == "token" {
		s.cors(w, r, nil)
	}
	if h.Get("Access-Control-Allow-Origin") != "" {
		h.Set("Access-Control-Allow-Methods", strings.Join(methodsOf(one), ", "))
		h.Set("Access-Control-Allow-Headers", "Accept, Authorization, Content-Type")
		h.Set("Access-Control-Max-Age", "600")
	}
	w.WriteHeader(http.StatusNoContent)
}
