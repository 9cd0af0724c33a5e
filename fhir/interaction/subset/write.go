package subset

import (
	"candela/fhir"
)

// tag marks a resource that was cut (R4 search.html, "Summary").
const tag = `{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED"}`

// Append appends what the cut leaves of a resource, which is compact JSON as
// it leaves the server.
func (c Cut) Append(dst, raw []byte) []byte {
	if c.Whole() {
		return append(dst, raw...)
	}
	root := fhir.Stored(raw).Root()
	typ := root.Get("resourceType").Text()
	if typ == "" || len(c.elements) > 0 && !c.about(typ) {
		return append(dst, raw...)
	}
	known := c.tables.of(typ).members
	dst = append(dst, '{')
	start, marked := len(dst), false
	for at := root.Cursor(); at.Next(); {
		name := bare(at.Name())
		m, ok := known[string(name)]
		if !ok || !c.keeps(typ, string(name), m) {
			continue
		}
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = append(append(dst, at.Name()...), ':')
		switch {
		case m.element == "meta":
			dst, marked = appendMarked(dst, at.Value()), true
		case c.summary == "true" && len(c.elements) == 0 && !m.always:
			dst = c.tables.appendSummary(dst, at.Value(), m.typ)
		default:
			dst = append(dst, at.Value().Raw()...)
		}
	}
	if !marked {
		dst = append(dst, `,"meta":{"tag":[`+tag+`]}`...)
	}
	return append(dst, '}')
}

// bare is a member's name without quotes and without the underscore of a
// primitive's extensions.
func bare(quoted []byte) []byte {
	name := quoted[1 : len(quoted)-1]
	if len(name) > 1 && name[0] == '_' {
		return name[1:]
	}
	return name
}

// keeps says whether a resource's own member stays.
func (c Cut) keeps(typ, name string, m member) bool {
	switch {
	case m.always:
		return true
	case len(c.elements) > 0:
		return m.must || c.wants(typ, name, m)
	case c.summary == "data":
		return m.element != "text"
	case c.summary == "text":
		return m.must || m.element == "text"
	default:
		return m.must || m.summary
	}
}

// appendMarked appends meta with the tag added.
func appendMarked(dst []byte, meta fhir.Node) []byte {
	dst = append(dst, '{')
	marked := false
	for at := meta.Cursor(); at.Next(); {
		value := at.Value().Raw()
		if string(at.Name()) == `"tag"` {
			if len(value) <= 2 {
				continue
			}
			marked = true
			value = append(append([]byte(nil), value[:len(value)-1]...), `,`+tag+`]`...)
		}
		dst = append(append(append(append(dst, at.Name()...), ':'), value...), ',')
	}
	if !marked {
		return append(dst, `"tag":[`+tag+`]}`...)
	}
	dst[len(dst)-1] = '}'
	return dst
}

// appendSummary appends what the summary keeps of an element of a type.
func (t *Tables) appendSummary(dst []byte, value fhir.Node, typ string) []byte {
	switch value.Kind() {
	case fhir.Array:
		dst = append(dst, '[')
		first := true
		for at := value.Cursor(); at.Next(); first = false {
			if !first {
				dst = append(dst, ',')
			}
			dst = t.appendSummary(dst, at.Value(), typ)
		}
		return append(dst, ']')
	case fhir.Object:
		if known := t.of(typ); known.cuttable {
			return t.appendObject(dst, value, known.members)
		}
		return append(dst, value.Raw()...)
	default:
		return append(dst, value.Raw()...)
	}
}

// appendObject appends an element's members of the summary; one that would be
// left empty, which FHIR forbids, stays whole.
func (t *Tables) appendObject(dst []byte, value fhir.Node, known map[string]member) []byte {
	before := len(dst)
	dst = append(dst, '{')
	for at := value.Cursor(); at.Next(); {
		m, ok := known[string(bare(at.Name()))]
		if !ok || !m.summary && !m.must && !m.always {
			continue
		}
		if len(dst) > before+1 {
			dst = append(dst, ',')
		}
		dst = append(append(dst, at.Name()...), ':')
		if m.always {
			dst = append(dst, at.Value().Raw()...)
			continue
		}
		dst = t.appendSummary(dst, at.Value(), m.typ)
	}
	if len(dst) == before+1 {
		return append(dst[:before], value.Raw()...)
	}
	return append(dst, '}')
}
