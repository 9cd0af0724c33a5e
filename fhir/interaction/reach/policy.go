package reach

import (
	"strings"

	"candela/fhir"
)

// policy is what an interaction needs before anything is looked at.
type policy struct {
	does    fhir.Interaction
	letters string // each is needed on the type of the URL
	// criteria are needed as well where the URL, or If-None-Exist, has criteria.
	criteria string
	open     bool // everybody may
	each     bool // what stands inside is judged one by one
	named    bool // an operation: it has a row of its own
}

// policies has a row for every interaction. What stands in no row is refused.
var policies = [...]policy{
	{does: fhir.Read, letters: Read},
	{does: fhir.VRead, letters: Read},
	{does: fhir.HistoryInstance, letters: Read},
	{does: fhir.HistoryType, letters: Search},
	{does: fhir.HistorySystem, letters: Search},
	{does: fhir.SearchType, letters: Search},
	{does: fhir.SearchSystem, letters: Search},
	{does: fhir.SearchCompart, letters: Search},
	{does: fhir.Create, letters: Create, criteria: Search},
	{does: fhir.Update, letters: Update, criteria: Search},
	{does: fhir.Patch, letters: Update, criteria: Search},
	{does: fhir.Delete, letters: Delete, criteria: Search},
	{does: fhir.Batch, each: true},
	{does: fhir.Capabilities, open: true},
	{does: fhir.Operation, named: true},
}

// needs are what a request needs of its caller.
type needs struct {
	name    string // of an operation
	letters string // each is needed on the type of the URL
	// whole operations are for callers to whom all resources of that type are in
	// reach: what they answer tells of resources that they do not show.
	whole bool
}

// operations has a row for every operation. What stands in no row is for those
// only who may do everything.
var operations = [...]needs{
	{name: "disclosures", letters: Read},
	{name: "docref", letters: Search},
	{name: "erase", letters: Delete, whole: true},
	{name: "everything", letters: Read + Search},
	{name: "lastn", letters: Search},
	{name: "match", letters: Search, whole: true},
	{name: "meta", letters: See},
	{name: "meta-add", letters: Read + Update},
	{name: "meta-delete", letters: Read + Update},
	{name: "stats", letters: Search},
	{name: "status", letters: Read},
}

// Known says whether a policy has been given to an operation.
func Known(operation string) bool { return needsOf(operation).letters != "" }

func needsOf(operation string) needs {
	for _, one := range operations {
		if one.name == operation {
			return one
		}
	}
	return needs{}
}

// Permit refuses a request that no rule of the caller speaks for, before any data
// is touched.
func (v View) Permit(r fhir.Request) error {
	for i := range policies {
		p := &policies[i]
		if p.does != r.Interaction {
			continue
		}
		switch {
		case p.open:
			return nil
		case p.each && len(v.access) > 0:
			return nil
		case p.each:
			return ErrForbidden
		case p.named:
			return v.operation(r)
		}
		return v.has(r.Type, needs{letters: p.letters + p.also(r)})
	}
	return ErrForbidden
}

func (v View) operation(r fhir.Request) error {
	n := needsOf(r.Operation)
	if n.letters == "" && v.Open(Create) && v.Open(Read) && v.Open(Update) && v.Open(Delete) && v.Open(Search) {
		return nil
	}
	return v.has(r.Type, n)
}

func (p *policy) also(r fhir.Request) string {
	conditional := r.ID == ""
	if r.Interaction == fhir.Create {
		conditional = r.IfNoneExist != ""
	}
	if !conditional || p.criteria == "" {
		return ""
	}
	return p.criteria
}

// has says whether each letter is allowed on the type, or where a request names
// none, on some type: which ones it then reaches is seen when it asks for them.
func (v View) has(typ string, n needs) error {
	if n.letters == "" {
		return ErrForbidden
	}
	for _, letter := range n.letters {
		if typ == "" || typ == "*" {
			if !v.somewhere(string(letter)) {
				return ErrForbidden
			}
			continue
		}
		if !n.whole && v.plain(typ, letter) {
			continue
		}
		limit, err := v.Limit(typ, string(letter))
		if err != nil {
			return err
		}
		if limit != nil && n.whole {
			return errWhole
		}
	}
	return nil
}

var errWhole = fhir.Errorf(403, fhir.CodeForbidden, "this operation is for callers to whom all resources of the type are in reach")

// plain says that a rule allows the letter on a type and nothing is withheld,
// which needs no look at what limits it.
func (v View) plain(typ string, letter rune) bool {
	if len(v.deny) > 0 {
		return false
	}
	for i := range v.access {
		if rule := &v.access[i]; rule.Filter == "" && on(rule, typ) && strings.ContainsRune(rule.Letters, letter) {
			return true
		}
	}
	return false
}

// somewhere says whether the letter is allowed on any type at all.
func (v View) somewhere(letter string) bool {
	if v.Open(letter) {
		return true
	}
	for _, typ := range v.spec.Resources() {
		if _, err := v.Limit(typ, letter); err == nil {
			return true
		}
	}
	return false
}
