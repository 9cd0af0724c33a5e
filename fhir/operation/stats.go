package operation

import (
	"context"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"candela/fhir"
	"candela/fhir/search"
	"candela/store"
)

// maxMeasured bounds the observations of one code that $stats reads.
const maxMeasured = 200_000

// unit is what a quantity is measured in.
type unit struct{ system, code, text string }

func (u unit) same(o unit) bool {
	if u.code != "" || o.code != "" {
		return u.system == o.system && u.code == o.code
	}
	return u.text == o.text
}

// measured is what the observations of one code say.
type measured struct {
	code   string // as a token: system|code, or the code alone
	coding []byte // as JSON
	total  int    // with and without a value
	unit   unit
	values []point
	source []store.Version
}

// stats answers Observation/$stats: an Observation per code with a component
// per statistic. Values are Observation.valueQuantity or that of the component
// that has the code. Observations entered in error or cancelled do not count;
// those without a value, or with a comparator, count in total-count only. All
// values must have one unit: another is 422.
func (c *Catalog) stats(ctx context.Context, a call) (fhir.Response, error) {
	codes, err := codesOf(a.in)
	if err != nil {
		return fhir.Response{}, err
	}
	wanted := a.in.texts("statistic")
	if err := checkStatistics(wanted); err != nil {
		return fhir.Response{}, err
	}
	where, period, err := c.population(a)
	if err != nil {
		return fhir.Response{}, err
	}
	out := []byte(`{"resourceType":"Parameters","parameter":[`)
	var sources []store.Version
	for i, code := range codes {
		m, err := c.measure(ctx, a, code, where)
		if err != nil {
			return fhir.Response{}, err
		}
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, `{"name":"statistics","resource":`...)
		out = append(m.report(out, a.in.text("subject"), period, wanted), '}')
		sources = append(sources, m.source...)
	}
	if a.in.yes("include") {
		out = appendSources(out, sources[:min(len(sources), a.in.number("limit", len(sources), maxRows))])
	}
	return fhir.Response{Status: 200, Body: append(out, `]}`...)}, nil
}

// appendSources writes each observation once, though several codes used it.
func appendSources(out []byte, sources []store.Version) []byte {
	seen := map[store.RID]bool{}
	for _, v := range sources {
		if !seen[v.RID] {
			seen[v.RID] = true
			out = append(out, `,{"name":"source","resource":`...)
			out = append(fhir.AppendStamped(out, v.Raw, v.Number, v.Time), '}')
		}
	}
	return out
}

// codesOf are the codes asked for, as tokens: coding, and code with or without system.
func codesOf(in inputs) ([]string, error) {
	system := in.text("system")
	var out []string
	for _, code := range in.texts("code") {
		if strings.Contains(code, "|") || system == "" {
			out = append(out, code)
			continue
		}
		out = append(out, escape(system)+"|"+escape(code))
	}
	for _, v := range in.values["coding"] {
		if v.node.Exists() {
			out = append(out, tokenOf(v.node))
		} else {
			out = append(out, v.text)
		}
	}
	if len(out) == 0 || slices.Contains(out, "") {
		return nil, fhir.Errorf(400, fhir.CodeRequired, "$stats needs a code (with its system), or a coding")
	}
	return out, nil
}

// population is the condition of subject, time and status, and the time as JSON.
func (c *Catalog) population(a call) (store.Expr, string, error) {
	subject := fhir.ParseReference(a.in.text("subject"))
	if subject.Type == "" || subject.Base != "" && subject.Base != a.Base {
		return nil, "", fhir.Errorf(400, fhir.CodeRequired, "$stats needs subject: a reference like Patient/1")
	}
	params := fhir.Params{{Name: "subject", Value: subject.Type + "/" + subject.ID}, {Name: "status:not", Value: "entered-in-error"}, {Name: "status:not", Value: "cancelled"}}
	period := a.in.node("period")
	from, to := period.Get("start").Text(), period.Get("end").Text()
	if text := a.in.text("duration"); text != "" {
		hours, _ := fhir.ParseDecimal(text) // was checked
		now := c.now().UTC()
		if hours.Sign() <= 0 || hours.Float() > 2e6 {
			return nil, "", invalid("duration", "hours, more than 0")
		}
		from, to = now.Add(-time.Duration(hours.Float()*float64(time.Hour))).Format(fhir.InstantForm), now.Format(fhir.InstantForm)
	}
	said := []byte{'{'}
	for _, end := range []struct{ name, prefix, text string }{{"start", "ge", from}, {"end", "le", to}} {
		if end.text == "" {
			continue
		}
		params = append(params, fhir.Param{Name: "date", Value: end.prefix + end.text})
		if len(said) > 1 {
			said = append(said, ',')
		}
		said = append(append(append(said, fhir.Quote(end.name)...), ':'), fhir.Quote(end.text)...)
	}
	q, err := c.search.Criteria(a.Type, params.Encode(), search.Options{Now: c.now()})
	return q.Where, string(append(said, '}')), err
}

