// Package mongo is the store on a MongoDB replica set. Several server
// processes may work on one database.
//
// It knows MongoDB's rules and how versions, keys and forward records are laid
// out in its collections. It must not know FHIR or HTTP, nor how a query is
// planned.
//
// # Collections
//
//	res      one document per resource, its current version: {_id: rid, t: type,
//	         i: id, v: number, s: seq, lu: time, a: action, h: hash, z: body,
//	         fw: packed forward record, ix: [equal hashes], rx: [ordered keys],
//	         sx: [prefix keys], cx: [timed hashes], d: clock}. A deleted
//	         resource keeps only its head. {_id: -seq, s: seq} marks a sequence
//	         number that will never be a version (see feed). Of an erased
//	         resource {_id: rid, et: type, ei: id, s, lu, a} is left.
//	hist     replaced versions: {_id: {r: rid, v: number}, t, i, s, lu, a, h, z,
//	         o: [hashes of owners]}; of erased ones {_id, s} is left
//	counter  "main": {n: last seq, r: last rid, lu: last time};
//	         "settled": {n: every seq up to it is a version or none for good};
//	         "secret": {k: key of the cursors' seals}
//	claim    {_id: hash of a claim of an IfNone query}, written by every commit that asks it
//	kv       {_id: {b: bucket, k: key}, v: value, x: expiry}
//
// All values that come from outside are BSON strings or bytes in fixed places;
// none is ever a field name or an operator.
package mongo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"candela/store"
	"candela/store/plan"
	"candela/store/turn"
)

// Options are what Open needs beside the address. The zero value is ready to use.
type Options struct {
	Now      func() time.Time // nil: time.Now
	Logger   *slog.Logger     // nil: slog.Default
	Database string           // "": the name in the URI's path, or else "candela"
	// Lease is how long a sequence number may stay without its version before a
	// reader of Changes declares it void; 0: 30 s. A commit that takes longer
	// starts anew.
	Lease time.Duration
}

// Store is a store.Store on one MongoDB database.
type Store struct {
	now    func() time.Time
	log    *slog.Logger
	client *mongo.Client
	db     *mongo.Database
	res    *mongo.Collection
	hist   *mongo.Collection
	claim  *mongo.Collection
	kv     *mongo.Collection

	counter   *counter
	feed      *feed
	planner   *plan.Planner
	seal      seal
	gates     gates
	turns     turn.Turns // of the commits of this process to one resource or claim; MongoDB decides all races, this saves losing them
	estimates estimates
	reaper    reaper

	closing chan struct{} // closed by Close
	mu      sync.Mutex    // orders background against Close
	work    sync.WaitGroup
}

var _ store.Store = (*Store)(nil)

// Close waits for what is under way in the background and disconnects. All
// later calls give store.ErrUnavailable.
func (s *Store) Close() error {
	s.mu.Lock()
	closed := s.open() != nil
	if !closed {
		close(s.closing)
	}
	s.mu.Unlock()
	if closed {
		return nil
	}
	s.work.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), selectTime)
	defer cancel()
	s.feed.persist(ctx)
	return classify("close", s.client.Disconnect(ctx))
}

// Ping asks the primary for an answer.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.open(); err != nil {
		return err
	}
	return classify("ping", s.db.RunCommand(ctx, bson.D{{Key: "ping", Value: 1}}).Err())
}

// open says whether Close was not yet called.
func (s *Store) open() error {
	select {
	case <-s.closing:
		return fmt.Errorf("store is closed: %w", store.ErrUnavailable)
	default:
		return nil
	}
}

// background runs f until it ends; Close waits for it. After Close nothing runs.
func (s *Store) background(f func(ctx context.Context)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open() != nil {
		return
	}
	s.work.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), backgroundTime)
		defer cancel()
		f(ctx)
	})
}

// backgroundTime bounds a piece of background work.
const backgroundTime = 10 * time.Second

// snapshotSession is a session whose reads all see one moment. End it.
func (s *Store) snapshotSession() (*mongo.Session, error) {
	if err := s.open(); err != nil {
		return nil, err
	}
	sess, err := s.client.StartSession(options.Session().SetSnapshot(true))
	return sess, classify("session", err)
}

// majorityReads says what all reads outside sessions see: what a majority of
// the replica set has, so that nothing read is ever rolled back.
func majorityReads() *options.DatabaseOptionsBuilder {
	return options.Database().SetReadConcern(readconcern.Majority()).SetWriteConcern(durable())
}

// errAgain says that a race was lost before anything was written: try anew.
var errAgain = errors.New("lost a race")

// The server's error codes that name a state of the store. Everything else
// that is no network error or timeout is a defect and stays unclassified.
var (
	codesUnavailable = []int{6, 7, 50, 63, 64, 89, 91, 133, 134, 189, 202, 246, 262, 365, 384, 9001, 10058, 10107, 11600, 11602, 13435, 13436}
	codesConflict    = []int{112}
	codesFull        = []int{14031, 28, 8000}
	codesTooLarge    = []int{257, 290, 334, 394, 10334, 17280, 17419, 17420}
	codesDenied      = []int{13, 18}
)

// classify wraps err in the sentinel that says what it means; nil stays nil.
func classify(doing string, err error) error {
	if err == nil {
		return nil
	}
	if s := sentinel(err); s != nil && !errors.Is(err, s) {
		return fmt.Errorf("mongo: %s: %w: %w", doing, s, err)
	}
	return fmt.Errorf("mongo: %s: %w", doing, err)
}

func sentinel(err error) error {
	switch {
	case errors.Is(err, driver.ErrDocumentTooLarge), hasCode(err, codesTooLarge...):
		return store.ErrTooLarge
	case hasCode(err, codesFull...):
		return store.ErrFull
	case mongo.IsDuplicateKeyError(err), hasCode(err, codesConflict...):
		return store.ErrConflict
	case mongo.IsNetworkError(err), mongo.IsTimeout(err), hasCode(err, codesUnavailable...), hasCode(err, codesDenied...),
		errors.Is(err, mongo.ErrClientDisconnected), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		selectionFailed(err):
		return store.ErrUnavailable
	}
	return nil
}

// selectionFailed says that no primary was found in time.
func selectionFailed(err error) bool {
	var se topology.ServerSelectionError
	return errors.As(err, &se)
}

func hasCode(err error, codes ...int) bool {
	var se mongo.ServerError
	if !errors.As(err, &se) {
		return false
	}
	for _, c := range codes {
		if se.HasErrorCode(c) {
			return true
		}
	}
	return false
}

func hasLabel(err error, label string) bool {
	var le mongo.LabeledError
	return errors.As(err, &le) && le.HasErrorLabel(label)
}

// twin names the index whose uniqueness err is about, by its first field: "t",
// "s" or "_id"; "" when err is about none. at is the place in the batch.
func twin(err error) (field string, at int) {
	var we mongo.WriteException
	if errors.As(err, &we) && len(we.WriteErrors) > 0 {
		return twinOf(we.WriteErrors[0])
	}
	var be mongo.BulkWriteException
	if errors.As(err, &be) && len(be.WriteErrors) > 0 {
		return twinOf(be.WriteErrors[0].WriteError)
	}
	return "", 0
}

func twinOf(e mongo.WriteError) (field string, at int) {
	const duplicateKey = 11000
	if e.Code != duplicateKey {
		return "", 0
	}
	if pattern, ok := e.Raw.Lookup("keyPattern").DocumentOK(); ok {
		if first, err := pattern.IndexErr(0); err == nil {
			return first.Key(), e.Index
		}
	}
	return "_id", e.Index
}
