package interaction

import (
	"context"
	"encoding/base64"
	"fmt"
	"hash/maphash"
	"runtime"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"candela/fhir"
	"candela/fhir/interaction/page"
	"candela/fhir/interaction/subset"
	"candela/fhir/patch"
)

// entry is one entry of a batch or transaction: what it asks, then its answer.
type entry struct {
	index   int
	fullURL string
	req     fhir.Request
	cut     subset.Cut // of the answer to a write
	answer  fhir.Response
	err     error
}

// bundle does what is posted to the base: a batch or a transaction.
func (e *Engine) bundle(ctx context.Context, r fhir.Request) (fhir.Response, error) {
	if t := r.Resource.Type(); t != "Bundle" {
		return fhir.Response{}, fhir.Errorf(400, fhir.CodeInvalid, "the base takes a Bundle; post a resource to [base]/[Type]").At("resourceType")
	}
	root := r.Resource.Root()
	list := root.Get("entry")
	if list.Exists() && list.Kind() != fhir.Array {
		return fhir.Response{}, fhir.Errorf(400, fhir.CodeStructure, "Bundle.entry must be an array").At("Bundle.entry")
	}
	if n := list.Len(); n > e.config.MaxEntries {
		return fhir.Response{}, fhir.Errorf(413, fhir.CodeTooCostly, "the Bundle has %d entries; the limit is %d", n, e.config.MaxEntries).At("Bundle.entry")
	}
	var entries []*entry
	for n := range list.Elements() {
		entries = append(entries, e.entry(r, n, len(entries)))
	}
	switch root.Get("type").Text() {
	case "transaction":
		if err := e.transaction(ctx, r, entries); err != nil {
			return fhir.Response{}, err
		}
		return answers(r, "transaction-response", entries), nil
	case "batch":
		e.batch(ctx, entries)
		return answers(r, "batch-response", entries), nil
	default:
		return fhir.Response{}, fhir.Errorf(400, fhir.CodeInvalid, "the base takes a Bundle of type batch or transaction").At("Bundle.type")
	}
}

// entry reads one entry; what is wrong with it stays in err.
func (e *Engine) entry(r fhir.Request, n fhir.Node, index int) *entry {
	out := &entry{index: index, fullURL: n.Get("fullUrl").Text()}
	ask := n.Get("request")
	method, url := ask.Get("method"), ask.Get("url")
	if method.Kind() != fhir.String || url.Kind() != fhir.String {
		out.err = fhir.Errorf(400, fhir.CodeRequired, "request.method and request.url are required").At("request")
		return out
	}
	if out.req, out.err = fhir.RouteURL(method.Text(), url.Text(), r.Base); out.err != nil {
		return out
	}
	q := &out.req
	q.Base, q.Caller, q.RequestID, q.Prefer = r.Base, r.Caller, r.RequestID, r.Prefer
	q.IfMatch, q.IfNoneMatch, q.IfNoneExist = ask.Get("ifMatch").Text(), ask.Get("ifNoneMatch").Text(), ask.Get("ifNoneExist").Text()
	if since, err := instant(ask.Get("ifModifiedSince").Text()); err == nil {
		q.IfModifiedSince = since
	}
	switch q.Interaction {
	case fhir.Create, fhir.Update, fhir.Operation:
		if q.Prefer.Return == "" {
			q.Prefer.Return = "minimal"
		}
		if res := n.Get("resource"); res.Exists() {
			q.Resource, out.err = fhir.ResourceAt(res)
		}
	case fhir.Batch:
		out.err = fhir.Errorf(400, fhir.CodeInvalid, "a Bundle cannot stand in a Bundle to be done").At("request.url")
	case fhir.Patch:
		out.err = patchIn(q, n.Get("resource"))
	default:
	}
	return out
}

// patchIn takes the patch of an entry: a Parameters resource, or a Binary that
// holds a patch of another language (R4 http, patch).
func patchIn(q *fhir.Request, n fhir.Node) error {
	if q.Prefer.Return == "" {
		q.Prefer.Return = "minimal"
	}
	switch n.Get("resourceType").Text() {
	case "Parameters":
		q.Format, q.Body = patch.FHIR, n.Raw()
		return nil
	case "Binary":
		var err error
		q.Format = n.Get("contentType").Text()
		if q.Body, err = base64.StdEncoding.DecodeString(n.Get("data").Text()); err != nil || q.Format == "" {
			return fhir.Errorf(400, fhir.CodeValue, "a Binary with a patch needs contentType and data in base64").At("Binary.data")
		}
		return nil
	default:
		return fhir.Errorf(400, fhir.CodeRequired, "a PATCH entry needs a Parameters or a Binary as its resource").At("resource")
	}
}

