package phonetic

import "testing"

func TestAlike(t *testing.T) {
	for _, c := range [][]string{
		{"smith", "smyth", "smythe", "schmidt", "schmitt"},
		{"catherine", "katherine", "kathryn", "catharina"},
		{"philip", "filip", "phillip"},
		{"meyer", "maier", "mayr", "meier"},
		{"knight", "night", "nite"},
		{"stephen", "steven", "stefan"},
		{"schwarz", "shwarz"},
		{"wright", "rite", "right"},
		{"mcdonald", "macdonald"},
		{"jon", "john"},
		{"carl", "karl"},
		{"allan", "ellen", "alan"},
	} {
		for _, other := range c[1:] {
			if a, b := Key(c[0]), Key(other); a != b || a == "" {
				t.Errorf("%s is %q, %s is %q", c[0], a, other, b)
			}
		}
	}
}

func TestDifferent(t *testing.T) {
	seen := map[string]string{}
	for _, word := range []string{"smith", "miller", "johnson", "peters", "levin", "garcia", "jackson", "brown", "kim", "nguyen", "ann", "bo"} {
		k := Key(word)
		if seen[k] != "" {
			t.Errorf("%s and %s both are %q", word, seen[k], k)
		}
		seen[k] = word
	}
	for _, word := range []string{"", "42", "李", "^$"} {
		if k := Key(word); k != "" {
			t.Errorf("%q sounds like %q", word, k)
		}
	}
}

func BenchmarkKey(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Key("schwarzenegger")
	}
}
