package interaction_test

import (
	"context"
	"math/rand/v2"
	"reflect"
	"testing"

	"candela/fhir"
	"candela/fhir/interaction/reach"
	"candela/store"
)

// plainDice are random numbers of a seed.
type plainDice struct{ *rand.Rand }

func (d plainDice) roll(n int, _ string) int { return d.IntN(n) }

// TestE1_SeededLeaksAreFound: with any one of the view's checks taken out, fewer
// than 1,000 programs tell the stores of a pair apart.
func TestE1_SeededLeaksAreFound(t *testing.T) {
	most := 0
	for _, l := range leaks() {
		t.Run(l.name, func(t *testing.T) {
			found := hunt(t, l)
			if found > 1000 {
				t.Errorf("not found in %d programs", found)
			}
			most = max(most, found)
		})
	}
	t.Logf("each of %d leaks was found, the last one after %d programs", len(leaks()), most)
}

// hunt is how many programs it takes until two stores answer differently.
func hunt(t *testing.T, l leak) (ran int) {
	all := witnesses()
	for seed := uint64(1); ran <= 1000; seed++ {
		d := plainDice{rand.New(rand.NewPCG(seed, 7))}
		p := newPair(t, d, all[seed%uint64(len(all))], l)
		difference := ""
		for range programsEach {
			ran++
			if difference = p.program(t, d); difference != "" {
				break
			}
		}
		p.close(t)
		if difference != "" {
			return ran
		}
	}
	return ran
}

func leaks() []leak {
	out := []leak{
		{name: "labels and consents are not asked", door: layered(func(r *fhir.Request) { r.Caller.Deny = nil })},
		{name: "chains are not narrowed", store: stripping(strip{via: true})},
		{name: "reverse chains are not narrowed", store: stripping(strip{has: true})},
		{name: "counts are not narrowed", store: stripping(strip{counts: true})},
		{name: "conditions of commits are not narrowed", store: stripping(strip{claims: true})},
		{name: "what is included is not narrowed", store: stripping(strip{included: true})},
	}
	for _, does := range []fhir.Interaction{
		fhir.Read, fhir.VRead, fhir.HistoryInstance, fhir.HistoryType, fhir.HistorySystem, fhir.SearchType, fhir.SearchCompart, fhir.Update, fhir.Patch, fhir.Delete, fhir.Create, fhir.Operation,
	} {
		out = append(out, leak{name: string(does) + " is not narrowed", door: layered(func(r *fhir.Request) {
			if r.Interaction == does && len(r.Caller.Access) > 0 {
				r.Caller.Access, r.Caller.Deny = fhir.Full(), nil
			}
		})})
	}
	return out
}

// layered changes requests; the requests that set a pair up are left alone by it,
// since their caller may do everything already.
func layered(change func(*fhir.Request)) func(fhir.Doer) fhir.Doer {
	return func(next fhir.Doer) fhir.Doer {
		return fhir.DoerFunc(func(ctx context.Context, r fhir.Request) (fhir.Response, error) {
			change(&r)
			return next.Do(ctx, r)
		})
	}
}

// strip says where a store forgets what queries are narrowed by.
type strip struct{ via, has, counts, claims, included bool }

// stripped is a store that forgets.
type stripped struct {
	store.Store
	strip
	limits []store.Expr
}

func stripping(what strip) func(store.Store, witness) store.Store {
	return func(s store.Store, w witness) store.Store {
		out := &stripped{Store: s, strip: what}
		p, err := parts()
		if err != nil {
			return nil
		}
		laws, err := reach.New(p.search)
		if err != nil {
			return nil
		}
		for _, typ := range anyTypes {
			for _, letters := range []string{reach.Search, reach.See} {
				if limit, err := laws.Of(w.caller).Limit(typ, letters); err == nil && limit != nil {
					out.limits = append(out.limits, limit)
				}
			}
		}
		return out
	}
}

func (s *stripped) Find(ctx context.Context, q store.Query) (store.Page, error) {
	all := s.counts && q.Count == 0
	if parts, ok := q.Where.(store.And); s.included && ok && len(parts) > 0 {
		any, many := parts[0].(store.Or)
		if many && len(any) > 0 {
			test, plain := any[0].(store.Test)
			all = plain && q.Entries && (test.Param == store.ParamID || test.Cond.Space != "")
		}
	}
	q.Where = s.open(q.Where, all)
	return s.Store.Find(ctx, q)
}

func (s *stripped) Commit(ctx context.Context, ops ...store.Op) ([]store.Result, error) {
	for i := range ops {
		if s.claims && ops[i].IfNone != nil {
			q := *ops[i].IfNone
			q.Where = s.open(q.Where, true)
			ops[i].IfNone = &q
		}
	}
	return s.Store.Commit(ctx, ops...)
}

// open takes the caller's limits out of x, everywhere or inside of chains.
func (s *stripped) open(x store.Expr, here bool) store.Expr {
	if here {
		for _, limit := range s.limits {
			if reflect.DeepEqual(x, limit) {
				return store.And{}
			}
		}
	}
	switch x := x.(type) {
	case store.And:
		return store.And(s.openAll(x, here))
	case store.Or:
		return store.Or(s.openAll(x, here))
	case store.Not:
		return store.Not{Of: s.open(x.Of, here)}
	case store.Via:
		if x.Of != nil {
			x.Of = s.open(x.Of, here || s.via)
		}
		return x
	case store.Has:
		if x.Of != nil {
			x.Of = s.open(x.Of, here || s.has)
		}
		return x
	}
	return x
}

func (s *stripped) openAll(parts []store.Expr, here bool) []store.Expr {
	out := make([]store.Expr, len(parts))
	for i, part := range parts {
		out[i] = s.open(part, here)
	}
	return out
}
