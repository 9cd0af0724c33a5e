package app_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"candela/cmd/app"
	"candela/fhir"
	"candela/store/mongo/mongotest"
)

// shape is a kind of search as clients ask it, with other values in every request.
type shape struct {
	name string
	hits func(n town) int // entries of every answer, or its total where it only counts
	ask  func(d dice, n town) string
	page int // what is asked for is this page, of ten

	// grows is why it costs more in a larger town. The selective ones, which have
	// no reason to, must cost the same.
	grows string
}

func always(hits int) func(town) int { return func(town) int { return hits } }

// shapes are the searches that are measured. What they find is known from how
// a town is made.
func shapes() []shape {
	return append([]shape{
		{name: "string", hits: always(10), ask: func(d dice, n town) string { return "Patient?family=" + n.anyFamily(d) }},
		{name: "date", hits: always(10), ask: func(d dice, n town) string {
			return "Encounter?date=" + n.day(d.IntN(n.days())).Format(time.DateOnly)
		}},
		{name: "token", hits: always(10), ask: func(d dice, n town) string { return "Condition?code=" + n.anyIllness(d) }},
		{name: "identifier", hits: always(1), ask: func(d dice, n town) string {
			return fmt.Sprintf("Patient?identifier=%s|MRN-%06d", mrnSystem, d.IntN(int(n)))
		}},
		{name: "quantity", hits: always(10), ask: func(d dice, n town) string { return "Observation?value-quantity=" + n.anySugar(d) }},
		{name: "reference", hits: always(14), ask: func(d dice, n town) string { return "Observation?subject=Patient/" + n.anyPatient(d) }},
		{name: "composite", hits: always(10), ask: func(d dice, n town) string {
			return "Observation?code-value-quantity=" + loincSystem + "|" + glucose + "$" + n.anySugar(d)
		}},
		{name: "patient+code+date sorted", hits: always(3), ask: func(d dice, n town) string {
			return "Observation?patient=" + n.anyPatient(d) + "&code=" + anyVital(d) + "&date=ge1960-01-01&_sort=-date"
		}},
		{name: "newest of a code", hits: always(1), ask: func(d dice, _ town) string {
			return "Observation?code=" + anyVital(d) + "&_sort=-date&_count=1"
		}},
	}, jointShapes()...)
}

// jointShapes are those that look at other resources, or at many.
func jointShapes() []shape {
	return []shape{
		{name: "chain", hits: always(20), ask: func(d dice, n town) string { return "Condition?patient.family=" + n.anyFamily(d) }},
		{name: "_has", hits: always(10), ask: func(d dice, n town) string { return "Patient?_has:Condition:patient:code=" + n.anyIllness(d) }},
		{name: "include", hits: always(20), ask: func(d dice, n town) string {
			return "Condition?code=" + n.anyIllness(d) + "&_include=Condition:patient"
		}},
		{name: "revinclude", hits: always(30), ask: func(d dice, n town) string {
			return "Patient?family=" + n.anyFamily(d) + "&_revinclude=Condition:patient"
		}},
		{name: "sort few, no index", hits: always(10), ask: func(d dice, n town) string {
			return "Patient?family=" + n.anyFamily(d) + "&_sort=-identifier"
		}},
		{name: "count few", hits: always(10), ask: func(d dice, n town) string {
			return "Condition?code=" + n.anyIllness(d) + "&_summary=count"
		}},
		{name: "page 100", hits: always(10), page: 100, ask: func(d dice, _ town) string {
			return "Observation?category=vital-signs&_count=10"
		}},
		{name: "page 100 by date", hits: always(10), page: 100, ask: func(d dice, _ town) string {
			return "Observation?category=vital-signs&_count=10&_sort=-date"
		}},
		{name: "sort half the type, no index", grows: "reads half the type", hits: always(20), ask: func(d dice, _ town) string {
			return "Patient?gender=" + d.of("male", "female") + "&_sort=-identifier&_count=20"
		}},
		{name: "count two common codes", grows: "reads both lists", hits: func(n town) int { return visitsEach * int(n) / 2 }, ask: func(d dice, _ town) string {
			return "Observation?code=" + anyVital(d) + "&status=" + d.of("final", "amended") + "&_summary=count"
		}},
	}
}

func (n town) anyFamily(d dice) string  { return family(d.IntN(n.tens())) }
func (n town) anyPatient(d dice) string { return patientID(d.IntN(int(n))) }
func (n town) anyIllness(d dice) string { return icdSystem + "|" + illness(d.IntN(n.tens())) }
func (n town) anySugar(d dice) string {
	return sugar(d.IntN(n.tens())) + "|" + ucumSystem + "|mg/dL"
}

func anyVital(d dice) string {
	return loincSystem + "|" + d.of(bloodPressure, heartRate, bodyWeight, bodyHeat)
}

// place is a server with a town in it, asked without a network between.
type place struct {
	town
	base    string
	handler http.Handler
}

// settle starts a server on a fresh store with a cache of so many MB and loads
// a town into it.
func settle(tb testing.TB, kind string, n town, cache int) place {
	tb.Helper()
	c := testConfig("embedded:" + tb.TempDir())
	if kind == "mongodb" {
		c.Store = mongotest.URI(tb)
	}
	c.CacheMB = cache
	c.Relaxed = true // makes loading quicker and changes no search
	s, err := app.Start(context.Background(), c)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Stop(); err != nil {
			tb.Errorf("stop: %v", err)
		}
	})
	n.load(tb, s)
	return place{n, s.Base, s.Handler()}
}

