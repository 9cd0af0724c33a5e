package mongo

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"

	"candela/store"
)

// appName is how the server lists our connections.
const appName = "candela"

const (
	selectTime    = 3 * time.Second  // how long an operation looks for a primary
	operationTime = 15 * time.Second // how long one that came without a deadline may take
)

// durable is acknowledged by a majority of the replica set, from its journal.
func durable() *writeconcern.WriteConcern {
	journal := true
	wc := writeconcern.Majority()
	wc.Journal = &journal
	return wc
}

// Open connects to the replica set (or sharded cluster) of a mongodb:// or
// mongodb+srv:// URI and creates what is missing of collections and indexes.
// Its errors say what to do.
func Open(ctx context.Context, uri string, opt Options) (*Store, error) {
	client, name, err := connect(uri)
	if err != nil {
		return nil, err
	}
	s := newStore(client, cmp.Or(opt.Database, name, "candela"), opt)
	if err = s.checkTopology(ctx); err == nil {
		err = s.prepare(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, client.Disconnect(context.WithoutCancel(ctx)))
	}
	s.gates = newGates(s.cacheOf(ctx))
	s.counter.start()
	return s, nil
}

func connect(uri string) (client *mongo.Client, database string, err error) {
	if !strings.HasPrefix(uri, connstring.SchemeMongoDB+"://") && !strings.HasPrefix(uri, connstring.SchemeMongoDBSRV+"://") {
		return nil, "", fmt.Errorf("store URI must begin with mongodb:// or mongodb+srv://: %w", store.ErrUnavailable)
	}
	cs, err := connstring.ParseAndValidate(uri)
	if err != nil {
		return nil, "", fmt.Errorf("store URI cannot be read: %w: %w", err, store.ErrUnavailable)
	}
	opts := options.Client().ApplyURI(uri).SetAppName(appName).
		SetReadPreference(readpref.Primary()).SetRetryWrites(true).SetRetryReads(true)
	if opts.ServerSelectionTimeout == nil {
		opts.SetServerSelectionTimeout(selectTime)
	}
	if opts.Timeout == nil {
		opts.SetTimeout(operationTime)
	}
	client, err = mongo.Connect(opts)
	if err != nil {
		return nil, "", fmt.Errorf("store URI cannot be used: %w: %w", err, store.ErrUnavailable)
	}
	return client, cs.Database, nil
}

func newStore(client *mongo.Client, database string, opt Options) *Store {
	db := client.Database(database, majorityReads())
	s := &Store{
		now: opt.Now, log: opt.Logger, client: client, db: db,
		res: db.Collection("res"), hist: db.Collection("hist"),
		claim: db.Collection("claim"), kv: db.Collection("kv"),
		closing: make(chan struct{}),
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.counter = newCounter(s)
	s.planner = planner(s)
	s.feed = newFeed(s, cmp.Or(opt.Lease, 30*time.Second))
	return s
}

// checkTopology refuses a server without transactions before anything is written.
func (s *Store) checkTopology(ctx context.Context) error {
	var hello struct {
		Set string `bson:"setName"`
		Msg string `bson:"msg"`
	}
	err := s.client.Database("admin").RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&hello)
	if err != nil {
		return explainConnect(err)
	}
	if hello.Set == "" && hello.Msg != "isdbgrid" {
		return fmt.Errorf("the MongoDB server is standalone, and Candela needs transactions: "+
			"start mongod with --replSet NAME, run rs.initiate() once in mongosh, and add ?replicaSet=NAME to the URI: %w", store.ErrUnavailable)
	}
	return nil
}

// explainConnect says what is wrong with the address, in the order of likelihood.
func explainConnect(err error) error {
	text := err.Error()
	switch {
	case hasCode(err, 18) || strings.Contains(text, "auth error") || strings.Contains(text, "AuthenticationFailed"):
		return fmt.Errorf("MongoDB refuses the user name or password of the store URI (is authSource right?): %w: %w", err, store.ErrUnavailable)
	case strings.Contains(text, "does not match the client") || strings.Contains(text, "replica set name") || strings.Contains(text, "ReplicaSetNoPrimary"):
		return fmt.Errorf("the servers of the store URI have no primary: is replicaSet=… the set's name, and was rs.initiate() run? %w: %w", err, store.ErrUnavailable)
	}
	return fmt.Errorf("MongoDB cannot be reached at the store URI: %w: %w", err, store.ErrUnavailable)
}

