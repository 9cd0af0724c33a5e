package analytics_test

import (
	"context"
	"encoding/json"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"candela/fhir"
	"candela/store"
)

// memory is a small FHIR server for tests: a change feed, KV, and a door that
// reads, searches by patient and status in pages, and takes bundles of PUT and
// DELETE. It shares no code with the product beyond package fhir.
type memory struct {
	mu      sync.Mutex
	log     []store.Version
	current map[store.Key]store.Version
	kv      map[string][]byte
	// swap stands in for KVSwap when set: a test kills the process there.
	swap func() error
	// reads counts searches, to see that only the touched are read.
	searches int
}

func newMemory() *memory {
	return &memory{current: map[store.Key]store.Version{}, kv: map[string][]byte{}}
}

func (m *memory) put(key store.Key, raw []byte) {
	before := m.current[key]
	if before.Action == store.Put && string(before.Raw) == string(raw) {
		return
	}
	v := store.Version{Key: key, Number: before.Number + 1, Seq: store.Seq(len(m.log) + 1), Action: store.Put, Raw: raw, Time: time.Unix(1e9, 0)}
	if raw == nil {
		v.Action = store.Delete
	}
	m.log, m.current[key] = append(m.log, v), v
}

func (m *memory) Head(context.Context) (store.Seq, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return store.Seq(len(m.log)), nil
}

func (m *memory) Changes(ctx context.Context, after store.Seq) iter.Seq2[store.Version, error] {
	return func(yield func(store.Version, error) bool) {
		for at := int(after); ctx.Err() == nil; {
			m.mu.Lock()
			fresh := slices.Clone(m.log[min(at, len(m.log)):])
			m.mu.Unlock()
			for _, v := range fresh {
				if !yield(v, nil) {
					return
				}
			}
			at += len(fresh)
			time.Sleep(time.Millisecond)
		}
	}
}

func (m *memory) GetVersion(_ context.Context, k store.Key, number int64) (store.Version, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range m.log {
		if v.Key == k && v.Number == number {
			if v.Raw == nil {
				return v, store.ErrGone
			}
			return v, nil
		}
	}
	return store.Version{}, store.ErrNotFound
}

func (m *memory) KVGet(_ context.Context, bucket, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v, ok := m.kv[bucket+"/"+key]; ok {
		return v, nil
	}
	return nil, store.ErrNotFound
}

func (m *memory) KVSwap(_ context.Context, bucket, key string, old, next []byte, _ time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.swap != nil {
		return m.swap()
	}
	if string(m.kv[bucket+"/"+key]) != string(old) {
		return store.ErrConflict
	}
	m.kv[bucket+"/"+key] = next
	return nil
}

func (m *memory) KVPut(context.Context, string, string, []byte, time.Duration) error {
	return store.ErrUnavailable
}

func (m *memory) KVTake(context.Context, string, string) ([]byte, error) {
	return nil, store.ErrUnavailable
}
func (m *memory) KVDelete(context.Context, string, string) error { return store.ErrUnavailable }
func (m *memory) KVList(context.Context, string, string) iter.Seq2[string, error] {
	return func(func(string, error) bool) {}
}

func (m *memory) Do(_ context.Context, r fhir.Request) (fhir.Response, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch r.Interaction {
	case fhir.Read:
		v, ok := m.current[store.Key{Type: r.Type, ID: r.ID}]
		if !ok || v.Raw == nil {
			return fhir.Response{}, fhir.Errorf(404, fhir.CodeNotFound, "not there")
		}
		return fhir.Response{Status: 200, Resource: stamped(v)}, nil
	case fhir.SearchType:
		m.searches++
		return m.search(r)
	case fhir.Batch:
		return fhir.Response{Status: 200}, m.bundle(r.Resource)
	default:
		return fhir.Response{}, fhir.Errorf(405, fhir.CodeNotSupported, "not in this door")
	}
}

func stamped(v store.Version) fhir.Resource {
	return fhir.Stored(fhir.Stamp(fhir.Stored(v.Raw), v.Number, v.Time))
}

