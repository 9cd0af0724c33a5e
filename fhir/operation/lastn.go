package operation

import (
	"context"
	"slices"
	"strings"

	"candela/fhir"
	"candela/fhir/interaction/page"
	"candela/fhir/search"
	"candela/store"
)

const (
	maxLast   = 100    // of one group
	maxGroups = 1000   // of one subject
	maxRows   = 10_000 // of one answer
)

// group is the observations of one code: of every coding that one of them has.
type group struct {
	codes []store.Entry // entries of the parameter code
}

// lastn answers Observation/$lastn: per subject and code the newest max
// observations that meet the search parameters given, newest first, and those
// that are as old as the last of them. Groups are found newest first: each step
// asks for observations whose codes are not known yet, then one scan of the
// subject's code in time order fills the group.
func (c *Catalog) lastn(ctx context.Context, a call) (fhir.Response, error) {
	subjects, rest, err := c.subjects(a)
	if err != nil {
		return fhir.Response{}, err
	}
	clock, ok := c.search.Param(a.Type, "date")
	if !ok {
		return fhir.Response{}, fhir.Errorf(404, fhir.CodeNotSupported, "%s has no date to order by", a.Type)
	}
	l := last{call: a, limit: a.in.number("max", 1, maxLast), newest: []store.Sort{{Param: clock.Code, Desc: true, Role: clock.Role}}}
	if code, ok := c.search.Param(a.Type, "code"); ok {
		l.code = code
	}
	var rows []store.Version
	for _, subject := range subjects {
		more, err := l.of(ctx, sum(subject, rest))
		if err != nil {
			return fhir.Response{}, err
		}
		if rows = append(rows, more...); len(rows) > maxRows {
			return fhir.Response{}, fhir.Errorf(400, fhir.CodeTooCostly, "the answer has more than %d observations; ask for fewer codes or subjects", maxRows)
		}
	}
	out := page.NewBundle(a.Base, "searchset", size(rows))
	out.Total(int64(len(rows)))
	out.Link("self", a.Base+"/"+a.path()+"?"+append(a.in.params([]param{{name: "max"}}), a.in.search...).Encode())
	for _, v := range rows {
		out.Match(v, "match")
	}
	return fhir.Response{Status: 200, Body: out.Bytes()}, nil
}

// subjects are the conditions for the subjects asked for, one by one, and what
// the other parameters ask.
func (c *Catalog) subjects(a call) (subjects []store.Expr, rest store.Expr, err error) {
	var other fhir.Params
	opt := search.Options{Now: c.now()}
	for _, p := range a.in.search {
		name, modifier, _ := strings.Cut(p.Name, ":")
		if name != "patient" && name != "subject" || modifier == "missing" || subjects != nil {
			other = append(other, p)
			continue
		}
		for one := range strings.SplitSeq(p.Value, ",") {
			q, err := c.search.Criteria(a.Type, fhir.Params{{Name: p.Name, Value: one}}.Encode(), opt)
			if err != nil {
				return nil, nil, err
			}
			subjects = append(subjects, q.Where)
		}
	}
	if len(subjects) == 0 {
		return nil, nil, fhir.Errorf(400, fhir.CodeRequired, "$%s needs the parameter patient or subject", a.Operation)
	}
	if len(other) == 0 {
		return subjects, nil, nil
	}
	q, err := c.search.Criteria(a.Type, other.Encode(), opt)
	return subjects, q.Where, err
}

// last is one $lastn on its way.
type last struct {
	call
	limit  int
	newest []store.Sort
	code   *search.Param
}

// of gives the groups of one subject, each newest first.
func (l *last) of(ctx context.Context, where store.Expr) ([]store.Version, error) {
	groups, err := l.groups(ctx, where)
	if err != nil {
		return nil, err
	}
	var out []store.Version
	seen := map[store.RID]bool{}
	for _, g := range groups {
		rows, err := l.fill(ctx, g, where)
		if err != nil {
			return nil, err
		}
		for _, v := range rows {
			if !seen[v.RID] {
				seen[v.RID] = true
				out = append(out, v)
			}
		}
	}
	return out, nil
}

