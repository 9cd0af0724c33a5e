package journal_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"candela/fhir/audit/journal"
	"candela/store"
)

// kv is a store.KV in memory whose writes can fail.
type kv struct {
	mu     sync.Mutex
	values map[string]string
	fail   func(key string) (done bool, err error) // of a write; done: it is stored all the same
	writes int
}

func newKV() *kv { return &kv{values: map[string]string{}} }

func (s *kv) KVGet(_ context.Context, bucket, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.values[bucket+"|"+key]
	if !ok {
		return nil, store.ErrNotFound
	}
	return []byte(v), nil
}

func (s *kv) KVPut(_ context.Context, bucket, key string, value []byte, _ time.Duration) error {
	return s.set(bucket+"|"+key, value)
}

func (s *kv) set(key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	if s.fail != nil {
		if done, err := s.fail(key); err != nil {
			if done {
				s.values[key] = string(value)
			}
			return err
		}
	}
	s.values[key] = string(value)
	return nil
}

func (s *kv) KVSwap(ctx context.Context, bucket, key string, old, new []byte, _ time.Duration) error {
	have, err := s.KVGet(ctx, bucket, key)
	if (err == nil) != (old != nil) || string(have) != string(old) {
		return store.ErrConflict
	}
	return s.set(bucket+"|"+key, new)
}

func (s *kv) KVTake(context.Context, string, string) ([]byte, error) { return nil, store.ErrNotFound }

func (s *kv) KVDelete(context.Context, string, string) error { return nil }

func (s *kv) KVList(_ context.Context, bucket, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		s.mu.Lock()
		keys := slices.Sorted(maps.Keys(s.values))
		s.mu.Unlock()
		for _, k := range keys {
			if name, ok := strings.CutPrefix(k, bucket+"|"); ok && strings.HasPrefix(name, prefix) && !yield(name, nil) {
				return
			}
		}
	}
}