// taker is a ResponseWriter that keeps one answer and takes the next into the same room.
type taker struct {
	header http.Header
	status int
	body   []byte
}

func (t *taker) Header() http.Header              { return t.header }
func (t *taker) WriteHeader(status int)           { t.status = status }
func (t *taker) Write(b []byte) (int, error)      { t.body = append(t.body, b...); return len(b), nil }
func (t *taker) SetWriteDeadline(time.Time) error { return nil }

func (t *taker) take(h http.Handler, r *http.Request) {
	clear(t.header)
	t.status, t.body = 200, t.body[:0]
	h.ServeHTTP(t, r)
}

func newTaker() *taker { return &taker{header: http.Header{}, body: make([]byte, 0, 1<<20)} }

func (p place) request(tb testing.TB, path string) *http.Request {
	tb.Helper()
	if !strings.HasPrefix(path, "http") {
		where, query, _ := strings.Cut(path, "?")
		values, err := url.ParseQuery(query)
		if err != nil {
			tb.Fatal(err)
		}
		path = p.base + "/" + where + "?" + values.Encode()
	}
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, path, http.NoBody)
	if err != nil {
		tb.Fatal(err)
	}
	r.URL.Scheme, r.URL.Host = "", "" // as a server reads it: a path, and a Host beside it
	r.Header.Set("Accept", "application/fhir+json")
	return r
}

// requests are so many of a shape. tail is added to each query.
func (p place) requests(tb testing.TB, s shape, count int, tail string) []*http.Request {
	tb.Helper()
	d := throw(20)
	if s.page > 0 {
		return p.pages(tb, s.ask(d, p.town)+tail, s.page, count)
	}
	out := make([]*http.Request, count)
	for i := range out {
		out[i] = p.request(tb, s.ask(d, p.town)+tail)
	}
	return out
}

// pages walks to the page of a number and some around it.
func (p place) pages(tb testing.TB, path string, number, count int) []*http.Request {
	tb.Helper()
	var out []*http.Request
	r, t := p.request(tb, path), newTaker()
	for at := 1; at <= number+5; at++ {
		if at >= number-5 {
			out = append(out, r)
		}
		t.take(p.handler, r)
		r = nil
		for l := range t.tree(tb).Get("link").Elements() {
			if l.Get("relation").Text() == "next" {
				r = p.request(tb, l.Get("url").Text())
			}
		}
		if r == nil {
			tb.Fatalf("%s has %d pages only, or failed: %d %.300s", path, at, t.status, t.body)
		}
	}
	return out[:min(count, len(out))]
}

func (t *taker) tree(tb testing.TB) fhir.Node {
	tb.Helper()
	tree, err := fhir.ParseTree(t.body, fhir.BundleLimits())
	if err != nil {
		tb.Fatalf("%d %.300s: %v", t.status, t.body, err)
	}
	return tree.Root()
}

// check says whether the answer holds what the shape must find.
func (t *taker) check(tb testing.TB, s shape, n town, r *http.Request) {
	tb.Helper()
	hits := 0
	for e := range t.tree(tb).Get("entry").Elements() {
		if e.Get("search").Get("mode").Text() != "outcome" {
			hits++
		}
	}
	if strings.Contains(r.URL.RawQuery, "_summary=count") {
		_, _ = fmt.Sscan(t.tree(tb).Get("total").Text(), &hits) // what is no number leaves a wrong one
	}
	if want := s.hits(n); t.status != 200 || hits != want {
		tb.Fatalf("%s in a town of %d: %s: %d with %d hits, want %d: %.1000s", s.name, n, r.URL, t.status, hits, want, t.body)
	}
}

// TestShapesStayFlat holds the work of selective searches against each other in
// a small and a larger town: index entries read and resources tested, which no
// busy machine changes. Times are for BenchmarkShapes.
func TestShapesStayFlat(t *testing.T) {
	const asked, few, many, cache = 12, 200, 800, 64
	for _, kind := range []string{"embedded", "mongodb"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			small, large := settle(t, kind, few, cache), settle(t, kind, many, cache)
			for _, s := range shapes() {
				before, after := small.work(t, s, asked), large.work(t, s, asked)
				t.Logf("%-30s %6d %6d", s.name, before/asked, after/asked)
				// a quarter more is what another plan may cost; a share of the town would be four times as much
				if s.grows == "" && after > before*5/4+2*asked {
					t.Errorf("%s: %d entries and resources read for %d searches in a town of %d, %d in one of %d",
						s.name, before, asked, few, after, many)
				}
			}
		})
	}
}

// work is how much the store read for some searches of a shape.
func (p place) work(t *testing.T, s shape, asked int) int {
	t.Helper()
	taken, sum := newTaker(), 0
	requests := p.requests(t, s, asked, "&_explain=true")
	for i := range asked {
		r := requests[i%len(requests)]
		taken.take(p.handler, r)
		taken.check(t, s, p.town, r)
		said := false
		for e := range taken.tree(t).Get("entry").Elements() {
			for issue := range e.Get("resource").Get("issue").Elements() {
				var scanned, examined int
				_, numbers, _ := strings.Cut(issue.Get("diagnostics").Text(), "index entries scanned: ")
				if n, _ := fmt.Sscanf(numbers, "%d; resources examined: %d", &scanned, &examined); n == 2 {
					sum, said = sum+scanned+examined, true
				}
			}
		}
		if !said {
			t.Fatalf("%s: %s explains nothing: %.1000s", s.name, r.URL, taken.body)
		}
	}
	return sum
}
