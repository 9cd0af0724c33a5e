package fhir

import "strings"

// Reference is a parsed literal reference ("Patient/1", "Patient/1/_history/2",
// an absolute URL of those forms, "#contained", "urn:uuid:…").
type Reference struct {
	Base    string // absolute references: everything before Type, without trailing slash
	Type    string
	ID      string
	Version string
	Other   string // what has no Type/ID form: "#x", "urn:…", a canonical or any other URI
}

// String is the reference as it is written.
func (r Reference) String() string {
	if r.Type == "" {
		return r.Other
	}
	s := r.Type + "/" + r.ID
	if r.Base != "" {
		s = r.Base + "/" + s
	}
	if r.Version != "" {
		s += "/_history/" + r.Version
	}
	return s
}

// ParseReference reads a literal reference; text of no RESTful form ends in Other.
func ParseReference(text string) Reference {
	rest, version, versioned := strings.Cut(text, "/_history/")
	if versioned && !ValidID(version) {
		return Reference{Other: text}
	}
	base, typ, id, ok := splitReference(rest)
	if !ok {
		return Reference{Other: text}
	}
	return Reference{Base: base, Type: typ, ID: id, Version: version}
}

// splitReference cuts [base/]Type/id at its last two slashes.
func splitReference(text string) (base, typ, id string, ok bool) {
	slash := strings.LastIndexByte(text, '/')
	if slash < 0 {
		return "", "", "", false
	}
	typ, id = text[:slash], text[slash+1:]
	absolute := false
	if slash = strings.LastIndexByte(typ, '/'); slash >= 0 {
		base, typ, absolute = typ[:slash], typ[slash+1:], true
	}
	ok = isTypeName(typ) && ValidID(id) && (!absolute || strings.Contains(base, "://"))
	return base, typ, id, ok
}

func isTypeName(s string) bool {
	if len(s) < 2 || s[0] < 'A' || s[0] > 'Z' {
		return false
	}
	for i := 1; i < len(s); i++ {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}
