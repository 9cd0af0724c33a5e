package search

import (
	"strconv"
	"strings"

	"candela/fhir/r4"
)

// sketcher makes the smallest resources that a parameter could index, from its
// expression and the element tables alone. Of what an element may be it takes
// the choice-th, so that counting choice up tries all.
type sketcher struct {
	spec   *r4.Spec
	target string // what references point to
	choice int
}

// resources are sketches for a parameter, one for each branch of its expression
// and each choice.
func (g sketcher) resources(p *Param, components []string) []string {
	var out []string
	for _, branch := range cutTop(p.Expression, '|') {
		steps := stepsOf(branch)
		if first := steps[0]; first[0] >= 'A' && first[0] <= 'Z' {
			if !g.spec.IsA(p.On, first) {
				continue
			}
			steps = steps[1:]
		}
		for g.choice = range 50 {
			root, leaf := []string{`"resourceType":"` + p.On + `"`}, g.sample
			if len(components) > 0 {
				leaf = func(typ string) string { return g.composed(typ, components) }
				root = append(root, g.ofResource(p.On, components)...)
			}
			out = append(out, braced(append(root, g.member(p.On, steps, leaf))...))
		}
	}
	return out
}

// member is what leads along steps; without any, what the leaf itself holds.
func (g sketcher) member(typ string, steps []string, leaf func(string) string) string {
	if len(steps) > 0 {
		return g.path(typ, steps, leaf)
	}
	value := leaf(typ)
	return value[1 : len(value)-1]
}

// stepsOf cuts a branch into steps; a cast in front becomes a step behind.
func stepsOf(branch string) []string {
	branch, _, _ = strings.Cut(strings.TrimSpace(branch), " and ")
	rest, cast := cutCast(branch)
	if cast != "" {
		return append(stepsOf(rest), "as("+cast+")")
	}
	steps := cutTop(rest, '.')
	if strings.HasPrefix(steps[0], "(") {
		return append(stepsOf(steps[0]), steps[1:]...)
	}
	return steps
}

// composed is a base element with all components of a composite.
func (g sketcher) composed(typ string, components []string) string {
	var members []string
	for _, c := range components {
		if !strings.HasPrefix(c, "%resource.") {
			first, _, _ := strings.Cut(c, "|")
			members = append(members, g.path(typ, stepsOf(first), g.sample))
		}
	}
	return braced(members...)
}

// ofResource are the components that stand at the root of the resource.
func (g sketcher) ofResource(typ string, components []string) (members []string) {
	for _, c := range components {
		if rest, ok := strings.CutPrefix(c, "%resource."); ok {
			members = append(members, g.path(typ, stepsOf(rest), g.sample))
		}
	}
	return members
}

// path is the JSON member that leads along steps from an object of typ.
func (g sketcher) path(typ string, steps []string, leaf func(string) string) string {
	if url, ok := strings.CutPrefix(steps[0], "extension('"); ok {
		members, types, _ := g.spec.Child("Extension", "value")
		i := g.choice % len(types)
		return `"extension":[{"url":"` + strings.TrimSuffix(url, "')") + `","` + members[i] + `":` + leaf(types[i]) + `}]`
	}
	name, _, _ := strings.Cut(steps[0], "[")
	members, types, ok := g.spec.Child(typ, name)
	if !ok {
		return ""
	}
	i, rest, extra := g.choice%len(types), steps[1:], []string(nil)
	for ; len(rest) > 0 && strings.Contains(rest[0], "("); rest = rest[1:] {
		call, argument, _ := strings.Cut(strings.TrimSuffix(rest[0], ")"), "(")
		switch call {
		case "as", "ofType":
			i = g.cast(types, normalise("as("+argument+")"), i)
		case "where":
			extra = append(extra, g.where(argument))
		}
	}
	value := ""
	if len(rest) > 0 {
		value = braced(append(extra, g.path(types[i], rest, leaf))...)
	} else if value = leaf(types[i]); len(extra) > 0 && strings.HasPrefix(value, "{") {
		value = braced(append(extra, value[1:len(value)-1])...)
	}
	if g.spec.Many(typ, name) {
		value = "[" + value + "]"
	}
	return `"` + members[i] + `":` + value
}

func (g sketcher) cast(types []string, as string, otherwise int) int {
	for i, typ := range types {
		if as == "as("+typ+")" {
			return i
		}
	}
	return otherwise
}

// where is the member that makes a condition true.
func (g sketcher) where(condition string) string {
	if name, value, ok := strings.Cut(condition, "="); ok {
		return `"` + name + `":` + strings.ReplaceAll(value, "'", `"`)
	}
	if url, ok := strings.CutPrefix(condition, "hasExtension('"); ok {
		return `"extension":[{"url":"` + strings.TrimRight(url, "')") + `","valueBoolean":true}]`
	}
	return "" // resolve() is T: the reference itself says it
}

// sample is a value of a type.
func (g sketcher) sample(typ string) string {
	switch typ {
	case "boolean":
		return "true"
	case "integer", "positiveInt", "unsignedInt":
		return "1"
	case "decimal":
		return "1.5"
	case "date":
		return `"2020-02-29"`
	case "dateTime", "instant":
		return `"2020-02-29T10:00:00Z"`
	case "uri", "url", "canonical", "oid":
		return `"http://x.example/` + strconv.Itoa(g.choice) + `|1"`
	case "Reference":
		return `{"reference":"` + g.target + `/1"}`
	case "Resource":
		return `{"resourceType":"` + g.target + `","id":"1"}`
	case "CodeableConcept":
		return `{"coding":[{"code":"a"}],"text":"a"}`
	case "Coding":
		return `{"code":"a","display":"a"}`
	case "Identifier", "ContactPoint":
		return `{"value":"1"}`
	case "HumanName":
		return `{"family":"a","given":["b"],"text":"c"}`
	case "Address":
		return `{"city":"a","country":"b","state":"c","postalCode":"1","use":"home","text":"d"}`
	case "Period":
		return `{"start":"2020"}`
	case "Timing":
		return `{"event":["2020-02-29"]}`
	case "Range":
		return `{"low":{"value":1}}`
	case "Money":
		return `{"value":1.5,"currency":"EUR"}`
	case "SampledData":
		return `{"origin":{"value":1},"data":"1 2"}`
	}
	if g.spec.IsA(typ, "Quantity") {
		return `{"value":1.5,"unit":"mg"}`
	}
	if t, ok := g.spec.Type(typ); ok && t.Kind == r4.Primitive {
		return `"a"`
	}
	return "{}"
}

func braced(members ...string) string {
	var there []string
	for _, m := range members {
		if m != "" {
			there = append(there, m)
		}
	}
	return "{" + strings.Join(there, ",") + "}"
}
