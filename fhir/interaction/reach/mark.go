package reach

import (
	"slices"
	"strings"

	"candela/fhir"
	"candela/fhir/r4"
	"candela/store"
)

// errMarks is the refusal of R33: it says nothing of what would have changed.
var errMarks = fhir.Errorf(403, fhir.CodeForbidden, "security labels, owner's tags and whose a resource is may not be changed by you")

// State is a resource before or after a write. The zero State is that of what
// does not exist.
type State struct {
	Resource fhir.Resource
	Entries  []store.Entry
}

// MayRelabel says whether the caller may change the marks of resources of a type
// as they like: every rule by which they write has leave to, or one without limits.
func (v View) MayRelabel(typ string) bool {
	leave, without := false, false
	for i := range v.access {
		rule := &v.access[i]
		if !on(rule, typ) {
			continue
		}
		may := strings.Contains(rule.Letters, Label)
		if may && bare(rule) {
			return true
		}
		leave = leave || may
		without = without || !may && strings.ContainsAny(rule.Letters, Create+Update)
	}
	return leave && !without
}

// Keeps refuses a write that changes who may see a resource: its security labels,
// its owner's tags, and what it belongs to by. What is new has no labels, no
// owner's tags but those that the caller's own rules ask for, and, where rules
// hold the caller to compartments, belongs into these alone.
func (v View) Keeps(typ string, before, after State) error {
	if v.MayRelabel(typ) {
		return nil
	}
	fresh := !before.Resource.Exists()
	if !same(labels(before.Resource, "security", nil), labels(after.Resource, "security", nil)) {
		return errMarks
	}
	systems, mine := v.owners()
	tags := labels(after.Resource, "tag", systems)
	belongs := v.belongs(typ, after)
	if !fresh {
		if !same(labels(before.Resource, "tag", systems), tags) || !same(v.belongs(typ, before), belongs) {
			return errMarks
		}
		return nil
	}
	if !within(tags, mine) {
		return errMarks
	}
	if homes, confined := v.homes(typ); confined && !within(belongs, homes) {
		return errMarks
	}
	return nil
}

// labels are the codings of a list in meta, as system|code: all, or those of some
// systems.
func labels(res fhir.Resource, list string, systems []string) []string {
	var out []string
	for one := range res.Root().Path("meta", list).Elements() {
		system := one.Get("system").Text()
		if list == "security" || slices.Contains(systems, system) {
			out = append(out, system+"|"+one.Get("code").Text())
		}
	}
	return sorted(out)
}

// owners are the systems of tags that name owners, and the tags that the
// caller's rules ask for.
func (v View) owners() (systems, mine []string) {
	systems = slices.Clone(v.owner)
	for _, rule := range v.access {
		params, err := fhir.ParseParams(rule.Filter)
		for _, p := range params {
			if err != nil || p.Name != "_tag" {
				continue
			}
			for token := range strings.SplitSeq(p.Value, ",") {
				if system, _, ok := strings.Cut(token, "|"); ok {
					systems, mine = append(systems, system), append(mine, token)
				}
			}
		}
	}
	return systems, mine
}

// belongs names what decides whose a resource is: the patients that its
// parameters of ownership name, or what it hangs on.
func (v View) belongs(typ string, s State) []string {
	own, _ := v.spec.Ownership(typ)
	if own.Belonging != r4.Owned && own.Belonging != r4.Through {
		return nil
	}
	var out []string
	for _, e := range s.Entries {
		if e.Kind == store.Link && slices.Contains(own.Params, e.Param) && (own.Belonging == r4.Through || e.Space == "Patient") {
			out = append(out, e.Space+"/"+e.Name)
		}
	}
	return sorted(out)
}

// homes are the compartments that the caller may create resources of a type in;
// confined is false where some rule has none.
func (v View) homes(typ string) (homes []string, confined bool) {
	if own, _ := v.spec.Ownership(typ); own.Belonging != r4.Owned {
		return nil, false
	}
	for i := range v.access {
		rule := &v.access[i]
		if !on(rule, typ) || !strings.ContainsAny(rule.Letters, Create+Update) {
			continue
		}
		if rule.Compartment == (fhir.Reference{}) {
			return nil, false
		}
		homes = append(homes, rule.Compartment.Type+"/"+rule.Compartment.ID)
	}
	return homes, true
}

func sorted(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

func same(a, b []string) bool { return slices.Equal(a, b) }

func within(some, many []string) bool {
	for _, one := range some {
		if !slices.Contains(many, one) {
			return false
		}
	}
	return true
}
