package app_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"candela/fhir"
	"candela/fhir/r4"
	"candela/fhir/search"
	"candela/store/mongo/mongotest"
)

// The size of the proof: worlds of about 90 resources, and programs run on each.
// Every world is searched on the embedded store, each fifth on MongoDB too.
const (
	worlds       = 40
	worldSize    = 90
	programsEach = 250
	onMongoEvery = 5
	maxDiscarded = 4 // programs that are refused, for one that counts
)

// pageSizes are the sizes that every program is paged by; the first takes all.
var pageSizes = []int{1000, 1, 2, 3, 5, 8, 13}

func worldRegistry(t *testing.T) *search.Registry {
	t.Helper()
	spec, err := r4.Load()
	if err != nil {
		t.Fatal(err)
	}
	registry, err := search.New(spec, ownBase)
	if err != nil {
		t.Fatal(err)
	}
	return registry
}

// TestSearchPrograms runs random searches on random resources (E15): both
// stores must answer as a matcher does that tests every resource one by one, in
// the same order, for every page size, and counts must obey the laws of sets.
// CANDELA_SEED draws others.
func TestSearchPrograms(t *testing.T) {
	started := time.Now()
	var counted, hits, refused, mongoCounted atomic.Int64
	t.Run("worlds", func(t *testing.T) {
		for n := range worlds {
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				t.Parallel()
				d := throw(firstSeed(t) + uint64(n))
				w := newWorld(t, worldRegistry(t), randomSteps(d, worldSize))
				open := func(t *testing.T, w *world) []door {
					doors := []door{w.open(t, "embedded", "embedded:"+t.TempDir())}
					if n%onMongoEvery == 0 {
						doors = append(doors, w.open(t, "mongodb", mongotest.URI(t)))
					}
					return doors
				}
				r := runner{world: w, open: open, doors: open(t, w), dice: d}
				r.run(t)
				counted.Add(int64(r.counted))
				hits.Add(int64(r.hits))
				refused.Add(int64(r.refused))
				mongoCounted.Add(int64(r.counted * (len(r.doors) - 1)))
			})
		}
	})
	t.Logf("%d programs on the embedded store, %d of them on MongoDB too, in %s; %d found something, %d more were refused alike",
		counted.Load(), mongoCounted.Load(), time.Since(started).Round(time.Second), hits.Load(), refused.Load())
	if want := int64(worlds * programsEach); !t.Failed() && (counted.Load() != want || hits.Load() < want/3) {
		t.Errorf("%d programs ran and %d found something, want %d and a third of them", counted.Load(), hits.Load(), want)
	}
}

// firstSeed is 0, or CANDELA_SEED: other worlds and programs.
func firstSeed(t *testing.T) (seed uint64) {
	t.Helper()
	if text := os.Getenv("CANDELA_SEED"); text != "" {
		if _, err := fmt.Sscan(text, &seed); err != nil {
			t.Fatalf("CANDELA_SEED: %v", err)
		}
	}
	return seed
}

// runner runs programs against the doors of one world.
type runner struct {
	dice
	*world
	doors                  []door
	open                   func(t *testing.T, w *world) []door // the same doors on another world
	attempt                uint64                              // other attempts draw other laws
	counted, hits, refused int
}

func (r *runner) run(t *testing.T) {
	for r.counted < programsEach {
		p := speaker{r.dice, r.world}.program()
		want, err := r.answer(p)
		if failure := r.check(p); failure != nil {
			r.report(t, p, failure)
			return
		}
		if err != nil {
			if r.refused++; r.refused > maxDiscarded*programsEach {
				t.Fatalf("most programs are refused; the last: %s: %v", p, err)
			}
			continue
		}
		r.counted++
		if len(want) > 0 {
			r.hits++
		}
	}
}

