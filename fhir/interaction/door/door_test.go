package door_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"

	"candela/fhir"
	"candela/fhir/interaction/door"
)

var refusal = fhir.Errorf(403, fhir.CodeForbidden, "no")

// layers are doers around the next one, the first outermost.
type layers []func(context.Context, fhir.Request, fhir.Doer) (fhir.Response, error)

func (l layers) around(next fhir.Doer) fhir.Doer {
	for _, one := range slices.Backward(l) {
		inner := next
		next = fhir.DoerFunc(func(ctx context.Context, r fhir.Request) (fhir.Response, error) { return one(ctx, r, inner) })
	}
	return next
}

func open(l ...func(context.Context, fhir.Request, fhir.Doer) (fhir.Response, error)) *door.Door {
	inner := fhir.DoerFunc(func(_ context.Context, r fhir.Request) (fhir.Response, error) {
		return fhir.Response{Status: 200, Location: r.ID}, nil
	})
	if l == nil {
		return door.New(nil, inner, slog.New(slog.DiscardHandler))
	}
	return door.New(layers(l).around, inner, slog.New(slog.DiscardHandler))
}

func TestGroupGoesThroughLayers(t *testing.T) {
	var told []string
	audit := func(ctx context.Context, r fhir.Request, next fhir.Doer) (fhir.Response, error) {
		answer, err := next.Do(ctx, r)
		told = append(told, r.ID+answer.Location)
		answer.Location += "!"
		return answer, err
	}
	narrow := func(ctx context.Context, r fhir.Request, next fhir.Doer) (fhir.Response, error) {
		r.Caller.Name = "narrowed " + r.ID
		return next.Do(ctx, r)
	}
	d := open(audit, narrow)
	g := d.Open()
	for _, id := range []string{"a", "b"} {
		r, err := g.Enter(t.Context(), fhir.Request{ID: id})
		if err != nil || r.Caller.Name != "narrowed "+id {
			t.Fatalf("%v %v", r.Caller, err)
		}
	}
	if len(told) > 0 {
		t.Error("a layer learned of an outcome that is none yet")
	}
	if a, err := g.Leave(1, fhir.Response{Location: "2"}, nil); err != nil || a.Location != "2!" {
		t.Errorf("%v %v", a, err)
	}
	if a, err := g.Leave(0, fhir.Response{Location: "1"}, nil); err != nil || a.Location != "1!" {
		t.Errorf("%v %v", a, err)
	}
	g.Close(refusal)
	if a, err := d.Do(t.Context(), fhir.Request{ID: "c"}); err != nil || a.Location != "c!" {
		t.Errorf("alone: %v %v", a, err)
	}
	if !slices.Equal(told, []string{"b2", "a1", "cc"}) {
		t.Errorf("told %v", told)
	}
}

func TestRefusalAndClose(t *testing.T) {
	var told []error
	audit := func(ctx context.Context, r fhir.Request, next fhir.Doer) (fhir.Response, error) {
		answer, err := next.Do(ctx, r)
		told = append(told, err)
		return answer, err
	}
	guard := func(ctx context.Context, r fhir.Request, next fhir.Doer) (fhir.Response, error) {
		if r.ID == "bad" {
			return fhir.Response{}, refusal
		}
		return next.Do(ctx, r)
	}
	g := open(audit, guard).Open()
	if _, err := g.Enter(t.Context(), fhir.Request{ID: "good"}); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Enter(t.Context(), fhir.Request{ID: "bad"}); !errors.Is(err, refusal) {
		t.Fatalf("got %v", err)
	}
	undone := errors.New("undone")
	g.Close(undone)
	if len(told) != 2 || !errors.Is(told[0], refusal) || !errors.Is(told[1], undone) {
		t.Errorf("told %v", told)
	}
}

// Layers that break the rules end in errors, never in a wait without end.
func TestOddLayers(t *testing.T) {
	silent := func(context.Context, fhir.Request, fhir.Doer) (fhir.Response, error) {
		return fhir.Response{Status: 200}, nil
	}
	broken := func(context.Context, fhir.Request, fhir.Doer) (fhir.Response, error) { panic("MRN") }
	for name, layer := range map[string]func(context.Context, fhir.Request, fhir.Doer) (fhir.Response, error){"silent": silent, "broken": broken} {
		g := open(layer).Open()
		if _, err := g.Enter(t.Context(), fhir.Request{}); err == nil {
			t.Errorf("%s: came through", name)
		}
		g.Close(refusal)
	}
	twice := func(ctx context.Context, r fhir.Request, next fhir.Doer) (fhir.Response, error) {
		if answer, err := next.Do(ctx, r); err == nil {
			return answer, err
		}
		return next.Do(ctx, r)
	}
	g := open(twice).Open()
	if _, err := g.Enter(t.Context(), fhir.Request{}); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Leave(0, fhir.Response{}, refusal); err == nil || errors.Is(err, refusal) {
		t.Errorf("got %v", err)
	}
}

func TestNoLayers(t *testing.T) {
	g := open().Open()
	if r, err := g.Enter(t.Context(), fhir.Request{ID: "a"}); err != nil || r.ID != "a" {
		t.Errorf("%v %v", r, err)
	}
	if _, err := g.Leave(0, fhir.Response{}, refusal); !errors.Is(err, refusal) {
		t.Errorf("got %v", err)
	}
	g.Close(refusal)
}