// rank is the order in which verbs are done (R4 http, transaction rules).
func (x *entry) rank() int {
	switch x.req.Interaction {
	case fhir.Delete:
		return 0
	case fhir.Create:
		return 1
	case fhir.Update, fhir.Patch:
		return 2
	default:
		return 3
	}
}

const ranks = 4

// batch does every entry for itself, verb by verb, those of one verb side by
// side; entries on one resource stay in order. Failures stay in their entries.
func (e *Engine) batch(ctx context.Context, entries []*entry) {
	seed := maphash.MakeSeed()
	width := e.workers()
	if width > 1 { // one worker goes in order; several share more lanes than they are, to be done together
		width *= 4
	}
	var room room
	for rank := range ranks {
		lanes := make([][]*entry, width)
		for _, x := range entries {
			if x.err == nil && x.rank() == rank {
				at := maphash.String(seed, x.lane()) % uint64(len(lanes))
				lanes[at] = append(lanes[at], x)
			}
		}
		var group errgroup.Group
		for _, lane := range lanes {
			if len(lane) == 0 {
				continue
			}
			group.Go(func() error {
				for _, x := range lane {
					e.answer(ctx, x, &room, e.Do)
				}
				return nil
			})
		}
		_ = group.Wait() // lanes keep their errors in the entries
	}
}

// maxAnswers bounds the bodies of one bundle's answers, in bytes: a small body
// can ask for very much (threat T80).
const maxAnswers = 64 << 20

// room counts the bytes of a bundle's answers.
type room struct{ taken atomic.Int64 }

// take counts the answer. Past the bound a write keeps its status and loses its body.
func (m *room) take(answer *fhir.Response) {
	bytes := len(answer.Body) + len(answer.Resource.Raw())
	if m.taken.Add(int64(bytes)) > maxAnswers {
		answer.Body, answer.Resource = nil, fhir.Resource{}
	}
}

// answer does one entry by do. Reads are refused once the answers fill the room.
func (e *Engine) answer(ctx context.Context, x *entry, m *room, do fhir.DoerFunc) {
	reads := x.rank() == ranks-1
	if reads && m.taken.Load() > maxAnswers {
		x.err = errRoom
		return
	}
	x.err = e.safely(ctx, func() (err error) {
		x.answer, err = do(ctx, x.req)
		return err
	})
	if x.err != nil {
		return
	}
	if m.take(&x.answer); reads && m.taken.Load() > maxAnswers {
		x.err = errRoom
	}
}

var errRoom = fhir.Errorf(413, fhir.CodeTooCostly, "the answers of this Bundle take more than %d bytes; ask for fewer in one", maxAnswers)

// lane names what entries must be done one after the other for.
func (x *entry) lane() string {
	switch {
	case x.req.ID != "":
		return x.req.Type + "/" + x.req.ID
	case x.req.IfNoneExist != "":
		return x.req.Type + "?" + x.req.IfNoneExist
	case x.rank() == 2 || x.rank() == 0:
		return x.req.Type + "?" + x.req.Query.Encode()
	default:
		return fmt.Sprint(x.index)
	}
}

func (e *Engine) workers() int {
	if e.config.Workers > 0 {
		return e.config.Workers
	}
	return runtime.GOMAXPROCS(0)
}

// answers is the response Bundle: as many entries, in the same order.
func answers(r fhir.Request, kind string, entries []*entry) fhir.Response {
	bytes := 0
	for _, x := range entries {
		if x.err != nil {
			refusal := refusalOf(x.err)
			x.answer = fhir.Response{Status: refusal.Status, Body: fhir.OutcomeOf(refusal.Issues...)}
		}
		bytes += len(x.answer.Body) + len(x.answer.Resource.Raw()) + 200
	}
	out := page.NewBundle(r.Base, kind, bytes)
	for _, x := range entries {
		out.Answer(x.answer)
	}
	return fhir.Response{Status: 200, Body: out.Bytes()}
}

// inEntry says at which entry a transaction failed: expressions start at
// Bundle.entry[i].
func inEntry(index int, err error) error {
	refusal := refusalOf(err)
	out := *refusal
	out.Issues = nil
	for _, one := range refusal.Issues {
		at := fmt.Sprintf("Bundle.entry[%d]", index)
		switch head, rest, _ := strings.Cut(one.Expression, "."); {
		case one.Expression == "":
		case head == "request":
			at += "." + one.Expression
		case head == "resourceType":
			at += ".resource"
		case rest == "":
			at += ".resource"
		default:
			at += ".resource." + rest
		}
		one.Expression = at
		out.Issues = append(out.Issues, one)
	}
	return &out
}
