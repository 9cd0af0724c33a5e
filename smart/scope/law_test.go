package scope_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"candela/fhir"
	"candela/smart/scope"
)

// small is a server of few words, so that drawn scopes often meet.
type small struct{}

func (small) HasType(typ string) bool      { return slices.Contains([]string{"A", "B", "C"}, typ) }
func (small) HasParam(_, code string) bool { return slices.Contains([]string{"p", "q", "_tag"}, code) }
func drawText(t *rapid.T, label string) string {
	if rapid.IntRange(0, 9).Draw(t, label+" kind") == 0 {
		return rapid.SampledFrom([]string{"openid", "launch", "offline_access"}).Draw(t, label)
	}
	level := rapid.SampledFrom([]string{"patient", "user"}).Draw(t, label+" level")
	typ := rapid.SampledFrom([]string{"A", "B", "*"}).Draw(t, label+" type")
	if rapid.IntRange(0, 3).Draw(t, label+" version") == 0 {
		return level + "/" + typ + "." + rapid.SampledFrom([]string{"read", "write", "*"}).Draw(t, label+" verb")
	}
	text := level + "/" + typ + "." + drawLetters(t, label)
	params := []string{"p", "q", "_tag"}
	if typ == "*" {
		params = params[2:]
	}
	for i := range rapid.IntRange(0, 2).Draw(t, label+" tests") {
		text += []string{"?", "&"}[min(i, 1)] + rapid.SampledFrom(params).Draw(t, label+" param") + "=" +
			strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"1", "2", "a|b=c", "x+y"}), 1, 3).Draw(t, label+" values"), ",")
	}
	return text
}

func drawLetters(t *rapid.T, label string) string {
	n, out := rapid.IntRange(1, 31).Draw(t, label+" letters"), ""
	for i, l := range "cruds" {
		if n>>i&1 == 1 {
			out += string(l)
		}
	}
	return out
}

func drawSet(t *rapid.T, label string, most int) scope.Set {
	var texts []string
	for range rapid.IntRange(0, most).Draw(t, label+" size") {
		texts = append(texts, drawText(t, label))
	}
	set, refused := scope.New(small{}).Parse(strings.Join(texts, " "))
	if len(refused) > 0 {
		t.Fatalf("refused %q", refused)
	}
	return set
}

// thing is a resource as rules see it: its type, the compartments it lies in
// and, for each parameter, its values.
type thing struct {
	typ    string
	within []string
	values map[string][]string
}

func drawThing(t *rapid.T) thing {
	values := map[string][]string{}
	for _, p := range []string{"p", "q", "_tag"} {
		values[p] = rapid.SliceOfN(rapid.SampledFrom([]string{"1", "2", "a|b=c", "x+y", "other"}), 0, 3).Draw(t, p)
	}
	return thing{
		rapid.SampledFrom([]string{"A", "B"}).Draw(t, "type"),
		rapid.SliceOfN(rapid.SampledFrom([]string{"Patient/1", "Patient/2"}), 0, 2).Draw(t, "compartments"),
		values,
	}
}

// allows is what rules mean, written plainly.
func (x thing) allows(t *rapid.T, a fhir.Access, letter string) bool {
	return slices.ContainsFunc(a, func(r fhir.Rule) bool {
		in := r.Compartment == fhir.Reference{} || slices.Contains(x.within, r.Compartment.String())
		return in && (r.Type == "*" || r.Type == x.typ) && strings.Contains(r.Letters, letter) && x.passes(t, r.Filter)
	})
}

func (x thing) passes(t *rapid.T, filter string) bool {
	params, err := fhir.ParseParams(filter)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range params {
		if !slices.ContainsFunc(strings.Split(p.Value, ","), func(v string) bool { return slices.Contains(x.values[p.Name], v) }) {
			return false
		}
	}
	return true
}

// opens says whether the set allows the letter on the thing, at a level.
func (x thing) opens(t *rapid.T, s scope.Set, level, letter string) bool {
	var rules fhir.Access
	for _, one := range s {
		if one.Level == level {
			rules = append(rules, fhir.Rule{Type: one.Type, Letters: one.Letters, Filter: one.Filter})
		}
	}
	return x.allows(t, rules, letter)
}

// TestPrintParse: the text of a set reads back as the set.
func TestPrintParse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := drawSet(t, "set", 6)
		again, refused := scope.New(small{}).Parse(set.String())
		if len(refused) > 0 || !slices.Equal(set, again) {
			t.Fatalf("%v became %v, refused %q", set, again, refused)
		}
	})
}

