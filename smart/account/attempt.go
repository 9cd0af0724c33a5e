package account

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/go-json-experiment/json"

	"candela/store"
)

// What attempts are counted by.
const (
	usePassword = "attempt/password"
	useCode     = "attempt/code"
	useAddress  = "attempt/address"
)

const (
	firstWait = 30 * time.Second // doubled by each further attempt
	mostWait  = 15 * time.Minute
	forget    = 24 * time.Hour      // after the last attempt
	knownFor  = 30 * 24 * time.Hour // an address that somebody signed in from
)

// rule is how many attempts are free, and how soon one of them is forgiven.
type rule struct {
	free int
	each time.Duration // 0: none is, before all are
}

func userRule() rule { return rule{free: 5} }

// addressRule is for addresses, which a whole hospital may share.
func addressRule() rule { return rule{free: 30, each: 2 * time.Minute} }

// tally is what is known of attempts. They count before they are judged, so that
// many at once are not judged before the first is counted.
type tally struct {
	Count int       `json:"count"`
	Until time.Time `json:"until,omitzero"` // no attempt before
	Last  time.Time `json:"last"`
}

// next is the tally after one more attempt.
func (r rule) next(t tally, now time.Time) tally {
	past := ago(now, t.Last)
	if past >= forget {
		t.Count = 0
	}
	if r.each > 0 {
		t.Count = max(t.Count-int(past/r.each), 0)
	}
	t.Count, t.Last, t.Until = t.Count+1, now.UTC(), time.Time{}
	if over := t.Count - r.free; over > 0 {
		t.Until = now.Add(min(firstWait<<min(over-1, 16), mostWait)).UTC()
	}
	return t
}

// attempt is one that was counted, by the keys of its tallies.
type attempt struct{ user, address string }

// key is the tally that an attempt counts in: one for the user, but one more for
// each address that the user signed in from lately, so that strangers who guess
// do not shut out the user.
func (a *Accounts) key(ctx context.Context, l *Login, use string) (string, error) {
	all := a.digest(use, l.Name)
	if l.Address == "" {
		return all, nil
	}
	where := a.digest("known", l.Name, l.Address)
	_, err := a.KV.KVGet(ctx, bucketKnown, where)
	if errors.Is(err, store.ErrNotFound) {
		return all, nil
	}
	if err != nil {
		return "", fmt.Errorf("smart/account: read an address: %w", err)
	}
	return all + "/" + where, nil
}

// count counts an attempt of the user and of the address, or refuses it as
// *Error TooMany. l.Address must be in network form.
func (a *Accounts) count(ctx context.Context, l *Login, use string) (t attempt, err error) {
	if l.Address != "" {
		t.address = a.digest(useAddress, l.Address)
		if err := a.countOne(ctx, t.address, addressRule(), l); err != nil {
			return attempt{}, err
		}
	}
	key, err := a.key(ctx, l, use)
	if err == nil {
		err = a.countOne(ctx, key, userRule(), l)
	}
	if err != nil { // it is not judged, so it does not count for the address
		return attempt{}, errors.Join(err, a.refund(ctx, t))
	}
	t.user = key
	return t, nil
}

func (a *Accounts) countOne(ctx context.Context, key string, rule rule, l *Login) error {
	var wait time.Duration
	locked := false
	err := a.tally(ctx, key, func(t tally) tally {
		now := a.Now()
		if wait = t.Until.Sub(now); !t.Until.IsZero() && wait > 0 {
			return t
		}
		wait = 0
		next := rule.next(t, now)
		locked = next.Count == rule.free+1 && next.Count > t.Count
		return next
	})
	if err != nil {
		return err
	}
	if wait > 0 {
		return tooMany(min(wait, mostWait))
	}
	if locked {
		return a.tell(ctx, Event{What: LockedOut, User: a.known(ctx, l.Name), Address: l.Address, Failed: true})
	}
	return nil
}

func tooMany(wait time.Duration) error {
	wait = (wait + time.Second - 1).Truncate(time.Second)
	return &Error{Code: TooMany, Description: "too many attempts; try again later", Status: 429, RetryAfter: wait}
}

// known is the name if it is a user's: others may be passwords in the wrong field.
func (a *Accounts) known(ctx context.Context, name string) string {
	if _, err := a.load(ctx, name); err != nil {
		return ""
	}
	return name
}

// refund takes an attempt back that was not wrong.
func (a *Accounts) refund(ctx context.Context, t attempt) error {
	for _, key := range []string{t.user, t.address} {
		if key == "" {
			continue
		}
		err := a.tally(ctx, key, func(t tally) tally { return tally{Count: max(t.Count-1, 0), Last: t.Last} })
		if err != nil {
			return err
		}
	}
	return nil
}

// clear takes an attempt back that was right, and forgets the user's before it.
func (a *Accounts) clear(ctx context.Context, t attempt) error {
	if err := a.KV.KVDelete(ctx, bucketAttempt, t.user); err != nil {
		return fmt.Errorf("smart/account: forget attempts: %w", err)
	}
	t.user = ""
	return a.refund(ctx, t)
}

// remember notes an address that the user signed in from.
func (a *Accounts) remember(ctx context.Context, l *Login) error {
	if l.Address == "" {
		return nil
	}
	if err := a.KV.KVPut(ctx, bucketKnown, a.digest("known", l.Name, l.Address), []byte{1}, knownFor); err != nil {
		return fmt.Errorf("smart/account: remember an address: %w", err)
	}
	return nil
}

// forgive forgets all attempts at a user.
func (a *Accounts) forgive(ctx context.Context, name string) error {
	for _, use := range []string{usePassword, useCode} {
		for key, err := range a.KV.KVList(ctx, bucketAttempt, a.digest(use, name)) {
			if err == nil {
				err = a.KV.KVDelete(ctx, bucketAttempt, key)
			}
			if err != nil {
				return fmt.Errorf("smart/account: forget attempts: %w", err)
			}
		}
	}
	return nil
}

// tally replaces a tally by what next makes of it. Who comes too often at once
// to be counted comes too often.
func (a *Accounts) tally(ctx context.Context, key string, next func(tally) tally) error {
	for try := range attempts {
		raw, err := a.KV.KVGet(ctx, bucketAttempt, key)
		if errors.Is(err, store.ErrNotFound) {
			raw, err = nil, nil
		}
		if err != nil {
			return fmt.Errorf("smart/account: read attempts: %w", err)
		}
		var t tally
		if raw != nil && json.Unmarshal(raw, &t) != nil {
			return fmt.Errorf("smart/account: the attempts of somebody: %w", store.ErrCorrupt)
		}
		after := next(t)
		if after == t {
			return nil
		}
		text, err := json.Marshal(after)
		if err == nil {
			err = a.KV.KVSwap(ctx, bucketAttempt, key, raw, text, forget)
		}
		if err == nil {
			return nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return fmt.Errorf("smart/account: count an attempt: %w", err)
		}
		if err := pause(ctx, try); err != nil {
			return err
		}
	}
	return tooMany(time.Second)
}

// network is an address as attempts are counted by it: of IPv6 the /64, which
// one household has; "" for what is no address.
func network(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return ""
	}
	if ip = ip.Unmap().WithZone(""); ip.Is4() {
		return ip.String()
	}
	prefix, err := ip.Prefix(64)
	if err != nil {
		return ""
	}
	return prefix.String()
}
