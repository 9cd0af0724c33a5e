// Package fhirpath is the FHIRPath engine (FHIRPath N1 with the additions of
// FHIR R4): it compiles an expression to Go closures and evaluates them over
// the raw tree of a resource, without maps and without decoding.
//
// It knows the FHIRPath language and the JSON form of FHIR elements. It must
// not know the element tables (a Model answers those), any resource type by
// name, search parameters, profiles, terminology or any store.
package fhirpath

import (
	"time"

	"candela/fhir"
	"candela/fhir/fhirpath/syntax"
	"candela/fhir/fhirpath/system"
)

// Model answers what the engine must know of the FHIR types.
type Model interface {
	// Child gives the JSON members that element name of type typ may stand in,
	// with their FHIR types side by side. A choice has many (value:
	// valueQuantity Quantity, valueString string …), any other element one.
	// Nested backbone elements are types named by their path
	// ("Observation.component"); content references are resolved.
	Child(typ, name string) (members, types []string, ok bool)
	// Children gives the element names of typ in order, inherited ones
	// included; a choice is named without its [x].
	Children(typ string) []string
	// IsA says whether typ is base or is derived from it.
	IsA(typ, base string) bool
}

// Item is one member of a FHIRPath collection: an element of a resource or a
// computed value.
type Item struct {
	// Type is the FHIR type name ("CodeableConcept", "code",
	// "Observation.component"), or "System.Boolean", "System.String" … for
	// computed values.
	Type string
	// Node is the JSON value; Missing for computed values, for primitives that
	// have extensions only, and for references that were resolved by type only.
	Node fhir.Node
	// Extra is the object beside a primitive (`_name`) with its id and
	// extensions, when there.
	Extra fhir.Node

	val *system.Value
}

// Root is the item of a whole resource.
func Root(r fhir.Resource) Item { return Item{Type: r.Type(), Node: r.Root()} }

// Env is what an evaluation may look at besides its focus. The zero Env is
// good for most expressions.
type Env struct {
	// Resource is %resource; the focus when left out.
	Resource Item
	// Root is %rootResource, the container of a contained resource; Resource
	// when left out.
	Root Item
	// Resolve fetches a literal reference for resolve(). When nil, resolve()
	// never fetches: it looks into contained resources, else gives an item that
	// knows only its type, read from the reference's text or its type element.
	Resolve func(reference string) (Item, bool)
	// Now is the time of now(), today() and timeOfDay(); the wall clock when zero.
	Now time.Time
	// Vars are further %variables.
	Vars map[string][]Item
	// Trace gets what trace() sees; nil drops it.
	Trace func(name string, items []Item)
	// ConformsTo answers conformsTo() for a profile's URL; nil: only base
	// definitions are known.
	ConformsTo func(item Item, profile string) (bool, error)
	// MemberOf answers memberOf() for a value set's URL; nil: memberOf() is an
	// evaluation error.
	MemberOf func(item Item, valueSet string) (bool, error)
	// Budget bounds the work: about so many comparisons of two items, a new item
	// counting as 8 and 16 bytes of text as 1. 0 is 10 million, less than a
	// second. An evaluation that needs more ends with an error of code too-costly.
	Budget int
	// Buffer is working memory kept from one evaluation to the next; nil: a
	// new one. A Buffer must not be used by two evaluations at a time.
	Buffer *Buffer
}

// Expr is a compiled expression, safe for concurrent use.
type Expr struct {
	text  string
	model Model
	run   evaluator
}

// Compile reads an expression that will be evaluated on items of type root (a
// FHIR type; "" or an abstract one when it may be any). Branches that can't
// match root ("Patient.name | Practitioner.name" on Patient) cost nothing.
// Errors are *fhir.Error with status 400 that give the position: syntax,
// unknown functions (code not-supported), unknown types and elements.
func Compile(expression, root string, model Model) (*Expr, error) {
	return build(&compiler{model: model, root: root, text: expression})
}

// CompileStrict is Compile that also refuses what the specification calls
// wrong and published R4 expressions do nevertheless: a leading type that is not
// root, as() over many items, order-dependent functions on unordered input, and
// conditions that can't be boolean.
func CompileStrict(expression, root string, model Model) (*Expr, error) {
	return build(&compiler{model: model, root: root, text: expression, strict: true})
}

func build(c *compiler) (*Expr, error) {
	tree, err := syntax.Parse(c.text)
	if err != nil {
		return nil, err
	}
	out, err := c.expr(tree, c.rootTypes())
	if err != nil {
		return nil, err
	}
	return &Expr{text: c.text, model: c.model, run: out.evaluator()}, nil
}

// String is the expression as it was written.
func (e *Expr) String() string { return e.text }

// Eval evaluates the expression on focus. Errors are *fhir.Error with status 422.
func (e *Expr) Eval(env Env, focus Item) ([]Item, error) {
	return e.Append(nil, env, focus)
}

// Append is Eval that appends its result to dst.
func (e *Expr) Append(dst []Item, env Env, focus Item) ([]Item, error) {
	buf := env.Buffer
	if buf == nil {
		buf = new(Buffer)
	}
	r := &buf.run
	r.buf, r.env, r.model, r.focus, r.spent, r.limit = buf, env, e.model, focus, 0, env.Budget
	if r.limit <= 0 {
		r.limit = defaultBudget
	}
	out, err := e.run(r, &r.focus, dst)
	if err == nil {
		err = r.over()
	}
	r.env, r.focus, r.total = Env{}, Item{}, nil
	return out, err
}
