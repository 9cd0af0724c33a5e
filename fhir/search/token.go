package search

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"candela/fhir"
	"candela/fhir/fhirpath"
	"candela/store"
)

func (x *extraction) token(dst []store.Value, p *Param, item fhirpath.Item) []store.Value {
	n := item.Node
	switch item.Type {
	case "CodeableConcept":
		return x.concept(dst, n)
	case "Coding":
		return x.coding(dst, n)
	case "Identifier":
		if v, ok := x.identifier(n); ok {
			dst = append(dst, v)
		}
		return dst
	case "ContactPoint":
		if value := n.Get("value"); value.Exists() {
			dst = append(dst, store.Value{Kind: store.Code, Name: strings.ToLower(value.Text())})
		}
		return dst
	case "code":
		return x.code(dst, p, n)
	case "string", "markdown", "System.String":
		return appendName(dst, strings.ToLower(item.Text()))
	case "boolean", "id", "uri", "url", "canonical", "oid", "uuid", "integer", "positiveInt", "unsignedInt", "decimal":
		return appendName(dst, n.Text())
	case "System.Boolean":
		return appendName(dst, item.Text())
	}
	return dst
}

func appendName(dst []store.Value, name string) []store.Value {
	if name == "" {
		return dst
	}
	return append(dst, store.Value{Kind: store.Code, Name: name})
}

// code is a code element: its system is the one that the element's required
// binding implies.
func (x *extraction) code(dst []store.Value, p *Param, n fhir.Node) []store.Value {
	code := x.names.of(n)
	if code == "" {
		return dst
	}
	v := store.Value{Kind: store.Code}
	for _, set := range p.shape.codes {
		if v.Space = set.SystemOf(code); v.Space != "" {
			break
		}
	}
	v.Name = x.caseOf(v.Space, code)
	return append(dst, v)
}

// concept gives a value for each coding, and one more for a text that no
// coding's display says.
func (x *extraction) concept(dst []store.Value, n fhir.Node) []store.Value {
	from := len(dst)
	for c := range n.Get("coding").Elements() {
		dst = x.coding(dst, c)
	}
	text := n.Get("text")
	if !text.Exists() {
		return dst
	}
	folded := x.names.foldOf(text, false)
	for _, v := range dst[from:] {
		if v.Text == folded {
			return dst
		}
	}
	return append(dst, store.Value{Kind: store.Code, Text: folded})
}

func (x *extraction) coding(dst []store.Value, n fhir.Node) []store.Value {
	v := store.Value{Kind: store.Code}
	if system := n.Get("system"); system.Exists() {
		v.Space = x.names.of(system)
	}
	if code := n.Get("code"); code.Exists() {
		v.Name = x.caseOf(v.Space, x.names.of(code))
	}
	if display := n.Get("display"); display.Exists() {
		v.Text = x.names.foldOf(display, true)
	}
	if v.Space == "" && v.Name == "" && v.Text == "" {
		return dst
	}
	return append(dst, v)
}

// caseOf folds a code unless case matters in its system. In doubt it folds: an
// undesired match harms less than a missed one (R4 search, token).
func (r *Registry) caseOf(system, code string) string {
	if sensitive, known := r.spec.CaseSensitive(system); known && sensitive {
		return code
	}
	return strings.ToLower(code)
}

func (x *extraction) identifier(n fhir.Node) (store.Value, bool) {
	v := store.Value{Kind: store.Code}
	if system := n.Get("system"); system.Exists() {
		v.Space = x.names.of(system)
	}
	if value := n.Get("value"); value.Exists() {
		v.Name = x.caseOf(v.Space, value.Text())
	}
	if text := n.Path("type", "text"); text.Exists() {
		v.Text = x.names.foldOf(text, false)
	}
	return v, v.Space != "" || v.Name != ""
}

// ofTypeSpace joins an identifier type's system and code: the space in which
// :of-type finds the identifier's value.
func ofTypeSpace(system, code string) string { return system + "|" + code }

// tokenConds reads c, s|c, |c and s|.
func (r reader) tokenConds(p *Param, name, value string) ([]store.Cond, error) {
	parts := split(value, '|')
	switch {
	case len(parts) > 2:
		return nil, invalid(name, "more than one | in a token")
	case len(parts) == 1:
		return r.bareToken(p, unescape(value)), nil
	case p.shape.only("boolean", "uri", "url", "ContactPoint"):
		return nil, invalid(name, "values of this parameter have no system, so | is not allowed")
	}
	system, code := unescape(parts[0]), unescape(parts[1])
	switch {
	case system == "" && code == "":
		return nil, invalid(name, "| needs a system or a code beside it")
	case code == "":
		return []store.Cond{{How: store.Within, Space: system}}, nil
	}
	return []store.Cond{{How: store.Is, Space: system, Name: r.caseOf(system, code)}}, nil
}

