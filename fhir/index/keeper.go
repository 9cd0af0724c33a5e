// Package index keeps the search parameters that SearchParameter resources add
// at run time: it puts them into the registry of every server process and
// indexes the resources that were stored before them.
//
// It knows SearchParameter resources, the registry and how far an indexing has
// come. It must not know HTTP, a store's inside or what a parameter means.
package index

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"candela/fhir"
	"candela/fhir/bulk"
	"candela/fhir/search"
	"candela/store"
)

const definition = "SearchParameter"

// Buckets of the store's KV: progress by id, and the lease of who indexes.
const (
	progressBucket = "index"
	leaseBucket    = "index-lease"
)

// Config is what a Keeper is made of. Zero durations and sizes mean the defaults.
type Config struct {
	Store  store.Store
	Search *search.Registry
	Log    *slog.Logger
	// Poll is how often other processes' changes are looked for; 0 is a second.
	Poll time.Duration
	// Settle is how long after its pass an indexing waits before it looks for what
	// was written meanwhile by processes that did not know the parameter; it must
	// be longer than Poll and a write together. 0 is three seconds.
	Settle time.Duration
	// Lease is how long a dead process keeps others from indexing; 0 is ten seconds.
	Lease time.Duration
	// Page is how many resources are indexed at once; 0 is 200.
	Page int
	// Words switches the index of words on or off for the whole store; "" leaves it.
	Words string
}

// Keeper keeps one process's registry current. Safe for concurrent use.
type Keeper struct {
	Config
	owner []byte
	renew bulk.Reindex
	wake  chan struct{} // there may be something to index

	mu     sync.Mutex // of refresh
	newest mark
	todo   map[string]int64 // version of each parameter that is not complete
	last   string           // what the overlay was made of
	words  []byte           // the state of the index of words, as it stands in KV
}

// progress is what KV keeps of one parameter.
type progress struct {
	Version int64     `json:"version"` // of the SearchParameter
	Seq     store.Seq `json:"seq"`     // everything before it is indexed or in the pass
	Parts   []part    `json:"parts"`
	Cursor  string    `json:"cursor,omitempty"` // within the first part that is not passed
	Done    bool      `json:"done,omitempty"`
}

type part struct {
	Type   string `json:"type"`
	Done   int64  `json:"done"`
	Total  int64  `json:"total"`
	Passed bool   `json:"passed,omitempty"`
}

