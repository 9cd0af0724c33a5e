// Package interaction is the engine: the innermost Doer, which turns a FHIR
// request into reads and commits of a store and answers as the specification
// says (R4 http.html).
//
// It knows the meaning of every interaction, of conditional requests, batches
// and transactions, and of paging. It must not know HTTP, a store's inside or
// any resource type; it reads and writes only through a view (view.go).
package interaction

import (
	"context"
	"errors"
	"hash/crc32"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"candela/fhir"
	"candela/fhir/interaction/door"
	"candela/fhir/interaction/page"
	"candela/fhir/interaction/subset"
	"candela/fhir/operation"
	"candela/fhir/patch"
	"candela/fhir/search"
	"candela/store"
	"candela/store/turn"
)

// Structure says what is wrong with a resource (validate.Structure). In lenient
// mode unknown elements are warnings.
type Structure interface {
	Check(res fhir.Resource, lenient bool) []fhir.Issue
}

// Elements knows the FHIR types of elements (r4.Spec).
type Elements interface {
	patch.Model
	subset.Model
}

// Config is what an Engine is made of.
type Config struct {
	Store     store.Store
	Search    *search.Registry
	Structure Structure
	Elements  Elements
	// Types are the names of all resource types that are served.
	Types []string
	// Admit says why a resource that is well formed may not be stored (a
	// *fhir.Error); nil takes all.
	Admit func(res fhir.Resource) error
	// NewID gives a fresh logical id; Now the time.
	NewID func() string
	Now   func() time.Time
	// Capabilities is the CapabilityStatement as compact JSON.
	Capabilities func(ctx context.Context, r fhir.Request) ([]byte, error)
	// Door puts layers around the engine (a guard, an audit), nil none. Every
	// request goes through them for itself: also each entry of a batch or
	// transaction, and what an operation asks for in turn. A layer that refuses an
	// entry of a transaction refuses it whole; the others learn that. Layers call
	// on at most once, hand on their context, and may narrow the Caller.
	Door func(fhir.Doer) fhir.Doer
	// Operations are the operations served; nil: none.
	Operations *operation.Catalog
	// Lenient takes unknown elements with a warning, as if every request said
	// Prefer: handling=lenient.
	Lenient bool
	// Log gets what callers may not see; nil is slog.Default.
	Log *slog.Logger
	// MaxEntries bounds a Bundle's entries; 0 is 5,000.
	MaxEntries int
	// Workers bounds the goroutines of one bundle; 0 is one per processor.
	Workers int
	// OwnerTags are the systems of tags that say whose a resource is (a tenant):
	// they change by leave only.
	OwnerTags []string
	// DeleteMany bounds how many resources one DELETE Type?criteria may end; 0
	// and 1 are one.
	DeleteMany int
}

// Engine is the innermost Doer. Safe for concurrent use.
type Engine struct {
	config Config // without its store: only views reach that
	views  views
	pages  *page.Sealer
	served map[string]bool
	cuts   *subset.Tables
	turns  turn.Turns
	door   *door.Door
}

