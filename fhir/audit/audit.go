// Package audit puts on record what is done with data: every interaction, sign-in,
// token, consent decision and disclosure, on disk before the answer goes out, in a
// journal that nobody can change unseen; and as AuditEvents in the form of IHE's
// Basic Audit Log Patterns (BALP), which are made of the journal.
//
// It knows what an AuditEvent says of a request and its caller, which patients an
// answer names, and how the journal and the AuditEvents agree. It must not know
// HTTP, tokens, or how an interaction is done.
package audit

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"candela/fhir"
	"candela/fhir/audit/journal"
	"candela/store"
)

// Config is what a Log is made of.
type Config struct {
	Store store.Store // where AuditEvents and the journal live
	// Entries are the index entries of an AuditEvent.
	Entries func(fhir.Resource) ([]store.Entry, error)
	Secret  []byte // seals the key that the journal is signed with
	Base    string // our own base URL
	Now     func() time.Time
	Log     *slog.Logger  // told of failures, never of what is on record
	Poll    time.Duration // how often AuditEvents are made; 0 is 2 s
}

// Log is the audit. Safe for concurrent use.
type Log struct {
	Config
	journal *journal.Journal
	maker   *maker
	failing atomic.Bool
}

var _ fhir.Recorder = (*Log)(nil)

// Open makes a Log. AuditEvents that are older than the journal are put on record
// as they are, once.
func Open(ctx context.Context, c Config) (*Log, error) {
	if c.Poll == 0 {
		c.Poll = 2 * time.Second
	}
	l := &Log{Config: c}
	keys, err := journal.Keys(ctx, c.Store, c.Secret)
	if err != nil {
		return nil, err
	}
	l.journal, err = journal.Open(ctx, journal.Config{KV: c.Store, Secret: c.Secret, Now: c.Now, Log: c.Log})
	if err != nil {
		return nil, err
	}
	l.maker = newMaker(l)
	if len(keys) == 0 {
		return l, l.adopt(ctx)
	}
	return l, nil
}

// Record puts an event on record that is no interaction: fhir.Recorder.
func (l *Log) Record(ctx context.Context, e fhir.Event) error {
	r := &record{
		at: l.Now(), what: string(e.Kind), typ: e.About.Type, id: e.About.ID, base: l.Base, request: clean(e.RequestID, maxName),
		status: e.Status, reason: clean(e.Reason, maxReason), recipient: clean(e.Recipient, maxReason),
	}
	switch {
	case e.Status >= 500:
		r.code = fhir.CodeException
	case e.Status >= 400:
		r.code = fhir.CodeForbidden
	}
	r.by(e.Caller)
	if e.Patient.Type == "Patient" {
		r.patients = []string{e.Patient.ID}
	}
	return l.append(ctx, r)
}

// maxReason bounds the texts of events, in bytes.
const maxReason = 1 << 10

// Healthy is nil while the journal takes what is put on record.
func (l *Log) Healthy() error {
	if l.failing.Load() {
		return errDown
	}
	return nil
}

var errDown = errors.New("the audit log cannot be written")

// noteFailure tells the operator, once until it works again.
func (l *Log) noteFailure(ctx context.Context, err error) {
	if ctx.Err() == nil && !l.failing.Swap(true) {
		l.Log.LogAttrs(ctx, slog.LevelError, "the audit log cannot be written; requests are answered 503", slog.Any("cause", err))
	}
}

// Run makes AuditEvents and signs the journal until ctx ends.
func (l *Log) Run(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.journal.Run(ctx)
	}()
	l.maker.run(ctx)
	<-done
}

// Close signs how far the journal goes.
func (l *Log) Close(ctx context.Context) error { return l.journal.Close(ctx) }
