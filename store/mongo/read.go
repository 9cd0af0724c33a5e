package mongo

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"candela/store"
)

// Get is the current version: one read by key.
func (s *Store) Get(ctx context.Context, k store.Key) (store.Version, error) {
	if err := s.open(); err != nil {
		return store.Version{}, err
	}
	r, err := s.head(ctx, k, withBody())
	switch {
	case err != nil:
		return store.Version{}, err
	case r == nil:
		return store.Version{}, fmt.Errorf("%s: %w", k, store.ErrNotFound)
	}
	return s.answer(r)
}

// answer is r's version, with ErrGone for a delete.
func (s *Store) answer(r *record) (store.Version, error) {
	v, err := r.version()
	if err == nil && !r.live() {
		err = fmt.Errorf("%s version %d: %w", v.Key, v.Number, store.ErrGone)
	}
	return v, err
}

// GetVersion is one version, current or replaced.
func (s *Store) GetVersion(ctx context.Context, k store.Key, number int64) (store.Version, error) {
	if err := s.open(); err != nil {
		return store.Version{}, err
	}
	missing := fmt.Errorf("%s version %d: %w", k, number, store.ErrNotFound)
	r, err := s.head(ctx, k, withBody())
	if err != nil {
		return store.Version{}, err
	}
	if r == nil || number < 1 || number > r.Number {
		return store.Version{}, missing
	}
	if number < r.Number {
		r, err = one(s.hist.FindOne(ctx, bson.D{{Key: "_id", Value: histID(r.RID, number)}}))
	}
	switch {
	case err != nil:
		return store.Version{}, err
	case r == nil:
		return store.Version{}, missing
	}
	return s.answer(r)
}

// head is the current record of k, nil when it never existed.
func (s *Store) head(ctx context.Context, k store.Key, fields bson.D) (*record, error) {
	if k.Type == "" || k.ID == "" {
		return nil, nil
	}
	return one(s.res.FindOne(ctx, bson.D{{Key: "t", Value: k.Type}, {Key: "i", Value: k.ID}},
		options.FindOne().SetHint(up("t", "i")).SetProjection(fields)))
}

// one reads a single record, nil when there is none.
func one(res *mongo.SingleResult) (*record, error) {
	doc, err := res.Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, nil
	}
	if err != nil {
		return nil, classify("read", err)
	}
	r, err := readRecord(doc)
	return &r, err
}

// History reads versions newest first, by sequence number: in one snapshot the
// current ones from res and the replaced ones from hist, merged.
func (s *Store) History(ctx context.Context, sp store.Span) (store.Page, error) {
	page := store.Page{Total: -1}
	before, err := s.seal.open(sp)
	if err != nil {
		return page, err
	}
	sess, err := s.snapshotSession()
	if err != nil {
		return page, err
	}
	defer sess.EndSession(context.WithoutCancel(ctx))
	h := past{s: s, Span: sp}
	ctx = mongo.NewSessionContext(ctx, sess)
	if err := h.locate(ctx); err != nil {
		return page, err
	}
	if sp.Total {
		if page.Total, err = h.total(ctx); err != nil {
			return page, err
		}
	}
	if sp.Count <= 0 {
		return page, nil
	}
	records, more, err := h.read(ctx, before, sp.Count+1)
	if err != nil {
		return page, err
	}
	used := 0
	for i := range records {
		if len(page.Versions) == sp.Count {
			more = true
			break
		}
		v, err := records[i].version()
		if err != nil {
			return page, err
		}
		if used += len(v.Raw); sp.Bytes > 0 && used > sp.Bytes && i > 0 {
			more = true
			break
		}
		page.Versions = append(page.Versions, v)
	}
	if more {
		page.Next = s.seal.close(sp, records[len(page.Versions)-1].Seq)
	}
	return page, nil
}

// past is a span of history being read.
type past struct {
	s *Store
	store.Span
	cur   *record   // of one resource
	floor store.Seq // nothing at or below it can be in the span
}

// timeSlack is how far versions may be out of order in time, when servers'
// clocks differ: twice what the counter evens out.
const timeSlack = 2 * clockSlack

// locate finds the resource, or where Since begins in the sequence.
func (h *past) locate(ctx context.Context) (err error) {
	if h.Key.ID != "" {
		h.cur, err = h.s.head(ctx, h.Key, withBody())
		if err == nil && h.cur == nil {
			err = fmt.Errorf("%s: %w", h.Key, store.ErrNotFound)
		}
		return err
	}
	if h.Since.IsZero() {
		return nil
	}
	last, err := h.s.counter.last(ctx)
	if err != nil {
		return err
	}
	return h.bisect(ctx, 0, store.Seq(last.N))
}

