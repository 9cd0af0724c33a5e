package app_test

import (
	"fmt"
	"math"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"candela/cmd/app"
)

// The ladder is set by the environment: CANDELA_SHAPES is the sizes of the
// towns in patients, multiples of ten, CANDELA_SHAPES_STORE one store of the
// two, CANDELA_SHAPES_TABLE a file for the table of all figures,
// CANDELA_SHAPES_CACHE the embedded store's cache in MB. A town of 16,000 does
// not fit into the default cache: what grows with that and does not with a
// larger one are blocks that were read again, not a longer scan.
const (
	drawn    = 512 // different requests of a shape, asked in turn
	leastRun = 300 // requests of a shape at least
	checked  = 20  // requests whose answers are held against what the town holds
	limit    = 1.5 // by what the p50 of a selective shape may grow from the first size to the last
)

// BenchmarkShapes measures the shapes of search through the server's handler,
// the network left out: the time of one request (p50, p95, p99), and what it
// allocates in this process. -benchtime is how long a shape is asked.
func BenchmarkShapes(b *testing.B) {
	sizes, kinds := ladderOf(b)
	cache := cacheOf(b)
	for _, kind := range kinds {
		table := figures{kind: kind, sizes: sizes, of: map[string][]figure{}}
		for _, n := range sizes {
			b.Run(fmt.Sprintf("%s/%d", kind, n), func(b *testing.B) {
				p := settle(b, kind, n, cache)
				for _, s := range shapes() {
					b.Run(s.name, func(b *testing.B) {
						f := p.measure(b, s)
						table.add(s, f)
						f.report(b)
					})
				}
			})
		}
		table.write(b)
	}
}

func ladderOf(b *testing.B) (sizes []town, kinds []string) {
	b.Helper()
	list := os.Getenv("CANDELA_SHAPES")
	if list == "" {
		list = "1000"
	}
	for _, text := range strings.Split(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 200 || n%10 != 0 {
			b.Fatalf("CANDELA_SHAPES: %q is not a multiple of ten from 200 on", text)
		}
		sizes = append(sizes, town(n))
	}
	switch kind := os.Getenv("CANDELA_SHAPES_STORE"); kind {
	case "":
		return sizes, []string{"embedded", "mongodb"}
	case "embedded", "mongodb":
		return sizes, []string{kind}
	default:
		b.Fatalf("CANDELA_SHAPES_STORE: %q is neither embedded nor mongodb", kind)
		return nil, nil
	}
}

func cacheOf(b *testing.B) int {
	b.Helper()
	text := os.Getenv("CANDELA_SHAPES_CACHE")
	if text == "" {
		return app.Defaults().CacheMB
	}
	mb, err := strconv.Atoi(text)
	if err != nil || mb < 1 {
		b.Fatalf("CANDELA_SHAPES_CACHE: %q is no number of MB", text)
	}
	return mb
}

// figure is what one shape took in one town.
type figure struct {
	size          town
	p50, p95, p99 time.Duration
	allocs, bytes float64 // of one request
	hits          int
}

