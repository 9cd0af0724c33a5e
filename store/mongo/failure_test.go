package mongo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"candela/store"
	"candela/store/mongo"
	"candela/store/mongo/mongotest"
)

// TestKilledUnderWrites: mongod is killed by SIGKILL while many write, twice;
// what was acknowledged is there, in full, and the feed is whole.
func TestKilledUnderWrites(t *testing.T) {
	server := mongotest.Own(t)
	s := open(t, server.URI(t), mongo.Options{Lease: 2 * time.Second})
	ctx, cancel := context.WithCancel(context.Background())
	var mu sync.Mutex
	acked := map[store.Key]string{}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				text := fmt.Sprint(w, " ", i)
				ops := []store.Op{put("Same", fmt.Sprint(w), text), put("New", fmt.Sprint(w, "-", i), text)}
				if i%2 == 0 {
					ops = ops[:1]
				}
				_, err := s.Commit(context.Background(), ops...)
				if err != nil && !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("writer %d: %v", w, err)
				}
				if err == nil {
					mu.Lock()
					for _, op := range ops {
						acked[op.Key] = text
					}
					mu.Unlock()
				}
			}
		})
	}
	for range 2 {
		time.Sleep(700 * time.Millisecond)
		server.Kill()
		time.Sleep(100 * time.Millisecond)
		if err := server.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(700 * time.Millisecond)
	cancel()
	wg.Wait()
	if len(acked) < 50 {
		t.Fatalf("only %d resources were written", len(acked))
	}
	checkAcked(t, s, acked)
}

func checkAcked(t *testing.T, s *mongo.Store, acked map[store.Key]string) {
	t.Helper()
	ctx := context.Background()
	versions := 0
	for k, text := range acked {
		v, err := s.Get(ctx, k)
		if err != nil || k.Type == "New" && string(v.Raw) != text {
			t.Fatalf("%v was acknowledged as %q and is %q, %v", k, text, v.Raw, err)
		}
		found := false
		for n := v.Number; n > 0 && !found; n-- {
			old, err := s.GetVersion(ctx, k, n)
			if err != nil {
				t.Fatalf("%v version %d of %d: %v", k, n, v.Number, err)
			}
			found = string(old.Raw) == text
		}
		if !found {
			t.Fatalf("%v: acknowledged %q is no version", k, text)
		}
	}
	page, err := s.History(ctx, store.Span{Count: 1_000_000, Total: true})
	if err != nil {
		t.Fatal(err)
	}
	versions = len(page.Versions)
	got := read(t, s, 0, versions, 30*time.Second)
	numbers := map[store.Key]int64{}
	for _, v := range got {
		if numbers[v.Key]++; v.Number != numbers[v.Key] {
			t.Fatalf("%v version %d came as its change number %d", v.Key, v.Number, numbers[v.Key])
		}
	}
}