// TestCoverLaws: covering is reflexive and transitive, a part is covered, a set
// that is covered opens no more, and Narrow and Meet stay within both.
func TestCoverLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := drawSet(t, "a", 4), drawSet(t, "b", 4), drawSet(t, "c", 2)
		x, level := drawThing(t), rapid.SampledFrom([]string{"patient", "user"}).Draw(t, "level")
		letter := rapid.SampledFrom([]string{"c", "r", "u", "d", "s"}).Draw(t, "letter")
		narrow, ok := a.Narrow(b)
		meet := b.Meet(a)
		switch {
		case !a.Covers(a) || !a.Covers(nil) || len(a) > 0 && !a.Covers(a[1:]):
			t.Fatal("a does not cover itself or its part")
		case a.Covers(b) && b.Covers(c) && !a.Covers(c):
			t.Fatal("not transitive")
		case ok != a.Covers(b) || ok && !slices.Equal(narrow, b):
			t.Fatal("Narrow and Covers differ")
		case !a.Covers(narrow) || !b.Covers(narrow):
			t.Fatalf("narrow %v is wider than one of its sides", narrow)
		case !a.Covers(meet) || !b.Covers(meet) || !meet.Covers(narrow):
			t.Fatalf("meet %v is wider than a side or less than narrow %v", meet, narrow)
		case ok && x.opens(t, b, level, letter) && !x.opens(t, a, level, letter):
			t.Fatalf("%v is covered by %v and opens %v", b, a, x)
		case x.opens(t, meet, level, letter) != (x.opens(t, a, level, letter) && x.opens(t, b, level, letter)):
			t.Fatalf("meet %v of %v and %v at %v", meet, a, b, x)
		}
		if again, refused := scope.New(small{}).Parse(meet.String()); len(refused) > 0 || !slices.Equal(again, meet) {
			t.Fatalf("meet %v reads back as %v", meet, again)
		}
	})
}

func drawAccess(t *rapid.T, label string) fhir.Access {
	var out fhir.Access
	for range rapid.IntRange(0, 4).Draw(t, label+" size") {
		out = append(out, fhir.Rule{
			Type:        rapid.SampledFrom([]string{"A", "B", "*"}).Draw(t, label+" type"),
			Letters:     drawLetters(t, label),
			Compartment: fhir.ParseReference(rapid.SampledFrom([]string{"", "Patient/1", "Patient/2"}).Draw(t, label+" compartment")),
			Filter:      rapid.SampledFrom([]string{"", "p=1", "p=1%2C2", "q=2&p=1", "_tag=a%7Cb%3Dc"}).Draw(t, label+" filter"),
		})
	}
	return out
}

// TestIntersectLaws: what the result allows both allow; what both allow the
// result allows too, but for resources in two compartments at once.
func TestIntersectLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, x := drawAccess(t, "a"), drawAccess(t, "b"), drawThing(t)
		before := slices.Clone(a)
		both, turned := scope.Intersect(a, b), scope.Intersect(b, a)
		if !slices.Equal(a, before) {
			t.Fatal("Intersect changed its argument")
		}
		for _, letter := range []string{"c", "r", "u", "d", "s"} {
			got, want := x.allows(t, both, letter), x.allows(t, a, letter) && x.allows(t, b, letter)
			lone := len(slices.Compact(slices.Sorted(slices.Values(x.within)))) < 2
			if got && !want || lone && want && !got || got != x.allows(t, turned, letter) {
				t.Fatalf("%s on %v: %v, want %v, by %v", letter, x, got, want, both)
			}
		}
		if len(scope.Intersect(a, nil)) != 0 || len(scope.Intersect(nil, b)) != 0 {
			t.Fatal("nothing meets something")
		}
	})
}

// TestIntersectMerges: rules that differ in letters become one, others stay
// apart, with few rules and with many.
func TestIntersectMerges(t *testing.T) {
	p1, p2 := fhir.ParseReference("Patient/1"), fhir.ParseReference("Patient/2")
	for _, n := range []int{1, 5, 100} {
		var in, want fhir.Access
		for i := range n {
			f := "p=" + strings.Repeat("x", i)
			in = append(in, fhir.Rule{Type: "A", Letters: "s", Compartment: p1, Filter: f}, fhir.Rule{Type: "A", Letters: "s", Compartment: p2, Filter: f}, fhir.Rule{Type: "A", Letters: "r", Compartment: p1, Filter: f},
				fhir.Rule{Type: "B", Letters: "r", Compartment: p1, Filter: f})
			want = append(want, fhir.Rule{Type: "A", Letters: "rs", Compartment: p1, Filter: f}, in[len(in)-3], in[len(in)-1])
		}
		if got := scope.Intersect(in, fhir.Full()); !slices.Equal(got, want) {
			t.Errorf("%d: %v", n, show(got))
		}
	}
}
