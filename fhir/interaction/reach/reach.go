// Package reach says what the rules of a caller mean: the condition that stored
// resources must meet to be seen or changed, what a query may ask, what a request
// needs before anything is looked at, and what nobody changes without leave.
//
// It knows rules, ownership of types and search parameters. It must not hold a
// store: what it needs of other resources it asks through a function it is given.
package reach

import (
	"fmt"
	"slices"
	"strings"

	"candela/fhir"
	"candela/fhir/r4"
	"candela/fhir/search"
	"candela/store"
)

// The letters of rules; Label is the leave to change security labels, owner's
// tags and whose a resource is.
const (
	Create = "c"
	Read   = "r"
	Update = "u"
	Delete = "d"
	Search = "s"
	Label  = "l"
	// See is one of those that show a resource.
	See = Read + Search
)

// ErrForbidden is the one refusal of rules: the same whether there is data or not.
var ErrForbidden = fhir.Errorf(403, fhir.CodeForbidden, "you may not do this with this resource type")

// Laws are what rules are read by. Safe for concurrent use.
type Laws struct {
	search *search.Registry
	spec   *r4.Spec
	owner  []string // systems of tags that name an owner
}

// New reads rules by the parameters of a registry. ownerTags are the systems of
// tags that say whose a resource is (a tenant).
func New(registry *search.Registry, ownerTags ...string) (*Laws, error) {
	spec, err := r4.Load()
	if err != nil {
		return nil, fmt.Errorf("reach: %w", err)
	}
	return &Laws{search: registry, spec: spec, owner: ownerTags}, nil
}

// View is what one caller may see and do.
type View struct {
	*Laws
	access fhir.Access
	deny   fhir.Access // taken away from access
}

// Of is the view of a caller.
func (l *Laws) Of(c fhir.Caller) View { return View{l, c.Access, c.Deny} }

// Open says whether a letter is allowed on everything there is.
func (v View) Open(letters string) bool {
	limit, err := v.Limit("*", letters)
	return err == nil && limit == nil
}

// Limit is the one place where rules narrow: the condition that resources of
// typ must meet for one of the letters, nil when all of them are in reach.
// Without a rule it is ErrForbidden. Nobody from whom anything is withheld
// reaches all types ("*") at once.
func (v View) Limit(typ, letters string) (store.Expr, error) {
	if typ == "*" && len(v.deny) > 0 {
		return nil, ErrForbidden
	}
	allowed, err := v.allowed(typ, letters)
	if err != nil {
		return nil, err
	}
	var all store.And
	if allowed != nil {
		all = append(all, allowed)
	}
	if through := v.through(typ, letters); through != nil {
		all = append(all, through)
	}
	if all, err = v.withheld(typ, all); err != nil {
		return nil, err
	}
	switch len(all) {
	case 0:
		return nil, nil
	case 1:
		return all[0], nil
	}
	return all, nil
}

// withheld adds that a resource is none of those that are taken away. What
// cannot be read takes all away.
func (v View) withheld(typ string, all store.And) (store.And, error) {
	for i := range v.deny {
		rule := &v.deny[i]
		if !on(rule, typ) {
			continue
		}
		if bare(rule) {
			return nil, ErrForbidden
		}
		x, err := v.condition(typ, rule)
		if err != nil {
			return nil, ErrForbidden
		}
		all = append(all, store.Not{Of: x})
	}
	return all, nil
}

// allowed is what the rules of access reach. A rule that cannot be read for a
// type grants nothing there.
func (v View) allowed(typ, letters string) (store.Expr, error) {
	var union store.Or
	for i := range v.access {
		rule := &v.access[i]
		if !on(rule, typ) || !strings.ContainsAny(rule.Letters, letters) {
			continue
		}
		if bare(rule) {
			return nil, nil
		}
		if x, err := v.condition(typ, rule); err == nil {
			union = append(union, x)
		}
	}
	switch len(union) {
	case 0:
		return nil, ErrForbidden
	case 1:
		return union[0], nil
	}
	return union, nil
}

func bare(rule *fhir.Rule) bool {
	return rule.Compartment == (fhir.Reference{}) && rule.Filter == ""
}

// condition is a narrowed rule as an expression over the type's entries.
func (v View) condition(typ string, rule *fhir.Rule) (store.Expr, error) {
	var inside store.Expr
	if rule.Compartment != (fhir.Reference{}) {
		inside = v.compartment(rule.Compartment, typ)
	}
	if rule.Filter == "" {
		return inside, nil
	}
	filter, err := v.filter(typ, rule.Filter)
	if err != nil || inside == nil {
		return filter, err
	}
	return store.And{inside, filter}, nil
}

// compartment is the condition that a resource of typ lies in a compartment, by
// the table of ownership where it is a patient's.
func (v View) compartment(owner fhir.Reference, typ string) store.Expr {
	if owner.Type != "Patient" {
		return v.search.Compartment(owner, typ)
	}
	is := store.Cond{How: store.Is, Space: owner.Type, Name: owner.ID}
	union := store.Or{}
	if typ == owner.Type {
		union = append(union, store.Test{Param: store.ParamID, Cond: is})
	}
	own, _ := v.spec.Ownership(typ)
	switch own.Belonging {
	case r4.Owned:
		for _, code := range own.Params {
			if p, ok := v.search.Param(typ, code); ok && p.Type == search.Reference {
				union = append(union, store.Test{Param: code, Role: p.Role, Cond: is})
			}
		}
	case r4.Through: // whose it is the view adds; what hangs on nothing is nobody's
		return store.Test{Param: own.Params[0], Cond: store.Cond{How: store.Present}}
	default:
	}
	if len(union) == 1 {
		return union[0]
	}
	return union
}

// special are parameters about all types that a filter may have; others that
// begin with an underscore look into other resources or search texts.
var special = [...]string{"_id", "_lastUpdated", "_profile", "_security", "_source", "_tag"}

// filter reads the search parameters of a rule. A part that would filter nothing
// is a mistake, not a grant.
func (v View) filter(typ, text string) (store.Expr, error) {
	params, err := fhir.ParseParams(text)
	if err != nil {
		return nil, err
	}
	for _, p := range params {
		name, _, _ := strings.Cut(p.Name, ":")
		if p.Value == "" || strings.HasPrefix(name, "_") && !slices.Contains(special[:], name) {
			return nil, ErrForbidden
		}
	}
	found, err := v.search.Parse([]string{typ}, params, search.Options{Strict: true})
	if err != nil || found.Query.Where == nil || len(found.Warnings) > 0 {
		return nil, ErrForbidden
	}
	return found.Query.Where, nil
}

// through is the condition on types that belong where something else belongs:
// that is in view. Whoever may do everything needs none.
func (v View) through(typ, letters string) store.Expr {
	own, _ := v.spec.Ownership(typ)
	if own.Belonging != r4.Through || v.Open(letters) {
		return nil
	}
	param := own.Params[0]
	union := store.Or{store.Not{Of: store.Test{Param: param, Cond: store.Cond{How: store.Present}}}}
	for _, to := range v.spec.Resources() {
		if next, _ := v.spec.Ownership(to); next.Belonging == r4.Through {
			continue
		}
		switch limit, err := v.Limit(to, See); {
		case err != nil:
		case limit == nil:
			union = append(union, store.Test{Param: param, Cond: store.Cond{How: store.Within, Space: to}})
		default:
			union = append(union, store.Via{Param: param, Type: to, Of: limit})
		}
	}
	return union
}

func on(rule *fhir.Rule, typ string) bool { return rule.Type == "*" || rule.Type == typ }
