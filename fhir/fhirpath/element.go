package fhirpath

import (
	"strings"

	"candela/fhir"
	"candela/fhir/fhirpath/system"
)

// navigating: functions that walk the tree.
func navigating(name string) (function, bool) {
	switch name {
	case "children":
		return function{0, 0, onContext, givesAny, false, childrenOf}, true
	case "descendants":
		return function{0, 0, onContext, givesAny, false, descendants}, true
	}
	return function{}, false
}

func childrenOf(r *run, _ *call, _ *Item, in, out []Item) ([]Item, error) {
	for i := range in {
		out = r.children(&in[i], out)
	}
	return out, nil
}

func descendants(r *run, _ *call, _ *Item, in, out []Item) ([]Item, error) {
	from := len(out)
	out, err := childrenOf(r, nil, nil, in, out)
	for i := from; i < len(out); i++ {
		it := out[i]
		out = r.children(&it, out)
	}
	return out, err
}

// typing: functions on types.
func typing(name string) (function, bool) {
	switch name {
	case "is":
		return function{1, 1, asTypes, givesBoolean, false, is}, true
	case "as", "ofType":
		return function{1, 1, asTypes, givesInput, false, as}, true
	case "type":
		return function{0, 0, onContext, givesAny, false, typeOf}, true
	}
	return function{}, false
}

func is(r *run, k *call, _ *Item, in, out []Item) ([]Item, error) {
	if len(in) > 1 {
		return out, system.Errorf("is() needs one item, got %d", len(in))
	}
	if len(in) == 0 {
		return out, nil
	}
	return appendBool(out, k.test.holds(r.model, &in[0])), nil
}

// as is the strict form; else the compiler makes a cast of it.
func as(r *run, k *call, _ *Item, in, out []Item) ([]Item, error) {
	if len(in) > 1 {
		return out, system.Errorf("as() needs one item, got %d", len(in))
	}
	if len(in) == 1 && k.test.holds(r.model, &in[0]) {
		out = append(out, in[0])
	}
	return out, nil
}

func typeOf(_ *run, _ *call, _ *Item, in, out []Item) ([]Item, error) {
	for i := range in {
		t := &system.Value{Kind: system.KindType, Unit: "FHIR", Text: in[i].Type}
		if system, ok := strings.CutPrefix(in[i].Type, "System."); ok {
			t.Unit, t.Text = "System", system
		}
		out = append(out, itemOf(t))
	}
	return out, nil
}

// fhirSpecific: the functions FHIR adds.
func fhirSpecific(name string) (function, bool) {
	switch name {
	case "extension":
		return function{1, 1, onContext, givesExtension, false, extension}, true
	case "hasExtension":
		return function{1, 1, onContext, givesBoolean, false, hasExtension}, true
	case "hasValue":
		return function{0, 0, onContext, givesBoolean, false, hasValue}, true
	case "getValue":
		return function{0, 0, onContext, givesAny, false, getValue}, true
	case "resolve":
		return function{0, 0, onContext, givesAny, false, resolve}, true
	case "conformsTo":
		return function{1, 1, onContext, givesBoolean, false, conformsTo}, true
	case "memberOf":
		return function{1, 1, onContext, givesBoolean, false, inValueSet}, true
	}
	return function{}, false
}

func extension(r *run, k *call, this *Item, in, out []Item) ([]Item, error) {
	url, ok, err := r.textArg(k, this, 0)
	if err != nil || !ok {
		return out, err
	}
	for i := range in {
		from := in[i].Node
		if isPrimitive(in[i].Type) {
			from = in[i].Extra
		}
		for e := range from.Get("extension").Elements() {
			if u := e.Get("url"); u.Kind() == fhir.String && textIs(u, url) {
				out = append(out, Item{Type: "Extension", Node: e})
			}
		}
	}
	return out, nil
}

func hasExtension(r *run, k *call, this *Item, in, out []Item) ([]Item, error) {
	found, err := extension(r, k, this, in, r.get())
	out = appendBool(out, len(found) > 0)
	r.put(found)
	return out, err
}

// hasValue: one primitive that has a value, not only extensions.
func hasValue(r *run, _ *call, _ *Item, in, out []Item) ([]Item, error) {
	has := len(in) == 1 && (in[0].val != nil || isPrimitive(in[0].Type) && in[0].Node.Exists())
	return appendBool(out, has), nil
}

