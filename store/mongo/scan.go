package mongo

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"candela/store"
	"candela/store/plan"
)

// A scan is read in steps of growing size, each a query of its own that begins
// behind the last hit: no cursor is left open on the server when the caller has
// enough.
const (
	stepFirst = 100    // when the caller gives no hint
	stepMax   = 10_000 // hits of a long walk
	stepRows  = 200    // hits whose forward records come along
	stepBody  = 64     // hits whose bodies come along too: as many as a page has
)

// Scan walks one index. A resource comes once per step, at the first of its
// keys that the walk meets there.
func (p *snapshot) Scan(ctx context.Context, sc plan.Scan) iter.Seq2[plan.Hit, error] {
	return func(yield func(plan.Hit, error) bool) {
		w := walk{Scan: sc, step: min(cmp.Or(sc.Hint, stepFirst), stepMax)}
		w.After.Order = slices.Clone(sc.After.Order)
		w.resumed = sc.After.RID != 0 || sc.After.Order != nil
		for more := !w.empty(); more; {
			w.rows = sc.Hint > 0 && w.step <= stepRows && len(p.rows) < rowCache
			n, wanted, err := p.step(ctx, &w, yield)
			if err != nil {
				yield(plan.Hit{}, err)
				return
			}
			more = wanted && n == w.step
			w.step = min(w.step*4, stepMax)
		}
	}
}

// step reads up to w.step hits and moves w behind the last; wanted is false
// when the caller has enough.
func (p *snapshot) step(ctx context.Context, w *walk, yield func(plan.Hit, error) bool) (n int, wanted bool, err error) {
	filter, opt := w.query()
	cur, err := p.s.res.Find(p.in(ctx), filter, opt.SetLimit(int64(w.step)).SetBatchSize(int32(w.step)))
	wanted = true
	err = each(ctx, cur, err, "scan", func(doc bson.Raw) error {
		n++
		if !wanted {
			return nil
		}
		if w.rows {
			if err := p.keep(doc, w.bodies()); err != nil {
				return err
			}
		}
		hit, err := w.hit(doc)
		if err != nil {
			return err
		}
		w.After, w.resumed = hit, true
		wanted = yield(hit, nil)
		return nil
	})
	return n, wanted, err
}

// walk is a scan under way.
type walk struct {
	plan.Scan
	resumed bool // After is set
	step    int
	rows    bool // forward records come along
}

// empty says that nothing lies between From and To.
func (w *walk) empty() bool {
	return w.From != nil && w.To != nil && bytes.Compare(w.From, w.To) > 0 && !(w.Index == plan.Prefix && bytes.HasPrefix(w.From, w.To))
}

// query is the next step as a query. Walks in the order of their index are
// given by its first and last key (min, max): that bounds a multikey index by
// one of its keys, gives back that key, and reads no documents.
func (w *walk) query() (filter bson.D, opt *options.FindOptionsBuilder) {
	opt = options.Find()
	switch {
	case w.Index == plan.Equal:
		return w.equal(opt)
	case w.Index == plan.Timed && !w.Desc:
		return w.timedUp(opt)
	}
	index, first, last := w.bounds()
	opt.SetHint(index).SetMin(first).SetMax(last)
	if w.rows {
		return bson.D{}, opt.SetProjection(append(w.fields("_id"), bson.E{Key: "k", Value: bson.D{{Key: "$meta", Value: "indexKey"}}}))
	}
	return bson.D{}, opt.SetReturnKey(true)
}

func (w *walk) equal(opt *options.FindOptionsBuilder) (bson.D, *options.FindOptionsBuilder) {
	how, dir := "$gt", int32(1)
	if w.Desc {
		how, dir = "$lt", -1
	}
	filter := bson.D{{Key: "ix", Value: listed(&w.Scan)}}
	if w.resumed {
		filter = append(filter, bson.E{Key: "_id", Value: bson.D{{Key: how, Value: int64(w.After.RID)}}})
	}
	return filter, opt.SetHint(up("ix", "_id")).SetSort(directed(dir, []string{"_id"})).SetProjection(w.fields("_id"))
}

// uniteMost lists are walked as one: of so many the server merges the keys in
// the order of the record ids, where of more it would sort them.
const uniteMost = 100

