package audit

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"candela/fhir"
	"candela/fhir/audit/journal"
	"candela/store"
)

// Buckets of the KV.
const (
	madeBucket  = "audit.made"  // writer -> number of the last block of which AuditEvents are made
	leaseBucket = "audit.lease" // who makes them in the background
)

const (
	leaseTime = 10 * time.Second
	// perCommit is how many AuditEvents one commit stores; a store that finds them
	// too large gets fewer.
	perCommit = 500
)

// maker makes AuditEvents of the journal. Their ids come from the place in the
// journal, so that making them again makes none twice.
type maker struct {
	*Log
	turn  chan struct{}     // holds one token while nobody makes any
	made  map[string]uint64 // of each chain, blocks done; guarded by turn
	ended map[string]bool   // chains of which all is done and no more comes
	owner []byte
}

func newMaker(l *Log) *maker {
	m := &maker{Log: l, turn: make(chan struct{}, 1), made: map[string]uint64{}, ended: map[string]bool{}, owner: make([]byte, 16)}
	_, _ = rand.Read(m.owner) // never fails (crypto/rand)
	m.owner = []byte(hex.EncodeToString(m.owner))
	m.turn <- struct{}{}
	return m
}

// CatchUp makes AuditEvents of all that is on record in any process.
func (l *Log) CatchUp(ctx context.Context) error { return l.maker.pass(ctx, 0) }

// rest is how much longer than a commit took nothing is done after it, in the
// background: requests come first, and those of many seconds are caught up with
// when there are few, or when somebody asks.
const rest = 9

// run makes AuditEvents now and then, in one process of all.
func (m *maker) run(ctx context.Context) {
	tick := time.NewTicker(m.Poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			m.release(context.WithoutCancel(ctx))
			return
		case <-tick.C:
		}
		if !m.leased(ctx) {
			continue
		}
		if err := m.pass(ctx, rest); err != nil && ctx.Err() == nil {
			m.Config.Log.LogAttrs(ctx, slog.LevelError, "AuditEvents were not made of the journal; it is tried again", slog.Any("cause", err))
		}
	}
}

// leased takes or renews the lease.
func (m *maker) leased(ctx context.Context) bool {
	now, err := m.Store.KVGet(ctx, leaseBucket, "owner")
	switch {
	case errors.Is(err, store.ErrNotFound):
		now = nil
	case err != nil || string(now) != string(m.owner):
		return false
	}
	return m.Store.KVSwap(ctx, leaseBucket, "owner", now, m.owner, leaseTime) == nil
}

// release lets another process begin at once; a failure only delays it.
func (m *maker) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if now, err := m.Store.KVGet(ctx, leaseBucket, "owner"); err == nil && string(now) == string(m.owner) {
		_ = m.Store.KVDelete(ctx, leaseBucket, "owner")
	}
}

// pass makes what is missing, chain by chain.
func (m *maker) pass(ctx context.Context, rest int) error {
	select {
	case <-m.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { m.turn <- struct{}{} }()
	writers, err := journal.Writers(ctx, m.Store)
	if err != nil {
		return err
	}
	for _, w := range writers {
		if m.ended[w] {
			continue
		}
		ended, err := journal.Ended(ctx, m.Store, w)
		if err != nil {
			return err
		}
		if err := m.chain(ctx, w, rest); err != nil {
			return err
		}
		m.ended[w] = ended
	}
	return nil
}

// chain makes what is missing of one chain.
func (m *maker) chain(ctx context.Context, w string, rest int) error {
	if _, known := m.made[w]; !known {
		n, err := made(ctx, m.Store, w)
		if err != nil {
			return err
		}
		m.made[w] = n
	}
	var ops []store.Op
	for b, err := range journal.Blocks(ctx, m.Store, w, m.made[w]) {
		if err != nil {
			return err
		}
		if ops, err = m.ops(ops, b); err != nil {
			return err
		}
		if len(ops) < perCommit {
			m.made[w] = b.Number
			continue
		}
		started := time.Now()
		if err := m.save(ctx, w, b.Number, ops); err != nil {
			return err
		}
		m.made[w], ops = b.Number, nil
		if rest > 0 && (!wait(ctx, time.Duration(rest)*time.Since(started)) || !m.leased(ctx)) {
			return ctx.Err()
		}
	}
	if ops == nil {
		return nil
	}
	return m.save(ctx, w, m.made[w], ops)
}

func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// made is how many blocks of a chain are done.
func made(ctx context.Context, kv store.KV, w string) (uint64, error) {
	raw, err := kv.KVGet(ctx, madeBucket, w)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(string(raw), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("position of the audit: %w", store.ErrCorrupt)
	}
	return n, nil
}

// ops adds the AuditEvents of a block.
func (m *maker) ops(ops []store.Op, b journal.Block) ([]store.Op, error) {
	if ops == nil {
		ops = make([]store.Op, 0, len(b.Entries))
	}
	for i, raw := range b.Entries {
		r, ok := parse(raw)
		if !ok {
			return nil, fmt.Errorf("entry %d of audit journal %s: %w", b.First+uint64(i), b.Writer, store.ErrCorrupt)
		}
		for id, body := range r.events(b.Writer, b.First+uint64(i)) {
			entries, err := m.Entries(fhir.Stored(body))
			if err != nil {
				return nil, err
			}
			ops = append(ops, store.Op{Action: store.Create, Key: store.Key{Type: auditEvent, ID: id}, Raw: body, Entries: entries})
		}
	}
	return ops, nil
}

// save stores AuditEvents, those that are not there yet, and then how far it came.
func (m *maker) save(ctx context.Context, w string, number uint64, ops []store.Op) error {
	for size := perCommit; len(ops) > 0; {
		some := ops[:min(size, len(ops))]
		err := m.commit(ctx, some)
		if errors.Is(err, store.ErrTooLarge) && len(some) > 1 {
			size = len(some) / 2
			continue
		}
		if err != nil {
			m.forget(w)
			return err
		}
		ops = ops[len(some):]
	}
	return m.Store.KVPut(ctx, madeBucket, w, strconv.AppendUint(nil, number, 10), 0)
}

// forget makes the next pass begin where the last saved one ended.
func (m *maker) forget(w string) { delete(m.made, w) }

// commit stores AuditEvents. Those that are there already stay as they are, also
// where they are not as they should be: verifying tells of that.
func (m *maker) commit(ctx context.Context, ops []store.Op) error {
	for range 5 {
		_, err := m.Store.Commit(ctx, ops...)
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
		var missing []store.Op
		for _, op := range ops {
			_, err := m.Store.Get(ctx, op.Key)
			if errors.Is(err, store.ErrNotFound) {
				missing = append(missing, op)
			} else if err != nil && !errors.Is(err, store.ErrGone) {
				return err
			}
		}
		if ops = missing; len(ops) == 0 {
			return nil
		}
	}
	return store.ErrConflict
}
