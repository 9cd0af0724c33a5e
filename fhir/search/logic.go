package search

import (
	"errors"
	"slices"
	"strings"

	"candela/fhir"
	"candela/fhir/search/grammar"
	"candela/store"
)

// logic reads _filter. Unknown parameters are errors here, also when unknown
// ones beside a filter are ignored: a condition inside an or or a not cannot be
// left out without turning its sense round.
func (f *filters) logic(types []string, text string) (store.Expr, error) {
	n, err := grammar.Parse(text)
	switch {
	case errors.Is(err, grammar.ErrLimit):
		return nil, fhir.Errorf(400, fhir.CodeTooCostly, "search parameter _filter: %s", err.Error())
	case err != nil:
		return nil, fhir.Errorf(400, fhir.CodeValue, "search parameter _filter: %s", err.Error())
	}
	return f.node(types, n, 0)
}

func (f *filters) node(types []string, n *grammar.Node, depth int) (store.Expr, error) {
	if n.Kind == grammar.Param {
		return f.path(types, n.Path, n, depth)
	}
	parts := make([]store.Expr, 0, len(n.Of))
	for _, of := range n.Of {
		x, err := f.node(types, of, depth)
		if err != nil {
			return nil, err
		}
		parts = append(parts, x)
	}
	switch {
	case n.Kind == grammar.Not:
		return store.Not{Of: parts[0]}, nil
	case len(parts) == 1:
		return parts[0], nil
	case n.Kind == grammar.Or:
		return store.Or(parts), nil
	}
	return store.And(parts), nil
}

// path reads name.name op value: all but the last are references, whose targets
// must also meet what stands in brackets. _has:Type:reference: may go before a
// name, as in parameters.
func (f *filters) path(types []string, path []grammar.Step, n *grammar.Node, depth int) (store.Expr, error) {
	if depth > maxDepth {
		return nil, fhir.Errorf(400, fhir.CodeTooCostly, "chains and _has may be nested %d deep at most", maxDepth)
	}
	step := path[0]
	if rest, ok := strings.CutPrefix(step.Name, "_has:"); ok {
		typ, rest, _ := strings.Cut(rest, ":")
		param, rest, ok := strings.Cut(rest, ":")
		p, known := f.Param(typ, param)
		if !ok || !known || p.Type != Reference {
			return nil, invalid("_filter", "use _has:Type:reference:parameter")
		}
		behind := append([]grammar.Step{{Name: rest, Where: step.Where}}, path[1:]...)
		of, err := f.path([]string{typ}, behind, n, depth+1)
		return store.Has{Type: typ, Param: p.Code, Of: of}, err
	}
	code, typ, typed := strings.Cut(step.Name, ":")
	p, err := f.find(types, code)
	if err != nil {
		return nil, err
	}
	if p == nil {
		return nil, fhir.Errorf(400, fhir.CodeNotSupported, "search parameter _filter: %s is not a parameter here", quoteName(code))
	}
	if len(path) == 1 {
		if typed || step.Where != nil {
			return nil, invalid("_filter", "the last name of a path has no type and no brackets")
		}
		return f.compare(types, p, n)
	}
	if p.Type != Reference || typed && !slices.Contains(p.Targets, typ) {
		return nil, invalid("_filter", "%s is no reference, or not to that type", quoteName(code))
	}
	targets := p.Targets
	if typed {
		targets = []string{typ}
	}
	return f.targets(p, targets, path, n, depth)
}

// targets is the chain to each target type that has the parameters asked for.
func (f *filters) targets(p *Param, targets []string, path []grammar.Step, n *grammar.Node, depth int) (store.Expr, error) {
	var union store.Or
	var refused error
	for _, target := range targets {
		of, err := f.path([]string{target}, path[1:], n, depth+1)
		if where := path[0].Where; err == nil && where != nil {
			var x store.Expr
			x, err = f.node([]string{target}, where, depth+1)
			of = store.And{x, of}
		}
		if err != nil {
			var own *fhir.Error
			if refused = err; errors.As(err, &own) && own.Issues[0].Code == fhir.CodeNotSupported {
				continue // another target may have the parameter
			}
			return nil, err
		}
		union = append(union, along(p, target, of)...)
	}
	if len(union) == 0 {
		return nil, refused
	}
	return union, nil
}

// compare reads op value of one parameter by the table of operations.
func (f *filters) compare(types []string, p *Param, n *grammar.Node) (store.Expr, error) {
	ranged := p.Type == Date || p.Type == Number || p.Type == Quantity
	switch op := n.Op; op {
	case "pr":
		x, err := f.missing(p, p.Code, n.Value)
		return store.Not{Of: x}, err
	case "eq":
		if p.Type == String && !p.phonetic {
			return f.worded(p, store.Whole, n.Value)
		}
		return f.test(types, p, p.Code, "", exactly(ranged, op, n.Value))
	case "ne":
		if ranged {
			return f.test(types, p, p.Code, "", exactly(ranged, op, n.Value))
		}
		equal := *n
		equal.Op = "eq"
		x, err := f.compare(types, p, &equal)
		return store.And{store.Test{Param: p.Code, Cond: store.Cond{How: store.Present}}, store.Not{Of: x}}, err
	case "co", "sw", "ew":
		if p.Type == String && !p.phonetic {
			return f.worded(p, map[string]store.How{"co": store.Contains, "sw": store.Leads, "ew": store.Ends}[op], n.Value)
		}
	case "gt", "lt", "ge", "le", "ap", "sa", "eb":
		if ranged {
			return f.test(types, p, p.Code, "", exactly(ranged, op, n.Value))
		}
	case "po":
		if p.Type == Date {
			return f.overlaps(types, p, n.Value)
		}
	case "re":
		if p.Type == Reference {
			return f.test(types, p, p.Code, "", exactly(false, op, n.Value))
		}
	case "ss", "sb", "in", "ni":
		return nil, fhir.Errorf(400, fhir.CodeNotSupported, "search parameter _filter: %s needs terminology and is not supported", op)
	default:
		return nil, invalid("_filter", "unknown operation; use eq, ne, co, sw, ew, gt, lt, ge, le, ap, sa, eb, pr, po or re")
	}
	return nil, invalid("_filter", "%s cannot stand behind %s, a %s", n.Op, quoteName(p.Code), p.Type)
}

// exactly is a value of a filter as a parameter value: one alternative, whatever
// commas it has.
func exactly(ranged bool, op, value string) string {
	value = strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace(value)
	if ranged {
		return op + value
	}
	return value
}

func (f *filters) worded(p *Param, how store.How, value string) (store.Expr, error) {
	conds, err := textConds(how, p.Code, value)
	if err != nil {
		return nil, err
	}
	f.tests++
	return store.Test{Param: p.Code, Cond: conds[0]}, nil
}

// overlaps is ap without the margin.
func (f *filters) overlaps(types []string, p *Param, value string) (store.Expr, error) {
	conds, err := f.dateConds(p.Code, value)
	if err != nil {
		return nil, err
	}
	if conds[0].How != store.Inside {
		return nil, invalid(p.Code, "no prefix may stand in a date of a filter")
	}
	conds[0].How = store.Overlaps
	f.tests++
	return store.Test{Param: p.Code, Role: roleOf(types, p, p.Code, ""), Cond: conds[0]}, nil
}
