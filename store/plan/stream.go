package plan

import (
	"bytes"
	"cmp"
	"slices"

	"candela/store"
)

// stream yields hits in one direction. Its hits' Order is valid until its next
// one. skip says that only hits at or behind rid are wanted; it means something
// only for streams in RID order.
type stream interface {
	next(r *run) (Hit, bool, error)
	skip(rid store.RID)
}

// compareHits orders hits by Order, then RID, turned round when desc.
func compareHits(a, b Hit, desc bool) int {
	d := bytes.Compare(a.Order, b.Order)
	if d == 0 {
		d = cmp.Compare(a.RID, b.RID)
	}
	if desc {
		return -d
	}
	return d
}

// scanStream reads one index in batches, so that no iterator of the engine
// stays open while others are read.
type scanStream struct {
	scan  Scan
	name  string
	hits  []Hit
	arena []byte
	at    int
	size  int // of the next batch; 0: not read yet
	end   bool
}

const largestRead = 4096

func (s *scanStream) next(r *run) (Hit, bool, error) {
	if s.at == len(s.hits) {
		if s.end {
			return Hit{}, false, nil
		}
		if err := s.fill(r); err != nil || s.at == len(s.hits) {
			return Hit{}, false, err
		}
	}
	s.at++
	return s.hits[s.at-1], true, nil
}

// fill reads the next batch behind the last hit. Batches grow, so that a long
// walk is cheap and a short one reads little.
func (s *scanStream) fill(r *run) error {
	if s.scan.empty() {
		s.end = true
		return nil
	}
	least := int(min(max(r.opt.SeekCost, 16), 1024))
	switch {
	case s.size > 0:
		s.size = min(max(s.size*4, least), largestRead)
	case s.scan.Hint > 0:
		s.size = s.scan.Hint
	default:
		s.size = least
	}
	r.reading = s.name
	s.scan.Hint = s.size
	s.hits, s.arena, s.at = s.hits[:0], s.arena[:0], 0
	for h, err := range r.snap.Scan(r.ctx, s.scan) {
		if err != nil {
			return err
		}
		from := len(s.arena)
		s.arena = append(s.arena, h.Order...)
		s.hits = append(s.hits, Hit{RID: h.RID, Order: s.arena[from:len(s.arena):len(s.arena)]})
		if len(s.hits) == s.size {
			break
		}
	}
	if n := len(s.hits); n > 0 {
		last := s.hits[n-1]
		s.scan.After = Hit{RID: last.RID, Order: bytes.Clone(last.Order)}
	}
	s.end = len(s.hits) < s.size
	return r.scanned(len(s.hits))
}

// empty says whether the bounds leave nothing.
func (s *Scan) empty() bool {
	return s.From != nil && s.To != nil && bytes.Compare(s.From, s.To) > 0 && !(s.Index == Prefix && bytes.HasPrefix(s.From, s.To))
}

// skip moves within the batch, or lets the next batch start at rid.
func (s *scanStream) skip(rid store.RID) {
	target := Hit{RID: rid}
	if n := len(s.hits); s.at < n && compareHits(s.hits[n-1], target, s.scan.Desc) >= 0 {
		for compareHits(s.hits[s.at], target, s.scan.Desc) < 0 {
			s.at++
		}
		return
	}
	if s.at < len(s.hits)/4 {
		s.size = max(s.size/16, 1) // mostly skipped: read less at once
	}
	s.at = len(s.hits)
	before := Hit{RID: rid - 1}
	if s.scan.Desc {
		before.RID = rid + 1
	}
	if s.scan.After.RID == 0 || compareHits(before, s.scan.After, s.scan.Desc) > 0 {
		s.scan.After = before
	}
}

// head is a stream with its present hit.
type head struct {
	stream
	hit     Hit
	live    bool
	started bool
}

func (h *head) advance(r *run) (err error) {
	h.started = true
	h.hit, h.live, err = h.next(r)
	return err
}

// to moves to the first hit at or behind rid.
func (h *head) to(r *run, rid store.RID, desc bool) error {
	target := Hit{RID: rid}
	for !h.started || h.live && compareHits(Hit{RID: h.hit.RID}, target, desc) < 0 {
		h.skip(rid)
		if err := h.advance(r); err != nil {
			return err
		}
	}
	return nil
}

func headsOf(streams []stream) []*head {
	heads := make([]*head, len(streams))
	for i := range streams {
		heads[i] = &head{stream: streams[i]}
	}
	return heads
}

// bothStream yields the rids that all of its RID-ordered streams have.
type bothStream struct {
	heads []*head
	desc  bool
}

func (s *bothStream) skip(rid store.RID) { s.heads[0].skip(rid) }

func (s *bothStream) next(r *run) (Hit, bool, error) {
	first := s.heads[0]
	if err := first.advance(r); err != nil {
		return Hit{}, false, err
	}
	for first.live {
		want := first.hit.RID
		agreed, err := s.follow(r, want)
		if err != nil {
			return Hit{}, false, err
		}
		switch agreed {
		case want:
			return Hit{RID: want}, true, nil
		case 0:
			return Hit{}, false, nil
		}
		if err := first.to(r, agreed, s.desc); err != nil {
			return Hit{}, false, err
		}
	}
	return Hit{}, false, nil
}