// groups finds the codes that match, newest first. Codings that stand together
// in one observation are one group; a text is a code where there is no coding.
func (l *last) groups(ctx context.Context, where store.Expr) ([]*group, error) {
	var groups []*group
	known := 0
	q := store.Query{Types: []string{l.Type}, Where: where, Sort: l.newest, Count: 64, Entries: true, NoRaw: true}
	for len(groups) <= maxGroups {
		found, err := l.Find(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, v := range found.Versions {
			groups = join(groups, l.codesOf(v))
		}
		if q.After = found.Next; q.After == "" {
			return groups, nil
		}
		var any store.Or
		for _, g := range groups {
			any = append(any, l.codings(g)...)
		}
		if len(any) > known {
			known, q.After = len(any), "" // ask anew, for others only
			q.Where = sum(where, store.Not{Of: any})
		}
	}
	return nil, fhir.Errorf(400, fhir.CodeTooCostly, "the subject has more than %d codes; name the codes or a category", maxGroups)
}

// codesOf are the codings of a row, else its texts.
func (l *last) codesOf(v store.Version) []store.Entry {
	var codings, texts []store.Entry
	for _, e := range v.Entries {
		switch {
		case e.Param != l.code.Code:
		case e.Name != "":
			codings = append(codings, e)
		default:
			texts = append(texts, e)
		}
	}
	if len(codings) > 0 {
		return codings
	}
	return texts
}

// join adds codes to the groups that share one with them, which become one, or
// as a group of their own.
func join(groups []*group, codes []store.Entry) []*group {
	var into *group
	kept := groups[:0]
	for _, g := range groups {
		switch {
		case !g.shares(codes):
			kept = append(kept, g)
		case into == nil:
			into = g
			kept = append(kept, g)
		default:
			into.add(g.codes)
		}
	}
	if into == nil {
		return append(kept, &group{codes: codes})
	}
	into.add(codes)
	return kept
}

func (g *group) shares(codes []store.Entry) bool {
	if len(codes) == 0 {
		return len(g.codes) == 0
	}
	return slices.ContainsFunc(codes, g.has)
}

func (g *group) has(e store.Entry) bool {
	return slices.ContainsFunc(g.codes, func(o store.Entry) bool {
		return o.Space == e.Space && o.Name == e.Name && (e.Name != "" || o.Text == e.Text)
	})
}

func (g *group) add(codes []store.Entry) {
	for _, e := range codes {
		if !g.has(e) {
			g.codes = append(g.codes, e)
		}
	}
}

// coded is the condition that an observation may belong to a group.
func (l *last) coded(g *group) store.Expr {
	switch any := l.codings(g); {
	case len(any) == 1:
		return any[0]
	case len(any) > 1:
		return any
	case len(g.codes) > 0:
		return store.Test{Param: l.code.Code, Cond: store.Cond{How: store.Is}} // one without a code
	default:
		return store.Not{Of: present(l.code.Code)}
	}
}

func (l *last) codings(g *group) store.Or {
	var any store.Or
	for _, e := range g.codes {
		if e.Name != "" {
			any = append(any, store.Test{Param: l.code.Code, Role: l.code.Role, Cond: store.Cond{How: store.Is, Space: e.Space, Name: e.Name}})
		}
	}
	return any
}

// fill reads the newest of a group, and on while they are as old as the last.
func (l *last) fill(ctx context.Context, g *group, where store.Expr) ([]store.Version, error) {
	q := store.Query{Types: []string{l.Type}, Where: sum(where, l.coded(g)), Sort: l.newest, Count: l.limit + 4, Entries: true}
	var rows []store.Version
	for {
		found, err := l.Find(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, v := range found.Versions {
			if g.shares(l.codesOf(v)) {
				rows = append(rows, v)
			}
		}
		q.After = found.Next
		if n := l.cut(rows); n < len(rows) || q.After == "" {
			return rows[:n], nil
		}
	}
}

// cut is how many of the rows belong into the answer: limit, and those as old
// as the last of these.
func (l *last) cut(rows []store.Version) int {
	if len(rows) <= l.limit {
		return len(rows)
	}
	border, dated := l.newest[0].Value(rows[l.limit-1].Entries)
	for i := l.limit; i < len(rows); i++ {
		if at, ok := l.newest[0].Value(rows[i].Entries); !ok || !dated || at != border {
			return i
		}
	}
	return len(rows)
}