// search answers newest written first, two pages' worth at a time, so that
// nobody relies on an order.
func (m *memory) search(r fhir.Request) (fhir.Response, error) {
	count, _ := strconv.Atoi(r.Query.Get("_count"))
	skip, _ := strconv.Atoi(r.Query.Get("_skip"))
	var hits []string
	for _, v := range slices.Backward(m.log) {
		if v.Key.Type != r.Type || v.Raw == nil || m.current[v.Key].Seq != v.Seq {
			continue
		}
		root := fhir.Stored(v.Raw).Root()
		if who := r.Query.Get("patient"); who != "" && root.Path("subject", "reference").Text() != who {
			continue
		}
		if status := r.Query.Get("status"); status != "" && root.Get("status").Text() != status {
			continue
		}
		if drug := r.Query.Get("medication"); drug != "" && root.Path("medicationReference", "reference").Text() != drug {
			continue
		}
		hits = append(hits, `{"resource":`+string(stamped(v).Raw())+`}`)
	}
	page := hits[min(skip, len(hits)):min(skip+count, len(hits))]
	next := ""
	if skip+count < len(hits) {
		query := fhir.Params{}
		for _, p := range r.Query {
			if p.Name != "_skip" {
				query = append(query, p)
			}
		}
		query = append(query, fhir.Param{Name: "_skip", Value: strconv.Itoa(skip + count)})
		next = `{"relation":"next","url":` + string(fhir.Quote(r.Base+"/"+r.Type+"?"+query.Encode())) + `}`
	}
	return fhir.Response{Status: 200, Body: []byte(`{"resourceType":"Bundle","type":"searchset","link":[` + next + `],"entry":[` + strings.Join(page, ",") + `]}`)}, nil
}

func (m *memory) bundle(res fhir.Resource) error {
	for e := range res.Root().Get("entry").Elements() {
		url := fhir.ParseReference(e.Path("request", "url").Text())
		if match := e.Path("request", "ifMatch").Text(); match != "" {
			now := m.current[store.Key{Type: url.Type, ID: url.ID}]
			if match != `W/"`+strconv.FormatInt(now.Number, 10)+`"` {
				return fhir.Errorf(412, fhir.CodeConflict, "changed meanwhile")
			}
		}
	}
	for e := range res.Root().Get("entry").Elements() {
		url := fhir.ParseReference(e.Path("request", "url").Text())
		raw := slices.Clone(e.Get("resource").Raw())
		if e.Path("request", "method").Text() == "DELETE" {
			raw = nil
		}
		m.put(store.Key{Type: url.Type, ID: url.ID}, raw)
	}
	return nil
}

// world is a server under test.
type world interface {
	fhir.Doer
	store.KV
	Head(ctx context.Context) (store.Seq, error)
	Changes(ctx context.Context, after store.Seq) iter.Seq2[store.Version, error]
	GetVersion(ctx context.Context, k store.Key, number int64) (store.Version, error)
}

// send puts resources into a world as one transaction; nil deletes.
func send(t testing.TB, w world, resources map[string]string) {
	t.Helper()
	var entries []string
	for _, url := range slices.Sorted(maps.Keys(resources)) {
		if resources[url] == "" {
			entries = append(entries, `{"request":{"method":"DELETE","url":"`+url+`"}}`)
			continue
		}
		entries = append(entries, `{"resource":`+resources[url]+`,"request":{"method":"PUT","url":"`+url+`"}}`)
	}
	post(t, w, []byte(`{"resourceType":"Bundle","type":"transaction","entry":[`+strings.Join(entries, ",")+`]}`))
}

func post(t testing.TB, w world, raw []byte) {
	t.Helper()
	bundle, err := fhir.ParseResource(raw, fhir.BundleLimits())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Do(t.Context(), fhir.Request{Interaction: fhir.Batch, Resource: bundle, Base: base, Caller: system}); err != nil {
		t.Fatal(err)
	}
}

const base = "http://localhost/fhir"

var system = fhir.Caller{Name: "test", Access: fhir.Full()}

// read is a resource without what the server stamps, "" when not there.
func read(t testing.TB, w world, kind, id string) string {
	t.Helper()
	res, err := w.Do(t.Context(), fhir.Request{Interaction: fhir.Read, Type: kind, ID: id, Base: base, Caller: system})
	if err != nil {
		return ""
	}
	return string(fhir.Apply(res.Resource.Raw(), fhir.DropServerMeta(res.Resource)))
}

// all are the current resources of a type by id, from the change feed.
func all(t testing.TB, w world, kind string) map[string]string {
	t.Helper()
	head, err := w.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	if head == 0 {
		return out
	}
	for v, err := range w.Changes(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if v.Key.Type == kind {
			out[v.Key.ID] = string(v.Raw)
		}
		if v.Seq >= head {
			break
		}
	}
	maps.DeleteFunc(out, func(_, raw string) bool { return raw == "" })
	return out
}

// object is JSON decoded the plain way: tests look at resources independently
// of the product's own tree.
type object = map[string]any

func decode(t testing.TB, raw string) object {
	t.Helper()
	var o object
	if err := json.Unmarshal([]byte(raw), &o); err != nil {
		t.Fatalf("%v in %q", err, raw)
	}
	return o
}
