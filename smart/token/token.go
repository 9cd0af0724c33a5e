// Package token knows what was granted to whom: authorization codes, access and
// refresh tokens, their rotation and end, the keys that sign id_tokens, and the
// tokens of an outside authorization server. It must not know HTTP routes, pages,
// how a client or user proves who it is, or what a scope lets anyone do.
//
// All that is known of one grant is one record of the store, changed by
// compare-and-swap: who deletes it ends every token of the grant at once, and no
// race can bring it back. Tokens lie in it as keyed digests only.
//
// An error that is *Error is the caller's fault. Every other error is trouble of
// the moment: its answer is 503, never 401 or invalid_grant.
//
// Sources: RFC 6749, RFC 6750, RFC 7009, RFC 7636, RFC 7662, RFC 9700, OpenID
// Connect Core 1.0, SMART App Launch 2.2.0.
package token

import (
	"errors"
	"github.com/go-json-experiment/json/jsontext"
	"time"

	"candela/fhir"
)

// Grant is what a user, or the operator for a backend service, gave to a client.
type Grant struct {
	ID        string         `json:"id"`              // public; Code and Backend make it
	Client    string         `json:"client"`          // client id
	User      string         `json:"user,omitzero"`   // account name; "" for a backend service
	FHIRUser  fhir.Reference `json:"person,omitzero"` // the user as a resource
	Scope     string         `json:"scope"`           // as granted
	Patient   string         `json:"patient,omitzero"`
	Encounter string         `json:"encounter,omitzero"` // ids, without type
	Context   jsontext.Value `json:"context,omitzero"`   // fhirContext, an array; see ValidateContext

	Intent     string `json:"intent,omitzero"`
	Tenant     string `json:"tenant,omitzero"`
	StyleURL   string `json:"styleUrl,omitzero"`
	NeedBanner bool   `json:"needBanner,omitzero"`

	Aud     string `json:"aud"`              // FHIR base the tokens are for
	Nonce   string `json:"nonce,omitzero"`   // of the authorization request, for the id_token
	Session string `json:"session,omitzero"` // gives a refresh token that dies with this session (online_access)
	Offline bool   `json:"offline,omitzero"` // gives a refresh token (offline_access)

	Created  time.Time `json:"created"`
	AuthTime time.Time `json:"authTime,omitzero"` // when the user signed in
}

// refreshes says whether the grant has refresh tokens.
func (g *Grant) refreshes() bool { return g.Offline || g.Session != "" }

// Client is who asks at the token endpoint, authenticated already.
type Client struct {
	ID     string
	Public bool // it has no secret: its retries have less time
}

// Answer is what the token endpoint gives; see Answer.JSON.
type Answer struct {
	AccessToken  string
	RefreshToken string        // "" when the grant has none
	IDToken      string        // "" without openid
	Scope        string        // of the access token
	Expires      time.Duration // life of the access token from now on
	JTI          string        // public id of the access token, for audit
	Grant        Grant
}

// Info is what a good access token says.
type Info struct {
	Grant   Grant
	Scope   string // of this token: the grant's or less
	JTI     string // public id; nothing of the token can be told from it
	Issued  time.Time
	Expires time.Time
}

// What happened in an Event.
const (
	CodeReused    = "code-reused"    // a code was sent again: the grant was ended
	RefreshReused = "refresh-reused" // a refresh token was sent again too late: the grant was ended
	ForeignClient = "foreign-client" // a client sent what was given to another; the grant stays
)

// Event tells of a token that somebody had who should not have it.
type Event struct {
	What   string
	Grant  Grant
	Client string // who sent it
	Time   time.Time
}

// Error is an OAuth error: code and status of RFC 6749 §5.2 or RFC 6750 §3.1.
// Its description holds nothing that was sent.
type Error struct {
	Code, Description string
	Status            int
}

func (e *Error) Error() string { return e.Code + ": " + e.Description }

// ErrEnded is what Config.Alive says of a grant whose session or user is gone.
var ErrEnded = errors.New("the grant has ended")

// ErrUnavailable says that the keys of an outside server cannot be had now.
var ErrUnavailable = errors.New("the keys of the authorization server cannot be had now")

func invalidGrant(description string) error {
	return &Error{Code: "invalid_grant", Description: description, Status: 400}
}

func invalidRequest(description string) error {
	return &Error{Code: "invalid_request", Description: description, Status: 400}
}

func invalidTarget() error {
	return &Error{Code: "invalid_target", Description: "the grant is for another server", Status: 400}
}

func invalidToken(description string) error {
	return &Error{Code: "invalid_token", Description: description, Status: 401}
}
