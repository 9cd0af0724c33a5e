package app_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"candela/cmd/app"
	"candela/fhir"
	"candela/store/mongo/mongotest"
)

func TestMain(m *testing.M) { mongotest.Main(m) }

// onBoth runs a test against a server on each store. Ids are counted and the
// clock ticks by itself, so that both servers can be held against each other.
func onBoth(t *testing.T, test func(t *testing.T, s *app.Server)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) { test(t, start(t, "embedded:"+t.TempDir())) })
	t.Run("mongodb", func(t *testing.T) { test(t, start(t, mongotest.URI(t))) })
}

// onBothRecorded is onBoth with the audit log on, as it is outside tests. Others go
// without: AuditEvents would be among what they count.
func onBothRecorded(t *testing.T, test func(t *testing.T, s *app.Server)) {
	t.Helper()
	recorded := func(t *testing.T, store string) *app.Server {
		c := testConfig(store)
		c.Audit = "on"
		return startWith(t, c)
	}
	t.Run("embedded", func(t *testing.T) { test(t, recorded(t, "embedded:"+t.TempDir())) })
	t.Run("mongodb", func(t *testing.T) { test(t, recorded(t, mongotest.URI(t))) })
}

func testConfig(store string) app.Config {
	c := app.Defaults()
	c.Listen, c.Store, c.Erase, c.Audit = "127.0.0.1:0", store, true, "off"
	c.Secret = []byte("the secret of every server in tests")
	var n atomic.Int64
	c.NewID = func() string { return fmt.Sprintf("id-%06d", n.Add(1)) }
	return c
}

func start(t *testing.T, store string) *app.Server {
	t.Helper()
	return startWith(t, testConfig(store))
}

func startWith(t *testing.T, c app.Config) *app.Server {
	t.Helper()
	s, err := app.Start(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return s
}

// answer is what a request got.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) tree(t *testing.T) fhir.Node {
	t.Helper()
	tree, err := fhir.ParseTree(a.body, fhir.Limits{Bytes: 1 << 30, Tokens: 1 << 28, String: 1 << 28})
	if err != nil {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	return tree.Root()
}

func ask(t *testing.T, s *app.Server, method, path string, body []byte) answer {
	t.Helper()
	url := path
	if !strings.HasPrefix(path, "http") {
		url = s.Base + "/" + strings.TrimPrefix(path, "/")
	}
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/fhir+json") // without it a Binary comes as its content
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/fhir+json")
	}
	return do(t, req)
}

func do(t *testing.T, req *http.Request) answer {
	t.Helper()
	client := http.Client{Timeout: 2 * time.Minute}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, out}
}

// shared is a file or folder of the shared test data.
func shared(t *testing.T, path string) string {
	t.Helper()
	root := os.Getenv("CANDELA_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared")
	}
	full := filepath.Join(root, path)
	if _, err := os.Stat(full); err != nil {
		t.Fatalf("test data is not there (set CANDELA_SHARED): %v", err)
	}
	return full
}

func files(t *testing.T, pattern string, want int) []string {
	t.Helper()
	found, err := filepath.Glob(shared(t, "data/fhir") + "/" + pattern)
	if err != nil || len(found) != want {
		t.Fatalf("%s: %d files, want %d (%v)", pattern, len(found), want, err)
	}
	return found
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(path, ".gz") {
		z, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		if raw, err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
	}
	return raw
}
