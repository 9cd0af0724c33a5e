package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"candela/store"
)

func keyOf(n int) store.Key { return store.Key{Type: "A", ID: fmt.Sprint(n)} }

// rawOf is bytes that no compression makes small, different for each n.
func rawOf(n int) []byte {
	var b bytes.Buffer
	for i := range 40 {
		fmt.Fprintf(&b, "%x", uint64(n*1000+i+1)*0x9e3779b97f4a7c15)
	}
	return b.Bytes()
}

func putOf(n int) store.Op {
	entry := store.Entry{Param: "code", Value: store.Value{Kind: store.Code, Name: fmt.Sprint("c", n%3)}}
	return store.Op{Action: store.Put, Key: keyOf(n), Raw: rawOf(n), Entries: []store.Entry{entry}}
}

func mustOpen(t *testing.T, dir string, opt Options) *Store {
	t.Helper()
	s, err := Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func mustCommit(t *testing.T, s *Store, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		if _, err := s.Commit(context.Background(), putOf(n)); err != nil {
			t.Fatalf("commit %d: %v", n, err)
		}
	}
}

func mustGet(t *testing.T, s *Store, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		if v, err := s.Get(context.Background(), keyOf(n)); err != nil || !bytes.Equal(v.Raw, rawOf(n)) {
			t.Fatalf("%s is %q, %v", keyOf(n), v.Raw, err)
		}
	}
}

// flip changes a byte of a file.
func flip(t *testing.T, name string, at int64) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[at] ^= 0x10
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func filesOf(t *testing.T, dir, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no %s in %s: %v", pattern, dir, err)
	}
	return files
}

// readAll reads everything by every way and says whether damage was reported.
// Anything read must be right.
func readAll(t *testing.T, s *Store, n int) (damaged bool) {
	t.Helper()
	ctx := context.Background()
	right := func(what string, v store.Version, err error) {
		t.Helper()
		switch {
		case errors.Is(err, store.ErrCorrupt):
			damaged = true
		case err != nil:
			t.Fatalf("%s: %v", what, err)
		default:
			var i int
			if _, err := fmt.Sscan(v.Key.ID, &i); err != nil || !bytes.Equal(v.Raw, rawOf(i)) {
				t.Fatalf("%s: %s is %q", what, v.Key, v.Raw)
			}
		}
	}
	for i := range n {
		v, err := s.Get(ctx, keyOf(i))
		right("get", v, err)
	}
	for c := range 3 {
		where := store.Test{Param: "code", Cond: store.Cond{How: store.Named, Name: fmt.Sprint("c", c)}}
		page, err := s.Find(ctx, store.Query{Types: []string{"A"}, Where: where, Count: n})
		for _, v := range page.Versions {
			right("find", v, nil)
		}
		if err == nil && len(page.Versions) != (n+2-c)/3 {
			t.Fatalf("find gives %d of %d", len(page.Versions), (n+2-c)/3)
		}
		damaged = damaged || errors.Is(err, store.ErrCorrupt)
		if err != nil && !errors.Is(err, store.ErrCorrupt) {
			t.Fatalf("find: %v", err)
		}
	}
	page, err := s.History(ctx, store.Span{Count: n})
	if err == nil && len(page.Versions) != n || err != nil && !errors.Is(err, store.ErrCorrupt) {
		t.Fatalf("history gives %d, %v", len(page.Versions), err)
	}
	return damaged || err != nil
}

// R50: damage is told, and nothing wrong is read.
func TestDamagedTableIsReportedNeverServed(t *testing.T) {
	const n = 300
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	mustCommit(t, s, 0, n)
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	table := filesOf(t, dir, "*.sst")[0]
	info, err := os.Stat(table)
	if err != nil {
		t.Fatal(err)
	}
	reported := 0
	const places = 23
	for i := range places {
		at := info.Size() * int64(2*i+1) / (2 * places)
		flip(t, table, at)
		s, err := Open(dir, Options{})
		if err == nil {
			if readAll(t, s, n) {
				reported++
			}
			_ = s.Close() // a damaged table may be told here again
		} else if reported++; !errors.Is(err, store.ErrCorrupt) {
			t.Fatalf("byte %d: open gives %v", at, err)
		}
		flip(t, table, at)
	}
	if reported < places*2/3 {
		t.Errorf("%d of %d damages were reported", reported, places)
	}
	if s := mustOpen(t, dir, Options{}); readAll(t, s, n) {
		t.Error("the repaired store reports damage")
	}
}

