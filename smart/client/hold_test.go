package client

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// What is held of key sets has an end, however many clients there are.
func TestR16_HeldSetsAreBounded(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	r := newRemote(nil, func() time.Time { return at })
	ask := func(n int) {
		if _, err := r.keys(context.Background(), fmt.Sprint(n), "https://a.org/jwks", "k"); err == nil {
			t.Fatal("keys came from nowhere")
		}
	}
	for n := range maxHeld + 10 {
		ask(n)
	}
	if len(r.sets) != maxHeld {
		t.Errorf("%d sets are held", len(r.sets))
	}
	at = at.Add(time.Hour)
	ask(-1)
	if len(r.sets) != 1 {
		t.Errorf("%d sets are held after all are over", len(r.sets))
	}
}
