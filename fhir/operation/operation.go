// Package operation is the FHIR operations of this server ($everything, $meta,
// $lastn, $stats, $docref, $match, $erase; R4 operations.html): each a function of its
// input parameters and of what the caller may see.
//
// It knows the operations' definitions and reads and writes through a View
// only. It must not know a store, HTTP, or what a caller's rules are.
package operation

import (
	"context"
	"slices"
	"strings"
	"time"

	"candela/fhir"
	"candela/fhir/audit"
	"candela/fhir/operation/erase"
	"candela/fhir/search"
	"candela/store"
)

// View is what one caller may see and do: all that an operation gets. Its
// errors are the store's sentinels and *fhir.Error.
type View interface {
	// Sees says whether the caller may search the type at all.
	Sees(typ string) bool
	// Get is the current version of one resource.
	Get(ctx context.Context, k store.Key) (store.Version, error)
	Find(ctx context.Context, q store.Query) (store.Page, error)
	// Whole is everything, for those who may erase all; others are refused.
	Whole() (erase.Whole, error)
	// Do does another interaction as the same caller.
	Do(ctx context.Context, r fhir.Request) (fhir.Response, error)
	Pages
}

// Pages seals what a page link remembers (page.Sealer).
type Pages interface {
	Seal(ctx context.Context, purpose string, plain []byte) (string, error)
	Open(ctx context.Context, purpose, token string) ([]byte, error)
}

// Operation is where an operation can be called, for the CapabilityStatement.
type Operation struct {
	Name string // without $
	URL  string // canonical of its OperationDefinition
	// Type is the resource type; "" is all types.
	Type string
	// System, OnType and Instance say below what it is called: the base, a type
	// or one resource.
	System, OnType, Instance bool
}

// Catalog is the operations that are served. Safe for concurrent use.
type Catalog struct {
	search *search.Registry
	now    func() time.Time
	types  []string
	shared map[string]bool // types that belong to no patient
	table  []definition
}

// definition is an operation with its input parameters and its function.
type definition struct {
	Operation
	params []param
	open   bool // other parameters are search parameters
	writes bool // it changes data: POST only
	asked  bool // served only where the server allows it
	do     func(ctx context.Context, a call) (fhir.Response, error)
}

// call is one invocation.
type call struct {
	fhir.Request
	View
	in inputs
}

// New makes the catalog for the resource types that are served. Operations that
// a server has to allow (erase, disclosures) are served where allowed names them.
func New(registry *search.Registry, types []string, now func() time.Time, allowed ...string) *Catalog {
	c := &Catalog{search: registry, types: types, now: now, shared: map[string]bool{}}
	members := registry.CompartmentTypes("Patient")
	for _, t := range types {
		c.shared[t] = !slices.Contains(members, t)
	}
	c.table = slices.DeleteFunc(c.definitions(), func(d definition) bool { return d.asked && !slices.Contains(allowed, d.Name) })
	return c
}

// Operations lists what is served.
func (c *Catalog) Operations() []Operation {
	out := make([]Operation, len(c.table))
	for i, d := range c.table {
		out[i] = d.Operation
	}
	return out
}

// Do does the operation that r names. Errors are *fhir.Error and the store's
// sentinels; an operation that is not served there is 404.
func (c *Catalog) Do(ctx context.Context, r fhir.Request, v View) (fhir.Response, error) {
	for i := range c.table {
		d := &c.table[i]
		if d.Name != r.Operation || !d.at(r) {
			continue
		}
		if d.writes && r.Safe {
			refusal := fhir.Errorf(405, fhir.CodeNotSupported, "$%s changes data; it takes POST", d.Name)
			refusal.Allow = "POST"
			return fhir.Response{}, refusal
		}
		in, err := d.read(r)
		if err != nil {
			return fhir.Response{}, err
		}
		return d.do(ctx, call{r, v, in})
	}
	return fhir.Response{}, c.absent(r.Operation)
}

// absent is 404; it says where the operation would be called, when there is one.
func (c *Catalog) absent(name string) error {
	var places []string
	for _, d := range c.table {
		if d.Name == name {
			places = append(places, d.places()...)
		}
	}
	if len(places) > 0 {
		return fhir.Errorf(404, fhir.CodeNotSupported, "the operation is not called here but as %s", strings.Join(places, ", "))
	}
	return fhir.Errorf(404, fhir.CodeNotSupported, "this server has no such operation; /metadata lists what it has")
}

// places are the forms of URL that it is called by.
func (d *definition) places() (out []string) {
	typ := d.Type
	if typ == "" {
		typ = "[Type]"
	}
	for _, level := range []struct {
		here bool
		path string
	}{{d.System, ""}, {d.OnType, typ + "/"}, {d.Instance, typ + "/[id]/"}} {
		if level.here {
			out = append(out, level.path+"$"+d.Name)
		}
	}
	return out
}

// at says whether the operation is called where r calls it.
func (d *definition) at(r fhir.Request) bool {
	switch {
	case r.Type == "":
		return d.System
	case d.Type != "" && d.Type != r.Type:
		return false
	case r.ID == "":
		return d.OnType
	default:
		return d.Instance
	}
}

const (
	base   = "http://hl7.org/fhir/OperationDefinition/"
	usCore = "http://hl7.org/fhir/us/core/OperationDefinition/"
	own    = "https://candela.health/fhir/OperationDefinition/" // operations of this server
)

