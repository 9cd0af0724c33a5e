package mongo

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"candela/store"
	"candela/store/body"
	"candela/store/plan"
)

// snapshot is one moment of the database: a session whose reads all happen at
// one cluster time, which MongoDB keeps readable for five minutes. Within a
// transaction it is the transaction's view. It is used by one goroutine.
type snapshot struct {
	s    *Store
	sess *mongo.Session
	own  bool // sess ends with the snapshot

	// rows are forward records and bodies are records that came with a scan, so
	// that Rows and Bodies need no round trip for them.
	rows   map[store.RID][]byte
	bodies map[store.RID]record
	top    store.RID
}

// How many forward records and bodies a snapshot keeps at most.
const (
	rowCache  = 20_000
	bodyCache = 2_000
)

// inBatch is how many documents one $in asks for.
const inBatch = 1000

// planner plans for an engine at the other end of a network: a round trip costs
// what reading some hundred index entries does, and a forward record, once
// asked for, little more than they.
func planner(s *Store) *plan.Planner {
	return plan.New(s, plan.Options{SeekCost: 200, RowCost: 6})
}

// Find answers a query on one snapshot.
func (s *Store) Find(ctx context.Context, q store.Query) (store.Page, error) {
	if err := s.open(); err != nil {
		return store.Page{}, err
	}
	return s.planner.Find(ctx, q)
}

// Snapshot makes Store a plan.Engine.
func (s *Store) Snapshot(ctx context.Context) (plan.Snapshot, error) {
	sess, err := s.snapshotSession()
	if err != nil {
		return nil, err
	}
	p := s.snapshot(sess, true)
	if err := p.readTop(ctx); err != nil {
		return nil, fmt.Errorf("open a snapshot: %w", err)
	}
	return p, nil
}

func (s *Store) snapshot(sess *mongo.Session, own bool) *snapshot {
	return &snapshot{s: s, sess: sess, own: own, rows: map[store.RID][]byte{}, bodies: map[store.RID]record{}, top: math.MaxInt64}
}

// readTop reads the counter in the snapshot, and so fixes its moment.
func (p *snapshot) readTop(ctx context.Context) error {
	n, err := p.s.counter.last(p.in(ctx))
	p.top = store.RID(n.R)
	return err
}

// in makes reads with ctx see the snapshot.
func (p *snapshot) in(ctx context.Context) context.Context {
	return mongo.NewSessionContext(ctx, p.sess)
}

// Top is the highest RID that the counter had granted.
func (p *snapshot) Top() store.RID { return p.top }

// Close ends the session.
func (p *snapshot) Close() error {
	if p.own {
		p.sess.EndSession(context.Background())
	}
	return nil
}

// Lookup finds the RIDs of live resources by key.
func (p *snapshot) Lookup(ctx context.Context, keys []store.Key) ([]store.RID, error) {
	out := make([]store.RID, len(keys))
	for from := 0; from < len(keys); from += inBatch {
		if err := p.lookup(ctx, keys[from:min(from+inBatch, len(keys))], out[from:]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (p *snapshot) lookup(ctx context.Context, keys []store.Key, out []store.RID) error {
	byType := map[string][]string{}
	for _, k := range keys {
		byType[k.Type] = append(byType[k.Type], k.ID)
	}
	found := make(map[store.Key]store.RID, len(keys))
	projection := bson.D{{Key: "t", Value: 1}, {Key: "i", Value: 1}, {Key: "a", Value: 1}}
	rows := len(keys) <= stepBody && len(p.rows) < rowCache
	if rows { // what is looked up is looked at: it may come along
		projection = append(withBody(), bson.E{Key: "fw", Value: 1})
	}
	for typ, ids := range byType {
		cur, err := p.s.res.Find(p.in(ctx), bson.D{{Key: "t", Value: typ}, {Key: "i", Value: bson.D{{Key: "$in", Value: ids}}}},
			options.Find().SetHint(up("t", "i")).SetBatchSize(int32(len(ids)+1)).
				SetProjection(projection))
		err = each(ctx, cur, err, "look up keys", func(doc bson.Raw) error {
			r, err := readRecord(doc)
			if err != nil || !r.live() {
				return err
			}
			found[r.Key] = r.RID
			if rows {
				return p.keep(doc, true)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for i, k := range keys {
		out[i] = found[k]
	}
	return nil
}

// Rows gives forward records, from the scans before where they brought them.
func (p *snapshot) Rows(ctx context.Context, rids []store.RID) ([]plan.Row, error) {
	var missing []store.RID
	for _, rid := range rids {
		if _, ok := p.rows[rid]; !ok {
			missing = append(missing, rid)
		}
	}
	fetched := p.rows
	if len(missing) > 0 {
		if len(p.rows)+len(missing) > rowCache {
			fetched = make(map[store.RID][]byte, len(rids))
			for _, rid := range rids {
				if fw, ok := p.rows[rid]; ok {
					fetched[rid] = fw
				}
			}
			p.rows = map[store.RID][]byte{}
		}
		if err := p.fetch(ctx, missing, bson.D{{Key: "fw", Value: 1}}, func(doc bson.Raw) error {
			return keepRow(fetched, doc)
		}); err != nil {
			return nil, err
		}
	}
	rows := make([]plan.Row, 0, len(rids))
	for _, rid := range rids {
		if fw := fetched[rid]; len(fw) > 0 {
			row, err := openRow(fw)
			if err != nil {
				return nil, fmt.Errorf("mongo: forward record %d: %w: %w", rid, store.ErrCorrupt, err)
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// openRow unpacks a forward record. It is packed as bodies are, whose dictionary
// knows the addresses and codes in it.
func openRow(fw []byte) (plan.Row, error) {
	raw, err := body.Expand(nil, fw)
	if err != nil {
		return plan.Row{}, err
	}
	return plan.OpenRow(raw)
}

// keepRow copies the forward record of doc into rows.
func keepRow(rows map[store.RID][]byte, doc bson.Raw) error {
	rid, ok := doc.Lookup("_id").Int64OK()
	if !ok {
		return fmt.Errorf("mongo: document without a record id: %w", store.ErrCorrupt)
	}
	if _, fw, ok := doc.Lookup("fw").BinaryOK(); ok {
		rows[store.RID(rid)] = slices.Clone(fw)
	}
	return nil
}

// keep keeps what came with a scan.
func (p *snapshot) keep(doc bson.Raw, body bool) error {
	if err := keepRow(p.rows, doc); err != nil || !body || len(p.bodies) >= bodyCache {
		return err
	}
	r, err := readRecord(slices.Clone(doc))
	p.bodies[r.RID] = r
	return err
}

// fetch hands the documents of rids to f, in any order.
func (p *snapshot) fetch(ctx context.Context, rids []store.RID, projection bson.D, f func(bson.Raw) error) error {
	for from := 0; from < len(rids); from += inBatch {
		part := rids[from:min(from+inBatch, len(rids))]
		ids := make(bson.A, 0, len(part))
		for _, rid := range part {
			ids = append(ids, int64(rid))
		}
		cur, err := p.s.res.Find(p.in(ctx), bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}},
			options.Find().SetProjection(projection).SetBatchSize(int32(len(ids)+1)))
		if err := each(ctx, cur, err, "fetch documents", f); err != nil {
			return err
		}
	}
	return nil
}

// Bodies gives current versions with their bodies.
func (p *snapshot) Bodies(ctx context.Context, rids []store.RID) ([]store.Version, error) {
	var missing []store.RID
	for _, rid := range rids {
		if _, ok := p.bodies[rid]; !ok {
			missing = append(missing, rid)
		}
	}
	found := p.bodies
	if len(missing) > bodyCache {
		found = maps.Clone(p.bodies)
	}
	err := p.fetch(ctx, missing, withBody(), func(doc bson.Raw) error {
		r, err := readRecord(slices.Clone(doc))
		found[r.RID] = r
		return err
	})
	if err != nil {
		return nil, err
	}
	out := make([]store.Version, 0, len(rids))
	for _, rid := range rids {
		r, ok := found[rid]
		if !ok || !r.live() {
			continue
		}
		v, err := r.version()
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// Types names the types that have or had resources.
func (p *snapshot) Types(ctx context.Context) ([]string, error) {
	var types []string
	err := p.s.res.Distinct(p.in(ctx), "t", bson.D{{Key: "t", Value: bson.D{{Key: "$gte", Value: ""}}}}).Decode(&types)
	slices.Sort(types)
	return types, classify("list types", err)
}
