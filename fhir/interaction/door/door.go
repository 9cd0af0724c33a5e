// Package door leads requests through the layers around the engine (a guard, an
// audit): each one for itself, also the entries of a transaction, which are done
// together. A layer is a fhir.Doer around the next one and cannot tell which of
// them it sees: it judges before it calls on, and learns the outcome behind.
//
// It knows requests, answers and that layers hand on their context. It must not
// know what an interaction is, nor any store.
package door

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync/atomic"

	"candela/fhir"
)

// Door is layers around a Doer. Safe for concurrent use.
type Door struct {
	outer fhir.Doer
	bare  bool // no layers
	log   *slog.Logger
}

// New puts the layers around inner; nil is none.
func New(layers func(fhir.Doer) fhir.Doer, inner fhir.Doer, log *slog.Logger) *Door {
	d := &Door{log: log, bare: layers == nil, outer: inner}
	if layers != nil {
		d.outer = layers(fhir.DoerFunc(func(ctx context.Context, r fhir.Request) (fhir.Response, error) {
			if v, inside := ctx.Value(visiting{}).(*visit); inside {
				return v.arrive(r)
			}
			return inner.Do(ctx, r)
		}))
	}
	return d
}

// Do does one request through all layers.
func (d *Door) Do(ctx context.Context, r fhir.Request) (fhir.Response, error) {
	return d.outer.Do(ctx, r)
}

// Group is requests that have come through the layers and wait inside until they
// are done together. It belongs to one goroutine. Call Close.
type Group struct {
	door   *Door
	visits []*visit
}

// Open starts a group.
func (d *Door) Open() *Group { return &Group{door: d} }

// visiting is the context key of a visit.
type visiting struct{}

// visit is one request inside: the layers' call for it waits in arrive.
type visit struct {
	entered atomic.Bool
	came    chan fhir.Request
	answer  chan outcome
	left    chan outcome // what the layers answered in the end
}

type outcome struct {
	fhir.Response
	err error
}

var (
	errTwice = fhir.Errorf(500, fhir.CodeException, "an entry of a transaction is done once")
	errNever = fhir.Errorf(500, fhir.CodeException, "an entry of a transaction was answered without being done")
	errPanic = fhir.Errorf(500, fhir.CodeException, "an internal error; the operator has been told")
)

func (v *visit) arrive(r fhir.Request) (fhir.Response, error) {
	if v.entered.Swap(true) {
		return fhir.Response{}, errTwice
	}
	v.came <- r
	out := <-v.answer
	return out.Response, out.err
}

// Enter leads r through the layers. It returns r as it came through, which is
// then the group's next one, or the refusal of a layer.
func (g *Group) Enter(ctx context.Context, r fhir.Request) (fhir.Request, error) {
	if g.door.bare {
		return r, nil
	}
	v := &visit{came: make(chan fhir.Request, 1), answer: make(chan outcome, 1), left: make(chan outcome, 1)}
	go func() { v.left <- g.door.through(context.WithValue(ctx, visiting{}, v), r) }()
	select {
	case r := <-v.came:
		g.visits = append(g.visits, v)
		return r, nil
	case out := <-v.left:
		if out.err == nil {
			out.err = errNever
		}
		return r, out.err
	}
}

// through does r and turns a panic of a layer into a 500: nobody else could
// recover it. The log gets the place, not what was said, which could be patient data.
func (d *Door) through(ctx context.Context, r fhir.Request) (out outcome) {
	defer func() {
		if recover() != nil {
			d.log.LogAttrs(ctx, slog.LevelError, "a layer panicked", slog.String("stack", string(debug.Stack())))
			out = outcome{err: errPanic}
		}
	}()
	out.Response, out.err = d.outer.Do(ctx, r)
	return out
}

// Leave gives the i-th request its answer and returns what the layers make of it.
func (g *Group) Leave(i int, answer fhir.Response, err error) (fhir.Response, error) {
	if g.door.bare {
		return answer, err
	}
	v := g.visits[i]
	g.visits[i] = nil
	v.answer <- outcome{answer, err}
	out := <-v.left
	return out.Response, out.err
}

// Close answers those that are still inside with err.
func (g *Group) Close(err error) {
	for i, v := range g.visits {
		if v != nil {
			_, _ = g.Leave(i, fhir.Response{}, err) // the caller gets err itself
		}
	}
}
