package search

import (
	"slices"
	"strings"

	"candela/fhir/fhirpath"
	"candela/fhir/r4"
	"candela/store"
)

// Kind is the type of a search parameter (value set search-param-type).
type Kind string

// The kinds.
const (
	Number    Kind = "number"
	Date      Kind = "date"
	String    Kind = "string"
	Token     Kind = "token"
	Reference Kind = "reference"
	Composite Kind = "composite"
	Quantity  Kind = "quantity"
	URI       Kind = "uri"
	Special   Kind = "special"
)

// Param is one search parameter on one resource type.
type Param struct {
	Code       string
	On         string // resource type
	Type       Kind
	URL        string   // canonical URL of its definition
	Targets    []string // of a reference: the types it may point to, sorted
	Expression string
	Role       store.Role // for tests and sorts by it; entries take Anchor only where they point to an owner

	expr  *fhirpath.Expr
	shape shape
	need  [2]uint64 // bits of root members one of which must be there; zero: always evaluate
	parts []part    // of a composite
	// identifier and ofType name the entries that :identifier and :of-type look at.
	identifier, ofType string
	phonetic           bool // words are compared by their sound
	added, building    bool // by a resource at run time; not all resources are indexed yet
	below              bool // a reference into hierarchies, or to canonicals
	identity           bool // a value names one resource: identifiers, telecoms, canonical addresses
}

// part is one component of a composite.
type part struct {
	param Param                     // kind and shape of the component, not registered by code
	expr  map[string]*fhirpath.Expr // by type of the composite's base element
	path  string                    // its expression
	alone *Param                    // has an entry for every value of the component; nil: none
}

// Modifiers that may stand behind the parameter's name, sorted.
func (p *Param) Modifiers() []string {
	switch p.Type {
	case String:
		if p.phonetic {
			return []string{"missing"}
		}
		return []string{"contains", "exact", "missing"}
	case Token:
		return []string{"missing", "not", "of-type", "text"}
	case Reference:
		if p.below {
			return []string{"[type]", "above", "below", "identifier", "missing"}
		}
		return []string{"[type]", "identifier", "missing"}
	case URI:
		return []string{"above", "below", "missing"}
	case Composite:
		return nil
	default:
		return []string{"missing"}
	}
}

// supplied are the parameters whose entries the store supplies.
func supplied(code string) bool { return code == "_id" || code == "_lastUpdated" }

// compile makes the parameter of def on typ, or says why it cannot be used.
func (r *Registry) compile(typ string, def *r4.SearchParameter) (*Param, error) {
	p := &Param{Code: def.Code, On: typ, Type: Kind(def.Type), URL: def.URL, Expression: def.Expression}
	if def.Expression == "" {
		return nil, refusal("the definition has no expression")
	}
	p.phonetic = def.XPathUsage == "phonetic" && p.Type == String
	p.shape = shapeOf(r.spec, typ, def.Expression)
	if p.shape.empty {
		return nil, refusal("the expression never matches %s", typ)
	}
	if p.Type == Reference {
		p.Targets = r.targets(narrowed(typ, def))
		p.identifier = p.Code + ":identifier"
		p.below = p.versioned() || slices.ContainsFunc(p.Targets, func(t string) bool { return r.upOf(t) != "" })
	}
	if p.Type == Token {
		p.ofType = p.Code + ":of-type"
	}
	if p.Type == Composite {
		return p, r.compileParts(p, def)
	}
	if p.Type == Special && !slices.Equal(p.shape.types, []string{"Location.position"}) {
		return nil, refusal("this special parameter is not built")
	}
	var err error
	p.expr, err = compilePath(r.spec, def.Expression, typ)
	return p, err
}

// targets are the concrete types of a definition's target list; none given is all.
func (r *Registry) targets(list []string) []string {
	if len(list) == 0 || slices.Contains(list, "Resource") {
		return r.spec.Resources()
	}
	out := slices.DeleteFunc(slices.Clone(list), func(t string) bool { return !r.spec.IsResource(t) })
	slices.Sort(out)
	return slices.Compact(out)
}

// narrowed is the target list without what the expression leaves out: with
// where(resolve() is Patient) only patients remain of a list that other types share.
func narrowed(typ string, def *r4.SearchParameter) []string {
	var out []string
	for _, branch := range cutTop(def.Expression, '|') {
		branch = strings.Trim(branch, " ()")
		if !strings.HasPrefix(branch, typ+".") {
			continue
		}
		_, target, ok := strings.Cut(branch, "resolve() is ")
		if !ok {
			return def.Target
		}
		out = append(out, strings.Trim(target, " ()"))
	}
	if len(out) == 0 {
		return def.Target
	}
	return out
}

