package authorize

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/go-json-experiment/json"

	"candela/smart/account"
	"candela/store"
)

// The buckets of the store.
const (
	bucketAsk    = "smart.ask"    // requests on their way to a code
	bucketLaunch = "smart.launch" // digests of launch handles
)

// askLife is how long a user may take from the request to the consent.
const askLife = 20 * time.Minute

// ask is a request on its way: what was asked for and chosen so far. It is bound
// to the browser that began it by a cookie and ends with its code.
type ask struct {
	ID      string  `json:"id"`
	Browser []byte  `json:"browser"`       // digest of the cookie
	Page    string  `json:"page,omitzero"` // where a sign-in for a page of our own leads; else ""
	Request request `json:"request"`
	Launch  *launch `json:"launch,omitzero"` // what the EHR set, nil when standalone
	// User chose what follows; another user has to choose again.
	User      string    `json:"user,omitzero"`
	Patient   string    `json:"patient,omitzero"`
	Encounter string    `json:"encounter,omitzero"`
	Without   bool      `json:"without,omitzero"` // no encounter was wanted
	Created   time.Time `json:"created"`

	read   []byte // the record this was read from
	cookie string // as the browser sent it
}

// random is a text of n random octets in base64url.
func random(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails: crypto/rand ends the process instead
	return base64.RawURLEncoding.EncodeToString(b)
}

// digest is the keyed digest of texts; use tells apart what it is for.
func (s *Server) digest(use string, texts ...string) []byte {
	mac := hmac.New(sha256.New, s.Secret)
	mac.Write([]byte("candela/smart/authorize/" + use))
	for _, text := range texts {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(text))))
		mac.Write([]byte(text))
	}
	return mac.Sum(nil)
}

// name is a cookie's name. Over https browsers hold it to this host and to us.
func (s *Server) name(of string) string {
	if s.secure {
		return "__Host-candela-" + of
	}
	return "candela-" + of
}

// setCookie gives the browser a cookie, or takes it away when value is "".
func (s *Server) setCookie(w http.ResponseWriter, of, value string, life time.Duration) {
	c := http.Cookie{Name: s.name(of), Value: value, Path: "/", HttpOnly: true, Secure: s.secure, SameSite: http.SameSiteLaxMode, MaxAge: int(life.Seconds())}
	if s.secure && len(s.Frames) > 0 { // a page in a frame of another site
		c.SameSite, c.Partitioned = http.SameSiteNoneMode, true
	}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, &c)
}

// cookie is what the browser sent; "" without it, and where it is there twice.
func (s *Server) cookie(r *http.Request, of string) string {
	if all := r.CookiesNamed(s.name(of)); len(all) == 1 {
		return all[0].Value
	}
	return ""
}

// begin stores a request and sends the browser to its first step.
func (s *Server) begin(w http.ResponseWriter, r *http.Request, a ask) error {
	a.ID, a.cookie, a.Created = random(16), random(32), s.Now().UTC()
	a.Browser = s.digest("browser", a.cookie)
	raw, err := json.Marshal(&a)
	if err == nil {
		err = s.KV.KVSwap(r.Context(), bucketAsk, a.ID, nil, raw, askLife)
	}
	if err != nil {
		return fmt.Errorf("smart/authorize: store a request: %w", err)
	}
	s.setCookie(w, "ask-"+a.ID, a.cookie, askLife)
	s.see(w, s.step(&a))
	return nil
}

// step is the URL path where a request goes on.
func (s *Server) step(a *ask) string { return s.path + "/continue?ask=" + url.QueryEscape(a.ID) }

// see sends the browser on to a page of ours.
func (s *Server) see(w http.ResponseWriter, path string) {
	w.Header().Set("Location", path)
	w.WriteHeader(http.StatusSeeOther)
}

func expired() *Error {
	return invalidRequest("this sign-in is over or was begun in another window. Go back to the app and begin again")
}