// measure reads what one code has.
func (c *Catalog) measure(ctx context.Context, a call, code string, where store.Expr) (*measured, error) {
	by, err := c.search.Criteria(a.Type, fhir.Params{{Name: "combo-code", Value: code}}.Encode(), search.Options{Now: c.now()})
	if err != nil {
		return nil, err
	}
	m, keep := &measured{code: code}, 0
	if a.in.yes("include") {
		keep = a.in.number("limit", maxRows, maxRows)
	}
	q := store.Query{Types: []string{a.Type}, Where: sum(where, by.Where), Count: pageSize}
	for {
		found, err := a.Find(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, v := range found.Versions {
			if err := m.take(v, keep); err != nil {
				return nil, err
			}
		}
		if q.After = found.Next; q.After == "" {
			return m, nil
		}
		if m.total > maxMeasured {
			return nil, fhir.Errorf(400, fhir.CodeTooCostly, "there are more than %d observations; ask a shorter period", maxMeasured)
		}
	}
}

// take adds the value of an observation, or of its component that has the code.
func (m *measured) take(v store.Version, keep int) error {
	root := fhir.Stored(v.Raw).Root()
	if len(m.source) < keep {
		m.source = append(m.source, v)
	}
	m.total++
	when := momentOf(root)
	if m.named(root) {
		return m.add(root.Get("valueQuantity"), when)
	}
	for component := range root.Get("component").Elements() {
		if m.named(component) {
			return m.add(component.Get("valueQuantity"), when)
		}
	}
	return nil
}

// named says whether the element's code is the one asked for, and keeps its
// first coding as the answer's code.
func (m *measured) named(n fhir.Node) bool {
	for coding := range n.Path("code", "coding").Elements() {
		system, code := escape(coding.Get("system").Text()), escape(coding.Get("code").Text())
		if strings.EqualFold(m.code, code) || strings.EqualFold(m.code, system+"|"+code) {
			if m.coding == nil {
				m.coding = coding.Raw()
			}
			return true
		}
	}
	return false
}

func (m *measured) add(quantity fhir.Node, when time.Time) error {
	value := quantity.Get("value")
	if value.Kind() != fhir.Number || quantity.Get("comparator").Exists() {
		return nil
	}
	d, err := fhir.ParseDecimal(value.Text())
	if err != nil {
		return nil //nolint:nilerr // a number that cannot be one of a measurement is left out
	}
	u := unit{quantity.Get("system").Text(), quantity.Get("code").Text(), quantity.Get("unit").Text()}
	if len(m.values) == 0 {
		m.unit = u
	}
	if !m.unit.same(u) {
		return fhir.Errorf(422, fhir.CodeInvariant, "the observations have different units; statistics over them would mean nothing").At("Observation.value")
	}
	exact, _ := new(big.Rat).SetString(d.String())
	m.values = append(m.values, point{decimal: d, value: exact, when: when})
	return nil
}

// momentOf is when the observation was made, for the regression; zero when it is not known.
func momentOf(root fhir.Node) time.Time {
	_, n := root.Pick([]string{"effectiveDateTime", "effectiveInstant", "effectivePeriod"})
	if n.Kind() == fhir.Object {
		n = n.Get("start")
	}
	d, err := fhir.ParseDate(n.Text(), nil)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMicro(d.Lo)
}

// report writes the Observation with the statistics.
func (m *measured) report(out []byte, subject, period string, wanted []string) []byte {
	out = append(out, `{"resourceType":"Observation","status":"final","code":{"coding":[`...)
	out = append(append(out, m.codingOrAsked()...), `]},"subject":{"reference":`...)
	out = append(fhir.AppendQuote(out, subject), '}')
	if len(period) > 2 {
		out = append(append(out, `,"effectivePeriod":`...), period...)
	}
	out = append(out, `,"component":[`...)
	sample := newSample(m.values)
	for i, name := range wanted {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, `{"code":{"coding":[{"system":"`+statisticSystem+`","code":`...)
		out = append(fhir.AppendQuote(out, name), `}]},`...)
		out = append(m.component(out, sample, name), '}')
	}
	return append(out, `]}`...)
}

func (m *measured) codingOrAsked() []byte {
	if m.coding != nil {
		return m.coding
	}
	system, code, ok := strings.Cut(m.code, "|")
	if !ok {
		system, code = "", m.code
	}
	out := []byte{'{'}
	if system != "" {
		out = append(append(append(out, `"system":`...), fhir.Quote(unescape(system))...), ',')
	}
	return append(append(append(out, `"code":`...), fhir.Quote(unescape(code))...), '}')
}

// component writes the value of one statistic, or that there is none.
func (m *measured) component(out []byte, s sample, name string) []byte {
	switch name {
	case "count":
		return strconv.AppendInt(append(out, `"valueInteger":`...), int64(len(m.values)), 10)
	case "total-count":
		return strconv.AppendInt(append(out, `"valueInteger":`...), int64(m.total), 10)
	}
	text, ok := s.statistic(name)
	if !ok {
		return append(out, `"dataAbsentReason":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/data-absent-reason","code":"not-applicable"}]}`...)
	}
	out = append(append(out, `"valueQuantity":{"value":`...), text...)
	if name != "skew" && name != "kurtosis" && name != "variance" && name != "regression" {
		out = m.unit.append(out)
	}
	return append(out, '}')
}

func (u unit) append(out []byte) []byte {
	for _, one := range []struct{ name, text string }{{"unit", u.text}, {"system", u.system}, {"code", u.code}} {
		if one.text != "" {
			out = append(append(append(append(out, ','), fhir.Quote(one.name)...), ':'), fhir.Quote(one.text)...)
		}
	}
	return out
}
