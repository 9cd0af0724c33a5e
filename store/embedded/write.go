package embedded

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"candela/store"
	"candela/store/body"
	"candela/store/plan"
	"candela/store/vault"
)

// writer fills a batch.
type writer struct {
	b          *pebble.Batch
	key, value []byte // used again for each record
	plain      []byte // of a forward record
	place      []byte // what a body is sealed for
	erasing    bool   // keep what is removed
	erased     [][]byte
	packed     []byte // before it is sealed
	sealing    bool
	err        error
}

// fill writes all tasks that change something, with the numbers of ticket t.
func (s *Store) fill(b *pebble.Batch, tasks []task, t *ticket, o *sealings) error {
	w := writer{b: b, sealing: s.keys != nil}
	if err := o.write(&w, s); err != nil {
		return err
	}
	seq, rid := t.first, t.rid
	for i := range tasks {
		k := &tasks[i]
		switch {
		case k.result.Unchanged:
		case k.op.Action == store.Reindex:
			w.reindex(k)
		default:
			v := store.Version{
				Key: k.op.Key, RID: k.had.rid, Number: k.had.number + 1, Seq: seq,
				Time: k.time, Action: k.op.Action, Raw: k.op.Raw,
			}
			if k.had.absent() {
				v.RID = rid
				rid++
			}
			seq++
			if !indexed(k.op) {
				v.Raw = nil
			}
			if v.Action == store.Erase {
				v.Number = 0
			}
			k.result = store.Result{Version: v, Created: !k.had.live() && indexed(k.op)}
			if v.Action == store.Erase {
				w.erase(&v, k, t)
				continue
			}
			w.version(&v, k, t)
			w.index(&v, k)
		}
	}
	if t.keys = w.erased; len(t.keys) > 0 {
		w.key, w.value = append(w.key[:0], purgeKey()...), w.value[:0]
		w.set()
	}
	return fault(w.err)
}

func (w *writer) set() {
	if w.err == nil {
		w.err = w.b.Set(w.key, w.value, nil)
	}
}

func (w *writer) remove() {
	if w.err == nil {
		w.err = w.b.Delete(w.key, nil)
	}
	if w.erasing {
		w.erased = append(w.erased, bytes.Clone(w.key))
	}
}

// version writes the records of a new version: itself, the state of its key,
// and its places in the feed.
func (w *writer) version(v *store.Version, k *task, t *ticket) {
	w.key = versionKey(w.key[:0], v.RID, v.Number)
	w.value = appendVersion(w.value[:0], v, nil)
	w.body(k)
	w.set()
	w.key = currentKey(w.key[:0], v.Key)
	w.value = appendCurrent(w.value[:0], &current{v.RID, v.Number, v.Seq, v.Time, v.Action, k.hash})
	w.set()
	w.key = seqKey(w.key[:0], v.Seq)
	w.value = appendChange(w.value[:0], &change{v.RID, v.Number, v.Time, t.latest})
	w.set()
	w.key = binary.BigEndian.AppendUint64(typeKey(w.key[:0], v.Key.Type), uint64(v.Seq))
	w.set()
}

// body appends the packed body to the head of its version, sealed for both.
func (w *writer) body(k *task) {
	if !w.sealing || k.packed == nil {
		w.value = append(w.value, k.packed...)
		return
	}
	w.place = append(append(w.place[:0], w.key...), w.value...)
	w.value = k.key.Seal(w.value, k.packed, w.place)
}

// mark notes that something of a record is sealed with a key that may end.
func (w *writer) mark(k *task, rid store.RID) {
	if w.sealing && k.owner != nil && k.key != nil && k.key.ID != k.sealed {
		w.key, w.value = markKey(w.key[:0], k.key.ID, rid), w.value[:0]
		w.set()
	}
}

// index writes the forward record and the postings that v changes.
func (w *writer) index(v *store.Version, k *task) {
	w.row(&plan.Row{RID: v.RID, Key: v.Key, Number: v.Number, Seq: v.Seq, Time: v.Time, Entries: k.op.Entries}, v.Action != store.Delete, k.key)
	w.mark(k, v.RID)
	w.postings(&k.old, &k.keys, v.RID)
	w.former(k, v.RID)
}

// former writes under each owner that the resource has no more that it had it.
func (w *writer) former(k *task, rid store.RID) {
	for _, owner := range k.lost {
		w.key = formerKey(w.key[:0], owner, rid)
		w.value = appendOwner(w.value[:0], k.op.Key)
		w.set()
		w.key = ownerKey(w.key[:0], rid, owner)
		w.value = w.value[:0]
		w.set()
	}
}

