package fhirpath_test

import (
	"bytes"
	"encoding/xml"
	"strings"
	"testing"

	"candela/fhir"
	"candela/fhir/r4"
)

// element is any XML element.
type element struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Children []element  `xml:",any"`
	Inner    []byte     `xml:",innerxml"`
}

func (e element) attr(name string) (string, bool) {
	for _, a := range e.Attrs {
		if a.Name.Local == name {
			return a.Value, true
		}
	}
	return "", false
}

// jsonOfXML writes a resource's XML form as FHIR's JSON form.
func jsonOfXML(t testing.TB, model *r4.Spec, raw []byte) []byte {
	t.Helper()
	var root element
	if err := xml.Unmarshal(raw, &root); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	writeElement(t, model, &b, root, root.XMLName.Local, true)
	return b.Bytes()
}

func writeElement(t testing.TB, model *r4.Spec, b *bytes.Buffer, e element, typ string, resource bool) {
	b.WriteByte('{')
	sep := ""
	member := func(name string, value func()) {
		b.WriteString(sep + string(fhir.Quote(name)) + ":")
		sep = ","
		value()
	}
	if resource {
		member("resourceType", func() { b.Write(fhir.Quote(typ)) })
	}
	for _, name := range []string{"id", "url"} {
		if v, ok := e.attr(name); ok {
			member(name, func() { b.Write(fhir.Quote(v)) })
		}
	}
	for i, c := range e.Children {
		name := c.XMLName.Local
		if i > 0 && e.Children[i-1].XMLName.Local == name {
			continue
		}
		var same []element
		for _, o := range e.Children[i:] {
			if o.XMLName.Local == name {
				same = append(same, o)
			}
		}
		writeMember(t, model, b, member, same, name, childType(t, model, typ, name))
	}
	b.WriteByte('}')
}

func childType(t testing.TB, model *r4.Spec, typ, name string) string {
	t.Helper()
	for _, element := range model.Children(typ) {
		names, types, _ := model.Child(typ, element)
		for i, n := range names {
			if n == name {
				return types[i]
			}
		}
	}
	t.Fatalf("%s has no %s", typ, name)
	return ""
}

// writeMember writes one element and its repetitions, always as arrays where it repeats.
func writeMember(t testing.TB, model *r4.Spec, b *bytes.Buffer, member func(string, func()), same []element, name, typ string) {
	list := func(each func(element)) func() {
		return func() {
			if len(same) > 1 {
				b.WriteByte('[')
			}
			for i, e := range same {
				if i > 0 {
					b.WriteByte(',')
				}
				each(e)
			}
			if len(same) > 1 {
				b.WriteByte(']')
			}
		}
	}
	switch {
	case name == "div":
		member(name, func() { b.Write(fhir.Quote("<div>" + string(same[0].Inner) + "</div>")) })
	case typ == "Resource":
		member(name, list(func(e element) { writeElement(t, model, b, e.Children[0], e.Children[0].XMLName.Local, true) }))
	case typ[0] >= 'A' && typ[0] <= 'Z':
		if name == "extension" && len(same) == 1 {
			member(name, func() { b.WriteByte('['); writeElement(t, model, b, same[0], typ, false); b.WriteByte(']') })
			return
		}
		member(name, list(func(e element) { writeElement(t, model, b, e, typ, false) }))
	default:
		member(name, list(func(e element) { writePrimitive(b, e, typ) }))
		extended := false
		for _, e := range same {
			_, id := e.attr("id")
			extended = extended || id || len(e.Children) > 0
		}
		if extended {
			member("_"+name, list(func(e element) { writeElement(t, model, b, e, typ, false) }))
		}
	}
}

func writePrimitive(b *bytes.Buffer, e element, typ string) {
	v, ok := e.attr("value")
	switch {
	case !ok:
		b.WriteString("null")
	case typ == "boolean" || typ == "decimal" || strings.HasSuffix(typ, "nteger") || strings.HasSuffix(typ, "Int"):
		b.WriteString(v)
	default:
		b.Write(fhir.Quote(v))
	}
}
