package mongo

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"candela/store"
)

// kvDoc is a document of kv. X is absent for what never expires.
type kvDoc struct {
	ID struct {
		B string `bson:"b"`
		K string `bson:"k"`
	} `bson:"_id"`
	V []byte     `bson:"v"`
	X *time.Time `bson:"x,omitempty"`
}

func kvID(bucket, key string) bson.E {
	return bson.E{Key: "_id", Value: bson.D{{Key: "b", Value: bucket}, {Key: "k", Value: key}}}
}

// unexpired is met by documents whose time has not come, also those without one.
func (s *Store) unexpired() bson.E {
	return bson.E{Key: "x", Value: bson.D{{Key: "$not", Value: bson.D{{Key: "$lte", Value: s.now().UTC()}}}}}
}

func (s *Store) expired() bson.E {
	return bson.E{Key: "x", Value: bson.D{{Key: "$lte", Value: s.now().UTC()}}}
}

// kvSet is the update that makes a document hold value for ttl.
func (s *Store) kvSet(value []byte, ttl time.Duration) bson.D {
	if value == nil {
		value = []byte{}
	}
	v := bson.E{Key: "v", Value: bson.Binary{Data: value}}
	if ttl == 0 {
		return bson.D{{Key: "$set", Value: bson.D{v}}, {Key: "$unset", Value: bson.D{{Key: "x", Value: ""}}}}
	}
	return bson.D{{Key: "$set", Value: bson.D{v, {Key: "x", Value: s.now().UTC().Add(ttl)}}}}
}

// KVGet reads one value.
func (s *Store) KVGet(ctx context.Context, bucket, key string) ([]byte, error) {
	if err := s.open(); err != nil {
		return nil, err
	}
	return kvValue(bucket, key, s.kv.FindOne(ctx, bson.D{kvID(bucket, key), s.unexpired()}))
}

// KVTake reads and deletes in one step of the server.
func (s *Store) KVTake(ctx context.Context, bucket, key string) ([]byte, error) {
	if err := s.open(); err != nil {
		return nil, err
	}
	return kvValue(bucket, key, s.kv.FindOneAndDelete(ctx, bson.D{kvID(bucket, key), s.unexpired()}))
}

func kvValue(bucket, key string, res *mongo.SingleResult) ([]byte, error) {
	var doc kvDoc
	switch err := res.Decode(&doc); {
	case errors.Is(err, mongo.ErrNoDocuments):
		return nil, fmt.Errorf("%s %q: %w", bucket, key, store.ErrNotFound)
	case err != nil:
		return nil, classify("read a value", err)
	}
	return doc.V, nil
}

// KVPut sets one value.
func (s *Store) KVPut(ctx context.Context, bucket, key string, value []byte, ttl time.Duration) error {
	if err := s.open(); err != nil {
		return err
	}
	_, err := s.kv.UpdateOne(ctx, bson.D{kvID(bucket, key)}, s.kvSet(value, ttl), options.UpdateOne().SetUpsert(true))
	if mongo.IsDuplicateKeyError(err) { // another upsert was first: now it is there
		_, err = s.kv.UpdateOne(ctx, bson.D{kvID(bucket, key)}, s.kvSet(value, ttl), options.UpdateOne().SetUpsert(true))
	}
	return classify("write a value", err)
}

// KVSwap replaces old by new; nil stands for absent on both sides.
func (s *Store) KVSwap(ctx context.Context, bucket, key string, old, new []byte, ttl time.Duration) error {
	if err := s.open(); err != nil {
		return err
	}
	var n int64
	var err error
	switch {
	case old == nil && new == nil:
		n, err = s.kvAbsent(ctx, bucket, key)
	case old == nil:
		n, err = s.kvInsert(ctx, bucket, key, new, ttl)
	case new == nil:
		var res *mongo.DeleteResult
		if res, err = s.kv.DeleteOne(ctx, s.kvHolds(bucket, key, old)); err == nil {
			n = res.DeletedCount
		}
	default:
		var res *mongo.UpdateResult
		if res, err = s.kv.UpdateOne(ctx, s.kvHolds(bucket, key, old), s.kvSet(new, ttl)); err == nil {
			n = res.MatchedCount
		}
	}
	if err == nil && n == 0 {
		return fmt.Errorf("%s %q holds another value: %w", bucket, key, store.ErrConflict)
	}
	return classify("swap a value", err)
}

func (s *Store) kvHolds(bucket, key string, value []byte) bson.D {
	return bson.D{kvID(bucket, key), {Key: "v", Value: bson.Binary{Data: value}}, s.unexpired()}
}

// kvInsert sets a value where there is none, or only one that has expired: then
// the upsert finds it, and else the index on _id refuses a second document.
func (s *Store) kvInsert(ctx context.Context, bucket, key string, value []byte, ttl time.Duration) (int64, error) {
	res, err := s.kv.UpdateOne(ctx, bson.D{kvID(bucket, key), s.expired()}, s.kvSet(value, ttl), options.UpdateOne().SetUpsert(true))
	if mongo.IsDuplicateKeyError(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return res.MatchedCount + res.UpsertedCount, nil
}

// kvAbsent is 1 when there is no value.
func (s *Store) kvAbsent(ctx context.Context, bucket, key string) (int64, error) {
	_, err := s.KVGet(ctx, bucket, key)
	if errors.Is(err, store.ErrNotFound) {
		return 1, nil
	}
	return 0, err
}

// KVDelete removes a value; an absent one is no error.
func (s *Store) KVDelete(ctx context.Context, bucket, key string) error {
	if err := s.open(); err != nil {
		return err
	}
	_, err := s.kv.DeleteOne(ctx, bson.D{kvID(bucket, key)})
	return classify("delete a value", err)
}

// KVList yields the keys that begin with prefix, in order.
func (s *Store) KVList(ctx context.Context, bucket, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := s.open(); err != nil {
			yield("", err)
			return
		}
		filter := bson.D{{Key: "_id", Value: bson.D{
			{Key: "$gte", Value: bson.D{{Key: "b", Value: bucket}, {Key: "k", Value: prefix}}},
			{Key: "$lt", Value: bson.D{{Key: "b", Value: bucket}, {Key: "k", Value: bson.MaxKey{}}}},
		}}, s.unexpired()}
		cur, err := s.kv.Find(ctx, filter, options.Find().SetSort(up("_id")).SetProjection(bson.D{{Key: "_id", Value: 1}}))
		if err != nil {
			yield("", classify("list values", err))
			return
		}
		defer func() { _ = cur.Close(context.WithoutCancel(ctx)) }()
		for cur.Next(ctx) {
			key := cur.Current.Lookup("_id", "k").StringValue()
			if !strings.HasPrefix(key, prefix) || !yield(key, nil) {
				return // keys with the prefix lie together, first
			}
		}
		if err := cur.Err(); err != nil {
			yield("", classify("list values", err))
		}
	}
}
