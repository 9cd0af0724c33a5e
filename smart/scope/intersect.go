package scope

import "candela/fhir"

// Intersect is the access that both a and policy allow: the union of what each
// pair of their rules has in common. Of two rules the letters are those in both,
// the filters must both hold, and a compartment of one narrows the other; two
// different compartments have nothing in common, although a resource may lie in
// both. So the result may be smaller than the true intersection and is never
// larger.
func Intersect(a, policy fhir.Access) fhir.Access { return merge(cut(a, policy)) }

func cut(a, policy fhir.Access) fhir.Access {
	var out fhir.Access
	if len(policy) > 0 {
		out = make(fhir.Access, 0, len(a))
	}
	for i := range a {
		for j := range policy {
			if r, ok := pair(&a[i], &policy[j]); ok {
				out = append(out, r)
			}
		}
	}
	return out
}

func pair(a, b *fhir.Rule) (r fhir.Rule, ok bool) {
	if a.Type != b.Type && a.Type != Any && b.Type != Any {
		return r, false
	}
	r = *a
	if a.Type == Any {
		r.Type = b.Type
	}
	if b.Compartment != (fhir.Reference{}) {
		if a.Compartment != (fhir.Reference{}) && a.Compartment != b.Compartment {
			return fhir.Rule{}, false
		}
		r.Compartment = b.Compartment
	}
	r.Letters = common(a.Letters, b.Letters)
	r.Filter = both(a.Filter, b.Filter)
	return r, r.Letters != ""
}

// few rules are compared one by one, which is faster than hashing them.
const few = 64

// merge joins rules that differ in their letters only, in place and in order.
func merge(rules fhir.Access) fhir.Access {
	var at map[fhir.Rule]int
	if len(rules) > few {
		at = make(map[fhir.Rule]int, len(rules))
	}
	out := rules[:0]
	for i := range rules {
		r := rules[i]
		if have := find(out, at, &r); have >= 0 {
			out[have].Letters = either(out[have].Letters, r.Letters)
			continue
		}
		out = append(out, r)
	}
	return out
}

// find is the place of the rule in out that is like r but for its letters, -1
// for none. With an index it notes r as the next one of out.
func find(out fhir.Access, at map[fhir.Rule]int, r *fhir.Rule) int {
	if at == nil {
		for i := range out {
			if o := &out[i]; o.Type == r.Type && o.Filter == r.Filter && o.Compartment == r.Compartment {
				return i
			}
		}
		return -1
	}
	key := *r
	key.Letters = ""
	if i, seen := at[key]; seen {
		return i
	}
	at[key] = len(out)
	return -1
}
