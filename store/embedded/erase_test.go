package embedded

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"candela/store"
)

// canary is text of an erased resource that no packing hides: chance has no
// pattern. Of a word only the first bytes stand in an index key.
type canary struct {
	body, word, owner, former string
}

func newCanary(seed uint64) canary {
	r := rand.New(rand.NewPCG(seed, 1))
	text := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(' ' + 1 + r.IntN(94))
		}
		return strings.ToLower(string(b))
	}
	return canary{text(64), text(20), text(32), text(200)}
}

func (c *canary) parts() []string { return []string{c.body, c.word, c.owner, c.former} }

// op is a version with the canary; the body's neighbourhood is random bytes, so
// that it is not packed.
func (c *canary) op(k store.Key, owner string, version uint64) store.Op {
	noise := make([]byte, 600)
	_, _ = rand.NewChaCha8([32]byte{byte(version)}).Read(noise) // never fails
	raw := append(append(bytes.Clone(noise[:300]), c.body...), noise[300:]...)
	return store.Op{Action: store.Put, Key: k, Raw: raw, Entries: []store.Entry{
		{Param: "name", Value: store.Value{Kind: store.Text, Text: c.word, Raw: c.word}},
		{Param: "subject", Role: store.Anchor, Value: store.Value{Kind: store.Link, Space: "P", Name: owner}},
	}}
}

// sightings are the kinds of files of a folder that hold a text, with their number.
func sightings(t *testing.T, dir string, texts ...string) map[string]int {
	t.Helper()
	seen := map[string]int{}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.IsDir() {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range texts {
			if bytes.Contains(data, []byte(text)) {
				kind, _, _ := strings.Cut(f.Name(), "-")
				seen[strings.TrimLeft(kind, "0123456789")]++
				break
			}
		}
	}
	return seen
}

// vanish waits until no file of a folder holds a text.
func vanish(t *testing.T, dir string, texts ...string) {
	t.Helper()
	seen := sightings(t, dir, texts...)
	for end := time.Now().Add(20 * time.Second); len(seen) > 0 && time.Now().Before(end); seen = sightings(t, dir, texts...) {
		time.Sleep(20 * time.Millisecond)
	}
	if len(seen) > 0 {
		t.Fatalf("what was erased stands in %v", seen)
	}
}

// strewn writes a resource with the canary among others, into tables of several
// levels, the log and the manifest.
func strewn(t *testing.T, s *Store, dir string, c *canary) store.Key {
	t.Helper()
	k := store.Key{Type: "A", ID: "erased"}
	commit := func(op store.Op) {
		t.Helper()
		if _, err := s.Commit(context.Background(), op); err != nil {
			t.Fatal(err)
		}
	}
	table := func() {
		t.Helper()
		if err := s.db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	mustCommit(t, s, 0, 50)
	commit(c.op(k, c.former, 1))
	commit(c.op(k, c.owner, 2)) // the former owner is the last key of all, and so in the manifest
	table()
	if err := s.db.Compact(context.Background(), []byte{0}, []byte{255}, false); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, s, 50, 100)
	commit(c.op(k, c.owner, 3))
	table()
	commit(c.op(k, c.owner, 4))
	if seen := sightings(t, dir, c.parts()...); seen[".sst"] == 0 || seen[".log"] == 0 || seen["MANIFEST"] == 0 {
		t.Fatalf("the test sees too little of what is there: %v", seen)
	}
	for i, text := range c.parts() {
		if len(sightings(t, dir, text)) == 0 {
			t.Fatalf("part %d is not seen", i)
		}
	}
	return k
}

func eraseNow(t *testing.T, s *Store, k store.Key) {
	t.Helper()
	if _, err := s.Commit(context.Background(), store.Op{Action: store.Erase, Key: k}); err != nil {
		t.Fatal(err)
	}
}