// New makes a Keeper and fills the registry from the store.
func New(ctx context.Context, c Config) (*Keeper, error) {
	if c.Poll == 0 {
		c.Poll = time.Second
	}
	if c.Settle == 0 {
		c.Settle = 3 * time.Second
	}
	if c.Lease == 0 {
		c.Lease = 10 * time.Second
	}
	if c.Page == 0 {
		c.Page = 200
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	k := &Keeper{Config: c, owner: []byte(rand.Text()), wake: make(chan struct{}, 1), renew: bulk.Reindex{Store: c.Store, Search: c.Search}}
	if err := k.switchWords(ctx); err != nil {
		return k, err
	}
	return k, k.Refresh(ctx)
}

// Door is next, after whose writes of SearchParameters this process searches
// and indexes by what they say.
func (k *Keeper) Door(next fhir.Doer) fhir.Doer {
	return fhir.DoerFunc(func(ctx context.Context, r fhir.Request) (fhir.Response, error) {
		answer, err := next.Do(ctx, r)
		if err == nil && touches(r) {
			if failed := k.Refresh(context.WithoutCancel(ctx)); failed != nil { // the poll will try again
				k.Log.Error("search parameters were not read again", slog.Any("error", failed))
			}
		}
		return answer, err
	})
}

func touches(r fhir.Request) bool {
	switch r.Interaction {
	case fhir.Create, fhir.Update, fhir.Patch, fhir.Delete:
		return r.Type == definition
	case fhir.Batch:
		return bytes.Contains(r.Resource.Raw(), []byte(definition))
	default:
		return false
	}
}

// Refresh reads all SearchParameters and their progress into the registry.
func (k *Keeper) Refresh(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	newest, err := k.head(ctx)
	if err != nil {
		return err
	}
	list, todo, made, err := k.read(ctx)
	if err != nil {
		return err
	}
	state, words, err := k.readWords(ctx)
	if err != nil {
		return err
	}
	if k.Search.SetWords(state); state == search.WordsBuilding {
		todo[wordsID] = 1
	}
	k.words = words
	if made != k.last {
		k.Search.Overlay(list)
	}
	k.newest, k.todo, k.last = newest, todo, made
	if len(todo) > 0 {
		select {
		case k.wake <- struct{}{}:
		default: // awake already
		}
	}
	return nil
}

// head is the newest change of any SearchParameter.
func (k *Keeper) head(ctx context.Context) (mark, error) {
	page, err := k.Store.History(ctx, store.Span{Key: store.Key{Type: definition}, Count: 1, Total: true})
	if err != nil || len(page.Versions) == 0 {
		return mark{}, err
	}
	return mark{page.Versions[0].Seq, page.Total}, nil
}

// mark changes with every write and every erase of a SearchParameter.
type mark struct {
	newest   store.Seq
	versions int64
}

// read gives the parameters to add, the versions of those that are not
// complete, and a text that differs when anything of that does.
func (k *Keeper) read(ctx context.Context) (list []search.Added, todo map[string]int64, made string, err error) {
	todo = map[string]int64{}
	var text bytes.Buffer
	for q := (store.Query{Types: []string{definition}, Count: 200}); ; {
		page, err := k.Store.Find(ctx, q)
		if err != nil {
			return nil, nil, "", err
		}
		for _, v := range page.Versions {
			a, ok, err := k.Search.Define(fhir.Stored(v.Raw))
			if err != nil { // stored before such were refused
				k.Log.Warn("a SearchParameter is not used", slog.String("id", v.Key.ID), slog.Any("error", err))
			}
			if !ok {
				continue
			}
			p, raw, err := k.progress(ctx, v)
			if err != nil {
				return nil, nil, "", err
			}
			if list = append(list, p.on(a)); !p.Done {
				todo[v.Key.ID] = v.Number
			}
			text.WriteString(v.Key.ID)
			text.Write(raw)
		}
		if q.After = page.Next; q.After == "" {
			return list, todo, text.String(), nil
		}
	}
}

// on puts the progress into what the registry is told.
func (p progress) on(a search.Added) search.Added {
	for i := range a.Parts {
		for _, known := range p.Parts {
			if known.Type == a.Parts[i].Type {
				a.Parts[i].Done, a.Parts[i].Total, a.Parts[i].Complete = known.Done, known.Total, p.Done
			}
		}
	}
	return a
}

// progress reads what is known of a version of a parameter, and writes the
// beginning where there is none.
func (k *Keeper) progress(ctx context.Context, v store.Version) (progress, []byte, error) {
	old, err := k.Store.KVGet(ctx, progressBucket, v.Key.ID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return progress{}, nil, err
	}
	var p progress
	if err == nil && json.Unmarshal(old, &p) == nil && p.Version == v.Number {
		return p, old, nil
	}
	if err != nil {
		old = nil
	}
	p, err = k.begin(v)
	if err != nil {
		return progress{}, nil, err
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return progress{}, nil, err
	}
	err = k.Store.KVSwap(ctx, progressBucket, v.Key.ID, old, raw, 0)
	if errors.Is(err, store.ErrConflict) { // another process began it
		return p, raw, nil
	}
	return p, raw, err
}

func (k *Keeper) begin(v store.Version) (progress, error) {
	a, _, err := k.Search.Define(fhir.Stored(v.Raw))
	p := progress{Version: v.Number, Seq: v.Seq}
	for _, one := range a.Parts {
		p.Parts = append(p.Parts, part{Type: one.Type})
	}
	return p, err
}