func (f figure) report(b *testing.B) {
	b.ReportAllocs()
	b.ReportMetric(0, "ns/op") // a mean hides what the others tell
	b.ReportMetric(micros(f.p50), "p50-µs")
	b.ReportMetric(micros(f.p95), "p95-µs")
	b.ReportMetric(micros(f.p99), "p99-µs")
	b.ReportMetric(f.allocs, "allocs/op")
	b.ReportMetric(f.bytes, "B/op")
	b.ReportMetric(float64(f.hits), "hits")
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// warming is how long a shape is asked before it is measured, each request once
// at most: what was measured first would pay for filling the caches of all.
const warming = 2 * time.Second

// measure asks a shape's requests in turn. The first answers are checked.
func (p place) measure(b *testing.B, s shape) figure {
	b.Helper()
	requests, t := p.requests(b, s, drawn, ""), newTaker()
	started := time.Now()
	for i, r := range requests {
		if i >= checked && time.Since(started) > warming {
			break
		}
		p.time(b, t, r)
		if i < checked {
			t.check(b, s, p.town, r)
		}
	}
	took := make([]time.Duration, 0, 1<<20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for b.Loop() {
		took = append(took, p.time(b, t, requests[len(took)%len(requests)]))
	}
	for len(took) < leastRun {
		took = append(took, p.time(b, t, requests[len(took)%len(requests)]))
	}
	runtime.ReadMemStats(&after)
	n := float64(len(took))
	slices.Sort(took)
	return figure{size: p.town, p50: took[len(took)/2], p95: took[len(took)*95/100], p99: took[len(took)*99/100], hits: s.hits(p.town),
		allocs: float64(after.Mallocs-before.Mallocs) / n, bytes: float64(after.TotalAlloc-before.TotalAlloc) / n}
}

func (p place) time(b *testing.B, t *taker, r *http.Request) time.Duration {
	started := time.Now()
	t.take(p.handler, r)
	took := time.Since(started)
	if t.status != 200 {
		b.Fatalf("%s: %d %.300s", r.URL, t.status, t.body)
	}
	return took
}

// figures are all of one store.
type figures struct {
	kind  string
	sizes []town
	of    map[string][]figure // by shape, in the order of sizes
}

func (t figures) add(s shape, f figure) {
	kept := slices.DeleteFunc(t.of[s.name], func(o figure) bool { return o.size == f.size }) // of an earlier -count
	t.of[s.name] = append(kept, f)
}

// write appends the table to the file of CANDELA_SHAPES_TABLE, or prints it.
func (t figures) write(b *testing.B) {
	b.Helper()
	if len(t.of) == 0 { // -bench chose none of this store
		return
	}
	text := strings.Join(t.lines(), "\n") + "\n"
	name := os.Getenv("CANDELA_SHAPES_TABLE")
	if name == "" {
		fmt.Print("\n" + text + "\n") // a benchmark that has others inside logs nothing
		return
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	if _, err = f.WriteString(text + "\n"); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
}

// lines is the table in Markdown, a row for each shape.
func (t figures) lines() []string {
	head := []string{t.kind, "hits"}
	for _, n := range t.sizes {
		head = append(head, fmt.Sprintf("%d patients: p50 / p95 / p99 µs", n))
	}
	head = append(head, "p50 grows", "allocs/op", "KB/op")
	out := []string{row(head), row(slices.Repeat([]string{"---"}, len(head)))}
	for _, s := range shapes() {
		list := t.of[s.name]
		if len(list) == 0 {
			continue
		}
		cells := []string{s.name, spread(list, func(f figure) float64 { return float64(f.hits) })}
		for _, f := range list {
			cells = append(cells, fmt.Sprintf("%.0f / %.0f / %.0f", micros(f.p50), micros(f.p95), micros(f.p99)))
		}
		for len(cells) < len(t.sizes)+2 {
			cells = append(cells, "")
		}
		cells = append(cells, growth(s, list), spread(list, func(f figure) float64 { return f.allocs }),
			spread(list, func(f figure) float64 { return f.bytes / 1024 }))
		out = append(out, row(cells))
	}
	return out
}

func row(cells []string) string { return "| " + strings.Join(cells, " | ") + " |" }

// growth is the last p50 over the first.
func growth(s shape, list []figure) string {
	if len(list) == 1 {
		return ""
	}
	times := float64(list[len(list)-1].p50) / float64(list[0].p50)
	text := fmt.Sprintf("%.2f×", times)
	switch {
	case times <= limit:
		return text
	case s.grows != "":
		return text + " (" + s.grows + ")"
	}
	return "**" + text + "**"
}

// spread is a figure in the first town, and in the last where it is another.
func spread(list []figure, of func(figure) float64) string {
	first, last := of(list[0]), of(list[len(list)-1])
	if math.Abs(last-first) <= max(0.05*first, 1) {
		return fmt.Sprintf("%.0f", first)
	}
	return fmt.Sprintf("%.0f – %.0f", first, last)
}