func TestDamagedLogIsReported(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	mustCommit(t, s, 0, 200)
	dir = copyOf(t, dir) // as a crash leaves it: closing empties the log
	for _, log := range filesOf(t, dir, "*.log") {
		if info, err := os.Stat(log); err == nil && info.Size() > 1000 {
			flip(t, log, info.Size()/3)
		}
	}
	if s, err := Open(dir, Options{}); !errors.Is(err, store.ErrCorrupt) {
		if err == nil {
			_, err = s.Get(context.Background(), keyOf(199))
			_ = s.Close()
		}
		t.Errorf("a damaged log gives %v", err)
	}
}

// smallDisk is a file system with so many bytes left.
type smallDisk struct {
	vfs.FS
	left *atomic.Int64
}

func newSmallDisk(left int64) smallDisk {
	d := smallDisk{vfs.Default, new(atomic.Int64)}
	d.left.Store(left)
	return d
}

func (d smallDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, c)
	return smallFile{f, d.left}, err
}

func (d smallDisk) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.ReuseForWrite(old, name, c)
	return smallFile{f, d.left}, err
}

func (d smallDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: uint64(max(0, d.left.Load()))}, nil
}

type smallFile struct {
	vfs.File
	left *atomic.Int64
}

func (f smallFile) Write(p []byte) (int, error) {
	if f.left.Add(-int64(len(p))) < 0 {
		f.left.Add(int64(len(p)))
		return 0, &os.PathError{Op: "write", Err: syscall.ENOSPC}
	}
	return f.File.Write(p)
}

// R50: a full disk refuses writes, loses nothing, and passes by itself.
func TestFullDiskRefusesWritesAndGoesOnWhenThereIsSpace(t *testing.T) {
	disk := newSmallDisk(1 << 30)
	s := mustOpen(t, t.TempDir(), Options{disk: disk})
	mustCommit(t, s, 0, 20)
	disk.left.Store(10 << 20)
	if _, err := s.Commit(context.Background(), putOf(20)); !errors.Is(err, store.ErrFull) {
		t.Fatalf("commit on a full disk gives %v", err)
	}
	if err := s.KVPut(context.Background(), "b", "k", []byte("v"), 0); !errors.Is(err, store.ErrFull) {
		t.Fatalf("put on a full disk gives %v", err)
	}
	mustGet(t, s, 0, 20)
	if _, err := s.Get(context.Background(), keyOf(20)); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("a refused write: %v", err)
	}
	disk.left.Store(1 << 30)
	mustCommit(t, s, 20, 30)
	mustGet(t, s, 0, 30)
}

func TestWritesAtTheEndOfTheDiskWaitForSpace(t *testing.T) {
	disk := newSmallDisk(1 << 30)
	s := mustOpen(t, t.TempDir(), Options{disk: disk, MinFree: -1})
	mustCommit(t, s, 0, 5)
	disk.left.Store(3000)
	time.AfterFunc(300*time.Millisecond, func() { disk.left.Store(1 << 30) })
	mustCommit(t, s, 5, 50)
	mustGet(t, s, 0, 50)
}