// getValue is the System value of one primitive.
func getValue(r *run, _ *call, _ *Item, in, out []Item) ([]Item, error) {
	v := new(system.Value)
	if len(in) == 1 && (in[0].val != nil || isPrimitive(in[0].Type)) && r.load(&in[0], v) {
		out = append(out, itemOf(v))
	}
	return out, nil
}

// resolve follows references, canonicals and URIs. Contained resources are
// looked up; others are fetched by Env.Resolve or, without it, known by type only.
func resolve(r *run, _ *call, _ *Item, in, out []Item) ([]Item, error) {
	for i := range in {
		ref := in[i].Node
		if in[i].val == nil && !isPrimitive(in[i].Type) {
			ref = ref.Get("reference")
		}
		it, ok := r.target(&in[i], ref)
		if ok {
			out = append(out, it)
		}
	}
	return out, nil
}

// target is what one reference points to.
func (r *run) target(from *Item, ref fhir.Node) (Item, bool) {
	raw := ref.Raw()
	if from.val != nil {
		raw = fhir.Quote(from.val.Text)
	}
	if len(raw) > 2 && raw[1] == '#' {
		return r.contained(string(raw[2 : len(raw)-1]))
	}
	if r.env.Resolve != nil {
		if len(raw) <= 2 {
			return Item{}, false
		}
		return r.env.Resolve(ref.Text())
	}
	if len(raw) > 2 {
		if typ := referenceType(raw[1 : len(raw)-1]); typ != nil {
			if name := r.name(typ); r.model.IsA(name, "Resource") {
				return Item{Type: name}, true
			}
		}
	}
	typ := from.Node.Get("type").Raw()
	if from.val != nil || len(typ) <= 2 {
		return Item{}, false
	}
	name := r.name(typ[1 : len(typ)-1])
	return Item{Type: name}, r.model.IsA(name, "Resource")
}

// contained finds a contained resource by its id; "#" alone is the container.
func (r *run) contained(id string) (Item, bool) {
	for _, holder := range [...]Item{r.resource(), r.container()} {
		if id == "" && holder.Node == r.container().Node {
			return holder, true
		}
		for e := range holder.Node.Get("contained").Elements() {
			if n := e.Get("id"); n.Kind() == fhir.String && textIs(n, id) && id != "" {
				return Item{Type: r.resourceType(e, "Resource"), Node: e}, true
			}
		}
	}
	return Item{}, false
}

// referenceType finds the type in the text of a reference: Type/id,
// Type/id/_history/v, either behind a base URL, or Type?query; nil when the text
// has none of these forms.
func referenceType(text []byte) []byte {
	s := string(text)
	if i := strings.IndexByte(s, '|'); i >= 0 {
		s = s[:i]
	}
	if i := strings.Index(s, "/_history/"); i >= 0 {
		s = s[:i]
	}
	if i := strings.IndexByte(s, '?'); i >= 0 {
		s = s[:i] + "/"
	}
	end := strings.LastIndexByte(s, '/')
	if end <= 0 {
		return nil
	}
	from := strings.LastIndexByte(s[:end], '/') + 1
	if from == end || text[from] < 'A' || text[from] > 'Z' || strings.HasPrefix(s, "urn:") {
		return nil
	}
	return text[from:end]
}

// conformsTo knows base definitions itself and asks Env for profiles.
func conformsTo(r *run, k *call, this *Item, in, out []Item) ([]Item, error) {
	url, ok, err := r.textArg(k, this, 0)
	if err != nil || !ok || len(in) == 0 {
		return out, err
	}
	if len(in) > 1 {
		return out, system.Errorf("conformsTo() needs one item, got %d", len(in))
	}
	if typ, ok := strings.CutPrefix(url, "http://hl7.org/fhir/StructureDefinition/"); ok && (r.model.IsA(typ, "Element") || r.model.IsA(typ, "Resource")) {
		return appendBool(out, r.model.IsA(in[0].Type, typ)), nil
	}
	if r.env.ConformsTo == nil {
		return out, system.Errorf("conformsTo(): profile %s is not known", url)
	}
	yes, err := r.env.ConformsTo(in[0], url)
	return appendBool(out, yes), err
}

func inValueSet(r *run, k *call, this *Item, in, out []Item) ([]Item, error) {
	url, ok, err := r.textArg(k, this, 0)
	if err != nil || !ok || len(in) != 1 {
		return out, err
	}
	if r.env.MemberOf == nil {
		return out, system.Errorf("memberOf(): no terminology is there")
	}
	member, err := r.env.MemberOf(in[0], url)
	return appendBool(out, member), err
}
