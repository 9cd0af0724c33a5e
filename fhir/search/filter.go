package search

import (
	"slices"
	"strings"

	"candela/fhir"
	"candela/store"
)

// Limits of one search (security requirement R43).
const (
	maxDepth = 3     // chains and _has inside each other
	maxOr    = 100   // comma-separated values of one parameter
	maxTests = 4_000 // tests of a whole search, after ids were spread over target types
)

// filters turns name=value pairs into expressions.
type filters struct {
	reader
	tests int
	half  []*Param // used, but not indexed for all resources yet
}

// filter gives the expression of one parameter on types (none: all). known is
// false when no such parameter exists there.
func (f *filters) filter(types []string, name, value string, depth int) (x store.Expr, known bool, err error) {
	if depth > maxDepth {
		return nil, true, fhir.Errorf(400, fhir.CodeTooCostly, "chains and _has may be nested %d deep at most", maxDepth)
	}
	if rest, ok := strings.CutPrefix(name, "_has:"); ok {
		return f.has(types, rest, value, depth)
	}
	if head, rest, ok := strings.Cut(name, "."); ok {
		return f.chain(types, head, rest, value, depth)
	}
	code, modifier, modified := strings.Cut(name, ":")
	p, err := f.find(types, code)
	if p == nil || err != nil {
		return nil, p != nil || err != nil, err
	}
	if modified && modifier == "" {
		return nil, true, invalid(name, "the modifier behind the colon is missing")
	}
	x, err = f.test(types, p, name, modifier, value)
	return x, true, err
}

// find gives the parameter that code means on all of types. nil without an
// error is an unknown parameter.
func (f *filters) find(types []string, code string) (*Param, error) {
	if len(types) == 0 {
		if p, ok := f.common().byCode[code]; ok {
			return f.noted(p), nil
		}
		if f.known(code) {
			return nil, invalid(code, "not common to all types; name the types with _type")
		}
		return nil, nil
	}
	var found *Param
	missing := ""
	for _, typ := range types {
		p, ok := f.Param(typ, code)
		switch {
		case !ok:
			missing = typ
		case found != nil && found.Type != p.Type:
			return nil, invalid(code, "means a %s on %s and a %s on %s; search the types one by one", found.Type, found.On, p.Type, p.On)
		default:
			found = p
		}
	}
	if found != nil && missing != "" {
		return nil, invalid(code, "not a parameter of %s; search the types one by one", missing)
	}
	return found, nil
}

// chain reads head.rest: the resources that head points to must meet rest.
func (f *filters) chain(types []string, head, rest, value string, depth int) (store.Expr, bool, error) {
	code, typ, typed := strings.Cut(head, ":")
	p, err := f.find(types, code)
	if p == nil || err != nil {
		return nil, err != nil, err
	}
	if p.Type != Reference {
		return nil, true, invalid(head, "only reference parameters can be chained")
	}
	targets := p.Targets
	if typed {
		if !slices.Contains(targets, typ) {
			return nil, true, invalid(head, "does not point to that type")
		}
		targets = []string{typ}
	}
	var union store.Or
	for _, target := range targets {
		of, known, err := f.filter([]string{target}, rest, value, depth+1)
		if err != nil {
			return nil, true, err
		}
		if known && of != nil {
			union = append(union, along(p, target, of)...)
		}
	}
	return union, len(union) > 0, nil
}

// has reads Type:param:rest: some resource of Type that points here by param
// must meet rest.
func (f *filters) has(types []string, text, value string, depth int) (store.Expr, bool, error) {
	parts := strings.SplitN(text, ":", 3)
	if len(parts) < 3 {
		return nil, true, invalid("_has", "use _has:Type:reference:parameter=value")
	}
	p, ok := f.Param(parts[0], parts[1])
	if !ok || p.Type != Reference {
		return nil, true, invalid("_has:"+text, "that type has no such reference parameter")
	}
	if !slices.ContainsFunc(types, func(t string) bool { return slices.Contains(p.Targets, t) }) && len(types) > 0 {
		return nil, true, invalid("_has:"+text, "that reference does not point to the type searched for")
	}
	of, known, err := f.filter([]string{parts[0]}, parts[2], value, depth+1)
	if err != nil || !known {
		return nil, known, err
	}
	return store.Has{Type: parts[0], Param: p.Code, Of: of}, true, nil
}

// list reads the ids of Lists: their items, but those that they mark as deleted.
func (f *filters) list(_ []string, value string) (store.Expr, error) {
	ids := strings.Split(value, ",")
	if len(ids) > maxOr {
		return nil, fhir.Errorf(400, fhir.CodeTooCostly, "search parameter _list has more than %d values", maxOr)
	}
	var union store.Or
	for _, id := range ids {
		id = strings.TrimPrefix(id, "List/")
		if !fhir.ValidID(id) {
			return nil, invalid("_list", "ids of List resources, joined by commas; functional lists ($current-…) are not supported")
		}
		of := store.Test{Param: store.ParamID, Cond: store.Cond{How: store.Is, Space: "List", Name: id}}
		f.tests++
		union = append(union, store.And{
			store.Has{Type: "List", Param: listed, Of: of},
			store.Not{Of: store.Has{Type: "List", Param: struck, Of: of}},
		})
	}
	if len(union) == 1 {
		return union[0], nil
	}
	return union, nil
}

