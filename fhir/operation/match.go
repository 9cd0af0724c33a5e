package operation

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strconv"
	"strings"

	"candela/fhir"
	"candela/fhir/interaction/page"
	"candela/fhir/search"
	"candela/store"
)

const (
	defaultMatches = 10
	maxMatches     = 100
	perBlock       = 200 // candidates one block brings at most
	maxBlocks      = 24

	gradeURL  = "http://hl7.org/fhir/StructureDefinition/match-grade"
	weightURL = "https://candela.health/fhir/StructureDefinition/match-weight"
)

// match answers Patient/$match: patients that may be the one given, best first,
// with the score as a probability, the grade (extension match-grade) and what
// each field added or took (extension match-weight: field, comparison and
// weight in bits; see score.go). Candidates come from searches of which a true
// match is likely to meet one: same identifier, phone or e-mail; a name and the
// birth date or its year; both names.
func (c *Catalog) match(ctx context.Context, a call) (fhir.Response, error) {
	given := a.in.node("resource")
	if given.Kind() != fhir.Object || given.Get("resourceType").Text() != a.Type {
		return fhir.Response{}, fhir.Errorf(400, fhir.CodeRequired, "$match takes a Parameters resource with the %s to look for as resource", a.Type).At("Parameters.parameter")
	}
	wanted := personOf(given)
	found, err := c.candidates(ctx, a, wanted)
	if err != nil {
		return fhir.Response{}, err
	}
	results := ranked(wanted, found, a.in.yes("onlyCertainMatches"))
	results = results[:min(len(results), a.in.number("count", defaultMatches, maxMatches))]
	out := page.NewBundle(a.Base, "searchset", 0)
	out.Total(int64(len(results)))
	for _, one := range results {
		out.Graded(one.version, one.search())
	}
	return fhir.Response{Status: 200, Body: out.Bytes()}, nil
}

// candidates are the patients of all blocks, each once.
func (c *Catalog) candidates(ctx context.Context, a call, p person) ([]store.Version, error) {
	blocks := p.blocks()
	if len(blocks) == 0 {
		return nil, fhir.Errorf(422, fhir.CodeRequired, "the patient needs an identifier, a phone or e-mail, or a name with a birth date or a second name to be looked for").At("Parameters.parameter.resource")
	}
	var out []store.Version
	seen := map[store.RID]bool{}
	for _, block := range blocks[:min(len(blocks), maxBlocks)] {
		q, err := c.search.Criteria(a.Type, block.Encode(), search.Options{Now: c.now()})
		if err != nil {
			return nil, err
		}
		q.Count = perBlock
		found, err := a.Find(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, v := range found.Versions {
			if !seen[v.RID] {
				seen[v.RID] = true
				out = append(out, v)
			}
		}
	}
	return out, nil
}

// blocks are the searches that bring candidates, most selective first.
func (p person) blocks() []fhir.Params {
	var out []fhir.Params
	for _, id := range p.identifiers {
		out = append(out, fhir.Params{{Name: "identifier", Value: id.token()}})
	}
	for _, t := range slices.Concat(p.phones, p.emails) {
		out = append(out, fhir.Params{{Name: "telecom", Value: escape(t.raw)}})
	}
	year := p.birth[:min(len(p.birth), 4)]
	for _, n := range p.names {
		family, given := n.family, n.given
		for _, pair := range [][2]fhir.Param{
			{{Name: "family", Value: prefix(family, 4)}, {Name: "birthdate", Value: p.birth}},
			{{Name: "given", Value: prefix(given, 3)}, {Name: "birthdate", Value: p.birth}},
			{{Name: "family", Value: prefix(family, 8)}, {Name: "given", Value: prefix(given, 2)}},
			{{Name: "family", Value: prefix(family, 4)}, {Name: "birthdate", Value: year}},
			{{Name: "family", Value: prefix(family, 3)}, {Name: "given", Value: prefix(given, 3)}},
		} {
			if pair[0].Value != "" && pair[1].Value != "" {
				out = append(out, pair[:])
			}
		}
	}
	return out
}

// prefix is the first letters of a name: string search finds what starts so,
// and so also what is misspelled behind them.
func prefix(name string, letters int) string {
	r := []rune(name)
	return escape(strings.TrimSpace(string(r[:min(len(r), letters)])))
}

// result is one candidate with its score.
type result struct {
	version store.Version
	fields  []field
	bits    float64
}

// probability is the posterior of the prior odds and the bits of all fields.
func (r result) probability() float64 { return 1 / (1 + math.Exp2(-(priorBits + r.bits))) }

// grade is the probability as a code of match-grade.
func (r result) grade() string {
	switch p := r.probability(); {
	case p >= 0.999:
		return "certain"
	case p >= 0.95:
		return "probable"
	case p >= 0.5:
		return "possible"
	default:
		return "certainly-not"
	}
}

// ranked scores the candidates, best first, without those that are certainly
// not the one. Certain matches are shown as such only when nobody else comes
// near: two certain ones are a duplicate that a person must judge, so
// onlyCertain then gives none (R4 patient-operation-match).
func ranked(wanted person, found []store.Version, onlyCertain bool) []result {
	var out []result
	for _, v := range found {
		r := result{version: v, fields: compare(wanted, personOf(fhir.Stored(v.Raw).Root()))}
		for _, f := range r.fields {
			r.bits += f.bits
		}
		if g := r.grade(); g != "certainly-not" && (!onlyCertain || g == "certain") {
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, func(a, b result) int { return cmp.Compare(b.bits, a.bits) })
	if onlyCertain && len(out) > 1 {
		return nil
	}
	return out
}

// search is Bundle.entry.search of the result.
func (r result) search() []byte {
	out := []byte(`{"extension":[{"url":"` + gradeURL + `","valueCode":"` + r.grade() + `"}`)
	for _, f := range r.fields {
		out = append(out, `,{"url":"`+weightURL+`","extension":[{"url":"field","valueCode":"`+f.name+`"},{"url":"comparison","valueCode":"`+f.how+`"},{"url":"weight","valueDecimal":`...)
		out = strconv.AppendFloat(out, f.bits, 'f', 2, 64)
		out = append(out, `}]}`...)
	}
	out = append(out, `],"mode":"match","score":`...)
	out = strconv.AppendFloat(out, min(r.probability(), 0.99999), 'f', 5, 64)
	return append(out, '}')
}
