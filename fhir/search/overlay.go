package search

import (
	"cmp"
	"maps"
	"regexp"
	"slices"

	"candela/fhir"
	"candela/fhir/fhirpath"
	"candela/fhir/r4"
)

// Limits of search parameters that are added at run time.
const (
	maxExpression  = 4096   // bytes
	maxAdded       = 100    // parameters of one type
	runtimeBudget  = 50_000 // fhirpath.Env.Budget, on each resource
	maxRuntimeCode = 64
)

// Added is a search parameter that a SearchParameter resource adds at run time.
type Added struct {
	ID    string // of the resource
	Parts []Progress
	// Refused is why it is not searched by; "" otherwise.
	Refused string

	def *r4.SearchParameter
}

// Progress says how far the older resources of one type are indexed.
type Progress struct {
	Type        string
	Done, Total int64
	Complete    bool
}

// Code is the parameter's name in searches.
func (a Added) Code() string { return a.def.Code }

// Complete says whether every resource is indexed.
func (a Added) Complete() bool {
	return !slices.ContainsFunc(a.Parts, func(p Progress) bool { return !p.Complete })
}

// Percent of the older resources of the type that are indexed, 0 to 100.
func (p Progress) Percent() int64 {
	switch {
	case p.Complete:
		return 100
	case p.Total <= 0:
		return 0
	default:
		return min(99, 100*p.Done/p.Total)
	}
}

// overlay is the registry's immutable second layer: whole tables of the types
// that have parameters added.
type overlay struct {
	types map[string]*typeParams
	every *typeParams // nil: nothing is added to all types
	codes map[string]bool
	added []Added
	stamp uint64
}

// Define reads a SearchParameter resource. ok is false when it adds nothing: it
// is not active, or it only restates a definition that is served anyhow (its url
// or derivedFrom names that one). The error is a *fhir.Error with status 422: it
// cannot be searched by, or its code is taken.
func (r *Registry) Define(res fhir.Resource) (a Added, ok bool, err error) {
	root := res.Root()
	if root.Get("status").Text() != "active" {
		return Added{}, false, nil
	}
	def := definitionOf(root)
	if err := r.usable(def); err != nil {
		return Added{}, false, err
	}
	origin := root.Get("derivedFrom").Text()
	for _, typ := range r.concrete(def.Base) {
		switch served, taken := r.types[typ].compiled(r).byCode[def.Code]; {
		case taken && (served.URL == def.URL || served.URL == origin) && string(served.Type) == def.Type:
			continue // the base specification's own definition stays
		case taken:
			return Added{}, false, undefined("code", "%s is a parameter of %s already, by %s", def.Code, typ, served.URL)
		}
		if _, err := r.compileAdded(typ, def); err != nil {
			return Added{}, false, undefined("expression", "on %s: %s", typ, reason(err))
		}
		a.Parts = append(a.Parts, Progress{Type: typ})
	}
	a.ID, a.def = res.ID(), def
	return a, len(a.Parts) > 0, nil
}

// undefined is the refusal of a SearchParameter resource.
func undefined(element, format string, args ...any) error {
	return fhir.Errorf(422, fhir.CodeInvalid, format, args...).At("SearchParameter." + element)
}

func definitionOf(root fhir.Node) *r4.SearchParameter {
	def := &r4.SearchParameter{
		URL: root.Get("url").Text(), Code: root.Get("code").Text(), Type: root.Get("type").Text(),
		Expression: root.Get("expression").Text(), XPathUsage: root.Get("xpathUsage").Text(),
	}
	for n := range root.Get("base").Elements() {
		def.Base = append(def.Base, n.Text())
	}
	for n := range root.Get("target").Elements() {
		def.Target = append(def.Target, n.Text())
	}
	for n := range root.Get("component").Elements() {
		def.Component = append(def.Component, r4.SearchComponent{Definition: n.Get("definition").Text(), Expression: n.Get("expression").Text()})
	}
	return def
}

// usable checks what needs no type.
func (r *Registry) usable(def *r4.SearchParameter) error {
	named, err := regexp.MatchString(`^[A-Za-z][A-Za-z0-9_-]*$`, def.Code)
	switch {
	case err != nil || !named || len(def.Code) > maxRuntimeCode:
		return undefined("code", "a search name is a letter, then letters, digits, - and _, %d at most", maxRuntimeCode)
	case def.Expression == "":
		return undefined("expression", "an active search parameter needs an expression")
	case len(def.Expression) > maxExpression:
		return undefined("expression", "longer than %d bytes", maxExpression)
	case def.Type == string(Special):
		return undefined("type", "special parameters cannot be added")
	case len(def.Base) == 0:
		return undefined("base", "an active search parameter needs a base type")
	}
	for _, base := range def.Base {
		if base != "Resource" && base != "DomainResource" && !r.spec.IsResource(base) {
			return undefined("base", "not every base is a resource type of R4")
		}
	}
	return nil
}

// concrete are the resource types of a list of bases, sorted.
func (r *Registry) concrete(bases []string) []string {
	return slices.DeleteFunc(slices.Clone(r.spec.Resources()), func(typ string) bool {
		return !slices.ContainsFunc(bases, func(base string) bool { return typ == base || r.spec.IsA(typ, base) })
	})
}

// Admit says whether a resource may be stored: a SearchParameter must be one
// that Define takes, under a code that no other added parameter has on its types.
func (r *Registry) Admit(res fhir.Resource) error {
	if res.Type() != "SearchParameter" {
		return nil
	}
	a, ok, err := r.Define(res)
	if err != nil || !ok {
		return err
	}
	for _, part := range a.Parts {
		if err := r.free(a.ID, part.Type, a.def); err != nil {
			return err
		}
	}
	return nil
}

