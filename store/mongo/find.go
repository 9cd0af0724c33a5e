package mongo

import (
	"context"
	"fmt"

	"candela/store"
	"candela/store/plan"
)

type finder interface {
	Find(ctx context.Context, q store.Query) (store.Page, error)
}

type noPlanner struct{}

func (noPlanner) Find(context.Context, store.Query) (store.Page, error) {
	return store.Page{}, fmt.Errorf("no planner: %w", store.ErrQuery)
}

func (s *Store) finder(plan.Engine) finder { return noPlanner{} }

// Find answers a query on one snapshot.
func (s *Store) Find(ctx context.Context, q store.Query) (store.Page, error) {
	return s.finder(s).Find(ctx, q)
}
