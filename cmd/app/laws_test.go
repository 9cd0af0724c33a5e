package app_test

import (
	"fmt"
	"slices"
	"strings"

	"candela/fhir"
	"candela/fhir/search"
	"candela/store"
)

// laws checks what must hold between the counts of related programs whatever
// the data are: n is the count of p itself. They know no matcher.
func (r *runner) laws(p program, n int) error {
	d := r.doors[r.IntN(len(r.doors))]
	if err := d.equal("count(A)", n, p); err != nil {
		return err
	}
	if p.typ == "" {
		return nil
	}
	s := speaker{r.dice, r.world}
	params := r.registry.Params(p.typ)
	c := s.criterion(p.typ, 2)
	for range 3 { // mostly about what occurs
		if by, ok := r.registry.Param(p.typ, c.Name); ok && len(r.values[p.typ][by.Code]) > 0 {
			return r.lawsOf(d, p, n, by, c.Value)
		}
		by := params[s.IntN(len(params))]
		c = fhir.Param{Name: by.Code, Value: s.value(by.Type, s.draw(p.typ, by.Code))}
	}
	return r.chainLaws(d, p)
}

// lawsOf are the laws of one parameter with one value.
func (r *runner) lawsOf(d door, p program, n int, by *search.Param, value string) error {
	yes, missing, there := fhir.Param{Name: by.Code, Value: value}, fhir.Param{Name: by.Code + ":missing", Value: "true"}, fhir.Param{Name: by.Code + ":missing", Value: "false"}
	if _, err := r.answer(p.with(yes)); err != nil {
		return nil // refused, and alike: check has seen to it
	}
	laws := []law{{"count(A∧p∧p) = count(A∧p)", []term{{1, p.with(yes, yes)}, {-1, p.with(yes)}}, 0}}
	switch other := (fhir.Param{Name: by.Code + ":not", Value: value}); by.Type {
	case search.Composite:
	case search.Token:
		laws = append(laws,
			law{"count(A) = count(A∧p) + count(A∧p:not)", []term{{1, p.with(yes)}, {1, p.with(other)}}, n},
			law{"count(A) = count(A∧p) + count(A∧¬p∧p there) + count(A∧p:missing)", []term{{1, p.with(yes)}, {1, p.with(other, there)}, {1, p.with(missing)}}, n})
	case search.Number, search.Date, search.Quantity:
		laws = append(laws, rangeLaws(p, n, by, value, missing)...)
	case search.String:
		if !slices.Contains(by.Modifiers(), "contains") {
			break // compared by sound
		}
		laws = append(laws, law{"count(A∧p) = count(A∧p∧p:contains)", []term{{1, p.with(yes)}, {-1, p.with(yes, fhir.Param{Name: by.Code + ":contains", Value: value})}}, 0})
	default:
		laws = append(laws, law{"count(A) = count(A∧p there) + count(A∧p:missing)", []term{{1, p.with(there)}, {1, p.with(missing)}}, n})
	}
	second := speaker{r.dice, r.world}.value(by.Type, speaker{r.dice, r.world}.draw(p.typ, by.Code))
	two := fhir.Param{Name: by.Code, Value: second}
	if _, err := r.answer(p.with(two)); err == nil {
		laws = append(laws, law{"count(A∧(p,q)) = count(A∧p) + count(A∧q) - count(A∧p∧q)",
			[]term{{1, p.with(fhir.Param{Name: by.Code, Value: value + "," + second})}, {-1, p.with(yes)}, {-1, p.with(two)}, {1, p.with(yes, two)}}, 0})
	}
	return r.obey(d, laws)
}

// rangeLaws are the laws of comparisons. A resource may have several values, so
// that it is counted on both sides.
func rangeLaws(p program, n int, by *search.Param, value string, missing fhir.Param) []law {
	eq, ne, gt := bare(by.Code, "", value), bare(by.Code, "ne", value), bare(by.Code, "gt", value)
	ge, lt := bare(by.Code, "ge", value), bare(by.Code, "lt", value)
	laws := []law{
		{"count(A) = count(A∧eq) + count(A∧ne) - count(A∧eq∧ne) + count(A∧p:missing)",
			[]term{{1, p.with(eq)}, {1, p.with(ne)}, {-1, p.with(eq, ne)}, {1, p.with(missing)}}, n},
		{"count(A) = count(A∧lt) + count(A∧ge) - count(A∧lt∧ge) + count(A∧p:missing)",
			[]term{{1, p.with(lt)}, {1, p.with(ge)}, {-1, p.with(lt, ge)}, {1, p.with(missing)}}, n},
	}
	if by.Type == search.Date { // numbers are exact in ge and gt, and implied in eq
		laws = append(laws, law{"count(A∧ge) = count(A∧gt) + count(A∧eq) - count(A∧gt∧eq)",
			[]term{{1, p.with(ge)}, {-1, p.with(gt)}, {-1, p.with(eq)}, {1, p.with(gt, eq)}}, 0})
	}
	return laws
}

// bare is a condition with another prefix and in any unit, on the first of several values.
func bare(code, prefix, value string) fhir.Param {
	value, _, _ = strings.Cut(value, ",")
	value, _, _ = strings.Cut(value, "|")
	for len(value) > 0 && value[0] >= 'a' && value[0] <= 'z' {
		value = value[1:]
	}
	return fhir.Param{Name: code, Value: prefix + value}
}

// chainLaws ask a chain in two steps: first the targets, then who points to them.
func (r *runner) chainLaws(d door, p program) error {
	s := speaker{r.dice, r.world}
	by, to, ok := s.link(p.typ, func(store.Value) bool { return true })
	if !ok {
		return nil
	}
	rest := s.criterion(to.Space, 2)
	inner := program{typ: to.Space, params: fhir.Params{rest}}
	if _, err := r.answer(inner); err != nil || strings.HasSuffix(rest.Name, ":missing") || strings.Contains(rest.Name, ":not") {
		return nil
	}
	targets, err := d.all(inner, 1000)
	if err != nil || len(targets) == 0 {
		return err
	}
	chained := p.with(fhir.Param{Name: by.Code + ":" + to.Space + "." + rest.Name, Value: rest.Value})
	listed := p.with(fhir.Param{Name: by.Code, Value: strings.Join(targets, ",")})
	return r.obey(d, []law{{"count(A∧r.p) = count(A∧r in the answer of p)", []term{{1, chained}, {-1, listed}}, 0}})
}

// law says that a sum of counts is what it must be.
type law struct {
	text  string
	terms []term
	sum   int
}

type term struct {
	sign int
	of   program
}

func (r *runner) obey(d door, laws []law) error {
	for _, l := range laws {
		sum, parts := 0, []string(nil)
		for _, part := range l.terms {
			if _, err := r.parse(part.of); err != nil {
				return d.refuses(part.of, err)
			}
			n, err := d.count(part.of)
			if err != nil {
				return fmt.Errorf("%s: %s: %s: %w", d.name, l.text, part.of, err)
			}
			sum += part.sign * n
			parts = append(parts, fmt.Sprintf("%+d × count(%s) = %d", part.sign, part.of, n))
		}
		if sum != l.sum {
			return fmt.Errorf("%s: %s is broken: the sum is %d, want %d\n%s", d.name, l.text, sum, l.sum, strings.Join(parts, "\n"))
		}
	}
	return nil
}

func (d door) equal(what string, want int, p program) error {
	got, err := d.count(p)
	if err == nil && got != want {
		err = fmt.Errorf("%s: %s is %d, want %d", d.name, what, got, want)
	}
	return err
}
