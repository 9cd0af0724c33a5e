package authorize

import (
	"errors"
	"net/http"
	"strings"

	"candela/smart/client"
	"candela/smart/token"
	"candela/store"
)

const maxMetadata = 256 << 10 // octets; what may be registered is less

// register makes a client of what an app says of itself (RFC 7591), for who has
// an initial access token.
func (s *Server) register(w http.ResponseWriter, r *http.Request) error {
	bearer, metadata, err := s.registration(w, r)
	if err != nil {
		return err
	}
	made, err := s.Clients.Register(r.Context(), metadata, bearer)
	if err != nil {
		return err
	}
	if err := s.tell(r, Event{What: Registered, Client: made.Client.ID}); err != nil {
		return err
	}
	return s.tellClient(w, http.StatusCreated, &made)
}

// registration reads what each request for a registration has.
func (s *Server) registration(w http.ResponseWriter, r *http.Request) (bearer string, metadata []byte, err error) {
	if bearer, err = token.Bearer(r.Header); err != nil {
		return "", nil, err
	}
	if r.Method != http.MethodPost && r.Method != http.MethodPut {
		return bearer, nil, nil
	}
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if !strings.EqualFold(strings.TrimSpace(media), "application/json") {
		return "", nil, &Error{Code: "invalid_client_metadata", Description: "the body has to be application/json", Status: http.StatusBadRequest}
	}
	metadata, err = body(w, r, maxMetadata)
	return bearer, metadata, err
}

// registered reads, replaces or removes a client at its own wish (RFC 7592).
func (s *Server) registered(w http.ResponseWriter, r *http.Request) error {
	bearer, metadata, err := s.registration(w, r)
	if err != nil {
		return err
	}
	id := strings.TrimPrefix(r.URL.EscapedPath(), s.path+"/register/")
	var found client.Registration
	switch r.Method {
	case http.MethodDelete:
		return s.removed(w, r, id, bearer)
	case http.MethodPut:
		found, err = s.Clients.Update(r.Context(), id, bearer, metadata)
	default:
		found, err = s.Clients.Read(r.Context(), id, bearer)
	}
	if errors.Is(err, store.ErrConflict) {
		return &Error{Code: "invalid_client_metadata", Description: "another request changed the client at the same time", Status: http.StatusConflict}
	}
	if err != nil {
		return err
	}
	if r.Method == http.MethodPut {
		if err := s.tell(r, Event{What: Registered, Client: id}); err != nil {
			return err
		}
	}
	return s.tellClient(w, http.StatusOK, &found)
}

// removed removes a client, then its tokens: none can be made in between.
func (s *Server) removed(w http.ResponseWriter, r *http.Request, id, bearer string) error {
	if err := s.Clients.Remove(r.Context(), id, bearer); err != nil {
		return err
	}
	if err := s.Tokens.RevokeClient(r.Context(), id); err != nil {
		return err
	}
	if err := s.tell(r, Event{What: Ended, Client: id}); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) tellClient(w http.ResponseWriter, status int, g *client.Registration) error {
	body, err := g.Answer(s.root + "/register/" + g.Client.ID)
	if err != nil {
		return err
	}
	return send(w, status, "application/json", body)
}
