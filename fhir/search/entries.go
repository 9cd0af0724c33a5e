package search

import (
	"slices"

	"candela/fhir"
	"candela/fhir/fhirpath"
	"candela/store"
)

// extraction is the working memory of one Entries call.
type extraction struct {
	*Registry
	root    fhirpath.Item
	buffer  fhirpath.Buffer
	has     [2]uint64 // bits of the root members that are there
	items   []fhirpath.Item
	values  []store.Value
	entries []store.Entry
	bytes   []byte // ordered bytes of this resource's values; never reused
}

// Entries are the index entries of a resource, in the order of its parameters'
// codes. The store supplies _id and _lastUpdated itself. The error is a
// *fhir.Error: 422 when an expression cannot be evaluated on the resource, 400
// for a type that R4 does not have.
func (r *Registry) Entries(res fhir.Resource) ([]store.Entry, error) {
	t, ok := r.of(res.Type())
	if !ok {
		return nil, fhir.Errorf(400, fhir.CodeStructure, "%q is not a resource type of FHIR R4", res.Type()).At("resourceType")
	}
	x, ok := r.work.Get().(*extraction)
	if !ok {
		x = &extraction{Registry: r}
	}
	defer x.release()
	x.root = fhirpath.Root(res)
	x.look(t)
	for _, p := range t.params {
		if !x.wants(p) {
			continue
		}
		if err := x.param(p); err != nil {
			return nil, err
		}
	}
	return slices.Clone(x.entries), nil
}

func (x *extraction) release() {
	clear(x.items[:cap(x.items)])
	clear(x.values[:cap(x.values)])
	clear(x.entries[:cap(x.entries)])
	x.root, x.items, x.values, x.entries, x.bytes = fhirpath.Item{}, x.items[:0], x.values[:0], x.entries[:0], nil
	x.work.Put(x)
}

// look notes which of the members that parameters read are there.
func (x *extraction) look(t *typeParams) {
	x.has = [2]uint64{}
	for i, head := range t.heads {
		if x.root.Node.Get(head).Exists() {
			x.has[i/64] |= 1 << (i % 64)
		}
	}
}

func (x *extraction) wants(p *Param) bool {
	if supplied(p.Code) {
		return false
	}
	if p.need == [2]uint64{} {
		return true
	}
	return p.need[0]&x.has[0] != 0 || p.need[1]&x.has[1] != 0
}

// param appends the entries of one parameter.
func (x *extraction) param(p *Param) error {
	items, err := x.eval(p.expr, x.root)
	if err != nil {
		return unreadable(p, err)
	}
	from := len(x.entries)
	for _, item := range items {
		if p.Type == Composite {
			if err := x.tuples(p, item); err != nil {
				return unreadable(p, err)
			}
			continue
		}
		x.values = x.appendValues(x.values[:0], p, item)
		for _, v := range x.values {
			x.emit(p.Code, p.entryRole(v), v, from)
		}
		x.extras(p, item)
	}
	x.items = x.items[:0]
	return nil
}

func unreadable(p *Param, err error) error {
	return fhir.Errorf(422, fhir.CodeInvalid, "search parameter %s of %s cannot be read from the resource", p.Code, p.On).Because(err)
}

// eval appends to x.items, which stays valid until it is cut.
func (x *extraction) eval(e *fhirpath.Expr, focus fhirpath.Item) ([]fhirpath.Item, error) {
	from := len(x.items)
	var err error
	x.items, err = e.Append(x.items, fhirpath.Env{Resource: x.root, Buffer: &x.buffer}, focus)
	return x.items[from:], err
}

// entryRole is the parameter's role where v can play it: only a reference to a
// patient anchors.
func (p *Param) entryRole(v store.Value) store.Role {
	if p.Role&store.Anchor != 0 && v.Space != "Patient" {
		return p.Role &^ store.Anchor
	}
	return p.Role
}

// emit appends an entry unless the same stands since from.
func (x *extraction) emit(param string, role store.Role, v store.Value, from int) {
	for i := from; i < len(x.entries); i++ {
		if e := &x.entries[i]; e.Param == param && same(&e.Value, &v) {
			return
		}
	}
	x.entries = append(x.entries, store.Entry{Param: param, Role: role, Value: v})
}

func same(a, b *store.Value) bool {
	if a.Kind != b.Kind || a.Name != b.Name || a.Space != b.Space || a.Text != b.Text || a.Raw != b.Raw ||
		string(a.Lo) != string(b.Lo) || string(a.Hi) != string(b.Hi) || len(a.Parts) != len(b.Parts) {
		return false
	}
	for i := range a.Parts {
		if !same(&a.Parts[i], &b.Parts[i]) {
			return false
		}
	}
	return true
}

// tuples appends each combination of the component values of one base element:
// pairs never mix two elements.
func (x *extraction) tuples(p *Param, base fhirpath.Item) error {
	columns := make([][]store.Value, len(p.parts))
	for i := range p.parts {
		part := &p.parts[i]
		expr, ok := part.expr[base.Type]
		if !ok {
			return nil
		}
		mark := len(x.items)
		items, err := x.eval(expr, base)
		if err != nil {
			return err
		}
		for _, item := range items {
			columns[i] = x.appendValues(columns[i], &part.param, item)
		}
		x.items = x.items[:mark]
		if len(columns[i]) == 0 {
			return nil
		}
	}
	x.combine(p.Code, columns, make([]store.Value, len(columns)), 0)
	return nil
}

func (x *extraction) combine(code string, columns [][]store.Value, row []store.Value, at int) {
	if at == len(columns) {
		x.entries = append(x.entries, store.Entry{Param: code, Value: store.Value{Kind: store.Tuple, Parts: slices.Clone(row)}})
		return
	}
	for _, v := range columns[at] {
		row[at] = v
		x.combine(code, columns, row, at+1)
	}
}

// appendValues turns one item that a parameter's expression gave into index
// values, by the table of R4 search for the parameter's type. Data types that
// the parameter's type has no rule for give none.
func (x *extraction) appendValues(dst []store.Value, p *Param, item fhirpath.Item) []store.Value {
	if item.Type == "Extension" {
		return x.extension(dst, p, item)
	}
	switch p.Type {
	case Token:
		return x.token(dst, p, item)
	case Reference:
		return x.link(dst, item)
	case String:
		return x.text(dst, item)
	case URI:
		return x.uri(dst, item)
	case Date:
		return x.date(dst, item)
	case Number, Quantity:
		return x.quantity(dst, item)
	case Special:
		return place(dst, item.Node)
	}
	return dst
}

// extension is the value of an extension that an expression ends in.
func (x *extraction) extension(dst []store.Value, p *Param, item fhirpath.Item) []store.Value {
	members, types, ok := x.spec.Child("Extension", "value")
	if !ok {
		return dst
	}
	for i, member := range members {
		if n := item.Node.Get(member); n.Exists() {
			return x.appendValues(dst, p, fhirpath.Item{Type: types[i], Node: n})
		}
	}
	return dst
}