// Unite makes the snapshot a plan.Uniter.
func (p *snapshot) Unite() int { return uniteMost }

// listed is the condition on ix that a resource stands in a list of an Equal scan.
func listed(sc *plan.Scan) any {
	if len(sc.More) == 0 {
		return int64(sc.Hash)
	}
	any := bson.A{int64(sc.Hash)}
	for _, h := range sc.More {
		any = append(any, int64(h))
	}
	return bson.D{{Key: "$in", Value: any}}
}

// timedUp walks the index on (cx, d, _id) against its order.
func (w *walk) timedUp(opt *options.FindOptionsBuilder) (bson.D, *options.FindOptionsBuilder) {
	low, high := int64(math.MinInt64), int64(math.MaxInt64)
	if w.From != nil {
		low = clockOf(w.From)
	}
	if w.To != nil {
		high = clockOf(w.To)
	}
	filter := bson.D{{Key: "cx", Value: int64(w.Hash)}}
	if w.resumed {
		at := clockOf(w.After.Order)
		low = max(low, at)
		filter = append(filter, bson.E{Key: "$or", Value: bson.A{
			bson.D{{Key: "d", Value: bson.D{{Key: "$gt", Value: at}}}},
			bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: int64(w.After.RID)}}}},
		}})
	}
	filter = append(filter, bson.E{Key: "d", Value: bson.D{{Key: "$gte", Value: low}, {Key: "$lte", Value: high}}})
	return filter, opt.SetHint(timedIndex()).SetSort(up("d", "_id")).SetProjection(w.fields("d"))
}

func (w *walk) fields(field string) bson.D {
	d := bson.D{{Key: "_id", Value: 1}}
	if field != "_id" {
		d = append(d, bson.E{Key: field, Value: 1})
	}
	if w.rows {
		d = append(d, bson.E{Key: "fw", Value: 1})
	}
	if w.bodies() {
		d = append(d, withBody()...)
	}
	return d
}

// bodies says whether bodies come along.
func (w *walk) bodies() bool { return w.rows && w.step <= stepBody }

// timedIndex is walked in its own order for newest first, the common case.
func timedIndex() bson.D {
	return bson.D{{Key: "cx", Value: int32(1)}, {Key: "d", Value: int32(-1)}, {Key: "_id", Value: int32(-1)}}
}

// bounds is the index of a walk in index order, its first key (inclusive) and
// its last (exclusive, so that its _id lies beyond all).
func (w *walk) bounds() (index, first, last bson.D) {
	var field string
	switch w.Index {
	case plan.Ordered:
		index, field = directed(w.sign(), []string{"rx", "_id"}), "rx"
	case plan.Prefix:
		index, field = directed(w.sign(), []string{"sx", "_id"}), "sx"
	default:
		index, field = timedIndex(), "d"
	}
	low, high := bson.E{Key: field, Value: w.low(w.From)}, bson.E{Key: field, Value: w.high(w.To)}
	least, most := bson.E{Key: "_id", Value: bson.MinKey{}}, bson.E{Key: "_id", Value: bson.MaxKey{}}
	if w.Desc {
		first, last = bson.D{high, most}, bson.D{low, least}
	} else {
		first, last = bson.D{low, least}, bson.D{high, most}
	}
	if w.resumed {
		first = bson.D{{Key: field, Value: w.low(w.After.Order)}, {Key: "_id", Value: int64(w.After.RID) + int64(w.sign())}}
	}
	if field == "d" {
		lead := bson.E{Key: "cx", Value: int64(w.Hash)}
		first, last = append(bson.D{lead}, first...), append(bson.D{lead}, last...)
	}
	return index, first, last
}

func (w *walk) sign() int32 {
	if w.Desc {
		return -1
	}
	return 1
}

// low is the key of order, nil the lowest.
func (w *walk) low(order []byte) any {
	switch w.Index {
	case plan.Ordered:
		return bson.Binary{Data: orderedKey(w.Hash, order, 0)}
	case plan.Prefix:
		return prefixKey(w.Hash, order)
	default:
		if order == nil {
			return int64(math.MinInt64)
		}
		return clockOf(order)
	}
}

