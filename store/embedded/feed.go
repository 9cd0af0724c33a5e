package embedded

import (
	"sync"
	"time"

	"candela/store"
)

// feed hands out sequence numbers and record ids, and knows up to where the
// sequence is complete and safe on disk: readers of changes never see a
// version before all that stand ahead of it.
type feed struct {
	mu     sync.Mutex
	seq    store.Seq // last handed out
	rid    store.RID // last handed out
	head   store.Seq // all up to here are on disk
	latest time.Time // newest time handed out with a sequence number
	open   []*ticket // commits under way, in order
	wake   chan struct{}
}

// ticket is one commit's share of the sequence.
type ticket struct {
	first, last store.Seq
	rid         store.RID // first of the new record ids
	latest      time.Time
	done        bool
}

// begin hands out seqs sequence numbers and rids record ids to a commit whose
// newest version is of time newest.
func (f *feed) begin(seqs, rids int, newest time.Time) *ticket {
	f.mu.Lock()
	defer f.mu.Unlock()
	if newest.After(f.latest) {
		f.latest = newest
	}
	t := &ticket{first: f.seq + 1, last: f.seq + store.Seq(seqs), rid: f.rid + 1, latest: f.latest}
	f.seq = t.last
	f.rid += store.RID(rids)
	f.open = append(f.open, t)
	return t
}

// end says that a commit is on disk, or that it never will be.
func (f *feed) end(t *ticket) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t.done = true
	n := 0
	for n < len(f.open) && f.open[n].done {
		f.head = f.open[n].last
		n++
	}
	f.open = append(f.open[:0], f.open[n:]...)
	if n > 0 && f.wake != nil {
		close(f.wake)
		f.wake = nil
	}
}

// state is the head, and a channel that closes when it has moved.
func (f *feed) state() (store.Seq, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.wake == nil {
		f.wake = make(chan struct{})
	}
	return f.head, f.wake
}

func (f *feed) top() store.RID {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rid
}
