package operation

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"candela/fhir"
	"candela/fhir/interaction/page"
	"candela/fhir/search"
	"candela/store"
)

const (
	// pageSize is how many resources a page has at most, and when _count is not given.
	pageSize = 1000
	// maxReferenced bounds what is brought along because it is referenced.
	maxReferenced = 10_000
)

// bookmark is what a next link remembers: all parameters of the first call, and
// where the page before ended.
type bookmark struct {
	Query  string `json:"q,omitempty"`
	Type   string `json:"t,omitempty"` // of the compartment, where the page begins
	Cursor string `json:"a,omitempty"` // of a block of Type
	// Behind is the last resource of that block that was on the page before.
	Behind store.RID `json:"b,omitempty"`
	Last   string    `json:"l,omitempty"` // Type/id of the last referenced resource
	Second bool      `json:"r,omitempty"` // the compartment is done: referenced resources follow
}

// record is one $everything: a compartment, and what narrows it.
type record struct {
	call
	*Catalog
	owner  fhir.Reference
	types  []string // wanted; empty: all
	since  fhir.Date
	sinced bool
	from   fhir.Date
	to     fhir.Date
	dated  bool
}

// auditEvent is no part of a record unless _type asks for it: it tells who looked,
// and each look would add another.
const auditEvent = "AuditEvent"

// everything answers Patient/[id]/$everything and Encounter/[id]/$everything:
// first the resource itself, then its compartment type by type, each in the order
// it was stored, then what these reference, each once. start and end narrow by the one clinical date of each type; what
// has no such date is always in. Of referenced resources only those come that
// belong to no other patient.
func (c *Catalog) everything(ctx context.Context, a call) (fhir.Response, error) {
	mark, a, err := c.resume(ctx, a)
	if err != nil {
		return fhir.Response{}, err
	}
	self, err := a.Get(ctx, store.Key{Type: a.Type, ID: a.ID})
	if err != nil {
		return fhir.Response{}, err
	}
	rec, err := c.record(a)
	if err != nil {
		return fhir.Response{}, err
	}
	room := a.in.number("_count", pageSize, pageSize)
	var own, more []store.Version
	var next bookmark
	if !mark.Second {
		if own, next, err = rec.members(ctx, mark, room); err != nil {
			return fhir.Response{}, err
		}
	}
	if next.Type == "" {
		if more, err = rec.referenced(ctx, self); err != nil {
			return fhir.Response{}, err
		}
		more = after(more, mark.Last)
		if room -= len(own); len(more) > room {
			next.Second = true
			if more = more[:room]; room > 0 {
				next.Last = more[room-1].Key.String()
			}
		}
	}
	return rec.answer(ctx, own, more, next)
}

// resume puts the parameters of the first page in place of the link's token, so
// that every page is narrowed alike.
func (c *Catalog) resume(ctx context.Context, a call) (bookmark, call, error) {
	var mark bookmark
	token := a.Query.Get(pageParam)
	if token == "" {
		return mark, a, nil
	}
	plain, err := a.Open(ctx, a.purpose(), token)
	if err != nil {
		return mark, a, err
	}
	if json.Unmarshal(plain, &mark) != nil {
		return mark, a, store.ErrCursor
	}
	query, err := fhir.ParseParams(mark.Query)
	if err != nil {
		return mark, a, store.ErrCursor
	}
	d := c.definitionOf(a)
	a.Query, a.Resource = query, fhir.Resource{}
	a.in, err = d.read(a.Request)
	return mark, a, err
}

func (c *Catalog) definitionOf(a call) *definition {
	i := slices.IndexFunc(c.table, func(d definition) bool { return d.Name == a.Operation && d.at(a.Request) })
	return &c.table[i]
}

// path is where the operation was called, below the base.
func (a call) path() string {
	if a.ID == "" {
		return a.Type + "/$" + a.Operation
	}
	return a.Type + "/" + a.ID + "/$" + a.Operation
}

func (a call) purpose() string { return "operation:" + a.path() }

func (c *Catalog) record(a call) (*record, error) {
	rec := &record{call: a, Catalog: c, owner: fhir.Reference{Type: a.Type, ID: a.ID}}
	for _, text := range a.in.texts("_type") {
		if _, known := c.shared[text]; !known {
			return nil, invalid("_type", "resource types, joined by commas")
		}
		rec.types = append(rec.types, text)
	}
	rec.since, rec.sinced = a.in.dateOf("_since")
	var bounded bool
	rec.from, rec.dated = a.in.dateOf("start")
	rec.to, bounded = a.in.dateOf("end")
	rec.dated = rec.dated || bounded
	return rec, nil
}

func (rec *record) wants(typ string) bool {
	return len(rec.types) == 0 && typ != auditEvent || slices.Contains(rec.types, typ)
}

