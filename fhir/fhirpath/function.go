package fhirpath

import (
	"strings"

	"candela/fhir"
	"candela/fhir/fhirpath/syntax"
	"candela/fhir/fhirpath/system"
)

// resultType says how a function's result types follow from its input.
type resultType byte

const (
	givesAny     resultType = iota
	givesInput              // items of the input
	givesArg                // what its first argument gives, item by item
	givesBoth               // input and argument together
	givesBoolean            // and so on
	givesInteger
	givesString
	givesExtension
)

// use says how a function's arguments are evaluated.
type use byte

const (
	onContext use = iota // once, on $this of the surrounding expression
	onItems              // on each item of the input
	asTypes              // not at all: a type specifier
)

// body does a function: in is its input, this the surrounding $this.
type body func(r *run, k *call, this *Item, in, out []Item) ([]Item, error)

// function is one entry of the function families.
type function struct {
	least, most int // arguments
	args        use
	gives       resultType
	ordered     bool // depends on the order of its input
	body        body
}

// call is one compiled invocation.
type call struct {
	name   string
	args   []evaluator
	fixed  []*syntax.Node // string literals among the arguments
	test   *typeTest
	falls  []bool   // sort(): key i falls
	regex  *pattern // matches() and such with a literal
	strict bool
}

// lookup finds a function by name in the families.
func lookup(name string) (function, bool) {
	for _, family := range [...]func(string) (function, bool){
		filtering, existence, subsetting, combining, navigating, typing, texts, encodings, converting, numeric, boundaries, fhirSpecific,
	} {
		if f, ok := family(name); ok {
			return f, true
		}
	}
	return function{}, false
}

// call compiles left.a(…).
func (c *compiler) call(left compiled, a *syntax.Node, ctx typeSet) (compiled, error) {
	f, ok := lookup(a.Text)
	if !ok {
		return compiled{}, c.errorf(a, fhir.CodeNotSupported, "unknown function %s()", a.Text)
	}
	if len(a.Args) < f.least || len(a.Args) > f.most {
		return compiled{}, c.errorf(a, fhir.CodeInvalid, "%s() takes %d to %d arguments, got %d", a.Text, f.least, f.most, len(a.Args))
	}
	if f.ordered && left.unordered && c.strict {
		return compiled{}, c.errorf(a, fhir.CodeInvalid, "%s() needs an ordered collection", a.Text)
	}
	k := &call{name: a.Text, strict: c.strict}
	arg, err := c.arguments(k, f, left, a, ctx)
	if err != nil {
		return compiled{}, err
	}
	if f.args == asTypes && (k.name == "ofType" || !c.strict && k.name == "as") {
		return c.cast(left, k.test), nil
	}
	out := compiled{types: c.resultTypes(f.gives, left.types, arg), base: invoke(left, f.body, k)}
	out.unordered = k.name == "children" || k.name == "descendants" || f.gives == givesInput && left.unordered
	return out, nil
}

// arguments compiles the arguments into k and gives the types of the first or,
// for iif(), of all results.
func (c *compiler) arguments(k *call, f function, left compiled, a *syntax.Node, ctx typeSet) (first typeSet, err error) {
	if f.args == asTypes {
		k.test, err = c.typeTestOf(a.Args[0], a.Text != "is")
		return first, err
	}
	if f.args == onItems {
		ctx = left.types
	}
	for i, arg := range a.Args {
		if k.name == "sort" {
			falls := arg.Shape == syntax.Sign && arg.Text == "-"
			if falls {
				arg = arg.Args[0]
			}
			k.falls = append(k.falls, falls)
		}
		x, err := c.expr(arg, ctx)
		if err != nil {
			return first, err
		}
		if i == 0 {
			first = x.types
			if err := c.firstArgument(k, arg, x); err != nil {
				return first, err
			}
		}
		k.args = append(k.args, x.evaluator())
		if arg.Shape != syntax.String {
			arg = nil
		}
		k.fixed = append(k.fixed, arg)
	}
	return first, nil
}

