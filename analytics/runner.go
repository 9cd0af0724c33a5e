package analytics

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"candela/analytics/profile"
	"candela/fhir"
	"candela/store"
)

// Config is what a Runner is made of.
type Config struct {
	Door         fhir.Doer
	Store        Feed
	Capabilities []Capability
	Version      string // of Candela, for the Provenance
	Base         string // the server's base URL, as page links have it
	Now          func() time.Time
	Log          *slog.Logger // nil is slog.Default

	Batch   int           // patients whose profiles are held at a time; 0 is 100
	Slice   int           // patients between two savings of the position; 0 is 20,000
	Workers int           // profiles read at a time; 0 is one per processor
	Settle  time.Duration // how long Follow lets writes come to rest; 0 is 2 s
}

// Feed is what a Runner needs of a store: the change feed and a place for its
// position.
type Feed interface {
	store.KV
	Changes(ctx context.Context, after store.Seq) iter.Seq2[store.Version, error]
	Head(ctx context.Context) (store.Seq, error)
	GetVersion(ctx context.Context, k store.Key, number int64) (store.Version, error)
}

// Runner keeps results current. One pass runs at a time; several Runners on one
// store do no harm, the slower one's pass ends with store.ErrConflict.
type Runner struct {
	Config
	door   Door
	cursor string // key of the saved position
}

const bucket = "analytics"

// New makes a Runner. Its saved position is bound to the set of capabilities:
// with another set it goes through everything again.
func New(c Config) (*Runner, error) {
	if c.Door == nil || c.Store == nil || c.Now == nil || len(c.Capabilities) == 0 {
		return nil, fhir.Errorf(500, fhir.CodeException, "analytics.Config needs a Door, a Store, Now and Capabilities")
	}
	c.Batch, c.Slice = cmp.Or(c.Batch, 100), cmp.Or(c.Slice, 20_000)
	c.Workers, c.Settle = cmp.Or(c.Workers, runtime.GOMAXPROCS(0)), cmp.Or(c.Settle, 2*time.Second)
	if c.Log == nil {
		c.Log = slog.Default()
	}
	names := make([]string, len(c.Capabilities))
	for i, one := range c.Capabilities {
		names[i] = one.Name()
	}
	slices.Sort(names)
	sum := sha256.Sum256([]byte(strings.Join(names, "\n")))
	reader := profile.Reader{Door: c.Door, Base: c.Base, Caller: fhir.Caller{Name: "analytics", Access: fhir.Full()}}
	return &Runner{Config: c, door: Door{reader}, cursor: "cursor/" + hex.EncodeToString(sum[:8])}, nil
}

// Run takes in everything that was committed before it began. Killed at any
// moment it can be run again: what was written stays and is not written twice.
func (r *Runner) Run(ctx context.Context) (Report, error) {
	report := Report{Refused: map[string]map[string]int{}}
	saved, err := r.position(ctx)
	if err != nil {
		return report, err
	}
	head, err := r.Store.Head(ctx)
	if err != nil {
		return report, err
	}
	from := saved
	if from > head { // the store was set back; results are the same the second time
		from = 0
	}
	report.From, report.To = from, from
	for from < head {
		part, err := r.collect(ctx, from, head)
		if err != nil {
			return report, err
		}
		report.Changes += part.changes
		if err := r.refresh(ctx, part, &report); err != nil {
			return report, err
		}
		if err := r.save(ctx, saved, part.to); err != nil {
			return report, err
		}
		from, saved, report.To = part.to, part.to, part.to
	}
	return report, nil
}

// position is the saved position; 0 when nothing was saved yet.
func (r *Runner) position(ctx context.Context) (store.Seq, error) {
	value, err := r.Store.KVGet(ctx, bucket, r.cursor)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	seq, err := strconv.ParseUint(string(value), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("position of analytics: %w", store.ErrCorrupt)
	}
	return store.Seq(seq), nil
}

func (r *Runner) save(ctx context.Context, old, next store.Seq) error {
	var before []byte
	if old > 0 {
		before = strconv.AppendUint(nil, uint64(old), 10)
	}
	return r.Store.KVSwap(ctx, bucket, r.cursor, before, strconv.AppendUint(nil, uint64(next), 10), 0)
}

// refresh reads the profiles of the patients touched, batch by batch, and
// writes what the capabilities conclude. Results of the last batch and of
// Finish share a transaction, so that a small run is one transaction.
func (r *Runner) refresh(ctx context.Context, part slice, report *Report) error {
	if len(part.patients) == 0 {
		return nil
	}
	report.Subjects += len(part.patients)
	passes := make([]Pass, len(r.Capabilities))
	for i, c := range r.Capabilities {
		var err error
		if passes[i], err = c.Start(ctx, r.door); err != nil {
			return fmt.Errorf("%s: %w", c.Name(), err)
		}
	}
	out := writer{Runner: r, part: part, report: report}
	for batch := range slices.Chunk(part.patients, r.Batch) {
		if err := out.flush(ctx); err != nil {
			return err
		}
		if err := r.batch(ctx, passes, batch, &out); err != nil {
			return err
		}
	}
	for i, pass := range passes {
		results, err := pass.Finish(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", r.Capabilities[i].Name(), err)
		}
		out.pending = append(out.pending, results...)
		report.refuse(r.Capabilities[i].Name(), pass.Refused())
	}
	return out.flush(ctx)
}

func (r *Runner) batch(ctx context.Context, passes []Pass, patients []string, out *writer) error {
	profiles, err := r.profiles(ctx, patients)
	if err != nil {
		return err
	}
	for i, pass := range passes {
		results, err := pass.Subjects(ctx, profiles)
		if err != nil {
			return fmt.Errorf("%s: %w", r.Capabilities[i].Name(), err)
		}
		out.pending = append(out.pending, results...)
	}
	return nil
}

// profiles reads a batch, several at a time; the order stays.
func (r *Runner) profiles(ctx context.Context, patients []string) ([]profile.Profile, error) {
	all := make([]profile.Profile, len(patients))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.Workers)
	for i, id := range patients {
		group.Go(func() (err error) {
			all[i], err = r.door.Read(ctx, id)
			return err
		})
	}
	return all, group.Wait()
}