// TestStoreDown: everything says so within seconds, and works again afterwards.
func TestStoreDown(t *testing.T) {
	server := mongotest.Own(t)
	s := open(t, server.URI(t), mongo.Options{})
	ctx := context.Background()
	if _, err := s.Commit(ctx, put("T", "1", "one")); err != nil {
		t.Fatal(err)
	}
	for name, stop := range map[string]func(){"killed": server.Kill, "hung": server.Pause} {
		stop()
		calls := map[string]func() error{
			"Get":     func() error { _, err := s.Get(ctx, store.Key{Type: "T", ID: "1"}); return err },
			"Version": func() error { _, err := s.GetVersion(ctx, store.Key{Type: "T", ID: "1"}, 1); return err },
			"Find":    func() error { _, err := s.Find(ctx, store.Query{Types: []string{"T"}, Count: 1}); return err },
			"History": func() error { _, err := s.History(ctx, store.Span{Count: 1}); return err },
			"Commit":  func() error { _, err := s.Commit(ctx, put("T", "1", "two")); return err },
			"Create": func() error {
				_, err := s.Commit(ctx, store.Op{Action: store.Create, Key: store.Key{Type: "T", ID: "9"}})
				return err
			},
			"Bundle": func() error { _, err := s.Commit(ctx, put("T", "1", "two"), put("T", "2", "two")); return err },
			"Head":   func() error { _, err := s.Head(ctx); return err },
			"KVGet":  func() error { _, err := s.KVGet(ctx, "b", "k"); return err },
			"KVPut":  func() error { return s.KVPut(ctx, "b", "k", nil, 0) },
			"Ping":   func() error { return s.Ping(ctx) },
			"Changes": func() error {
				for _, err := range s.Changes(ctx, 0) {
					return err
				}
				return nil
			},
		}
		var wg sync.WaitGroup
		for call, f := range calls {
			wg.Go(func() {
				begin := time.Now()
				err := f()
				if !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("%s, %s: %v", name, call, err)
				}
				if d := time.Since(begin); d > 25*time.Second {
					t.Errorf("%s, %s: answered after %v", name, call, d)
				}
			})
		}
		wg.Wait()
		if name == "killed" {
			if err := server.Restart(); err != nil {
				t.Fatal(err)
			}
		} else {
			server.Resume()
		}
		deadline := time.Now().Add(30 * time.Second)
		for s.Ping(ctx) != nil && time.Now().Before(deadline) {
		}
		if _, err := s.Get(ctx, store.Key{Type: "T", ID: "1"}); err != nil {
			t.Fatalf("after it was %s: %v", name, err)
		}
	}
}

func TestWrongURIs(t *testing.T) {
	good := mongotest.URI(t)
	alone, err := mongotest.StartAlone()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(alone.Remove)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	_ = closed.Close()
	for name, c := range map[string]struct{ uri, says string }{
		"empty":            {"", "must begin with mongodb://"},
		"another scheme":   {"http://127.0.0.1/", "must begin with mongodb://"},
		"no host":          {"mongodb://", "cannot be read"},
		"bad option":       {"mongodb://127.0.0.1/?w=majority&connectTimeoutMS=soon", "cannot be read"},
		"bad port":         {"mongodb://127.0.0.1:port/", "cannot be read"},
		"nobody listens":   {"mongodb://" + nobody + "/", "cannot be reached"},
		"unknown host":     {"mongodb://nobody.invalid/", "cannot be reached"},
		"standalone":       {"mongodb://" + alone.Host() + "/", "--replSet"},
		"another set name": {strings.Replace(good, "replicaSet=candela", "replicaSet=other", 1), "replicaSet="},
		"no such user":     {strings.Replace(good, "mongodb://", "mongodb://nobody:wrong@", 1) + "&authSource=admin", "user name or password"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			s, err := mongo.Open(context.Background(), c.uri, mongo.Options{})
			if err == nil {
				_ = s.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), c.says) || !errors.Is(err, store.ErrUnavailable) {
				t.Fatalf("error %q does not say %q", err, c.says)
			}
			if strings.Contains(err.Error(), "wrong@") {
				t.Fatalf("the error shows the password: %v", err)
			}
			if d := time.Since(begin); d > 10*time.Second {
				t.Fatalf("told after %v", d)
			}
		})
	}
}

// TestDatabaseName: the option, else the URI's path, else candela.
func TestDatabaseName(t *testing.T) {
	uri := mongotest.URI(t)
	s := open(t, uri, mongo.Options{})
	if _, err := s.Commit(context.Background(), put("T", "1", "one")); err != nil {
		t.Fatal(err)
	}
	if n, err := raw(t, uri).Collection("res").CountDocuments(context.Background(), bson.D{{Key: "t", Value: "T"}}); err != nil || n != 1 {
		t.Fatalf("%d documents in the named database, %v", n, err)
	}
}

