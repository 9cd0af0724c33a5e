// Package store keeps versions of resources, finds them by their entries and
// tells what changed.
//
// It knows keys, versions, entries and query expressions. It must not know
// FHIR, HTTP, or what a parameter means: a resource is bytes plus a list of
// entries, and a query is an expression over entries.
package store

import (
	"context"
	"iter"
	"time"
)

// Seq orders all versions of a store, strictly ascending in commit order.
type Seq uint64

// RID is a resource's immutable 64-bit record id, allocated in time order. 0 is none.
type RID uint64

// Key names a resource.
type Key struct{ Type, ID string }

// String is "Type/ID".
func (k Key) String() string { return k.Type + "/" + k.ID }

// Action says what a version did.
type Action uint8

// The actions. Reindex renews the entries of the current version and makes no
// new one. Erase takes away every version of a key, deleted or not, as if the
// key had never been; only the feed keeps that it happened, with the RID that
// the key had. A key written again has another.
const (
	Create  Action = iota + 1 // the key must never have existed
	Put                       // create or replace
	Delete                    // ends the resource; history stays
	Reindex                   // new Entries for version IfMatch of Key
	Erase                     // no body, entry or history of the key is left
)

// Version is one immutable state of a resource.
type Version struct {
	Key    Key
	RID    RID
	Number int64     // 1, 2, 3 … without gaps; a delete takes a number too; 0 for Erase
	Seq    Seq       //
	Time   time.Time // UTC, milliseconds; never falls within one resource
	Action Action    // Create, Put, Delete, or Erase (only from Commit and Changes)
	Raw    []byte    // nil for Delete and Erase
	// Entries are the index entries of the current version; only where asked for.
	Entries []Entry
}

// Op is one write of a Commit.
type Op struct {
	Action  Action
	Key     Key
	Raw     []byte
	Entries []Entry
	// IfMatch is the number the current version must have; 0 asks nothing, -1
	// asks only that the resource exists and is not deleted. An Erase may name the
	// number of a delete.
	IfMatch int64
	// IfNone must match nothing at the moment of the commit, nor what another op
	// of the commit writes (ErrTwice). Of commits whose IfNone queries share a
	// claim (see Claims) each sees what those before it wrote.
	IfNone *Query
}

// Result is what one Op did.
type Result struct {
	Version
	Created   bool // there was no live resource before
	Unchanged bool // identical content or already deleted: no version was made, Version is the present one
}

// Query asks for the current, live resources of Types for which Where holds.
type Query struct {
	Types []string // empty: all types
	Where Expr     // nil: all
	Sort  []Sort   // then by RID, in the direction of the first; empty: ascending RID
	Count int      // page size; 0: no rows, for a count only
	After string   // a cursor (Page.Next, Page.Prev or Page.Last), bound to the same query
	Total bool     // count all matches exactly
	Of    int64    // how many match, where that is known: Page.Last is set then
	// Bytes ends a page early where its bodies would be more than so many bytes; a
	// single larger one makes a page. 0: no bound.
	Bytes int
	// Entries asks for each row's Entries; NoRaw leaves out bodies.
	Entries, NoRaw bool
}

// Sort is one sort key. Resources without a value come last in both directions.
type Sort struct {
	Param string
	Desc  bool
	Role  Role
}

// Page is one page of versions.
type Page struct {
	Versions []Version
	Next     string // cursor of the page behind, "" at the end
	Prev     string // cursor of the page before, "" at the start
	Last     string // cursor of the last page: what full pages before it leave; "" there, without Query.Of, and from a History
	Total    int64  // all matches, or -1 when not asked for
	Explain  Explain
}

// Explain tells how a Find was answered.
type Explain struct {
	Driver   string // the clause that drove the scan
	Estimate int64  // what the driver was thought to yield
	Scanned  int64  // index entries read
	Examined int64  // forward records tested
}

// Span asks for history, newest first: of one resource, of a type (Key.ID
// empty) or of all (Key empty).
type Span struct {
	Key   Key
	Since time.Time // at or after; zero: from the start
	Until time.Time // at or before; zero: to now
	Count int
	After string
	Total bool
	// Bytes ends a page early where its bodies would be more than so many bytes; a
	// single larger one makes a page. 0: no bound.
	Bytes int
}

// Store is what a backend gives to the rest of Candela. Errors are the
// sentinels of this package, wrapped; anything else is a defect.
type Store interface {
	// Get is the current version. A deleted resource gives its delete version and ErrGone.
	Get(ctx context.Context, k Key) (Version, error)
	// GetVersion is one version; a delete version comes with ErrGone.
	GetVersion(ctx context.Context, k Key, number int64) (Version, error)
	Find(ctx context.Context, q Query) (Page, error)
	History(ctx context.Context, s Span) (Page, error)
	// Former yields the keys of resources of which an earlier version, or the
	// last before a delete, had an Anchor entry that links to owner; the present
	// version may have one too. Each key once, in no order. What was erased is
	// not among them.
	Former(ctx context.Context, owner Key) iter.Seq2[Key, error]
	// Commit does all ops or none. The results stand in the order of ops.
	Commit(ctx context.Context, ops ...Op) ([]Result, error)
	// Changes yields every version with a Seq above after, once, in order, then
	// waits for more until ctx ends. An erased key yields its Erase and none of
	// its versions.
	Changes(ctx context.Context, after Seq) iter.Seq2[Version, error]
	// Head is the newest Seq a Changes call would yield now.
	Head(ctx context.Context) (Seq, error)
	KV
	// Ping says whether the store can answer (nil), for readiness.
	Ping(ctx context.Context) error
	Close() error
}

// KV keeps what is no resource: clients, codes, sessions, cursors, jobs. A ttl
// of 0 never expires; an expired value is absent everywhere.
type KV interface {
	KVGet(ctx context.Context, bucket, key string) ([]byte, error) // ErrNotFound
	KVPut(ctx context.Context, bucket, key string, value []byte, ttl time.Duration) error
	// KVSwap replaces old by new atomically; old nil means "absent". ErrConflict
	// when the present value is another.
	KVSwap(ctx context.Context, bucket, key string, old, new []byte, ttl time.Duration) error
	// KVTake reads and deletes: of many takers exactly one succeeds, the rest get ErrNotFound.
	KVTake(ctx context.Context, bucket, key string) ([]byte, error)
	KVDelete(ctx context.Context, bucket, key string) error
	KVList(ctx context.Context, bucket, prefix string) iter.Seq2[string, error] // keys in order
}