// free looks for other parameters that were added to a type before.
func (r *Registry) free(id, typ string, def *r4.SearchParameter) error {
	n := 0
	for _, other := range r.Added() {
		if other.ID == id || !slices.ContainsFunc(other.Parts, func(p Progress) bool { return p.Type == typ }) {
			continue
		}
		if n++; n >= maxAdded {
			return undefined("base", "%s has %d added parameters, which is the limit", typ, maxAdded)
		}
		if other.Code() == def.Code {
			return undefined("code", "%s is a parameter of %s already, by SearchParameter/%s", def.Code, typ, other.ID)
		}
	}
	return nil
}

func (r *Registry) compileAdded(typ string, def *r4.SearchParameter) (*Param, error) {
	p, err := r.compile(typ, def)
	if p != nil {
		p.added = true
	}
	return p, err
}

// Overlay makes list the parameters that are searched by beside those of the
// base specification. Readers never wait: each sees the tables before or after.
// Of two that take one code of a type, the first of list wins and the other is
// marked as refused. Calls must not run side by side.
func (r *Registry) Overlay(list []Added) {
	next := &overlay{types: map[string]*typeParams{}, codes: map[string]bool{}, stamp: r.laid() + 1}
	for _, a := range list {
		if why := r.lay(next, a); why != "" {
			a.Refused = why
		} else {
			next.codes[a.def.Code] = true
		}
		next.added = append(next.added, a)
	}
	for _, t := range next.types {
		t.sortParams()
	}
	if next.every != nil {
		next.every.sortParams()
	}
	r.over.Store(next)
}

// lay puts one parameter into an overlay that no reader sees yet.
func (r *Registry) lay(o *overlay, a Added) (refused string) {
	params := map[string]*Param{}
	for _, part := range a.Parts {
		p, err := r.compileAdded(part.Type, a.def)
		if err != nil {
			return reason(err)
		}
		t, laid := o.types[part.Type]
		if !laid {
			t = r.types[part.Type].compiled(r)
		}
		if _, taken := t.byCode[p.Code]; taken {
			return p.Code + " is a parameter of " + part.Type + " already"
		}
		p.building = !part.Complete
		params[part.Type] = p
	}
	for typ, p := range params {
		if o.types[typ] == nil {
			o.types[typ] = r.types[typ].compiled(r).copied()
		}
		o.types[typ].add(p)
	}
	if slices.Contains(a.def.Base, "Resource") {
		if o.every == nil {
			o.every = r.every.compiled(r).copied()
		}
		if p, err := r.compileAdded("Resource", a.def); err == nil {
			p.building = !a.Complete()
			o.every.add(p)
		}
	}
	return ""
}

// copied is a table that parameters can be added to.
func (t *typeParams) copied() *typeParams {
	return &typeParams{name: t.name, defs: t.defs, params: slices.Clone(t.params), hidden: t.hidden, byCode: maps.Clone(t.byCode), heads: t.heads, refused: t.refused}
}

func (t *typeParams) add(p *Param) {
	t.params = append(t.params, p)
	t.byCode[p.Code] = p
	t.loosen(p)
}

func (t *typeParams) sortParams() {
	slices.SortFunc(t.params, func(a, b *Param) int { return cmp.Compare(a.Code, b.Code) })
}

// Added are the parameters that were added at run time. Do not change them.
func (r *Registry) Added() []Added {
	if o := r.over.Load(); o != nil {
		return o.added
	}
	return nil
}

// Stamp changes whenever the parameters do.
func (r *Registry) Stamp() uint64 { return r.laid()<<2 | uint64(r.Words()) }

// laid counts the overlays.
func (r *Registry) laid() uint64 {
	if o := r.over.Load(); o != nil {
		return o.stamp
	}
	return 0
}

// Complete says whether every resource is indexed by the parameter.
func (p *Param) Complete() bool { return !p.building }

// lenient evaluates an added parameter: what its expression cannot read has no
// entries, so that no such parameter can keep a resource from being written.
func (x *extraction) lenient(p *Param) {
	from := len(x.entries)
	x.budget = runtimeBudget // less than for the expressions of the specification
	defer func() { x.budget = 0 }()
	if err := x.param(p); err != nil {
		clear(x.entries[from:])
		x.entries = x.entries[:from]
		x.items = x.items[:0]
		x.buffer = fhirpath.Buffer{}
	}
}

// Param is the Registry's, which notes what is not complete yet.
func (f *filters) Param(typ, code string) (*Param, bool) {
	p, ok := f.Registry.Param(typ, code)
	return f.noted(p), ok
}

func (f *filters) noted(p *Param) *Param {
	if p != nil && p.building && !slices.Contains(f.half, p) {
		f.half = append(f.half, p)
	}
	return p
}

// halfBuilt warns of parameters that do not find older resources yet, or
// refuses when strict.
func (s *parsing) halfBuilt() error {
	var told []string
	for _, p := range s.half {
		if slices.Contains(told, p.Code) {
			continue
		}
		told = append(told, p.Code)
		text := "search parameter " + quoteName(p.Code) + " is still being indexed"
		if s.opt.Strict && p.added {
			return fhir.Errorf(400, fhir.CodeIncomplete, "%s; SearchParameter/[id]/$status tells how far", text)
		}
		if s.opt.Strict {
			return fhir.Errorf(400, fhir.CodeIncomplete, "%s; try again later, or run candela reindex", text)
		}
		s.out.Warnings = append(s.out.Warnings, fhir.Issue{
			Severity: fhir.Warning, Code: fhir.CodeIncomplete, Diagnostics: text + "; the answer may lack resources that were stored before it",
		})
	}
	return nil
}