// bareToken is a code in any system: folded, as written, or both, by what the
// parameter's elements can hold.
func (r reader) bareToken(p *Param, code string) []store.Cond {
	folded := strings.ToLower(code)
	asWritten := []store.Cond{{How: store.Named, Name: code}}
	switch {
	case folded == code || r.caseMatters(p):
		return asWritten
	case p.shape.only("Identifier", "ContactPoint", "string", "boolean"):
		return []store.Cond{{How: store.Named, Name: folded}}
	}
	return append(asWritten, store.Cond{How: store.Named, Name: folded})
}

// caseMatters says whether all values of a token parameter keep their case.
func (r reader) caseMatters(p *Param) bool {
	if p.shape.only("id", "uri", "url", "canonical", "oid", "uuid") {
		return true
	}
	if !p.shape.only("code") || len(p.shape.codes) == 0 {
		return false
	}
	for _, set := range p.shape.codes {
		for _, s := range set.Systems {
			if sensitive, _ := r.spec.CaseSensitive(s.System); !sensitive {
				return false
			}
		}
	}
	return true
}

// identifierParam reads the value of :identifier: a token on Identifier.
func identifierParam() *Param {
	return &Param{Type: Token, shape: shape{types: []string{"Identifier"}, exact: true}}
}

// ofType reads system|code|value, all three.
func (f *filters) ofType(p *Param, name, value string) (string, []store.Cond, error) {
	parts := split(value, '|')
	if len(parts) != 3 || slices.Contains(parts, "") {
		return "", nil, invalid(name, "use type-system|type-code|value, all three")
	}
	space := ofTypeSpace(unescape(parts[0]), unescape(parts[1]))
	return p.ofType, []store.Cond{{How: store.Is, Space: space, Name: strings.ToLower(unescape(parts[2]))}}, nil
}

// names keeps one copy of strings that stand in millions of resources (code
// system URLs, units, codes, displays of codes), so that indexing a resource
// does not allocate them anew. It is bounded and never holds free text.
type names struct{ known, folded terms }

func newNames() *names {
	n := &names{}
	n.known.seen.Store(&map[string]string{})
	n.folded.seen.Store(&map[string]string{})
	return n
}

// of is the node's text from the table.
func (t *names) of(n fhir.Node) string {
	raw, ok := plain(n)
	if !ok {
		return n.Text()
	}
	if s, ok := t.known.get(raw); ok {
		return s
	}
	s := string(raw)
	t.known.add(s, s)
	return s
}

// foldOf is fold of the node's text, from the table; keep says that the text is
// a term and may be put there.
func (t *names) foldOf(n fhir.Node, keep bool) string {
	raw, ok := plain(n)
	if !ok {
		return fold(n.Text())
	}
	if s, ok := t.folded.get(raw); ok {
		return s
	}
	text := string(raw)
	s := fold(text)
	if keep {
		t.folded.add(text, s)
	}
	return s
}

// Bounds of a table: terms, and bytes of one.
const (
	maxTerms   = 1 << 14
	maxTermLen = 160
)

// plain strips the quotes of a short JSON string without escapes; ok is false
// for any other node.
func plain(n fhir.Node) (text []byte, ok bool) {
	raw := n.Raw()
	if n.Kind() != fhir.String || len(raw) > maxTermLen || bytes.IndexByte(raw, '\\') >= 0 {
		return nil, false
	}
	return raw[1 : len(raw)-1], true
}

// terms is a table that is read without a lock: new terms wait in fresh until
// they were missed often enough to pay for a copy of the whole.
type terms struct {
	seen   atomic.Pointer[map[string]string]
	mu     sync.Mutex
	fresh  map[string]string
	missed int
}

func (t *terms) get(raw []byte) (string, bool) {
	s, ok := (*t.seen.Load())[string(raw)]
	return s, ok
}

func (t *terms) add(key, value string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	seen := *t.seen.Load()
	if len(seen) >= maxTerms {
		return
	}
	if t.fresh == nil {
		t.fresh = map[string]string{}
	}
	t.fresh[key] = value
	if t.missed++; t.missed < 16+len(seen)/4 {
		return
	}
	all := make(map[string]string, len(seen)+len(t.fresh))
	maps.Copy(all, seen)
	maps.Copy(all, t.fresh)
	t.seen.Store(&all)
	t.fresh, t.missed = nil, 0
}
