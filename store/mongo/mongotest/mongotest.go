// Package mongotest gives tests a real mongod: a single-node replica set,
// started once per test process, with a fresh database for each test.
//
// It knows how to obtain, start, kill and stop the server. It must not know
// what Candela keeps in it.
//
// On Debian 12 the server needs the package libcurl4 and, to be obtained the
// first time, python3-pip. CANDELA_TEST_MONGOD names another binary,
// CANDELA_TEST_MONGO_URI a replica set that runs already.
package mongotest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// keeper starts the process's server on first use.
type keeper struct {
	once   sync.Once
	server *Server
	err    error
}

// shared is the one server of this test process.
var shared = &keeper{}

func (k *keeper) get() (*Server, error) {
	k.once.Do(func() { k.server, k.err = Start() })
	return k.server, k.err
}

func (k *keeper) stop() {
	k.once.Do(func() {})
	if k.server != nil {
		k.server.Remove()
	}
}

// PIDs is the process of the shared server, for those who measure it.
func PIDs() []int {
	if shared.server == nil {
		return nil
	}
	return []int{shared.server.PID()}
}

// Main runs the tests of a package and stops the server afterwards. Use it as
//
//	func TestMain(m *testing.M) { mongotest.Main(m) }
func Main(m *testing.M) { os.Exit(Around(m).Run()) }

// Runner is a testing.M, or what stands around one.
type Runner interface{ Run() int }

// Around is m with the server stopped at its end, for
// goleak.VerifyTestMain(mongotest.Around(m)) and the like.
func Around(m Runner) Runner { return around{m} }

type around struct{ inner Runner }

func (a around) Run() int {
	defer shared.stop()
	return a.inner.Run()
}

// URI is a connection string with the name of a fresh database, which is
// dropped when the test ends. Any process may use it for as long as the test runs.
func URI(t testing.TB) string {
	t.Helper()
	if base := os.Getenv("CANDELA_TEST_MONGO_URI"); base != "" {
		return database(t, base)
	}
	s, err := shared.get()
	if err != nil {
		t.Fatalf("mongotest: %v", err)
	}
	return s.URI(t)
}

// Own is a server for this test alone, to kill and restart. It ends with the test.
func Own(t testing.TB) *Server { return own(t, cacheUsual) }

// Small is like Own, with the least cache that mongod takes (256 MB): what
// presses on a large server's cache in production does so here in a test.
func Small(t testing.TB) *Server { return own(t, cacheSmall) }

func own(t testing.TB, cache float64) *Server {
	t.Helper()
	s, err := start(setName, cache)
	if err != nil {
		t.Fatalf("mongotest: %v", err)
	}
	t.Cleanup(s.Remove)
	return s
}

// URI is a connection string with the name of a fresh database on s.
func (s *Server) URI(t testing.TB) string {
	t.Helper()
	return database(t, s.Base())
}

// database adds a random database name to base and drops it at the test's end.
func database(t testing.TB, base string) string {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatalf("mongotest: CANDELA_TEST_MONGO_URI: %v", err)
	}
	name := randomName()
	u.Path = "/" + name
	t.Cleanup(func() {
		if err := drop(base, name); err != nil {
			t.Logf("mongotest: drop %s: %v", name, err)
		}
	})
	return u.String()
}

func randomName() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails
	return "candela_test_" + hex.EncodeToString(b)
}

// drop is best effort: a test may have killed the server on purpose.
func drop(base, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := mongo.Connect(options.Client().ApplyURI(base).SetServerSelectionTimeout(time.Second))
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = c.Disconnect(ctx) }()
	return c.Database(name).Drop(ctx)
}