// bisect raises floor: times rise with the sequence, but for timeSlack.
func (h *past) bisect(ctx context.Context, low, high store.Seq) error {
	const enough = 256
	early := h.Since.Add(-timeSlack)
	for high-low > enough {
		mid := low + (high-low)/2
		r, err := h.firstFrom(ctx, mid)
		switch {
		case err != nil:
			return err
		case r == nil || !r.Time.Before(early):
			high = mid
		default:
			low = r.Seq
		}
	}
	h.floor = low
	return nil
}

// firstFrom is the version with the lowest sequence number from q on.
func (h *past) firstFrom(ctx context.Context, q store.Seq) (*record, error) {
	var first *record
	for _, c := range []*mongo.Collection{h.s.res, h.s.hist} {
		r, err := one(c.FindOne(ctx, bson.D{{Key: "s", Value: bson.D{{Key: "$gte", Value: int64(q)}}}, {Key: "t", Value: bson.D{{Key: "$gte", Value: ""}}}},
			options.FindOne().SetHint(up("s")).SetSort(up("s")).SetProjection(bson.D{{Key: "s", Value: 1}, {Key: "lu", Value: 1}})))
		if err != nil {
			return nil, err
		}
		if r != nil && (first == nil || r.Seq < first.Seq) {
			first = r
		}
	}
	return first, nil
}

// errEnough ends the reading of a collection.
var errEnough = errors.New("enough bytes")

// read gives up to n versions below the sequence number before (0: all), fewer
// where their packed bodies pass the span's bytes: cut says that there are more.
func (h *past) read(ctx context.Context, before store.Seq, n int) (all []record, cut bool, err error) {
	var floor store.Seq // what is below it was not read, or not all
	for _, c := range []*mongo.Collection{h.s.res, h.s.hist} {
		filter, hint, order := h.query(c == h.s.hist, before)
		cur, err := c.Find(ctx, filter, options.Find().SetHint(hint).SetSort(order).SetProjection(withBody()).
			SetLimit(int64(n)).SetBatchSize(int32(min(n, 1000))))
		used := 0
		err = each(ctx, cur, err, "read history", func(doc bson.Raw) error {
			r, err := readRecord(slices.Clone(doc))
			if err == nil && h.Bytes > 0 && used > h.Bytes {
				floor = max(floor, r.Seq+1)
				return errEnough
			}
			used += len(doc)
			all = append(all, r)
			return err
		})
		if err != nil && !errors.Is(err, errEnough) {
			return nil, false, err
		}
	}
	slices.SortFunc(all, func(a, b record) int { return int(int64(b.Seq) - int64(a.Seq)) })
	all = slices.CompactFunc(all, func(a, b record) bool { return a.Seq == b.Seq })
	all = slices.DeleteFunc(all, func(r record) bool { return r.Seq < floor })
	return all[:min(n, len(all))], floor > 0, nil
}

// query is the span as a query of res or hist, its index and its order.
func (h *past) query(hist bool, before store.Seq) (filter, hint, order bson.D) {
	seqs := bson.D{{Key: "$gt", Value: int64(h.floor)}}
	if before > 0 {
		seqs = append(seqs, bson.E{Key: "$lt", Value: int64(before)})
	}
	switch {
	case h.cur != nil && hist:
		filter, hint, order = bson.D{{Key: "_id", Value: bson.D{
			{Key: "$gte", Value: histID(h.cur.RID, 0)}, {Key: "$lt", Value: histID(h.cur.RID, h.cur.Number)}}}}, up("_id"), down("_id")
	case h.cur != nil:
		filter, hint, order = bson.D{{Key: "_id", Value: int64(h.cur.RID)}}, up("_id"), down("_id")
	case h.Key.Type != "":
		filter, hint, order = bson.D{{Key: "t", Value: h.Key.Type}}, up("t", "s"), down("s")
	default:
		filter, hint, order = bson.D{{Key: "t", Value: bson.D{{Key: "$gte", Value: ""}}}}, up("s"), down("s")
	}
	filter = append(filter, bson.E{Key: "s", Value: seqs})
	times := bson.D{}
	if !h.Since.IsZero() {
		times = append(times, bson.E{Key: "$gte", Value: ceilMilli(h.Since)})
	}
	if !h.Until.IsZero() {
		times = append(times, bson.E{Key: "$lte", Value: h.Until.UTC()})
	}
	if len(times) > 0 {
		filter = append(filter, bson.E{Key: "lu", Value: times})
	}
	return filter, hint, order
}

// ceilMilli rounds up to milliseconds, as versions have them.
func ceilMilli(t time.Time) time.Time {
	if down := t.Truncate(time.Millisecond); !down.Equal(t) {
		return down.Add(time.Millisecond).UTC()
	}
	return t.UTC()
}

