package turn

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

// TestOneAtATime: whoever shares a name is never there together, in whatever
// order they ask, and nothing is kept of it.
func TestOneAtATime(t *testing.T) {
	var turns Turns
	names := []string{"a", "b", "c"}
	inside := map[string]int{} // guarded by the turns themselves
	for _, name := range names {
		inside[name] = 0
	}
	var mu sync.Mutex
	enter := func(name string, by int) {
		mu.Lock()
		defer mu.Unlock()
		if inside[name] += by; inside[name] > 1 {
			t.Errorf("%d have %s", inside[name], name)
		}
	}
	var group sync.WaitGroup
	for i := range 300 {
		mine := []string{names[i%3], names[(i+i/3)%3]}
		group.Go(func() {
			asked := []string{mine[0], mine[1], mine[0]}
			done, err := turns.Take(context.Background(), asked)
			if err != nil {
				t.Error(err)
				return
			}
			defer done()
			if mine[0] == mine[1] {
				mine = mine[:1]
			}
			for _, name := range mine {
				enter(name, 1)
			}
			time.Sleep(10 * time.Microsecond)
			for _, name := range mine {
				enter(name, -1)
			}
		})
	}
	group.Wait()
	if len(turns.held) != 0 {
		t.Errorf("%d names are kept", len(turns.held))
	}
}

// TestGivenUp: who stops waiting holds nothing up.
func TestGivenUp(t *testing.T) {
	var turns Turns
	done, err := turns.Take(context.Background(), []string{"b"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if _, err := turns.Take(ctx, []string{"b", "a"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("waiting for what is taken: %v", err)
	}
	free, err := turns.Take(context.Background(), []string{"a"})
	if err != nil {
		t.Fatal(err)
	}
	free()
	done()
	if len(turns.held) != 0 {
		t.Errorf("%d names are kept", len(turns.held))
	}
}
