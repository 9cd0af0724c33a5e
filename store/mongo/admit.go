package mongo

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"golang.org/x/sync/semaphore"

	"candela/store"
)

const (
	commitTime   = 15 * time.Second     // for an attempt at a commit of one op
	commitTimeOp = 5 * time.Millisecond // more for each op
	commitMost   = 55 * time.Second     // MongoDB ends a transaction after 60
	manyOps      = 100                  // from here on a commit's own size may be why it is slow
)

// timeFor is how long one attempt at a commit of n ops may take, waiting for
// other commits of this process not included.
func timeFor(n int) time.Duration { return min(commitTime+time.Duration(n)*commitTimeOp, commitMost) }

// errCrowded says that a large commit failed beside others and may succeed alone.
var errCrowded = errors.New("too much is being written at once")

// patience is how a commit tries again.
type patience struct {
	large bool // it waits for the database to write out what it has, not for others
	alone bool // no other large one of this process is beside it
}

const (
	maxTries      = 100 // of a commit that keeps losing races
	maxTriesLarge = 8   // of one that the server's cache has no room for
)

func (p patience) tries() int {
	if p.large {
		return maxTriesLarge
	}
	return maxTries
}

// pause is how long to wait after try n.
func (p patience) pause(n int) time.Duration {
	if p.large {
		return 100*time.Millisecond<<min(n, 4) + rand.N(100*time.Millisecond)
	}
	return rand.N(time.Millisecond << min(n, 7))
}

// gates bound what the commits of this process write at the same time. MongoDB
// keeps all that open transactions have written in its cache, and rolls them
// back when that is more than a tenth of it: many large ones at once then fail
// each other again and again. Large commits have a gate of their own, so that
// small ones never wait for them.
type gates struct {
	room         int64 // bytes that each gate lets in
	small, large *semaphore.Weighted
}

const (
	assumedCache = 1 << 30 // bytes, where the server does not tell
	cacheShare   = 40      // a gate lets in this part of the server's cache
	leastRoom    = 4 << 20
	smallShare   = 16      // up to this part of a gate's room a commit is small
	opWeight     = 512     // bytes in the server's cache, beside the body
	entryWeight  = 350     // bytes of an entry there, with its keys
	eraseWeight  = 8 << 10 // bytes of an erase there: the entries of what it ends are not known yet
)

// newGates is for a server with so many bytes of cache.
func newGates(cache int64) gates {
	room := max(cache/cacheShare, leastRoom)
	return gates{room, semaphore.NewWeighted(room), semaphore.NewWeighted(room)}
}

// weightOf is about how many bytes of the server's cache a batch takes.
func weightOf(batch []pending) int64 {
	n := 0
	for i := range batch {
		n += opWeight + len(batch[i].packed) + entryWeight*len(batch[i].Entries)
		if batch[i].Action == store.Erase {
			n += eraseWeight
		}
	}
	return int64(n)
}

// enter waits until there is room; alone is the whole room of the large ones.
// It fails only with ctx.
func (g *gates) enter(ctx context.Context, weight int64, alone bool) (leave func(), large bool, err error) {
	gate := g.small
	if large = alone || weight > g.room/smallShare; large {
		gate = g.large
	}
	if weight = min(weight, g.room); alone {
		weight = g.room
	}
	if err := gate.Acquire(ctx, weight); err != nil {
		return nil, large, err
	}
	return func() { gate.Release(weight) }, large, nil
}

// cacheOf asks the server how large its cache is. A user may lack the right to
// know, and a router has none.
func (s *Store) cacheOf(ctx context.Context) int64 {
	var status struct {
		WiredTiger struct {
			Cache struct {
				Max int64 `bson:"maximum bytes configured"`
			} `bson:"cache"`
		} `bson:"wiredTiger"`
	}
	ask := bson.D{{Key: "serverStatus", Value: 1}}
	for _, section := range []string{"asserts", "connections", "locks", "metrics", "network", "opcounters", "repl", "tcmalloc"} {
		ask = append(ask, bson.E{Key: section, Value: 0})
	}
	if err := s.client.Database("admin").RunCommand(ctx, ask).Decode(&status); err != nil || status.WiredTiger.Cache.Max <= 0 {
		return assumedCache
	}
	return status.WiredTiger.Cache.Max
}

// answers says whether the server does, at once.
func (s *Store) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, selectTime)
	defer cancel()
	return s.Ping(ctx) == nil
}

// reaper ends transactions whose process has died: MongoDB keeps them, and what
// they have locked, for a minute. A living process is never idle for long
// within a transaction, and one that was would start it anew.
type reaper struct {
	mu   sync.Mutex
	last time.Time
}

const (
	slowCommit = 2 * time.Second // a commit that takes longer looks for the dead
	deadAfter  = 5 * time.Second // without a sign of life within a transaction
)

// watch looks for the dead while a commit takes long, until stop is called.
func (r *reaper) watch(s *Store) (stop func()) {
	done := make(chan struct{})
	timer := time.AfterFunc(slowCommit, func() {
		s.background(func(ctx context.Context) {
			for {
				if err := r.reap(ctx, s); err != nil {
					s.log.Debug("idle transactions cannot be ended", slog.Any("error", err))
					return
				}
				select {
				case <-done:
					return
				case <-ctx.Done():
					return
				case <-s.closing:
					return
				case <-time.After(slowCommit / 2):
				}
			}
		})
	})
	return func() {
		timer.Stop()
		close(done)
	}
}

// reap kills the sessions of our own kind that are idle in a transaction. It
// needs no privilege beyond that of seeing and ending one's own.
func (r *reaper) reap(ctx context.Context, s *Store) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.last) < slowCommit/2 {
		return nil
	}
	r.last = time.Now()
	admin := s.client.Database("admin")
	cur, err := admin.Aggregate(ctx, mongo.Pipeline{
		{{Key: "$currentOp", Value: bson.D{{Key: "allUsers", Value: false}, {Key: "idleSessions", Value: true}}}},
		{{Key: "$match", Value: bson.D{
			{Key: "type", Value: "idleSession"}, {Key: "appName", Value: appName},
			{Key: "transaction.timeInactiveMicros", Value: bson.D{{Key: "$gt", Value: deadAfter.Microseconds()}}},
		}}},
		{{Key: "$project", Value: bson.D{{Key: "lsid", Value: 1}}}},
	})
	var dead bson.A
	err = each(ctx, cur, err, "look for idle transactions", func(doc bson.Raw) error {
		if subtype, id, ok := doc.Lookup("lsid", "id").BinaryOK(); ok {
			dead = append(dead, bson.D{{Key: "id", Value: bson.Binary{Subtype: subtype, Data: slices.Clone(id)}}})
		}
		return nil
	})
	if err != nil || len(dead) == 0 {
		return err
	}
	s.log.Warn("ending the transactions of a process that died", slog.Int("count", len(dead)))
	return classify("end idle transactions", admin.RunCommand(ctx, bson.D{{Key: "killSessions", Value: dead}}).Err())
}
