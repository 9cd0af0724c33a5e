package search

import (
	"strings"

	"candela/fhir"
	"candela/fhir/fhirpath"
	"candela/store"
)

// link gives the targets of a reference, a canonical or another URI, or the
// identity of a resource that stands inside.
func (x *extraction) link(dst []store.Value, item fhirpath.Item) []store.Value {
	n := item.Node
	switch item.Type {
	case "Reference":
		return x.literal(dst, n.Get("reference"))
	case "canonical":
		return x.canonical(dst, n.Text())
	case "uri", "url", "oid", "uuid", "string":
		return x.literal(dst, n)
	}
	if typ := n.Get("resourceType"); typ.Exists() {
		if id := n.Get("id"); id.Exists() {
			dst = append(dst, store.Value{Kind: store.Link, Space: typ.Text(), Name: id.Text()})
		}
	}
	return dst
}

func (x *extraction) literal(dst []store.Value, n fhir.Node) []store.Value {
	if n.Kind() != fhir.String {
		return dst
	}
	if v := x.linkTo(n.Text()); v.Name != "" {
		dst = append(dst, v)
	}
	return dst
}

// linkTo reads a literal reference: Type/id, ours by base or relative, else the
// whole URI. A version goes to Text. What points into the resource itself
// ("#p1") is an URI that no search names.
func (r *Registry) linkTo(text string) store.Value {
	rest := text
	for _, base := range r.bases {
		if own, ok := strings.CutPrefix(rest, base); ok {
			rest = own
			break
		}
	}
	rest, version, _ := strings.Cut(rest, "/_history/")
	typ, id, ok := strings.Cut(rest, "/")
	if ok && fhir.ValidID(id) {
		if t, known := r.types[typ]; known {
			return store.Value{Kind: store.Link, Space: t.name, Name: id, Text: version}
		}
	}
	if version == "" {
		return store.Value{Kind: store.Link, Name: text}
	}
	return store.Value{Kind: store.Link, Name: strings.TrimSuffix(text, "/_history/"+version), Text: version}
}

// canonical gives what it names, and with a version also the whole text, so
// that url finds every version and url|version only that one.
func (r *Registry) canonical(dst []store.Value, text string) []store.Value {
	name, version, versioned := strings.Cut(text, "|")
	if name == "" {
		return dst
	}
	v := r.linkTo(name)
	if versioned {
		v.Text = version
		dst = append(dst, store.Value{Kind: store.Link, Name: text})
	}
	return append(dst, v)
}

// extras appends the entries that :identifier and :of-type look at.
func (x *extraction) extras(p *Param, item fhirpath.Item) {
	switch {
	case p.Type == Reference && item.Type == "Reference":
		id := item.Node.Get("identifier")
		if v, ok := x.identifier(id); ok {
			x.entries = append(x.entries, store.Entry{Param: p.identifier, Value: v})
		}
	case p.Type == Token && item.Type == "Identifier":
		value := item.Node.Get("value")
		if !value.Exists() {
			return
		}
		for c := range item.Node.Path("type", "coding").Elements() {
			typ := store.Value{Kind: store.Code, Space: ofTypeSpace(x.names.of(c.Get("system")), c.Get("code").Text()), Name: strings.ToLower(value.Text())}
			x.entries = append(x.entries, store.Entry{Param: p.ofType, Value: typ})
		}
	}
}

// linkConds reads Type/id, id, or a URL.
func (r reader) linkConds(p *Param, name, value string) ([]store.Cond, error) {
	if strings.ContainsAny(value, " \t\r\n") {
		return nil, invalid(name, "a reference has no spaces")
	}
	to := r.linkTo(value)
	if to.Space != "" || !fhir.ValidID(value) {
		return []store.Cond{{How: store.Is, Space: to.Space, Name: to.Name, Text: to.Text}}, nil
	}
	out := make([]store.Cond, 0, len(p.Targets)+1)
	for _, typ := range p.Targets {
		out = append(out, store.Cond{How: store.Is, Space: typ, Name: value})
	}
	if len(out) == 0 || !p.shape.only("Reference") {
		out = append(out, store.Cond{How: store.Is, Name: value})
	}
	return out, nil
}

// typedLink reads the value of :Type: an id, or a reference to that type.
func (f *filters) typedLink(p *Param, name, typ, value string) ([]store.Cond, error) {
	if fhir.ValidID(value) {
		return []store.Cond{{How: store.Is, Space: typ, Name: value}}, nil
	}
	if to := f.linkTo(value); to.Space == typ {
		return []store.Cond{{How: store.Is, Space: typ, Name: to.Name}}, nil
	}
	return nil, invalid(name, "the value is no id of a %s", typ)
}

func idCond(types []string, id string) store.Cond {
	if len(types) == 1 {
		return store.Cond{How: store.Is, Space: types[0], Name: id}
	}
	return store.Cond{How: store.Named, Name: id}
}
