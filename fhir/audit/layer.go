package audit

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"candela/fhir"
	"candela/store"
)

// Around is the layer that puts every interaction on record before its answer goes
// out: also each entry of a Bundle and what an operation asks for in turn, all of
// them in one write. It keeps everybody from changing AuditEvents. Where the record
// cannot be written the answer is 503 and nothing else.
//
// Not on record are the CapabilityStatement, which holds no data, and what the
// server itself reads: it does not leave.
func (l *Log) Around(next fhir.Doer) fhir.Doer {
	return fhir.DoerFunc(func(ctx context.Context, r fhir.Request) (fhir.Response, error) {
		if r.Interaction == fhir.Capabilities || ownRead(r) {
			return next.Do(ctx, r)
		}
		mine, inside := ctx.Value(gathering{}).(*gathered)
		if !inside {
			mine = &gathered{}
			if writes(r) {
				ctx = context.WithValue(ctx, gathering{}, mine)
			}
		}
		answer, err := l.guarded(ctx, r, next)
		if r.Interaction != fhir.Batch || err != nil {
			mine.add(l.recordOf(ctx, r, answer, err, mine))
		}
		if inside {
			return answer, err
		}
		if down := l.append(ctx, mine.records...); down != nil {
			return fhir.Response{}, down
		}
		return answer, err
	})
}

// gathering is the context key under which the entries of one Bundle and the
// steps of one operation gather their records.
type gathering struct{}

type gathered struct {
	mu      sync.Mutex
	records []*record
	written map[store.Key][]string // patients of what was written
	gone    map[store.Key][]string // and of what was deleted
}

func (g *gathered) add(r *record) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.records = append(g.records, r)
}

// saw notes whom a write is about, when it comes to the store.
func (g *gathered) saw(k store.Key, deleted bool, patients []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.written == nil {
		g.written, g.gone = map[store.Key][]string{}, map[store.Key][]string{}
	}
	if deleted {
		g.gone[k] = patients
	} else {
		g.written[k] = patients
	}
}

// whom says what saw noted. A delete by criteria does not tell what it ended: all
// of its type counts.
func (g *gathered) whom(about *record) (patients []string, known bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if about.what != string(fhir.Delete) {
		patients, known = g.written[about.key()]
		return slices.Clone(patients), known
	}
	for k, ids := range g.gone {
		if k.Type == about.typ && (about.id == "" || k.ID == about.id) {
			patients, known = append(patients, ids...), true
		}
	}
	return patients, known
}

func writes(r fhir.Request) bool {
	switch r.Interaction {
	case fhir.Create, fhir.Update, fhir.Patch, fhir.Delete, fhir.Operation, fhir.Batch:
		return true
	default:
		return false
	}
}

// ownRead says that the server itself asks for something and changes nothing.
func ownRead(r fhir.Request) bool {
	c := r.Caller
	return c.Client == "" && c.Address == "" && c.Token == "" && c.User == (fhir.Reference{}) && !writes(r)
}

// guarded does r, unless it would change an AuditEvent. Who reads AuditEvents
// finds all that was recorded so far.
func (l *Log) guarded(ctx context.Context, r fhir.Request, next fhir.Doer) (fhir.Response, error) {
	if r.Type == auditEvent {
		switch r.Interaction {
		case fhir.Update, fhir.Patch, fhir.Delete:
			refusal := fhir.Errorf(405, fhir.CodeNotSupported, "AuditEvents are never changed or deleted")
			refusal.Allow = "GET, HEAD, POST"
			return fhir.Response{}, refusal
		case fhir.Create, fhir.Operation, fhir.Batch, fhir.Capabilities:
		default:
			if err := l.CatchUp(ctx); err != nil {
				return fhir.Response{}, unavailable(err)
			}
		}
	}
	return next.Do(ctx, r)
}

func unavailable(err error) error {
	return fhir.Errorf(503, fhir.CodeTransient, "the audit log cannot be written or read at the moment; try again").Because(err)
}

// append keeps records; they are on disk when it returns nil.
func (l *Log) append(ctx context.Context, records ...*record) error {
	raw := make([][]byte, len(records))
	for i, r := range records {
		raw[i] = r.bytes()
	}
	if err := l.journal.Append(ctx, raw...); err != nil {
		l.noteFailure(ctx, err)
		return unavailable(err)
	}
	l.failing.Store(false)
	return nil
}

