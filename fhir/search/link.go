package search

import (
	"slices"
	"strconv"
	"strings"
	"time"

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
	if r.bare != nil && len(p.Targets) > 1 {
		*r.bare = append(*r.bare, Bare{Param: name, ID: value, Types: p.Targets})
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

// Bare is the value of a reference parameter that names an id without its type,
// where several types are possible. R4 search (reference) says that a server
// should refuse it when the id really is that of resources of different types:
// what finds two of Types/ID alive answers 400.
type Bare struct {
	Param string // as given
	ID    string
	Types []string
}

// ups are the parameters by which types point to their own parents.
var ups = [...]string{"partof", "part-of", "parent"}

// upOf is the parameter that leads upwards in the hierarchy of a type; "" when
// it has none.
func (r *Registry) upOf(typ string) string {
	t, ok := r.types[typ]
	if !ok {
		return ""
	}
	for _, def := range t.defs {
		if slices.Contains(ups[:], def.Code) && slices.Contains(def.Target, typ) {
			return def.Code
		}
	}
	return ""
}

// hierarchy reads the value of :below and :above: a reference to a resource of a
// hierarchy, or with :below a canonical with the beginning of a version.
func (f *filters) hierarchy(p *Param, name, modifier, value string) (store.Expr, error) {
	if url, version, ok := strings.Cut(value, "|"); ok && modifier == "below" && p.versioned() {
		to := f.linkTo(url)
		c := store.Cond{How: store.Versioned, Space: to.Space, Name: to.Name, Text: version}
		if version == "" {
			return nil, invalid(name, "| needs a version behind it")
		}
		return store.Test{Param: p.Code, Cond: c}, nil
	}
	to, types := f.linkTo(value), p.Targets
	switch {
	case to.Space != "":
		types = []string{to.Space}
	case fhir.ValidID(value):
		to.Name = value
	default:
		return nil, invalid(name, "the value is no reference to a resource here")
	}
	var out store.Or
	var tall []string
	for _, typ := range types {
		if up := f.upOf(typ); up != "" && slices.Contains(p.Targets, typ) {
			tall = append(tall, typ)
			out = append(out, store.Tree{Param: p.Code, Type: typ, ID: to.Name, Up: up, Above: modifier == "above"})
		}
	}
	if f.bare != nil && len(tall) > 1 {
		*f.bare = append(*f.bare, Bare{Param: name, ID: to.Name, Types: tall})
	}
	switch len(out) {
	case 0:
		return nil, unsupported(p, modifier)
	case 1:
		return out[0], nil
	}
	return out, nil
}

// versioned says whether values can be canonicals, which name versions.
func (p *Param) versioned() bool { return slices.Contains(p.shape.types, "canonical") }

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

// inside is the value of the entries that tell that a reference names a contained
// resource, or that a slot holds one; the resource's own entries stand beside them
// under longer names.
const inside = "#"

// within names the parameter whose entries tell that p names a contained typ.
func within(p *Param, typ string) string { return p.Code + ":" + typ }

// slot names the parameter whose entries tell that a resource contains more than
// n resources of typ: the entries of the one at place n stand behind it.
func slot(typ string, n int) string { return inside + strconv.Itoa(n) + ":" + typ }

// MaxContained bounds how many contained resources are indexed.
const MaxContained = 200

// Contained are the contained resources that are indexed, in their order: those
// with an id of their own and a known type.
func (r *Registry) Contained(res fhir.Node) []fhir.Resource {
	var out []fhir.Resource
	seen := map[string]bool{}
	for one := range res.Get("contained").Elements() {
		id, typ := one.Get("id").Text(), one.Get("resourceType").Text()
		if _, known := r.types[typ]; !known || id == "" || seen[id] || len(out) == MaxContained {
			continue
		}
		seen[id] = true
		out = append(out, fhir.Stored(one.Raw()))
	}
	return out
}

// contained appends the entries of each contained resource twice: under its slot,
// where searches with _contained look, and under each reference that names it,
// for chains.
func (x *extraction) contained() error {
	if !x.root.Node.Get("contained").Exists() {
		return nil
	}
	own, slots := len(x.entries), map[string]int{}
	type one struct {
		typ     string
		entries []store.Entry
	}
	all := map[string]one{}
	for _, res := range x.Contained(x.root.Node) {
		entries, err := x.entriesOf(res, false)
		if err != nil {
			return err
		}
		typ, id := res.Type(), res.ID()
		all["#"+id] = one{typ, entries}
		x.moved(slot(typ, slots[typ]), append(entries, store.Builtin(store.Key{Type: typ, ID: id}, time.Time{})[0]))
		slots[typ]++
	}
	for i := range own {
		e := x.entries[i]
		if to, ok := all[e.Name]; ok && e.Kind == store.Link && e.Space == "" {
			x.moved(e.Param+":"+to.typ, to.entries)
		}
	}
	return nil
}

// moved appends a contained resource's entries behind prefix.
func (x *extraction) moved(prefix string, entries []store.Entry) {
	x.entries = append(x.entries, store.Entry{Param: prefix, Value: store.Value{Kind: store.Link, Name: inside}})
	for _, of := range entries {
		x.entries = append(x.entries, store.Entry{Param: prefix + "." + of.Param, Value: of.Value})
	}
}

// containing reads _contained and _containedType.
func (s *parsing) containing(p fhir.Param) error {
	switch {
	case p.Name == "_contained" && (p.Value == "true" || p.Value == "both" || p.Value == "false"):
		s.out.Contained = p.Value != "false"
		s.out.Both = p.Value == "both"
	case p.Name == "_containedType" && (p.Value == "container" || p.Value == "contained"):
		s.out.Alone = p.Value == "contained"
	case p.Name == "_contained":
		return invalid(p.Name, "true, both or false")
	default:
		return invalid(p.Name, "container or contained")
	}
	return s.keep(p)
}

// containable refuses what cannot be asked of contained resources.
func (s *parsing) containable() error {
	if !s.out.Contained {
		return nil
	}
	if len(s.types) != 1 {
		return invalid("_contained", "needs a single type to search for")
	}
	for _, by := range s.out.Query.Sort {
		if by.Param != store.ParamUpdated || s.out.Alone {
			return invalid("_sort", "beside _contained only _lastUpdated of containers can be sorted by")
		}
	}
	for _, x := range s.where {
		if code := outward(x); code != "" {
			return invalid("_contained", "%s cannot be asked of contained resources", code)
		}
	}
	return nil
}

// outward names what a condition asks that nothing contained can tell.
func outward(x store.Expr) string {
	switch x := x.(type) {
	case store.And:
		return outwardAny(x)
	case store.Or:
		return outwardAny(x)
	case store.Not:
		return outward(x.Of)
	case store.Has:
		return "_has and _list"
	case store.Test:
		if x.Param == inNarrative || x.Param == inAll {
			return x.Param
		}
	}
	return ""
}

func outwardAny(parts []store.Expr) string {
	for _, part := range parts {
		if code := outward(part); code != "" {
			return code
		}
	}
	return ""
}

// HasSlot is the condition that a resource contains more than n resources of typ.
func HasSlot(typ string, n int) store.Expr {
	return store.Test{Param: slot(typ, n), Cond: store.Cond{How: store.Is, Name: inside}}
}

// InSlot is x, a condition on resources of typ, asked of the contained one at
// place n of those of its type. _lastUpdated is that of the container.
func InSlot(typ string, n int, x store.Expr) store.Expr {
	if x == nil {
		return HasSlot(typ, n)
	}
	return store.And{HasSlot(typ, n), moved(x, slot(typ, n)+".")}
}

// along is the ways to meet of by what p names: a resource of typ, or one that
// is contained.
func along(p *Param, typ string, of store.Expr) []store.Expr {
	mark := store.Test{Param: within(p, typ), Cond: store.Cond{How: store.Is, Name: inside}}
	return []store.Expr{
		store.Via{Param: p.Code, Type: typ, Of: of},
		store.And{mark, moved(of, mark.Param+".")},
	}
}

// moved is x asked of a contained resource, which is as new as its container.
// Nothing else points into that, and it contains none itself.
func moved(x store.Expr, prefix string) store.Expr {
	switch x := x.(type) {
	case store.And:
		return store.And(movedAll(x, prefix))
	case store.Or:
		return store.Or(movedAll(x, prefix))
	case store.Not:
		return store.Not{Of: moved(x.Of, prefix)}
	case store.Test:
		if x.Cond.How == store.Is && x.Cond.Name == inside {
			return store.Or{}
		}
		if x.Param != store.ParamUpdated {
			x.Param = prefix + x.Param
		}
		x.Role = 0
		return x
	case store.Via:
		x.Param = prefix + x.Param
		return x
	case store.Tree:
		x.Param = prefix + x.Param
		return x
	}
	return store.Or{}
}

func movedAll(parts []store.Expr, prefix string) []store.Expr {
	out := make([]store.Expr, len(parts))
	for i, part := range parts {
		out[i] = moved(part, prefix)
	}
	return out
}