func TestTheErasedLeavesTheDisk(t *testing.T) {
	dir, c := t.TempDir(), newCanary(1)
	s := mustOpen(t, dir, Options{Unencrypted: true, plain: true, still: true, settle: 50 * time.Millisecond})
	k := strewn(t, s, dir, &c)
	eraseNow(t, s, k)
	vanish(t, dir, c.parts()...)
	mustGet(t, s, 0, 100)
	for round := range uint64(3) { // and again, in a store at work
		c := newCanary(10 + round)
		for v := range uint64(5) {
			if _, err := s.Commit(context.Background(), c.op(k, c.owner, v)); err != nil {
				t.Fatal(err)
			}
			mustCommit(t, s, 100, 120)
		}
		eraseNow(t, s, k)
		vanish(t, dir, c.parts()...)
	}
	for s.purge.waits(t, s) {
		time.Sleep(10 * time.Millisecond)
	}
}

// waits says whether there is anything left to purge.
func (p *purge) waits(t *testing.T, s *Store) bool {
	t.Helper()
	flag, err := s.lookup(s.db, purgeKey())
	if err != nil {
		t.Fatal(err)
	}
	return flag != nil
}

// TestAViewDelaysThePurge: what a reader still sees is dropped when it ends.
func TestAViewDelaysThePurge(t *testing.T) {
	dir, c := t.TempDir(), newCanary(2)
	s := mustOpen(t, dir, Options{Unencrypted: true, plain: true, still: true, settle: 10 * time.Millisecond})
	k := strewn(t, s, dir, &c)
	view := s.db.NewSnapshot()
	eraseNow(t, s, k)
	if err := s.db.Compact(context.Background(), []byte{0}, []byte{255}, false); err != nil { // settles the seen as deep as it goes
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	if seen := sightings(t, dir, c.body); seen[".sst"] == 0 {
		t.Fatalf("gone while there is a view of it: %v", seen)
	}
	if err := view.Close(); err != nil {
		t.Fatal(err)
	}
	vanish(t, dir, c.parts()...)
}

// TestThePurgeGoesOnAfterAStart: closing does not wait for it.
func TestThePurgeGoesOnAfterAStart(t *testing.T) {
	dir, c := t.TempDir(), newCanary(3)
	s := mustOpen(t, dir, Options{Unencrypted: true, plain: true, settle: time.Hour})
	k := strewn(t, s, dir, &c)
	eraseNow(t, s, k)
	crashed := copyOf(t, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{dir, crashed} {
		if len(sightings(t, dir, c.parts()...)) == 0 {
			t.Fatal("the test proves nothing: all is gone already")
		}
		again := mustOpen(t, dir, Options{Unencrypted: true, plain: true, settle: 10 * time.Millisecond})
		vanish(t, dir, c.parts()...)
		mustGet(t, again, 0, 100)
	}
}

// TestManyErasesArePurgedTogether: more keys than are remembered.
func TestManyErasesArePurgedTogether(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{Unencrypted: true, plain: true, settle: 200 * time.Millisecond, Relaxed: true})
	var texts []string
	var erases []store.Op
	for i := range uint64(200) {
		c := newCanary(100 + i)
		k := store.Key{Type: "A", ID: fmt.Sprint("e", i)}
		if _, err := s.Commit(context.Background(), c.op(k, c.owner, i), putOf(int(i))); err != nil {
			t.Fatal(err)
		}
		texts, erases = append(texts, c.body, c.word, c.owner), append(erases, store.Op{Action: store.Erase, Key: k})
	}
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	s.purge.mu.Lock()
	s.purge.keys = make([][]byte, mostErased-10, mostErased)
	s.purge.mu.Unlock()
	if _, err := s.Commit(context.Background(), erases...); err != nil {
		t.Fatal(err)
	}
	if s.purge.mu.Lock(); !s.purge.all || s.purge.keys != nil {
		t.Errorf("%d keys are remembered", len(s.purge.keys))
	}
	s.purge.mu.Unlock()
	vanish(t, dir, texts...)
	mustGet(t, s, 0, 200)
}
