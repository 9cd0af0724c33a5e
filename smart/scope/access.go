package scope

import "candela/fhir"

// Context is whom a token stands for, and the table of how types lie to a
// patient. A type that neither Member nor Shared knows is out of reach of
// patient/ scopes.
type Context struct {
	Patient fhir.Reference // in context; needed by patient/ scopes
	User    fhir.Reference // the fhirUser; needed by user/ scopes
	Policy  fhir.Access    // what user or client may at most; empty allows nothing, fhir.Full() all

	Types  []string              // all resource types; needed by patient/ wildcards
	Member func(typ string) bool // the type can belong to a patient's compartment
	Shared func(typ string) bool // the type belongs to no patient and may be read by all (Practitioner, Organization …)
}

// Access is what the set allows in a context: the scopes' rules, each cut by the
// policy. patient/ scopes reach the compartment of the patient and, to read,
// shared types. user/ scopes of a person who is no staff (patient, related
// person) never reach beyond compartments that the policy names. openid with
// fhirUser adds the read of the user's own record.
//
// It fails closed with a 403 when a scope lacks its context or system/ scopes
// are mixed with others (*fhir.Error).
func (s Set) Access(c Context) (fhir.Access, error) {
	if err := s.check(c); err != nil {
		return nil, err
	}
	chart := make(fhir.Access, 0, len(s)+1)
	var role fhir.Access
	for _, one := range s {
		switch one.Level {
		case Patient:
			chart = c.chart(chart, one)
		case User, System:
			role = append(role, fhir.Rule{Type: one.Type, Letters: one.Letters, Filter: one.Filter})
		}
	}
	chart, role = cut(chart, c.Policy), cut(role, c.Policy)
	if personal(c.User.Type) {
		role = c.confine(role)
	}
	out := append(chart, role...)
	if person(c.User.Type) && own(c.User) && s.Has("openid") && s.Has("fhirUser") {
		out = append(out, fhir.Rule{Type: c.User.Type, Letters: "r", Filter: "_id=" + c.User.ID})
	}
	return merge(out), nil
}

// check refuses what has no meaning in the context.
func (s Set) check(c Context) error {
	levels := s.Levels()
	for _, level := range levels {
		switch {
		case level == System && len(levels) > 1:
			return forbidden("the token mixes system/ scopes with those of a user")
		case level == Patient && (c.Patient.Type != "Patient" || !own(c.Patient)):
			return forbidden("the token has patient/ scopes and no patient in context")
		case level == User && (!person(c.User.Type) || !fhir.ValidID(c.User.ID)):
			return forbidden("the token has user/ scopes and no user that is a resource")
		}
	}
	return nil
}

func forbidden(reason string) error { return fhir.Errorf(403, fhir.CodeForbidden, "%s", reason) }

// chart adds the rules of a patient/ scope. A wildcard becomes a rule for each
// type, so that no type is reached by being forgotten.
func (c Context) chart(rules fhir.Access, one Scope) fhir.Access {
	if one.Type != Any {
		return c.chartType(rules, one.Type, one)
	}
	for _, typ := range c.Types {
		rules = c.chartType(rules, typ, one)
	}
	return rules
}

func (c Context) chartType(rules fhir.Access, typ string, one Scope) fhir.Access {
	if c.Member != nil && c.Member(typ) {
		return append(rules, fhir.Rule{Type: typ, Letters: one.Letters, Compartment: c.Patient, Filter: one.Filter})
	}
	if letters := common(one.Letters, readOnly); letters != "" && c.shared(typ) {
		return append(rules, fhir.Rule{Type: typ, Letters: letters, Filter: one.Filter})
	}
	return rules
}

func (c Context) shared(typ string) bool { return c.Shared != nil && c.Shared(typ) }

// confine keeps the rules that lie in a compartment, and the reading of shared types.
func (c Context) confine(rules fhir.Access) fhir.Access {
	out := rules[:0]
	for _, r := range rules {
		if r.Compartment == (fhir.Reference{}) {
			if r.Letters = common(r.Letters, readOnly); r.Letters == "" || !c.shared(r.Type) {
				continue
			}
		}
		out = append(out, r)
	}
	return out
}

// person says whether a type can be a fhirUser; personal, whether such a user
// has no role at the site that would open other people's records.
func person(typ string) bool {
	return typ == "Practitioner" || typ == "PractitionerRole" || personal(typ)
}

func personal(typ string) bool {
	return typ == "Patient" || typ == "RelatedPerson" || typ == "Person"
}

// Chart is all that a context's patient may do with their own record: their
// compartment, and shared types to read. Union it over the patients of an
// account to make the policy of a patient or proxy.
func Chart(c Context) (fhir.Access, error) {
	c.Policy = fhir.Full()
	return Set{{Level: Patient, Type: Any, Letters: all, Text: "patient/*.cruds"}}.Access(c)
}
