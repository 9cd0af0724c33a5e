package conformance_test

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The requirements are R1 to R53, the threats T1 to T108.
const (
	requirements = 53
	threats      = 108
)

// TestSecurity keeps SECURITY.md: each requirement and threat has a test that
// carries its id, in the name (TestT14_…, t60-….txtar) or in the first lines of its
// comment ("T32-T36"), or is open in testdata/security_open.txt with the reason.
// `go test ./conformance -run TestSecurity -write` runs the tests that the page does
// not show yet, takes what they prove out of the open ones, and writes the page.
func TestSecurity(t *testing.T) {
	what, open := tokens(t, "testdata/security.txt"), tokens(t, "testdata/security_open.txt")
	proofs, results := secured(t), map[string]string{}
	if *write {
		var all []proof
		for id, list := range proofs {
			all = append(all, list...)
			delete(open, id)
		}
		results = run(t, "SECURITY.md", all)
	}
	for _, id := range ids() {
		_, isOpen := open[id]
		switch {
		case what[id] == "":
			t.Errorf("%s: testdata/security.txt does not say what it is", id)
		case len(proofs[id]) == 0 && !isOpen:
			t.Errorf("%s (%s): no test carries it, and testdata/security_open.txt does not say why", id, what[id])
		case len(proofs[id]) > 0 && isOpen:
			t.Errorf("%s is proved by %v but listed as open: go test ./conformance -run TestSecurity -write", id, proofs[id])
		}
	}
	page := securityPage(what, open, proofs, results)
	if *write && !t.Failed() {
		save(t, "SECURITY.md", page)
		save(t, "testdata/security_open.txt", lines(open))
	}
	written, err := os.ReadFile("SECURITY.md")
	if err != nil || stale(written, page) {
		t.Errorf("SECURITY.md is stale (%v): go test ./conformance -run TestSecurity -write", err)
	}
}

// stale says whether a written page tells what does not hold, or less ids than are
// proved. One more test of an id that has some is not news.
func stale(written, page []byte) bool {
	now := map[string]bool{}
	for line := range bytes.Lines(page) {
		now[string(line)] = true
	}
	for line := range bytes.Lines(written) {
		if !now[string(line)] {
			return true
		}
	}
	for line := range bytes.Lines(page) {
		if cells := bytes.SplitN(line, []byte("|"), 3); len(cells) == 3 && !bytes.Contains(written, append([]byte("\n|"), append(cells[1], '|')...)) {
			return true
		}
	}
	return false
}

