package app_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"candela/fhir"
	"candela/fhir/search"
	"candela/store"
)

// program is one search: a type, or all types that _type names; owner is whose
// compartment is searched, as Type/id.
type program struct {
	typ, owner string
	params     fhir.Params
}

func (p program) types() []string {
	if p.typ == "" {
		return nil
	}
	return []string{p.typ}
}

func (p program) String() string {
	path := p.typ
	if p.owner != "" {
		path = p.owner + "/" + p.typ
	}
	return path + "?" + p.params.Encode()
}

// with is p with further parameters.
func (p program) with(more ...fhir.Param) program {
	p.params = append(slices.Clone(p.params), more...)
	return p
}

// speaker draws programs about a world.
type speaker struct {
	dice
	*world
}

// program draws a whole search.
func (s speaker) program() program {
	p := program{typ: s.of(kinds...)}
	switch {
	case s.in(8):
		return s.overTypes()
	case s.in(10):
		p.owner = s.of("Patient", "Patient", "Encounter", "Practitioner") + "/" + fmt.Sprint(1+s.IntN(9))
	}
	for range []int{0, 1, 1, 1, 2, 2, 3}[s.IntN(7)] {
		p.params = append(p.params, s.criterion(p.typ, 0))
	}
	if s.in(45) {
		p.params = append(p.params, fhir.Param{Name: "_sort", Value: s.sorts(s.sortable(p.typ))})
	}
	return p
}

// overTypes is a search over several types by what they have in common.
func (s speaker) overTypes() program {
	a, b := s.of(kinds...), s.of(kinds...)
	p := program{params: fhir.Params{{Name: "_type", Value: a + "," + b}}}
	both := slices.DeleteFunc(slices.Clone(s.registry.Params(a)), func(one *search.Param) bool {
		other, ok := s.registry.Param(b, one.Code)
		return !ok || other.Type != one.Type
	})
	for range 1 + s.IntN(2) {
		p.params = append(p.params, s.direct(a, both[s.IntN(len(both))]))
	}
	if s.in(50) {
		p.params = append(p.params, fhir.Param{Name: "_sort", Value: s.sorts([]string{"_id", "_lastUpdated"})})
	}
	return p
}

func (s speaker) sortable(typ string) []string {
	codes := []string{"_lastUpdated", "_id"}
	for _, p := range s.registry.Params(typ) {
		if p.Type != search.Composite && p.Type != search.Special && len(s.values[typ][p.Code]) > 0 {
			codes = append(codes, p.Code)
		}
	}
	return codes
}

func (s speaker) sorts(codes []string) string {
	var keys []string
	for range 1 + s.IntN(3) {
		keys = append(keys, s.some(50, "-")+s.of(codes...))
	}
	return strings.Join(keys, ",")
}

// criterion is one condition on resources of typ: direct, chained or reverse.
func (s speaker) criterion(typ string, depth int) fhir.Param {
	if depth < 3 && s.in(14) {
		if p, ok := s.chain(typ, depth); ok {
			return p
		}
	}
	if depth < 3 && s.in(14) {
		if p, ok := s.has(typ, depth); ok {
			return p
		}
	}
	params := slices.DeleteFunc(slices.Clone(s.registry.Params(typ)), func(p *search.Param) bool {
		return len(s.values[typ][p.Code]) == 0
	})
	if len(params) == 0 || s.in(8) { // also what no resource has
		params = s.registry.Params(typ)
	}
	return s.direct(typ, params[s.IntN(len(params))])
}

func (s speaker) chain(typ string, depth int) (fhir.Param, bool) {
	p, to, ok := s.link(typ, func(store.Value) bool { return true })
	if !ok {
		return fhir.Param{}, false
	}
	rest := s.criterion(to.Space, depth+1)
	if s.in(25) {
		return fhir.Param{Name: p.Code + "." + rest.Name, Value: rest.Value}, true
	}
	return fhir.Param{Name: p.Code + ":" + to.Space + "." + rest.Name, Value: rest.Value}, true
}

