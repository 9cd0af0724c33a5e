package token

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"iter"
	"time"

	"candela/store"
)

// Held is a grant as the page shows it where users see who may read for them.
type Held struct {
	Grant
	Until time.Time // when it ends if it is not used again
	Used  time.Time // when tokens were last given
}

// Revoke ends a token (RFC 7009): a refresh token with its whole grant, an access
// token alone where there is a refresh token beside it. A token that is none or
// over is no error; one of another client is *Error unauthorized_client.
func (t *Tokens) Revoke(ctx context.Context, text string, client Client) error {
	for _, k := range []kind{access, refresh, code} {
		if sent, ok := t.parse(k, text); ok {
			err := t.change(ctx, sent.grant(), func(r *record) (*record, error) {
				return t.without(ctx, r, k, &sent, client)
			})
			if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			return err
		}
	}
	return nil
}

// without is a record without an access token; a grant that has nothing left is
// ended.
func (t *Tokens) without(ctx context.Context, r *record, k kind, sent *parsed, client Client) (*record, error) {
	if r.Grant.Client != client.ID {
		return nil, &Error{Code: "unauthorized_client", Description: "the token is not this client's", Status: 400}
	}
	if k != access || r.Family == nil {
		return nil, t.end(ctx, r)
	}
	if r.find(sent.digest, t.Now()) == nil {
		return nil, nil
	}
	next := *r
	next.Access = nil
	for _, one := range r.Access {
		if !hmac.Equal(one.Digest, sent.digest) {
			next.Access = append(next.Access, one)
		}
	}
	return &next, nil
}

// Grants gives what a user has granted and stands, in no order.
func (t *Tokens) Grants(ctx context.Context, user string) ([]Held, error) {
	var out []Held
	for r, err := range t.all(ctx, bucketUser, user) {
		if err != nil {
			return nil, err
		}
		if r.Code == nil {
			out = append(out, r.held())
		}
	}
	return out, nil
}

func (r *record) held() Held {
	h := Held{Grant: r.Grant, Until: r.Until, Used: r.Grant.Created}
	if len(r.Access) > 0 {
		h.Used = r.Access[0].Issued
	}
	if r.Family != nil && r.Family.Turned.After(h.Used) {
		h.Used = r.Family.Turned
	}
	return h
}

// all gives the grants of a list that have not ended.
func (t *Tokens) all(ctx context.Context, bucket, owner string) iter.Seq2[*record, error] {
	return func(yield func(*record, error) bool) {
		prefix := place(owner)
		for key, err := range t.KV.KVList(ctx, bucket, prefix) {
			if err != nil {
				yield(nil, fmt.Errorf("smart/token: list grants: %w", err))
				return
			}
			r, err := t.load(ctx, key[len(prefix):])
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// RevokeGrant ends a grant that a user gave; user "" asks not whose it is. One
// that is another's, or none, is store.ErrNotFound.
func (t *Tokens) RevokeGrant(ctx context.Context, user, id string) error {
	r, err := t.load(ctx, id)
	if err != nil {
		return err
	}
	if user != "" && r.Grant.User != user {
		return fmt.Errorf("smart/token: a grant of another user: %w", store.ErrNotFound)
	}
	return t.end(ctx, r)
}

// RevokeUser ends all that a user granted. Whoever locks the user does that
// first: what is granted meanwhile is for Config.Alive to stop.
func (t *Tokens) RevokeUser(ctx context.Context, user string) error {
	return t.endAll(ctx, bucketUser, user, func(*Grant) bool { return true })
}

// RevokeClient ends all that a client was granted.
func (t *Tokens) RevokeClient(ctx context.Context, client string) error {
	return t.endAll(ctx, bucketClient, client, func(*Grant) bool { return true })
}

// RevokeSession ends what was granted for as long as a user's session lasts.
func (t *Tokens) RevokeSession(ctx context.Context, user, session string) error {
	return t.endAll(ctx, bucketUser, user, func(g *Grant) bool { return session != "" && g.Session == session })
}

func (t *Tokens) endAll(ctx context.Context, bucket, owner string, which func(*Grant) bool) error {
	for r, err := range t.all(ctx, bucket, owner) {
		if err == nil && which(&r.Grant) {
			err = t.end(ctx, r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
