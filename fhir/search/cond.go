package search

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"candela/fhir"
	"candela/store"
)

// reader turns the values of one search into conditions.
type reader struct {
	*Registry
	now  time.Time
	bare *[]Bare // where bare ids are noted; may be nil
}

// invalid is the refusal of a malformed value; it names the parameter and never
// repeats the value, which may be patient data.
func invalid(name, format string, args ...any) *fhir.Error {
	e := fhir.Errorf(400, fhir.CodeValue, format, args...)
	e.Issues[0].Diagnostics = "search parameter " + quoteName(name) + ": " + e.Issues[0].Diagnostics
	return e
}

// quoteName is a parameter name as it may stand in a message.
func quoteName(name string) string {
	return strconv.QuoteToASCII(name[:min(len(name), 80)])
}

// conds gives the alternatives of one value (what stands between commas, still
// escaped): an entry that meets any of them matches.
func (r reader) conds(p *Param, name, value string) ([]store.Cond, error) {
	switch p.Type {
	case Token:
		return r.tokenConds(p, name, value)
	case Reference:
		return r.linkConds(p, name, unescape(value))
	case String:
		return textConds(store.Starts, name, unescape(value))
	case URI:
		return []store.Cond{{How: store.Is, Name: unescape(value)}}, nil
	case Date:
		return r.dateConds(name, unescape(value))
	case Number:
		return numberConds(name, unescape(value))
	case Quantity:
		return r.quantityConds(name, value)
	case Composite:
		return r.compositeConds(p, name, value)
	default:
		return nearConds(name, value)
	}
}

// cutPrefix takes a comparison prefix off and gives what it asks of a range;
// none is eq.
func cutPrefix(name, value string) (how store.How, rest string, err error) {
	if value == "" || value[0] < 'a' || value[0] > 'z' {
		return store.Inside, value, nil
	}
	at := min(2, len(value))
	switch value[:at] {
	case "eq":
		how = store.Inside
	case "ne":
		how = store.Outside
	case "gt":
		how = store.Greater
	case "lt":
		how = store.Less
	case "ge":
		how = store.AtLeast
	case "le":
		how = store.AtMost
	case "sa":
		how = store.After
	case "eb":
		how = store.Before
	case "ap":
		how = store.Overlaps
	default:
		return 0, "", invalid(name, "unknown prefix; use eq, ne, gt, lt, ge, le, sa, eb or ap")
	}
	return how, value[at:], nil
}

// compositeConds reads a$b: each way to meet every component.
func (r reader) compositeConds(p *Param, name, value string) ([]store.Cond, error) {
	words := split(value, '$')
	if len(words) != len(p.parts) {
		return nil, invalid(name, "a value has %d components joined by $", len(p.parts))
	}
	rows := []store.Cond{{How: store.All}}
	for i := range p.parts {
		if words[i] == "" {
			return nil, invalid(name, "component %d is empty", i+1)
		}
		column, err := r.conds(&p.parts[i].param, name, words[i])
		if err != nil {
			return nil, err
		}
		var next []store.Cond
		for _, row := range rows {
			for _, c := range column {
				next = append(next, store.Cond{How: store.All, Parts: append(slices.Clone(row.Parts), c)})
			}
		}
		rows = next
	}
	return rows, nil
}

// implied are the tests of single parameters that what meets a composite meets,
// too: its code leads to many, its quantity may lead to few.
func implied(types []string, p *Param, c *store.Cond) (out []store.Test) {
	if len(types) != 1 || len(c.Parts) != len(p.parts) {
		return nil
	}
	for i := range c.Parts {
		if q := p.parts[i].alone; q != nil {
			out = append(out, store.Test{Param: q.Code, Role: q.roleIn(c.Parts[i].Space), Cond: c.Parts[i]})
		}
	}
	return out
}

// loosen finds for each component of a composite the parameter that has all its
// values, of several the one of the fewest paths.
func (t *typeParams) loosen(p *Param) {
	for i := range p.parts {
		part := &p.parts[i]
		wanted, exact := plainPaths(p.On, p.Expression, part.path)
		if !exact || part.param.Type == Token && slices.Contains(part.param.shape.types, "code") {
			continue // the system of a code depends on where it was found
		}
		fewest := 0
		for _, q := range t.params {
			if q.Type != part.param.Type || q.added || q.phonetic || supplied(q.Code) {
				continue
			}
			has, _ := plainPaths(q.On, q.Expression, "")
			if covers(has, wanted) && (part.alone == nil || len(has) < fewest) {
				part.alone, fewest = q, len(has)
			}
		}
	}
}

// path is a plain path of element names and the type it is narrowed to.
type path struct{ names, cast string }

