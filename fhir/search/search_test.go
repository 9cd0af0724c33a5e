package search

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"candela/fhir"
	"candela/fhir/r4"
	"candela/store"
)

const ourBase = "https://ours.example/fhir"

var testNow = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func registry(t testing.TB) *Registry {
	t.Helper()
	spec, err := r4.Load()
	if err != nil {
		t.Fatal(err)
	}
	r, err := New(spec, ourBase)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func resource(t testing.TB, text string) fhir.Resource {
	t.Helper()
	res, err := fhir.ParseResource([]byte(text), fhir.DefaultLimits())
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return res
}

// cases reads the txtar files of a testdata folder. The number in a file's name
// is the item of the list of semantics that servers get wrong.
func cases(t *testing.T, folder string, run func(t *testing.T, a *txtar.Archive)) {
	files, err := filepath.Glob(filepath.Join("testdata", folder, "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases in testdata/%s: %v", folder, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			run(t, a)
		})
	}
}

// TestEntries: each file X.json has beside it X.entries: the exact entries of
// the parameters that it names.
func TestEntries(t *testing.T) {
	r := registry(t)
	cases(t, "entries", func(t *testing.T, a *txtar.Archive) {
		for i := 0; i+1 < len(a.Files); i += 2 {
			entries, err := r.Entries(resource(t, string(a.Files[i].Data)))
			if err != nil {
				t.Fatal(err)
			}
			checkEntries(t, a.Files[i].Name, entries, lines(a.Files[i+1].Data))
		}
	})
}

func checkEntries(t *testing.T, name string, entries []store.Entry, want []string) {
	asked := map[string]bool{}
	for i, line := range want {
		param, _, _ := strings.Cut(line, " ")
		asked[param] = true
		want[i] = bounds(t, line)
	}
	var got []string
	for _, e := range entries {
		if asked[e.Param] {
			got = append(got, showEntry(e))
		}
	}
	want = slices.DeleteFunc(want, func(s string) bool { return strings.HasSuffix(s, " none") })
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %s\nwant %s", name, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

var boundForm = regexp.MustCompile(`(num|at|end)\(([^)]*)\)`)

// bounds replaces num(1.5), at(date) and end(date) by the ordered bytes they stand for.
func bounds(t *testing.T, line string) string {
	return boundForm.ReplaceAllStringFunc(line, func(s string) string {
		m := boundForm.FindStringSubmatch(s)
		if m[1] == "num" {
			d, err := fhir.ParseDecimal(m[2])
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprintf("%x", d.Ordered())
		}
		d, err := fhir.ParseDate(m[2], time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		if m[1] == "at" {
			return fmt.Sprintf("%x", store.OrderedInt(d.Lo))
		}
		return fmt.Sprintf("%x", store.OrderedInt(d.Hi))
	})
}

func lines(data []byte) []string {
	var out []string
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			out = append(out, line)
		}
	}
	return out
}

func showEntry(e store.Entry) string {
	role := ""
	for i, name := range []string{" anchor", " hot", " clock"} {
		if e.Role&(1<<i) != 0 {
			role += name
		}
	}
	return e.Param + role + " " + showValue(e.Value)
}

func showValue(v store.Value) string {
	kind := []string{"", "code", "link", "uri", "text", "range", "tuple", "place"}[v.Kind]
	out := kind
	if v.Space != "" || v.Name != "" {
		out += " " + v.Space + "|" + v.Name
	}
	if v.Kind == store.Range || v.Kind == store.Place {
		out += fmt.Sprintf(" %x..%x", v.Lo, v.Hi)
	}
	if v.Text != "" {
		out += fmt.Sprintf(" %q", v.Text)
	}
	if v.Raw != "" {
		out += fmt.Sprintf(" raw %q", v.Raw)
	}
	for _, p := range v.Parts {
		out += " (" + showValue(p) + ")"
	}
	return out
}

// TestMatch: the resources of a case, then lines "Type?query => names of the
// resources that match" or "=> 400 words of the refusal".
func TestMatch(t *testing.T) { testMatch(t, registry(t), "match") }

// TestWords is the same with an index of words.
func TestWords(t *testing.T) {
	r := registry(t)
	r.SetWords(WordsOn)
	testMatch(t, r, "words")
}