func save(t *testing.T, file string, text []byte) {
	t.Helper()
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// ids are all requirements and threats, in order.
func ids() (out []string) {
	for n := 1; n <= requirements; n++ {
		out = append(out, "R"+strconv.Itoa(n))
	}
	for n := 1; n <= threats; n++ {
		out = append(out, "T"+strconv.Itoa(n))
	}
	return out
}

// tokens reads lines of an id and a text.
func tokens(t *testing.T, file string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	known, out := ids(), map[string]string{}
	for line := range strings.Lines(string(text)) {
		id, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !slices.Contains(known, id) || rest == "" || out[id] != "" {
			t.Fatalf("%s: %q", file, line)
		}
		out[id] = rest
	}
	return out
}

// lines is a list of open ids, as tokens reads it.
func lines(open map[string]string) []byte {
	var out bytes.Buffer
	for _, id := range ids() {
		if open[id] != "" {
			fmt.Fprintf(&out, "%s %s\n", id, open[id])
		}
	}
	return out.Bytes()
}

// secured are the tests by the ids that they carry.
func secured(t *testing.T) map[string][]proof {
	t.Helper()
	out := map[string][]proof{}
	for _, one := range slices.Concat(scripts(t), goTests(t)) {
		for _, id := range append(idsOfName(one.test), idsOf(one.text)...) {
			out[id] = append(out[id], one.proof)
		}
	}
	for id := range out {
		slices.SortFunc(out[id], func(a, b proof) int { return strings.Compare(a.String(), b.String()) })
		out[id] = slices.Compact(out[id])
	}
	return out
}

var (
	named     = regexp.MustCompile(`^Test((?:[RT]\d+_?)+)|/(t\d+)-[^/]*$`)
	one       = regexp.MustCompile(`[RT]\d+`)
	mentioned = regexp.MustCompile(`(?:^|[\s(])([RT])(\d{1,3})(?:[–-]([RT]?)(\d{1,3}))?(?:$|[\s,;.)']|:\s)`)
)

// idsOfName are the ids in the name of a test (TestT14_…) or script (t60-…).
func idsOfName(name string) []string {
	m := named.FindStringSubmatch(name)
	if m == nil {
		return nil
	}
	return one.FindAllString(strings.ToUpper(m[1]+m[2]), -1)
}

// idsOf are the ids that a text names. R4 alone is the version of FHIR: the
// requirement of that number counts in names only. A time of day (T10:30) is none.
func idsOf(text string) (out []string) {
	known := ids()
	for _, m := range mentioned.FindAllStringSubmatch(spread(text), -1) {
		low, _ := strconv.Atoi(m[2])
		high := low
		if m[4] != "" && (m[3] == "" || m[3] == m[1]) {
			high, _ = strconv.Atoi(m[4])
		}
		for n := low; n <= high; n++ {
			if id := m[1] + strconv.Itoa(n); id != "R4" && slices.Contains(known, id) {
				out = append(out, id)
			}
		}
	}
	return out
}

// spread gives each of two neighbours a space of its own.
func spread(text string) string {
	return strings.NewReplacer("\n", "  ", " ", "  ", ",", ",  ").Replace(text)
}

// securityPage is the page. It is written only when all tests pass, and they run
// with every commit, so that pass is what a result is.
func securityPage(what, open map[string]string, proofs map[string][]proof, results map[string]string) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "# Requirements and threats, and the tests that prove them here\n\nWritten by `go test ./conformance -run TestSecurity -write`, "+
		"which runs these tests. R is a requirement, T a threat. %d of %d are proved.\n\n| Id | What | Test | Result |\n|---|---|---|---|\n",
		len(ids())-len(open), len(ids()))
	for _, id := range ids() {
		for i, p := range proofs[id] {
			result, text := results[p.String()], ""
			if result == "" {
				result = "pass"
			}
			if i == 0 {
				text = cell(what[id])
			}
			fmt.Fprintf(&out, "| %s | %s | `%s` | %s |\n", id, text, p, result)
		}
	}
	fmt.Fprint(&out, "\n## Open\n\n| Id | What | Why |\n|---|---|---|\n")
	for _, id := range ids() {
		if why := open[id]; why != "" {
			fmt.Fprintf(&out, "| %s | %s | %s |\n", id, cell(what[id]), cell(why))
		}
	}
	return out.Bytes()
}

// Ids are read out of names and comments as they are written.
func TestIdsOf(t *testing.T) {
	for text, want := range map[string]string{
		"T60, T61, T62: x":          "T60 T61 T62",
		"T60-T62, R43.":             "T60 T61 T62 R43",
		"T32–T36 hold":              "T32 T33 T34 T35 T36",
		"R4 search, T10:30, UTC+T1": "",
		"(R52: a) and (T78)":        "R52 T78",
		"T64\nT65 T66":              "T64 T65 T66",
		"at 2020-01-01T10":          "",
	} {
		if got := strings.Join(idsOf(text), " "); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	for name, want := range map[string]string{
		"TestR12_R13_Launch": "R12 R13", "TestT14_X": "T14", "TestScripts/mongodb/t60-odd.txtar": "T60", "TestR18Grammar": "R18", "TestReads9": "", "TestR4_OIDC": "R4",
	} {
		if got := strings.Join(idsOfName(name), " "); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
