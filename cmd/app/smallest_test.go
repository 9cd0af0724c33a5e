package app_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"candela/fhir"
)

// report prints a failure as the smallest program and world that show it.
func (r *runner) report(t *testing.T, p program, failure error) {
	t.Helper()
	t.Errorf("%s\n%v", p, failure)
	p, steps, failure := r.smallest(t, p)
	var text strings.Builder
	for _, s := range steps {
		fmt.Fprintf(&text, "commit %d: %s %s\n", s.commit, s.key, s.raw)
	}
	t.Errorf("the smallest that fails: %s\n%v\non\n%s", p, failure, text.String())
}

// smallest takes away from the program and from the world what the failure does
// not need.
func (r *runner) smallest(t *testing.T, p program) (program, []step, error) {
	t.Helper()
	fails := func(w *world, doors []door, p program) error {
		for attempt := range 8 {
			try := runner{world: w, doors: doors, attempt: uint64(attempt)}
			if err := try.check(p); err != nil {
				return err
			}
		}
		return nil
	}
	p = shrunk(p, func(p program) bool { return fails(r.world, r.doors, p) != nil })
	last := fails(r.world, r.doors, p)
	steps := fewer(r.steps, func(steps []step) bool {
		w := newWorld(t, r.registry, steps)
		err := fails(w, r.open(t, w), p)
		if err != nil {
			last = err
		}
		return err != nil
	})
	return p, steps, last
}

// shrunk takes parameters and alternatives away while the program still fails.
func shrunk(p program, fails func(program) bool) program {
	for again := true; again; {
		again = false
		for i := range p.params {
			less := p
			less.params = slices.Delete(slices.Clone(p.params), i, i+1)
			if fails(less) {
				p, again = less, true
				break
			}
			values := strings.Split(p.params[i].Value, ",")
			for j := range values {
				less.params = slices.Clone(p.params)
				less.params[i].Value = strings.Join(slices.Delete(slices.Clone(values), j, j+1), ",")
				if len(values) > 1 && fails(less) {
					p, again = less, true
					break
				}
			}
		}
	}
	return p
}

// fewer takes steps away, many at a time, then one by one, while the rest fails.
func fewer(steps []step, fails func([]step) bool) []step {
	for size := len(steps) / 2; size > 0; size /= 2 {
		for at := 0; at+size <= len(steps); {
			if less := once(slices.Delete(slices.Clone(steps), at, at+size)); fails(less) {
				steps = less
			} else {
				at += size
			}
		}
	}
	return steps
}

// liar answers ge as if it were gt.
type liar struct{ fhir.Doer }

func (l liar) Do(ctx context.Context, r fhir.Request) (fhir.Response, error) {
	r.Query = slices.Clone(r.Query)
	for i, one := range r.Query {
		if !strings.HasPrefix(one.Name, "_page") { // sealed: any letters may stand in it
			r.Query[i].Value = strings.ReplaceAll(one.Value, "ge", "gt")
		}
	}
	return l.Doer.Do(ctx, r)
}

// A defect is found within a world's programs and told by what it needs only.
func TestProgramsFindADefect(t *testing.T) {
	d := throw(1)
	open := func(t *testing.T, w *world) []door {
		return []door{{liar{w.open(t, "embedded", "embedded:"+t.TempDir()).Doer}, "liar"}}
	}
	w := newWorld(t, worldRegistry(t), randomSteps(d, worldSize))
	r := runner{world: w, open: open, doors: open(t, w), dice: d}
	for range programsEach {
		p := speaker{r.dice, r.world}.program()
		if r.check(p) == nil {
			continue
		}
		p, steps, failure := r.smallest(t, p)
		if failure == nil || len(p.params) > 1 || len(steps) > 2 {
			t.Errorf("%s on %v: %v", p, steps, failure)
		}
		return
	}
	t.Error("nothing was found")
}
