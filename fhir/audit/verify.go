package audit

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strconv"

	"candela/fhir/audit/journal"
	"candela/store"
)

// Evidence is what a log is held against.
type Evidence struct {
	Secret []byte              // the server's
	Keys   []ed25519.PublicKey // others that are trusted
	Heads  []journal.Head      // heads that were kept elsewhere
}

// Reader is what verifying reads.
type Reader interface {
	store.KV
	Get(ctx context.Context, k store.Key) (store.Version, error)
	Find(ctx context.Context, q store.Query) (store.Page, error)
}

// Verdict is what verifying found.
type Verdict struct {
	journal.Report
	Events  uint64   // AuditEvents that are as the journal says
	Pending uint64   // AuditEvents that are not made yet
	Wrong   []string // AuditEvents that differ from the journal, lack in the store or in the journal
}

// Good says that nothing is wrong.
func (v Verdict) Good() bool { return len(v.Findings) == 0 && len(v.Wrong) == 0 }

// maxWrong bounds how many AuditEvents a verdict names.
const maxWrong = 1000

// Verify holds the journal against itself and its heads, and the AuditEvents
// against the journal. It changes nothing and may run beside the server.
func Verify(ctx context.Context, s Reader, e Evidence) (Verdict, error) {
	v := &trial{ctx: ctx, store: s, made: map[string]uint64{}, known: map[string]bool{}, seals: map[string]*seals{}}
	var err error
	v.Report, err = journal.Verify(ctx, s, journal.Options{Secret: e.Secret, Keys: e.Keys, Heads: e.Heads, Block: v.block})
	if err == nil {
		err = v.foreign()
	}
	if err == nil && len(v.Findings) == 0 { // else every AuditEvent of what is missing would be named
		err = v.strangers()
	}
	return v.Verdict, err
}

// trial is one verifying.
type trial struct {
	Verdict
	ctx   context.Context
	store Reader
	made  map[string]uint64 // of each chain, blocks of which AuditEvents are made
	known map[string]bool   // ids of AuditEvents that the journal tells of
	seals map[string]*seals // by id
}

// seals are what the journal knows of an AuditEvent of somebody else.
type seals struct {
	sums  []string
	there bool // it was stored
}

func (v *trial) blame(id, format string, args ...any) {
	if len(v.Wrong) < maxWrong {
		v.Wrong = append(v.Wrong, auditEvent+"/"+id+" "+fmt.Sprintf(format, args...))
	}
}

func (v *trial) block(b journal.Block) error {
	if _, known := v.made[b.Writer]; !known {
		n, err := made(v.ctx, v.store, b.Writer)
		if err != nil && !errors.Is(err, store.ErrCorrupt) {
			return err
		}
		v.made[b.Writer] = n
	}
	for i, raw := range b.Entries {
		r, ok := parse(raw)
		if !ok {
			return fmt.Errorf("entry %d of audit journal %s is of another version of the server", b.First+uint64(i), b.Writer)
		}
		if r.what == sealing || r.what == sealed {
			v.sealed(&r)
		}
		for id, want := range r.events(b.Writer, b.First+uint64(i)) {
			if err := v.event(id, want, b.Number > v.made[b.Writer]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *trial) sealed(r *record) {
	s := v.seals[r.id]
	if s == nil {
		s = &seals{}
		v.seals[r.id] = s
	}
	s.sums = append(s.sums, r.sum)
	s.there = s.there || r.what == sealed
}

// event holds one AuditEvent against what the journal makes of it.
func (v *trial) event(id string, want []byte, pending bool) error {
	v.known[id] = true
	now, err := v.store.Get(v.ctx, store.Key{Type: auditEvent, ID: id})
	switch {
	case errors.Is(err, store.ErrNotFound) && pending:
		v.Pending++
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrGone):
		v.blame(id, "is missing; the journal has it")
	case err != nil:
		return err
	case string(now.Raw) != string(want) || now.Number != 1:
		v.blame(id, "differs from the journal")
	default:
		v.Events++
	}
	return nil
}

// foreign holds the AuditEvents of others against their seals.
func (v *trial) foreign() error {
	for id, s := range v.seals {
		v.known[id] = true
		now, err := v.store.Get(v.ctx, store.Key{Type: auditEvent, ID: id})
		switch {
		case errors.Is(err, store.ErrNotFound) && !s.there: // announced, and then not stored
		case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrGone):
			v.blame(id, "is missing; the journal has its seal")
		case err != nil:
			return err
		case !s.fits(sumOf(now.Raw)):
			v.blame(id, "differs from its seal in the journal")
		default:
			v.Events++
		}
	}
	return nil
}

func (s *seals) fits(sum string) bool {
	for _, one := range s.sums {
		if one == sum {
			return true
		}
	}
	return false
}

// strangers are AuditEvents that the journal does not know.
func (v *trial) strangers() error {
	q := store.Query{Types: []string{auditEvent}, Count: page, NoRaw: true}
	for {
		found, err := v.store.Find(v.ctx, q)
		if err != nil {
			return err
		}
		for _, one := range found.Versions {
			if !v.known[one.Key.ID] {
				v.blame(one.Key.ID, "is not in the journal (version %s)", strconv.FormatInt(one.Number, 10))
			}
		}
		if found.Next == "" {
			return nil
		}
		q.After = found.Next
	}
}
