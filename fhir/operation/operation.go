// Package operation is the FHIR operations of this server ($everything, $meta,
// $lastn, $stats, $docref, $match; R4 operations.html): each a function of its
// input parameters and of what the caller may see.
//
// It knows the operations' definitions and reads and writes through a View
// only. It must not know a store, HTTP, or what a caller's rules are.
package operation

import (
	"context"
	"slices"
	"time"

	"candela/fhir"
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
	shared map[string]bool // types that belong to no patient
	table  []definition
}

// definition is an operation with its input parameters and its function.
type definition struct {
	Operation
	params []param
	open   bool // other parameters are search parameters
	do     func(ctx context.Context, a call) (fhir.Response, error)
}

// call is one invocation.
type call struct {
	fhir.Request
	View
	in inputs
}

// New makes the catalog for the resource types that are served.
func New(registry *search.Registry, types []string, now func() time.Time) *Catalog {
	c := &Catalog{search: registry, now: now, shared: map[string]bool{}}
	members := registry.CompartmentTypes("Patient")
	for _, t := range types {
		c.shared[t] = !slices.Contains(members, t)
	}
	c.table = c.definitions()
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
		in, err := d.read(r)
		if err != nil {
			return fhir.Response{}, err
		}
		return d.do(ctx, call{r, v, in})
	}
	return fhir.Response{}, fhir.Errorf(404, fhir.CodeNotSupported, "this server has no such operation here; /metadata lists what it has")
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
)

func (c *Catalog) definitions() []definition {
	paging := []param{{"_since", "instant", 1}, {"_type", "code", many}, {"_count", "positiveInt", 1}}
	dated := append([]param{{"start", "date", 1}, {"end", "date", 1}}, paging...)
	changed := []param{{"meta", "Meta", 1}}
	return []definition{
		{Operation{"everything", base + "Patient-everything", "Patient", false, false, true}, dated, false, c.everything},
		{Operation{"everything", base + "Encounter-everything", "Encounter", false, false, true}, paging, false, c.everything},
		{Operation{"meta", base + "Resource-meta", "", true, true, true}, nil, false, c.meta},
		{Operation{"meta-add", base + "Resource-meta-add", "", false, false, true}, changed, false, c.metaAdd},
		{Operation{"meta-delete", base + "Resource-meta-delete", "", false, false, true}, changed, false, c.metaDelete},
		{Operation{"lastn", base + "Observation-lastn", "Observation", false, true, false}, []param{{"max", "positiveInt", 1}}, true, c.lastn},
		{Operation{"stats", base + "Observation-stats", "Observation", false, true, false}, []param{
			{"subject", "uri", 1}, {"code", "string", many}, {"system", "uri", 1}, {"coding", "Coding", many}, {"duration", "decimal", 1},
			{"period", "Period", 1}, {"statistic", "code", many}, {"include", "boolean", 1}, {"limit", "positiveInt", 1},
		}, false, c.stats},
		{Operation{"docref", usCore + "docref", "DocumentReference", false, true, false}, []param{
			{"patient", "id", 1}, {"start", "dateTime", 1}, {"end", "dateTime", 1}, {"type", "Coding", many},
			{"on-demand", "boolean", 1}, {"profile", "canonical", many}, {"_count", "positiveInt", 1},
		}, false, c.docref},
		{Operation{"status", statusURL, "SearchParameter", false, false, true}, nil, false, c.status},
		{Operation{"match", base + "Patient-match", "Patient", false, true, false}, []param{
			{"resource", "Resource", 1}, {"onlyCertainMatches", "boolean", 1}, {"count", "positiveInt", 1},
		}, false, c.match},
	}
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
