package r4_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"candela/fhir/r4"
)

// shared finds the folder of shared test data: CANDELA_SHARED, else a folder
// "shared" beside the repository.
func shared(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("CANDELA_SHARED"); dir != "" {
		return dir
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for dir != filepath.Dir(dir) {
		if found := filepath.Join(dir, "shared", "data"); isDir(found) {
			return filepath.Dir(found)
		}
		dir = filepath.Dir(dir)
	}
	t.Fatal("shared test data not found: set CANDELA_SHARED")
	return ""
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func definitions(t testing.TB, name string, v any) {
	t.Helper()
	packed, err := os.ReadFile(filepath.Join(shared(t), "data", "definitions", name))
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(z).Decode(v); err != nil {
		t.Fatal(err)
	}
}

type publishedElement struct {
	Path, Max, Ref string
	Min            int
	Type           []struct{ Code string }
	Bind           []*string
}

// Every element of every published snapshot must be in our tables with its
// place, cardinality, types and required binding. The other side of the
// comparison was boiled down by an independent program.
func TestTablesAgreeWithPublishedSnapshots(t *testing.T) {
	var types map[string]struct {
		Kind     string
		Elements []publishedElement
	}
	definitions(t, "r4-types.json.gz", &types)
	checked := 0
	for name, typ := range types {
		position := map[string]int{}
		for _, e := range typ.Elements[1:] {
			at := strings.LastIndexByte(e.Path, '.')
			parent, child := e.Path[:at], e.Path[at+1:]
			if typ.Kind == "primitive-type" && child == "value" || name == "xhtml" {
				continue
			}
			children := spec(t).Children(parent)
			if i := position[parent]; i >= len(children) || children[i] != strings.TrimSuffix(child, "[x]") {
				t.Fatalf("%s: not at its place among %v", e.Path, children)
			}
			position[parent]++
			compare(t, parent, child, e)
			checked++
		}
		for parent, n := range position {
			if got := len(spec(t).Children(parent)); got != n {
				t.Errorf("%s has %d elements; published are %d", parent, got, n)
			}
		}
	}
	if checked < 7000 {
		t.Errorf("only %d elements compared", checked)
	}
}

func compare(t *testing.T, parent, child string, want publishedElement) {
	t.Helper()
	typ, _ := spec(t).Type(parent)
	got, _ := typ.Element(strings.TrimSuffix(child, "[x]"))
	if got.Min != want.Min || got.Many != (want.Max == "*") || got.Choice != strings.HasSuffix(child, "[x]") {
		t.Errorf("%s: cardinality or choice differs: %+v", want.Path, got)
	}
	var types []string
	for _, one := range want.Type {
		types = append(types, one.Code)
	}
	switch {
	case want.Ref != "":
		types = []string{want.Ref[1:]}
	case len(types) == 1 && (types[0] == "BackboneElement" || types[0] == "Element"):
		types = []string{want.Path}
	case typ.Kind == r4.Resource && child == "id":
		types = []string{"id"}
	}
	if !slices.Equal(got.Types, types) {
		t.Errorf("%s: types %v, published %v", want.Path, got.Types, types)
	}
	required := ""
	if len(want.Bind) == 2 && *want.Bind[0] == "required" {
		required, _, _ = strings.Cut(*want.Bind[1], "|")
	}
	if got.Required != required {
		t.Errorf("%s: required binding %q, published %q", want.Path, got.Required, required)
	}
}

func TestRequiredCodesAgreeWithPublishedValueSets(t *testing.T) {
	var systems []struct {
		URL      string
		Concepts [][]string
	}
	definitions(t, "r4-codesystems.json.gz", &systems)
	all := map[string][]string{}
	for _, s := range systems {
		for _, c := range s.Concepts {
			all[s.URL] = append(all[s.URL], c[0])
		}
	}
	var sets []struct {
		URL      string
		Complete bool
		Codes    map[string]json.RawMessage
	}
	definitions(t, "r4-valuesets.json.gz", &sets)
	checked := 0
	for _, set := range sets {
		ours, complete := spec(t).Codes(set.URL)
		if ours == nil {
			continue
		}
		checked++
		if complete != set.Complete {
			t.Errorf("%s: complete %v, published %v", set.URL, complete, set.Complete)
		}
		if complete && len(ours.Systems) != len(set.Codes) {
			t.Errorf("%s: %d systems, published %d", set.URL, len(ours.Systems), len(set.Codes))
		}
		for _, s := range ours.Systems {
			if complete {
				if want := publishedCodes(t, set.Codes[s.System], all[s.System]); !slices.Equal(s.Codes, want) {
					t.Errorf("%s: codes of %s: %v, published %v", set.URL, s.System, s.Codes, want)
				}
			}
		}
	}
	if checked < 220 {
		t.Errorf("only %d value sets compared", checked)
	}
}

// publishedCodes reads "all", a list of codes or a list of [code, display].
func publishedCodes(t *testing.T, raw json.RawMessage, all []string) []string {
	t.Helper()
	var word string
	if json.Unmarshal(raw, &word) == nil {
		out := slices.Clone(all)
		slices.Sort(out)
		return out
	}
	var rows []json.RawMessage
	if err := json.Unmarshal(raw, &rows); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, row := range rows {
		var pair []string
		if json.Unmarshal(row, &word) == nil {
			out = append(out, word)
		} else if err := json.Unmarshal(row, &pair); err == nil {
			out = append(out, pair[0])
		}
	}
	slices.Sort(out)
	return out
}
