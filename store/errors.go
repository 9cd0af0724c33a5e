package store

import (
	"errors"
	"fmt"
)

// The sentinels. Backends wrap them with what they know; errors.Is finds them.
var (
	ErrNotFound     = errors.New("not found")                             // never existed
	ErrGone         = errors.New("deleted")                               // existed once
	ErrConflict     = errors.New("conflicting write")                     // key exists, or a race was lost for good
	ErrPrecondition = errors.New("precondition failed")                   // IfMatch or IfNone
	ErrCursor       = errors.New("cursor is not valid for this query")    // edited, foreign or outdated
	ErrQuery        = errors.New("query cannot be answered")              // malformed expression
	ErrTooCostly    = errors.New("query costs more than its budget")      //
	ErrTooLarge     = errors.New("write is too large for one commit")     //
	ErrUnavailable  = errors.New("store is not reachable")                // down, closed, timed out
	ErrFull         = errors.New("store has no space left")               //
	ErrCorrupt      = errors.New("stored data is damaged")                // checksum or decoding failed
	ErrTwice        = errors.New("one resource is written twice at once") // two ops of a commit on one key or identity
)

// OpError says which op of a Commit failed.
type OpError struct {
	Index int
	Err   error
}

func (e *OpError) Error() string { return fmt.Sprintf("op %d: %v", e.Index, e.Err) }

func (e *OpError) Unwrap() error { return e.Err }
