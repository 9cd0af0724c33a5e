package embedded_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"candela/store"
	"candela/store/embedded"
)

// crowdSize is so many that lists of half of them are kept in memory.
const crowdSize = 12_000

// flagged is resource n with status a or b; odd ones carry a note too.
func flagged(n int, status string, note bool) store.Op {
	entries := []store.Entry{{Param: "status", Value: store.Value{Kind: store.Code, Space: "s", Name: status}}}
	if note {
		entries = append(entries, store.Entry{Param: "note", Value: store.Value{Kind: store.Text, Text: "n", Raw: "N"}})
	}
	return store.Op{Action: store.Put, Key: store.Key{Type: "Flag", ID: fmt.Sprint(n)}, Raw: fmt.Appendf(nil, `{"s":"%s","n":%v}`, status, note), Entries: entries}
}

func fill(t *testing.T, s *embedded.Store) {
	t.Helper()
	for i := 0; i < crowdSize; i += 1000 {
		ops := make([]store.Op, 1000)
		for j := range ops {
			ops[j] = flagged(i+j, string(rune('a'+j%2)), j%2 == 1)
		}
		if _, err := s.Commit(t.Context(), ops...); err != nil {
			t.Fatal(err)
		}
	}
}

// laws are conditions that exactly so many meet, whichever status each has.
func laws() map[string]struct {
	where store.Expr
	want  int64
} {
	a, b := named("status", 0, "a"), named("status", 0, "b")
	note := store.Test{Param: "note", Cond: store.Cond{How: store.Present}}
	return map[string]struct {
		where store.Expr
		want  int64
	}{
		"one of two":  {store.Or{a, b}, crowdSize},
		"both":        {store.And{a, b}, 0},
		"neither":     {store.Not{Of: store.Or{a, b}}, 0},
		"not not":     {store.Or{store.Not{Of: a}, store.And{a, store.Not{Of: b}}}, crowdSize},
		"b has note":  {store.And{b, store.Not{Of: note}}, 0},
		"a has none":  {store.And{a, note}, 0},
		"note or not": {store.Or{note, a}, crowdSize},
	}
}

func count(t *testing.T, s *embedded.Store, where store.Expr) store.Page {
	t.Helper()
	page, err := s.Find(t.Context(), store.Query{Types: []string{"Flag"}, Where: where, Total: true})
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// TestCountsWhileWriting: a count from memory is that of one moment, although
// every resource changes all the time, and disappears and comes back.
func TestCountsWhileWriting(t *testing.T) {
	s, _ := open(t, embedded.Options{Relaxed: true})
	fill(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for w := range 3 {
		writers.Go(func() { flip(ctx, t, s, w) })
	}
	for range 25 {
		for name, law := range laws() {
			if page := count(t, s, law.where); page.Total != law.want {
				t.Errorf("%s: %d, want %d (%+v)", name, page.Total, law.want, page.Explain)
			}
		}
	}
	cancel()
	writers.Wait()
	for name, law := range laws() {
		page := count(t, s, law.where)
		if page.Total != law.want || page.Explain.Examined != 0 || page.Explain.Scanned != 0 {
			t.Errorf("%s, in the end: %d, want %d, from memory: %+v", name, page.Total, law.want, page.Explain)
		}
	}
}

// flip changes resources of its own until ctx ends, some in one commit.
func flip(ctx context.Context, t *testing.T, s *embedded.Store, w int) {
	rnd := rand.New(rand.NewPCG(uint64(w), 3))
	for ctx.Err() == nil {
		ops := make([]store.Op, 0, 20)
		at := rnd.IntN(crowdSize/3 - 20)
		for i := range rnd.IntN(cap(ops)) + 1 {
			b := rnd.IntN(2) == 1
			ops = append(ops, flagged(3*(at+i)+w, map[bool]string{false: "a", true: "b"}[b], b))
		}
		if _, err := s.Commit(context.WithoutCancel(ctx), ops...); err != nil {
			t.Error(err)
			return
		}
	}
}

// TestSetsFollowEveryAction: kept lists follow deletes, creates, and new entries of old versions.
func TestSetsFollowEveryAction(t *testing.T) {
	s, _ := open(t, embedded.Options{Relaxed: true})
	fill(t, s)
	note := store.Test{Param: "note", Cond: store.Cond{How: store.Present}}
	all := func() [3]int64 {
		return [3]int64{count(t, s, named("status", 0, "a")).Total, count(t, s, named("status", 0, "b")).Total, count(t, s, store.Not{Of: note}).Total}
	}
	before := all()
	reindex := flagged(4, "b", true)
	reindex.Action, reindex.IfMatch = store.Reindex, 1
	again := flagged(6, "b", false)
	for i, step := range []struct {
		op   store.Op
		want [3]int64 // more than before
	}{
		{store.Op{Action: store.Delete, Key: store.Key{Type: "Flag", ID: "2"}}, [3]int64{-1, 0, -1}},
		{flagged(2, "a", true), [3]int64{0, 0, -1}},
		{flagged(crowdSize, "b", false), [3]int64{0, 1, 0}},
		{reindex, [3]int64{-1, 2, -1}},
		{again, [3]int64{-2, 3, -1}},
		{again, [3]int64{-2, 3, -1}},
		{store.Op{Action: store.Erase, Key: store.Key{Type: "Flag", ID: "8"}}, [3]int64{-3, 3, -2}},
	} {
		if _, err := s.Commit(t.Context(), step.op); err != nil {
			t.Fatal(i, err)
		}
		got := all()
		for j := range got {
			if got[j] != before[j]+step.want[j] {
				t.Errorf("step %d: count %d is %d, want %d", i, j, got[j], before[j]+step.want[j])
			}
		}
	}
}

// TestSetsSurviveARestart: after a clean stop counts come from memory at once,
// and what was written since counts too.
func TestSetsSurviveARestart(t *testing.T) {
	s, dir := open(t, embedded.Options{})
	fill(t, s)
	where := store.And{named("status", 0, "a"), store.Not{Of: named("status", 0, "b")}}
	if page := count(t, s, where); page.Total != crowdSize/2 || page.Explain.Scanned == 0 {
		t.Fatalf("%d, %+v", page.Total, page.Explain)
	}
	for i := range 3 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		var err error
		if s, err = embedded.Open(dir, embedded.Options{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		page := count(t, s, where)
		if page.Total != int64(crowdSize/2-i) || page.Explain.Scanned != 0 || page.Explain.Examined != 0 {
			t.Errorf("start %d: %d, %+v", i, page.Total, page.Explain)
		}
		if _, err := s.Commit(t.Context(), flagged(2*i, "b", false)); err != nil {
			t.Fatal(err)
		}
	}
}
