// Package scope reads SMART App Launch scopes, version 1 and 2, and says what
// they allow. It knows the grammar, when one set of scopes covers another, what
// rules a set gives a caller and how rules intersect. It must not know tokens,
// clients, stores or how a filter is searched; the types and search parameters
// of the server it is told as Words.
//
// Source: SMART App Launch 2.2.0, "Scopes and Launch Context"; RFC 6749 §3.3.
package scope

import (
	"net/url"
	"slices"
	"strings"

	"candela/fhir"
)

// The levels of a clinical scope.
const (
	Patient = "patient" // what belongs to the patient in context
	User    = "user"    // what the user may see and do
	System  = "system"  // what the client may see and do without a user
)

// Any is the type of a wildcard scope.
const Any = "*"

// Scope is one granted scope.
type Scope struct {
	Level   string // Patient, User, System; "" for openid, launch, offline_access and their like
	Type    string // resource type or Any
	Letters string // of "cruds", in that order
	Filter  string // canonical percent-encoded search parameters; "" for none
	Text    string // as it was asked for, and as it is answered
}

// Set is a list of scopes in the order they were asked for, none twice. Sets
// come from a Grammar; only those are known to be well formed.
type Set []Scope

// String is the set as an OAuth scope value.
func (s Set) String() string {
	var out strings.Builder
	for i, one := range s {
		if i > 0 {
			out.WriteByte(' ')
		}
		out.WriteString(one.Text)
	}
	return out.String()
}

// Has says whether a scope of exactly that text is in the set.
func (s Set) Has(text string) bool {
	return slices.ContainsFunc(s, func(one Scope) bool { return one.Text == text })
}

// Clinical are the scopes that allow something on resources.
func (s Set) Clinical() Set {
	var out Set
	for _, one := range s {
		if one.Level != "" {
			out = append(out, one)
		}
	}
	return out
}

// Levels are the levels of the clinical scopes, each once, in the order patient,
// user, system.
func (s Set) Levels() []string {
	var out []string
	for _, level := range []string{Patient, User, System} {
		if slices.ContainsFunc(s, func(one Scope) bool { return one.Level == level }) {
			out = append(out, level)
		}
	}
	return out
}

// Error is an OAuth error: the code and status of RFC 6749 §5.2.
type Error struct {
	Code, Description string
	Status            int
}

func (e *Error) Error() string { return e.Code + ": " + e.Description }

func invalid(description string) *Error {
	return &Error{Code: "invalid_scope", Description: description, Status: 400}
}

// Fits says whether the set may be granted by an OAuth grant type, as *Error
// when not: authorization_code gives no system/ scope, client_credentials
// nothing else, and an empty set is no grant.
func (s Set) Fits(grant string) error {
	if len(s) == 0 {
		return invalid("no scope that can be granted was asked for")
	}
	for _, one := range s {
		switch {
		case grant == "authorization_code" && one.Level == System:
			return invalid("system/ scopes are for backend services, not for a user's sign-in")
		case grant == "client_credentials" && one.Level != System:
			return invalid("a backend service can have system/ scopes only")
		case grant != "authorization_code" && grant != "client_credentials":
			return invalid("this grant type takes no scopes")
		}
	}
	return nil
}

// print is the version 2 text of a clinical scope. Filters come from scope
// texts, which cannot hold '&', '%' or a space in a value, so they need no escape.
func (s Scope) print() string {
	text := s.Level + "/" + s.Type + "." + s.Letters
	if s.Filter == "" {
		return text
	}
	raw, err := url.QueryUnescape(s.Filter)
	if err != nil { // cannot be: we encoded it
		return text + "?" + s.Filter
	}
	return text + "?" + raw
}

// common are the letters in both, in the order of cruds.
func common(a, b string) string {
	if subset(a, b) {
		return a
	}
	return pick(func(l byte) bool { return strings.IndexByte(a, l) >= 0 && strings.IndexByte(b, l) >= 0 })
}

// either are the letters in one of the two, in the order of cruds.
func either(a, b string) string {
	if subset(b, a) {
		return a
	}
	return pick(func(l byte) bool { return strings.IndexByte(a, l) >= 0 || strings.IndexByte(b, l) >= 0 })
}

func subset(some, many string) bool {
	for i := range len(some) {
		if strings.IndexByte(many, some[i]) < 0 {
			return false
		}
	}
	return true
}

func pick(in func(letter byte) bool) string {
	var out [5]byte
	n := 0
	for _, l := range []byte(all) {
		if in(l) {
			out[n] = l
			n++
		}
	}
	return string(out[:n])
}

const (
	all      = "cruds"
	readOnly = "rs"
)

// own says whether the reference is a plain Type/id of this server.
func own(r fhir.Reference) bool {
	return r.Base == "" && r.Version == "" && r.Other == "" && r.Type != "" && fhir.ValidID(r.ID)
}