// check holds every door against the naive answer; nil is no difference.
func (r *runner) check(p program) error {
	want, refusal := r.answer(p)
	for i, d := range r.doors {
		if refusal != nil {
			if err := d.refuses(p, refusal); err != nil {
				return err
			}
			continue
		}
		sizes := pageSizes
		if i > 0 {
			sizes = []int{1000, 3}
		}
		for _, size := range sizes {
			got, err := d.all(p, size)
			if err != nil {
				return fmt.Errorf("%s, pages of %d: %w", d.name, size, err)
			}
			if !slices.Equal(got, want) {
				return fmt.Errorf("%s, pages of %d:\n got %v\nwant %v", d.name, size, got, want)
			}
			if size > len(want) && size < 1000 {
				break // a larger page is the same page
			}
		}
	}
	if refusal != nil {
		return nil
	}
	drawn := *r // what laws draw depends on the program only, so that a failure comes again
	drawn.dice = throw(xxhash.Sum64String(p.String()) + r.attempt)
	return drawn.laws(p, len(want))
}

// refuses says whether the door refuses what the registry refuses.
func (d door) refuses(p program, refusal error) error {
	_, err := d.ask(p.with(fhir.Param{Name: "_count", Value: "1"}), "strict")
	var got, want *fhir.Error
	if !errors.As(err, &got) || !errors.As(refusal, &want) || got.Status != want.Status {
		return fmt.Errorf("%s: answered %v, want the refusal %w", d.name, err, refusal)
	}
	return nil
}

// found is one page.
type found struct {
	keys  []string
	next  string // the token of the page behind
	total string // "" when it is not given
}

func (d door) ask(p program, handling string) (found, error) {
	r := fhir.Request{Interaction: fhir.SearchType, Type: p.typ, Query: p.params, Base: ownBase,
		Caller: fhir.Caller{Access: fhir.Full()}, Prefer: fhir.Prefer{Handling: handling}}
	switch {
	case p.owner != "":
		owner := fhir.ParseReference(p.owner)
		r.Interaction, r.Compartment, r.ID = fhir.SearchCompart, owner.Type, owner.ID
	case p.typ == "":
		r.Interaction = fhir.SearchSystem
	}
	answer, err := d.Do(context.Background(), r)
	if err != nil {
		return found{}, err
	}
	tree, err := fhir.ParseTree(answer.Body, fhir.BundleLimits())
	if err != nil {
		return found{}, err
	}
	out := found{total: tree.Root().Get("total").Text()}
	for e := range tree.Root().Get("entry").Elements() {
		if e.Path("search", "mode").Text() != "match" {
			return out, fmt.Errorf("an entry of mode %s: %s", e.Path("search", "mode").Text(), e.Raw())
		}
		out.keys = append(out.keys, strings.TrimPrefix(e.Get("fullUrl").Text(), ownBase+"/"))
	}
	for l := range tree.Root().Get("link").Elements() {
		if l.Get("relation").Text() == "next" {
			u, err := url.Parse(l.Get("url").Text())
			if err != nil {
				return out, err
			}
			out.next = u.Query().Get("_page")
		}
	}
	return out, nil
}

// all is the whole answer, read in pages of size.
func (d door) all(p program, size int) ([]string, error) {
	page, err := d.ask(p.with(fhir.Param{Name: "_count", Value: fmt.Sprint(size)}), "strict")
	keys := page.keys
	for rounds := 0; err == nil && page.next != ""; rounds++ {
		if len(page.keys) != size {
			return keys, fmt.Errorf("a page of %d has %d entries and a next link", size, len(page.keys))
		}
		if rounds > 10*worldSize {
			return keys, errors.New("the pages never end")
		}
		path := p
		if p.owner != "" { // a page link names the compartment inside
			path.owner = ""
		}
		path.params = fhir.Params{{Name: "_page", Value: page.next}}
		page, err = d.ask(path, "")
		keys = append(keys, page.keys...)
	}
	return keys, err
}

// count is the number of matches, by _summary=count.
func (d door) count(p program) (int, error) {
	page, err := d.ask(p.with(fhir.Param{Name: "_summary", Value: "count"}), "strict")
	if err != nil {
		return 0, err
	}
	var n int
	if _, err := fmt.Sscan(page.total, &n); err != nil || len(page.keys) > 0 {
		return 0, fmt.Errorf("a count says %q with %d entries", page.total, len(page.keys))
	}
	return n, nil
}
