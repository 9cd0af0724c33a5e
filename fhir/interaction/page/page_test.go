package page_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"candela/fhir/interaction/page"
	"candela/store"
	"candela/store/embedded"
)

func openKV(t *testing.T) store.KV {
	t.Helper()
	s, err := embedded.Open(t.TempDir(), embedded.Options{Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestManyProcessesAgreeOnOneKey(t *testing.T) {
	kv, ctx := openKV(t), context.Background()
	sealers := make([]*page.Sealer, 8)
	tokens := make([]string, len(sealers))
	var group sync.WaitGroup
	for i := range sealers {
		sealers[i] = page.New(kv)
		group.Go(func() {
			var err error
			if tokens[i], err = sealers[i].Seal(ctx, "p", []byte("hello")); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, s := range slices.Concat(sealers, []*page.Sealer{page.New(kv)}) {
		for _, token := range tokens {
			if plain, err := s.Open(ctx, "p", token); err != nil || string(plain) != "hello" {
				t.Errorf("got %q, %v", plain, err)
			}
		}
	}
}

func TestWhatIsNotOursIsErrCursor(t *testing.T) {
	ctx := context.Background()
	s, other := page.New(openKV(t)), page.New(openKV(t))
	token, err := s.Seal(ctx, "p", []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.Seal(ctx, "p", []byte("hello"))
	if err != nil || again == token {
		t.Errorf("two tokens are equal: %v", err)
	}
	flipped := []byte(token)
	flipped[len(flipped)/2] ^= 1
	for _, bad := range []string{"", "A", "ÄÖ", token[1:], token + "AAAA", string(flipped), string(make([]byte, 20<<10))} {
		if _, err := s.Open(ctx, "p", bad); !errors.Is(err, store.ErrCursor) {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
	if _, err := s.Open(ctx, "q", token); !errors.Is(err, store.ErrCursor) {
		t.Errorf("another purpose: %v", err)
	}
	if _, err := other.Open(ctx, "p", token); !errors.Is(err, store.ErrCursor) {
		t.Errorf("another store: %v", err)
	}
}

func TestLongTextsAreParked(t *testing.T) {
	kv, ctx := openKV(t), context.Background()
	s, text := page.New(kv), strings.Repeat("long ", 10_000)
	key, err := s.Park(ctx, text)
	if err != nil || len(key) > 64 {
		t.Fatalf("got %q, %v", key, err)
	}
	if again, err := s.Park(ctx, text); err != nil || again != key {
		t.Errorf("the same text has the keys %q and %q: %v", key, again, err)
	}
	if got, err := page.New(kv).Parked(ctx, key); err != nil || got != text {
		t.Errorf("another process reads %d bytes: %v", len(got), err)
	}
	if _, err := s.Parked(ctx, "nonsense"); !errors.Is(err, store.ErrCursor) {
		t.Errorf("what was never parked: %v", err)
	}
}

func BenchmarkSeal(b *testing.B) {
	s, err := embedded.Open(b.TempDir(), embedded.Options{Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	}()
	sealer := page.New(s)
	for b.Loop() {
		if _, err := sealer.Seal(context.Background(), "p", []byte(`{"q":"patient=1&code=2","a":"0123456789"}`)); err != nil {
			b.Fatal(err)
		}
	}
}