// follow moves the others to want and gives want when all have it, else where
// the first that has not stands, or 0 at its end.
func (s *bothStream) follow(r *run, want store.RID) (store.RID, error) {
	for _, h := range s.heads[1:] {
		if err := h.to(r, want, s.desc); err != nil {
			return 0, err
		}
		if !h.live {
			return 0, nil
		}
		if h.hit.RID != want {
			return h.hit.RID, nil
		}
	}
	return want, nil
}

// mergeStream yields the hits of all of its streams in their common order, each once.
type mergeStream struct {
	heads []*head
	desc  bool
	byRID bool
	from  store.RID // wanted from here on; 0: all
}

func (s *mergeStream) skip(rid store.RID) { s.from = rid }

func (s *mergeStream) next(r *run) (Hit, bool, error) {
	var least *head
	for _, h := range s.heads {
		if err := s.ready(r, h); err != nil {
			return Hit{}, false, err
		}
		if h.live && (least == nil || compareHits(h.hit, least.hit, s.desc) < 0) {
			least = h
		}
	}
	if least == nil {
		return Hit{}, false, nil
	}
	hit := Hit{RID: least.hit.RID, Order: bytes.Clone(least.hit.Order)}
	for _, h := range s.heads {
		if h.live && compareHits(h.hit, hit, s.desc) == 0 {
			h.started = false // read on when needed
		}
	}
	return hit, true, nil
}

// ready brings a head to its first wanted hit.
func (s *mergeStream) ready(r *run, h *head) error {
	if s.byRID && s.from != 0 {
		return h.to(r, s.from, s.desc)
	}
	if h.started {
		return nil
	}
	return h.advance(r)
}

// chainStream yields one stream after the other.
type chainStream struct{ streams []stream }

func (s *chainStream) skip(store.RID) {}

func (s *chainStream) next(r *run) (Hit, bool, error) {
	for len(s.streams) > 0 {
		h, ok, err := s.streams[0].next(r)
		if ok || err != nil {
			return h, ok, err
		}
		s.streams = s.streams[1:]
	}
	return Hit{}, false, nil
}

// listStream yields a set of the engine, in parts.
type listStream struct {
	set  Set
	name string
	desc bool
	part []store.RID // what is left of it
	room []store.RID
	size int
	from store.RID // of the next part
	told bool      // from means something
	end  bool
}

func (s *listStream) skip(rid store.RID) {
	for len(s.part) > 0 && s.before(s.part[0], rid) {
		s.part = s.part[1:]
	}
	if len(s.part) == 0 && (!s.told || s.before(s.from, rid)) {
		s.from, s.told = rid, true
	}
}

func (s *listStream) before(a, b store.RID) bool { return a != b && (a < b) != s.desc }

func (s *listStream) next(r *run) (Hit, bool, error) {
	if len(s.part) == 0 {
		if err := s.fill(r); err != nil || len(s.part) == 0 {
			return Hit{}, false, err
		}
	}
	rid := s.part[0]
	s.part = s.part[1:]
	return Hit{RID: rid}, true, nil
}

// fill takes the next part. Parts grow, as batches of scans do.
func (s *listStream) fill(r *run) error {
	if s.end {
		return nil
	}
	if s.size = min(max(s.size*4, 64), largestRead); cap(s.room) < s.size {
		s.room = make([]store.RID, 0, s.size)
	}
	if !s.told && s.desc {
		s.from = ^store.RID(0)
	}
	s.told = true
	s.part = s.set.Take(s.room[:0:s.size], s.from, s.desc)
	n := len(s.part)
	s.end = n < s.size
	if n > 0 {
		if last := s.part[n-1]; s.desc {
			s.from = last - 1
		} else {
			s.from = last + 1
		}
	}
	r.reading = s.name
	return r.scanned(n)
}

// setStream yields a set of rids, ascending in memory.
type setStream struct {
	rids []store.RID // what is left, in ascending order
	desc bool
}

func (s *setStream) skip(rid store.RID) {
	i, found := slices.BinarySearch(s.rids, rid)
	switch {
	case !s.desc:
		s.rids = s.rids[i:]
	case found:
		s.rids = s.rids[:i+1]
	default:
		s.rids = s.rids[:i]
	}
}

func (s *setStream) next(*run) (Hit, bool, error) {
	n := len(s.rids)
	if n == 0 {
		return Hit{}, false, nil
	}
	var rid store.RID
	if s.desc {
		rid, s.rids = s.rids[n-1], s.rids[:n-1]
	} else {
		rid, s.rids = s.rids[0], s.rids[1:]
	}
	return Hit{RID: rid}, true, nil
}

// ridSet gathers rids; it grows by what is distinct, not by what is added.
type ridSet struct {
	rids   []store.RID
	sorted int
}

func (s *ridSet) add(rids ...store.RID) {
	s.rids = append(s.rids, rids...)
	if len(s.rids) > 2*s.sorted+1024 {
		s.sort()
	}
}

func (s *ridSet) sort() {
	slices.Sort(s.rids)
	s.rids = slices.Compact(s.rids)
	s.sorted = len(s.rids)
}

func (s *ridSet) list() []store.RID {
	s.sort()
	return s.rids
}
