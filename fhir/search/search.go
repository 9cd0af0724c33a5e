// Package search is FHIR R4 search (http://hl7.org/fhir/R4/search.html): it
// knows the search parameters, turns a resource into the entries a store
// indexes, and turns URL parameters into a store query over such entries.
//
// It knows parameters, data types, modifiers, prefixes, chains and
// compartments. It must not know any store backend, HTTP, or what a caller may
// see; no code here is written for one resource type.
package search

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"candela/fhir"
	"candela/fhir/fhirpath"
	"candela/fhir/r4"
	"candela/store"
)

// Registry knows the search parameters of every resource type. It is safe for
// concurrent use. Parameters are compiled at the first use of their type.
type Registry struct {
	spec  *r4.Spec
	bases []string // our own base URLs, each with a trailing slash
	zone  *time.Location
	types map[string]*typeParams
	byURL map[string]*r4.SearchParameter
	names *names
	units *units
	work  sync.Pool // *extraction
	stray []Unsupported
	codes map[string]bool // codes of all definitions
	words atomic.Uint32   // WordIndex
	over  atomic.Pointer[overlay]
	every *typeParams // the parameters of the abstract Resource, for searches over all types
}

// Unsupported is a definition that cannot be searched by, and why.
type Unsupported struct {
	Types  []string // resource types it was to be used on; empty when it names none
	Code   string
	URL    string
	Reason string
}

// typeParams are the parameters of one type: its own, then those of DomainResource and Resource.
type typeParams struct {
	name string
	defs []*r4.SearchParameter
	once sync.Once

	params  []*Param
	hidden  []*Param // have entries, but no name that a search could give
	byCode  map[string]*Param
	heads   []string // root members that params look at; their index is a bit of Param.need
	refused []Unsupported
}

// New makes the registry of the base specification. Absolute references below
// one of bases are taken as our own ("http://localhost:8080/fhir").
func New(spec *r4.Spec, bases ...string) (*Registry, error) {
	r := &Registry{spec: spec, zone: time.UTC, types: map[string]*typeParams{}, byURL: map[string]*r4.SearchParameter{}, names: newNames(), units: newUnits(), codes: map[string]bool{}}
	for _, b := range bases {
		if b = strings.TrimRight(b, "/"); b != "" {
			r.bases = append(r.bases, b+"/")
		}
	}
	r.every = &typeParams{name: "Resource"}
	for _, name := range spec.Resources() {
		r.types[name] = &typeParams{name: name}
	}
	defs := spec.SearchParameters()
	for i := range defs {
		r.enlist(&defs[i])
	}
	return r, nil
}

// WordIndex says whether the words of narratives and of all strings are indexed,
// which _text and _content find. Each different word of each resource costs an
// entry and a key.
type WordIndex uint32

// The states of the index of words.
const (
	WordsOff      WordIndex = iota // no words are indexed
	WordsBuilding                  // those of new resources are, older ones may not be
	WordsOn                        // those of all resources are
)

// SetWords changes the state; resources that are extracted from then on follow it.
func (r *Registry) SetWords(state WordIndex) { r.words.Store(uint32(state)) }

// Words is the state of the index of words.
func (r *Registry) Words() WordIndex { return WordIndex(r.words.Load()) }

// WordParams are the parameters of words that a type can be searched by: none
// unless those of all resources are indexed.
func (r *Registry) WordParams(typ string) []Param {
	t, ok := r.types[typ]
	if !ok || r.Words() != WordsOn {
		return nil
	}
	var out []Param
	for _, def := range t.compiled(r).defs {
		if def.Code == inNarrative || def.Code == inAll {
			out = append(out, Param{Code: def.Code, URL: def.URL, Type: String, On: typ})
		}
	}
	return out
}

// enlist puts a definition under each concrete type that it is for.
func (r *Registry) enlist(def *r4.SearchParameter) {
	r.byURL[def.URL] = def
	if len(def.Base) == 0 {
		r.stray = append(r.stray, Unsupported{Code: def.Code, URL: def.URL, Reason: "the definition names no base type"})
	}
	r.codes[def.Code] = true
	if slices.Contains(def.Base, "Resource") {
		r.every.defs = append(r.every.defs, def)
	}
	for _, base := range def.Base {
		if t, ok := r.types[base]; ok {
			t.defs = append(t.defs, def)
			continue
		}
		for name, t := range r.types {
			if r.spec.IsA(name, base) {
				t.defs = append(t.defs, def)
			}
		}
	}
}

// of gives the compiled parameters of a type.
func (r *Registry) of(typ string) (*typeParams, bool) {
	if o := r.over.Load(); o != nil {
		if t, ok := o.types[typ]; ok {
			return t, true
		}
	}
	t, ok := r.types[typ]
	if !ok {
		return nil, false
	}
	return t.compiled(r), true
}

func (t *typeParams) compiled(r *Registry) *typeParams {
	t.once.Do(func() { r.compileType(t) })
	return t
}

// common gives the parameters that every type has.
func (r *Registry) common() *typeParams {
	if o := r.over.Load(); o != nil && o.every != nil {
		return o.every
	}
	return r.every.compiled(r)
}

// known says whether any type has a parameter of that code.
func (r *Registry) known(code string) bool {
	o := r.over.Load()
	return r.codes[code] || o != nil && o.codes[code]
}

// Params are the searchable parameters of a type, sorted by code; nil for an
// unknown type. Do not change them.
func (r *Registry) Params(typ string) []*Param {
	t, ok := r.of(typ)
	if !ok {
		return nil
	}
	return t.params
}