func testMatch(t *testing.T, r *Registry, folder string) {
	cases(t, folder, func(t *testing.T, a *txtar.Archive) {
		entries := map[string][]store.Entry{}
		for _, f := range a.Files {
			if name, ok := strings.CutSuffix(f.Name, ".json"); ok {
				entries[name] = allEntries(t, r, resource(t, string(f.Data)))
			}
		}
		for _, f := range a.Files {
			if f.Name == "queries" {
				for _, line := range lines(f.Data) {
					checkMatch(t, r, entries, line)
				}
			}
		}
	})
}

func allEntries(t *testing.T, r *Registry, res fhir.Resource) []store.Entry {
	entries, err := r.Entries(res)
	if err != nil {
		t.Fatal(err)
	}
	updated := time.Date(2024, 6, 1, 12, 0, 0, 0, time.UTC)
	return append(entries, store.Builtin(store.Key{Type: res.Type(), ID: res.ID()}, updated)...)
}

func checkMatch(t *testing.T, r *Registry, entries map[string][]store.Entry, line string) {
	query, want, ok := strings.Cut(line, "=>")
	if !ok {
		t.Fatalf("no => in %s", line)
	}
	query, want = strings.TrimSpace(query), strings.TrimSpace(want)
	s, err := parseURL(r, query, Options{Now: testNow})
	if err != nil {
		checkRefusal(t, query, err, want)
		return
	}
	var got []string
	for name, list := range entries {
		holds, err := store.Holds(alone(anywhere(s)), list)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		if holds {
			got = append(got, name)
		}
	}
	names := strings.Fields(want)
	slices.Sort(names)
	slices.Sort(got)
	if !slices.Equal(got, names) {
		t.Errorf("%s\n got %s\nwant %s", query, got, names)
	}
}

// anywhere is what a search asks, with _contained in the first three slots.
func anywhere(s Search) store.Expr {
	if !s.Contained {
		return s.Query.Where
	}
	typ := s.Query.Types[0]
	var union store.Or
	for n := range 3 {
		union = append(union, InSlot(typ, n, s.Query.Where))
	}
	if s.Both {
		union = append(union, store.And{store.Test{Param: store.ParamID, Cond: store.Cond{How: store.Within, Space: typ}}, s.Query.Where})
	}
	return union
}

// alone is x where no other resource exists: no chain leads anywhere.
func alone(x store.Expr) store.Expr {
	switch x := x.(type) {
	case store.And:
		return store.And(allAlone(x))
	case store.Or:
		return store.Or(allAlone(x))
	case store.Not:
		return store.Not{Of: alone(x.Of)}
	case store.Via, store.Has, store.Tree:
		return store.Or{}
	}
	return x
}

func allAlone(parts []store.Expr) (out []store.Expr) {
	for _, part := range parts {
		out = append(out, alone(part))
	}
	return out
}

func parseURL(r *Registry, query string, opt Options) (Search, error) {
	typ, raw, _ := strings.Cut(query, "?")
	params, err := fhir.ParseParams(raw)
	if err != nil {
		return Search{}, err
	}
	var types []string
	if typ != "" {
		types = []string{typ}
	}
	return r.Parse(types, params, opt)
}

// TestParse: lines "query => the query's shape"; a leading ! asks for strict
// handling.
func TestParse(t *testing.T) {
	r := registry(t)
	cases(t, "parse", func(t *testing.T, a *txtar.Archive) {
		for _, f := range a.Files {
			for _, line := range lines(f.Data) {
				query, want, _ := strings.Cut(line, " => ")
				query, strict := strings.CutPrefix(query, "!")
				s, err := parseURL(r, strings.TrimSpace(query), Options{Now: testNow, Strict: strict})
				if err != nil {
					checkRefusal(t, query, err, want)
					continue
				}
				if got := showSearch(s); got != bounds(t, want) {
					t.Errorf("%s\n got %s\nwant %s", query, got, want)
				}
			}
		}
	})
}