// New makes an Engine. It reads nothing yet.
func New(c Config) (*Engine, error) {
	for what, missing := range map[string]bool{
		"Store": c.Store == nil, "Search": c.Search == nil, "Structure": c.Structure == nil, "Elements": c.Elements == nil,
		"Types": len(c.Types) == 0, "NewID": c.NewID == nil, "Now": c.Now == nil,
	} {
		if missing {
			return nil, fhir.Errorf(500, fhir.CodeException, "interaction.Config has no %s", what)
		}
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.MaxEntries == 0 {
		c.MaxEntries = 5000
	}
	e := &Engine{served: map[string]bool{}, cuts: subset.New(c.Elements)}
	var err error
	if e.views, e.pages, err = openViews(c.Store, c.Search, c.Now, c.OwnerTags); err != nil {
		return nil, err
	}
	c.Store = nil
	e.config = c
	for _, t := range c.Types {
		e.served[t] = true
	}
	e.door = door.New(c.Door, fhir.DoerFunc(e.inside), c.Log)
	return e, nil
}

// Do answers one request. Every error is a *fhir.Error.
func (e *Engine) Do(ctx context.Context, r fhir.Request) (fhir.Response, error) {
	answer, err := e.door.Do(ctx, r)
	var own *fhir.Error
	if err != nil && !errors.As(err, &own) {
		err = e.explain(ctx, err)
	}
	return answer, err
}

// inside answers one request that has come through the door.
func (e *Engine) inside(ctx context.Context, r fhir.Request) (fhir.Response, error) {
	answer, err := e.do(ctx, r)
	if err != nil {
		return fhir.Response{}, e.explain(ctx, err)
	}
	return answer, nil
}

func (e *Engine) do(ctx context.Context, r fhir.Request) (fhir.Response, error) {
	if err := e.known(r); err != nil {
		return fhir.Response{}, err
	}
	v := e.views.of(r.Caller)
	if err := v.Permit(r); err != nil {
		return fhir.Response{}, err
	}
	cut, err := e.trim(&r)
	if err != nil {
		return fhir.Response{}, err
	}
	switch r.Interaction {
	case fhir.Read:
		return e.read(ctx, v, r)
	case fhir.VRead:
		return e.vread(ctx, v, r)
	case fhir.Create:
		return cutDown(cut)(e.single(ctx, v, r, e.resolveCreate))
	case fhir.Update, fhir.Patch:
		return cutDown(cut)(e.single(ctx, v, r, e.resolveReplace))
	case fhir.Delete:
		return e.single(ctx, v, r, e.resolveDelete)
	case fhir.SearchType, fhir.SearchSystem, fhir.SearchCompart:
		return e.search(ctx, v, r)
	case fhir.HistoryInstance, fhir.HistoryType, fhir.HistorySystem:
		return e.history(ctx, v, r)
	case fhir.Batch:
		return e.bundle(ctx, r)
	case fhir.Capabilities:
		return e.capabilities(ctx, r)
	case fhir.Operation:
		if e.config.Operations == nil {
			return fhir.Response{}, unsupported(r)
		}
		return e.config.Operations.Do(ctx, r, e.windowOf(r.Caller))
	default:
		return fhir.Response{}, unsupported(r)
	}
}

// known refuses resource types that the server does not serve.
func (e *Engine) known(r fhir.Request) error {
	for _, t := range []string{r.Type, r.Compartment} {
		if t != "" && t != "*" && !e.served[t] {
			return fhir.Errorf(404, fhir.CodeNotSupported, "the resource type in the URL is none of R4")
		}
	}
	return nil
}

func unsupported(r fhir.Request) error {
	if r.Interaction == fhir.Operation {
		return fhir.Errorf(404, fhir.CodeNotSupported, "this server has no such operation here; /metadata lists what it has")
	}
	refusal := fhir.Errorf(405, fhir.CodeNotSupported, "this server does not support %s; /metadata lists what it does", r.Interaction)
	refusal.Allow = "GET, HEAD, POST, PUT, PATCH, DELETE"
	return refusal
}

func (e *Engine) capabilities(ctx context.Context, r fhir.Request) (fhir.Response, error) {
	if e.config.Capabilities == nil {
		return fhir.Response{}, unsupported(r)
	}
	if mode := r.Query.Get("mode"); mode != "" && mode != "full" && mode != "normative" {
		return fhir.Response{}, fhir.Errorf(400, fhir.CodeNotSupported, "mode is full or normative here")
	}
	cut, err := e.cuts.Read(r.Query)
	if err != nil {
		return fhir.Response{}, err
	}
	body, err := e.config.Capabilities(ctx, r)
	if err != nil {
		return fhir.Response{}, err
	}
	tag := strconv.FormatUint(uint64(crc32.ChecksumIEEE(body)), 16)
	if strings.Contains(r.IfNoneMatch, `"`+tag+`"`) {
		return fhir.Response{Status: 304, ETag: tag}, nil
	}
	if !cut.Whole() {
		body = cut.Append(nil, body)
	}
	return fhir.Response{Status: 200, Body: body, ETag: tag}, nil
}

// resolver decides which writes a request is; there is at least one.
type resolver func(context.Context, view, fhir.Request) ([]*write, error)

// single does one request that writes. Where criteria decided what to do and
// another write made them untrue meanwhile, it decides again.
func (e *Engine) single(ctx context.Context, v view, r fhir.Request, resolve resolver) (fhir.Response, error) {
	race := race{turns: &e.turns}
	defer race.end()
	for {
		writes, err := resolve(ctx, v, r)
		if err != nil {
			return fhir.Response{}, err
		}
		w := writes[0] // only deletes are many, and they have nothing to index
		if err := e.index(w); err != nil {
			return fhir.Response{}, err
		}
		if writes, err = e.attested(ctx, v, r, writes); err != nil {
			return fhir.Response{}, err
		}
		err = v.commit(ctx, writes)
		if lostRace(err) && w.decided {
			if err = race.again(ctx, writes); err == nil {
				continue
			}
		}
		if err != nil {
			return fhir.Response{}, err
		}
		return e.written(r, w), nil
	}
}

// race is one request among others that write what its own writes were decided
// on. The first tries need no turn: most meet nobody, and who wanted to create
// what another has created is done when it finds that. Who loses again goes on in
// turn with the losers of this process, so that only other processes are left to
// lose to.
type race struct {
	turns *turn.Turns
	done  func()    // gives the turn back, where it has one
	begin time.Time // of its turn
	tries int
}

const (
	freeTries = 1                     // lost before a turn is waited for
	raceTime  = 5 * time.Second       // from a request's turn on it is tried again for so long
	racePause = 32 * time.Millisecond // the longest pause before a try
)

// again waits until a request that lost should be decided anew. The error says
// why not: ErrConflict when its time is over, or that of ctx.
func (r *race) again(ctx context.Context, writes []*write) (err error) {
	if r.tries++; r.tries > freeTries && r.done == nil {
		var names []string
		for _, w := range writes {
			if w.decided && !w.idle {
				names = append(names, w.names()...)
			}
		}
		if r.done, err = r.turns.Take(ctx, names); err != nil {
			return err
		}
		r.begin = time.Now()
		return nil
	}
	if r.done != nil && time.Since(r.begin) > raceTime {
		return store.ErrConflict
	}
	select {
	case <-time.After(rand.N(min(time.Millisecond<<min(r.tries, 10), racePause))): // those who met must not meet again
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *race) end() {
	if r.done != nil {
		r.done()
	}
}

// stamped is a stored version as it leaves the server.
func stamped(v store.Version) fhir.Resource {
	return fhir.Stored(fhir.AppendStamped(make([]byte, 0, len(v.Raw)+96), v.Raw, v.Number, v.Time))
}

// place is the Location of a version, below the base.
func place(v store.Version) string {
	return v.Key.String() + "/_history/" + strconv.FormatInt(v.Number, 10)
}

// body puts into the answer what the caller prefers: by default, and for
// reads, the resource.
func body(answer *fhir.Response, prefer fhir.Prefer, v store.Version) {
	switch {
	case wantsBody(prefer):
		answer.Resource = stamped(v)
	case prefer.Return == "OperationOutcome":
		answer.Body = fhir.OutcomeOf(slices.Clone(answer.Issues)...)
	}
}

func wantsBody(prefer fhir.Prefer) bool {
	return prefer.Return != "minimal" && prefer.Return != "OperationOutcome"
}
