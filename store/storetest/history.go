package storetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"candela/store"
)

func testHistory(t *testing.T, open Opener) {
	steps(t, open, map[string]func(*env){
		"levels": historyLevels,
		"times":  historyTimes,
		"pages":  historyPages,
		"bytes":  historyBytes,
		"cursor": historyCursor,
	})
}

func testChanges(t *testing.T, open Opener) {
	steps(t, open, map[string]func(*env){
		"order":   changesOrder,
		"resume":  changesResume,
		"wake":    changesWake,
		"writers": changesUnderWriters,
	})
}

// historyBytes: pages end early where bodies are large, and miss nothing.
func historyBytes(e *env) {
	text := func(n, size int) string {
		var b []byte // packs badly
		for i := 0; len(b) < size; i++ {
			b = fmt.Appendf(b, "%x", uint64(n*1000+i+1)*0x9e3779b97f4a7c15)
		}
		return string(b[:size])
	}
	sizes := []int{3000, 10, 10, 3000, 3000, 9000, 10, 10, 10, 3000, 9000, 9000, 10, 3000}
	for n, size := range sizes {
		e.commit(put(key("A", fmt.Sprint(n%3)), text(n, size)))
	}
	e.commit(remove(key("A", "1")))
	for _, k := range []store.Key{{}, {Type: "A"}, key("A", "0")} {
		want := lines(e.history(store.Span{Key: k, Count: 100}).Versions)
		for _, bound := range []int{1, 3015, 7000, 12_500, 1 << 20} {
			for _, count := range []int{2, 100} {
				span := store.Span{Key: k, Count: count, Bytes: bound}
				var got []string
				for pages := 0; pages <= len(want); pages++ {
					page, sum := e.history(span), 0
					for _, v := range page.Versions {
						sum += len(v.Raw)
					}
					if len(page.Versions) > count || len(page.Versions) > 1 && sum > bound {
						e.Errorf("%v %d/%d: a page of %d has %d bytes", k, count, bound, len(page.Versions), sum)
					}
					got = append(got, lines(page.Versions)...)
					if span.After = page.Next; span.After == "" {
						break
					}
				}
				if !slices.Equal(got, want) {
					e.Errorf("%v %d/%d: %d versions, want %d", k, count, bound, len(got), len(want))
				}
			}
		}
	}
}

// lines is versions as "Type/ID number action raw".
func lines(versions []store.Version) []string {
	out := make([]string, 0, len(versions))
	for _, v := range versions {
		action := map[store.Action]string{store.Create: "create", store.Put: "put", store.Delete: "delete"}[v.Action]
		out = append(out, fmt.Sprintf("%s %d %s %s", v.Key, v.Number, action, v.Raw))
	}
	return out
}

// past writes seven versions of three resources and gives them oldest first.
func (e *env) past() []store.Version {
	e.Helper()
	var all []store.Version
	for _, op := range []store.Op{
		put(key("A", "1"), "one"), put(key("B", "1"), "b"), put(key("A", "1"), "two"),
		{Action: store.Create, Key: key("A", "2"), Raw: []byte("other")},
		remove(key("A", "1")), put(key("A", "1"), "three"), remove(key("B", "1")),
	} {
		r := e.commit(op)[0]
		r.Raw = op.Raw
		all = append(all, r.Version)
	}
	return all
}

// newest is the versions that meet keep, newest first, as lines.
func newest(all []store.Version, keep func(store.Version) bool) []string {
	var some []store.Version
	for _, v := range all {
		if keep(v) {
			some = append(some, v)
		}
	}
	slices.Reverse(some)
	return lines(some)
}

func (e *env) history(s store.Span) store.Page {
	e.Helper()
	page, err := e.store.History(e.ctx, s)
	e.ok(err)
	return page
}

func historyLevels(e *env) {
	all := e.past()
	for _, c := range []struct {
		k    store.Key
		keep func(store.Version) bool
	}{
		{key("A", "1"), func(v store.Version) bool { return v.Key == key("A", "1") }},
		{key("A", ""), func(v store.Version) bool { return v.Key.Type == "A" }},
		{store.Key{}, func(store.Version) bool { return true }},
	} {
		want := newest(all, c.keep)
		page := e.history(store.Span{Key: c.k, Count: 100, Total: true})
		same(e, "history of "+c.k.String(), lines(page.Versions), want)
		if page.Total != int64(len(want)) || page.Next != "" {
			e.Fatalf("total %d, next %q", page.Total, page.Next)
		}
		if page = e.history(store.Span{Key: c.k, Count: 100}); page.Total != -1 {
			e.Fatalf("a total nobody asked for: %d", page.Total)
		}
		if page = e.history(store.Span{Key: c.k, Total: true}); page.Total != int64(len(want)) || len(page.Versions) != 0 {
			e.Fatalf("count only gave %d rows, total %d", len(page.Versions), page.Total)
		}
	}
	for _, v := range e.history(store.Span{Count: 100}).Versions {
		if v.RID == 0 || v.Seq == 0 || v.Time.IsZero() {
			e.Fatalf("incomplete version %+v", v)
		}
	}
}

func historyTimes(e *env) {
	all := e.past()
	for i := range all {
		for j := i; j < len(all); j++ {
			for _, k := range []store.Key{{}, key("A", ""), key("A", "1")} {
				want := newest(all[i:j+1], func(v store.Version) bool {
					return k == store.Key{} || v.Key == k || k.ID == "" && v.Key.Type == k.Type
				})
				s := store.Span{Key: k, Since: all[i].Time, Until: all[j].Time, Count: 100, Total: true}
				page := e.history(s)
				same(e, fmt.Sprintf("%+v", s), lines(page.Versions), want)
				if page.Total != int64(len(want)) {
					e.Fatalf("%+v: total %d, want %d", s, page.Total, len(want))
				}
			}
		}
	}
	if page := e.history(store.Span{Since: e.clock.now().Add(time.Hour), Count: 10}); len(page.Versions) != 0 {
		e.Fatalf("the future has %d versions", len(page.Versions))
	}
}

