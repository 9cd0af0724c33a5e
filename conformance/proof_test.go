package conformance_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var write = flag.Bool("write", false, "run the tests that prove the items, and write PROOF.md")

// items are the numbers of the list of semantics that servers get wrong.
const items = 82

// proof is a test that carries the number of an item.
type proof struct{ room, test string }

func (p proof) String() string { return p.room + " " + p.test }

// told is a test and what its first lines say of it.
type told struct {
	proof
	text string
}

// TestProof keeps PROOF.md: each item has a test that carries its number, in the
// name or in the first lines of its comment, or is listed as open; nothing that
// is proved is open. `go test ./conformance -run TestProof -write` runs the tests
// that the page does not show yet, and writes it; without a page, all.
func TestProof(t *testing.T) {
	what, open := numbered(t, "testdata/items.txt"), numbered(t, "testdata/open.txt")
	proofs := map[int][]proof{}
	for _, one := range slices.Concat(scripts(t), goTests(t)) {
		for _, n := range numbersOf(one.text + inItems(one.test)) {
			proofs[n] = append(proofs[n], one.proof)
		}
	}
	for n := 1; n <= items; n++ {
		slices.SortFunc(proofs[n], func(a, b proof) int { return strings.Compare(a.String(), b.String()) })
		proofs[n] = slices.Compact(proofs[n])
		switch _, isOpen := open[n]; {
		case what[n] == "":
			t.Errorf("item %d: testdata/items.txt does not say what it is", n)
		case len(proofs[n]) == 0 && !isOpen:
			t.Errorf("item %d (%s): no test carries its number", n, what[n])
		case len(proofs[n]) > 0 && isOpen:
			t.Errorf("item %d is proved by %v: take it out of testdata/open.txt", n, proofs[n])
		}
	}
	results := map[string]string{}
	if *write {
		results = run(t, "PROOF.md", slices.Concat(slices.Collect(maps.Values(proofs))...))
	}
	page := pageOf(what, open, proofs, results)
	if *write && !t.Failed() {
		if err := os.WriteFile("PROOF.md", page, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	written, err := os.ReadFile("PROOF.md")
	if err != nil || !bytes.Equal(written, page) {
		t.Errorf("PROOF.md is stale (%v): go test ./conformance -run TestProof -write", err)
	}
}

// numbered reads lines of a number and a text.
func numbered(t *testing.T, file string) map[int]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out := map[int]string{}
	for line := range strings.Lines(string(text)) {
		number, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 || n > items || rest == "" || out[n] != "" {
			t.Fatalf("%s: %q", file, line)
		}
		out[n] = rest
	}
	return out
}

var carried = regexp.MustCompile(`\bItems? ?(\d+(?:(?:, | and | to |-)\d+)*)`)
var inName = regexp.MustCompile(`Item(\d+(?:And\d+)*)`)

// numbersOf are the items that a text or a test's name says it is about.
func numbersOf(text string) (out []int) {
	for _, m := range carried.FindAllStringSubmatch(text, -1) {
		for _, part := range strings.Split(strings.ReplaceAll(m[1], " and ", ", "), ", ") {
			from, to, isRange := strings.Cut(strings.ReplaceAll(part, " to ", "-"), "-")
			low, _ := strconv.Atoi(from)
			high := low
			if isRange {
				high, _ = strconv.Atoi(to)
			}
			for n := low; n <= high && n <= items; n++ {
				out = append(out, n)
			}
		}
	}
	return out
}

// inItems are the items in a test's name.
func inItems(name string) string {
	if m := inName.FindStringSubmatch(name); m != nil {
		return " Items " + strings.ReplaceAll(m[1], "And", " and ")
	}
	return ""
}

// scripts are the cases in text files, and the tests that run them.
func scripts(t *testing.T) (out []told) {
	t.Helper()
	for _, folder := range []struct{ glob, room, test string }{
		{"scripts/*.txtar", "fhir/interaction", "TestScripts/%s.txtar"},
		{"scripts/*.txtar", "cmd/app", "TestScripts/mongodb/%s.txtar"},
		{"../fhir/search/testdata/entries/*.txtar", "fhir/search", "TestEntries/%s"},
		{"../fhir/search/testdata/match/*.txtar", "fhir/search", "TestMatch/%s"},
		{"../fhir/search/testdata/words/*.txtar", "fhir/search", "TestWords/%s"},
		{"../fhir/search/testdata/parse/*.txtar", "fhir/search", "TestParse/%s"},
	} {
		files, err := filepath.Glob(folder.glob)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: nothing there (%v)", folder.glob, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			head, _, _ := strings.Cut(string(text), "\n-- ")
			name := strings.TrimSuffix(filepath.Base(file), ".txtar")
			out = append(out, told{proof{folder.room, fmt.Sprintf(folder.test, name)}, head})
		}
	}
	return out
}

