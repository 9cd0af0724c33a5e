package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	fetchTime   = 3 * time.Second  // for a whole answer
	longestLife = time.Hour        // of keys in the cache, whatever their host says
	usualLife   = 5 * time.Minute  // when their host says nothing
	refetchWait = 30 * time.Second // between fetches for a kid that the cached keys lack
	retryWait   = 5 * time.Second  // after a fetch that failed, when there are no keys
	maxHeld     = 10_000           // key sets
)

// remote holds the keys of clients that publish them by URL, for as long as the
// host's Cache-Control allows and never longer.
type remote struct {
	http    *http.Client
	now     func() time.Time
	flights singleflight.Group

	mu   sync.Mutex
	sets map[string]held
}

// held is a key set, or why there is none.
type held struct {
	keys    []key
	until   time.Time // the keys are good before this
	refetch time.Time // while they are: a kid that they lack is not asked for before this
	retry   time.Time // when they are not: the host is not asked again before this
	err     error     // of the last fetch
}

func newRemote(c *http.Client, now func() time.Time) *remote {
	r := &remote{now: now, sets: map[string]held{}}
	if c != nil {
		own := *c // the guard is in its transport; what follows is ours
		own.Timeout = fetchTime
		own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		own.Jar = nil
		r.http = &own
	}
	return r
}

// keys are the keys of a client, with kid among them if its host has it. Every
// trouble with the host is ErrUnavailable.
func (r *remote) keys(ctx context.Context, id, url, kid string) ([]key, error) {
	place := id + " " + url
	if keys, err, ok := r.look(place, kid); ok {
		return keys, err
	}
	flight := r.flights.DoChan(place, func() (any, error) {
		// Another flight may have landed since the look.
		if keys, err, ok := r.look(place, kid); ok {
			return keys, err
		}
		return r.fetch(context.WithoutCancel(ctx), place, url)
	})
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("smart/client: wait for keys: %w", ctx.Err())
	case landed := <-flight:
		if landed.Err != nil {
			return nil, fmt.Errorf("smart/client: %w: %w", ErrUnavailable, landed.Err)
		}
		keys, _ := landed.Val.([]key)
		return keys, nil
	}
}

// look answers from what is held; ok is false when a fetch is due.
func (r *remote) look(place, kid string) (keys []key, err error, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h, now := r.sets[place], r.now()
	fresh := now.Before(h.until)
	switch {
	case fresh && has(h.keys, kid), fresh && h.err == nil && now.Before(h.refetch):
		return h.keys, nil, true
	case fresh && now.Before(h.refetch), !fresh && now.Before(h.retry):
		// The kid may be a new one: without the host nobody can tell.
		return nil, fmt.Errorf("smart/client: %w: %w", ErrUnavailable, h.err), true
	}
	return nil, nil, false
}

// fetch asks the host and holds what it says.
func (r *remote) fetch(ctx context.Context, place, url string) ([]key, error) {
	began := r.now()
	keys, life, err := r.get(ctx, url)
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.sets[place]
	next := held{keys: keys, until: began.Add(life), err: err}
	if began.Before(before.until) {
		next.refetch = began.Add(refetchWait)
	}
	if err != nil {
		next.keys, next.until, next.retry = before.keys, before.until, r.now().Add(retryWait)
	}
	r.shrink()
	r.sets[place] = next
	return keys, err
}

// shrink makes room: sets that are over go first, then any.
func (r *remote) shrink() {
	if len(r.sets) < maxHeld {
		return
	}
	now := r.now()
	for place, h := range r.sets {
		if !now.Before(h.until) && !now.Before(h.retry) {
			delete(r.sets, place)
		}
	}
	for place := range r.sets {
		if len(r.sets) < maxHeld {
			return
		}
		delete(r.sets, place)
	}
}

func (r *remote) get(ctx context.Context, url string) ([]key, time.Duration, error) {
	if r.http == nil {
		return nil, 0, errors.New("no calls to other hosts are configured")
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, 0, err
	}
	ask.Header.Set("Accept", "application/jwk-set+json, application/json")
	answer, err := r.http.Do(ask)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = answer.Body.Close() }() // read as far as it is wanted
	if answer.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("the host of the keys answered %d", answer.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxSet+1))
	if err != nil {
		return nil, 0, err
	}
	keys, err := readSet(body)
	return keys, lifetime(answer.Header, r.now()), err
}

// lifetime is how long an answer may be kept (RFC 9111 §4.2.1).
func lifetime(h http.Header, now time.Time) time.Duration {
	control := strings.ToLower(strings.Join(h.Values("Cache-Control"), ","))
	life, said := longestLife, false
	for part := range strings.SplitSeq(control, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "no-store", "no-cache":
			return 0
		case "max-age":
			life, said = min(life, seconds(value)-seconds(h.Get("Age"))), true
		}
	}
	expires, pragma := h.Get("Expires"), strings.ToLower(h.Get("Pragma"))
	switch {
	case said:
	case control == "" && strings.Contains(pragma, "no-cache"):
		return 0
	case expires != "":
		end, err := http.ParseTime(expires)
		if date, wrong := http.ParseTime(h.Get("Date")); wrong == nil {
			now = date
		}
		if err != nil {
			return 0
		}
		life = min(life, end.Sub(now))
	default:
		life = usualLife
	}
	return max(life, 0)
}

// seconds reads a number of seconds; what is none is 0, and a day is enough.
func seconds(text string) time.Duration {
	n, err := strconv.ParseUint(strings.Trim(text, `" `), 10, 63)
	if err != nil {
		return 0
	}
	return time.Duration(min(n, 86_400)) * time.Second
}