// Param finds a parameter by its code.
func (r *Registry) Param(typ, code string) (*Param, bool) {
	t, ok := r.of(typ)
	if !ok {
		return nil, false
	}
	p, ok := t.byCode[code]
	return p, ok
}

// Unsupported lists every definition that cannot be searched by. It compiles
// what was not used yet.
func (r *Registry) Unsupported() []Unsupported {
	out := slices.Clone(r.stray)
	row := map[[2]string]int{}
	for _, name := range r.spec.Resources() {
		t, _ := r.of(name)
		for _, u := range t.refused {
			at, ok := row[[2]string{u.URL, u.Reason}]
			if !ok {
				at = len(out)
				row[[2]string{u.URL, u.Reason}] = at
				out = append(out, Unsupported{Code: u.Code, URL: u.URL, Reason: u.Reason})
			}
			out[at].Types = append(out[at].Types, name)
		}
	}
	return out
}

func (r *Registry) compileType(t *typeParams) {
	t.byCode = map[string]*Param{}
	slices.SortStableFunc(t.defs, func(a, b *r4.SearchParameter) int {
		if c := strings.Compare(a.Code, b.Code); c != 0 {
			return c
		}
		return rankDefinition(t.name, a) - rankDefinition(t.name, b)
	})
	for _, def := range t.defs {
		if first, twice := t.byCode[def.Code]; twice {
			t.refuse(def, "defined before by "+first.URL)
			continue
		}
		p, err := r.compile(t.name, def)
		if err != nil {
			t.refuse(def, reason(err))
			continue
		}
		t.byCode[p.Code] = p
		t.params = append(t.params, p)
	}
	for i := range hidden {
		if p, err := r.compile(t.name, &hidden[i]); err == nil && slices.Contains(hidden[i].Base, t.name) {
			t.hidden = append(t.hidden, p)
		}
	}
	r.assignRoles(t)
	t.assignBits()
	for _, p := range t.params {
		t.loosen(p)
	}
}

// The parameters of List that _list asks: its items, and those it has struck out.
const (
	listed = "item"
	struck = "item:deleted"
)

// hidden are definitions that special parameters, and rules of access, need
// beside those of R4.
var hidden = [...]r4.SearchParameter{
	{Code: r4.SecurityContext, Type: "reference", Base: []string{"Binary"}, Expression: "Binary.securityContext"},
	{Code: struck, Type: "reference", Base: []string{"List"}, Expression: "List.entry.where(deleted = true).item"},
}

func (t *typeParams) refuse(def *r4.SearchParameter, reason string) {
	t.refused = append(t.refused, Unsupported{Code: def.Code, URL: def.URL, Reason: reason})
}

// rankDefinition prefers, of two definitions of one code, the one named after
// the type.
func rankDefinition(typ string, def *r4.SearchParameter) int {
	if strings.HasSuffix(def.URL, "/"+typ+"-"+def.Code) {
		return 0
	}
	return 1
}

// assignBits numbers the root members that parameters look at, so that a
// parameter of absent members costs nothing.
func (t *typeParams) assignBits() {
	index := map[string]int{}
	for _, p := range t.params {
		for _, head := range p.shape.heads {
			at, ok := index[head]
			if !ok {
				at = len(t.heads)
				index[head] = at
				t.heads = append(t.heads, head)
			}
			if at >= 128 {
				p.need = [2]uint64{^uint64(0), ^uint64(0)}
				break
			}
			p.need[at/64] |= 1 << (at % 64)
		}
	}
	t.heads = t.heads[:min(len(t.heads), 128)]
}

// reason is an error's text without its status.
func reason(err error) string {
	var e *fhir.Error
	if errors.As(err, &e) && len(e.Issues) > 0 {
		return e.Issues[0].Diagnostics
	}
	return err.Error()
}

// refusal says why a definition has no use.
func refusal(format string, args ...any) error {
	return fhir.Errorf(400, fhir.CodeNotSupported, format, args...)
}

func compilePath(spec *r4.Spec, expression, root string) (*fhirpath.Expr, error) {
	return fhirpath.Compile(normalise(expression), root, spec)
}

// Compartment gives the condition that a resource of type typ is in the
// compartment of owner ("Patient/1"). A type that is no member of the
// compartment gives a condition that never holds.
func (r *Registry) Compartment(owner fhir.Reference, typ string) store.Expr {
	union := store.Or{}
	if typ == owner.Type && r.spec.Compartment(owner.Type) != nil {
		union = append(union, store.Test{Param: "_id", Cond: store.Cond{How: store.Is, Space: typ, Name: owner.ID}})
	}
	for _, code := range r.spec.Compartment(owner.Type)[typ] {
		p, ok := r.Param(typ, code)
		if !ok || p.Type != Reference {
			continue
		}
		union = append(union, store.Test{Param: code, Role: p.roleIn(owner.Type), Cond: store.Cond{How: store.Is, Space: owner.Type, Name: owner.ID}})
	}
	if len(union) == 1 {
		return union[0]
	}
	return union
}

// CompartmentTypes are the types that can be in compartments of the given kind,
// sorted; nil when there is no such compartment.
func (r *Registry) CompartmentTypes(kind string) []string {
	var out []string
	for typ, params := range r.spec.Compartment(kind) {
		if len(params) > 0 || typ == kind {
			out = append(out, typ)
		}
	}
	slices.Sort(out)
	return out
}
