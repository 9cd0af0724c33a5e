package operation

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"candela/fhir"
	"candela/store"
)

// many is the max of a parameter that may stand any number of times.
const many = 0

// param is one input parameter: its FHIR type, and how often it may stand.
type param struct {
	name, kind string
	max        int
}

// complex says that the value is an object and cannot stand in a URL; a Coding
// can, as a token.
func (p param) complex() bool { return p.kind[0] >= 'A' && p.kind[0] <= 'Z' }

// value is one value: text of a primitive, node of an object.
type value struct {
	text string
	node fhir.Node
}

// inputs are the parameters of one call.
type inputs struct {
	values map[string][]value
	search fhir.Params // what is no parameter of the operation itself
}

func (in inputs) text(name string) string {
	if v := in.values[name]; len(v) > 0 {
		return v[0].text
	}
	return ""
}

func (in inputs) texts(name string) []string {
	var out []string
	for _, v := range in.values[name] {
		out = append(out, v.text)
	}
	return out
}

func (in inputs) node(name string) fhir.Node {
	if v := in.values[name]; len(v) > 0 {
		return v[0].node
	}
	return fhir.Node{}
}

func (in inputs) yes(name string) bool { return in.text(name) == "true" }

// number is a positive integer, otherwise when absent; more than limit is limit.
func (in inputs) number(name string, otherwise, limit int) int {
	n, err := strconv.Atoi(in.text(name))
	if err != nil {
		return min(otherwise, limit)
	}
	return min(n, limit)
}

// params are the values as URL parameters, in the order of the definition; fromURL
// reads them back.
func (in inputs) params(d []param) fhir.Params {
	var out fhir.Params
	for _, p := range d {
		for _, v := range in.values[p.name] {
			text := v.text
			switch {
			case v.node.Exists():
				text = tokenOf(v.node)
			case p.kind != "Coding":
				text = escape(text)
			}
			out = append(out, fhir.Param{Name: p.name, Value: text})
		}
	}
	return out
}

// Foresee is the error that Do would answer r with before it looks at data. What
// changes data is not done within a transaction, whose writes are one commit.
func (c *Catalog) Foresee(r fhir.Request) error {
	for i := range c.table {
		d := &c.table[i]
		if d.Name != r.Operation || !d.at(r) {
			continue
		}
		if d.writes {
			return fhir.Errorf(400, fhir.CodeNotSupported, "$%s changes data and is not part of a transaction; a batch takes it", d.Name)
		}
		_, err := d.read(r)
		return err
	}
	return c.absent(r.Operation)
}

// read takes the parameters of the URL and of a Parameters resource together.
// What the definition does not know is refused; so is a parameter without a value
// where data would change, since to ignore it may be the opposite of what is meant.
func (d *definition) read(r fhir.Request) (inputs, error) {
	in := inputs{values: map[string][]value{}}
	for _, q := range r.Query {
		if q.Value == "" && d.writes {
			return in, invalid(q.Name, "it has no value")
		}
		if q.Name == pageParam || q.Value == "" {
			continue
		}
		if err := d.fromURL(&in, q); err != nil {
			return in, err
		}
	}
	if err := d.fromBody(&in, r.Resource); err != nil {
		return in, err
	}
	for _, p := range d.params {
		if n := len(in.values[p.name]); p.max != many && n > p.max {
			return in, invalid(p.name, "given %d times; it may stand %d time", n, p.max)
		}
	}
	return in, nil
}

// pageParam is the sealed token of a next link.
const pageParam = "_page"

func (d *definition) find(name string) (param, bool) {
	i := slices.IndexFunc(d.params, func(p param) bool { return p.name == name })
	if i < 0 {
		return param{}, false
	}
	return d.params[i], true
}

func (d *definition) fromURL(in *inputs, q fhir.Param) error {
	p, known := d.find(q.Name)
	switch {
	case !known && d.open:
		in.search = append(in.search, q)
		return nil
	case !known:
		return d.unknown(q.Name)
	case p.complex() && p.kind != "Coding":
		return invalid(p.name, "a %s can only stand in a Parameters resource in the body of a POST", p.kind)
	}
	texts := []string{q.Value}
	if p.max == many {
		texts = split(q.Value)
	}
	for _, t := range texts {
		if p.kind != "Coding" {
			t = unescape(t)
		}
		if err := in.add(p, value{text: t}); err != nil {
			return err
		}
	}
	return nil
}

