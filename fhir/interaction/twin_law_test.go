package interaction_test

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"candela/fhir"
)

// The size of the proof. CANDELA_PROGRAMS runs more.
const (
	programs     = 2000
	programsEach = 20 // of one pair of stores
	steps        = 20
)

type rapidDice struct{ t *rapid.T }

func (d rapidDice) roll(n int, what string) int { return rapid.IntRange(0, n-1).Draw(d.t, what) }

// pair is two stores that are equal on what a caller sees.
type pair struct {
	witness
	worlds [2]*world
	common []thing
}

func newPair(t testing.TB, d dice, w witness, l leak) *pair {
	p := &pair{witness: w, worlds: [2]*world{newWorld(t, w, l), newWorld(t, w, l)}}
	p.common = w.seen(d)
	m := w.moved(d)
	for _, x := range p.worlds {
		before := random(d, m.typ, m.id) // differs between the two
		w.hide(d, &before)
		x.must(t, asked{method: "PUT", url: m.typ + "/" + m.id, body: before.json()})
		for _, one := range append(p.common, m) {
			x.must(t, asked{method: "PUT", url: one.typ + "/" + one.id, body: one.json()})
		}
	}
	return p
}

func (w *world) must(t testing.TB, a asked) {
	t.Helper()
	if got := w.ask(fhir.Caller{Access: fhir.Full()}, a); !strings.HasPrefix(got, "20") {
		t.Fatalf("%s\n%s", a, got)
	}
}

func (p *pair) close(t testing.TB) {
	for _, w := range p.worlds {
		w.close(t)
	}
}

// program runs some steps on both stores after each was changed out of view. It
// gives the step that they answered differently, and how.
func (p *pair) program(t testing.TB, d dice) (difference string) {
	for _, w := range p.worlds {
		for _, hidden := range p.churn(d) {
			w.must(t, hidden)
		}
	}
	var told []string
	for range steps {
		a := step(d)
		told = append(told, a.String())
		one, two := p.worlds[0].ask(p.caller, a), p.worlds[1].ask(p.caller, a)
		if one != two {
			return fmt.Sprintf("as %s, after %s\n%s\n\n%s", p.name, strings.Join(told, "\n"), one, two)
		}
	}
	return ""
}

// TestE1_NonInterference: 0 differing bytes. What a program may do besides is not
// asked here; the tests of single threats are for that.
func TestE1_NonInterference(t *testing.T) {
	n := programs
	if text := os.Getenv("CANDELA_PROGRAMS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	all := witnesses()
	for name, value := range map[string]string{"rapid.checks": strconv.Itoa((n/2 + programsEach - 1) / programsEach), "rapid.nofailfile": "true"} {
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	for half := range 2 { // of the programs each
		t.Run(fmt.Sprint(half), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(r *rapid.T) {
				d := rapidDice{r}
				p := newPair(t, d, all[d.roll(len(all), "witness")], leak{})
				defer p.close(t)
				for range programsEach {
					if difference := p.program(t, d); difference != "" {
						r.Fatal(difference)
					}
				}
			})
		})
	}
}