// high is the highest key with order, nil the highest of all. A prefix is
// filled up with the last code point beyond the length of any key.
func (w *walk) high(order []byte) any {
	switch w.Index {
	case plan.Ordered:
		return bson.Binary{Data: orderedKey(w.Hash, order, 0xff)}
	case plan.Prefix:
		return prefixKey(w.Hash, order) + strings.Repeat("\U0010FFFF", plan.PrefixLen/4+1)
	default:
		if order == nil {
			return int64(math.MaxInt64)
		}
		return clockOf(order)
	}
}

// hit reads the index key of a result.
func (w *walk) hit(doc bson.Raw) (plan.Hit, error) {
	key := doc
	if k, ok := doc.Lookup("k").DocumentOK(); ok {
		key = k
	}
	rid, ok := key.Lookup("_id").Int64OK()
	hit := plan.Hit{RID: store.RID(rid)}
	if !ok {
		return hit, fmt.Errorf("mongo: index key without a record id: %w", store.ErrCorrupt)
	}
	switch w.Index {
	case plan.Ordered:
		_, b, is := key.Lookup("rx").BinaryOK()
		if ok = is && len(b) == 16; ok {
			hit.Order = slices.Clone(b[8:])
		}
	case plan.Prefix:
		s, is := key.Lookup("sx").StringValueOK()
		if ok = is && len(s) >= prefixLead; ok {
			hit.Order = []byte(s[prefixLead:])
		}
	case plan.Timed:
		var d int64
		d, ok = key.Lookup("d").Int64OK()
		hit.Order = clockBytes(d)
	case plan.Equal:
	}
	if !ok {
		return hit, fmt.Errorf("mongo: index key of another kind: %w", store.ErrCorrupt)
	}
	return hit, nil
}

// estimates remembers how many hits scans had; a count costs a round trip, and
// time that grows with the hits. What is small is counted, what is large is
// sampled.
type estimates struct {
	mu   sync.Mutex
	seen map[string]estimate
}

type estimate struct {
	hits  int64
	exact bool // else there are about so many, and at least countMost
	until time.Time
}

const (
	countMost     = 1000 // hits counted one by one
	countLife     = 30 * time.Second
	sampleLife    = 5 * time.Minute
	estimateMost  = 10_000 // scans remembered
	sampleStrips  = 100    // places in the rids where a sample is taken
	sampleStrip   = 20     // neighbours looked at in each
	sampleSmaller = 10_000 // rids that are counted rather than sampled
)

// Estimate is exact up to countMost.
func (p *snapshot) Estimate(ctx context.Context, sc plan.Scan, limit int64) (int64, error) {
	if len(sc.More) > 0 {
		return p.estimateUnited(ctx, sc, limit)
	}
	name := fmt.Sprintf("%d %x %x %x", sc.Index, sc.Hash, sc.From, sc.To)
	known, ok := p.s.estimates.get(name)
	if !ok || !known.exact && known.hits == 0 && limit > countMost {
		var err error
		if known, err = p.measure(ctx, sc, limit); err != nil {
			return 0, err
		}
		p.s.estimates.put(name, known)
	}
	if !known.exact {
		known.hits = max(known.hits, countMost)
	}
	return min(known.hits, limit), nil
}

// estimateUnited counts several lists as one; where that does not come to an
// end, it asks for a few of them one by one. No two searches ask for the same
// lists, so nothing is remembered.
func (p *snapshot) estimateUnited(ctx context.Context, sc plan.Scan, limit int64) (int64, error) {
	const sample = 8
	least, err := p.count(ctx, sc, nil, min(limit, countMost))
	if err != nil || least < countMost || limit <= countMost {
		return least, err
	}
	lists := append([]uint64{sc.Hash}, sc.More...)
	asked := lists[:min(len(lists), sample)]
	n := int64(0)
	for _, h := range asked {
		e, err := p.Estimate(ctx, plan.Scan{Index: plan.Equal, Hash: h}, limit)
		if err != nil {
			return 0, err
		}
		n += e
	}
	return min(max(n*int64(len(lists))/int64(len(asked)), least), limit), nil
}