func TestTheVeryEndOfTheDiskKeepsTheStoreReadable(t *testing.T) {
	dir, disk := t.TempDir(), newSmallDisk(1<<30)
	s := mustOpen(t, dir, Options{disk: disk, MinFree: -1, patience: 200 * time.Millisecond})
	mustCommit(t, s, 0, 20)
	disk.left.Store(3000)
	acked, err := 20, error(nil)
	for ; err == nil && acked < 100; acked++ {
		_, err = s.Commit(context.Background(), putOf(acked))
	}
	acked--
	if !errors.Is(err, store.ErrFull) {
		t.Fatalf("the end of the disk gives %v", err)
	}
	for range 3 {
		if _, err := s.Commit(context.Background(), putOf(1000)); !errors.Is(err, store.ErrFull) {
			t.Fatalf("a later commit gives %v", err)
		}
	}
	if err := s.Ping(context.Background()); !errors.Is(err, store.ErrFull) {
		t.Errorf("ping gives %v", err)
	}
	mustGet(t, s, 0, acked)
	page, err := s.Find(context.Background(), store.Query{Types: []string{"A"}, Count: 1000})
	if err != nil || len(page.Versions) < acked {
		t.Errorf("find gives %d, %v", len(page.Versions), err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("close gives %v", err)
	}
	disk.left.Store(1 << 30)
	again := mustOpen(t, copyOf(t, dir), Options{disk: disk})
	mustGet(t, again, 0, acked)
	mustCommit(t, again, 200, 210)
}

// copyOf is a copy of a folder as it was at one moment: as after a restart, nobody
// else has it open. What works on the folder may end and start files meanwhile;
// then it is copied once more.
func copyOf(t *testing.T, dir string) string {
	t.Helper()
	for range 100 {
		to, before := filepath.Join(t.TempDir(), "copy"), listing(t, dir)
		err := os.CopyFS(to, os.DirFS(dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if err == nil && slices.Equal(before, listing(t, dir)) {
			return to
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s is never at rest", dir)
	return ""
}

// listing is the files of a folder with their sizes and when they were written.
func listing(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // ended since it was listed; the next listing lacks it
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprint(e.Name(), info.Size(), info.ModTime().UnixNano()))
	}
	return out
}

func TestFolderOfAnotherProcess(t *testing.T) {
	const env = "CANDELA_EMBEDDED_LOCK_TEST"
	if dir := os.Getenv(env); dir != "" {
		_, err := Open(dir, Options{})
		fmt.Println("child:", errors.Is(err, store.ErrUnavailable), err)
		return
	}
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	if _, err := Open(dir, Options{}); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "already open") {
		t.Errorf("a second open in this process gives %v", err)
	}
	child := exec.Command(os.Args[0], "-test.run=^TestFolderOfAnotherProcess$", "-test.v")
	child.Env = append(os.Environ(), env+"="+dir)
	out, err := child.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "child: true") || !strings.Contains(string(out), "already open in another process") {
		t.Errorf("%v: %s", err, out)
	}
	mustCommit(t, s, 0, 1)
}

func TestFoldersThatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, opt := range map[string]Options{
		"": {}, file: {}, filepath.Join(file, "below"): {}, filepath.Join(t.TempDir(), "none"): {ReadOnly: true},
	} {
		if _, err := Open(dir, opt); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%q gives %v", dir, err)
		}
	}
}

func TestClosedStoreSaysSo(t *testing.T) {
	s := mustOpen(t, t.TempDir(), Options{})
	mustCommit(t, s, 0, 3)
	ended := make(chan error, 1)
	go func() {
		for _, err := range s.Changes(context.Background(), 0) {
			if err != nil {
				ended <- err
			}
		}
	}()
	time.Sleep(20 * time.Millisecond)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-ended; !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("changes of a closed store: %v", err)
	}
	_, err := s.Get(context.Background(), keyOf(1))
	_, err2 := s.Commit(context.Background(), putOf(9))
	_, err3 := s.Find(context.Background(), store.Query{Types: []string{"A"}, Count: 1})
	for _, err := range []error{err, err2, err3, s.Ping(context.Background())} {
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("a closed store gives %v", err)
		}
	}
}

func TestReadOnlyReadsAndRefusesWrites(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	mustCommit(t, s, 0, 10)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	r := mustOpen(t, dir, Options{ReadOnly: true})
	mustGet(t, r, 0, 10)
	if _, err := r.Commit(context.Background(), putOf(11)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a write gives %v", err)
	}
}

func TestExpiredValuesLeaveTheDisk(t *testing.T) {
	now := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	s := mustOpen(t, t.TempDir(), Options{Now: func() time.Time { return now }})
	ctx := context.Background()
	for i, ttl := range []time.Duration{time.Second, time.Hour, 0} {
		if err := s.KVPut(ctx, "b", fmt.Sprint(i), []byte("v"), ttl); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.KVPut(ctx, "b", "0", []byte("w"), time.Minute); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		at   time.Duration
		left int
	}{{10 * time.Second, 3}, {2 * time.Minute, 2}, {2 * time.Hour, 1}} {
		now = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC).Add(step.at)
		if err := s.sweepOnce(ctx); err != nil {
			t.Fatal(err)
		}
		left := 0
		it, err := s.db.NewIter(nil)
		if err != nil {
			t.Fatal(err)
		}
		for ok := it.First(); ok; ok = it.Next() {
			if it.Key()[0] == spaceKV {
				left++
			}
		}
		if err := it.Close(); err != nil {
			t.Fatal(err)
		}
		if left != step.left {
			t.Errorf("after %v %d values are on disk, want %d", step.at, left, step.left)
		}
	}
}
