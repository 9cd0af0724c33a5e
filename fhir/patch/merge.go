package patch

import "candela/fhir"

// mergePatch applies a JSON Merge Patch and gives the JSON that it makes.
func mergePatch(res fhir.Resource, body []byte) ([]byte, error) {
	document, err := fhir.ParseTree(body, fhir.Limits{})
	if err != nil {
		return nil, err
	}
	t := &tree{root: value{node: res.Root()}}
	t.merge(&t.root, document.Root())
	if t.over() {
		return nil, fhir.Errorf(413, fhir.CodeTooCostly, "the merge patch costs too much; write the resource whole instead")
	}
	return t.root.append(make([]byte, 0, len(res.Raw())+len(body))), nil
}

// merge is MergePatch of RFC 7396, section 2. It gives up when the tree has run
// over its limits.
func (t *tree) merge(v *value, with fhir.Node) {
	if with.Kind() != fhir.Object {
		*v = value{node: with}
		return
	}
	fresh := v.kind() != fhir.Object
	if fresh {
		*v = value{in: &branch{kind: fhir.Object}}
	}
	for c := with.Cursor(); c.Next() && !t.over(); {
		b, at := t.open(v), -1
		if !fresh {
			at = t.find(b, unquote(c.Name()))
		}
		switch {
		case c.Value().Kind() != fhir.Null:
			if at < 0 {
				at = len(b.kids)
				t.insert(b, at, c.Name(), value{})
			}
			t.merge(&b.kids[at].value, c.Value())
		case at >= 0:
			t.cut(b, at)
		}
	}
}