func (s speaker) has(typ string, depth int) (fhir.Param, bool) {
	from := s.of(kinds...)
	p, _, ok := s.link(from, func(v store.Value) bool { return v.Space == typ })
	if !ok {
		return fhir.Param{}, false
	}
	rest := s.criterion(from, depth+1)
	return fhir.Param{Name: "_has:" + from + ":" + p.Code + ":" + rest.Name, Value: rest.Value}, true
}

// link draws a reference parameter of typ and a target that it points to.
func (s speaker) link(typ string, fits func(store.Value) bool) (*search.Param, store.Value, bool) {
	for range 8 {
		codes := slices.Sorted(maps.Keys(s.values[typ]))
		if len(codes) == 0 {
			break
		}
		p, ok := s.registry.Param(typ, s.of(codes...))
		if !ok || p.Type != search.Reference {
			continue
		}
		for _, v := range s.values[typ][p.Code] {
			if v.Kind == store.Link && slices.Contains(p.Targets, v.Space) && fits(v) {
				return p, v, true
			}
		}
	}
	return nil, store.Value{}, false
}

// direct is a condition by one parameter: its values are drawn from those that
// occur, bent by modifiers and prefixes.
func (s speaker) direct(typ string, p *search.Param) fhir.Param {
	if p.Type != search.Composite && s.in(9) {
		return fhir.Param{Name: p.Code + ":missing", Value: s.of("true", "false")}
	}
	name, read := s.modified(typ, p)
	values := []string{read()}
	for s.in(22) {
		values = append(values, read())
	}
	return fhir.Param{Name: name, Value: strings.Join(values, ",")}
}

// modified draws a modifier that fits; read draws one value for it.
func (s speaker) modified(typ string, p *search.Param) (name string, read func() string) {
	plain := func() string { return s.value(p.Type, s.draw(typ, p.Code)) }
	modifier := ""
	if s.in(40) {
		modifier = s.of(append([]string{""}, p.Modifiers()...)...)
	}
	name = p.Code + ":" + modifier
	switch modifier {
	case "exact", "contains":
		return name, func() string { return s.textual(modifier, s.draw(typ, p.Code)) }
	case "not":
		return name, plain
	case "text":
		return name, func() string { return s.textual("", s.draw(typ, p.Code)) }
	case "of-type", "identifier":
		return name, func() string { return s.keyed(modifier, s.draw(typ, p.Code+":"+modifier)) }
	case "above", "below":
		if p.Type == search.Reference {
			return name, func() string { return s.reference(s.draw(typ, p.Code)) }
		}
	}
	switch modifier {
	case "above":
		return name, func() string { return escaped(s.draw(typ, p.Code).Name) + s.of("", "/z", "z") }
	case "below":
		return name, func() string { return escaped(s.cutPath(s.draw(typ, p.Code).Name)) }
	case "[type]":
		if v := s.draw(typ, p.Code); slices.Contains(p.Targets, v.Space) {
			return p.Code + ":" + v.Space, func() string { return s.of(v.Name, v.Space+"/"+v.Name) }
		}
	}
	return p.Code, plain
}

// draw is a value that occurs, or nothing.
func (s speaker) draw(typ, code string) store.Value {
	values := s.values[typ][code]
	if len(values) == 0 {
		return store.Value{Space: "http://none.example", Name: "none", Text: "none", Raw: "none"}
	}
	return values[s.IntN(len(values))]
}

