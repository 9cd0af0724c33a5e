package store

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// end draws one end of a range: from a small set, so that ends meet, or nil.
func end(r *rapid.T, name string) []byte {
	switch n := rapid.Int64Range(0, 8).Draw(r, name); n {
	case 0:
		return nil
	case 1:
		return append(OrderedInt(3), 1) // longer than eight bytes
	default:
		return OrderedInt(n)
	}
}

func drawRange(r *rapid.T) Value {
	v := Value{Kind: Range, Lo: end(r, "lo"), Hi: end(r, "hi")}
	if v.Lo != nil && v.Hi != nil && bytes.Compare(v.Hi, v.Lo) < 0 {
		v.Lo, v.Hi = v.Hi, v.Lo
	}
	v.Space, v.Name, v.Text = draw(r, "", "u"), draw(r, "", "m"), draw(r, "", "metre")
	return v
}

func draw(r *rapid.T, from ...string) string { return rapid.SampledFrom(from).Draw(r, "of") }

func drawCond(r *rapid.T) Cond {
	v := drawRange(r)
	return Cond{Lo: v.Lo, Hi: v.Hi, HiOpen: rapid.Bool().Draw(r, "open"), Unit: rapid.SampledFrom([]Unit{AnyUnit, UnitIs, UnitName}).Draw(r, "unit"), Space: v.Space, Name: draw(r, "", "m", "metre")}
}

func met(t *rapid.T, h How, c Cond, v Value) bool {
	c.How = h
	ok, err := Holds(Test{Param: "p", Cond: c}, []Entry{{Param: "p", Value: v}})
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

// TestRangeLaws: the comparisons agree with each other as the specification of
// prefixes says they must.
func TestRangeLaws(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		v, c := drawRange(r), drawCond(r)
		is := func(h How) bool { return met(r, h, c, v) }
		any := c
		any.Unit = AnyUnit
		sameUnit := met(r, Inside, c, v) || met(r, Outside, c, v)
		laws := map[string]bool{
			"ge is gt or eq":            is(AtLeast) == (is(Greater) || is(Inside)),
			"le is lt or eq":            is(AtMost) == (is(Less) || is(Inside)),
			"ne is not eq":              is(Outside) == (sameUnit && !is(Inside)),
			"a unit only narrows":       !is(Inside) || met(r, Inside, any, v),
			"sa and eb exclude overlap": !is(Overlaps) || !is(After) && !is(Before),
			"sa is a part of gt":        !is(After) || is(Greater),
			"eb is a part of lt":        !is(Before) || is(Less),
			"one of three":              !sameUnit || is(Overlaps) || is(After) || is(Before),
			"eq lies within overlap":    !is(Inside) || is(Overlaps) || openEdge(c, v),
		}
		for law, ok := range laws {
			if !ok {
				r.Fatalf("%s is broken by value %+v, condition %+v", law, v, c)
			}
		}
	})
}

// openEdge: an empty half-open condition holds nothing, not even what it begins with.
func openEdge(c Cond, v Value) bool { return c.HiOpen && bytes.Equal(c.Lo, c.Hi) }

// TestRangesAgainstNumbers: on points and closed intervals of small numbers the
// comparisons are those of interval arithmetic.
func TestRangesAgainstNumbers(t *testing.T) {
	n := func(b []byte, otherwise float64) float64 {
		if b == nil {
			return otherwise
		}
		v := float64(int64(b[7]))
		if len(b) > 8 {
			v += 0.5
		}
		return v
	}
	rapid.Check(t, func(r *rapid.T) {
		v, c := drawRange(r), drawCond(r)
		c.Unit, c.HiOpen = AnyUnit, false
		vl, vh := n(v.Lo, math.Inf(-1)), n(v.Hi, math.Inf(1))
		cl, ch := n(c.Lo, math.Inf(-1)), n(c.Hi, math.Inf(1))
		want := map[How]bool{
			Inside: cl <= vl && vh <= ch, Overlaps: vl <= ch && vh >= cl, Greater: vh > ch, Less: vl < cl, After: vl > ch, Before: vh < cl,
		}
		for h, w := range want {
			if got := met(r, h, c, v); got != w {
				r.Fatalf("comparison %d of [%v %v] with [%v %v] is %v, want %v", h, vl, vh, cl, ch, got, w)
			}
		}
	})
}

