package storetest

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"candela/store"
)

// crashDir tells a child process which store to write to.
const crashDir = "CANDELA_STORETEST_CRASH_DIR"

// Crash kills a writer with SIGKILL in the middle of its commits, again and
// again, and wants after each reopen that every acknowledged commit is there
// whole, that the unacknowledged ones are there whole or not at all, and that
// index, history and change feed agree.
//
// Call it from a test of its own, as the only thing that test does: it starts
// the test binary again with just that test and with env (as "NAME=value")
// added, and there is the writer. dir is t.TempDir() of the first process in
// both; a store that lives in another process goes on living between the two.
func Crash(t *testing.T, open Opener, env ...string) {
	if dir := os.Getenv(crashDir); dir != "" {
		crashChild(t, open, dir)
		return
	}
	dir := t.TempDir()
	acked := make([]int, crashWriters)
	for round := range 4 {
		runCrashChild(t, dir, env, acked, time.Duration(150+round*170)*time.Millisecond)
		verifyCrash(t, open, dir, acked)
	}
	if slices.Max(acked) == 0 {
		t.Fatal("no child ever acknowledged a commit")
	}
}

const crashWriters = 4

// crashOps is commit n of writer w: a counter and n%5+1 resources of their own.
func crashOps(w, n int) []store.Op {
	mark := word("commit", fmt.Sprint(w, ".", n))
	ops := []store.Op{put(key("Counter", fmt.Sprint(w)), fmt.Sprint(n), mark)}
	for i := range n%5 + 1 {
		body := strings.Repeat(fmt.Sprintf("commit %d of writer %d, ", n, w), 1+n%40)
		ops = append(ops, put(key("Row", fmt.Sprint(w, "-", n, "-", i)), body, mark, text("name", body[:20])))
	}
	return ops
}

// crashChild writes until it is killed and prints each commit after it returned.
func crashChild(t *testing.T, open Opener, dir string) {
	s := open(t, dir, time.Now)
	var wg sync.WaitGroup
	var out sync.Mutex
	for w := range crashWriters {
		wg.Go(func() {
			n, err := counterOf(s, w)
			for err == nil {
				n++
				if _, err = s.Commit(context.Background(), crashOps(w, n)...); err == nil {
					out.Lock()
					fmt.Printf("acked %d %d\n", w, n)
					out.Unlock()
				}
			}
			t.Errorf("writer %d: %v", w, err)
		})
	}
	wg.Wait()
}

func counterOf(s store.Store, w int) (int, error) {
	v, err := s.Get(context.Background(), key("Counter", fmt.Sprint(w)))
	if isOne(err, []error{store.ErrNotFound}) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(v.Raw))
}

// runCrashChild lets a child write for a while after its first acknowledged
// commit, kills it, and notes in acked what it had acknowledged.
func runCrashChild(t *testing.T, dir string, env []string, acked []int, alive time.Duration) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", "-test.count=1", "-test.timeout=5m")
	child.Env = append(append(os.Environ(), crashDir+"="+dir), env...)
	child.Stderr = os.Stderr
	pipe, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err = child.Start(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(90*time.Second, func() { _ = child.Process.Kill() })
	defer watchdog.Stop()
	var once sync.Once
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		var w, n int
		if got, _ := fmt.Sscanf(lines.Text(), "acked %d %d", &w, &n); got != 2 {
			t.Logf("child: %s", lines.Text())
			continue
		}
		acked[w] = max(acked[w], n)
		once.Do(func() { time.AfterFunc(alive, func() { _ = child.Process.Kill() }) })
	}
	_ = child.Wait() // it was killed: there is always an error
}

func verifyCrash(t *testing.T, open Opener, dir string, acked []int) {
	t.Helper()
	s := open(t, dir, time.Now)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	e := &env{T: t, ctx: ctx, open: open, dir: dir, store: s, clock: &clock{at: time.Now()}}
	versions := 0
	for w := range acked {
		last, err := counterOf(s, w)
		e.ok(err)
		if last < acked[w] || last > acked[w]+1 {
			t.Fatalf("writer %d acknowledged commit %d, the store has %d", w, acked[w], last)
		}
		for n := 1; n <= last; n++ {
			versions += e.wholeCommit(w, n, n == last)
		}
		same(e, "a commit that never was", e.ids(named("Row", "commit", fmt.Sprint(w, ".", last+1))), ids())
		acked[w] = last
	}
	if versions > 0 {
		e.complete(e.take(0, versions), versions)
	}
	total := e.find(store.Query{Types: []string{"Row"}, Total: true}).Total + int64(sumOf(acked))
	if total != int64(versions) {
		t.Fatalf("index and history: %d and %d", total, versions)
	}
	e.ok(s.Close())
}

func sumOf(n []int) (sum int) {
	for _, v := range n {
		sum += v
	}
	return sum
}

// wholeCommit wants all of a commit and gives how many versions it made.
func (e *env) wholeCommit(w, n int, last bool) int {
	e.Helper()
	ops := crashOps(w, n)
	want := ids()
	for _, op := range ops[1:] {
		want = append(want, op.Key.ID)
		v, err := e.store.Get(e.ctx, op.Key)
		e.ok(err)
		e.check(v, op.Key, 1, string(op.Raw))
	}
	if last || n%17 == 0 {
		same(e, fmt.Sprint("index of commit ", w, ".", n), e.ids(named("Row", "commit", fmt.Sprint(w, ".", n))), want)
	}
	return len(ops)
}
