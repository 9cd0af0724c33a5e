package mongo

import (
	"context"
	"slices"
	"sync"
)

// keyLocks lets the commits of this process to one resource or claim go one
// after another, so that only other processes can win a race against them.
// MongoDB decides all races; this only saves losing them.
type keyLocks struct {
	mu   sync.Mutex
	held map[string]*keyLock
}

type keyLock struct {
	token chan struct{} // holds one token while free
	users int
}

// lock locks all names, which it sorts; unlock gives them back. It fails only with ctx.
func (l *keyLocks) lock(ctx context.Context, names []string) (unlock func(), err error) {
	slices.Sort(names)
	names = slices.Compact(names)
	for i, name := range names {
		if err := l.one(ctx, name); err != nil {
			l.release(names[:i])
			return nil, err
		}
	}
	return func() { l.release(names) }, nil
}

func (l *keyLocks) one(ctx context.Context, name string) error {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]*keyLock{}
	}
	k := l.held[name]
	if k == nil {
		k = &keyLock{token: make(chan struct{}, 1)}
		k.token <- struct{}{}
		l.held[name] = k
	}
	k.users++
	l.mu.Unlock()
	select {
	case <-k.token:
		return nil
	case <-ctx.Done():
		l.leave(name, k)
		return ctx.Err()
	}
}

func (l *keyLocks) release(names []string) {
	for _, name := range names {
		l.mu.Lock()
		k := l.held[name]
		l.mu.Unlock()
		k.token <- struct{}{}
		l.leave(name, k)
	}
}

func (l *keyLocks) leave(name string, k *keyLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.users--; k.users == 0 {
		delete(l.held, name)
	}
}