// TestTrees: And, Or and Not are those of logic, on any number of entries.
func TestTrees(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var entries []Entry
		for range rapid.IntRange(0, 4).Draw(r, "entries") {
			entries = append(entries, Entry{Param: draw(r, "p", "q"), Value: Value{Kind: Code, Name: draw(r, "a", "b")}})
		}
		leaf := func() Expr { return Test{Param: draw(r, "p", "q"), Cond: Cond{How: Named, Name: draw(r, "a", "b")}} }
		x, y := leaf(), leaf()
		is := func(e Expr) bool {
			ok, err := Holds(e, entries)
			if err != nil {
				r.Fatal(err)
			}
			return ok
		}
		if is(And{x, y}) != (is(x) && is(y)) || is(Or{x, y}) != (is(x) || is(y)) || is(Not{x}) == is(x) {
			r.Fatalf("%v %v on %v", x, y, entries)
		}
		if is(Not{And{x, y}}) != is(Or{Not{x}, Not{y}}) || is(Not{Or{x, y}}) != is(And{Not{x}, Not{y}}) {
			r.Fatalf("De Morgan: %v %v on %v", x, y, entries)
		}
		if !is(nil) || !is(And{}) || is(Or{}) || is(Not{nil}) {
			r.Fatal("empty expressions")
		}
	})
}

// TestTuple: parts belong together; two tuples do not help each other out.
func TestTuple(t *testing.T) {
	pair := func(name string, n int64) Value {
		return Value{Kind: Tuple, Parts: []Value{{Kind: Code, Name: name}, {Kind: Range, Lo: OrderedInt(n), Hi: OrderedInt(n)}}}
	}
	entries := []Entry{{Param: "p", Value: pair("a", 1)}, {Param: "p", Value: pair("b", 9)}}
	for _, c := range []struct {
		name  string
		least int64
		want  bool
	}{{"a", 1, true}, {"a", 2, false}, {"b", 9, true}, {"b", 10, false}, {"c", 0, false}} {
		x := Test{Param: "p", Cond: Cond{How: All, Parts: []Cond{{How: Named, Name: c.name}, {How: AtLeast, Lo: OrderedInt(c.least), Hi: OrderedInt(c.least)}}}}
		if got, err := Holds(x, entries); err != nil || got != c.want {
			t.Errorf("%s at least %d: %v, %v", c.name, c.least, got, err)
		}
	}
}

// TestBase: a condition in base units reads the form in base units only.
func TestBase(t *testing.T) {
	at := func(n int64) []byte { return OrderedInt(n) }
	base := Value{Kind: Range, Name: "g", Lo: at(5), Hi: at(5)}
	gram := Value{Kind: Range, Space: "u", Name: "kg", Lo: at(1), Hi: at(1), Parts: []Value{base}}
	c := Cond{How: Inside, Unit: UnitBase, Name: "g", Lo: at(5), Hi: at(5)}
	for _, one := range []struct {
		v    Value
		name string
		want bool
	}{{gram, "g", true}, {gram, "m", false}, {base, "g", false}, {Value{Kind: Tuple, Parts: []Value{base}}, "g", false}} {
		if c.Name = one.name; c.Met(&one.v) != one.want {
			t.Errorf("%+v in %s: not %v", one.v, one.name, one.want)
		}
	}
}

// TestVersioned: a version is met by itself and its parts, not by its digits.
func TestVersioned(t *testing.T) {
	for version, want := range map[string]bool{"1": true, "1.2": true, "1-beta": true, "10": false, "": false, "2.1": false} {
		c := Cond{How: Versioned, Name: "http://a", Text: "1"}
		if got := c.Met(&Value{Kind: Link, Name: "http://a", Text: version}); got != want {
			t.Errorf("%q: %v", version, got)
		}
	}
}

func TestRefused(t *testing.T) {
	bad := Test{Param: "p", Cond: Cond{How: Ends + 1}}
	for _, x := range []Expr{
		Via{Param: "p", Type: "T"}, Tree{Param: "p", Type: "T", ID: "1", Up: "u"}, Has{Param: "p", Type: "T"}, Test{}, bad, Not{bad}, And{Or{}, bad}, Or{And{}, bad},
		And{Or{}, Via{Param: "p", Type: "T"}}, Test{Cond: Cond{How: All, Parts: []Cond{{}}}}, Test{Cond: Cond{How: Is, Unit: 9}},
	} {
		if _, err := Holds(x, nil); !errors.Is(err, ErrQuery) {
			t.Errorf("%#v: %v", x, err)
		}
	}
	if err := Check(And{Via{Param: "p", Type: "T", Of: Has{Param: "p", Type: "T"}}}, true); err != nil {
		t.Error(err)
	}
	if err := Check(Via{Param: "p", Type: "T", Of: bad}, true); !errors.Is(err, ErrQuery) {
		t.Error(err)
	}
}