// total counts the span. A copy in hist of a version that is still current, as
// a process that died in an update leaves it, counts twice until the next update.
func (h *past) total(ctx context.Context) (int64, error) {
	var total int64
	for _, c := range []*mongo.Collection{h.s.res, h.s.hist} {
		filter, hint, _ := h.query(c == h.s.hist, 0)
		n, err := c.CountDocuments(ctx, filter, options.Count().SetHint(hint))
		if err != nil {
			return 0, classify("count history", err)
		}
		total += n
	}
	return total, nil
}

// formerStep is how many replaced versions Former looks at in one read.
const formerStep = 1000

// Former yields the keys of resources a replaced version of which had an Anchor
// entry that links to owner, by record id. It reads in steps, each as things are.
func (s *Store) Former(ctx context.Context, owner store.Key) iter.Seq2[store.Key, error] {
	return func(yield func(store.Key, error) bool) {
		for after := store.RID(0); ; {
			keys, last, err := s.formerAfter(ctx, owner, after)
			if err != nil {
				yield(store.Key{}, err)
				return
			}
			for _, k := range keys {
				if !yield(k, nil) {
					return
				}
			}
			if last == 0 {
				return
			}
			after = last
		}
	}
}

// formerAfter is a step behind a record, and the record it ends with, 0 at the end.
func (s *Store) formerAfter(ctx context.Context, owner store.Key, after store.RID) (keys []store.Key, last store.RID, err error) {
	if err := s.open(); err != nil {
		return nil, 0, err
	}
	first := map[store.RID]int64{} // its first version that had the owner
	n := 0
	cur, err := s.hist.Find(ctx, bson.D{{Key: "o", Value: int64(ownerHash(owner))}, {Key: "_id", Value: bson.D{{Key: "$gt", Value: histID(after, math.MaxInt64)}}}},
		options.Find().SetHint(up("o", "_id")).SetSort(up("_id")).SetProjection(bson.D{{Key: "_id", Value: 1}}).SetLimit(formerStep).SetBatchSize(formerStep))
	err = each(ctx, cur, err, "read former owners", func(doc bson.Raw) error {
		r, ok := doc.Lookup("_id", "r").Int64OK()
		v, is := doc.Lookup("_id", "v").Int64OK()
		if !ok || !is {
			return fmt.Errorf("mongo: a replaced version without its number: %w", store.ErrCorrupt)
		}
		if n, last = n+1, store.RID(r); first[last] == 0 {
			first[last] = v
		}
		return nil
	})
	if err != nil || len(first) == 0 {
		return nil, 0, err
	}
	keys, err = s.replacedSince(ctx, first)
	if n < formerStep {
		last = 0
	}
	return keys, last, err
}

// replacedSince are the keys of records whose present version is behind one of
// those given. One that is not was copied by a process that died before it
// replaced it.
func (s *Store) replacedSince(ctx context.Context, versions map[store.RID]int64) (keys []store.Key, err error) {
	ids := make(bson.A, 0, len(versions))
	for rid := range versions {
		ids = append(ids, int64(rid))
	}
	cur, err := s.res.Find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}},
		options.Find().SetProjection(headOf()).SetBatchSize(int32(len(ids)+1)))
	err = each(ctx, cur, err, "read former owners", func(doc bson.Raw) error {
		r, err := readRecord(doc)
		if err == nil && r.RID != 0 && r.Number > versions[r.RID] {
			keys = append(keys, r.Key)
		}
		return err
	})
	return keys, err
}

// seal makes and checks history cursors: a sequence number, authenticated
// together with what was asked.
type seal struct{ key []byte }

const macSize = 16

func (k seal) mac(sp store.Span, at []byte) []byte {
	m := hmac.New(sha256.New, k.key)
	_, _ = fmt.Fprintf(m, "history %q %q %d %d ", sp.Key.Type, sp.Key.ID, sp.Since.UnixNano(), sp.Until.UnixNano()) // a hash never fails
	_, _ = m.Write(at)
	return m.Sum(nil)[:macSize]
}

func (k seal) close(sp store.Span, at store.Seq) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(at))
	return base64.RawURLEncoding.EncodeToString(append(b, k.mac(sp, b)...))
}

func (k seal) open(sp store.Span) (store.Seq, error) {
	if sp.After == "" {
		return 0, nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(sp.After)
	if err != nil || len(b) != 8+macSize || !hmac.Equal(b[8:], k.mac(sp, b[:8])) {
		return 0, fmt.Errorf("history cursor: %w", store.ErrCursor)
	}
	return store.Seq(binary.BigEndian.Uint64(b)), nil
}
