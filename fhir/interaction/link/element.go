package link

import (
	"slices"
	"strings"

	"candela/fhir"
)

// isLink says whether a string that equals a fullUrl is a link: an element of
// type uri, url, oid or uuid. A canonical never is (transaction rules), nor is
// a uri that identifies: the url of a definition or extension, the system of a
// code or identifier. A web address is not taken for a link in meta.source and
// implicitRules either.
func (m Map) isLink(res fhir.Resource, n fhir.Node) bool {
	name, typ := m.typeOf(res, n)
	switch typ {
	case "url", "oid", "uuid":
		return true
	case "uri":
		switch name {
		case "url", "system", "namespace":
			return false
		case "source", "implicitRules":
			return strings.HasPrefix(n.Text(), "urn:")
		}
		return true
	default:
		return false
	}
}

// typeOf walks from the root of the resource down to n and gives the member n
// stands in and its FHIR type, "" when it is unknown.
func (m Map) typeOf(res fhir.Resource, n fhir.Node) (member, typ string) {
	at, _ := n.Span()
	here := res.Root()
	typ = res.Type()
	for here.Index() != n.Index() {
		if here.Kind() == fhir.Array {
			here = elementAt(here, at)
			continue
		}
		if inner := here.Get("resourceType"); typ == "Resource" && inner.Exists() {
			typ = inner.Text()
		}
		member, here = memberAt(here, at)
		if !here.Exists() {
			return "", ""
		}
		typ = m.childType(typ, member)
	}
	return member, typ
}

func memberAt(object fhir.Node, at int) (string, fhir.Node) {
	for key, child := range object.Members() {
		if from, to := child.Span(); from <= at && at < to {
			return key, child
		}
	}
	return "", fhir.Node{}
}

func elementAt(array fhir.Node, at int) fhir.Node {
	for child := range array.Elements() {
		if from, to := child.Span(); from <= at && at < to {
			return child
		}
	}
	return fhir.Node{}
}

// childType is the type of a JSON member. The member of a choice is its
// element's name with the type behind ("valueUri" of "value").
func (m Map) childType(typ, member string) string {
	for end := len(member); end > 0; end-- {
		if end < len(member) && (member[end] < 'A' || member[end] > 'Z') {
			continue
		}
		members, types, ok := m.Elements.Child(typ, member[:end])
		if i := slices.Index(members, member); ok && i >= 0 && i < len(types) {
			return types[i]
		}
	}
	return ""
}
