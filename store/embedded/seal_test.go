package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"candela/store"
	"candela/store/vault"
)

// owned is a resource of patient p with a text that is found when it lies in the clear.
func owned(p, id, text string) store.Op {
	return store.Op{Action: store.Put, Key: store.Key{Type: "O", ID: id}, Raw: []byte(`{"text":"` + text + `"}`), Entries: []store.Entry{
		{Param: "name", Value: store.Value{Kind: store.Text, Text: strings.ToLower(text), Raw: text}},
		{Param: "code", Value: store.Value{Kind: store.Code, Space: "s", Name: text, Text: text}},
		{Param: "subject", Role: store.Anchor, Value: store.Value{Kind: store.Link, Space: "P", Name: p}},
	}}
}

func person(id, text string) store.Op {
	op := owned(id, id, text)
	op.Key.Type, op.Entries = "P", op.Entries[:2]
	return op
}

func do(t testing.TB, s *Store, ops ...store.Op) {
	t.Helper()
	if _, err := s.Commit(context.Background(), ops...); err != nil {
		t.Fatal(err)
	}
}

// records are all keys and values of a keyspace.
func records(t *testing.T, s *Store, space byte) (keys, values [][]byte) {
	t.Helper()
	if err := s.each([]byte{space}, func(k, v []byte) error {
		keys, values = append(keys, bytes.Clone(k)), append(values, bytes.Clone(v))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return keys, values
}

// TestT96_NothingOfTheDataIsReadOnDisk looks for texts of bodies, index keys,
// ids and plain values in all files of a folder, in the middle of work.
func TestT96_NothingOfTheDataIsReadOnDisk(t *testing.T) {
	for _, clear := range []bool{true, false} {
		dir := t.TempDir()
		s := mustOpen(t, dir, Options{Unencrypted: clear, plain: true, Owners: []string{"P"}})
		for i := range 50 {
			do(t, s, person(fmt.Sprint("canaryperson", i), "canaryname"), owned(fmt.Sprint("canaryperson", i), fmt.Sprint("canaryid", i), "canarytext"))
			if err := s.KVPut(context.Background(), "canarybucket", fmt.Sprint(i), []byte("canarysecret"), 0); err != nil {
				t.Fatal(err)
			}
			if i == 25 {
				if err := s.db.Flush(); err != nil {
					t.Fatal(err)
				}
			}
		}
		seen := sightings(t, dir, "canary")
		if clear && (seen[".sst"] == 0 || seen[".log"] == 0 || seen["MANIFEST"] == 0) {
			t.Fatalf("the test sees too little: %v", seen)
		}
		if !clear && len(seen) > 0 {
			t.Errorf("texts are read in %v", seen)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if seen := sightings(t, dir, "canary", "candela.1", "OPTIONS", "leveldb"); !clear && len(seen) > 0 {
			t.Errorf("after the end texts are read in %v", seen)
		}
	}
}

// TestT95_SealedValuesCannotBeSwapped puts what is sealed in the place of
// something else: other fields, versions, patients.
func TestT95_SealedValuesCannotBeSwapped(t *testing.T) {
	ctx := context.Background()
	s := mustOpen(t, t.TempDir(), Options{Owners: []string{"P"}})
	do(t, s, person("1", "one"), person("2", "two"))
	do(t, s, owned("1", "a", "first of a"), owned("1", "b", "first of b"), owned("2", "c", "first of c"))
	do(t, s, owned("1", "a", "second of a"), owned("2", "c", "second of c"))
	var keys, values [][]byte
	for _, space := range []byte{spaceVersion, spaceRow} {
		k, v := records(t, s, space)
		keys, values = append(keys, k...), append(values, v...)
	}
	if len(keys) != 12 {
		t.Fatalf("%d sealed records", len(keys))
	}
	for i, key := range keys {
		for j, value := range values {
			if i == j {
				continue
			}
			if err := s.db.Set(key, value, pebble.Sync); err != nil {
				t.Fatal(err)
			}
			if err := readKey(ctx, s, key); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("record %x in the place of %x: %v", keys[j], key, err)
			}
		}
		if err := s.db.Set(key, values[i], pebble.Sync); err != nil {
			t.Fatal(err)
		}
		if err := readKey(ctx, s, key); err != nil {
			t.Errorf("the right record: %v", err)
		}
	}
	seen := map[string]bool{}
	for i, value := range values {
		if keys[i][0] == spaceVersion {
			_, value, _ = splitVersion(value)
		}
		if nonce := string(value[9:21]); seen[nonce] {
			t.Error("a nonce comes twice")
		} else {
			seen[nonce] = true
		}
	}
}

func readKey(ctx context.Context, s *Store, key []byte) error {
	rid := store.RID(binary.BigEndian.Uint64(key[1:9]))
	if key[0] == spaceRow {
		snap, err := engine{s}.Snapshot(ctx)
		if err != nil {
			return err
		}
		_, err = snap.Rows(ctx, []store.RID{rid})
		return errors.Join(err, snap.Close())
	}
	_, err := s.version(s.db, rid, int64(^lastEight(key)))
	return err
}

// TestAClearValueIsNotTaken: who can write the folder cannot have it read what
// was not sealed.
func TestAClearValueIsNotTaken(t *testing.T) {
	s := mustOpen(t, t.TempDir(), Options{})
	do(t, s, owned("1", "a", "text"))
	keys, values := records(t, s, spaceVersion)
	head, _, err := splitVersion(values[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := s.db.Set(keys[0], append(head, "\x00{}"...), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if v, err := s.Get(context.Background(), store.Key{Type: "O", ID: "a"}); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("got %q, %v", v.Raw, err)
	}
}

// TestAnEraseDestroysTheKeyOfItsOwner: what a copy of before holds is noise,
// what stays is read on (R42).
func TestAnEraseDestroysTheKeyOfItsOwner(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{Owners: []string{"P"}})
	do(t, s, person("1", "one"), person("2", "two"))
	do(t, s, owned("1", "goes", "v1"), owned("1", "stays", "v1"), owned("1", "moves", "v1"), owned("2", "other", "v1"))
	do(t, s, owned("2", "moves", "v2"), owned("1", "stays", "v2"))
	_, sealed := records(t, s, spaceVersion)
	keysBefore, _ := records(t, s, spaceVersion)
	ended, err := s.keyOf(appendOwner(nil, store.Key{Type: "P", ID: "1"}))
	if err != nil || ended == nil {
		t.Fatal(err)
	}
	do(t, s, store.Op{Action: store.Erase, Key: store.Key{Type: "O", ID: "goes"}})
	do(t, s, store.Op{Action: store.Erase, Key: store.Key{Type: "P", ID: "1"}}, owned("1", "again", "v1"))
	if left, _ := records(t, s, spaceKey); len(left) < 3 {
		t.Errorf("%d keys and marks", len(left))
	} else {
		for _, k := range left {
			if number8Of(k) == uint64(ended.ID) {
				t.Errorf("of the destroyed key %x is left", k)
			}
		}
	}
	noise := 0
	for i, old := range sealed { // as a copy of before would have it
		if _, rest, _ := splitVersion(old); len(rest) > 0 {
			if id, _ := vault.SealedBy(rest); id == ended.ID {
				noise++
				if err := s.db.Set(keysBefore[i], old, pebble.Sync); err != nil {
					t.Fatal(err)
				}
				if err := readKey(ctx, s, keysBefore[i]); !errors.Is(err, store.ErrCorrupt) {
					t.Errorf("an old value of the owner is read: %v", err)
				}
				_ = s.db.Delete(keysBefore[i], pebble.Sync)
			}
		}
	}
	if noise != 5 {
		t.Errorf("%d values were sealed with the owner's key", noise)
	}
}

// TestWhatStaysIsReadAfterItsOwnerIsErased, all versions, and searched.
func TestWhatStaysIsReadAfterItsOwnerIsErased(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	opt := Options{Owners: []string{"P"}}
	s := mustOpen(t, dir, opt)
	do(t, s, person("1", "one"), owned("1", "stays", "v1"), owned("1", "moves", "v1"))
	do(t, s, owned("2", "moves", "v2"), owned("1", "stays", "v2"))
	do(t, s, store.Op{Action: store.Erase, Key: store.Key{Type: "P", ID: "1"}}, owned("1", "stays", "v3"))
	do(t, s, owned("1", "later", "v1"))
	for range 2 {
		for id, versions := range map[string]int{"stays": 3, "moves": 2, "later": 1} {
			for n := 1; n <= versions; n++ {
				v, err := s.GetVersion(ctx, store.Key{Type: "O", ID: id}, int64(n))
				if err != nil || string(v.Raw) != fmt.Sprintf(`{"text":"v%d"}`, n) {
					t.Errorf("%s %d: %q %v", id, n, v.Raw, err)
				}
			}
		}
		where := store.Test{Param: "subject", Role: store.Anchor, Cond: store.Cond{How: store.Is, Space: "P", Name: "1"}}
		if page, err := s.Find(ctx, store.Query{Types: []string{"O"}, Where: where, Count: 10, Entries: true}); err != nil || len(page.Versions) != 2 {
			t.Errorf("%d are found, %v", len(page.Versions), err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, dir, opt)
	}
}

// TestWritersOfOnePatientAndItsErase run against each other: all that stays can
// be read, now and after a start.
func TestWritersOfOnePatientAndItsErase(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	opt := Options{Owners: []string{"P"}, Relaxed: true}
	s := mustOpen(t, dir, opt)
	var group sync.WaitGroup
	for w := range 4 {
		group.Go(func() {
			for i := range 150 {
				op := owned("1", fmt.Sprint("o", (i+w*7)%20), fmt.Sprint(w, "-", i))
				if i%11 == w {
					op = person("1", fmt.Sprint(w, i))
				}
				if i%13 == w {
					op = store.Op{Action: store.Erase, Key: store.Key{Type: "P", ID: "1"}}
				}
				if _, err := s.Commit(ctx, op); err != nil && !errors.Is(err, store.ErrNotFound) {
					t.Error(err)
					return
				}
				if _, err := s.Find(ctx, store.Query{Types: []string{"O"}, Count: 50, Entries: true}); err != nil {
					t.Error("find", err)
					return
				}
			}
		})
	}
	group.Wait()
	for range 2 {
		page, err := s.History(ctx, store.Span{Count: 10_000})
		if err != nil || len(page.Versions) < 300 {
			t.Errorf("history of %d: %v", len(page.Versions), err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, dir, opt)
	}
}

// TestRotationOnlineFailsNoRead rotates all keys of the ring among readers and
// writers, until nothing needs the old ones and they are gone.
func TestRotationOnlineFailsNoRead(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{Owners: []string{"P"}, settle: 1, CacheBytes: 1 << 20})
	s.keys.cache.Size = 4 // keys are read from the store again and again
	for p := range 20 {
		do(t, s, person(fmt.Sprint(p), "x"), owned(fmt.Sprint(p), fmt.Sprint(p), strings.Repeat("text ", 100)))
	}
	var stop atomic.Bool
	var reads, writes atomic.Int64
	var group sync.WaitGroup
	for w := range 3 {
		group.Go(func() {
			for i := 0; !stop.Load(); i++ {
				if _, err := s.Get(ctx, store.Key{Type: "O", ID: fmt.Sprint(i % 20)}); err != nil {
					t.Error("get", err)
					return
				}
				if _, err := s.Find(ctx, store.Query{Types: []string{"O"}, Count: 30, Entries: true}); err != nil {
					t.Error("find", err)
					return
				}
				reads.Add(2)
				if i%5 == 0 {
					do(t, s, owned(fmt.Sprint(i%25), fmt.Sprint(i%20), fmt.Sprint(w, " ", i)))
					writes.Add(1)
				}
			}
		})
	}
	tool, err := Ring(ctx, dir, vault.Master{})
	if err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		if err := tool.Rotate(ctx, vault.Files, vault.Data); err != nil {
			t.Fatal(err)
		}
		aged := false
		for range 400 {
			if err := s.renew(ctx); err != nil {
				t.Fatal(err)
			}
			all, err := Shares(dir, tool)
			if err != nil {
				t.Fatal(err)
			}
			old := int64(0)
			for _, h := range all {
				if h.Key != tool.Newest(vault.Files).Number {
					old += h.Files
				}
			}
			if aged = old <= 1; aged { // the file of options is written at a start
				break
			}
			_ = sleep(ctx, pause)
		}
		if !aged {
			t.Fatalf("round %d: files need old keys", round)
		}
		_ = s.renew(ctx)
		_ = s.renew(ctx)
	}
	stop.Store(true)
	group.Wait()
	if reads.Load() < 100 || writes.Load() < 10 {
		t.Errorf("only %d reads, %d writes", reads.Load(), writes.Load())
	}
	t.Logf("%d reads and %d writes during 3 rotations, none failed", reads.Load(), writes.Load())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, dir, Options{Owners: []string{"P"}})
	for range 3 {
		if err := s.renew(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if keys := s.keys.ring.Status().Keys; len(keys) != 2 {
		t.Errorf("the ring keeps %d keys", len(keys))
	}
	if _, err := s.Find(ctx, store.Query{Types: []string{"O"}, Count: 30}); err != nil {
		t.Error(err)
	}
}

// TestAFolderOpensOnlyWithItsKey: what is wrong is named and nothing is touched.
func TestAFolderOpensOnlyWithItsKey(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	mustCommit(t, s, 0, 10)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, masterName)
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info, err)
	}
	elsewhere := filepath.Join(t.TempDir(), "master")
	if err := os.Rename(key, elsewhere); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "other")
	if err := vault.CreateMaster(other); err != nil {
		t.Fatal(err)
	}
	before := stateOf(t, dir)
	for want, opt := range map[string]Options{
		"master.key":   {},
		"other gives":  {Master: vault.MasterFile(other)},
		"is encrypted": {Unencrypted: true},
		"none":         {Master: vault.MasterFile(filepath.Join(t.TempDir(), "none"))},
	} {
		if _, err := Open(dir, opt); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if after := stateOf(t, dir); after != before {
		t.Errorf("a refused open changed the folder:\n%s\n%s", before, after)
	}
	mustGet(t, mustOpen(t, dir, Options{Master: vault.MasterFile(elsewhere)}), 0, 10)
}

// stateOf is names, sizes and times of all files of a folder.
func stateOf(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	for _, name := range filesOf(t, dir, "*") {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&b, info.Name(), info.Size(), info.ModTime())
	}
	return b.String()
}