func (c *Catalog) definitions() []definition {
	paging := []param{{"_since", "instant", 1}, {"_type", "code", many}, {"_count", "positiveInt", 1}}
	dated := append([]param{{"start", "date", 1}, {"end", "date", 1}}, paging...)
	changed := []param{{"meta", "Meta", 1}}
	stats := []param{
		{"subject", "uri", 1}, {"code", "string", many}, {"system", "uri", 1}, {"coding", "Coding", many}, {"duration", "decimal", 1},
		{"period", "Period", 1}, {"statistic", "code", many}, {"include", "boolean", 1}, {"limit", "positiveInt", 1},
	}
	docref := []param{
		{"patient", "id", 1}, {"start", "dateTime", 1}, {"end", "dateTime", 1}, {"type", "Coding", many},
		{"on-demand", "boolean", 1}, {"profile", "canonical", many}, {"_count", "positiveInt", 1},
	}
	match := []param{{"resource", "Resource", 1}, {"onlyCertainMatches", "boolean", 1}, {"count", "positiveInt", 1}}
	told := []param{{"since", "dateTime", 1}, {"all", "boolean", 1}, {"format", "code", 1}}
	erased := []param{{"dry-run", "boolean", 1}, {"shared", "code", 1}, {"reason", "string", 1}}
	return []definition{
		{Operation: Operation{"everything", base + "Patient-everything", "Patient", false, false, true}, params: dated, do: c.everything},
		{Operation: Operation{"everything", base + "Encounter-everything", "Encounter", false, false, true}, params: paging, do: c.everything},
		{Operation: Operation{"meta", base + "Resource-meta", "", true, true, true}, do: c.meta},
		{Operation: Operation{"meta-add", base + "Resource-meta-add", "", false, false, true}, params: changed, writes: true, do: c.metaAdd},
		{Operation: Operation{"meta-delete", base + "Resource-meta-delete", "", false, false, true}, params: changed, writes: true, do: c.metaDelete},
		{Operation: Operation{"lastn", base + "Observation-lastn", "Observation", false, true, false}, params: []param{{"max", "positiveInt", 1}}, open: true, do: c.lastn},
		{Operation: Operation{"stats", base + "Observation-stats", "Observation", false, true, false}, params: stats, do: c.stats},
		{Operation: Operation{"docref", usCore + "docref", "DocumentReference", false, true, false}, params: docref, do: c.docref},
		{Operation: Operation{"status", own + "SearchParameter-status", "SearchParameter", false, false, true}, do: c.status},
		{Operation: Operation{"match", base + "Patient-match", "Patient", false, true, false}, params: match, do: c.match},
		{Operation: Operation{"disclosures", own + "Patient-disclosures", "Patient", false, false, true}, params: told, asked: true, do: c.disclosures},
		{Operation: Operation{"erase", own + "Patient-erase", "Patient", false, false, true}, params: erased, writes: true, asked: true, do: c.erase},
	}
}

// erase answers Patient/[id]/$erase, an operation of this server: the patient and
// its compartment are gone for good, with all versions (package erase says how).
// dry-run=true only tells; shared=erase takes also what belongs to other patients
// too, keep (the default) leaves and names it; reason stands in the AuditEvent.
func (c *Catalog) erase(ctx context.Context, a call) (fhir.Response, error) {
	shared := a.in.text("shared")
	if shared != "" && shared != "keep" && shared != "erase" {
		return fhir.Response{}, invalid("shared", "keep or erase")
	}
	whole, err := a.Whole()
	if err != nil {
		return fhir.Response{}, err
	}
	order := erase.Order{
		Request: a.Request, Whole: whole, Search: c.search, Types: c.types, Now: c.now,
		DryRun: a.in.yes("dry-run"), Shared: shared == "erase", Reason: a.in.text("reason"),
	}
	report, err := order.Do(ctx)
	if err != nil {
		return fhir.Response{}, err
	}
	return fhir.Response{Status: 200, Body: report.Answer(order.DryRun)}, nil
}

// disclosures answers Patient/[id]/$disclosures, an operation of this server: the
// accounting of who got data of the patient (package audit says what counts), for
// six years or since the date given; all=true is every access. format=csv is a
// Binary.
func (c *Catalog) disclosures(ctx context.Context, a call) (fhir.Response, error) {
	asked := audit.Accounting{Door: fhir.DoerFunc(a.View.Do), Request: a.Request, Patient: a.ID, Now: c.now(), All: a.in.yes("all")}
	if since, given := a.in.dateOf("since"); given {
		asked.Since = time.UnixMicro(since.Lo)
	}
	switch a.in.text("format") {
	case "csv":
		table, err := asked.CSV(ctx)
		return fhir.Response{Status: 200, Body: audit.Table(table)}, err
	case "", "fhir":
		body, err := asked.Bundle(ctx)
		return fhir.Response{Status: 200, Body: body}, err
	}
	return fhir.Response{}, invalid("format", "fhir or csv")
}

// sum holds when all parts hold; nil parts are left out.
func sum(parts ...store.Expr) store.Expr {
	all := make(store.And, 0, len(parts))
	for _, p := range parts {
		if p != nil {
			all = append(all, p)
		}
	}
	if len(all) == 1 {
		return all[0]
	}
	return all
}

func present(param string) store.Expr {
	return store.Test{Param: param, Cond: store.Cond{How: store.Present}}
}
