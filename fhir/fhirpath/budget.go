package fhirpath

import (
	"regexp"
	regexpsyntax "regexp/syntax"
	"strings"

	"candela/fhir"
	"candela/fhir/fhirpath/system"
)

// Work is counted in comparisons of two items; other things cost as many of
// those as they take in time or memory.
const (
	defaultBudget = 10_000_000
	itemCost      = 8  // an element found, an item put into a collection
	bytesPerUnit  = 16 // text read or made
	maxProgram    = 10_000
)

// charge counts work done or about to be done.
func (r *run) charge(units int) error {
	r.spent += max(units, 0)
	return r.over()
}

// chargeText counts text read or about to be made.
func (r *run) chargeText(bytes int) error { return r.charge(bytes/bytesPerUnit + 1) }

// over is the error of an evaluation that has spent its budget.
func (r *run) over() error {
	if r.spent <= r.limit {
		return nil
	}
	return fhir.Errorf(422, fhir.CodeTooCostly, "FHIRPath: the expression is too costly on this resource (more than %d steps)", r.limit)
}

// pattern is a compiled regular expression with the size of its program:
// matching takes up to text × size.
type pattern struct {
	*regexp.Regexp
	size int
}

// compilePattern refuses patterns with huge programs ("x{1000}" a hundred times).
func compilePattern(function, text string) (*pattern, error) {
	if function == "matchesFull" {
		text = "^(?:" + text + ")$"
	}
	text = "(?s)" + text
	tree, err := regexpsyntax.Parse(text, regexpsyntax.Perl)
	if err != nil {
		return nil, system.Errorf("%s(): %v", function, err)
	}
	program, err := regexpsyntax.Compile(tree.Simplify())
	if err != nil {
		return nil, system.Errorf("%s(): %v", function, err)
	}
	if len(program.Inst) > maxProgram {
		return nil, fhir.Errorf(422, fhir.CodeTooCostly, "FHIRPath: %s(): the pattern is too large", function)
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, system.Errorf("%s(): %v", function, err)
	}
	return &pattern{re, len(program.Inst)}, nil
}

// chargeMatch counts matching a pattern on text.
func (r *run) chargeMatch(p *pattern, text string) error {
	return r.chargeText(len(text) * (1 + p.size/8))
}

// replaceAll is ReplaceAllString that counts what it makes while it does.
func (r *run) replaceAll(p *pattern, text, to string) (string, error) {
	var out []byte
	last := 0
	most := (r.limit-r.spent)/itemCost + 1 // one more than can be paid for
	for _, at := range p.FindAllStringSubmatchIndex(text, most) {
		made := len(out)
		r.spent += itemCost
		out = append(out, text[last:at[0]]...)
		if err := r.chargeText(strings.Count(to, "$") * (at[1] - at[0])); err != nil {
			return "", err
		}
		out = p.ExpandString(out, to, text, at)
		last = at[1]
		if err := r.chargeText(len(out) - made); err != nil {
			return "", err
		}
	}
	return string(append(out, text[last:]...)), nil
}