// firstArgument checks a condition and compiles a literal pattern.
func (c *compiler) firstArgument(k *call, arg *syntax.Node, x compiled) (err error) {
	if arg.Shape == syntax.String && (strings.HasPrefix(k.name, "matches") || k.name == "replaceMatches") {
		if k.regex, err = compilePattern(k.name, arg.Text); err != nil {
			return c.errorf(arg, fhir.CodeInvalid, "not a regular expression of RE2: %s", arg.Text)
		}
	}
	return c.condition(k, arg, x)
}

// condition refuses, when strict, conditions that are known to be no boolean.
func (c *compiler) condition(k *call, arg *syntax.Node, x compiled) error {
	if !c.strict || k.name != "iif" && k.name != "where" && k.name != "all" || !x.types.known || x.types.dead() {
		return nil
	}
	for _, n := range x.types.names {
		if n == "boolean" || n == system.KindBoolean.Name() || open(n) {
			return nil
		}
	}
	return c.errorf(arg, fhir.CodeInvalid, "%s() needs a boolean condition", k.name)
}

func (c *compiler) resultTypes(gives resultType, in, arg typeSet) typeSet {
	switch gives {
	case givesInput:
		return in
	case givesArg:
		return arg
	case givesBoth:
		return in.union(arg)
	case givesBoolean:
		return only(system.KindBoolean.Name())
	case givesInteger:
		return only(system.KindInteger.Name())
	case givesString:
		return only(system.KindString.Name())
	case givesExtension:
		return only("Extension")
	default:
		return typeSet{}
	}
}

// invoke evaluates left, then the function on it.
func invoke(left compiled, do body, k *call) evaluator {
	input := left.evaluator()
	return func(r *run, this *Item, out []Item) ([]Item, error) {
		in, err := input(r, this, r.get())
		if err != nil {
			return out, err
		}
		before := len(out)
		if err = r.charge(1 + len(in)); err != nil {
			return out, err
		}
		out, err = do(r, k, this, in, out)
		r.put(in)
		if err == nil {
			err = r.charge(itemCost * (len(out) - before))
		}
		return out, err
	}
}

// each runs do for every item with $index set, and puts $index back.
func (r *run) each(in []Item, do func(it *Item) error) error {
	was := r.index
	defer func() { r.index = was }()
	for i := range in {
		r.index = i
		if err := r.charge(1); err != nil {
			return err
		}
		if err := do(&in[i]); err != nil {
			return err
		}
	}
	return nil
}

// list evaluates argument i on this; the caller puts the result back.
func (r *run) list(k *call, this *Item, i int) ([]Item, error) {
	return k.args[i](r, this, r.get())
}

// textArg reads argument i as a string; ok is false when it is empty.
func (r *run) textArg(k *call, this *Item, i int) (text string, ok bool, err error) {
	if lit := k.fixed[i]; lit != nil {
		return lit.Text, true, nil
	}
	var v system.Value
	if ok, err = r.one(k.args[i], this, "an argument of "+k.name+"()", &v); err != nil || !ok {
		return "", false, err
	}
	if v.Kind != system.KindString {
		return "", false, system.Errorf("argument %d of %s() must be a string", i+1, k.name)
	}
	return v.Text, true, nil
}

// intArg reads argument i as an integer.
func (r *run) intArg(k *call, this *Item, i int) (n int, ok bool, err error) {
	var v system.Value
	if ok, err = r.one(k.args[i], this, "an argument of "+k.name+"()", &v); err != nil || !ok {
		return 0, false, err
	}
	if v.Kind != system.KindInteger {
		return 0, false, system.Errorf("argument %d of %s() must be an integer", i+1, k.name)
	}
	return int(v.Number), true, nil
}

// has says whether list holds an item equal to it. distinct(), |, in and such
// compare each with each.
func (r *run) has(list []Item, it *Item) bool {
	if r.spent += len(list); r.spent > r.limit {
		return true // Append tells; true keeps collections from growing on
	}
	for i := range list {
		if r.equal(&list[i], it) == yes {
			return true
		}
	}
	return false
}

// appendNew appends it unless out[from:] has it already.
func (r *run) appendNew(out []Item, from int, it *Item) []Item {
	if r.has(out[from:], it) {
		return out
	}
	return append(out, *it)
}