// indexes are few and do not depend on the search parameters. Those on fields
// that some documents lack are partial, so that such documents cost nothing.
// Only a forward walk gives a multikey index's entries as they are, so rx and
// sx have one for each direction.
func indexes() map[string][]mongo.IndexModel {
	return map[string][]mongo.IndexModel{
		"res": {
			{Keys: up("t", "i"), Options: partial("t").SetUnique(true)},
			{Keys: up("s"), Options: options.Index().SetUnique(true)},
			{Keys: up("t", "s"), Options: partial("t")},
			{Keys: up("ix", "_id"), Options: partial("ix")},
			{Keys: up("rx", "_id"), Options: partial("rx")},
			{Keys: down("rx", "_id"), Options: partial("rx")},
			{Keys: up("sx", "_id"), Options: partial("sx")},
			{Keys: down("sx", "_id"), Options: partial("sx")},
			{Keys: timedIndex(), Options: partial("cx")},
		},
		"hist":  {{Keys: up("s")}, {Keys: up("t", "s")}, {Keys: up("o", "_id"), Options: partial("o")}},
		"claim": {{Keys: up("at"), Options: options.Index().SetExpireAfterSeconds(3600)}},
		// Expiry is exact by our own clock; an hour later the server tidies up.
		"kv": {{Keys: up("x"), Options: options.Index().SetExpireAfterSeconds(3600).SetSparse(true)}},
	}
}

func up(fields ...string) bson.D { return directed(1, fields) }

func down(fields ...string) bson.D { return directed(-1, fields) }

func directed(dir int32, fields []string) bson.D {
	d := make(bson.D, 0, len(fields))
	for _, f := range fields {
		d = append(d, bson.E{Key: f, Value: dir})
	}
	return d
}

func partial(field string) *options.IndexOptionsBuilder {
	return options.Index().SetPartialFilterExpression(bson.D{{Key: field, Value: bson.D{{Key: "$exists", Value: true}}}})
}

// createPacked creates the two large collections with the tighter of
// WiredTiger's block compressors: bodies are packed for it, see package body.
// What exists stays as it is, and a server that has no zstd uses its own way.
func (s *Store) createPacked(ctx context.Context) error {
	packed := options.CreateCollection().SetStorageEngine(bson.D{{Key: "wiredTiger", Value: bson.D{{Key: "configString", Value: "block_compressor=zstd"}}}})
	for _, c := range []*mongo.Collection{s.res, s.hist} {
		err := s.db.CreateCollection(ctx, c.Name(), packed)
		var refused mongo.CommandError
		if errors.As(err, &refused) && sentinel(err) == nil {
			s.log.Debug("collection not created", slog.String("name", c.Name()), slog.Any("reason", err)) // most likely it is there
			continue
		}
		if err != nil {
			return classify("create "+c.Name(), err)
		}
	}
	return nil
}

// prepare creates collections and indexes, which does nothing where they exist,
// and reads what all processes share.
func (s *Store) prepare(ctx context.Context) error {
	if err := s.createPacked(ctx); err != nil {
		return err
	}
	for name, models := range indexes() {
		if _, err := s.db.Collection(name).Indexes().CreateMany(ctx, models); err != nil {
			return classify("create indexes of "+name, err)
		}
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	var secret struct {
		Key []byte `bson:"k"`
	}
	err := s.counter.coll.FindOneAndUpdate(ctx, bson.D{{Key: "_id", Value: "secret"}},
		bson.D{{Key: "$setOnInsert", Value: bson.D{{Key: "k", Value: key}}}},
		options.FindOneAndUpdate().SetUpsert(true).SetReturnDocument(options.After)).Decode(&secret)
	if mongo.IsDuplicateKeyError(err) { // another process was first
		err = s.counter.coll.FindOne(ctx, bson.D{{Key: "_id", Value: "secret"}}).Decode(&secret)
	}
	if err != nil {
		return classify("read settings", err)
	}
	s.seal = seal{secret.Key}
	return s.counter.prepare(ctx)
}
