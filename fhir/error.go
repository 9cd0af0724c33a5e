package fhir

import (
	"fmt"
	"strconv"
	"strings"
)

// Issue codes of the OperationOutcome (value set issue-type) that we use.
const (
	CodeInvalid       = "invalid"
	CodeStructure     = "structure"
	CodeRequired      = "required"
	CodeValue         = "value"
	CodeInvariant     = "invariant"
	CodeNotSupported  = "not-supported"
	CodeDuplicate     = "duplicate"
	CodeMultiple      = "multiple-matches"
	CodeNotFound      = "not-found"
	CodeDeleted       = "deleted"
	CodeTooLong       = "too-long"
	CodeTooCostly     = "too-costly"
	CodeCodeInvalid   = "code-invalid"
	CodeConflict      = "conflict"
	CodeLogin         = "login"
	CodeForbidden     = "forbidden"
	CodeThrottled     = "throttled"
	CodeTransient     = "transient"
	CodeNoStore       = "no-store"
	CodeTimeout       = "timeout"
	CodeException     = "exception"
	CodeIncomplete    = "incomplete"
	CodeInformational = "informational"
)

// Severity of an Issue, as in the value set issue-severity.
type Severity string

// The four severities.
const (
	Fatal       Severity = "fatal"
	SevError    Severity = "error"
	Warning     Severity = "warning"
	Information Severity = "information"
)

// Issue is one finding of an OperationOutcome.
type Issue struct {
	Severity    Severity
	Code        string // issue-type
	Diagnostics string // what is wrong and what to do; never patient data
	Expression  string // FHIRPath of the element, when known
}

// Error is a refusal: an HTTP status and the issues of its OperationOutcome.
// Every error that a caller can cause is an *Error with a 4xx status.
type Error struct {
	Status int
	Issues []Issue
	// Allow lists the methods that a 405 would have taken.
	Allow string
	// Authenticate is the challenge (WWW-Authenticate) of a 401.
	Authenticate string
	// Cause stays inside: it is logged, never sent.
	Cause error
}

// Errorf is an Error with one issue of severity error.
func Errorf(status int, code, format string, args ...any) *Error {
	return &Error{Status: status, Issues: []Issue{{Severity: SevError, Code: code, Diagnostics: fmt.Sprintf(format, args...)}}}
}

// At names the element the first issue is about.
func (e *Error) At(expression string) *Error {
	e.Issues[0].Expression = expression
	return e
}

// Because keeps the inner cause for the log.
func (e *Error) Because(cause error) *Error {
	e.Cause = cause
	return e
}

func (e *Error) Error() string {
	parts := make([]string, 0, len(e.Issues))
	for _, i := range e.Issues {
		parts = append(parts, strings.TrimSpace(i.Expression+" "+i.Diagnostics))
	}
	return strconv.Itoa(e.Status) + " " + strings.Join(parts, "; ")
}

func (e *Error) Unwrap() error { return e.Cause }