// plainPaths are the paths of an expression that read typ, those of below behind
// each of them; exact is false where it has others.
func plainPaths(typ, expression, below string) (out []path, exact bool) {
	exact = true
	for _, branch := range cutTop(normalise(expression), '|') {
		p, plain := plainPath(branch)
		switch {
		case p.names != typ && !strings.HasPrefix(p.names, typ+"."):
			exact = exact && plain
		case !plain || below != "" && p.cast != "":
			exact = false
		case below == "":
			out = append(out, p)
		default:
			for _, end := range cutTop(normalise(below), '|') {
				e, plain := plainPath(end)
				exact = exact && plain
				out = append(out, path{p.names + "." + e.names, e.cast})
			}
		}
	}
	return out, exact && len(out) > 0
}

// plainPath reads a.b.c, a.b as T, (a.b as T) and a.b.as(T).
func plainPath(branch string) (p path, plain bool) {
	p.names, p.cast = cutCast(strings.TrimSpace(branch))
	for _, call := range [...]string{".as(", ".ofType("} {
		if head, typ, ok := strings.Cut(p.names, call); ok && p.cast == "" {
			p.names, p.cast = head, strings.TrimSuffix(typ, ")")
		}
	}
	return p, !strings.ContainsFunc(p.names+p.cast, func(r rune) bool {
		return r != '.' && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
}

// covers says whether all that wanted reads stands in what has reads.
func covers(has, wanted []path) bool {
	for _, w := range wanted {
		if !slices.Contains(has, w) && !slices.Contains(has, path{names: w.names}) {
			return false
		}
	}
	return true
}

// split cuts a parameter value at each sep that no backslash escapes (R4
// search, escaping). The parts keep their escapes.
func split(s string, sep byte) []string {
	if strings.IndexByte(s, sep) < 0 {
		return []string{s}
	}
	var out []string
	from := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case sep:
			out = append(out, s[from:i])
			from = i + 1
		}
	}
	return append(out, s[from:])
}

// checkEscapes says whether each backslash of s escapes one of `,$|\`.
func checkEscapes(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			continue
		}
		i++
		if i == len(s) || strings.IndexByte(`,$|\`, s[i]) < 0 {
			return false
		}
	}
	return true
}

// unescape takes the escapes off; s has passed checkEscapes.
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		out = append(out, s[i])
	}
	return string(out)
}

// place gives a position as latitude and longitude in degrees.
func place(dst []store.Value, n fhir.Node) []store.Value {
	latitude, err1 := strconv.ParseFloat(n.Get("latitude").Text(), 64)
	longitude, err2 := strconv.ParseFloat(n.Get("longitude").Text(), 64)
	if err1 != nil || err2 != nil || math.Abs(latitude) > 90 || math.Abs(longitude) > 180 {
		return dst
	}
	return append(dst, store.Value{Kind: store.Place, Lo: store.OrderedFloat(latitude), Hi: store.OrderedFloat(longitude)})
}

// metres is the length of a unit of near; none is the kilometre.
func metres(unit string) (float64, bool) {
	switch unit {
	case "", "km":
		return 1000, true
	case "m":
		return 1, true
	case "[mi_i]", "mi":
		return 1609.344, true
	case "[mi_us]":
		return 1609.347219, true
	case "[ft_i]":
		return 0.3048, true
	case "[nmi_i]":
		return 1852, true
	}
	return 0, false
}

// defaultRadius is taken where near names no distance.
const defaultRadius = 50_000

// nearConds reads latitude|longitude|distance|unit; the last two may be left out.
func nearConds(name, value string) ([]store.Cond, error) {
	parts := split(value, '|')
	if len(parts) < 2 || len(parts) > 4 {
		return nil, invalid(name, "use latitude|longitude|distance|unit")
	}
	parts = append(parts, "", "")[:4]
	unit, known := metres(unescape(parts[3]))
	latitude, ok1 := degrees(parts[0], 90)
	longitude, ok2 := degrees(parts[1], 180)
	if !ok1 || !ok2 || !known {
		return nil, invalid(name, "latitude and longitude are in degrees, the unit is km, m or [mi_i]")
	}
	radius := float64(defaultRadius)
	if parts[2] != "" {
		v, err := strconv.ParseFloat(parts[2], 64)
		if err != nil || !(v >= 0) || math.IsInf(v, 0) {
			return nil, invalid(name, "the distance is not a number")
		}
		radius = v * unit
	}
	return []store.Cond{{How: store.Near, Lo: store.OrderedFloat(latitude), Hi: store.OrderedFloat(longitude), Radius: radius}}, nil
}

func degrees(s string, limit float64) (float64, bool) {
	v, err := strconv.ParseFloat(s, 64)
	return v, err == nil && math.Abs(v) <= limit
}
