package patch

import (
	"errors"
	"strings"

	"candela/fhir"
	"candela/fhir/fhirpath"
)

// pathPatcher applies the operations of a FHIRPath Patch one after the other. A
// path sees what the operations before it made, so that the resource is written
// and read again between two that change it.
type pathPatcher struct {
	model    Model
	resource fhir.Resource
	tree     *tree
	work     int // of the trees before
	read     int // bytes looked at by paths and read again between operations
	buffer   fhirpath.Buffer
	// The members and types of a parameter's value[x].
	valueMembers, valueTypes []string
}

// pathPatch applies a FHIRPath Patch and gives the JSON that it makes.
func pathPatch(res fhir.Resource, body []byte, model Model) ([]byte, error) {
	operations, err := readPathPatch(body)
	if err != nil {
		return nil, err
	}
	p := &pathPatcher{model: model, resource: res}
	p.valueMembers, p.valueTypes, _ = model.Child(parametersPart, "value")
	raw := res.Raw()
	for _, o := range operations {
		if raw == nil {
			raw = p.tree.root.append(make([]byte, 0, 2*len(p.resource.Raw())))
			if p.read += len(raw); p.read > maxReread {
				return nil, o.tooCostly()
			}
			if p.resource, err = fhir.ParseResource(raw, fhir.Limits{}); err != nil {
				return nil, unfit(err, "before "+o.String()+": ")
			}
		}
		p.tree = &tree{root: value{node: p.resource.Root()}, work: p.work}
		changed, err := p.do(o)
		if err != nil {
			return nil, err
		}
		if p.work = p.tree.work; p.tree.over() {
			return nil, o.tooCostly()
		}
		if changed {
			raw = nil
		}
	}
	if raw == nil {
		raw = p.tree.root.append(make([]byte, 0, len(p.resource.Raw())+len(body)))
	}
	return raw, nil
}

// do carries out one operation and says whether it changed anything.
func (p *pathPatcher) do(o pathOperation) (changed bool, err error) {
	items, err := p.find(o, o.path)
	if err != nil {
		return false, err
	}
	if o.name == "delete" && len(items) == 0 {
		return false, nil
	}
	var why problem
	switch o.name {
	case "add":
		why = p.add(o, items)
	case "insert":
		why, err = p.insert(o, items)
	case "delete":
		why = p.remove(items)
	case "replace":
		why = p.replace(o, items)
	default:
		why = p.move(o, items)
	}
	if why != "" && err == nil {
		err = o.refuse(422, fhir.CodeInvalid, "%s", why)
	}
	return true, err
}

// find evaluates a path on the resource.
func (p *pathPatcher) find(o pathOperation, path string) ([]fhirpath.Item, error) {
	expr, err := fhirpath.Compile(path, p.resource.Type(), p.model)
	if err != nil {
		return nil, o.wrap(err)
	}
	spent, ok := cost(path, len(p.resource.Raw()))
	if !ok {
		return nil, o.refuse(400, fhir.CodeNotSupported, "a path of a patch may use only functions that pick elements, and no comments")
	}
	if p.read += spent; p.read > maxReread {
		return nil, o.tooCostly()
	}
	items, err := expr.Eval(fhirpath.Env{Buffer: &p.buffer}, fhirpath.Root(p.resource))
	if err != nil {
		return nil, o.wrap(err)
	}
	return items, nil
}

func (o operation) wrap(err error) error {
	var own *fhir.Error
	if !errors.As(err, &own) {
		return o.refuse(422, fhir.CodeInvalid, "the path can't be evaluated")
	}
	return o.refuse(own.Status, own.Issues[0].Code, "%s", own.Issues[0].Diagnostics)
}

// one is the single element that add, delete and replace are about.
func one(items []fhirpath.Item) (fhirpath.Item, problem) {
	switch len(items) {
	case 0:
		return fhirpath.Item{}, "its path leads to nothing in the resource"
	case 1:
		return items[0], ""
	default:
		return fhirpath.Item{}, "its path leads to more than one element"
	}
}

