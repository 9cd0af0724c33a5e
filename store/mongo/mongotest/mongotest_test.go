package mongotest_test

import (
	"context"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/goleak"

	"candela/store/mongo/mongotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(mongotest.Around(m)) }

func connect(t *testing.T, uri string) *mongo.Client {
	t.Helper()
	c, err := mongo.Connect(options.Client().ApplyURI(uri).SetServerSelectionTimeout(5 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Disconnect(context.Background()) })
	return c
}

func TestFreshDatabases(t *testing.T) {
	a, b := mongotest.URI(t), mongotest.URI(t)
	if a == b {
		t.Fatalf("the same database twice: %s", a)
	}
	c := connect(t, a)
	ctx := context.Background()
	err := c.UseSession(ctx, func(ctx context.Context) error {
		_, err := mongo.SessionFromContext(ctx).WithTransaction(ctx, func(ctx context.Context) (any, error) {
			return c.Database("x").Collection("y").InsertOne(ctx, bson.D{{Key: "a", Value: 1}})
		})
		return err
	})
	if err != nil {
		t.Fatalf("no transactions, so no replica set: %v", err)
	}
}

func TestKilledServerKeepsAcknowledgedWrites(t *testing.T) {
	s := mongotest.Own(t)
	c := connect(t, s.URI(t))
	ctx := context.Background()
	coll := c.Database("x").Collection("y")
	if _, err := coll.InsertOne(ctx, bson.D{{Key: "_id", Value: 1}}); err != nil {
		t.Fatal(err)
	}
	s.Kill()
	if s.PID() != 0 {
		t.Fatal("still there")
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	if n, err := coll.CountDocuments(ctx, bson.D{}); err != nil || n != 1 {
		t.Fatalf("after the restart: %d, %v", n, err)
	}
}
