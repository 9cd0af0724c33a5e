package mongo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"candela/store"
)

// counter hands out sequence numbers, record ids and times from one document,
// so that all three rise together over all processes. A number is taken after
// the reads its commit rests on: what commits later has a higher one. Commits
// that ask at the same time share one round trip.
type counter struct {
	s        *Store
	coll     *mongo.Collection
	requests chan ticket
}

// ticket asks for seqs sequence numbers and rids record ids.
type ticket struct {
	seqs, rids int
	reply      chan grant // has room for one
}

// grant is the answer to a ticket: the first numbers of each kind.
type grant struct {
	seq  store.Seq
	rid  store.RID
	time time.Time
	seqs int
	err  error
}

// clockSlack is how far a granted time may run ahead of our clock in order not
// to fall behind that of another process.
const clockSlack = time.Minute

func newCounter(s *Store) *counter {
	return &counter{s: s, coll: s.db.Collection("counter"), requests: make(chan ticket)}
}

// format is the number of the layout of our documents; a database of another
// is refused, because its index entries would be read wrong.
const format = 2

// prepare makes sure that the counter is there, with the layout's number in it.
func (c *counter) prepare(ctx context.Context) error {
	err := c.layout(ctx)
	if mongo.IsDuplicateKeyError(err) { // another process was first
		err = c.layout(ctx)
	}
	return err
}

func (c *counter) layout(ctx context.Context) error {
	var main struct {
		Format int32 `bson:"format"`
	}
	err := c.coll.FindOneAndUpdate(ctx, bson.D{{Key: "_id", Value: "main"}}, bson.D{
		{Key: "$inc", Value: bson.D{{Key: "n", Value: int64(0)}, {Key: "r", Value: int64(0)}}},
		{Key: "$setOnInsert", Value: bson.D{{Key: "format", Value: int32(format)}}},
	}, options.FindOneAndUpdate().SetUpsert(true).SetReturnDocument(options.After)).Decode(&main)
	if mongo.IsDuplicateKeyError(err) {
		return err
	}
	if err != nil {
		return classify("prepare the counter", err)
	}
	if main.Format != format {
		return fmt.Errorf("database %s has layout %d, this program reads %d: load the data into a new database: %w",
			c.s.db.Name(), main.Format, format, store.ErrUnavailable)
	}
	return nil
}

// start serves tickets until the store closes.
func (c *counter) start() {
	c.s.work.Go(func() {
		for {
			select {
			case t := <-c.requests:
				c.serve(c.together(t))
			case <-c.s.closing:
				return
			}
		}
	})
}

// together takes all tickets that wait beside t.
func (c *counter) together(t ticket) []ticket {
	all := []ticket{t}
	for {
		select {
		case t := <-c.requests:
			all = append(all, t)
		default:
			return all
		}
	}
}

func (c *counter) serve(tickets []ticket) {
	var seqs, rids int
	for _, t := range tickets {
		seqs, rids = seqs+t.seqs, rids+t.rids
	}
	ctx, cancel := context.WithTimeout(context.Background(), backgroundTime)
	defer cancel()
	g, err := c.advance(ctx, seqs, rids)
	for _, t := range tickets {
		g.seqs, g.err = t.seqs, err
		t.reply <- g
		g.seq += store.Seq(t.seqs)
		g.rid += store.RID(t.rids)
	}
}

// counts is the counter's document.
type counts struct {
	N  int64     `bson:"n"`
	R  int64     `bson:"r"`
	LU time.Time `bson:"lu"`
}

// advance moves the counter. The time is ours, or the last one granted where
// that is later, within clockSlack.
func (c *counter) advance(ctx context.Context, seqs, rids int) (grant, error) {
	now := c.s.now().UTC().Truncate(time.Millisecond)
	lu := bson.D{{Key: "$max", Value: bson.A{now, bson.D{{Key: "$min", Value: bson.A{
		bson.D{{Key: "$ifNull", Value: bson.A{"$lu", now}}}, now.Add(clockSlack)}}}}}}
	set := bson.D{
		{Key: "n", Value: bson.D{{Key: "$add", Value: bson.A{"$n", int64(seqs)}}}},
		{Key: "r", Value: bson.D{{Key: "$add", Value: bson.A{"$r", int64(rids)}}}},
		{Key: "lu", Value: lu},
	}
	var after counts
	err := c.coll.FindOneAndUpdate(ctx, bson.D{{Key: "_id", Value: "main"}},
		mongo.Pipeline{{{Key: "$set", Value: set}}}, options.FindOneAndUpdate().SetReturnDocument(options.After)).Decode(&after)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return grant{}, fmt.Errorf("mongo: the counter is gone: %w", store.ErrCorrupt)
	}
	if err != nil {
		return grant{}, classify("count", err)
	}
	return grant{
		seq: store.Seq(after.N-int64(seqs)) + 1, rid: store.RID(after.R-int64(rids)) + 1, time: after.LU.UTC(),
	}, nil
}

// take asks for numbers. What is not used must be given to Store.void.
func (c *counter) take(ctx context.Context, seqs, rids int) (grant, error) {
	t := ticket{seqs: seqs, rids: rids, reply: make(chan grant, 1)}
	select {
	case c.requests <- t:
	case <-ctx.Done():
		return grant{}, classify("count", ctx.Err())
	case <-c.s.closing:
		return grant{}, c.s.open()
	}
	select {
	case g := <-t.reply:
		return g, g.err
	case <-ctx.Done():
		c.s.background(func(ctx context.Context) { c.s.void(ctx, <-t.reply) })
		return grant{}, classify("count", ctx.Err())
	}
}

// last reads the counter.
func (c *counter) last(ctx context.Context) (counts, error) {
	var n counts
	err := c.coll.FindOne(ctx, bson.D{{Key: "_id", Value: "main"}}).Decode(&n)
	return n, classify("read the counter", err)
}

// void declares granted sequence numbers that made no version void, so that
// readers of Changes need not wait for them. It may come too late or too early:
// the index on s lets either the version or the mark exist.
func (s *Store) void(ctx context.Context, g grant) {
	if g.err != nil || g.seqs == 0 {
		return
	}
	seqs := make([]store.Seq, 0, g.seqs)
	for i := range g.seqs {
		seqs = append(seqs, g.seq+store.Seq(i))
	}
	if err := s.voidAll(ctx, seqs); err != nil {
		s.log.Debug("sequence numbers stay open until their lease ends", slog.Uint64("first", uint64(g.seq)), slog.Int("count", g.seqs), slog.Any("error", err))
	}
}

func (s *Store) voidAll(ctx context.Context, seqs []store.Seq) error {
	docs := make([]any, 0, len(seqs))
	for _, q := range seqs {
		docs = append(docs, bson.D{{Key: "_id", Value: -int64(q)}, {Key: "s", Value: int64(q)}})
	}
	_, err := s.res.InsertMany(ctx, docs, options.InsertMany().SetOrdered(false))
	if mongo.IsDuplicateKeyError(err) { // a version, or marked already
		return nil
	}
	return classify("mark void numbers", err)
}
