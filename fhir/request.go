package fhir

import (
	"context"
	"net/url"
	"strings"
	"time"
)

// Interaction is the spec's name of what a request asks for (R4 http.html,
// value set type-restful-interaction and system-restful-interaction).
type Interaction string

// The interactions. A conditional form is its plain interaction with Query set
// and ID empty (update, patch, delete) or IfNoneExist set (create).
const (
	Read            Interaction = "read"
	VRead           Interaction = "vread"
	Create          Interaction = "create"
	Update          Interaction = "update"
	Patch           Interaction = "patch"
	Delete          Interaction = "delete"
	SearchType      Interaction = "search-type"
	SearchSystem    Interaction = "search-system"
	SearchCompart   Interaction = "search-compartment"
	HistoryInstance Interaction = "history-instance"
	HistoryType     Interaction = "history-type"
	HistorySystem   Interaction = "history-system"
	Batch           Interaction = "batch" // batch and transaction: Bundle.type decides
	Capabilities    Interaction = "capabilities"
	Operation       Interaction = "operation"
)

// Request is one FHIR interaction, whether it came by HTTP, as a Bundle entry
// or from inside the server.
type Request struct {
	Interaction Interaction
	Type        string // resource type, "" at system level
	ID          string // logical id
	Version     string // version id of a vread
	Operation   string // operation code without the $, when Interaction is Operation
	Compartment string // compartment type of SearchCompart; ID is its id, Type the searched type or "*"
	Query       Params // URL (and form) parameters in their order
	Resource    Resource
	// Format is the media type of Body where the body is no FHIR resource (patches, raw Binary).
	Format string
	Body   []byte
	// Provenance tells of a write and is stored with it, pointing to the version
	// that is made (header X-Provenance).
	Provenance Resource

	IfMatch         string // header values as sent, "" when absent
	IfNoneMatch     string
	IfNoneExist     string
	IfModifiedSince time.Time
	Prefer          Prefer

	Head      bool   // HEAD: same answer, no body
	Safe      bool   // asked by GET or HEAD, which change nothing
	Base      string // our own base URL without trailing slash, from configuration
	RequestID string
	Caller    Caller
}

// Params is a list of URL parameters that keeps their order.
type Params []Param

// Param is one name=value pair, percent-decoded.
type Param struct{ Name, Value string }

// ParseParams splits a raw query. A broken escape is a 400.
func ParseParams(raw string) (Params, error) {
	var out Params
	for len(raw) > 0 {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" {
			continue
		}
		k, v, _ := strings.Cut(pair, "=")
		name, err1 := url.QueryUnescape(k)
		value, err2 := url.QueryUnescape(v)
		if err1 != nil || err2 != nil {
			return nil, Errorf(400, CodeInvalid, "the query has a broken percent-escape")
		}
		out = append(out, Param{name, value})
	}
	return out, nil
}

// Get is the first value of name, "" when absent.
func (p Params) Get(name string) string {
	for _, one := range p {
		if one.Name == name {
			return one.Value
		}
	}
	return ""
}

// Has says whether name occurs.
func (p Params) Has(name string) bool {
	for _, one := range p {
		if one.Name == name {
			return true
		}
	}
	return false
}

// Encode is the percent-encoded query, order kept.
func (p Params) Encode() string {
	var out strings.Builder
	for i, one := range p {
		if i > 0 {
			out.WriteByte('&')
		}
		out.WriteString(url.QueryEscape(one.Name))
		out.WriteByte('=')
		out.WriteString(url.QueryEscape(one.Value))
	}
	return out.String()
}

// Prefer is the parsed Prefer header.
type Prefer struct {
	Return   string // minimal, representation, OperationOutcome or ""
	Handling string // strict, lenient or ""
}

// Caller is who asks and what they may see. The zero Caller may nothing.
type Caller struct {
	Name    string    // client or user name, for audit; never shown to others
	Client  string    // client id, "" for the server itself
	User    Reference // the person as a resource (fhirUser), zero without one
	Patient Reference // the patient in context, zero without one
	Token   string    // public id (jti) of the access token, never the token
	Address string    // network address the request came from, without port
	Purpose []string  // purpose of use codes (v3-ActReason), such as BTG

	Access Access
	// Deny is taken away from Access: what labels and consents withhold. Its
	// letters do not count; a rule without compartment and filter withholds a
	// whole type.
	Deny Access
}

// Access is a union of rules; empty means nothing.
type Access []Rule

// Rule allows letters of c r u d s on a type ("*" is every type), narrowed to a
// compartment and a search filter when given. The letter l beside them is leave
// to change security labels, owner's tags and whose a resource is.
type Rule struct {
	Type        string
	Letters     string
	Compartment Reference // zero: no narrowing
	Filter      string    // search parameters; "" is no filter
}

// Full is the access of a server without authorization and of system runs.
func Full() Access { return Access{{Type: "*", Letters: "crudsl"}} }

// Response is what a Doer answers. Exactly one of Resource or Body is set when
// there is a body.
type Response struct {
	Status       int
	Resource     Resource  // a stored resource; stamped already
	Body         []byte    // compact JSON we built: Bundle, OperationOutcome, CapabilityStatement
	ETag         string    // version id without W/"", "" when none
	LastModified time.Time // zero when none
	Location     string    // relative to Base, without leading slash ("Patient/1/_history/2"), "" when none
	Issues       []Issue   // warnings about a success, for the OperationOutcome forms of Prefer
}

// Doer does a request: the engine, or a layer around it.
type Doer interface {
	Do(ctx context.Context, r Request) (Response, error)
}

// DoerFunc makes a function a Doer.
type DoerFunc func(ctx context.Context, r Request) (Response, error)

// Do calls the function.
func (f DoerFunc) Do(ctx context.Context, r Request) (Response, error) { return f(ctx, r) }

// Event is what is no interaction and has to go on record: a sign-in, a token, a
// decision about consent, a disclosure.
type Event struct {
	Kind      EventKind
	Caller    Caller
	Patient   Reference // whom it is about; zero: no single patient
	About     Reference // what it rests on, such as the Consent; zero: nothing
	Status    int       // of the HTTP answer; 0 is 200. 4xx is a refusal, 5xx a failure
	Reason    string    // why, in words
	Recipient string    // of a disclosure: who got the data
	RequestID string
}

// EventKind says what an Event tells of.
type EventKind string

// The kinds of events.
const (
	Login         EventKind = "login"
	Logout        EventKind = "logout"
	TokenIssued   EventKind = "token-issued"
	TokenRevoked  EventKind = "token-revoked"
	ConsentPermit EventKind = "consent-permit" // a Consent let somebody in
	ConsentDeny   EventKind = "consent-deny"
	BreakGlass    EventKind = "break-glass"
	Disclosed     EventKind = "disclosed" // data left for somebody outside
)

// Recorder puts an Event on record for good: it is on disk when the answer is nil.
// After an error nothing that the Event speaks of may happen.
type Recorder interface {
	Record(ctx context.Context, e Event) error
}