// members is one page of the compartment and where the next one begins. Types
// are asked one by one: each is one scan in the order of the store, however
// much there is.
func (rec *record) members(ctx context.Context, from bookmark, room int) (own []store.Version, next bookmark, err error) {
	for _, t := range rec.memberTypes() {
		if from.Type != "" && t != from.Type || !rec.wants(t) || !rec.Sees(t) {
			continue
		}
		from.Type = t
		for {
			block, err := rec.block(ctx, from, room, len(own) == room)
			if err != nil {
				return nil, next, err
			}
			take := min(len(block.Versions), room-len(own))
			if take < len(block.Versions) {
				if own = append(own, block.Versions[:take]...); take > 0 {
					from.Behind = block.Versions[take-1].RID
				}
				return own, from, nil
			}
			own = append(own, block.Versions...)
			if from = (bookmark{Type: t, Cursor: block.Next}); block.Next == "" {
				break
			}
			if len(own) == room {
				return own, from, nil
			}
		}
		from = bookmark{}
	}
	return own, next, nil
}

// block is a page of one type from the store, without what was shown before: a
// cursor is bound to its page size, so that a page that begins in the middle of
// a block reads the block again. A probe only tells whether there is anything.
func (rec *record) block(ctx context.Context, from bookmark, count int, probe bool) (store.Page, error) {
	q := rec.query(from.Type)
	if rec.sinced {
		q.Where = sum(q.Where, rec.changed())
	}
	q.After, q.Count, q.NoRaw = from.Cursor, count, probe
	found, err := rec.Find(ctx, q)
	found.Versions = slices.DeleteFunc(found.Versions, func(v store.Version) bool { return v.RID <= from.Behind })
	return found, err
}

// query asks for all resources of the type that start and end leave.
func (rec *record) query(typ string) store.Query {
	return store.Query{Types: []string{typ}, Where: sum(rec.belongs(typ), rec.timely(typ))}
}

// memberTypes are the types of the compartment, its owner's first, and for a patient those that
// name one as their patient although R4 lists them in no compartment (Task,
// Device, Contract, GuidanceResponse …).
func (rec *record) memberTypes() []string {
	types := slices.Clone(rec.search.CompartmentTypes(rec.owner.Type))
	if rec.owner.Type == "Patient" {
		for t, shared := range rec.shared {
			if _, ok := rec.patientParam(t); ok && shared {
				types = append(types, t)
			}
		}
	}
	slices.Sort(types)
	types = slices.DeleteFunc(types, func(t string) bool { return t == rec.owner.Type })
	return append([]string{rec.owner.Type}, types...)
}

func (rec *record) patientParam(typ string) (*search.Param, bool) {
	p, ok := rec.search.Param(typ, "patient")
	return p, ok && p.Type == search.Reference && slices.Contains(p.Targets, "Patient")
}

func (rec *record) belongs(typ string) store.Expr {
	if p, ok := rec.patientParam(typ); ok && rec.shared[typ] {
		return store.Test{Param: p.Code, Role: p.Role, Cond: store.Cond{How: store.Is, Space: "Patient", Name: rec.owner.ID}}
	}
	return rec.search.Compartment(rec.owner, typ)
}

func (rec *record) changed() store.Expr {
	at := store.OrderedInt(rec.since.Lo)
	return store.Test{Param: store.ParamUpdated, Cond: store.Cond{How: store.AtLeast, Lo: at, Hi: at}}
}

// timely is what start and end ask of a type: its clinical date, where it has
// one, overlaps them. A date of birth is no date of care.
func (rec *record) timely(typ string) store.Expr {
	if !rec.dated {
		return nil
	}
	for _, p := range rec.search.Params(typ) {
		if p.Role&store.Clock == 0 || p.Code == "birthdate" {
			continue
		}
		return store.Or{store.Not{Of: present(p.Code)}, store.Test{Param: p.Code, Role: p.Role, Cond: overlap(rec.from, rec.to)}}
	}
	return nil
}

// overlap asks for ranges that meet from..to; a zero date is no bound.
func overlap(from, to fhir.Date) store.Cond {
	cond := store.Cond{How: store.Overlaps}
	if from.Precision != 0 {
		cond.Lo = store.OrderedInt(from.Lo)
	}
	if to.Precision != 0 {
		cond.Hi = store.OrderedInt(to.Hi)
	}
	return cond
}

// answer writes the page.
func (rec *record) answer(ctx context.Context, own, more []store.Version, next bookmark) (fhir.Response, error) {
	used := rec.in.params(rec.definitionOf(rec.call).params).Encode()
	out := page.NewBundle(rec.Base, "searchset", size(own)+size(more))
	out.Link("self", strings.TrimSuffix(rec.Base+"/"+rec.path()+"?"+used, "?"))
	if next != (bookmark{}) {
		next.Query = used
		if err := rec.link(ctx, out, next); err != nil {
			return fhir.Response{}, err
		}
	}
	for _, v := range own {
		out.Match(v, "match")
	}
	for _, v := range more {
		out.Match(v, "include")
	}
	return fhir.Response{Status: 200, Body: out.Bytes()}, nil
}

// link writes the link to the page that mark begins.
func (a call) link(ctx context.Context, out *page.Bundle, mark bookmark) error {
	plain, err := json.Marshal(mark)
	if err != nil {
		return err
	}
	token, err := a.Seal(ctx, a.purpose(), plain)
	if err != nil {
		return err
	}
	out.Link("next", a.Base+"/"+a.path()+"?"+pageParam+"="+token)
	return nil
}

func size(versions []store.Version) int {
	bytes := 0
	for _, v := range versions {
		bytes += len(v.Raw) + 256
	}
	return bytes
}
