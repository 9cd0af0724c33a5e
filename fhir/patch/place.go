package patch

import (
	"strings"

	"candela/fhir"
	"candela/fhir/fhirpath"
)

// place is where one element stands. Its value, and what stands beside the
// value of a primitive, are two members of the holder.
type place struct {
	holder  *branch // the object
	typ     string  // the FHIR type of the holder; of the primitive when it stands beside one
	element element
	member  string // the JSON member, without the _ of what stands beside
	at      int    // the position in a list, else absent
	beside  bool   // the way leads into what stands beside, not into the value
}

// marked is the node that a FHIRPath item is known by.
func marked(item fhirpath.Item) fhir.Node {
	if item.Node.Exists() {
		return item.Node
	}
	return item.Extra
}

// locate opens the way from the resource to an element that a path gave. The
// places are from the outermost in; none for the resource itself. ok is false
// when the item is no element of this resource.
func (p *pathPatcher) locate(item fhirpath.Item) (way []place, ok bool) {
	target := marked(item)
	if item.Computed() || !target.Exists() {
		return nil, false
	}
	v, typ := &p.tree.root, p.resource.Type()
	for v.node != target {
		here := place{typ: typ, at: absent}
		if v, ok = p.descend(&here, v, target); !ok {
			return nil, false
		}
		way = append(way, here)
		if typ = here.element.typeOf(here.member); typ == "Resource" {
			typ = v.node.Get("resourceType").Text()
		}
	}
	return way, true
}

// descend goes from the object v to the child that holds target, and says in
// here what it is.
func (p *pathPatcher) descend(here *place, v *value, target fhir.Node) (*value, bool) {
	if v.kind() != fhir.Object {
		return nil, false
	}
	here.holder = p.tree.open(v)
	i := p.tree.holding(here.holder, target)
	if i < 0 {
		return nil, false
	}
	here.member, here.beside = strings.CutPrefix(unquote(here.holder.kids[i].name), "_")
	var ok bool
	if here.element, ok = p.element(here.typ, here.member); !ok {
		return nil, false
	}
	v = &here.holder.kids[i].value
	if v.kind() != fhir.Array {
		return v, true
	}
	list := p.tree.open(v)
	if here.at = p.tree.holding(list, target); here.at < 0 {
		return nil, false
	}
	return &list.kids[here.at].value, true
}

// holding is the child whose text holds that of target; -1 when none does.
func (t *tree) holding(b *branch, target fhir.Node) int {
	from, to := target.Span()
	for i := range b.kids {
		if low, high := b.kids[i].node.Span(); low <= from && to <= high && b.kids[i].node.Exists() {
			t.work += i + 1
			return i
		}
	}
	t.work += len(b.kids)
	return -1
}

// inside is the object that holds the children of an element, for a change, and
// its type. For a primitive it is what stands beside it, made when missing.
func (p *pathPatcher) inside(item fhirpath.Item) (b *branch, typ string, why problem) {
	way, ok := p.locate(item)
	if !ok {
		return nil, "", elsewhere
	}
	if len(way) == 0 {
		return p.tree.open(&p.tree.root), p.resource.Type(), ""
	}
	last := way[len(way)-1]
	typ = item.Type
	if isPrimitive(typ) {
		return p.tree.besides(last.holder, last.member, last.at), typ, ""
	}
	v := p.tree.slot(last.holder, last.member, last.at)
	if v == nil || v.kind() != fhir.Object {
		return nil, "", elsewhere
	}
	return p.tree.open(v), typ, ""
}

const elsewhere problem = "its path does not lead to an element of this resource"
