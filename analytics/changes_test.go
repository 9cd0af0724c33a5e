package analytics

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"candela/fhir"
)

// TestMembers: the walk without parsing sees what the parser sees, on all
// published examples and on strings made to mislead it.
func TestMembers(t *testing.T) {
	records := []string{
		`{"resourceType":"Observation","valueString":"\"}],\\","subject":{"reference":"Patient/a","display":"{[\"subject\":"},"note":[{"text":"]}"}],"x":{}}`,
		`{"resourceType":"A","b":[],"c":[[1,2],{"d":"e"}],"f":true,"g":1.50e2,"\u0070atient":null}`,
		`{"resourceType":"A"}`,
	}
	dir := os.Getenv("CANDELA_SHARED")
	if dir == "" {
		dir = "../../shared"
	}
	files, err := filepath.Glob(filepath.Join(dir, "data", "fhir", "hl7-r4-examples", "*.json"))
	if err != nil || len(files) < 150 {
		t.Fatalf("%d examples: %v", len(files), err)
	}
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, string(raw))
	}
	for _, text := range records {
		res, err := fhir.ParseResource([]byte(text), fhir.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		var got, want []string
		for key, value := range members(res.Raw()) {
			got = append(got, string(key)+string(value))
		}
		for key, value := range res.Root().Members() {
			if strings.Contains(text, `\u0070`) && key == "patient" {
				key = `\u0070atient`
			}
			want = append(want, `"`+key+`"`+string(value.Raw()))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %d members, want %d", res.Type(), len(got), len(want))
		}
	}
}

func TestMark(t *testing.T) {
	for raw, want := range map[string]string{
		`{"resourceType":"Observation","subject":{"reference":"Patient/a"}}`:                                          "a",
		`{"resourceType":"Observation","subject":{"reference":"Patient/a/_history/3"}}`:                               "a",
		`{"resourceType":"X","patient":{"reference":"Patient/b"}}`:                                                    "b",
		`{"resourceType":"Observation","subject":{"reference":"Group/a"}}`:                                            "",
		`{"resourceType":"Observation","contained":[{"subject":{"reference":"Patient/a"}}],"subject":{"display":""}}`: "",
		``:                                    "",
		`{`:                                   "",
		`{"subject":{"reference":"Patient/a"`: "",
	} {
		touched := map[string]bool{}
		mark([]byte(raw), touched)
		if got := strings.Join(slices.Sorted(maps.Keys(touched)), " "); got != want {
			t.Errorf("%s is about %q, want %q", raw, got, want)
		}
	}
}
