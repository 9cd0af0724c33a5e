package patch

import (
	"slices"

	"candela/fhir"
)

// jsonOperation is one operation of a JSON Patch.
type jsonOperation struct {
	operation
	path, from pointer
	value      fhir.Node
}

// jsonPatch applies a JSON Patch and gives the JSON that it makes. All of the
// patch is read before any of it is done.
func jsonPatch(res fhir.Resource, body []byte) ([]byte, error) {
	document, err := fhir.ParseTree(body, fhir.Limits{})
	if err != nil {
		return nil, err
	}
	list := document.Root()
	if list.Kind() != fhir.Array {
		return nil, fhir.Errorf(400, fhir.CodeStructure, "a JSON Patch is an array of operations")
	}
	operations, err := readJSONPatch(list)
	if err != nil {
		return nil, err
	}
	t := &tree{root: value{node: res.Root()}}
	for _, o := range operations {
		if err := t.do(o); err != nil {
			return nil, err
		}
		if t.over() {
			return nil, o.tooCostly()
		}
	}
	return t.root.append(make([]byte, 0, len(res.Raw())+len(body))), nil
}

func readJSONPatch(list fhir.Node) ([]jsonOperation, error) {
	n := list.Len()
	if n > maxOperations {
		return nil, fhir.Errorf(413, fhir.CodeTooCostly, "the patch has %d operations; the limit is %d", n, maxOperations)
	}
	operations := make([]jsonOperation, 0, n)
	for one := range list.Elements() {
		o, err := readJSONOperation(len(operations), one)
		if err != nil {
			return nil, err
		}
		operations = append(operations, o)
	}
	return operations, nil
}

func readJSONOperation(index int, n fhir.Node) (o jsonOperation, err error) {
	o.index = index
	if n.Kind() != fhir.Object {
		return o, o.refuse(400, fhir.CodeStructure, "it is not an object")
	}
	needsValue, needsFrom := false, false
	switch name := n.Get("op").Text(); name {
	case "add", "replace", "test":
		o.name, needsValue = name, true
	case "move", "copy":
		o.name, needsFrom = name, true
	case "remove":
		o.name = name
	default:
		return o, o.refuse(400, fhir.CodeInvalid, "op must be add, remove, replace, move, copy or test")
	}
	if o.path, err = o.readPointer(n, "path"); err != nil {
		return o, err
	}
	if needsFrom {
		if o.from, err = o.readPointer(n, "from"); err != nil {
			return o, err
		}
	}
	if o.value = n.Get("value"); needsValue && !o.value.Exists() {
		return o, o.refuse(400, fhir.CodeRequired, "value is missing")
	}
	return o, nil
}

func (o operation) readPointer(n fhir.Node, member string) (pointer, error) {
	text := n.Get(member)
	if text.Kind() != fhir.String {
		return nil, o.refuse(400, fhir.CodeRequired, "%s is missing or not a string", member)
	}
	p, ok := parsePointer(text.Text())
	if !ok {
		return nil, o.refuse(400, fhir.CodeValue, "%s is not a JSON Pointer", member)
	}
	if len(p) > maxSteps {
		return nil, o.refuse(422, fhir.CodeNotFound, "%s has more than %d steps", member, maxSteps)
	}
	return p, nil
}

// do carries out one operation.
func (t *tree) do(o jsonOperation) error {
	switch o.name {
	case "add":
		return t.add(o, value{node: o.value})
	case "remove":
		return t.remove(o, o.path)
	case "replace":
		return t.replace(o)
	case "test":
		return t.test(o)
	case "copy":
		return t.copyFrom(o)
	default:
		return t.move(o)
	}
}

func nowhere(o jsonOperation, member string) error {
	return o.refuse(422, fhir.CodeNotFound, "its %s leads to nothing in the resource", member)
}

// add puts v at the operation's path: a member of that name, which may be there
// already, or a new element of an array.
func (t *tree) add(o jsonOperation, v value) error {
	if len(o.path) == 0 {
		t.root = v
		return nil
	}
	b, last := t.parent(o.path), o.path[len(o.path)-1]
	if b == nil {
		return nowhere(o, "path")
	}
	if b.kind == fhir.Object {
		if at := t.find(b, last); at >= 0 {
			b.kids[at].value = v
		} else {
			t.insert(b, len(b.kids), fhir.Quote(last), v)
		}
		return nil
	}
	at, ok := position(last)
	if last == "-" {
		at, ok = len(b.kids), true
	}
	if !ok || at > len(b.kids) {
		return o.refuse(422, fhir.CodeNotFound, "its path names no place in the array, which has %d elements", len(b.kids))
	}
	t.insert(b, at, nil, v)
	return nil
}

// remove takes out what is at p, the operation's path or from.
func (t *tree) remove(o jsonOperation, p pointer) error {
	if len(p) == 0 {
		return o.refuse(422, fhir.CodeInvalid, "the resource itself can't be taken out")
	}
	b := t.parent(p)
	if b == nil {
		return nowhere(o, "path")
	}
	at := t.index(b, p[len(p)-1])
	if at < 0 {
		return nowhere(o, "path")
	}
	t.cut(b, at)
	return nil
}

func (t *tree) replace(o jsonOperation) error {
	if len(o.path) == 0 {
		t.root = value{node: o.value}
		return nil
	}
	b := t.parent(o.path)
	if b == nil {
		return nowhere(o, "path")
	}
	at := t.index(b, o.path[len(o.path)-1])
	if at < 0 {
		return nowhere(o, "path")
	}
	b.kids[at].value = value{node: o.value}
	return nil
}

func (t *tree) test(o jsonOperation) error {
	v, ok := t.look(o.path)
	if !ok {
		return nowhere(o, "path")
	}
	if !t.equal(v, o.value) && !t.over() {
		return o.refuse(422, fhir.CodeConflict, "the resource has another value there")
	}
	return nil
}

func (t *tree) copyFrom(o jsonOperation) error {
	v, ok := t.look(o.from)
	if !ok {
		return nowhere(o, "from")
	}
	return t.add(o, t.copy(v))
}

func (t *tree) move(o jsonOperation) error {
	v, ok := t.look(o.from)
	switch {
	case !ok:
		return nowhere(o, "from")
	case slices.Equal(o.path, o.from):
		return nil
	case o.path.within(o.from):
		return o.refuse(422, fhir.CodeInvalid, "a value can't move into itself")
	}
	if err := t.remove(o, o.from); err != nil {
		return err
	}
	return t.add(o, v)
}
