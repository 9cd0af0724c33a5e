// Package account knows the people who sign in: who they are, what their role
// lets them do, how they prove who they are, and their sessions. It must not know
// clients, grants, tokens, HTTP routes or pages.
//
// Passwords lie in the store as argon2id hashes of keyed digests, secrets of
// second factors sealed, cookies, links and recovery codes as keyed digests.
//
// Sources: 45 CFR 164.312(a)(2)(iii) and (d); RFC 9106 (argon2), RFC 6238 (TOTP),
// OpenID Connect Core 1.0, RFC 7636, RFC 9207; NIST SP 800-63B §3.1.1.
package account

import (
	"errors"
	"slices"
	"time"

	"candela/fhir"
)

// User is a person who may sign in.
type User struct {
	Name     string         `json:"name"`             // 1 to 64 of a-z 0-9 . _ @ + -; what is typed is folded to lower case
	Display  string         `json:"display,omitzero"` // as pages show it
	FHIRUser fhir.Reference `json:"-"`                // the person as a resource of this server; zero for none
	Role     string         `json:"role"`             // the name of a Role
	// Policy is what this user may do instead of what the role says, as scopes
	// without a level ("Observation.rs?category=vital-signs"); nil: as the role says.
	Policy []string `json:"policy,omitzero"`
	// Patients are the ids of the patients whose records a patient or proxy has.
	// That of a fhirUser that is a Patient is always among them.
	Patients []string `json:"patients,omitzero"`

	Locked   bool      `json:"locked,omitzero"`   // shut out until unlocked
	Disabled bool      `json:"disabled,omitzero"` // has left
	Created  time.Time `json:"created"`
	// Provider is the name of the provider whose claims role, display name and
	// fhirUser follow; "" for a user that the operator keeps.
	Provider string `json:"provider,omitzero"`

	read []byte // the record this was read from; nil: not stored yet
}

// Own are the patients whose records are the user's own or entrusted to them.
func (u *User) Own() []string {
	out := u.Patients
	if u.FHIRUser.Type == "Patient" && !slices.Contains(out, u.FHIRUser.ID) {
		out = append([]string{u.FHIRUser.ID}, out...)
	}
	return out
}

// May says whether the user may sign in and use what was granted.
func (u *User) May() bool { return !u.Locked && !u.Disabled }

// Error is what a person did wrong, with the HTTP status that fits. Its
// description may be shown and holds nothing that was sent.
type Error struct {
	Code, Description string
	Status            int
	RetryAfter        time.Duration // of too_many_attempts; else 0
}

func (e *Error) Error() string { return e.Code + ": " + e.Description }

// The codes of an Error.
const (
	BadCredentials  = "invalid_credentials" // name or password are wrong, or the user is shut out
	BadCode         = "invalid_code"        // the code of the second factor is wrong or was used
	TooMany         = "too_many_attempts"   // wait for RetryAfter
	LoginRequired   = "login_required"      // no session, or one that is over
	WeakPassword    = "weak_password"
	BadUser         = "invalid_user"            // a user that cannot be stored
	BadLink         = "invalid_link"            // a link that is none, over or was used
	Denied          = "access_denied"           // the provider's user has no place here
	BadLogin        = "invalid_login"           // an answer of the provider that cannot be believed
	EnrolmentNeeded = "enrolment_required"      // the step needs an enrolment that was begun, and none was
	Enrolled        = "already_enrolled"        // a second factor is there
	Busy            = "temporarily_unavailable" // too many sign in at this moment
)

// ErrUnavailable says that the identity provider cannot be had now: a 503.
var ErrUnavailable = errors.New("the identity provider cannot be had now")

func wrongCredentials() error {
	return &Error{Code: BadCredentials, Description: "the name or the password is wrong", Status: 401}
}

func wrongCode() error {
	return &Error{Code: BadCode, Description: "the code is wrong or was used before", Status: 401}
}

func loginRequired() error {
	return &Error{Code: LoginRequired, Description: "sign in first", Status: 401}
}

func badUser(description string) error {
	return &Error{Code: BadUser, Description: description, Status: 400}
}

// Event tells of something that an audit record is due for.
type Event struct {
	What    string
	User    string // "" where the name typed in is no user's
	Address string // network address; "" where there is none
	Session string // public id of the session; "" without one
	Failed  bool
	Time    time.Time
}

// What happened in an Event.
const (
	SignedIn        = "signed-in"
	SignInFailed    = "sign-in-failed"
	SignedOut       = "signed-out"
	CodeFailed      = "code-failed"
	LockedOut       = "locked-out" // too many attempts: no more for a while
	PasswordChanged = "password-changed"
	LinkMade        = "link-made" // to set a password
	FactorEnrolled  = "factor-enrolled"
	FactorRemoved   = "factor-removed"
	RecoveryUsed    = "recovery-used" // a recovery code instead of one of the app
	UserCreated     = "user-created"
	UserChanged     = "user-changed"
	UserLocked      = "user-locked"
	UserUnlocked    = "user-unlocked"
	UserDisabled    = "user-disabled"
	UserEnabled     = "user-enabled"
	UserDeleted     = "user-deleted"
)