// recordOf says what became of a request.
func (l *Log) recordOf(ctx context.Context, r fhir.Request, answer fhir.Response, err error, seen *gathered) *record {
	out := &record{
		at: l.Now(), what: string(r.Interaction), typ: clean(r.Type, maxName), id: clean(r.ID, maxName),
		version: clean(r.Version, maxName), operation: clean(r.Operation, maxName), base: l.Base, request: clean(r.RequestID, maxName), status: answer.Status, query: queryOf(r),
	}
	out.by(r.Caller)
	if err != nil {
		out.status, out.code = 500, fhir.CodeException
		var refusal *fhir.Error
		if errors.As(err, &refusal) {
			out.status = refusal.Status
			if len(refusal.Issues) > 0 {
				out.code = refusal.Issues[0].Code
			}
		}
		return out
	}
	if done := fhir.ParseReference(answer.Location); done.ID != "" && r.Interaction != fhir.Batch {
		out.typ, out.id, out.version = done.Type, done.ID, answer.ETag
	}
	if r.Interaction == fhir.SearchCompart {
		out.id = ""
	}
	out.about(l.patientsOf(ctx, r, answer, out, seen))
	return out
}

// about takes the patients, each once and in order.
func (r *record) about(ids []string) {
	slices.Sort(ids)
	r.patients = slices.Compact(ids)
}

// queryOf is what was asked where it is no single resource, as a URL below the base.
func queryOf(r fhir.Request) string {
	switch r.Interaction {
	case fhir.SearchType, fhir.SearchSystem, fhir.SearchCompart, fhir.HistoryType, fhir.HistorySystem, fhir.Operation:
	default:
		if len(r.Query) == 0 && r.IfNoneExist == "" {
			return ""
		}
	}
	var parts []string
	for _, part := range []string{r.Compartment, r.ID, r.Type} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	if r.Compartment == "" && r.ID != "" {
		parts = []string{r.Type, r.ID}
	}
	if r.Operation != "" {
		parts = append(parts, "$"+r.Operation)
	}
	out := strings.Join(parts, "/")
	if r.IfNoneExist != "" {
		return out + "?" + r.IfNoneExist
	}
	if len(r.Query) > 0 {
		out += "?" + r.Query.Encode()
	}
	return out
}

// patientsOf are the ids of the patients whose data went in or out.
func (l *Log) patientsOf(ctx context.Context, r fhir.Request, answer fhir.Response, about *record, seen *gathered) (ids []string) {
	raw := answer.Body
	if answer.Resource.Exists() {
		raw = answer.Resource.Raw()
	}
	if writes(r) {
		var known bool
		if ids, known = seen.whom(about); !known { // it changed nothing; the answer may show something all the same
			ids = patientsIn(ids, raw, l.Base)
		}
	} else {
		ids = patientsIn(ids, raw, l.Base)
	}
	if about.typ == "Patient" {
		ids = addPatient(ids, about.id)
	}
	if r.Compartment == "Patient" {
		ids = addPatient(ids, r.ID)
	}
	switch {
	case writes(r):
	case r.Query.Has("_elements") || r.Query.Has("_summary"):
		return l.patientsBehind(ctx, ids, raw)
	case len(ids) == 0 && len(r.Query) > 0:
		return patientsAsked(r)
	}
	return ids
}

// patientsAsked are the patients that criteria name, where none was found.
func patientsAsked(r fhir.Request) (ids []string) {
	for _, p := range r.Query {
		if name, _, _ := strings.Cut(p.Name, ":"); name != "patient" && name != "subject" {
			continue
		}
		for one := range strings.SplitSeq(p.Value, ",") {
			id := one[strings.LastIndexByte(one, '/')+1:]
			if fhir.ValidID(id) && (id == one || strings.HasSuffix(one, "Patient/"+id)) {
				ids = addPatient(ids, id)
			}
		}
	}
	return ids
}

// patientsBehind adds the patients of resources that were cut down on their way
// out, so that the answer need not show them.
func (l *Log) patientsBehind(ctx context.Context, ids []string, raw []byte) []string {
	root := fhir.Stored(raw).Root()
	keys := []store.Key{{Type: root.Get("resourceType").Text(), ID: root.Get("id").Text()}}
	for e := range root.Get("entry").Elements() {
		to := e.Get("resource")
		keys = append(keys, store.Key{Type: to.Get("resourceType").Text(), ID: to.Get("id").Text()})
	}
	for _, k := range keys {
		if k.ID == "" || k.Type == "" {
			continue
		}
		if k.Type == "Patient" {
			ids = addPatient(ids, k.ID)
		}
		if now, err := l.Store.Get(ctx, k); err == nil {
			ids = patientsIn(ids, now.Raw, l.Base)
		}
	}
	return ids
}
