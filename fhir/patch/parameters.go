package patch

import (
	"strconv"
	"strings"

	"candela/fhir"
)

// parametersPart is the FHIR type of a parameter and of its parts.
const parametersPart = "Parameters.parameter"

// pathOperation is one operation of a FHIRPath Patch.
type pathOperation struct {
	operation
	path   string
	member string    // the element to add, by its name
	value  fhir.Node // the part called value: it holds a value[x], a resource or parts
	// Positions in a list, counted from 0; absent where the operation has none.
	index, source, destination int
}

const absent = -1

// needs are the parts that each type of operation must have.
func needs(name string) []string {
	switch name {
	case "add":
		return []string{"path", "name", "value"}
	case "insert":
		return []string{"path", "value", "index"}
	case "delete":
		return []string{"path"}
	case "replace":
		return []string{"path", "value"}
	case "move":
		return []string{"path", "source", "destination"}
	default:
		return nil
	}
}

// readPathPatch reads the Parameters of a FHIRPath Patch.
func readPathPatch(body []byte) ([]pathOperation, error) {
	document, err := fhir.ParseTree(body, fhir.Limits{})
	if err != nil {
		return nil, err
	}
	root := document.Root()
	if root.Get("resourceType").Text() != "Parameters" {
		return nil, fhir.Errorf(400, fhir.CodeStructure, "a FHIRPath Patch is a Parameters resource")
	}
	list := root.Get("parameter")
	n := list.Len()
	if n > maxOperations {
		return nil, fhir.Errorf(413, fhir.CodeTooCostly, "the patch has %d operations; the limit is %d", n, maxOperations)
	}
	if list.Exists() && list.Kind() != fhir.Array {
		return nil, fhir.Errorf(400, fhir.CodeStructure, "parameter is not an array").At("Parameters.parameter")
	}
	operations := make([]pathOperation, 0, n)
	for one := range list.Elements() {
		o, err := readPathOperation(len(operations), one)
		if err != nil {
			return nil, err
		}
		operations = append(operations, o)
	}
	return operations, nil
}

func readPathOperation(index int, n fhir.Node) (pathOperation, error) {
	o := pathOperation{operation: operation{index: index}, index: absent, source: absent, destination: absent}
	if n.Get("name").Text() != "operation" {
		return o, o.refuse(400, fhir.CodeInvalid, "the parameter must be called operation")
	}
	var seen []string
	for part := range n.Get("part").Elements() {
		name := part.Get("name").Text()
		if has(seen, name) {
			return o, o.refuse(400, fhir.CodeDuplicate, "a part is there twice")
		}
		if !o.read(name, part) {
			return o, o.refuse(400, fhir.CodeValue, "part %d has an unknown name, or not the value that it needs: type valueCode; path and name valueString; index, source and destination valueInteger; value one of value[x], resource and part", len(seen))
		}
		seen = append(seen, name)
	}
	wanted := needs(o.name)
	if wanted == nil {
		return o, o.refuse(400, fhir.CodeInvalid, "type must be add, insert, delete, replace or move")
	}
	for _, name := range wanted {
		if !has(seen, name) {
			return o, o.refuse(400, fhir.CodeRequired, "the part %s is missing", name)
		}
	}
	return o, nil
}

func has(list []string, s string) bool {
	for _, one := range list {
		if one == s {
			return true
		}
	}
	return false
}

// read takes one part; false when it is none of an operation's parts or has not
// their form.
func (o *pathOperation) read(name string, part fhir.Node) (ok bool) {
	switch name {
	case "type":
		name := textOf(part)
		if needs(name) == nil {
			return false
		}
		o.name = name
		return true
	case "path":
		o.path = textOf(part)
		return strings.TrimSpace(o.path) != "" && len(o.path) <= maxPath
	case "name":
		o.member = textOf(part)
		return o.member != ""
	case "value":
		o.value = part
		return wellFormed(part)
	case "index":
		o.index, ok = numberOf(part)
	case "source":
		o.source, ok = numberOf(part)
	case "destination":
		o.destination, ok = numberOf(part)
	}
	return ok
}

// wellFormed says whether a part has exactly one of value[x], resource and
// parts, which are well-formed in turn.
func wellFormed(part fhir.Node) bool {
	forms, nested := "", true
	for name, v := range part.Members() {
		name = strings.TrimPrefix(name, "_")
		if !strings.HasPrefix(name, "value") && name != "resource" && name != "part" {
			continue
		}
		if forms != "" && forms != name {
			return false
		}
		forms = name
		for one := range v.Elements() {
			nested = nested && name == "part" && one.Get("name").Kind() == fhir.String && wellFormed(one)
		}
	}
	return forms != "" && nested
}

// textOf is a part's text. Clients mix up valueCode and valueString; here
// nothing hangs on it.
func textOf(part fhir.Node) string {
	_, n := part.Pick([]string{"valueString", "valueCode"})
	if n.Kind() != fhir.String {
		return ""
	}
	return n.Text()
}

func numberOf(part fhir.Node) (int, bool) {
	_, n := part.Pick([]string{"valueInteger", "valueUnsignedInt", "valuePositiveInt"})
	at, err := strconv.Atoi(string(n.Raw()))
	return at, err == nil && at >= 0
}