func TestAClearFolderIsToldAndEncrypted(t *testing.T) {
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "data")
	s := mustOpen(t, dir, Options{Unencrypted: true, plain: true})
	for i := range 30 {
		do(t, s, person(fmt.Sprint(i), "canary one"), owned(fmt.Sprint(i), fmt.Sprint(i), "canary two"))
	}
	do(t, s, owned("3", "3", "canary three"), store.Op{Action: store.Delete, Key: store.Key{Type: "O", ID: "4"}},
		store.Op{Action: store.Erase, Key: store.Key{Type: "O", ID: "5"}})
	if err := errors.Join(s.KVPut(ctx, "b", "k", []byte("canary"), 0), s.Close()); err != nil {
		t.Fatal(err)
	}
	before := stateOf(t, dir)
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrClear) {
		t.Errorf("a clear folder: %v", err)
	}
	if after := stateOf(t, dir); after != before {
		t.Errorf("a refused open changed the folder")
	}
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "server.secret"), []byte("secret"), 0o600), os.Mkdir(filepath.Join(dir, "more"), 0o700),
		os.WriteFile(filepath.Join(dir, "more", "file"), []byte("file"), 0o600)); err != nil {
		t.Fatal(err)
	}
	opt := Options{Owners: []string{"P"}, plain: true}
	if err := Encrypt(ctx, dir, opt); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"server.secret": "secret", "more/file": "file"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
	if seen := sightings(t, dir, "canary"); len(seen) > 0 {
		t.Errorf("texts are read in %v", seen)
	}
	if left, _ := filepath.Glob(dir + ".*"); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
	s = mustOpen(t, dir, opt)
	if v, err := s.Get(ctx, store.Key{Type: "O", ID: "3"}); err != nil || v.Number != 2 || !strings.Contains(string(v.Raw), "three") {
		t.Error(v, err)
	}
	if v, err := s.GetVersion(ctx, store.Key{Type: "O", ID: "4"}, 1); err != nil || !strings.Contains(string(v.Raw), "two") {
		t.Error("a version before a delete", v, err)
	}
	if page, err := s.Find(ctx, store.Query{Types: []string{"O", "P"}, Count: 100, Entries: true}); err != nil || len(page.Versions) != 58 {
		t.Error(len(page.Versions), err)
	}
	if v, err := s.KVGet(ctx, "b", "k"); err != nil || string(v) != "canary" {
		t.Error(v, err)
	}
	do(t, s, store.Op{Action: store.Erase, Key: store.Key{Type: "P", ID: "3"}})
	if v, err := s.Get(ctx, store.Key{Type: "O", ID: "3"}); err != nil {
		t.Error(v, err)
	}
	if _, err := Open(dir+"x", Options{ReadOnly: true}); err == nil {
		t.Error("a folder that is not there")
	}
	if err := Encrypt(ctx, dir, opt); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("twice: %v", err)
	}
}