// add puts a value into the element that items is; into a list only when an
// insert asks for it.
func (p *pathPatcher) add(o pathOperation, items []fhirpath.Item) problem {
	item, why := one(items)
	if why != "" {
		return why
	}
	b, typ, why := p.inside(item)
	if why != "" {
		return why
	}
	e, ok := p.element(typ, o.member)
	if !ok {
		return problem("there is no such element in " + typ)
	}
	if o.name == "insert" && !e.many {
		return notList
	}
	c, why := p.content(o.value, e)
	if why != "" {
		return why
	}
	if has(e.members, o.member) && o.member != c.member {
		return problem("the value is not of the type that the name says")
	}
	return p.tree.put(b, e, c)
}

// remove takes an element out, and all that is empty without it.
func (p *pathPatcher) remove(items []fhirpath.Item) problem {
	item, why := one(items)
	if why != "" {
		return why
	}
	way, ok := p.locate(item)
	if !ok {
		return elsewhere
	}
	if len(way) == 0 {
		return "the resource itself can't be taken out"
	}
	for i := len(way) - 1; i >= 0; i-- {
		here := way[i]
		p.tree.take(here.holder, here.member, here.at)
		if len(here.holder.kids) > 0 || i == 0 {
			return ""
		}
		if up := way[i-1]; up.beside && p.tree.bare(up.holder, up.member, up.at) {
			return ""
		}
	}
	return ""
}

func (p *pathPatcher) replace(o pathOperation, items []fhirpath.Item) problem {
	item, why := one(items)
	if why != "" {
		return why
	}
	way, ok := p.locate(item)
	if !ok {
		return elsewhere
	}
	if len(way) == 0 {
		return "a patch can't replace the resource itself"
	}
	here := way[len(way)-1]
	c, why := p.content(o.value, here.element)
	if why != "" {
		return why
	}
	return p.tree.exchange(here, c)
}

// whole is the list that items are all elements of, in order.
func (p *pathPatcher) whole(items []fhirpath.Item) (place, problem) {
	if len(items) == 0 {
		return place{}, "its path leads to nothing in the resource"
	}
	way, ok := p.locate(items[0])
	if !ok {
		return place{}, elsewhere
	}
	if len(way) == 0 || way[len(way)-1].at == absent {
		return place{}, notList
	}
	here := way[len(way)-1]
	if p.tree.size(here.holder, here.member) != len(items) {
		return place{}, partial
	}
	for i := range items {
		name := here.member
		if !items[i].Node.Exists() {
			name = "_" + name
		}
		if v := p.tree.slot(here.holder, name, i); v == nil || v.node != marked(items[i]) {
			return place{}, partial
		}
	}
	return here, ""
}

const partial problem = "its path must name one whole list, not a part of it and not several"

// insert puts a value into a list. A list without elements is not there: then
// the path up to its last name leads to where it belongs.
func (p *pathPatcher) insert(o pathOperation, items []fhirpath.Item) (problem, error) {
	if holder, name, ok := lastName(o.path); ok && len(items) == 0 {
		parents, err := p.find(o, holder)
		if err != nil {
			return "", err
		}
		if o.index > 0 {
			return tooFar, nil
		}
		o.member = name
		return p.add(o, parents), nil
	}
	here, why := p.whole(items)
	if why != "" {
		return why, nil
	}
	if o.index > len(items) {
		return tooFar, nil
	}
	c, why := p.content(o.value, here.element)
	if why != "" {
		return why, nil
	}
	return p.tree.putAt(here.holder, c, o.index), nil
}

const tooFar problem = "the list is not that long"

// lastName cuts the last name off a path: "Patient.contact[0].telecom" is
// telecom of Patient.contact[0].
func lastName(path string) (holder, name string, ok bool) {
	path = strings.TrimSpace(path)
	at := strings.LastIndexByte(path, '.')
	if at <= 0 || at+1 == len(path) {
		return "", "", false
	}
	for _, c := range []byte(path[at+1:]) {
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') {
			return "", "", false
		}
	}
	return path[:at], path[at+1:], true
}

func (p *pathPatcher) move(o pathOperation, items []fhirpath.Item) problem {
	here, why := p.whole(items)
	if why != "" {
		return why
	}
	if o.source >= len(items) || o.destination >= len(items) {
		return tooFar
	}
	p.tree.shift(here.holder, here.member, o.source, o.destination)
	return ""
}