// measure counts, then samples when that did not come to an end. hits 0 without
// exact says that there are more than countMost and no sample was asked for.
func (p *snapshot) measure(ctx context.Context, sc plan.Scan, limit int64) (estimate, error) {
	most := int64(countMost)
	if p.top < sampleSmaller {
		most = sampleSmaller
	}
	n, err := p.count(ctx, sc, nil, most)
	switch {
	case err != nil || n < most:
		return estimate{n, true, time.Now().Add(countLife)}, err
	case limit <= countMost || p.top == math.MaxInt64:
		return estimate{0, false, time.Now().Add(countLife)}, nil
	}
	rids := sampled(p.top)
	if n, err = p.count(ctx, sc, rids, int64(len(rids))); err != nil {
		return estimate{}, err
	}
	n = int64(float64(n) * float64(p.top) / float64(len(rids)))
	return estimate{max(n, most), false, time.Now().Add(sampleLife)}, nil
}

// sampled is strips of neighbouring rids spread evenly up to top.
func sampled(top store.RID) bson.A {
	rids := make(bson.A, 0, sampleStrips*sampleStrip)
	width := int64(top) / sampleStrips
	for i := range int64(sampleStrips) {
		first := i*width + rand.Int64N(max(width-sampleStrip, 1)) + 1
		for j := range int64(sampleStrip) {
			rids = append(rids, first+j)
		}
	}
	return rids
}

func (e *estimates) get(name string) (estimate, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	known, ok := e.seen[name]
	return known, ok && time.Now().Before(known.until)
}

func (e *estimates) put(name string, known estimate) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.seen == nil || len(e.seen) >= estimateMost {
		e.seen = map[string]estimate{}
	}
	e.seen[name] = known
}

// count counts the hits of a scan, at most limit; with among only those of
// these rids.
func (p *snapshot) count(ctx context.Context, sc plan.Scan, among bson.A, limit int64) (int64, error) {
	w := walk{Scan: sc}
	if limit <= 0 || w.empty() {
		return 0, nil
	}
	var field string
	var index bson.D
	between := bson.D{{Key: "$gte", Value: w.low(sc.From)}, {Key: "$lte", Value: w.high(sc.To)}}
	filter := bson.D{}
	switch sc.Index {
	case plan.Equal:
		filter, index = bson.D{{Key: "ix", Value: listed(&sc)}}, up("ix", "_id")
	case plan.Timed:
		filter, index = bson.D{{Key: "cx", Value: int64(sc.Hash)}, {Key: "d", Value: between}}, timedIndex()
	case plan.Ordered:
		field = "rx"
	case plan.Prefix:
		field = "sx"
	}
	if field != "" {
		filter, index = bson.D{{Key: field, Value: bson.D{{Key: "$elemMatch", Value: between}}}}, up(field, "_id")
	}
	if among != nil {
		filter = append(filter, bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: among}}})
		if sc.Index != plan.Equal { // nothing of the index is in the order of the rids
			index = up("_id")
		}
	}
	n, err := p.s.res.CountDocuments(p.in(ctx), filter, options.Count().SetHint(index).SetLimit(limit))
	return n, classify("estimate", err)
}

// countFetch is how much longer the second list must be for the server to count
// two by looking at the documents of the first: that takes it as long as
// sending so many hits takes.
const countFetch = 3

// Count lets the server count: one list in its index, of several the documents
// of the shortest.
func (p *snapshot) Count(ctx context.Context, hashes []uint64) (n int64, ok bool, err error) {
	for i := range min(len(hashes), 2) {
		e, err := p.Estimate(ctx, plan.Scan{Index: plan.Equal, Hash: hashes[i]}, math.MaxInt64)
		if err != nil || i == 1 && e < countFetch*n {
			return 0, false, err
		}
		n = e
	}
	filter := bson.D{{Key: "ix", Value: int64(hashes[0])}}
	if p.top < math.MaxInt64 {
		filter = append(filter, bson.E{Key: "_id", Value: bson.D{{Key: "$lte", Value: int64(p.top)}}})
	}
	if len(hashes) > 1 {
		rest := make(bson.A, 0, len(hashes)-1)
		for _, h := range hashes[1:] {
			rest = append(rest, int64(h))
		}
		// an expression, since of plain conditions the server may look up any
		filter = append(filter, bson.E{Key: "$expr", Value: bson.D{{Key: "$setIsSubset", Value: bson.A{rest, "$ix"}}}})
	}
	n, err = p.s.res.CountDocuments(p.in(ctx), filter, options.Count().SetHint(up("ix", "_id")))
	return n, true, classify("count", err)
}
