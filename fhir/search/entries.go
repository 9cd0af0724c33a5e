package search

import (
	"bytes"
	"errors"
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
	budget  int       // of one evaluation; 0 is the usual
	has     [2]uint64 // bits of the root members that are there
	items   []fhirpath.Item
	values  []store.Value
	cells   []store.Value // component values of the tuples at work
	entries []store.Entry
	seen    []sighting
	bases   []store.Value // amounts in base units; never reused
	bytes   []byte        // ordered bytes of this resource's values; never reused
}

// Entries are the index entries of a resource, in the order of its parameters'
// codes. The store supplies _id and _lastUpdated itself. The error is a
// *fhir.Error: 422 when an expression cannot be evaluated on the resource, 400
// for a type that R4 does not have.
func (r *Registry) Entries(res fhir.Resource) ([]store.Entry, error) {
	return r.entriesOf(res, r.Words() != WordsOff)
}

// entriesOf is Entries, with the words or without.
func (r *Registry) entriesOf(res fhir.Resource, words bool) ([]store.Entry, error) {
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
		if p.added {
			x.lenient(p)
			continue
		}
		if err := x.param(p); err != nil {
			return nil, unreadable(p, err)
		}
	}
	if err := x.contained(); err != nil {
		return nil, err
	}
	if words {
		x.entries = appendWords(x.entries, res.Root())
	}
	for _, p := range t.hidden {
		if err := x.param(p); err != nil {
			return nil, unreadable(p, err)
		}
	}
	return slices.Clone(x.entries), nil
}

func (x *extraction) release() {
	x.root, x.bases, x.bytes = fhirpath.Item{}, nil, nil
	x.items, x.values, x.cells = emptied(x.items), emptied(x.values), emptied(x.cells)
	x.entries, x.seen = emptied(x.entries), emptied(x.seen)
	x.work.Put(x)
}

// kept is how long working memory may be to be used again: enough for nearly
// all resources. What a huge one needed would have to be cleared for each
// small one after it.
const kept = 64

// emptied is working memory without what it pointed to, which must not be kept
// alive by the pool.
func emptied[T any](s []T) []T {
	if cap(s) > kept {
		return nil
	}
	clear(s[:cap(s)])
	return s[:0]
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
		return err
	}
	from := len(x.entries)
	for _, item := range items {
		if p.Type == Composite {
			if err := x.tuples(p, item); err != nil {
				return err
			}
			continue
		}
		x.values = x.appendValues(x.values[:0], p, item)
		for _, v := range x.values {
			x.emit(p.Code, p.roleIn(v.Space), v, from)
		}
		x.extras(p, item)
	}
	x.items = x.items[:0]
	return nil
}

// unreadable names the parameter that an evaluation failed on.
func unreadable(p *Param, err error) error {
	var own *fhir.Error
	if errors.As(err, &own) && own.Issues[0].Code == fhir.CodeTooCostly {
		return own
	}
	return fhir.Errorf(422, fhir.CodeInvalid, "search parameter %s of %s cannot be read from the resource", p.Code, p.On).Because(err)
}

// eval appends to x.items, which stays valid until it is cut.
func (x *extraction) eval(e *fhirpath.Expr, focus fhirpath.Item) ([]fhirpath.Item, error) {
	from := len(x.items)
	var err error
	x.items, err = e.Append(x.items, fhirpath.Env{Resource: x.root, Buffer: &x.buffer, Budget: x.budget}, focus)
	return x.items[from:], err
}

// roleIn is the parameter's role for values of a space, in entries and in tests
// alike: only a reference to a patient anchors.
func (p *Param) roleIn(space string) store.Role {
	if p.Role&store.Anchor != 0 && space != "Patient" {
		return p.Role &^ store.Anchor
	}
	return p.Role
}

// lookBack bounds how many entries of a parameter are compared with a new one:
// doubles harm nothing, a quadratic walk over a hostile resource would.
const lookBack = 16

// emit appends an entry unless the same stands among the last ones since from.
func (x *extraction) emit(param string, role store.Role, v store.Value, from int) {
	for i := max(from, len(x.entries)-lookBack); i < len(x.entries); i++ {
		if e := &x.entries[i]; e.Param == param && same(&e.Value, &v) {
			return
		}
	}
	x.entries = append(x.entries, store.Entry{Param: param, Role: role, Value: v})
}

// same compares values without parts.
func same(a, b *store.Value) bool {
	return a.Name == b.Name && a.Space == b.Space && a.Text == b.Text && a.Raw == b.Raw && a.Kind == b.Kind &&
		bytes.Equal(a.Lo, b.Lo) && bytes.Equal(a.Hi, b.Hi)
}

// Limits of a composite: components of a definition, and combinations of one
// base element, which a hostile resource could multiply without end.
const (
	maxParts = 4
	maxRows  = 10_000
)

// tuples appends each combination of the component values of one base element:
// pairs never mix two elements. The last component comes first, because it is
// the value, which is missing more often than the code.
func (x *extraction) tuples(p *Param, base fhirpath.Item) error {
	var columns [maxParts][]store.Value
	x.cells = x.cells[:0]
	rows := 1
	for i := len(p.parts) - 1; i >= 0; i-- {
		from := len(x.cells)
		if err := x.component(&p.parts[i], base); err != nil {
			return err
		}
		columns[i] = x.cells[from:]
		if rows *= len(columns[i]); rows == 0 {
			return nil
		}
		if rows > maxRows {
			return fhir.Errorf(422, fhir.CodeTooCostly, "search parameter %s has more than %d combinations of values", p.Code, maxRows)
		}
	}
	width := len(p.parts)
	cells := make([]store.Value, 0, rows*width)
	for n := range rows {
		for i, rest := 0, n; i < width; i++ {
			cells = append(cells, columns[i][rest%len(columns[i])])
			rest /= len(columns[i])
		}
		x.entries = append(x.entries, store.Entry{Param: p.Code, Value: store.Value{Kind: store.Tuple, Parts: cells[n*width : (n+1)*width : (n+1)*width]}})
	}
	return nil
}

// component appends the values of one component to x.cells.
func (x *extraction) component(part *part, base fhirpath.Item) error {
	expr, ok := part.expr[base.Type]
	if !ok {
		return nil
	}
	mark := len(x.items)
	items, err := x.eval(expr, base)
	for _, item := range items {
		x.cells = x.appendValues(x.cells, &part.param, item)
	}
	x.items = x.items[:mark]
	return err
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
		from := len(dst)
		if dst = x.text(dst, item); p.phonetic {
			return sounds(dst, from)
		}
		return dst
	case URI:
		return x.uri(dst, item)
	case Date:
		return x.date(dst, item)
	case Number, Quantity:
		return x.quantity(dst, item)
	case Special:
		return place(dst, item.Node)
	default: // a composite has values through its components only
		return dst
	}
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