// goTests are the test functions and their comments.
func goTests(t *testing.T) (out []told) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "../conformance/") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || !strings.HasPrefix(f.Name.Name, "Test") {
				continue
			}
			room := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), "../")
			out = append(out, told{proof{room, f.Name.Name}, f.Doc.Text()})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// run runs, room by room, the tests that a page does not show yet.
func run(t *testing.T, name string, list []proof) map[string]string {
	t.Helper()
	page, _ := os.ReadFile(name) // none: all are new
	rooms, results := map[string][]string{}, map[string]string{}
	for _, p := range list {
		if bytes.Contains(page, []byte("`"+p.String()+"` | pass |")) {
			results[p.String()] = "pass"
			continue
		}
		rooms[p.room] = append(rooms[p.room], "^"+strings.ReplaceAll(regexp.QuoteMeta(p.test), "/", "$/^")+"$")
	}
	for _, room := range slices.Sorted(maps.Keys(rooms)) {
		slices.Sort(rooms[room])
		tests := strings.Join(slices.Compact(rooms[room]), "|")
		out, err := exec.Command("go", "test", "-json", "-count=1", "-timeout=30m", "-run", tests, "candela/"+room).Output()
		if err != nil {
			t.Errorf("%s: %v", room, err)
		}
		lines := bufio.NewScanner(bytes.NewReader(out))
		lines.Buffer(nil, 1<<24)
		for lines.Scan() {
			var event struct{ Action, Test string }
			if json.Unmarshal(lines.Bytes(), &event) == nil && (event.Action == "pass" || event.Action == "fail" || event.Action == "skip") {
				results[room+" "+event.Test] = event.Action
			}
		}
	}
	for _, p := range list {
		if results[p.String()] != "pass" {
			t.Errorf("%s: %q", p, results[p.String()])
		}
	}
	return results
}

// pageOf is the page. It is written only when all tests pass, and they run with
// every commit, so that pass is what a result is.
func pageOf(what, open map[int]string, proofs map[int][]proof, results map[string]string) []byte {
	var out bytes.Buffer
	proved := items - len(open)
	fmt.Fprintf(&out, "# What servers get wrong, and the tests that prove it here\n\nWritten by `go test ./conformance -run TestProof -write`, which runs these tests. "+
		"%d of %d items are proved.\n\n| Item | What | Test | Result |\n|---|---|---|---|\n", proved, items)
	for n := 1; n <= items; n++ {
		text := cell(what[n])
		for _, p := range proofs[n] {
			result := results[p.String()]
			if result == "" {
				result = "pass"
			}
			fmt.Fprintf(&out, "| %d | %s | `%s` | %s |\n", n, text, p, result)
		}
	}
	fmt.Fprint(&out, "\n## Open\n\n| Item | What | Why |\n|---|---|---|\n")
	for _, n := range slices.Sorted(maps.Keys(open)) {
		fmt.Fprintf(&out, "| %d | %s | %s |\n", n, cell(what[n]), open[n])
	}
	return out.Bytes()
}

func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
