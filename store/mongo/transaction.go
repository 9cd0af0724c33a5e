package mongo

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"

	"candela/store"
)

// transact does a batch in one transaction: claims first, so that equal IfNone
// queries conflict; then all reads, on the transaction's snapshot; then the
// verdicts; only then sequence numbers are taken and everything is written.
func (s *Store) transact(ctx context.Context, batch []pending) ([]store.Result, error) {
	sess, err := s.client.StartSession()
	if err != nil {
		return nil, classify("session", err)
	}
	defer sess.EndSession(context.WithoutCancel(ctx))
	err = sess.StartTransaction(options.Transaction().SetReadConcern(readconcern.Snapshot()).SetWriteConcern(durable()))
	if err != nil {
		return nil, classify("transaction", err)
	}
	t := &transaction{s: s, sess: sess, batch: batch}
	results, err := t.run(mongo.NewSessionContext(ctx, sess))
	if err == nil {
		err = t.commit(ctx)
	}
	if err != nil {
		t.abort(ctx)
		s.forfeit(t.grant, err)
		return nil, err
	}
	return results, nil
}

// fresher is the document of a new resource and its op.
type fresher struct {
	op  int
	doc bson.Raw
}

// transaction is one attempt at a batch.
type transaction struct {
	s     *Store
	sess  *mongo.Session
	batch []pending
	grant grant

	verdicts []verdict
	heads    []*record // what is, nil where the key never existed
	records  []*record // what will be, nil where nothing changes

	old   []any              // documents for hist
	wiped []mongo.WriteModel // of hist
	fresh []fresher
	swaps []mongo.WriteModel
}

func (t *transaction) run(ctx context.Context) ([]store.Result, error) {
	if err := t.claim(ctx); err != nil {
		return nil, err
	}
	if err := t.hold(ctx); err != nil {
		return nil, err
	}
	if err := t.read(ctx); err != nil {
		return nil, err
	}
	if err := t.judge(ctx); err != nil {
		return nil, err
	}
	if err := t.build(ctx); err != nil {
		return nil, err
	}
	if err := t.write(ctx); err != nil {
		return nil, err
	}
	results := make([]store.Result, len(t.batch))
	for i := range t.batch {
		results[i] = t.batch[i].result(t.verdicts[i], t.heads[i], t.records[i])
	}
	return results, nil
}

// claim writes the claims of all IfNone queries, each once and in order: one that
// another transaction holds makes one of the two fail and start anew.
func (t *transaction) claim(ctx context.Context) error {
	var claims []string
	for i := range t.batch {
		claims = append(claims, t.batch[i].claims...)
	}
	if len(claims) == 0 {
		return nil
	}
	slices.Sort(claims)
	claims = slices.Compact(claims)
	models := make([]mongo.WriteModel, len(claims))
	for i, c := range claims {
		sum := sha256.Sum256([]byte(c))
		models[i] = mongo.NewUpdateOneModel().SetUpsert(true).
			SetFilter(bson.D{{Key: "_id", Value: bson.Binary{Data: sum[:16]}}}).
			SetUpdate(bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: int64(1)}}}, {Key: "$currentDate", Value: bson.D{{Key: "at", Value: true}}}})
	}
	_, err := t.s.claim.BulkWrite(ctx, models)
	if mongo.IsDuplicateKeyError(err) {
		return errAgain
	}
	return classify("claim", err)
}

// hold takes the documents that will be erased, so that writers who come in the
// meantime wait: a busy resource would be replaced in every try otherwise.
func (t *transaction) hold(ctx context.Context) error {
	some, _ := t.keys(func(p *pending) bool { return p.Action == store.Erase })
	if len(some) == 0 {
		return nil
	}
	_, err := t.s.res.UpdateMany(ctx, bson.D{{Key: "$or", Value: some}}, bson.D{{Key: "$set", Value: bson.D{{Key: "held", Value: true}}}})
	return classify("hold what is erased", err)
}

// keys is the conditions that find the documents of some ops, one for each type,
// and the ops' places.
func (t *transaction) keys(which func(*pending) bool) (some bson.A, place map[store.Key]int) {
	byType := map[string][]string{}
	place = map[store.Key]int{}
	for i := range t.batch {
		if p := &t.batch[i]; which(p) {
			byType[p.Key.Type] = append(byType[p.Key.Type], p.Key.ID)
			place[p.Key] = i
		}
	}
	for typ, ids := range byType {
		some = append(some, bson.D{{Key: "t", Value: typ}, {Key: "i", Value: bson.D{{Key: "$in", Value: ids}}}})
	}
	return some, place
}