// compileParts compiles the components of a composite, each for every type its
// base element can have (Observation | Observation.component).
func (r *Registry) compileParts(p *Param, def *r4.SearchParameter) error {
	var err error
	if p.expr, err = compilePath(r.spec, def.Expression, p.On); err != nil {
		return err
	}
	for _, c := range def.Component {
		of, ok := r.byURL[c.Definition]
		if !ok {
			return refusal("component %s is not defined", c.Definition)
		}
		one := part{param: Param{Code: of.Code, On: p.On, Type: Kind(of.Type), Targets: r.targets(of.Target)}, expr: map[string]*fhirpath.Expr{}, path: c.Expression}
		for _, base := range p.shape.types {
			if one.expr[base], err = compilePath(r.spec, c.Expression, base); err != nil {
				return err
			}
			one.param.shape = merge(one.param.shape, shapeOf(r.spec, base, normalise(c.Expression)))
		}
		p.parts = append(p.parts, one)
	}
	untangle(p.parts)
	if len(p.parts) < 2 || len(p.parts) > maxParts {
		return refusal("the composite has %d components, not 2 to %d", len(p.parts), maxParts)
	}
	return nil
}

// untangle gives two components each other's definition where only that fits
// their expressions: R4 publishes DocumentReference-relationship so.
func untangle(parts []part) {
	if len(parts) != 2 {
		return
	}
	a, b := &parts[0].param, &parts[1].param
	if a.Type == Reference && b.Type != Reference && !slices.Contains(a.shape.types, "Reference") && b.shape.only("Reference") {
		a.shape, b.shape = b.shape, a.shape
		*a, *b = *b, *a
	}
}

func merge(a, b shape) shape {
	if len(a.types) == 0 {
		return b
	}
	b.types = append(b.types, a.types...)
	b.codes = append(b.codes, a.codes...)
	b.exact = b.exact && a.exact
	return b
}

// clocks ranks the date parameters that can be a type's one clinical date, best
// first: when it was asked for or happened, before when it was written down.
var clocks = [...]string{
	"authoredon", "authored", "authored-on", "date", "effective-time", "occurrence", "onset-date", "period",
	"effective", "started", "sent", "created", "collected", "whenhandedover", "start-date", "start", "recorded",
	"issued", "datetime", "datewritten", "timestamp", "identified", "birthdate",
}

// hotNames are the last element names of tokens that clinical queries combine
// with a patient or read newest first.
var hotNames = [...]string{"code", "category", "status", "type", "class", "clinicalStatus", "intent", "vaccineCode", "medication", "verificationStatus", "lifecycleStatus"}

// assignRoles marks the owner references, the hot tokens, the one clock of a type
// and what names a resource.
func (r *Registry) assignRoles(t *typeParams) {
	for _, code := range clocks {
		if p, ok := t.byCode[code]; ok && p.Type == Date {
			p.Role |= store.Clock
			break
		}
	}
	owners := r.owners(t)
	for _, p := range t.params {
		p.identity = p.Type == Token && p.shape.only("Identifier", "ContactPoint") || p.Type == URI && p.Expression == t.name+".url"
		switch {
		case slices.Contains(owners, p.Code):
			p.Role |= store.Anchor
		case p.Type == Token && isHot(t.name, p.Expression):
			p.Role |= store.Hot
		}
	}
}

// owners are the parameters of the patient compartment that name the resource's
// patient: patient and subject where it has them, else all that point to one.
func (r *Registry) owners(t *typeParams) []string {
	var all, named []string
	for _, code := range append([]string{"patient", "subject"}, r.spec.Compartment("Patient")[t.name]...) {
		p, ok := t.byCode[code]
		if !ok || p.Type != Reference || !slices.Contains(p.Targets, "Patient") || slices.Contains(all, code) {
			continue
		}
		all = append(all, code)
		if code == "patient" || code == "subject" {
			named = append(named, code)
		}
	}
	if len(r.spec.Compartment("Patient")[t.name]) == 0 {
		return nil
	}
	if len(named) > 0 {
		return named
	}
	return all
}

// isHot says whether all that an expression reads on typ are hotNames directly
// below the root.
func isHot(typ, expression string) bool {
	hot := false
	for _, branch := range cutTop(expression, '|') {
		path, _ := cutCast(strings.TrimSpace(branch))
		name, ok := strings.CutPrefix(path, typ+".")
		if !ok {
			continue
		}
		if !slices.Contains(hotNames[:], name) {
			return false
		}
		hot = true
	}
	return hot
}

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
