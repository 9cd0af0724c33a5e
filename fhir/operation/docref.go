package operation

import (
	"context"

	"candela/fhir"
	"candela/fhir/interaction/page"
	"candela/fhir/search"
	"candela/store"
)

// summaryDocument is the type that $docref means when none is named: the
// summary of episode note (C-CDA CCD).
const summaryDocument = "http://loinc.org|34133-9"

// docref answers DocumentReference/$docref (US Core 6.1 and 7.0): the patient's
// current documents whose care, or else their own date, meets start and end;
// without both only the newest one, by default of type CCD if there is any.
// Documents made on demand are not offered: on-demand=true finds none.
func (c *Catalog) docref(ctx context.Context, a call) (fhir.Response, error) {
	mark, a, err := c.resume(ctx, a)
	if err != nil {
		return fhir.Response{}, err
	}
	if a.in.text("patient") == "" {
		return fhir.Response{}, fhir.Errorf(400, fhir.CodeRequired, "$docref needs patient, the id of a Patient")
	}
	var found store.Page
	if !a.in.yes("on-demand") {
		if found, err = c.documents(ctx, a, mark.Cursor); err != nil {
			return fhir.Response{}, err
		}
	}
	used := a.in.params(c.definitionOf(a).params).Encode()
	out := page.NewBundle(a.Base, "searchset", size(found.Versions))
	if mark.Cursor == "" && found.Next == "" {
		out.Total(int64(len(found.Versions)))
	}
	out.Link("self", a.Base+"/"+a.path()+"?"+used)
	if found.Next != "" {
		if err := a.link(ctx, out, bookmark{Query: used, Cursor: found.Next}); err != nil {
			return fhir.Response{}, err
		}
	}
	for _, v := range found.Versions {
		out.Match(v, "match")
	}
	return fhir.Response{Status: 200, Body: out.Bytes()}, nil
}

func (c *Catalog) documents(ctx context.Context, a call, cursor string) (store.Page, error) {
	params := fhir.Params{{Name: "patient", Value: a.in.text("patient")}, {Name: "status", Value: "current"}}
	types, err := tokens(a.in.values["type"])
	if err != nil {
		return store.Page{}, err
	}
	for _, list := range []struct{ name, values string }{{"type", types}, {"_profile", joined(a.in.texts("profile"))}} {
		if list.values != "" {
			params = append(params, fhir.Param{Name: list.name, Value: list.values})
		}
	}
	q, err := c.search.Criteria(a.Type, params.Encode(), search.Options{Now: c.now()})
	if err != nil {
		return store.Page{}, err
	}
	date, _ := c.search.Param(a.Type, "date")
	q.Sort = []store.Sort{{Param: "date", Desc: true, Role: date.Role}}
	start, from := a.in.dateOf("start")
	end, to := a.in.dateOf("end")
	if from || to {
		q.After, q.Count = cursor, a.in.number("_count", pageSize, pageSize)
		q.Where = sum(q.Where, timed(start, end))
		return a.Find(ctx, q)
	}
	return c.newest(ctx, a, q, types == "")
}

// newest is the newest document, of type CCD where any may come and there is one.
func (c *Catalog) newest(ctx context.Context, a call, q store.Query, any bool) (store.Page, error) {
	q.Count = 1
	if any {
		summary, err := c.search.Criteria(a.Type, fhir.Params{{Name: "type", Value: summaryDocument}}.Encode(), search.Options{Now: c.now()})
		if err != nil {
			return store.Page{}, err
		}
		first := q
		first.Where = sum(q.Where, summary.Where)
		found, err := a.Find(ctx, first)
		if err != nil || len(found.Versions) > 0 {
			found.Next = ""
			return found, err
		}
	}
	found, err := a.Find(ctx, q)
	found.Next = ""
	return found, err
}

// timed holds for documents about care in start..end, and for those that do not
// say when the care was and were written then.
func timed(start, end fhir.Date) store.Expr {
	within := overlap(start, end)
	return store.Or{
		store.Test{Param: "period", Cond: within},
		sum(store.Not{Of: present("period")}, store.Test{Param: "date", Cond: within}),
	}
}

// tokens are Codings as one search value; in a URL they are tokens already.
func tokens(codings []value) (string, error) {
	out := ""
	for _, v := range codings {
		token := v.text
		if v.node.Exists() {
			token = tokenOf(v.node)
		}
		if token == "" {
			return "", invalid("type", "a Coding with a code")
		}
		if out != "" {
			out += ","
		}
		out += token
	}
	return out, nil
}

func joined(texts []string) string {
	out := ""
	for i, t := range texts {
		if i > 0 {
			out += ","
		}
		out += escape(t)
	}
	return out
}
