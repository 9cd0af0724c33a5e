// Package linking links logical references: where a Reference names its target
// by an identifier alone, the literal reference is added as soon as exactly one
// living resource has that identifier, whichever of the two came first.
//
// It knows the elements it was told to link, identifiers, the change feed and
// how far it has come in it. It must not know HTTP, a store's inside or what a
// resource is about. It reads from the store and writes through the door.
//
// Each link is one transaction: the referrer as it was read (If-Match) with the
// literal reference added, the target as it was found (If-Match, unchanged), and
// a Provenance. So nothing is written twice, whoever links at the same time and
// wherever it is killed; what it wrote comes back in the feed and has no logical
// reference any more. A literal reference is never changed.
package linking

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"candela/fhir"
	"candela/fhir/search"
	"candela/store"
)

// Config is what a Linker is made of. Zero durations and sizes mean the defaults.
type Config struct {
	Store   store.Store
	Door    fhir.Doer
	Search  *search.Registry
	Paths   []*Path // from Parse
	Version string  // of Candela, for the Provenance
	Base    string  // our own base URL
	Now     func() time.Time
	Log     *slog.Logger

	Lease   time.Duration // how long a dead process keeps others from linking; 0 is ten seconds
	Settle  time.Duration // how long changes may gather before they are looked at; 0 is 200 ms
	Page    int           // changes between two savings of the position, referrers read at once; 0 is 100
	Workers int           // links written at once; 0 is 8: most of a link is waiting for the store
}

// outcome is what came of looking at a logical reference.
type outcome int

const (
	linked    outcome = iota
	waiting           // nothing has the identifier yet
	ambiguous         // more than one has
	refused           // the door takes the referrer or the target no more as it is
	outcomes
)

func (o outcome) String() string {
	return [...]string{"linked", "waiting", "ambiguous", "refused"}[o]
}

// Linker links what one configuration names. Of all processes with the same
// paths on a store one links at a time. Safe for concurrent use.
type Linker struct {
	Config
	owner    []byte
	key      string             // of the position and the lease: other paths start anew
	byType   map[string][]*Path // referring type
	byTarget map[string][]*Path
	counts   map[string]*[outcomes]atomic.Int64 // by Path.Element

	mu      sync.Mutex
	present bool // the Device that the Provenance names is there
}

// New makes a Linker; Run sets it to work.
func New(c Config) (*Linker, error) {
	if c.Store == nil || c.Door == nil || c.Search == nil || c.Now == nil || len(c.Paths) == 0 {
		return nil, fhir.Errorf(500, fhir.CodeException, "linking.Config needs a Store, a Door, Search, Now and Paths")
	}
	c.Lease, c.Settle = cmp.Or(c.Lease, 10*time.Second), cmp.Or(c.Settle, 200*time.Millisecond)
	c.Page, c.Workers = cmp.Or(c.Page, 100), cmp.Or(c.Workers, 8)
	if c.Log == nil {
		c.Log = slog.Default()
	}
	l := &Linker{Config: c, owner: []byte(rand.Text()), byType: map[string][]*Path{}, byTarget: map[string][]*Path{}, counts: map[string]*[outcomes]atomic.Int64{}}
	var names []string
	for _, p := range c.Paths {
		l.byType[p.Type] = append(l.byType[p.Type], p)
		for _, target := range p.Targets {
			l.byTarget[target] = append(l.byTarget[target], p)
			names = append(names, p.Element+":"+target)
		}
		l.counts[p.Element] = new([outcomes]atomic.Int64)
	}
	slices.Sort(names)
	sum := sha256.Sum256([]byte(strings.Join(names, ",")))
	l.key = hex.EncodeToString(sum[:8])
	return l, nil
}

// Count is how often this process met an outcome at a path since it started: a
// reference that waits is counted whenever it is looked at.
type Count struct {
	Element string // "Observation.subject"
	Outcome string // linked, waiting, ambiguous or refused
	Value   func() int64
}

// Counts are the counters of all paths and outcomes.
func (l *Linker) Counts() []Count {
	var out []Count
	for _, p := range l.Paths {
		for o := range outcomes {
			out = append(out, Count{p.Element, o.String(), l.counts[p.Element][o].Load})
		}
	}
	return out
}

func (l *Linker) total(o outcome) int64 {
	var sum int64
	for _, c := range l.counts {
		sum += c[o].Load()
	}
	return sum
}

// Behind is how many changes of the store are not looked at yet; 0 when all
// that was committed is linked.
func (l *Linker) Behind(ctx context.Context) (int64, error) {
	_, at, err := l.position(ctx)
	if err != nil {
		return 0, err
	}
	head, err := l.Store.Head(ctx)
	return max(int64(head)-int64(at), 0), err
}