// TestWords: each word start, and nothing else, begins a match.
func TestWords(t *testing.T) {
	starts := func(text string) (out []string) {
		for i := range WordStarts(text) {
			out = append(out, text[i:])
		}
		return out
	}
	for text, want := range map[string]string{
		"": "", "anna maria": "anna maria,maria", "o'brien-lund": "o'brien-lund,lund", "(x) y": "(x) y,x) y,y", "çelik  東京": "çelik  東京,東京", "a1 2b": "a1 2b,2b",
	} {
		if got := strings.Join(starts(text), ","); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestKindsDoNotMix: a comparison never holds for a kind it does not speak of.
func TestKindsDoNotMix(t *testing.T) {
	b := OrderedFloat(1)
	full := Value{Space: "s", Name: "http://n", Text: "x", Raw: "x", Lo: b, Hi: b}
	cond := Cond{Space: "s", Name: "http://n", Raw: "x", Lo: b, Hi: b, Radius: 1}
	kinds := map[How][]Kind{
		Is: {Code, Link, URI}, Named: {Code}, Within: {Code, Link}, Starts: {URI}, Contains: {Code, Text}, Exactly: {Code, Text}, Above: {URI},
		Inside: {Range}, Overlaps: {Range}, AtLeast: {Range}, AtMost: {Range}, All: {Tuple}, Near: {Place}, Present: {Code, Link, URI, Text, Range, Tuple, Place},
	}
	for how, speaks := range kinds {
		for k := Code; k <= Place; k++ {
			v, c := full, cond
			v.Kind, c.How = k, how
			want := bytes.ContainsAny([]byte{byte(k)}, string(kindBytes(speaks)))
			if got := c.Met(&v); got != want {
				t.Errorf("comparison %d, kind %d: %v", how, k, got)
			}
		}
	}
}

func kindBytes(kinds []Kind) (out []byte) {
	for _, k := range kinds {
		out = append(out, byte(k))
	}
	return out
}

// TestOrdered: ordered bytes order as their values.
func TestOrdered(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		i, j := rapid.Int64().Draw(r, "i"), rapid.Int64().Draw(r, "j")
		if (i < j) != (bytes.Compare(OrderedInt(i), OrderedInt(j)) < 0) {
			r.Fatalf("%d and %d", i, j)
		}
		x, y := rapid.Float64().Draw(r, "x"), rapid.Float64().Draw(r, "y")
		if x < y && bytes.Compare(OrderedFloat(x), OrderedFloat(y)) >= 0 {
			r.Fatalf("%v and %v", x, y)
		}
		if back, ok := FloatOf(OrderedFloat(x)); !ok || back != x {
			r.Fatalf("%v came back as %v", x, back)
		}
	})
	if _, ok := FloatOf([]byte{1}); ok {
		t.Error("a byte is no number")
	}
	early, late := OrderedTime(time.Unix(-5, 0)), OrderedTime(time.Unix(5, 0))
	if bytes.Compare(early, late) >= 0 {
		t.Error("times")
	}
}

// TestSortValue: the least ascends, the greatest descends, a tuple has none.
func TestSortValue(t *testing.T) {
	entries := []Entry{
		{Param: "n", Value: Value{Kind: Text, Text: "b"}}, {Param: "n", Value: Value{Kind: Text, Text: "a"}}, {Param: "n", Value: Value{Kind: Text, Text: "c"}},
		{Param: "t", Value: Value{Kind: Tuple}}, {Param: "c", Value: Value{Kind: Code, Space: "s", Name: "x"}},
	}
	for _, c := range []struct {
		sort Sort
		want string
		ok   bool
	}{{Sort{Param: "n"}, "a", true}, {Sort{Param: "n", Desc: true}, "c", true}, {Sort{Param: "t"}, "", false}, {Sort{Param: "z"}, "", false}, {Sort{Param: "c"}, "x\x00s", true}} {
		if got, ok := c.sort.Value(entries); got != c.want || ok != c.ok {
			t.Errorf("%+v: %q %v", c.sort, got, ok)
		}
	}
}
