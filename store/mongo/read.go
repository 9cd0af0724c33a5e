package mongo

import (
	"context"
	"errors"
	"fmt"

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
	r, err := s.head(ctx, k, true)
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
	r, err := s.head(ctx, k, true)
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
func (s *Store) head(ctx context.Context, k store.Key, withBody bool) (*record, error) {
	if k.Type == "" || k.ID == "" {
		return nil, nil
	}
	return one(s.res.FindOne(ctx, bson.D{{Key: "t", Value: k.Type}, {Key: "i", Value: k.ID}},
		options.FindOne().SetHint(up("t", "i")).SetProjection(headOf(withBody))))
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