func TestTooLarge(t *testing.T) {
	ctx := context.Background()
	s := open(t, mongotest.URI(t), mongo.Options{})
	big := make([]byte, 17<<20)
	for i, x := 0, uint64(1); i < len(big); i++ { // nothing to compress
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		big[i] = byte(x)
	}
	over := store.Op{Action: store.Put, Key: store.Key{Type: "T", ID: "big"}, Raw: big}
	for _, ops := range [][]store.Op{{over}, {put("T", "1", "one"), over}} {
		_, err := s.Commit(ctx, ops...)
		var at *store.OpError
		if !errors.Is(err, store.ErrTooLarge) || !errors.As(err, &at) || at.Index != len(ops)-1 {
			t.Fatalf("%d ops: %v", len(ops), err)
		}
	}
	if err := s.KVPut(ctx, "b", "k", big, 0); !errors.Is(err, store.ErrTooLarge) {
		t.Fatalf("KV: %v", err)
	}
	if _, err := s.Get(ctx, store.Key{Type: "T", ID: "1"}); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("half a commit was done: %v", err)
	}
	many := make([]store.Op, 50_001)
	for i := range many {
		many[i] = put("T", fmt.Sprint(i), "x")
	}
	if _, err := s.Commit(ctx, many...); !errors.Is(err, store.ErrTooLarge) {
		t.Fatalf("%d ops: %v", len(many), err)
	}
	if _, err := s.Commit(ctx, put("T", "1", string(bytes.Repeat([]byte("candela "), 4<<20)))); err != nil {
		t.Fatalf("32 MB that pack well: %v", err)
	}
}

// TestServerErrors: what mongod answers when its disk is full, when it steps
// down, when a transaction must be repeated.
func TestServerErrors(t *testing.T) {
	server := mongotest.Own(t)
	s := open(t, server.URI(t), mongo.Options{})
	ctx := context.Background()
	if _, err := s.Commit(ctx, put("T", "1", "one")); err != nil {
		t.Fatal(err)
	}
	fail := func(times int, commands bson.A, more ...bson.E) {
		t.Helper()
		data := append(bson.D{{Key: "failCommands", Value: commands}}, more...)
		if err := server.FailPoint("failCommand", bson.D{{Key: "times", Value: times}}, data); err != nil {
			t.Fatal(err)
		}
	}
	fail(1, bson.A{"update"}, bson.E{Key: "errorCode", Value: 14031})
	if _, err := s.Commit(ctx, put("T", "1", "two")); !errors.Is(err, store.ErrFull) {
		t.Fatalf("disk full: %v", err)
	}
	again := []bson.E{{Key: "errorCode", Value: 112}, {Key: "errorLabels", Value: bson.A{"TransientTransactionError"}}}
	for i, commands := range []bson.A{{"insert"}, {"update"}, {"find"}, {"commitTransaction"}} {
		fail(3, commands, again...)
		if _, err := s.Commit(ctx, put("T", "1", fmt.Sprint("x", i)), put("U", fmt.Sprint(i), "new")); err != nil {
			t.Fatalf("transient errors of %v: %v", commands, err)
		}
	}
	unknown := []bson.E{{Key: "errorCode", Value: 50}, {Key: "errorLabels", Value: bson.A{"UnknownTransactionCommitResult"}}}
	fail(4, bson.A{"commitTransaction"}, unknown...)
	if _, err := s.Commit(ctx, put("T", "1", "after"), put("V", "1", "new")); err != nil {
		t.Fatalf("unknown outcome: %v", err)
	}
	fail(2, bson.A{"insert"}, bson.E{Key: "closeConnection", Value: true})
	if _, err := s.Commit(ctx, put("W", "1", "one")); err != nil && !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("connection lost: %v", err)
	}
	page, err := s.History(ctx, store.Span{Key: store.Key{Type: "T", ID: "1"}, Count: 100, Total: true})
	if err != nil || page.Total != 6 || len(page.Versions) != 6 {
		t.Fatalf("%d versions of %d, %v", len(page.Versions), page.Total, err)
	}
}
