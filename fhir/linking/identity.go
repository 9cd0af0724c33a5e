package linking

import (
	"bytes"
	"slices"
	"strings"

	"candela/fhir"
)

// identity is what an identifier says: both parts, compared as they are written.
type identity struct{ system, value string }

func identityOf(n fhir.Node) (identity, bool) {
	id := identity{n.Get("system").Text(), n.Get("value").Text()}
	return id, id.system != "" && id.value != ""
}

// identitiesOf are those of a resource, each once; none of a deleted one.
func identitiesOf(raw []byte) []identity {
	if !mentions(raw) {
		return nil
	}
	var out []identity
	for n := range fhir.Stored(raw).Root().Get("identifier").Each() {
		if id, ok := identityOf(n); ok && !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}

// mentions sorts out early what has no identifier in it.
func mentions(raw []byte) bool { return bytes.Contains(raw, []byte(`"identifier"`)) }

// changed are the identities that only one of two versions has.
func changed(before, now []identity) []identity {
	var out []identity
	for _, id := range before {
		if !slices.Contains(now, id) {
			out = append(out, id)
		}
	}
	for _, id := range now {
		if !slices.Contains(before, id) {
			out = append(out, id)
		}
	}
	return out
}

// logical is the identity that a Reference names, where it names nothing else. A
// reference that says why it has no literal one (an extension on it) is left
// alone.
func logical(reference fhir.Node) (identity, bool) {
	if reference.Get("reference").Exists() || reference.Get("_reference").Exists() {
		return identity{}, false
	}
	return identityOf(reference.Get("identifier"))
}

// escape writes what separates values in a search parameter as it stands in one.
var escape = strings.NewReplacer(`\`, `\\`, `,`, `\,`, `|`, `\|`, `$`, `\$`)

// token is the identity as the value of a search parameter.
func (id identity) token() string {
	return escape.Replace(id.system) + "|" + escape.Replace(id.value)
}

// conditional says whether a resource holds a conditional reference (Type?query),
// which a transaction would replace by what it finds.
func conditional(res fhir.Resource, base string) bool {
	if bytes.IndexByte(res.Raw(), '?') < 0 {
		return false
	}
	for key, n := range res.Root().Strings() {
		if string(key) != `"reference"` {
			continue
		}
		typ, _, ok := strings.Cut(strings.TrimPrefix(n.Text(), base+"/"), "?")
		if ok && !strings.ContainsAny(typ, "/:#") {
			return true
		}
	}
	return false
}