// read fetches the present versions. Creates are not read: the index decides.
func (t *transaction) read(ctx context.Context) error {
	t.heads = make([]*record, len(t.batch))
	some, place := t.keys(func(p *pending) bool { return p.Action != store.Create })
	if len(some) == 0 {
		return nil
	}
	cur, err := t.s.res.Find(ctx, bson.D{{Key: "$or", Value: some}}, options.Find().SetProjection(toReplace()).SetBatchSize(int32(min(len(place)+1, 2000))))
	return each(ctx, cur, err, "read present versions", func(doc bson.Raw) error {
		r, err := readRecord(bson.Raw(append([]byte(nil), doc...)))
		if err == nil {
			t.heads[place[r.Key]] = &r
		}
		return err
	})
}

// judge decides every op, the IfNone queries on the transaction's own snapshot.
func (t *transaction) judge(ctx context.Context) error {
	t.verdicts = make([]verdict, len(t.batch))
	for i := range t.batch {
		p := &t.batch[i]
		v, err := p.judge(t.heads[i])
		if err == nil && p.IfNone != nil {
			err = t.ifNone(ctx, p.IfNone)
		}
		if err != nil {
			return opError(i, err)
		}
		t.verdicts[i] = v
	}
	return nil
}

// build takes numbers and makes all documents.
func (t *transaction) build(ctx context.Context) (err error) {
	seqs, rids := 0, 0
	for _, v := range t.verdicts {
		if v == fresh || v == next || v == wipe {
			seqs++
		}
		if v == fresh {
			rids++
		}
	}
	if seqs > 0 {
		if t.grant, err = t.s.counter.take(ctx, seqs, rids); err != nil {
			return err
		}
	}
	t.records = make([]*record, len(t.batch))
	seq, rid := t.grant.seq, t.grant.rid
	for i, v := range t.verdicts {
		if v == nothing {
			continue
		}
		t.records[i] = t.batch[i].make(v, t.heads[i], seq, rid, t.grant.time)
		if err := t.document(i, v); err != nil {
			return opError(i, err)
		}
		if v != renew {
			seq++
		}
		if v == fresh {
			rid++
		}
	}
	return nil
}

// document queues what op i writes.
func (t *transaction) document(i int, v verdict) error {
	if v == wipe {
		return t.erase(i)
	}
	doc, err := t.records[i].current(t.batch[i].Entries)
	if err != nil {
		return err
	}
	if v == fresh {
		t.fresh = append(t.fresh, fresher{i, doc})
		return nil
	}
	t.swaps = append(t.swaps, mongo.NewReplaceOneModel().SetFilter(isVersion(t.heads[i])).SetReplacement(doc))
	if v == next {
		old, err := t.heads[i].replaced()
		if err != nil {
			return err
		}
		t.old = append(t.old, old)
	}
	return nil
}

// erase leaves of a record a tombstone in res and, of each version, its number and
// sequence number in hist: who read the record before and copies it to hist late
// finds the place taken, and the sequence has no gap.
func (t *transaction) erase(i int) error {
	was := t.heads[i]
	doc, err := t.records[i].tombstone()
	if err != nil {
		return err
	}
	t.swaps = append(t.swaps, mongo.NewReplaceOneModel().SetFilter(isVersion(was)).SetReplacement(doc))
	last := histID(was.RID, was.Number)
	if was.Number > 1 {
		t.wiped = append(t.wiped, mongo.NewUpdateManyModel().
			SetFilter(bson.D{{Key: "_id", Value: bson.D{{Key: "$gte", Value: histID(was.RID, 0)}, {Key: "$lt", Value: last}}}}).
			SetUpdate(mongo.Pipeline{{{Key: "$replaceWith", Value: bson.D{{Key: "_id", Value: "$_id"}, {Key: "s", Value: "$s"}}}}}))
	}
	t.wiped = append(t.wiped, mongo.NewReplaceOneModel().SetUpsert(true).SetFilter(bson.D{{Key: "_id", Value: last}}).
		SetReplacement(bson.D{{Key: "_id", Value: last}, {Key: "s", Value: int64(was.Seq)}}))
	return nil
}

