package storetest

import (
	"candela/store"
)

// Entries and conditions, as short as a table of tests needs them.

func code(param, space, name, display string) store.Entry {
	return store.Entry{Param: param, Value: store.Value{Kind: store.Code, Space: space, Name: name, Text: fold(display), Raw: display}}
}

func word(param, name string) store.Entry { return code(param, "", name, "") }

func link(param string, to store.Key) store.Entry {
	return store.Entry{Param: param, Value: store.Value{Kind: store.Link, Space: to.Type, Name: to.ID}}
}

func uri(param, name string) store.Entry {
	return store.Entry{Param: param, Value: store.Value{Kind: store.URI, Name: name}}
}

func text(param, raw string) store.Entry {
	return store.Entry{Param: param, Value: store.Value{Kind: store.Text, Text: fold(raw), Raw: raw}}
}

func span(param string, lo, hi int64) store.Entry {
	return store.Entry{Param: param, Value: store.Value{Kind: store.Range, Lo: store.OrderedInt(lo), Hi: store.OrderedInt(hi)}}
}

func amount(param string, v float64, space, unit string) store.Entry {
	b := store.OrderedFloat(v)
	return store.Entry{Param: param, Value: store.Value{Kind: store.Range, Lo: b, Hi: b, Space: space, Name: unit, Text: unit}}
}

// based gives an amount its form in the base unit m.
func based(e store.Entry, v float64) store.Entry {
	e.Parts = []store.Value{{Kind: store.Range, Name: "m", Lo: store.OrderedFloat(v), Hi: store.OrderedFloat(v)}}
	return e
}

func tuple(param string, parts ...store.Entry) store.Entry {
	e := store.Entry{Param: param, Value: store.Value{Kind: store.Tuple}}
	for _, p := range parts {
		e.Parts = append(e.Parts, p.Value)
	}
	return e
}

func place(param string, lat, lon float64) store.Entry {
	return store.Entry{Param: param, Value: store.Value{Kind: store.Place, Lo: store.OrderedFloat(lat), Hi: store.OrderedFloat(lon)}}
}

func with(role store.Role, e store.Entry) store.Entry {
	e.Role = role
	return e
}

// fold is what these tests take for folding: ASCII lower case.
func fold(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func test(param string, c store.Cond) store.Test { return store.Test{Param: param, Cond: c} }

func is(param, space, name string) store.Test {
	return test(param, store.Cond{How: store.Is, Space: space, Name: name})
}

func isNamed(param, name string) store.Test {
	return test(param, store.Cond{How: store.Named, Name: name})
}

func startsWith(param, s string) store.Test {
	return test(param, store.Cond{How: store.Starts, Text: fold(s)})
}

func within(param string, how store.How, lo, hi int64) store.Test {
	return test(param, store.Cond{How: how, Lo: store.OrderedInt(lo), Hi: store.OrderedInt(hi)})
}

func hot(t store.Test) store.Test {
	t.Role = store.Hot
	return t
}

func anchor(t store.Test) store.Test {
	t.Role = store.Anchor
	return t
}

// named asks one type for one code.
func named(typ, param, name string) store.Query {
	return store.Query{Types: []string{typ}, Where: isNamed(param, name)}
}

// ahead asks for what starts or lies at or behind lo.
func ahead(param string, lo int64) store.Test {
	t := test(param, store.Cond{How: store.AtLeast, Lo: store.OrderedInt(lo), Hi: store.OrderedInt(lo)})
	t.Role = store.Clock
	return t
}