// checkRefusal compares an error with "status words of it".
func checkRefusal(t *testing.T, query string, err error, want string) {
	t.Helper()
	status, words, _ := strings.Cut(want, " ")
	if got := err.Error(); len(status) != 3 || !strings.HasPrefix(got, status) || !strings.Contains(got, words) {
		t.Errorf("%s\n got %s\nwant %s", query, got, want)
	}
}

func showSearch(s Search) string {
	out := []string{showExpr(s.Query.Where)}
	for _, k := range s.Query.Sort {
		out = append(out, fmt.Sprintf("sort %s desc=%t role=%d", k.Param, k.Desc, k.Role))
	}
	for _, i := range s.Includes {
		out = append(out, fmt.Sprintf("include %s:%s:%s iterate=%t", i.Type, i.Param, i.Target, i.Iterate))
	}
	for _, i := range s.RevIncludes {
		out = append(out, fmt.Sprintf("revinclude %s:%s:%s iterate=%t", i.Type, i.Param, i.Target, i.Iterate))
	}
	for _, b := range s.Bare {
		out = append(out, fmt.Sprintf("bare %s=%s of %d", b.Param, b.ID, len(b.Types)))
	}
	if s.Explain {
		out = append(out, "explain")
	}
	if s.Query.Total {
		out = append(out, "total")
	}
	out = append(out, "used "+s.Used.Encode())
	for _, w := range s.Warnings {
		out = append(out, "warning "+w.Diagnostics)
	}
	return strings.Join(out, "; ")
}

func showExpr(x store.Expr) string {
	switch x := x.(type) {
	case nil:
		return "all"
	case store.And:
		return "and" + showAll(x)
	case store.Or:
		if all := showAll(x); len(x) != 2 || !strings.HasPrefix(all, "(via(") || strings.Contains(all, "), via(") {
			return "or" + all
		} else {
			return all[1 : len(all)-1]
		}
	case store.Not:
		return "not(" + showExpr(x.Of) + ")"
	case store.Via:
		return "via(" + x.Param + " " + x.Type + " " + showExpr(x.Of) + ")"
	case store.Has:
		return "has(" + x.Type + " " + x.Param + " " + showExpr(x.Of) + ")"
	case store.Tree:
		return fmt.Sprintf("tree(%s %s/%s by %s above=%t)", x.Param, x.Type, x.ID, x.Up, x.Above)
	case store.Test:
		return x.Param + " " + showCond(x.Cond)
	}
	return fmt.Sprintf("%T", x)
}

func showAll(list []store.Expr) string {
	var parts []string
	for _, x := range list {
		if and, ok := x.(store.And); ok && len(and) > 0 && showExpr(and[0])[max(0, len(showExpr(and[0]))-6):] == " is |#" {
			continue // the same in contained resources
		}
		parts = append(parts, showExpr(x))
	}
	return "(" + strings.Join(parts, ", ") + ")"
}

var hows = []string{"", "present", "is", "named", "within", "starts", "contains", "exactly", "above", "inside", "outside", "overlaps",
	"greater", "less", "atleast", "atmost", "after", "before", "all", "near", "versioned", "whole", "leads", "ends"}

func showCond(c store.Cond) string {
	out := hows[c.How]
	if c.Space != "" || c.Name != "" {
		out += " " + c.Space + "|" + c.Name
	}
	if c.Lo != nil || c.Hi != nil {
		out += fmt.Sprintf(" %x..%x", c.Lo, c.Hi)
	}
	if c.Text+c.Raw != "" {
		out += fmt.Sprintf(" %q", c.Text+c.Raw)
	}
	for _, p := range c.Parts {
		out += " (" + showCond(p) + ")"
	}
	return out
}

// shared is a folder of the shared test data.
func shared(t testing.TB, path string) string {
	t.Helper()
	if dir := os.Getenv("CANDELA_SHARED"); dir != "" {
		return filepath.Join(dir, path)
	}
	dir, err := os.Getwd()
	for err == nil && dir != "/" {
		if _, e := os.Stat(filepath.Join(dir, "shared", path)); e == nil {
			return filepath.Join(dir, "shared", path)
		}
		dir = filepath.Dir(dir)
	}
	t.Fatalf("shared/%s is not there; set CANDELA_SHARED", path)
	return ""
}