func (t *transaction) write(ctx context.Context) error {
	if err := t.keep(ctx); err != nil {
		return err
	}
	if len(t.wiped) > 0 {
		if _, err := t.s.hist.BulkWrite(ctx, t.wiped); err != nil {
			return raced(err, store.Put)
		}
	}
	if len(t.fresh) > 0 {
		if _, err := t.s.res.InsertMany(ctx, t.alike()); err != nil {
			return t.inserted(err)
		}
	}
	if len(t.swaps) == 0 {
		return nil
	}
	done, err := t.s.res.BulkWrite(ctx, t.swaps)
	if err != nil {
		return raced(err, store.Put)
	}
	if done.MatchedCount != int64(len(t.swaps)) {
		return errAgain
	}
	return nil
}

// alike is the new documents, one type after another: their keys lie together
// in the indexes, and what they have in common lies in one block, which then
// takes a quarter less on disk.
func (t *transaction) alike() []bson.Raw {
	slices.SortStableFunc(t.fresh, func(a, b fresher) int {
		return strings.Compare(t.batch[a.op].Key.Type, t.batch[b.op].Key.Type)
	})
	docs := make([]bson.Raw, len(t.fresh))
	for i := range t.fresh {
		docs[i] = t.fresh[i].doc
	}
	return docs
}

// keep writes the old versions. An insert would end the transaction where a
// lost race has left a copy, so each is an upsert.
func (t *transaction) keep(ctx context.Context) error {
	models := make([]mongo.WriteModel, 0, len(t.old))
	for _, doc := range t.old {
		raw, ok := doc.(bson.Raw)
		if !ok {
			return errors.New("mongo: an old version is no document")
		}
		models = append(models, mongo.NewReplaceOneModel().SetUpsert(true).
			SetFilter(bson.D{{Key: "_id", Value: raw.Lookup("_id")}}).SetReplacement(raw))
	}
	if len(models) == 0 {
		return nil
	}
	if _, err := t.s.hist.BulkWrite(ctx, models); err != nil {
		return raced(err, store.Put)
	}
	return nil
}

// inserted names the op whose insert met a twin.
func (t *transaction) inserted(err error) error {
	_, at := twin(err)
	if at >= len(t.fresh) {
		return classify("insert", err)
	}
	op := t.fresh[at].op
	return opError(op, raced(err, t.batch[op].Action))
}

// unknownTime is how long a commit asks for its outcome when the answer is lost.
const unknownTime = 10 * time.Second

// commit repeats itself while its outcome is unknown; the server answers the
// same each time.
func (t *transaction) commit(ctx context.Context) error {
	if t.grant.seqs == 0 && len(t.swaps) == 0 {
		return t.sess.AbortTransaction(ctx) // nothing was written but claims
	}
	for begin := time.Now(); ; {
		err := t.sess.CommitTransaction(ctx)
		if err == nil {
			return nil
		}
		unknown := hasLabel(err, "UnknownTransactionCommitResult") || selectionFailed(err)
		if !unknown {
			return classify("commit", err)
		}
		if time.Since(begin) > unknownTime || ctx.Err() != nil {
			return fmt.Errorf("whether it was done is not known: %w: %w", classify("commit", err), store.ErrUnavailable)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// abort ends what run left open; the server would do it after a minute.
func (t *transaction) abort(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), selectTime)
	defer cancel()
	_ = t.sess.AbortTransaction(ctx) // it may have ended already
}

// ifNone fails when q matches in the transaction's snapshot.
func (t *transaction) ifNone(ctx context.Context, q *store.Query) error {
	one := store.Query{Types: q.Types, Where: q.Where, Count: 1, NoRaw: true}
	page, err := t.s.planner.FindIn(ctx, t.s.snapshot(t.sess, false), one)
	switch {
	case err != nil:
		return err
	case len(page.Versions) > 0:
		return fmt.Errorf("%s matches: %w", page.Versions[0].Key, store.ErrPrecondition)
	}
	return nil
}

// each hands every document of a cursor to f, and closes it.
func each(ctx context.Context, cur *mongo.Cursor, err error, doing string, f func(bson.Raw) error) error {
	if err != nil {
		return classify(doing, err)
	}
	defer func() { _ = cur.Close(context.WithoutCancel(ctx)) }()
	for cur.Next(ctx) {
		if err := f(cur.Current); err != nil {
			return err
		}
	}
	return classify(doing, cur.Err())
}
