package linking

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"candela/fhir"
	"candela/fhir/search"
	"candela/store"
)

// plan is what would link a resource now.
type plan struct {
	edits   []fhir.Edit
	targets []store.Version // each once
	looks   []look
}

type look struct {
	element string
	outcome outcome
}

// plan looks for the target of each logical reference of a resource.
func (l *Linker) plan(ctx context.Context, v store.Version) (plan, error) {
	var out plan
	root := fhir.Stored(v.Raw).Root()
	for _, p := range l.byType[v.Key.Type] {
		for n := range p.references(root) {
			id, ok := logical(n)
			types := p.targets(n)
			if !ok || len(types) == 0 {
				continue
			}
			found, err := l.find(ctx, types, id)
			if err != nil {
				return out, err
			}
			out.take(p, n, found)
		}
	}
	return out, nil
}

// take notes what was found for one reference. The literal one goes first into
// the object, which holds an identifier.
func (p *plan) take(at *Path, n fhir.Node, found []store.Version) {
	what := linked
	switch {
	case len(found) == 0:
		what = waiting
	case len(found) > 1:
		what = ambiguous
	default:
		from, _ := n.Span()
		with := append([]byte(`"reference":`), fhir.Quote(found[0].Key.String())...)
		p.edits = append(p.edits, fhir.Edit{From: from + 1, To: from + 1, With: append(with, ',')})
		if !slices.ContainsFunc(p.targets, func(had store.Version) bool { return had.Key == found[0].Key }) {
			p.targets = append(p.targets, found[0])
		}
	}
	p.looks = append(p.looks, look{at.Element, what})
}

// state names the versions that a plan builds on.
func (p plan) state() string {
	var out strings.Builder
	for _, t := range p.targets {
		out.WriteString(t.Key.String() + "/" + strconv.FormatInt(t.Number, 10) + " ")
	}
	return out.String()
}

// count adds the outcomes; what would have been linked counts as done.
func (l *Linker) count(p plan, done outcome) {
	for _, one := range p.looks {
		if one.outcome == linked {
			one.outcome = done
		}
		l.counts[one.element][one.outcome].Add(1)
	}
}

// find gives the living resources of types that have an identity: none, one, or
// two of several. The index may fold case; the identity is compared as written.
func (l *Linker) find(ctx context.Context, types []string, id identity) ([]store.Version, error) {
	var out []store.Version
	for _, typ := range types {
		err := l.each(ctx, typ, "identifier", id, func(page []store.Version) error {
			for _, v := range page {
				if slices.Contains(identitiesOf(v.Raw), id) {
					out = append(out, v)
				}
			}
			return nil
		}, func() bool { return len(out) > 1 })
		if err != nil || len(out) > 1 {
			return out, err
		}
	}
	return out, nil
}

// each reads the living resources of a type by an identity in a parameter, in
// pages, until enough says so.
func (l *Linker) each(ctx context.Context, typ, param string, id identity, do func([]store.Version) error, enough func() bool) error {
	s, err := l.Search.Parse([]string{typ}, fhir.Params{{Name: param, Value: id.token()}}, search.Options{Strict: true, Now: l.Now()})
	var unsearchable *fhir.Error
	if errors.As(err, &unsearchable) && unsearchable.Status < 500 {
		return nil // no search can name it, so nothing is found by it
	}
	if err != nil {
		return err
	}
	q := s.Query
	q.Total = false
	return l.pages(ctx, q, do, enough)
}

func (l *Linker) pages(ctx context.Context, q store.Query, do func([]store.Version) error, enough func() bool) error {
	q.Count = l.Page
	for {
		page, err := l.Store.Find(ctx, q)
		if err != nil {
			return err
		}
		if err := do(page.Versions); err != nil {
			return err
		}
		if q.After = page.Next; q.After == "" || enough() {
			return nil
		}
	}
}

// arrived links what waits for the identities that a resource got with a
// version, or for those that it lost: another may be the only one left.
func (l *Linker) arrived(ctx context.Context, v store.Version) error {
	var before []identity
	if v.Number > 1 {
		last, err := l.Store.GetVersion(ctx, v.Key, v.Number-1)
		if err != nil && !errors.Is(err, store.ErrGone) && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		before = identitiesOf(last.Raw)
	}
	for _, id := range changed(before, identitiesOf(v.Raw)) {
		for _, p := range l.byTarget[v.Key.Type] {
			err := l.each(ctx, p.Type, p.param, id, func(page []store.Version) error { return l.linkAll(ctx, page) }, func() bool { return false })
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// vanished links what waits for a target of a type one of which was erased: of two
// with one identifier the other may be left. Which one it had nobody knows any
// more, so all that is logical is looked at.
func (l *Linker) vanished(ctx context.Context, typ string) error {
	for _, p := range l.byTarget[typ] {
		q := store.Query{Types: []string{p.Type}, Where: store.Test{Param: p.param, Cond: store.Cond{How: store.Present}}}
		err := l.pages(ctx, q, func(page []store.Version) error { return l.linkAll(ctx, page) }, func() bool { return false })
		if err != nil {
			return err
		}
	}
	return nil
}

// patience is how often a link is tried that nobody else stands in the way of.
const patience = 6

// link adds the literal references that a version of a resource can get. A
// version that another has followed is left to that: it comes in the feed.
func (l *Linker) link(ctx context.Context, v store.Version) error {
	same, last := 0, ""
	for try := 0; ; try++ {
		p, err := l.plan(ctx, v)
		if err != nil {
			return err
		}
		if len(p.edits) == 0 {
			l.count(p, linked)
			return nil
		}
		if same++; p.state() != last {
			same, last = 0, p.state()
		}
		err = l.write(ctx, v, p)
		switch status := statusOf(err); {
		case err == nil:
			l.count(p, linked)
			return nil
		case status >= 500:
			return err
		case !overtaken(status) || same >= patience:
			l.count(p, refused)
			l.Log.Warn("a logical reference cannot be linked: the write is refused", slog.String("type", v.Key.Type), slog.Int("status", status))
			return nil
		}
		if current, err := l.current(ctx, v); err != nil || !current {
			return err
		}
		sleep(ctx, rand.N(time.Millisecond<<min(try+1, 8)))
	}
}

func statusOf(err error) int {
	var refusal *fhir.Error
	if errors.As(err, &refusal) {
		return refusal.Status
	}
	return 500
}

// overtaken says that a version is not the present one any more, or that others
// wrote at the same time.
func overtaken(status int) bool {
	return status == 404 || status == 409 || status == 410 || status == 412
}

// current says whether a version is still the present one.
func (l *Linker) current(ctx context.Context, v store.Version) (bool, error) {
	now, err := l.Store.Get(ctx, v.Key)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrGone) {
		return false, nil
	}
	return now.Number == v.Number, err
}