func (s speaker) value(kind search.Kind, v store.Value) string {
	switch kind {
	case search.Token:
		return s.token(v)
	case search.Reference:
		return s.reference(v)
	case search.String:
		return s.textual("", v)
	case search.URI:
		return escaped(v.Name)
	case search.Date:
		return s.of("", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap") + s.moment(v)
	case search.Number:
		return s.of("", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap") + s.number()
	case search.Quantity:
		return s.of("", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap") + s.number() + s.unit(v)
	case search.Composite:
		return s.composite(v)
	default:
		return fmt.Sprintf("%d.%d|%d.%d|%d|%s", 51+s.IntN(3), s.IntN(10), 12+s.IntN(3), s.IntN(10), s.IntN(200), s.of("km", "", "mi"))
	}
}

func (s speaker) token(v store.Value) string {
	if v.Name == "" {
		return "absent"
	}
	code, system := escaped(v.Name), escaped(v.Space)
	return s.of(code, code, strings.ToUpper(code), system+"|"+code, system+"|"+code, "|"+code, s.of(system, "http://x.example")+"|")
}

func (s speaker) reference(v store.Value) string {
	if v.Space == "" {
		return escaped(v.Name)
	}
	to := v.Space + "/" + v.Name
	return s.of(to, to, v.Name, ownBase+"/"+to, to+"/_history/1")
}

func (s speaker) textual(modifier string, v store.Value) string {
	text := v.Raw
	if text == "" {
		text = v.Text
	}
	runes := []rune(text)
	if len(runes) == 0 {
		return "nobody"
	}
	from, to := 0, len(runes)
	if modifier != "exact" || s.in(20) {
		to = 1 + s.IntN(len(runes))
	}
	if modifier == "contains" {
		from = s.IntN(to)
	}
	text = string(runes[from:to])
	if strings.TrimSpace(text) == "" {
		return "nobody"
	}
	return escaped(s.of(text, text, strings.ToUpper(text), strings.ToLower(text)))
}

// keyed is a value of :of-type or :identifier.
func (s speaker) keyed(modifier string, v store.Value) string {
	if modifier == "identifier" {
		return s.token(v)
	}
	system, code, _ := strings.Cut(v.Space, "|")
	return escaped(system) + "|" + escaped(s.of(code, code, "none")) + "|" + escaped(v.Name)
}

func (s speaker) cutPath(url string) string {
	parts := strings.Split(url, "/")
	return strings.Join(parts[:1+s.IntN(len(parts))], "/")
}

// moment is an end of a range of time, or a moment nearby, in some precision.
func (s speaker) moment(v store.Value) string {
	ends := slices.DeleteFunc([][]byte{v.Lo, v.Hi}, func(b []byte) bool { return len(b) != 8 })
	if len(ends) == 0 {
		return s.date()
	}
	micros := int64(binary.BigEndian.Uint64(ends[s.IntN(len(ends))]) ^ 1<<63)
	at := time.UnixMicro(micros).UTC().Add([]time.Duration{0, 0, 0, time.Microsecond, -time.Second, 25 * time.Hour}[s.IntN(6)])
	return at.Format(s.of("2006", "2006-01", "2006-01-02", "2006-01-02", "2006-01-02T15:04Z", "2006-01-02T15:04:05Z", "2006-01-02T15:04:05.000-07:00"))
}

func (s speaker) unit(v store.Value) string {
	switch s.IntN(4) {
	case 0:
		return ""
	case 1:
		return "|http://unitsofmeasure.org|" + s.of("mg", "g", "a", "h")
	case 2:
		return "||" + s.of("mg", "gram", "year", "g")
	}
	if v.Space == "" || v.Name == "" {
		return "||" + escaped(s.of("mg", v.Text))
	}
	return "|" + escaped(v.Space) + "|" + escaped(v.Name)
}

func (s speaker) composite(v store.Value) string {
	var parts []string
	for _, part := range v.Parts {
		parts = append(parts, s.value(map[store.Kind]search.Kind{
			store.Code: search.Token, store.Link: search.Reference, store.Text: search.String, store.URI: search.URI, store.Range: search.Quantity,
		}[part.Kind], part))
	}
	if len(parts) == 0 {
		return "none$1"
	}
	return strings.Join(parts, "$")
}

var escapes = strings.NewReplacer(`\`, `\\`, `,`, `\,`, `$`, `\$`, `|`, `\|`)

func escaped(text string) string { return escapes.Replace(text) }