// historyPages: what is written while paging does not disturb the pages.
func historyPages(e *env) {
	e.past()
	for _, k := range []store.Key{{}, key("A", ""), key("A", "1")} {
		want := lines(e.history(store.Span{Key: k, Count: 1000}).Versions)
		for count := 1; count < 4; count++ {
			var got []string
			s := store.Span{Key: k, Count: count}
			for {
				page := e.history(s)
				got = append(got, lines(page.Versions)...)
				if s.After = page.Next; s.After == "" {
					break
				}
				e.put(key("A", "new"), fmt.Sprint(count, len(got), k)) // newer: not in this run
			}
			same(e, fmt.Sprintf("%v in pages of %d", k, count), got, want)
			want = lines(e.history(store.Span{Key: k, Count: 1000}).Versions)
		}
	}
}

func historyCursor(e *env) {
	e.past()
	next := e.history(store.Span{Count: 2}).Next
	for _, s := range []store.Span{{Count: 2, After: next + "A"}, {Count: 2, After: "x"}, {Count: 2, After: "AAAA"}, {Key: key("A", ""), Count: 2, After: next}} {
		_, err := e.store.History(e.ctx, s)
		e.wants(err, store.ErrCursor)
	}
}

// take reads n changes behind after.
func (e *env) take(after store.Seq, n int) []store.Version {
	e.Helper()
	var got []store.Version
	for v, err := range e.store.Changes(e.ctx, after) {
		e.ok(err)
		if got = append(got, v); len(got) == n {
			break
		}
	}
	if len(got) != n {
		e.Fatalf("%d changes, want %d", len(got), n)
	}
	return got
}

func changesOrder(e *env) {
	head, err := e.store.Head(e.ctx)
	e.ok(err)
	all := e.past()
	e.put(key("A", "1"), "three") // unchanged: no change
	got := e.take(head, len(all))
	same(e, "changes", lines(got), lines(all))
	for i, v := range got {
		if v.Seq != all[i].Seq || v.RID != all[i].RID || !v.Time.Equal(all[i].Time) {
			e.Fatalf("change %d is %+v, want %+v", i, v, all[i])
		}
	}
	if now, err := e.store.Head(e.ctx); err != nil || now != all[len(all)-1].Seq {
		e.Fatalf("head is %d (%v), want %d", now, err, all[len(all)-1].Seq)
	}
}

func changesResume(e *env) {
	all := e.past()
	e.reopen()
	for i := range all {
		got := e.take(all[i].Seq-1, len(all)-i)
		same(e, fmt.Sprint("from ", i), lines(got), lines(all[i:]))
	}
	last := e.put(key("C", "1"), "c")
	same(e, "after reopen", lines(e.take(all[len(all)-1].Seq, 1)), []string{"C/1 1 put c"})
	if last.Seq <= all[len(all)-1].Seq {
		e.Fatalf("seq %d after %d", last.Seq, all[len(all)-1].Seq)
	}
}

// changesWake: a reader that waits gets what comes later, and ends with its context.
func changesWake(e *env) {
	head, err := e.store.Head(e.ctx)
	e.ok(err)
	ctx, cancel := context.WithCancel(e.ctx)
	got := make(chan store.Version, 10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for v, err := range e.store.Changes(ctx, head) {
			if err != nil {
				return
			}
			got <- v
		}
	}()
	for i := range 3 {
		time.Sleep(20 * time.Millisecond)
		e.put(key("A", "1"), fmt.Sprint(i))
		select {
		case v := <-got:
			e.check(v, key("A", "1"), int64(i+1), fmt.Sprint(i))
		case <-time.After(20 * time.Second):
			e.Fatalf("change %d did not arrive", i)
		}
	}
	cancel()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		e.Fatalf("the feed outlived its context")
	}
}

// changesUnderWriters: readers see every version once and in order while many write.
func changesUnderWriters(e *env) {
	const writers, each = 8, 25
	head, err := e.store.Head(e.ctx)
	e.ok(err)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if _, err := e.store.Commit(e.ctx, put(key("A", fmt.Sprint(w)), fmt.Sprint(i)), put(key("B", fmt.Sprint(w, "-", i)), "b")); err != nil {
					e.Errorf("writer %d: %v", w, err)
					return
				}
			}
		})
	}
	seen := make([][]store.Version, 2)
	for i := range seen {
		wg.Go(func() {
			for v, err := range e.store.Changes(e.ctx, head) {
				if seen[i] = append(seen[i], v); err != nil || len(seen[i]) == 2*writers*each {
					return
				}
			}
		})
	}
	wg.Wait()
	for _, got := range seen {
		e.complete(got, 2*writers*each)
	}
}

// complete wants n versions in order, each once, the numbers of each key without gaps.
func (e *env) complete(got []store.Version, n int) {
	e.Helper()
	numbers := map[store.Key]int64{}
	for i, v := range got {
		if i > 0 && v.Seq <= got[i-1].Seq {
			e.Fatalf("change %d has seq %d after %d", i, v.Seq, got[i-1].Seq)
		}
		if numbers[v.Key]++; v.Number != numbers[v.Key] {
			e.Fatalf("%v version %d came as its change number %d", v.Key, v.Number, numbers[v.Key])
		}
	}
	if len(got) != n {
		e.Fatalf("%d changes, want %d", len(got), n)
	}
}
