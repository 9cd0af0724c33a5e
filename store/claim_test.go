package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func identity(how How, space, name string) Test {
	return Test{Param: "identifier", Role: Identity, Cond: Cond{How: how, Space: space, Name: name}}
}

func about(types string, x Expr) Query { return Query{Types: []string{types}, Where: x} }

// TestClaims: what claims promise of two queries, and what keeps writers that
// have nothing to do with each other apart.
func TestClaims(t *testing.T) {
	active := Test{Param: "active", Cond: Cond{How: Named, Name: "true"}}
	hot := Test{Param: "code", Role: Hot, Cond: Cond{How: Is, Space: "l", Name: "1-2"}}
	owner := Test{Param: "subject", Role: Anchor, Cond: Cond{How: Is, Space: "Patient", Name: "7"}}
	name := Test{Param: "name", Cond: Cond{How: Starts, Text: "smith"}}
	id := identity(Is, "s", "v")
	for _, c := range []struct {
		what  string
		a, b  Query
		share bool
	}{
		{"the same", about("A", id), about("A", id), true},
		{"without system", about("A", id), about("A", identity(Named, "", "v")), true},
		{"another letter case", about("A", id), about("A", identity(Named, "", "V")), true},
		{"beside others", about("A", id), about("A", And{active, id, name}), true},
		{"beside an owner", about("A", id), about("A", And{owner, hot, id}), true},
		{"nested", about("A", id), about("A", And{active, And{name, id}}), true},
		{"among values", about("A", id), about("A", Or{identity(Named, "", "w"), identity(Named, "", "v")}), true},
		{"two identities", about("A", And{id, identity(Is, "t", "w")}), about("A", identity(Named, "", "w")), true},
		{"several types", about("A", id), Query{Types: []string{"B", "A"}, Where: id}, true},
		{"by id", about("A", Test{Param: ParamID, Cond: Cond{How: Is, Space: "A", Name: "v"}}), about("A", And{Test{Param: ParamID, Cond: Cond{How: Is, Space: "A", Name: "v"}}, active}), true},
		{"one owner", about("A", And{owner, hot}), about("A", And{name, Or{owner, Test{Param: "subject", Cond: Cond{How: Is, Space: "Group", Name: "7"}}}}), true},
		{"no identity", about("A", And{name, active}), about("A", hot), true},
		{"nothing asked", about("A", nil), about("A", And{}), true},
		{"an open alternative", about("A", Or{id, name}), about("A", name), true},
		{"a denied identity", about("A", Not{Of: id}), about("A", name), true},
		{"another value", about("A", id), about("A", identity(Is, "s", "w")), false},
		{"another type", about("A", id), about("B", id), false},
		{"only a flag in common", about("A", And{id, active}), about("A", And{identity(Is, "s", "w"), active}), false},
		{"only an owner in common", about("A", And{id, owner}), about("A", And{identity(Is, "s", "w"), owner}), false},
		{"only a code in common", about("A", And{owner, hot}), about("A", And{Test{Param: "subject", Role: Anchor, Cond: Cond{How: Is, Space: "Patient", Name: "8"}}, hot}), false},
	} {
		a, b := Claims(c.a), Claims(c.b)
		share := slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
		if share != c.share || len(a) == 0 || len(b) == 0 || !slices.IsSorted(a) || !slices.IsSorted(b) {
			t.Errorf("%s: %q and %q", c.what, a, b)
		}
	}
}

func drawExpr(r *rapid.T, depth int) Expr {
	kind := rapid.IntRange(0, 4).Draw(r, "kind")
	if depth == 0 {
		kind = 0
	}
	some := func() (out []Expr) {
		for range rapid.IntRange(1, 3).Draw(r, "parts") {
			out = append(out, drawExpr(r, depth-1))
		}
		return out
	}
	switch kind {
	case 1:
		return And(some())
	case 2:
		return Or(some())
	case 3:
		return Not{Of: drawExpr(r, depth-1)}
	}
	return Test{
		Param: draw(r, "p", "q", ParamID), Role: rapid.SampledFrom([]Role{0, Hot, Anchor, Identity}).Draw(r, "role"),
		Cond: Cond{How: rapid.SampledFrom([]How{Is, Named, Within, Present}).Draw(r, "how"), Space: draw(r, "", "s", "A"), Name: draw(r, "a", "B", "c", "1")},
	}
}

// TestTwinsIsHolds: that names say where to look loses nothing: ops fail exactly
// when some IfNone holds for what another op writes, or two ask the same.
func TestTwinsIsHolds(t *testing.T) {
	now := time.Unix(1e9, 0)
	rapid.Check(t, func(r *rapid.T) {
		ops := make([]Op, rapid.IntRange(1, 4).Draw(r, "ops"))
		for i := range ops {
			o := &ops[i]
			o.Key = Key{draw(r, "A", "B"), fmt.Sprint(i)}
			o.Action = rapid.SampledFrom([]Action{Create, Put, Put, Delete}).Draw(r, "action")
			for range rapid.IntRange(0, 2).Draw(r, "entries") {
				o.Entries = append(o.Entries, Entry{Param: draw(r, "p", "q"), Value: Value{Kind: Code, Space: draw(r, "", "s"), Name: draw(r, "a", "B", "c", "")}})
			}
			if rapid.Bool().Draw(r, "asks") {
				o.IfNone = &Query{Where: drawExpr(r, 2)}
				if typ := draw(r, "A", "B", ""); typ != "" {
					o.IfNone.Types = []string{typ}
				}
			}
		}
		err := Twins(ops, now)
		if want := someTwins(ops, now); want != errors.Is(err, ErrTwice) || !want && err != nil {
			r.Fatalf("twins %v, error %v", want, err)
		}
	})
}

func someTwins(ops []Op, now time.Time) bool {
	for i := range ops {
		q := ops[i].IfNone
		if q == nil {
			continue
		}
		for j := range ops {
			o := &ops[j]
			if i == j {
				continue
			}
			if o.IfNone != nil && fmt.Sprintf("%#v", *o.IfNone) == fmt.Sprintf("%#v", *q) {
				return true
			}
			held, _ := Holds(q.Where, append(slices.Clone(o.Entries), Builtin(o.Key, now)...))
			if held && (o.Action == Create || o.Action == Put) && (len(q.Types) == 0 || slices.Contains(q.Types, o.Key.Type)) {
				return true
			}
		}
	}
	return false
}

// BenchmarkTwins is a bundle of 1,000 creates, each on its own identifier.
func BenchmarkTwins(b *testing.B) {
	ops := make([]Op, 1000)
	for i := range ops {
		ops[i] = Op{Action: Create, Key: Key{"A", fmt.Sprint(i)}, IfNone: &Query{Types: []string{"A"}, Where: identity(Is, "s", fmt.Sprint("v", i))}}
		ops[i].Entries = []Entry{{Param: "identifier", Value: Value{Kind: Code, Space: "s", Name: fmt.Sprint("v", i)}}}
		for n := range 20 {
			ops[i].Entries = append(ops[i].Entries, Entry{Param: "code", Value: Value{Kind: Code, Space: "t", Name: fmt.Sprint(n)}})
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := Twins(ops, time.Time{}); err != nil {
			b.Fatal(err)
		}
	}
}
