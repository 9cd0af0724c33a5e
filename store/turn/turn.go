// Package turn lets those who work on the same thing in one process go one
// after another.
//
// It knows names and who waits. It must not know what is done in turn; between
// processes only a database can decide.
package turn

import (
	"context"
	"slices"
	"sync"
)

// Turns keeps who works on which names. The zero value is ready to use.
type Turns struct {
	mu   sync.Mutex
	held map[string]*name
}

type name struct {
	token chan struct{} // holds one token while free
	users int
}

// Take waits until all names, which it sorts, are the caller's; done gives them
// back and must be called once. It fails only with ctx.
func (t *Turns) Take(ctx context.Context, names []string) (done func(), err error) {
	slices.Sort(names)
	names = slices.Compact(names)
	for i, name := range names {
		if err := t.one(ctx, name); err != nil {
			t.release(names[:i])
			return nil, err
		}
	}
	return func() { t.release(names) }, nil
}

func (t *Turns) one(ctx context.Context, called string) error {
	t.mu.Lock()
	if t.held == nil {
		t.held = map[string]*name{}
	}
	n := t.held[called]
	if n == nil {
		n = &name{token: make(chan struct{}, 1)}
		n.token <- struct{}{}
		t.held[called] = n
	}
	n.users++
	t.mu.Unlock()
	select {
	case <-n.token:
		return nil
	case <-ctx.Done():
		t.leave(called, n)
		return ctx.Err()
	}
}

func (t *Turns) release(names []string) {
	for _, called := range names {
		t.mu.Lock()
		n := t.held[called]
		t.mu.Unlock()
		n.token <- struct{}{}
		t.leave(called, n)
	}
}

func (t *Turns) leave(called string, n *name) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n.users--; n.users == 0 {
		delete(t.held, called)
	}
}
