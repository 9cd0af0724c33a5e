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
	rest, version, _ := strings.Cut(text, "/_history/")
	parts := strings.Split(rest, "/")
	if n := len(parts); n >= 2 && isTypeName(parts[n-2]) && ValidID(parts[n-1]) {
		base := strings.Join(parts[:n-2], "/")
		if n == 2 || strings.Contains(base, "://") {
			return Reference{Base: base, Type: parts[n-2], ID: parts[n-1], Version: version}
		}
	}
	return Reference{Other: text}
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
