package token

import (
	"bytes"
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"time"

	"github.com/go-json-experiment/json"

	"candela/store"
)

// The buckets of the store.
const (
	bucketGrant  = "smart.grant"
	bucketUser   = "smart.grant.user"   // "user/grant": what a user gave
	bucketClient = "smart.grant.client" // "client/grant": what a client was given
	bucketKey    = "smart.key"
)

// record is all there is of a grant.
type record struct {
	Grant  Grant     `json:"grant"`
	Code   *pending  `json:"code,omitzero"`    // nil once the code was redeemed
	Access []issued  `json:"access,omitzero"`  // newest first, two at most
	Family *family   `json:"refresh,omitzero"` // nil without refresh tokens
	Until  time.Time `json:"until"`            // when the last token ends
	Listed time.Time `json:"listed"`           // when its places in the lists end

	read []byte // as it stands in the store
}

// pending is a code that waits for its client.
type pending struct {
	Digest    []byte    `json:"digest"`
	Redirect  string    `json:"redirect"`
	Challenge string    `json:"challenge"`
	Until     time.Time `json:"until"`
}

// issued is an access token.
type issued struct {
	Digest  []byte    `json:"digest"`
	JTI     string    `json:"jti"`
	Scope   string    `json:"scope,omitzero"` // "": the grant's
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
}

// family is the line of refresh tokens of a grant: one is good, the one before
// it may be retried for a moment, every other is spent.
type family struct {
	Current []byte    `json:"current"`
	Former  []byte    `json:"former,omitzero"`
	Turned  time.Time `json:"turned"`          // when Former became Current
	Asked   string    `json:"asked,omitzero"`  // the scope that was asked for then
	Sealed  []byte    `json:"sealed,omitzero"` // the pair that was given then, under a key made of Former's token
}

// find is the access token of a digest, nil when it is none or over.
func (r *record) find(digest []byte, now time.Time) *issued {
	for i := range r.Access {
		if hmac.Equal(r.Access[i].Digest, digest) && now.Before(r.Access[i].Expires) {
			return &r.Access[i]
		}
	}
	return nil
}

// load reads the record of a grant; store.ErrNotFound when it has ended.
func (t *Tokens) load(ctx context.Context, id string) (*record, error) {
	raw, err := t.KV.KVGet(ctx, bucketGrant, id)
	if err != nil {
		return nil, fmt.Errorf("smart/token: read a grant: %w", err)
	}
	r := &record{read: raw}
	if err := json.Unmarshal(raw, r); err != nil || r.Grant.ID != id {
		return nil, fmt.Errorf("smart/token: the record of grant %s: %w", id, store.ErrCorrupt)
	}
	return r, nil
}

// create writes the record of a new grant, known to the lists before.
func (t *Tokens) create(ctx context.Context, r *record) error {
	if err := t.list(ctx, r); err != nil {
		return err
	}
	raw, err := json.Marshal(r)
	if err == nil {
		err = t.KV.KVSwap(ctx, bucketGrant, r.Grant.ID, nil, raw, r.Until.Sub(t.Now()))
	}
	if err != nil {
		return fmt.Errorf("smart/token: write a grant: %w", err)
	}
	return nil
}

// list makes sure that RevokeUser and RevokeClient find the grant for as long as
// it can live. Places of grants that are gone do no harm and go by themselves.
func (t *Tokens) list(ctx context.Context, r *record) error {
	now := t.Now()
	life := max(t.CodeLife+t.AccessLife+time.Minute, r.Until.Sub(now))
	if r.Grant.refreshes() {
		life = 2 * t.RefreshLife // so that not every refresh must renew it
	}
	r.Listed = now.Add(life)
	for bucket, key := range places(&r.Grant) {
		if err := t.KV.KVPut(ctx, bucket, key, []byte{1}, life); err != nil {
			return fmt.Errorf("smart/token: list a grant: %w", err)
		}
	}
	return nil
}

// places are the keys of a grant in the lists.
func places(g *Grant) map[string]string {
	out := map[string]string{bucketClient: place(g.Client) + g.ID}
	if g.User != "" {
		out[bucketUser] = place(g.User) + g.ID
	}
	return out
}

// place is the prefix of an owner's keys; no other owner's begin with it.
func place(owner string) string { return url.QueryEscape(owner) + "/" }

// attempts are many more than grants are ever changed at the same moment.
const attempts = 12

// change replaces the record of a grant by what next makes of it, again when
// another changed it in between. A next that gives nil changes nothing. A grant
// that has ended is store.ErrNotFound.
func (t *Tokens) change(ctx context.Context, id string, next func(*record) (*record, error)) error {
	for try := range attempts {
		before, err := t.load(ctx, id)
		if err != nil {
			return err
		}
		after, err := next(before)
		if err != nil || after == nil {
			return err
		}
		if done, err := t.swap(ctx, before, after); done || err != nil {
			return err
		}
		if err := pause(ctx, try); err != nil {
			return err
		}
	}
	return fmt.Errorf("smart/token: grant %s is changed too often: %w", id, store.ErrUnavailable)
}

// swap writes after in place of before; done is false when another was faster.
func (t *Tokens) swap(ctx context.Context, before, after *record) (done bool, err error) {
	raw, err := json.Marshal(after)
	if err != nil {
		return false, fmt.Errorf("smart/token: write a grant: %w", err)
	}
	defer t.forget(before.Grant.ID)
	wrong := t.KV.KVSwap(ctx, bucketGrant, before.Grant.ID, before.read, raw, after.Until.Sub(t.Now()))
	if wrong == nil {
		return true, nil
	}
	// It may have been written all the same: by a write that the driver repeated,
	// or one whose answer was lost.
	have, err := t.KV.KVGet(ctx, bucketGrant, before.Grant.ID)
	switch {
	case err == nil && bytes.Equal(have, raw):
		return true, nil
	case !errors.Is(wrong, store.ErrConflict):
		return false, fmt.Errorf("smart/token: write a grant: %w", wrong)
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return false, fmt.Errorf("smart/token: read a grant: %w", err)
	}
	return false, nil
}

// pause waits a little, longer each time, not as long as others.
func pause(ctx context.Context, try int) error {
	timer := time.NewTimer(rand.N(time.Millisecond << min(try, 6)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("smart/token: wait for a grant: %w", ctx.Err())
	case <-timer.C:
		return nil
	}
}

// end deletes a grant: none of its tokens is good from now on.
func (t *Tokens) end(ctx context.Context, r *record) error {
	err := t.KV.KVDelete(ctx, bucketGrant, r.Grant.ID)
	t.forget(r.Grant.ID)
	if err != nil {
		return fmt.Errorf("smart/token: end a grant: %w", err)
	}
	for bucket, key := range places(&r.Grant) {
		if err := t.KV.KVDelete(ctx, bucket, key); err != nil {
			return fmt.Errorf("smart/token: take a grant off a list: %w", err)
		}
	}
	return nil
}
