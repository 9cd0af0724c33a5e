// Package link rewrites the links of one resource of a transaction to the ids
// that the server gave to the resources they mean (R4 http, transaction rules).
//
// It knows where links can stand: references, uri-like values, narrative. It
// must not know how an id was found, nor any store.
package link

import (
	"bytes"
	"strings"

	"candela/fhir"
)

// Elements knows the FHIR types of elements, as r4.Spec does.
type Elements interface {
	Child(typ, name string) (members, types []string, ok bool)
}

// Target is the resource a link means.
type Target struct {
	Key   string // Type/id
	Fresh bool   // created here: a version-specific link means version 1
}

// Map is what links become.
type Map struct {
	// FullURLs are the fullUrls of the bundle's entries.
	FullURLs map[string]Target
	// Criteria are the conditional references (Type?query) of the bundle.
	Criteria map[string]Target
	// Base is the server's base URL; a conditional reference may be absolute below it.
	Base     string
	Elements Elements
}

// Criteria are the conditional references in a resource, with the server's
// base taken off; each as often as it stands there.
func Criteria(res fhir.Resource, base string) []string {
	var out []string
	for key, n := range res.Root().Strings() {
		if string(key) != `"reference"` || bytes.IndexByte(n.Raw(), '?') < 0 {
			continue
		}
		if text, ok := criteria(n.Text(), base); ok {
			out = append(out, text)
		}
	}
	return out
}

// criteria says whether a reference is a conditional one, be its query empty:
// what finds nothing out must be refused, not stored as if it named a resource.
func criteria(text, base string) (string, bool) {
	if below, ok := strings.CutPrefix(text, base+"/"); ok && base != "" {
		text = below
	}
	typ, _, ok := strings.Cut(text, "?")
	if !ok || strings.ContainsAny(typ, "/:#") {
		return "", false
	}
	probe := fhir.ParseReference(typ + "/x")
	return text, probe.Type != ""
}

// Edits are the exchanges of links in a resource whose entry has the given
// fullUrl: relative references under a RESTful fullUrl are read below its root.
func (m Map) Edits(res fhir.Resource, fullURL string) []fhir.Edit {
	var edits []fhir.Edit
	root := fhir.ParseReference(fullURL).Base
	for key, n := range res.Root().Strings() {
		var with []byte
		switch {
		case string(key) == `"reference"`:
			if to, ok := m.reference(n.Text(), root); ok {
				with = fhir.Quote(to)
			}
		case string(key) == `"div"`:
			with = m.narrative(n, root)
		case hasScheme(n.Raw()):
			if to, ok := m.FullURLs[n.Text()]; ok && m.isLink(res, n) {
				with = fhir.Quote(to.Key)
			}
		}
		if with != nil {
			from, to := n.Span()
			edits = append(edits, fhir.Edit{From: from, To: to, With: with})
		}
	}
	return edits
}

// hasScheme sorts out early what cannot be a fullUrl.
func hasScheme(quoted []byte) bool {
	return bytes.IndexByte(quoted[:min(len(quoted), 12)], ':') > 0
}

// reference is what a literal or conditional reference becomes.
func (m Map) reference(text, root string) (string, bool) {
	if text == "" || text[0] == '#' {
		return "", false
	}
	if to, ok := m.FullURLs[text]; ok {
		return to.Key, true
	}
	if found, ok := criteria(text, m.Base); ok {
		to, ok := m.Criteria[found]
		return to.Key, ok
	}
	plain, fragment, _ := strings.Cut(text, "#")
	plain, version, versioned := strings.Cut(plain, "/_history/")
	to, ok := m.FullURLs[plain]
	if !ok && root != "" && !strings.Contains(plain, ":") {
		to, ok = m.FullURLs[root+"/"+plain]
	}
	if !ok {
		return "", false
	}
	out := to.Key
	if versioned && to.Fresh {
		version = "1"
	}
	if versioned {
		out += "/_history/" + version
	}
	if fragment != "" {
		out += "#" + fragment
	}
	return out, out != text
}

// narrative is a div with the values of href and src exchanged; nil when none is.
func (m Map) narrative(n fhir.Node, root string) []byte {
	raw := n.Raw()
	if !bytes.Contains(raw, []byte("href")) && !bytes.Contains(raw, []byte("src")) {
		return nil
	}
	text := n.Text()
	var out strings.Builder
	at := 0
	for at < len(text) {
		from, to, ok := attribute(text, at)
		if !ok {
			break
		}
		out.WriteString(text[at:from])
		value := strings.ReplaceAll(text[from:to], "&amp;", "&")
		if target, ok := m.reference(value, root); ok {
			out.WriteString(strings.ReplaceAll(target, "&", "&amp;"))
		} else {
			out.WriteString(text[from:to])
		}
		at = to
	}
	out.WriteString(text[at:])
	if out.String() == text {
		return nil
	}
	return fhir.Quote(out.String())
}

// attribute finds the value of the next href or src attribute from at on.
func attribute(text string, at int) (from, to int, ok bool) {
	for ; at < len(text); at++ {
		var name string
		switch {
		case strings.HasPrefix(text[at:], "href"):
			name = "href"
		case strings.HasPrefix(text[at:], "src"):
			name = "src"
		default:
			continue
		}
		if at == 0 || !isSpace(text[at-1]) {
			continue
		}
		rest := strings.TrimLeft(text[at+len(name):], " \t\r\n")
		value, found := strings.CutPrefix(rest, "=")
		value = strings.TrimLeft(value, " \t\r\n")
		if !found || value == "" || value[0] != '"' && value[0] != '\'' {
			continue
		}
		end := strings.IndexByte(value[1:], value[0])
		if end < 0 {
			continue
		}
		from = len(text) - len(value) + 1
		return from, from + end, true
	}
	return 0, 0, false
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }
