// Package sets keeps long posting lists as bitmaps in memory, current with
// every commit, and answers formulas of them as of one snapshot.
//
// It knows lists of record ids, which commits were under way when a snapshot
// was taken, and how much memory it may use. It must not know a database, a
// resource or why a list is asked for.
package sets

import (
	"slices"
	"sync"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"candela/store"
)

// Keeper holds the bitmaps of one store. A bitmap holds what all commits that
// have ended made of its list. What a commit changes while a snapshot is taken,
// or afterwards, is unsure for that snapshot: those few records are left out of
// its answers and must be looked at one by one.
type Keeper struct {
	mu    sync.RWMutex
	lists map[uint64]*list
	limit int64 // bytes of all bitmaps
	clock uint64
	held  int  // lists of what is Held
	off   bool // nothing is known for sure any more
	log   log
	busy  chan struct{} // holds a token while lists are made in the background
}

// list is one bitmap, or one that is being made.
type list struct {
	rids  *roaring64.Bitmap // nil while it is being made
	held  bool              // no list on disk
	bytes int64
	used  uint64        // when it was last asked for
	later []change      // what commits changed while it is being made
	ready chan struct{} // closed when it is made or given up
}

type change struct {
	rid  store.RID
	gone bool
}

// New makes a keeper of bitmaps of up to limit bytes; with no more than 0 it keeps none.
func New(limit int64) *Keeper {
	return &Keeper{lists: map[uint64]*list{}, limit: limit, off: limit <= 0, busy: make(chan struct{}, 1)}
}

// Commit is a commit under way.
type Commit struct {
	rids []store.RID
	at   int // its place in the log
	done bool
}

// log is the newest commits in the order in which they began.
type log struct {
	commits []*Commit
	base    int // the place of the first
	open    int // all before this place are done
	rids    int // of all commits
	strays  int // commits under way that the log had no room for any more
}

// mostLogged bounds the log, in records.
const mostLogged = 1 << 16

// Mark is the place of a snapshot among the commits. Take it before the snapshot.
type Mark struct {
	at   int
	lost bool // too much is under way
}

// Mark is the present place.
func (k *Keeper) Mark() Mark {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return Mark{at: k.log.open, lost: k.off || k.log.strays > 0}
}

// Begin says that a commit is about to change the lists of rids. Every Begin
// needs an End.
func (k *Keeper) Begin(rids []store.RID) *Commit {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := &k.log
	c := &Commit{rids: rids, at: l.base + len(l.commits)}
	l.commits = append(l.commits, c)
	for l.rids += len(rids); l.rids > mostLogged && len(l.commits) > 1; l.base++ {
		first := l.commits[0]
		l.commits = l.commits[1:]
		l.rids -= len(first.rids)
		if !first.done {
			l.strays++
		}
	}
	l.open = max(l.open, l.base)
	return c
}

// End says that what the commit wrote can be seen. changes calls its argument
// with each change of a list; with held also of what is plan.Held. Commits of
// one record must end in their order.
func (k *Keeper) End(c *Commit, changes func(held bool, changed func(hash uint64, rid store.RID, gone bool))) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.lists) > 0 {
		changes(k.held > 0, k.changed)
	}
	c.done = true
	l := &k.log
	if c.at < l.base {
		l.strays--
	}
	for l.open-l.base < len(l.commits) && l.commits[l.open-l.base].done {
		l.open++
	}
}

func (k *Keeper) changed(hash uint64, rid store.RID, gone bool) {
	l := k.lists[hash]
	switch {
	case l == nil:
	case l.rids == nil:
		l.later = append(l.later, change{rid, gone})
	default:
		put(l.rids, change{rid, gone})
	}
}

func put(b *roaring64.Bitmap, c change) {
	if c.gone {
		b.Remove(uint64(c.rid))
	} else {
		b.Add(uint64(c.rid))
	}
}

// Spoil forgets everything for good: nobody knows what a commit did.
func (k *Keeper) Spoil() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.off = true
	for _, l := range k.lists {
		if l.rids == nil {
			close(l.ready)
		}
	}
	clear(k.lists)
	k.held = 0
}

func (k *Keeper) keep(hash uint64, l *list) {
	k.drop(hash)
	k.lists[hash] = l
	if l.held {
		k.held++
	}
}

func (k *Keeper) drop(hash uint64) {
	if l := k.lists[hash]; l != nil && l.held {
		k.held--
	}
	delete(k.lists, hash)
}

// unsure are the records up to top that commits may have changed since m; ok is
// false when they are too many. The caller holds the lock.
func (k *Keeper) unsure(m Mark, top store.RID) (rids []store.RID, ok bool) {
	if m.lost || k.off || m.at < k.log.base {
		return nil, false
	}
	for _, c := range k.log.commits[m.at-k.log.base:] {
		for _, rid := range c.rids {
			if rid <= top {
				rids = append(rids, rid)
			}
		}
		if len(rids) > mostUnsure {
			return nil, false
		}
	}
	slices.Sort(rids)
	return slices.Compact(rids), true
}

// mostUnsure is how many records may be looked at one by one.
const mostUnsure = 8192

// start registers a list that is about to be made from a snapshot yet to be
// taken. first is false when it is there or somebody else makes it.
func (k *Keeper) start(hash uint64, held bool) (l *list, first bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.off {
		return nil, false
	}
	if l = k.lists[hash]; l != nil {
		return l, false
	}
	l = &list{held: held, ready: make(chan struct{})}
	k.keep(hash, l)
	return l, true
}

// finish installs a list that was made, or with nil gives it up.
func (k *Keeper) finish(hash uint64, l *list, rids *roaring64.Bitmap) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.lists[hash] != l { // spoilt
		return
	}
	close(l.ready)
	if rids == nil {
		k.drop(hash)
		return
	}
	for _, c := range l.later {
		put(rids, c)
	}
	l.rids, l.later = rids, nil
	k.clock++
	l.used = k.clock
	k.evict()
}

// evict lets go of the lists asked for longest ago until all fit.
func (k *Keeper) evict() {
	total := int64(0)
	for _, l := range k.lists {
		if l.rids != nil {
			l.bytes = int64(l.rids.GetSizeInBytes())
			total += l.bytes
		}
	}
	for total > k.limit {
		oldest, least := uint64(0), ^uint64(0)
		for hash, l := range k.lists {
			if l.rids != nil && l.used <= least {
				oldest, least = hash, l.used
			}
		}
		total -= k.lists[oldest].bytes
		k.drop(oldest)
	}
}
