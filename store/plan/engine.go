// Package plan turns a thin Engine of postings, ordered ranges and forward
// records into the store's Find: it chooses the driver, streams candidates and
// tests them exactly. Written once, so that all backends answer alike.
//
// It knows entries, keys and costs. It must not know FHIR, a database or a
// wire format of one.
package plan

import (
	"context"
	"iter"

	"candela/store"
)

// Engine is what a backend really has to give for Find.
type Engine interface {
	// Snapshot opens a consistent view of the current, live resources.
	Snapshot(ctx context.Context) (Snapshot, error)
}

// Snapshot is one consistent view. Close it.
type Snapshot interface {
	// Lookup gives the RID of each key, 0 for what is absent or deleted.
	Lookup(ctx context.Context, keys []store.Key) ([]store.RID, error)
	// Scan walks one index in its order. It may yield more than asked for
	// (hash and prefix collisions), never less.
	Scan(ctx context.Context, s Scan) iter.Seq2[Hit, error]
	// Estimate guesses how many hits a scan has, cheaply; it may stop counting
	// at limit and answer limit.
	Estimate(ctx context.Context, s Scan, limit int64) (int64, error)
	// Rows gives forward records, in the order of rids; what is not live is left
	// out. OpenRow makes one without decoding its entries.
	Rows(ctx context.Context, rids []store.RID) ([]Row, error)
	// Bodies gives current versions with Raw, in the order of rids; what is not live is left out.
	Bodies(ctx context.Context, rids []store.RID) ([]store.Version, error)
	// Types names the types that have, or once had, resources; for queries over all types.
	Types(ctx context.Context) ([]string, error)
	// Top is the highest RID allocated when the snapshot was opened: later ones are newer.
	Top() store.RID
	Close() error
}

// Counter is what a Snapshot offers that can count where it reads: over a
// network the hits need not travel for their number to be known.
type Counter interface {
	// Count counts the resources up to Top that stand in the Equal lists of all
	// hashes, the shortest list first. ok is false where reading the lists costs less.
	Count(ctx context.Context, hashes []uint64) (n int64, ok bool, err error)
}

// Uniter is what a Snapshot offers that can walk several Equal lists as one: over
// a network that costs what one of them does.
type Uniter interface {
	// Unite is how many lists one walk may have.
	Unite() int
}

// Sets is what a Snapshot offers that keeps long Equal lists in memory as sets,
// so that conditions on many records cost little.
type Sets interface {
	// Match answers f. worth is what answering it by scans costs, in index
	// entries: much more is not spent on getting ready. ok is false where scans
	// must answer it.
	Match(ctx context.Context, f *Formula, worth int64) (m Match, ok bool, err error)
}

// Match is what a formula gives on a snapshot.
type Match struct {
	Set    Set
	Unsure []store.RID // ascending, not in Set: records of any type that may belong to it, to be looked at
	Read   int64       // index entries read in order to get ready
}

// Set is a set of records.
type Set interface {
	// Len is how many there are up to top.
	Len(top store.RID) int64
	// Take appends records from from on, upwards or downwards, as far as dst has capacity.
	Take(dst []store.RID, from store.RID, desc bool) []store.RID
}

// Formula is a condition that Equal lists answer exactly.
type Formula struct {
	Op          Op
	Hash        uint64    // of a List; of what is Held, its HashOfHeld
	Type, Param string    // of what is Held
	Of          []Formula // of the others
}

// Op says what a Formula holds.
type Op uint8

// The operations.
const (
	List     Op = iota + 1 // what stands in one list
	EveryOf                // what is in every part; at least one
	SomeOf                 // what is in some part
	FirstBut               // what is in the first part and no other
	Held                   // the resources of Type that have an entry of Param; no list on disk has them, see HeldOf
)

// Leaves yields the parts of f that have a Hash; one may come more than once.
func (f *Formula) Leaves() iter.Seq[*Formula] {
	return func(yield func(*Formula) bool) { f.leaves(yield) }
}

func (f *Formula) leaves(yield func(*Formula) bool) bool {
	if f.Op == List || f.Op == Held {
		return yield(f)
	}
	for i := range f.Of {
		if !f.Of[i].leaves(yield) {
			return false
		}
	}
	return true
}

// Index names one of the physical indexes.
type Index uint8

// The indexes. Each backend keeps exactly these.
const (
	// Equal: postings of one 64-bit hash in RID order.
	Equal Index = iota + 1
	// Ordered: the ordered values of one (type, param, edge) as 8-byte
	// prefixes, then RID; Hit.Order is that prefix.
	Ordered
	// Prefix: the folded texts of one (type, param), at most PrefixLen bytes of
	// valid UTF-8 in byte order, then RID; Hit.Order is the stored, truncated text.
	Prefix
	// Timed: postings of one 64-bit hash in Clock order, then RID; Hit.Order is
	// the 8-byte clock prefix. Resources without a clock value carry none here.
	Timed
)

// Scan asks for a walk over one index.
type Scan struct {
	Index Index
	Hash  uint64 // Equal, Timed: HashOf…; Ordered, Prefix: FieldHash
	// More are further Equal lists: the walk is over what stands in any of them,
	// each hit once. Only a Uniter is asked for it.
	More []uint64
	// From (inclusive) and To (inclusive; for Prefix every key starting with To
	// is included) bound Hit.Order; nil is unbounded.
	From, To []byte
	Desc     bool
	// After resumes behind this hit in the direction of the walk: with Desc the
	// next one is the greatest hit below it. Hits compare by Order, then RID, and
	// Desc is the exact reverse. Zero (RID 0 and no Order): from the start. The
	// hit need not exist.
	After Hit
	// Hint is how many hits the caller will probably read; 0 unknown.
	Hint int
}

// Hit is one index entry.
type Hit struct {
	Order []byte // nil for Equal; valid until the next hit
	RID   store.RID
}
