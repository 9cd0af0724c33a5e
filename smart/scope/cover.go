package scope

import "slices"

// read is a scope with its filter taken apart.
type read struct {
	Scope
	tests []test
}

func readAll(s Set) []read {
	out := make([]read, len(s))
	for i, one := range s {
		out[i] = read{one, decode(one.Filter)}
	}
	return out
}

// reaches says whether a allows, with its letters, all that b is about.
func (a read) reaches(b read) bool {
	return a.Level == b.Level && (a.Type == b.Type || a.Type == Any) && wider(a.tests, b.tests)
}

// covered says whether the scopes of have together allow all that one allows.
// Version 1 and 2 texts of one meaning cover each other.
func covered(have []read, one read) bool {
	if one.Level == "" {
		return slices.ContainsFunc(have, func(h read) bool { return h.Text == one.Text })
	}
	letters := ""
	for _, h := range have {
		if h.reaches(one) {
			letters = either(letters, h.Letters)
		}
	}
	return common(letters, one.Letters) == one.Letters
}

// Covers says whether s grants everything that other grants: a narrower type,
// fewer letters, or more or stricter search parameters are covered by the
// broader scope of the same level.
func (s Set) Covers(other Set) bool {
	_, ok := s.Narrow(other)
	return ok
}

// Narrow gives the scopes of want that s covers, with the texts of want; ok says
// that those are all. A refresh that is not ok asks for more than was granted; a
// consent page grants what comes back. An empty want is an empty set: the caller
// decides what it means to ask for nothing.
func (s Set) Narrow(want Set) (narrow Set, ok bool) {
	have := readAll(s)
	for _, one := range want {
		if s.Has(one.Text) || covered(have, read{one, decode(one.Filter)}) {
			narrow = append(narrow, one)
		}
	}
	return narrow, len(narrow) == len(want)
}

// Meet gives what both s and allowed grant, in the order of s: what a client
// asks for, within what it is registered for. A scope of s that is allowed whole
// keeps its text; one that is allowed in part becomes the scopes of version 2
// that are the common part.
func (s Set) Meet(allowed Set) Set {
	var out Set
	have := readAll(allowed)
	seen := map[string]bool{}
	for _, one := range readAll(s) {
		if covered(have, one) {
			out = add(out, seen, one.Scope)
			continue
		}
		for _, h := range have {
			if part, ok := meet(one, h); ok {
				out = add(out, seen, part)
			}
		}
	}
	return out
}

func add(to Set, seen map[string]bool, one Scope) Set {
	if seen[one.Text] {
		return to
	}
	seen[one.Text] = true
	return append(to, one)
}

func meet(a, b read) (Scope, bool) {
	out := Scope{Level: a.Level, Type: a.Type, Letters: common(a.Letters, b.Letters)}
	if a.Level == "" || a.Level != b.Level || out.Letters == "" {
		return Scope{}, false
	}
	if a.Type == Any {
		out.Type = b.Type
	} else if b.Type != Any && a.Type != b.Type {
		return Scope{}, false
	}
	out.Filter = strict(a, b)
	out.Text = out.print()
	return out, len(decode(out.Filter)) <= maxTests // more could not be asked for again
}

// strict is the canonical filter that both filters together make.
func strict(a, b read) string {
	switch {
	case wider(a.tests, b.tests):
		return b.Filter
	case wider(b.tests, a.tests):
		return a.Filter
	}
	return encode(append(slices.Clone(a.tests), b.tests...))
}
