package search

import (
	"slices"
	"strings"

	"candela/fhir/fhirpath"
	"candela/fhir/r4"
)

// shape is what is known of an expression without evaluating it.
type shape struct {
	heads []string // JSON members of the root one of which must be there; nil: unknown
	types []string // FHIR types it can give, sorted
	codes []*r4.CodeSet
	// exact says that the types are the whole truth: each branch was a plain
	// path of known elements.
	exact bool
	empty bool // no branch can ever match the type
}

// only says whether every value is of one of the given types.
func (s shape) only(types ...string) bool {
	if !s.exact || len(s.types) == 0 {
		return false
	}
	for _, t := range s.types {
		if !slices.Contains(types, t) {
			return false
		}
	}
	return true
}

// shapeOf walks expression over the element tables from typ. It follows paths,
// unions, as and ofType, and where(); anything else makes the shape inexact.
func shapeOf(spec *r4.Spec, typ, expression string) shape {
	s := shape{exact: true, empty: true}
	known := true
	for _, branch := range cutTop(expression, '|') {
		known = s.branch(spec, typ, branch) && known
	}
	if !known {
		s.heads, s.exact, s.empty = nil, false, false
	}
	slices.Sort(s.types)
	s.types = slices.Compact(s.types)
	slices.Sort(s.heads)
	s.heads = slices.Compact(s.heads)
	return s
}

// branch adds one member of a union; false when its root members are unknown.
func (s *shape) branch(spec *r4.Spec, typ, text string) bool {
	text, cast := cutCast(strings.TrimSpace(text))
	if strings.ContainsAny(outside(text), " =!<>&+*") {
		return false
	}
	steps := cutTop(text, '.')
	if first := steps[0]; first != "" && first[0] >= 'A' && first[0] <= 'Z' {
		if !spec.IsA(typ, first) {
			return true
		}
		steps = steps[1:]
	}
	at := walk{spec: spec, types: []string{typ}, exact: true}
	for i, step := range steps {
		members := at.step(step)
		if i == 0 {
			if members == nil {
				return false
			}
			s.heads = append(s.heads, members...)
		}
	}
	at.cast(cast)
	s.empty = false
	s.exact = s.exact && at.exact
	s.types = append(s.types, at.types...)
	s.codes = append(s.codes, at.codes...)
	return len(steps) > 0
}

// walk is a position in the element tables.
type walk struct {
	spec  *r4.Spec
	types []string
	codes []*r4.CodeSet
	exact bool
}

// step takes one path step and gives the members it reads.
func (w *walk) step(step string) []string {
	name, call, isCall := strings.Cut(step, "(")
	if isCall {
		return w.call(name, strings.TrimSuffix(call, ")"))
	}
	name, _, _ = strings.Cut(name, "[")
	var members, next []string
	w.codes = nil
	for _, typ := range w.types {
		m, t, ok := w.spec.Child(typ, name)
		if !ok {
			continue
		}
		members, next = append(members, m...), append(next, t...)
		w.bind(typ, name)
	}
	w.types = next
	w.exact = w.exact && len(next) > 0
	return members
}

func (w *walk) bind(typ, name string) {
	t, ok := w.spec.Type(typ)
	if !ok {
		return
	}
	if e, ok := t.Element(name); ok && e.Required != "" {
		if set, _ := w.spec.Codes(e.Required); set != nil {
			w.codes = append(w.codes, set)
		}
	}
}

func (w *walk) call(name, argument string) []string {
	switch name {
	case "where":
	case "as", "ofType":
		w.cast(argument)
	case "extension":
		w.types = []string{"Extension"}
		return []string{"extension"}
	default:
		w.exact = false
	}
	return nil
}

func (w *walk) cast(typ string) {
	if typ == "" {
		return
	}
	if typ == "DateTime" {
		typ = "dateTime"
	}
	w.types = slices.DeleteFunc(w.types, func(t string) bool { return !w.spec.IsA(t, typ) })
	if len(w.types) == 0 {
		w.types = []string{typ}
	}
}

// cutCast takes outer parentheses and an `as T` off.
func cutCast(text string) (rest, cast string) {
	if strings.HasPrefix(text, "(") && strings.HasSuffix(text, ")") && closes(text) {
		text = strings.TrimSpace(text[1 : len(text)-1])
	}
	if rest, cast, ok := strings.Cut(text, " as "); ok && !strings.ContainsAny(cast, " ().") {
		return strings.TrimSpace(rest), strings.TrimSpace(cast)
	}
	return text, ""
}

// closes says whether the parenthesis that opens text is closed by its last byte.
func closes(text string) bool {
	depth := 0
	for i := range len(text) {
		switch text[i] {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 && i < len(text)-1 {
				return false
			}
		}
	}
	return true
}

// cutTop splits at sep outside parentheses and quotes.
func cutTop(text string, sep byte) []string {
	var out []string
	depth, from, quoted := 0, 0, false
	for i := range len(text) {
		switch c := text[i]; {
		case c == '\'':
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == sep && depth == 0:
			out = append(out, text[from:i])
			from = i + 1
		}
	}
	return append(out, text[from:])
}

// outside is text without what stands in parentheses.
func outside(text string) string {
	var out strings.Builder
	depth := 0
	for i := range len(text) {
		switch c := text[i]; {
		case c == '(':
			depth++
		case c == ')':
			depth--
		case depth == 0:
			out.WriteByte(c)
		}
	}
	return out.String()
}

// normalise repairs what the published definitions misspell: DateTime is the
// primitive dateTime.
func normalise(expression string) string {
	return strings.ReplaceAll(expression, "as(DateTime)", "as(dateTime)")
}

var _ fhirpath.Model = (*r4.Spec)(nil)
