package grammar

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func show(n *Node) string {
	if n.Kind == Param {
		var path []string
		for _, s := range n.Path {
			name := s.Name
			if s.Where != nil {
				name += "[" + show(s.Where) + "]"
			}
			path = append(path, name)
		}
		return fmt.Sprintf("%s %s %q", strings.Join(path, "."), n.Op, n.Value)
	}
	var parts []string
	for _, o := range n.Of {
		parts = append(parts, show(o))
	}
	return []string{"", "", "and", "or", "not"}[n.Kind] + "(" + strings.Join(parts, ", ") + ")"
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		`name co "pet"`: `name co "pet"`,
		`given eq "peter" and birthdate ge 2014-10-10`:    `and(given eq "peter", birthdate ge "2014-10-10")`,
		`code eq http://loinc.org|1234-5`:                 `code eq "http://loinc.org|1234-5"`,
		`a eq 1 or b eq 2 and c eq 3`:                     `and(or(a eq "1", b eq "2"), c eq "3")`,
		`a eq 1 or (b eq 2 and c eq 3)`:                   `or(a eq "1", and(and(b eq "2", c eq "3")))`,
		`a eq 1 and b eq 2 and c eq 3`:                    `and(a eq "1", b eq "2", c eq "3")`,
		`not(a eq 1)`:                                     `not(a eq "1")`,
		`not ( a eq 1 ) or nothing eq not`:                `or(not(a eq "1"), nothing eq "not")`,
		`subject[gender eq male].name co "x"`:             `subject[gender eq "male"].name co "x"`,
		`related[type eq "has-component"].target pr true`: `related[type eq "has-component"].target pr "true"`,
		`_has:Observation:patient:code eq x`:              `_has:Observation:patient:code eq "x"`,
		`name eq "a \"b\" \/ \u00e9)"`:                    `name eq "a \"b\" / é)"`,
		`android eq and`:                                  `android eq "and"`,
	} {
		n, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := show(n); got != want {
			t.Errorf("%s\n got %s\nwant %s", text, got, want)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, text := range []string{
		"", " ", "name", "name eq", `name eq "x`, "(a eq 1", "a eq 1)", "a eq 1 and", "and a eq 1", "a eq 1 xor b eq 2", "not a eq 1",
		"a..b eq 1", "a[b eq 1 eq 2", "a[] eq 1", "a equals 1", "a' eq 1", ".a eq 1", `a eq "\q"`, "$where eq 1",
	} {
		if n, err := Parse(text); !errors.Is(err, ErrSyntax) {
			t.Errorf("%q: %v, %v", text, n, err)
		}
	}
	for _, text := range []string{
		strings.Repeat("(", 20) + "a eq 1" + strings.Repeat(")", 20),
		strings.Repeat("a eq 1 or ", 300) + "a eq 1",
		"a eq " + strings.Repeat("x", MaxLength),
		strings.Repeat("a[", 20) + "a eq 1",
	} {
		if _, err := Parse(text); !errors.Is(err, ErrLimit) {
			t.Errorf("%.40q…: %v", text, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`a[b eq "c"].d co e and not(f pr true) or (g ne 1)`)
	f.Fuzz(func(t *testing.T, text string) {
		n, err := Parse(text)
		if (n == nil) == (err == nil) {
			t.Errorf("%q gives %v and %v", text, n, err)
		}
	})
}
