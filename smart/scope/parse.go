package scope

import (
	"slices"
	"strings"

	"candela/fhir"
)

// Bounds of what Parse reads; a longer text is refused as a whole.
const (
	MaxText   = 64 << 10 // octets of a scope value
	MaxScopes = 1000     // scopes in it
	maxTests  = 10       // search parameters of one scope
	maxValues = 100      // alternatives of one search parameter
)

// Words are the names the server knows; case matters.
type Words interface {
	HasType(typ string) bool        // a concrete resource type
	HasParam(typ, code string) bool // a parameter the type can be searched by
}

// Criteria is what Words may offer as well: an error when the server cannot
// search the type by the percent-encoded query. A scope with such a filter is
// refused when it is asked for instead of failing each request later.
type Criteria interface {
	Criteria(typ, query string) error
}

// Grammar reads scopes. It is safe for use by many goroutines.
type Grammar struct {
	words    Words
	criteria Criteria // nil when Words cannot judge filters
}

// New is a grammar over the words of a server.
func New(known Words) *Grammar {
	criteria, _ := known.(Criteria)
	return &Grammar{words: known, criteria: criteria}
}

// Parse splits an OAuth scope value into what can be granted and the texts that
// cannot. A scope is refused, never bent: letters out of order, another case,
// an unknown type or parameter, modifiers, chains and percent-escapes are not
// granted. Refused texts are as sent, at most 128 octets each: escape them
// before they are shown or logged. A text past MaxText or MaxScopes is refused
// whole, as one text.
func (g *Grammar) Parse(text string) (granted Set, refused []string) {
	if len(text) > MaxText {
		return nil, []string{clip(text)}
	}
	words := strings.FieldsFunc(text, func(r rune) bool { return r == ' ' })
	if len(words) > MaxScopes {
		return nil, []string{clip(text)}
	}
	seen := make(map[string]bool, len(words))
	for _, word := range words {
		if seen[word] {
			continue
		}
		seen[word] = true
		if one, ok := g.one(word); ok {
			granted = append(granted, one)
		} else {
			refused = append(refused, clip(word))
		}
	}
	return granted, refused
}

// Policy reads what a user or client may do, written as scopes without their
// level ("Observation.rs?category=vital-signs", "*.rs"). A text that cannot be
// read is an error: a policy with a hole in it is none.
func (g *Grammar) Policy(texts []string) (fhir.Access, error) {
	var out fhir.Access
	for _, text := range texts {
		one, ok := g.clinical(User, text, text)
		if !ok {
			return nil, invalid("the policy has a rule that cannot be read: " + clip(text))
		}
		out = append(out, fhir.Rule{Type: one.Type, Letters: one.Letters, Filter: one.Filter})
	}
	return merge(out), nil
}

func clip(text string) string {
	if len(text) > 128 {
		return text[:128]
	}
	return text
}

func (g *Grammar) one(word string) (Scope, bool) {
	switch word {
	case "openid", "fhirUser", "profile", "launch", "launch/patient", "launch/encounter", "offline_access", "online_access":
		return Scope{Text: word}, true
	}
	level, rest, ok := strings.Cut(word, "/")
	if !ok || level != Patient && level != User && level != System {
		return Scope{}, false
	}
	return g.clinical(level, rest, word)
}

// clinical reads Type.letters[?filter]. A percent sign is refused anywhere: a
// scope is compared and shown as it is written, so an escaped and a plain form
// of one thing would be two scopes that look alike to nobody.
func (g *Grammar) clinical(level, rest, word string) (Scope, bool) {
	if !legible(word) {
		return Scope{}, false
	}
	subject, query, filtered := strings.Cut(rest, "?")
	typ, verb, ok := strings.Cut(subject, ".")
	if !ok || !g.hasType(typ) {
		return Scope{}, false
	}
	letters, first := lettersOf(verb)
	if letters == "" || filtered && first {
		return Scope{}, false
	}
	one := Scope{Level: level, Type: typ, Letters: letters, Text: word}
	if filtered {
		if one.Filter, ok = g.filter(typ, query); !ok {
			return Scope{}, false
		}
	}
	return one, true
}

// legible says whether text has only characters of a scope-token (RFC 6749
// appendix A.4) and no percent sign.
func legible(text string) bool {
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' || c == '%' {
			return false
		}
	}
	return true
}

func (g *Grammar) hasType(typ string) bool {
	return typ == Any || typ != "Resource" && typ != "DomainResource" && isName(typ) && g.words.HasType(typ)
}

func isName(typ string) bool {
	for i := range len(typ) {
		if c := typ[i] | 0x20; c < 'a' || c > 'z' {
			return false
		}
	}
	return typ != ""
}

// lettersOf reads the part after the dot; first says that it is of version 1.
// No letters mean that it is of neither.
func lettersOf(verb string) (letters string, first bool) {
	switch verb {
	case "read":
		return readOnly, true
	case "write":
		return "cud", true
	case "*":
		return all, true
	}
	next := 0
	for i := range len(verb) {
		at := strings.IndexByte(all[next:], verb[i])
		if at < 0 {
			return "", false
		}
		next += at + 1
	}
	return verb, false
}

// filter reads the search parameters of a scope and gives their canonical form.
func (g *Grammar) filter(typ, query string) (string, bool) {
	parts := strings.Split(query, "&")
	if len(parts) > maxTests {
		return "", false
	}
	tests := make([]test, 0, len(parts))
	for _, part := range parts {
		name, value, ok := strings.Cut(part, "=")
		if !ok || !g.hasParam(typ, name) {
			return "", false
		}
		values := strings.Split(value, ",")
		if len(values) > maxValues || slices.Contains(values, "") {
			return "", false
		}
		tests = append(tests, test{name, values})
	}
	canonical := encode(tests)
	if g.criteria != nil && g.criteria.Criteria(typ, canonical) != nil {
		return "", false
	}
	return canonical, true
}

// hasParam says whether a scope may be narrowed by the parameter: one of the
// type by which resources are selected, without modifier, chain or _has. Of
// those that begin with an underscore only the plain ones of every resource may;
// they are also the only ones that a wildcard may be narrowed by.
func (g *Grammar) hasParam(typ, code string) bool {
	switch code {
	case "_id", "_lastUpdated", "_profile", "_security", "_source", "_tag":
		return typ == Any || g.words.HasParam(typ, code)
	}
	if typ == Any || code == "" || code[0] == '_' || strings.ContainsAny(code, ":.") {
		return false
	}
	return g.words.HasParam(typ, code)
}