// fromBody reads a Parameters resource, or a body that is the operation's one
// resource parameter itself.
func (d *definition) fromBody(in *inputs, body fhir.Resource) error {
	if !body.Exists() {
		return nil
	}
	if body.Type() != "Parameters" {
		for _, p := range d.params {
			if p.kind == "Resource" {
				return in.add(p, value{node: body.Root()})
			}
		}
		return fhir.Errorf(400, fhir.CodeInvalid, "an operation takes a Parameters resource").At("resourceType")
	}
	for one := range body.Root().Get("parameter").Elements() {
		name := one.Get("name").Text()
		p, known := d.find(name)
		if !known && !d.open {
			return d.unknown(name)
		}
		v, ok := valueOf(p, one)
		if !ok {
			return invalid(name, "the value is missing or of the wrong type")
		}
		if !known {
			in.search = append(in.search, fhir.Param{Name: name, Value: v.text})
			continue
		}
		if err := in.add(p, v); err != nil {
			return err
		}
	}
	return nil
}

// valueOf is the value of a Parameters.parameter: an object for complex types,
// else the text of any primitive.
func valueOf(p param, n fhir.Node) (value, bool) {
	if p.kind == "Resource" {
		res := n.Get("resource")
		return value{node: res}, res.Kind() == fhir.Object
	}
	if p.kind != "" && p.complex() {
		v := n.Get("value" + p.kind)
		return value{node: v}, v.Kind() == fhir.Object
	}
	for key, v := range n.Members() {
		if strings.HasPrefix(key, "value") && v.Text() != "" {
			return value{text: v.Text()}, true
		}
	}
	return value{}, false
}

func (in *inputs) add(p param, v value) error {
	if err := p.check(v); err != nil {
		return err
	}
	in.values[p.name] = append(in.values[p.name], v)
	return nil
}

// check refuses text that is none of the parameter's type.
func (p param) check(v value) error {
	switch p.kind {
	case "positiveInt":
		if n, err := strconv.Atoi(v.text); err != nil || n < 1 {
			return invalid(p.name, "a whole number from 1")
		}
	case "boolean":
		if v.text != "true" && v.text != "false" {
			return invalid(p.name, "true or false")
		}
	case "date", "dateTime", "instant":
		// A space can only be the plus of an offset that was not percent-encoded.
		if _, err := fhir.ParseDate(strings.Replace(v.text, " ", "+", 1), nil); err != nil {
			return invalid(p.name, "a date like 2026-01-31 or 2026-01-31T12:00:00Z")
		}
	case "decimal":
		if _, err := fhir.ParseDecimal(v.text); err != nil {
			return invalid(p.name, "a decimal number")
		}
	case "id":
		if !fhir.ValidID(v.text) {
			return invalid(p.name, "an id: 1 to 64 characters of A-Z a-z 0-9 - and .")
		}
	}
	return nil
}

func (d *definition) unknown(name string) error {
	known := make([]string, len(d.params))
	for i, p := range d.params {
		known[i] = p.name
	}
	takes := "it takes none"
	if len(known) > 0 {
		takes = "it takes " + strings.Join(known, ", ")
	}
	return fhir.Errorf(400, fhir.CodeNotSupported, "$%s has no parameter %s; %s", d.Name, quoteName(name), takes)
}

// invalid refuses a value; it names the parameter and never repeats the value,
// which may be patient data.
func invalid(name, format string, args ...any) *fhir.Error {
	e := fhir.Errorf(400, fhir.CodeValue, format, args...)
	e.Issues[0].Diagnostics = "operation parameter " + quoteName(name) + ": " + e.Issues[0].Diagnostics
	return e
}

func quoteName(name string) string { return strconv.QuoteToASCII(name[:min(len(name), 80)]) }

// dateOf is a date parameter as the moments it covers; ok is false when absent.
func (in inputs) dateOf(name string) (fhir.Date, bool) {
	d, err := fhir.ParseDate(strings.Replace(in.text(name), " ", "+", 1), nil)
	return d, err == nil
}

func statusOf(err error) int {
	var refusal *fhir.Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &refusal):
		return refusal.Status
	case errors.Is(err, store.ErrPrecondition), errors.Is(err, store.ErrConflict):
		return 412
	default:
		return 500
	}
}

// tokenOf is a Coding as a search value.
func tokenOf(coding fhir.Node) string {
	token := escape(coding.Get("code").Text())
	if system := coding.Get("system").Text(); system != "" {
		token = escape(system) + "|" + token
	}
	return token
}

// escape makes text a part of a search value (R4 search, escaping).
func escape(text string) string {
	if !strings.ContainsAny(text, `\,$|`) {
		return text
	}
	return strings.NewReplacer(`\`, `\\`, ",", `\,`, "$", `\$`, "|", `\|`).Replace(text)
}

func unescape(text string) string {
	return strings.NewReplacer(`\\`, `\`, `\,`, ",", `\$`, "$", `\|`, "|").Replace(text)
}

// split cuts a value at each comma that no backslash escapes.
func split(text string) []string {
	var out []string
	from := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case ',':
			out = append(out, text[from:i])
			from = i + 1
		}
	}
	return append(out, text[from:])
}
