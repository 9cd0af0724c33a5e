package plan

import (
	"cmp"
	"slices"
	"strings"

	"candela/store"
)

// item is a row with its place in the order.
type item struct {
	row Row
	at  position
}

// top keeps the first rows behind a place: as many as a page shows and one more.
type top struct {
	sort   []store.Sort
	at     cursor
	newest store.RID
	size   int
	items  []*item // in order
}

func newTop(q store.Query, at cursor, newest store.RID) *top {
	t := &top{sort: q.Sort, at: at, newest: newest, size: q.Count + 1}
	if at.end > 0 {
		t.size = at.end + 1
	}
	return t
}

func (t *top) full() bool { return len(t.items) == t.size }

func (t *top) sorted() []*item { return t.items }

// compare orders places as the page run does: missing values last, then rid in
// the direction of the first key, all turned round on the way back.
func (t *top) compare(a, b position) int {
	d := t.forward(a, b)
	if t.at.back {
		return -d
	}
	return d
}

func (t *top) forward(a, b position) int {
	for i, s := range t.sort {
		x, y := a.keys[i], b.keys[i]
		switch {
		case x.ok != y.ok && x.ok:
			return -1
		case x.ok != y.ok:
			return 1
		case x.text != y.text && s.Desc:
			return strings.Compare(y.text, x.text)
		case x.text != y.text:
			return strings.Compare(x.text, y.text)
		}
	}
	if len(t.sort) > 0 && t.sort[0].Desc {
		return cmp.Compare(b.rid, a.rid)
	}
	return cmp.Compare(a.rid, b.rid)
}

// desc says whether hits must come in descending order to come in page order.
func (t *top) desc() bool { return (len(t.sort) > 0 && t.sort[0].Desc) != t.at.back }

// add takes a row in if it belongs to the page as far as is known.
func (t *top) add(row *Row) error {
	at := position{rid: row.RID}
	if row.RID > t.newest {
		return nil
	}
	for _, s := range t.sort {
		k, err := keyOf(row, s)
		if err != nil {
			return err
		}
		at.keys = append(at.keys, k)
	}
	if t.at.set && t.compare(at, t.at.at) <= 0 {
		return nil
	}
	i, found := slices.BinarySearchFunc(t.items, at, func(it *item, at position) int { return t.compare(it.at, at) })
	if found || i == t.size {
		return nil
	}
	if t.full() {
		t.items = t.items[:t.size-1]
	}
	t.items = slices.Insert(t.items, i, &item{row: *row, at: at})
	return nil
}

func keyOf(row *Row, s store.Sort) (k sortKey, err error) {
	err = row.each(s.Param, func(v *store.Value) bool {
		k.text, k.ok = s.Better(k.text, k.ok, v)
		return true
	})
	return k, err
}

// walk is a stream of hits in page order and how to tell that it is past the page.
type walk struct {
	*source
	cut   func(string) string // the part of a sort value that hits are ordered by; nil: by rid alone
	exact bool                // hits are ordered as rows are: by the whole first key, then rid
	rest  bool                // only rows without a first key still count
}

// behind is the first rid, in the direction of the hits, behind that of the cursor.
func (t *top) behind() store.RID {
	if t.desc() {
		return max(t.at.at.rid, 2) - 1
	}
	return t.at.at.rid + 1
}

// past says whether h and all behind it come after the page.
func (t *top) past(w *walk, h Hit) bool {
	if w == nil || !t.full() {
		return false
	}
	worst := t.items[t.size-1].at
	if w.rest && worst.keys[0].ok {
		return !t.at.back
	}
	d := 0
	if w.cut != nil {
		if !worst.keys[0].ok {
			return false
		}
		d = strings.Compare(w.cut(textOf(h.Order)), w.cut(worst.keys[0].text))
	}
	if d == 0 && w.exact && len(t.sort) < 2 {
		if d = cmp.Compare(h.RID, worst.rid); d == 0 {
			return true
		}
	}
	if t.desc() {
		d = -d
	}
	return d > 0
}

// feed tests what s yields and adds it to the top, until s ends or, on a walk,
// is past the page. size is how many rows to begin with.
func (a *arm) feed(t *top, src *source, w *walk, size int) error {
	s, err := src.open(a.r, t.desc(), size)
	if err != nil {
		return err
	}
	if w != nil && w.cut == nil && t.at.set && (len(t.sort) == 0 || !t.at.at.keys[0].ok) {
		s.skip(t.behind())
	}
	for {
		rids, last, err := a.batch(t, s, w, size)
		if err != nil {
			return err
		}
		for part := range slices.Chunk(rids, a.r.opt.Batch) {
			if err := a.offer(t, part, src.name); err != nil {
				return err
			}
		}
		if last.RID == 0 || t.past(w, last) {
			return nil
		}
		size = min(size*4, max(size, a.r.opt.Batch))
	}
}

// batch reads rids, each once and, where their order does not matter, ascending.
// last is the last hit, without RID at the end.
func (a *arm) batch(t *top, s stream, w *walk, size int) (rids []store.RID, last Hit, err error) {
	for len(rids) < size {
		h, ok, err := s.next(a.r)
		if err != nil {
			return nil, last, err
		}
		if !ok || t.past(w, h) {
			last.RID = 0
			break
		}
		last = Hit{RID: h.RID, Order: append(last.Order[:0], h.Order...)}
		if h.RID <= t.newest {
			rids = append(rids, h.RID)
		}
	}
	slices.Sort(rids)
	return slices.Compact(rids), last, nil
}

// offer tests rows and adds those that meet the arm.
func (a *arm) offer(t *top, rids []store.RID, name string) error {
	a.r.reading = name
	rows, err := a.r.rows(rids)
	if err != nil {
		return err
	}
	if rows, err = kept(a.r, a.filter, rows); err != nil {
		return err
	}
	for i := range rows {
		if err := t.add(&rows[i]); err != nil {
			return err
		}
	}
	return nil
}