// test gives the expression of a parameter that stands at the end of its name.
func (f *filters) test(types []string, p *Param, name, modifier, value string) (store.Expr, error) {
	if !checkEscapes(value) {
		return nil, invalid(name, `a backslash must be followed by one of , $ | \`)
	}
	if modifier == "missing" && p.Type != Composite {
		return f.missing(p, name, value)
	}
	values := slices.DeleteFunc(split(value, ','), func(v string) bool { return v == "" })
	if len(values) > maxOr {
		return nil, fhir.Errorf(400, fhir.CodeTooCostly, "search parameter %s has %d values; the limit is %d", quoteName(name), len(values), maxOr)
	}
	if len(values) == 0 {
		return nil, invalid(name, "the value is empty")
	}
	var union store.Or
	for _, v := range values {
		x, special, err := f.special(p, name, modifier, v)
		if err != nil {
			return nil, err
		}
		if special {
			union = append(union, x)
			continue
		}
		param, conds, err := f.modified(types, p, name, modifier, v)
		if err != nil {
			return nil, err
		}
		for _, c := range conds {
			union = append(union, store.Test{Param: param, Role: testRole(types, p, param, c.Space), Cond: c, Implied: implied(types, p, &c)})
		}
	}
	if f.tests += len(union); f.tests > maxTests {
		return nil, fhir.Errorf(400, fhir.CodeTooCostly, "the search has too many alternatives; name the types of the references")
	}
	var x store.Expr = union
	if len(union) == 1 {
		x = union[0]
	}
	if modifier == "not" {
		return store.Not{Of: x}, nil
	}
	return x, nil
}

// special reads the values that are more than a condition on one entry.
func (f *filters) special(p *Param, name, modifier, value string) (x store.Expr, special bool, err error) {
	switch {
	case p.Type == Reference && (modifier == "below" || modifier == "above"):
		x, err = f.hierarchy(p, name, modifier, unescape(value))
	case p.phonetic && modifier == "":
		x, err = alike(p, name, unescape(value))
	case p.phonetic:
		err = unsupported(p, modifier)
	default:
		return nil, false, nil
	}
	return x, true, err
}

// roleOf is the role of p's entries named param with a value in space, where one
// type is searched; over several types the roles may differ. The entries that
// :identifier and :of-type look at play none.
func roleOf(types []string, p *Param, param, space string) store.Role {
	if len(types) != 1 || param != p.Code {
		return 0
	}
	return p.roleIn(space)
}

// testRole is roleOf, and that the value names the resource that is meant.
func testRole(types []string, p *Param, param, space string) store.Role {
	role := roleOf(types, p, param, space)
	if p.identity && (param == p.Code || param == p.ofType) {
		role |= store.Identity
	}
	return role
}

func (f *filters) missing(p *Param, name, value string) (store.Expr, error) {
	if value != "true" && value != "false" {
		return nil, invalid(name, "the value is true or false")
	}
	var present store.Expr = store.Test{Param: p.Code, Cond: store.Cond{How: store.Present}}
	if p.Type == Reference {
		present = store.Or{present, store.Test{Param: p.identifier, Cond: store.Cond{How: store.Present}}}
	}
	if supplied(p.Code) {
		present = store.And{}
	}
	f.tests++
	if value == "true" {
		return store.Not{Of: present}, nil
	}
	return present, nil
}

// modified reads one value under a modifier and says which entries it asks.
func (f *filters) modified(types []string, p *Param, name, modifier, value string) (param string, conds []store.Cond, err error) {
	param = p.Code
	switch {
	case p.Code == "_id" && (modifier == "" || modifier == "not"):
		return param, []store.Cond{idCond(types, unescape(value))}, nil
	case modifier == "" || modifier == "not" && p.Type == Token:
		conds, err = f.conds(p, name, value)
	case p.Code == "_id":
		err = unsupported(p, modifier)
	case p.Type == Token && modifier == "of-type":
		return f.ofType(p, name, value)
	case p.Type == Token && modifier == "text":
		conds, err = textConds(store.Starts, name, unescape(value))
	case p.Type == Reference && modifier == "identifier":
		param = p.identifier
		conds, err = f.tokenConds(identifierParam(), name, value)
	case p.Type == Reference && slices.Contains(p.Targets, modifier):
		conds, err = f.typedLink(p, name, modifier, unescape(value))
	default:
		conds, err = f.textual(p, name, modifier, unescape(value))
	}
	return param, conds, err
}

func unsupported(p *Param, modifier string) *fhir.Error {
	can := "it takes none"
	if m := p.Modifiers(); len(m) > 0 {
		can = "it takes " + strings.Join(m, ", ")
	}
	return fhir.Errorf(400, fhir.CodeNotSupported, "search parameter %s: modifier %s is not supported on a %s; %s", p.Code, quoteName(modifier), p.Type, can)
}
