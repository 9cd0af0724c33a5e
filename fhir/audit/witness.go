package audit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strconv"

	"candela/fhir"
	"candela/store"
)

// Witness is the store as the engine gets it: an AuditEvent that somebody else
// writes is sealed in the journal, and none is ever changed, whatever the way.
func (l *Log) Witness() store.Store { return witness{l.Store, l} }

type witness struct {
	store.Store
	log *Log
}

// Commit seals AuditEvents before they are written, for what is there without a
// seal was put in behind our back, and after it, for what has that seal and is not
// there was taken out.
func (w witness) Commit(ctx context.Context, ops ...store.Op) ([]store.Result, error) {
	w.note(ctx, ops)
	var seals []*record
	for i, op := range ops {
		if op.Key.Type != auditEvent || op.Action == store.Reindex {
			continue
		}
		if op.Action != store.Create {
			return nil, &store.OpError{Index: i, Err: fhir.Errorf(405, fhir.CodeNotSupported, "AuditEvents are never changed or deleted")}
		}
		seals = append(seals, w.log.seal(sealing, op.Key, op.Raw))
	}
	if len(seals) == 0 {
		return w.Store.Commit(ctx, ops...)
	}
	if err := w.log.append(ctx, seals...); err != nil {
		return nil, err
	}
	results, err := w.Store.Commit(ctx, ops...)
	if err != nil {
		return nil, err
	}
	for _, s := range seals {
		s.what = sealed
	}
	return results, w.log.append(ctx, seals...)
}

// note tells the layer whom the writes are about: only here references are
// resolved and criteria found their resources.
func (w witness) note(ctx context.Context, ops []store.Op) {
	seen, ok := ctx.Value(gathering{}).(*gathered)
	if !ok {
		return
	}
	for _, op := range ops {
		raw := op.Raw
		switch op.Action {
		case store.Delete:
			now, err := w.Get(ctx, op.Key)
			if err != nil {
				continue // it is not there: nobody's
			}
			raw = now.Raw
		case store.Create, store.Put:
		default:
			continue
		}
		ids := patientsIn(nil, raw, w.log.Base)
		if op.Key.Type == "Patient" {
			ids = addPatient(ids, op.Key.ID)
		}
		seen.saw(op.Key, op.Action == store.Delete, ids)
	}
}

func (l *Log) seal(what string, k store.Key, raw []byte) *record {
	return &record{at: l.Now(), what: what, typ: k.Type, id: k.ID, sum: sumOf(raw)}
}

func sumOf(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// adopt seals the AuditEvents that are there before the journal.
func (l *Log) adopt(ctx context.Context) error {
	q := store.Query{Types: []string{auditEvent}, Count: page}
	for {
		found, err := l.Store.Find(ctx, q)
		if err != nil {
			return err
		}
		seals := make([]*record, len(found.Versions))
		for i, v := range found.Versions {
			seals[i] = l.seal(sealed, v.Key, v.Raw)
			seals[i].version = strconv.FormatInt(v.Number, 10)
		}
		if len(seals) > 0 {
			if err := l.append(ctx, seals...); err != nil {
				return err
			}
		}
		if found.Next == "" {
			return nil
		}
		q.After = found.Next
	}
}

// page is how many AuditEvents are looked at together.
const page = 1000