// erase removes all there is of a key. What stays is one step of the feed, and
// under the record's id the mark that it is taken for ever.
func (w *writer) erase(v *store.Version, k *task, t *ticket) {
	w.key = currentKey(w.key[:0], v.Key)
	w.remove() // may come again: no key to be removed for ever
	w.erasing = true
	defer func() { w.erasing = false }()
	for _, p := range k.past {
		w.key = versionKey(w.key[:0], v.RID, p.number)
		w.remove()
		w.key = seqKey(w.key[:0], p.seq)
		w.remove()
		w.key = binary.BigEndian.AppendUint64(typeKey(w.key[:0], v.Key.Type), uint64(p.seq))
		w.remove()
		if p.key != 0 {
			w.key = markKey(w.key[:0], p.key, v.RID)
			w.remove()
		}
	}
	for _, owner := range k.owners {
		w.key = formerKey(w.key[:0], owner, v.RID)
		w.remove()
		w.key = ownerKey(w.key[:0], v.RID, owner)
		w.remove()
	}
	if k.sealed != 0 { // a Reindex may have sealed it with a key that no version has
		w.key = markKey(w.key[:0], k.sealed, v.RID)
		w.remove()
	}
	w.row(&plan.Row{RID: v.RID}, false, nil)
	w.postings(&k.old, &k.keys, v.RID)
	w.key = versionKey(w.key[:0], v.RID, 0)
	w.value = appendVersion(w.value[:0], v, nil)
	w.set()
	w.key = seqKey(w.key[:0], v.Seq)
	w.value = appendChange(w.value[:0], &change{v.RID, 0, v.Time, t.latest})
	w.set()
}

// row writes a forward record, or removes it when the resource is not live.
func (w *writer) row(r *plan.Row, live bool, key *vault.DataKey) {
	w.key = rowKey(w.key[:0], r.RID)
	if !live {
		w.remove()
		return
	}
	w.plain = plan.EncodeRow(w.plain[:0], *r)
	if w.sealing {
		w.packed = body.Compress(w.packed[:0], w.plain)
		w.value = key.Seal(w.value[:0], w.packed, w.key)
	} else {
		w.value = body.Compress(w.value[:0], w.plain)
	}
	w.set()
}

// reindex writes what the new entries of the present version change.
func (w *writer) reindex(k *task) {
	h := &k.had
	k.result = store.Result{Version: store.Version{Key: k.op.Key, RID: h.rid, Number: h.number, Seq: h.seq, Time: h.time, Action: h.action}}
	w.row(&plan.Row{RID: h.rid, Key: k.op.Key, Number: h.number, Seq: h.seq, Time: h.time, Entries: k.op.Entries}, true, k.key)
	w.mark(k, h.rid)
	w.postings(&k.old, &k.keys, h.rid)
	w.former(k, h.rid)
}

// postings writes the difference between the keys of before and now.
func (w *writer) postings(old, now *plan.Keys, rid store.RID) {
	w.lists(spaceEqual, old.Equal, now.Equal, nil, rid)
	w.points(spaceOrdered, old.Ordered, now.Ordered, rid)
	w.points(spacePrefix, old.Prefix, now.Prefix, rid)
	if bytes.Equal(old.Clock, now.Clock) {
		w.lists(spaceTimed, old.Timed, now.Timed, now.Clock, rid)
		return
	}
	w.lists(spaceTimed, old.Timed, nil, old.Clock, rid)
	w.lists(spaceTimed, nil, now.Timed, now.Clock, rid)
}

func (w *writer) lists(space byte, old, now []uint64, order []byte, rid store.RID) {
	differ(old, now, cmp.Compare[uint64], func(list uint64, gone bool) { w.posting(space, list, order, rid, gone) })
}

func (w *writer) points(space byte, old, now []plan.Point, rid store.RID) {
	differ(old, now, comparePoints, func(p plan.Point, gone bool) { w.posting(space, p.Field, p.Order, rid, gone) })
}

func comparePoints(a, b plan.Point) int {
	return cmp.Or(cmp.Compare(a.Field, b.Field), bytes.Compare(a.Order, b.Order))
}

// differ calls use for what is only in old (gone) and only in now. Both are in
// order and hold no twins.
func differ[T any](old, now []T, compare func(a, b T) int, use func(v T, gone bool)) {
	for len(old) > 0 || len(now) > 0 {
		c := 0
		switch {
		case len(old) == 0:
			c = 1
		case len(now) == 0:
			c = -1
		default:
			c = compare(old[0], now[0])
		}
		if c < 0 {
			use(old[0], true)
		} else if c > 0 {
			use(now[0], false)
		}
		if c <= 0 {
			old = old[1:]
		}
		if c >= 0 {
			now = now[1:]
		}
	}
}

// posting writes or removes one index key, straight into the batch.
func (w *writer) posting(space byte, list uint64, order []byte, rid store.RID, gone bool) {
	size := 1 + 8 + len(order) + 8
	if space == spacePrefix {
		size++
	}
	var op *pebble.DeferredBatchOp
	if gone {
		op = w.b.DeleteDeferred(size)
	} else {
		op = w.b.SetDeferred(size, 0)
	}
	appendPosting(op.Key[:0], space, list, order, rid)
	if gone && w.erasing {
		w.erased = append(w.erased, bytes.Clone(op.Key))
	}
	if err := op.Finish(); err != nil && w.err == nil {
		w.err = err
	}
}

// appendPosting is the key of one hit of an index.
func appendPosting(dst []byte, space byte, list uint64, order []byte, rid store.RID) []byte {
	dst = append(number8(dst, space, list), order...)
	if space == spacePrefix {
		dst = append(dst, 0) // keeps "ab" behind all of "a"
	}
	return binary.BigEndian.AppendUint64(dst, uint64(rid))
}

// orderOf is the part of a posting key between list and rid.
func orderOf(space byte, key []byte) []byte {
	end := len(key) - 8
	if space == spacePrefix {
		end--
	}
	return slices.Clip(key[splitAt:max(splitAt, end)])
}