// blocks are the keys of all blocks.
func (s *kv) blocks() (out []string) {
	for k := range s.values {
		if strings.HasPrefix(k, "audit.journal|") {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

var secret = []byte("a secret of thirty-two octets, ok")

func open(t testing.TB, s store.KV) *journal.Journal {
	t.Helper()
	j, err := journal.Open(context.Background(), journal.Config{KV: s, Secret: secret, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func add(t testing.TB, j *journal.Journal, entries ...string) {
	t.Helper()
	var raw [][]byte
	for _, e := range entries {
		raw = append(raw, []byte(e))
	}
	if err := j.Append(context.Background(), raw...); err != nil {
		t.Fatal(err)
	}
}

func closed(t testing.TB, j *journal.Journal) {
	t.Helper()
	if err := j.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func verify(t testing.TB, s store.KV, o journal.Options) journal.Report {
	t.Helper()
	if o.Secret == nil {
		o.Secret = secret
	}
	r, err := journal.Verify(context.Background(), s, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// filled has three chains, of which the last two ran side by side.
func filled(t testing.TB) *kv {
	s := newKV()
	for _, writers := range [][]*journal.Journal{{open(t, s)}, {open(t, s), open(t, s)}} {
		for i := range 6 {
			for n, j := range writers {
				add(t, j, fmt.Sprintf("entry %d of %d", i, n), strings.Repeat("long ", i*80))
			}
		}
		for _, j := range writers {
			closed(t, j)
		}
		time.Sleep(2 * time.Millisecond) // names of chains are in order of time
	}
	return s
}

func TestReadBack(t *testing.T) {
	s := filled(t)
	var got []string
	r := verify(t, s, journal.Options{Block: func(b journal.Block) error {
		for i, e := range b.Entries {
			got = append(got, fmt.Sprintf("%d %d", b.First+uint64(i), len(e)))
		}
		if b.Time.IsZero() {
			t.Error("a block without time")
		}
		return nil
	}})
	if len(r.Findings) > 0 || r.Chains != 3 || r.Blocks != 18 || r.Entries != 36 || r.Tail != 0 || len(got) != 36 || got[3] != "4 400" {
		t.Errorf("%+v %v", r, got)
	}
	writers, err := journal.Writers(context.Background(), s)
	if err != nil || len(writers) != 3 {
		t.Fatal(writers, err)
	}
	n := 0
	for b, err := range journal.Blocks(context.Background(), s, writers[0], 2) {
		if n++; err != nil || b.Number != uint64(n+2) || b.First != uint64(2*n+3) {
			t.Errorf("%+v %v", b, err)
		}
	}
	if n != 4 {
		t.Errorf("%d blocks behind the second", n)
	}
}

// TestT92_AnyDamageIsFound does random damage to a journal: bytes edited, blocks
// dropped, swapped, cut off, copied over others or added, heads lost or edited.
// All of it is found, and the chain that was damaged is named.
func TestT92_AnyDamageIsFound(t *testing.T) {
	whole := filled(t)
	keys := whole.blocks()
	dice := rand.New(rand.NewPCG(92, 94))
	for trial := range 10_000 {
		s := &kv{values: maps.Clone(whole.values)}
		what, key := damage(dice, s, keys)
		writer, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(key, "audit.journal|"), "audit.head|"), "/")
		r := verify(t, s, journal.Options{})
		if !slices.ContainsFunc(r.Findings, func(f journal.Finding) bool { return f.Writer == writer }) {
			t.Fatalf("trial %d: %s at %s was not found: %v", trial, what, key, r.Findings)
		}
	}
}

func damage(dice *rand.Rand, s *kv, keys []string) (what, key string) {
	i := dice.IntN(len(keys))
	key = keys[i]
	other := keys[(i+1+dice.IntN(len(keys)-1))%len(keys)]
	writer, _, _ := strings.Cut(key, "/")
	switch dice.IntN(7) {
	case 0:
		raw := []byte(s.values[key])
		raw[dice.IntN(len(raw))] ^= byte(1 + dice.IntN(255))
		s.values[key] = string(raw)
		return "an edit", key
	case 1:
		delete(s.values, key)
		return "a drop", key
	case 2:
		s.values[key], s.values[other] = s.values[other], s.values[key]
		return "a swap", key
	case 3:
		for _, k := range keys {
			if strings.HasPrefix(k, writer) && k >= key {
				delete(s.values, k)
			}
		}
		return "a cut", key
	case 4:
		s.values[key] = s.values[other]
		return "a copy over another", key
	case 5:
		s.values[writer+"/"+fmt.Sprintf("%016x", 7)] = s.values[key]
		return "a copy at the end", key
	default:
		head := strings.Replace(writer, "journal", "head", 1)
		raw := s.values[head]
		at := strings.Index(raw, `"last":"`) + 8 + dice.IntN(64)
		s.values[head] = raw[:at] + string("0123456789abcdef"[(strings.IndexByte("0123456789abcdef", raw[at])+1)%16]) + raw[at+1:]
		if dice.IntN(2) == 0 {
			delete(s.values, head)
		}
		return "damage to a head", head
	}
}

// What a head that was kept elsewhere names cannot be cut off, even by somebody
// who puts an older signed head in place; a chain that is gone with its head is
// named by the chain after it.
func TestT92_RolledBack(t *testing.T) {
	s := newKV()
	j := open(t, s)
	add(t, j, "one")
	if err := j.SignHead(context.Background()); err != nil {
		t.Fatal(err)
	}
	earlier := maps.Clone(s.values)
	add(t, j, "two")
	closed(t, j)
	kept, err := journal.Heads(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	if r := verify(t, &kv{values: earlier}, journal.Options{Heads: kept}); len(r.Findings) != 1 || r.Findings[0].Block != 2 {
		t.Errorf("%v", r.Findings)
	}
	if r := verify(t, s, journal.Options{Heads: kept}); len(r.Findings) > 0 {
		t.Errorf("%v", r.Findings)
	}
	next := open(t, s)
	add(t, next, "three")
	closed(t, next)
	for k := range s.values {
		if strings.Contains(k, kept[0].Writer) {
			delete(s.values, k)
		}
	}
	if r := verify(t, s, journal.Options{}); len(r.Findings) != 1 || r.Findings[0].Writer != kept[0].Writer {
		t.Errorf("%v", r.Findings)
	}
}

func TestForgedHead(t *testing.T) {
	s := filled(t)
	if r := verify(t, s, journal.Options{Secret: []byte("another secret of 32 octets or so")}); len(r.Findings) != 3 {
		t.Errorf("heads of an unknown key pass: %v", r.Findings)
	}
	keys, err := journal.Keys(context.Background(), s, nil)
	if err != nil || len(keys) != 1 {
		t.Fatal(keys, err)
	}
	if r := verify(t, s, journal.Options{Secret: []byte("another secret of 32 octets or so"), Keys: []ed25519.PublicKey{keys[0].Public}}); len(r.Findings) > 0 {
		t.Errorf("%v", r.Findings)
	}
}

// Writes whose outcome is not known leave no hole and no double: the chain goes
// on with what is there.
func TestUnknownOutcomes(t *testing.T) {
	down := errors.New("down")
	for name, done := range map[string]bool{"lost": false, "stored": true} {
		s := newKV()
		j := open(t, s)
		add(t, j, "one")
		s.fail = func(string) (bool, error) { return done, down }
		if err := j.Append(t.Context(), []byte("two")); !errors.Is(err, down) {
			t.Fatalf("%s: %v", name, err)
		}
		s.fail = nil
		add(t, j, "three")
		closed(t, j)
		want := uint64(2)
		if done {
			want = 3
		}
		if r := verify(t, s, journal.Options{}); len(r.Findings) > 0 || r.Entries != want {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// A killed process leaves whole blocks; the next links to all of them.
func TestKilled(t *testing.T) {
	s := newKV()
	j := open(t, s)
	add(t, j, "one")
	add(t, j, "two")
	if r := verify(t, s, journal.Options{}); len(r.Findings) > 0 || r.Tail != 2 {
		t.Errorf("%+v", r)
	}
	next := open(t, s)
	add(t, next, "three")
	closed(t, next)
	if r := verify(t, s, journal.Options{}); len(r.Findings) > 0 || r.Tail != 0 || r.Entries != 3 {
		t.Errorf("%+v", r)
	}
	last := s.blocks()
	for _, k := range last {
		if strings.HasSuffix(k, "2") {
			delete(s.values, k)
		}
	}
	if r := verify(t, s, journal.Options{}); len(r.Findings) != 1 {
		t.Errorf("the tail of a killed process was cut: %+v", r)
	}
}

func TestMany(t *testing.T) {
	s := newKV()
	j := open(t, s)
	var group sync.WaitGroup
	for i := range 64 {
		group.Go(func() {
			for n := range 50 {
				if err := j.Append(context.Background(), fmt.Appendf(nil, "%d %d", i, n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	closed(t, j)
	seen := map[string]bool{}
	r := verify(t, s, journal.Options{Block: func(b journal.Block) error {
		for _, e := range b.Entries {
			seen[string(e)] = true
		}
		return nil
	}})
	if len(r.Findings) > 0 || r.Entries != 3200 || len(seen) != 3200 {
		t.Errorf("%+v, %d different", r, len(seen))
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 8} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			j := open(b, newKV())
			entry := []byte(strings.Repeat("event ", 40))
			b.SetParallelism(callers)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := j.Append(context.Background(), entry); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