// ask is the request that an id names, if this browser began it.
func (s *Server) ask(r *http.Request, id string) (*ask, error) {
	if len(id) != 22 {
		return nil, expired()
	}
	raw, err := s.KV.KVGet(r.Context(), bucketAsk, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, expired()
	}
	a := &ask{read: raw, cookie: s.cookie(r, "ask-"+id)}
	if err == nil && json.Unmarshal(raw, a) != nil {
		err = store.ErrCorrupt
	}
	if err != nil {
		return nil, fmt.Errorf("smart/authorize: read a request: %w", err)
	}
	if a.ID != id || !s.Now().Before(a.Created.Add(askLife)) || !hmac.Equal(a.Browser, s.digest("browser", a.cookie)) {
		return nil, expired()
	}
	return a, nil
}

// keep stores what was chosen. A choice at the same moment in another window wins
// or loses as a whole.
func (s *Server) keep(r *http.Request, a *ask) error {
	raw, err := json.Marshal(a)
	if err == nil {
		err = s.KV.KVSwap(r.Context(), bucketAsk, a.ID, a.read, raw, max(a.Created.Add(askLife).Sub(s.Now()), time.Second))
	}
	if errors.Is(err, store.ErrConflict) {
		return expired()
	}
	if err != nil {
		return fmt.Errorf("smart/authorize: store a request: %w", err)
	}
	return nil
}

// end takes a request away; of two that try, one succeeds.
func (s *Server) end(w http.ResponseWriter, r *http.Request, a *ask) error {
	_, err := s.KV.KVTake(r.Context(), bucketAsk, a.ID)
	if errors.Is(err, store.ErrNotFound) {
		return expired()
	}
	if err != nil {
		return fmt.Errorf("smart/authorize: end a request: %w", err)
	}
	s.setCookie(w, "ask-"+a.ID, "", 0)
	return nil
}

// formToken proves that a form came from a page of ours in this browser, for this
// request (nil: none) and this session. Who signs in gets another.
func (s *Server) formToken(r *http.Request, a *ask) string {
	id, cookie := "", ""
	if a != nil {
		id, cookie = a.ID, a.cookie
	}
	return base64.RawURLEncoding.EncodeToString(s.digest("form", id, cookie, s.cookie(r, "session")))
}

// posted reads a form of one of our pages and refuses what comes from elsewhere.
// The request is nil on pages of our own.
func (s *Server) posted(w http.ResponseWriter, r *http.Request, many ...string) (url.Values, *ask, error) {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return nil, nil, foreign()
	}
	sent, err := form(w, r, many...)
	if err != nil {
		return nil, nil, err
	}
	var a *ask
	if id := sent.Get("ask"); id != "" {
		if a, err = s.ask(r, id); err != nil {
			return nil, nil, err
		}
	} else if s.cookie(r, "session") == "" {
		return nil, nil, foreign()
	}
	if !hmac.Equal([]byte(s.formToken(r, a)), []byte(sent.Get("token"))) {
		return nil, nil, foreign()
	}
	return sent, a, nil
}

func foreign() *Error {
	return &Error{Code: "access_denied", Description: "the form did not come from a page of this server, or you signed in again since. Go back and try again", Status: http.StatusForbidden}
}

// session is that of the browser, nil when there is none or it lacks a step yet.
func (s *Server) session(r *http.Request) (*account.Session, error) {
	now, err := s.half(r)
	if now != nil && !now.Complete() {
		now = nil
	}
	return now, err
}

// half is the session of the browser, complete or not.
func (s *Server) half(r *http.Request) (*account.Session, error) {
	cookie := s.cookie(r, "session")
	if cookie == "" {
		return nil, nil
	}
	now, err := s.Accounts.Session(r.Context(), cookie)
	var none *account.Error
	if errors.As(err, &none) && none.Code == account.LoginRequired {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &now, nil
}

// body reads a body that is not longer than a limit.
func body(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return nil, invalidRequest("the body is too long")
	case err != nil:
		return nil, invalidRequest("the body cannot be read")
	}
	return raw, nil
}
