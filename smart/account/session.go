package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"candela/store"
)

const (
	cookieSize = 43              // octets of 256 bits in base64url
	halfTime   = 5 * time.Minute // a session that lacks something is over after so long
	// touches is how often in Idle the use of a session is written down. So a
	// session may be over up to a fifteenth of Idle early, never late.
	touches = 15
)

// Session is a browser that somebody signed in at.
type Session struct {
	ID       string // public, to bind grants to
	User     User
	Needs    Need // Nothing, else it is good for what is needed only
	Methods  []string
	AuthTime time.Time // when the user signed in
	Until    time.Time // when it is over at the latest
	// CSRF is what each form of the session must send back; see Valid. It is
	// made of the cookie and stored nowhere.
	CSRF string
}

// Valid says whether a form was sent from a page of this session.
func (s *Session) Valid(csrf string) bool { return s.CSRF != "" && same(s.CSRF, csrf) }

// Complete says whether the session stands for its user.
func (s *Session) Complete() bool { return s.Needs == Nothing && s.User.Name != "" }

// visit is what is stored of a session.
type visit struct {
	User    string    `json:"user"`
	Epoch   string    `json:"epoch"`
	Needs   Need      `json:"needs,omitzero"`
	Methods []string  `json:"methods"`
	Auth    time.Time `json:"auth"`
	Seen    time.Time `json:"seen"`
	Until   time.Time `json:"until"`
}

// Start begins a session. cookie is for the browser alone; nothing is stored by
// which it could be made again.
func (a *Accounts) Start(ctx context.Context, s Signed, address string) (cookie string, out Session, err error) {
	now := a.Now().UTC()
	v := visit{User: s.User.Name, Epoch: s.epoch, Needs: s.Needs, Methods: s.Methods, Auth: now, Seen: now, Until: now.Add(a.Absolute)}
	if s.Needs != Nothing {
		v.Until = now.Add(min(halfTime, a.Absolute))
	}
	if s.epoch == "" || !validName(v.User) {
		return "", Session{}, loginRequired() // nobody signed in
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return "", Session{}, fmt.Errorf("smart/account: write a session: %w", err)
	}
	cookie = random(32)
	id := a.digest("session", cookie)
	if err := a.KV.KVSwap(ctx, bucketSession, id, nil, raw, a.life(&v, now)); err != nil {
		return "", Session{}, fmt.Errorf("smart/account: write a session: %w", err)
	}
	out = a.session(&v, id, s.User)
	out.CSRF = a.digest("csrf", cookie)
	if s.Needs == Nothing {
		err = a.tell(ctx, Event{What: SignedIn, User: v.User, Address: network(address), Session: id})
	}
	return cookie, out, err
}

func (a *Accounts) life(v *visit, now time.Time) time.Duration {
	return max(min(a.Idle, v.Until.Sub(now)), time.Second)
}

func (a *Accounts) session(v *visit, id string, u User) Session {
	return Session{ID: id, User: u, Needs: v.Needs, Methods: v.Methods, AuthTime: v.Auth, Until: v.Until}
}

// Session is the session of a cookie, and counts as its use. None, one that is
// over, or one whose user is shut out is *Error LoginRequired.
func (a *Accounts) Session(ctx context.Context, cookie string) (Session, error) {
	if len(cookie) != cookieSize {
		return Session{}, loginRequired()
	}
	id := a.digest("session", cookie)
	s, v, raw, err := a.find(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return Session{}, loginRequired()
	}
	if err != nil {
		return Session{}, err
	}
	s.CSRF = a.digest("csrf", cookie)
	return s, a.touch(ctx, id, v, raw)
}

// Live is the session of an ID, and does not count as its use: what asks is no
// person. One that is over is store.ErrNotFound.
func (a *Accounts) Live(ctx context.Context, id string) (Session, error) {
	s, _, _, err := a.find(ctx, id)
	if err == nil && !s.Complete() {
		err = store.ErrNotFound
	}
	if err != nil {
		return Session{}, err
	}
	return s, nil
}

func (a *Accounts) find(ctx context.Context, id string) (Session, *visit, []byte, error) {
	raw, err := a.KV.KVGet(ctx, bucketSession, id)
	if err != nil {
		return Session{}, nil, nil, fmt.Errorf("smart/account: read a session: %w", err)
	}
	v := new(visit)
	if err := json.Unmarshal(raw, v); err != nil {
		return Session{}, nil, nil, fmt.Errorf("smart/account: a session: %w", store.ErrCorrupt)
	}
	now := a.Now()
	r, err := a.load(ctx, v.User)
	if err == nil && (!now.Before(v.Until) || ago(now, v.Seen) >= a.Idle || r.Epoch != v.Epoch || !r.May()) {
		err = fmt.Errorf("smart/account: the session is over: %w", store.ErrNotFound)
	}
	if err != nil {
		return Session{}, nil, nil, err
	}
	return a.session(v, id, r.user()), v, raw, nil
}

// touch writes down that a session was used, not each time. One that was ended
// meanwhile stays so.
func (a *Accounts) touch(ctx context.Context, id string, v *visit, raw []byte) error {
	now := a.Now().UTC()
	if ago(now, v.Seen) < a.Idle/touches {
		return nil
	}
	v.Seen = now
	next, err := json.Marshal(v)
	if err == nil {
		err = a.KV.KVSwap(ctx, bucketSession, id, raw, next, a.life(v, now))
	}
	if err != nil && !errors.Is(err, store.ErrConflict) {
		return fmt.Errorf("smart/account: write a session: %w", err)
	}
	return nil
}

// End ends the session of a cookie: the user signed out. None is no error.
func (a *Accounts) End(ctx context.Context, cookie string) error {
	id := a.digest("session", cookie)
	raw, err := a.KV.KVTake(ctx, bucketSession, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("smart/account: end a session: %w", err)
	}
	var v visit
	if err := json.Unmarshal(raw, &v); err != nil {
		return fmt.Errorf("smart/account: a session: %w", store.ErrCorrupt)
	}
	if v.Needs != Nothing {
		return nil // nobody was signed in yet
	}
	return a.tell(ctx, Event{What: SignedOut, User: v.User, Session: id})
}

// SecondFactor gives a session that needs a code one, and makes it a complete
// one, with another cookie.
func (a *Accounts) SecondFactor(ctx context.Context, cookie, code, address string) (string, Session, error) {
	s, err := a.half(ctx, cookie, Code)
	if err != nil {
		return "", Session{}, err
	}
	l := Login{Name: s.User.Name, Code: code, Address: network(address)}
	if err := a.code(ctx, &l); err != nil {
		return "", Session{}, err
	}
	return a.complete(ctx, cookie, &l, s)
}

// Enrolled is Confirm for a session that needs an enrolment, and makes it a
// complete one, with another cookie.
func (a *Accounts) Enrolled(ctx context.Context, cookie, code, address string) (next string, s Session, recovery []string, err error) {
	if s, err = a.half(ctx, cookie, Enrol); err != nil {
		return "", Session{}, nil, err
	}
	if recovery, err = a.Confirm(ctx, s.User.Name, code); err != nil {
		return "", Session{}, nil, err
	}
	l := Login{Name: s.User.Name, Address: network(address)}
	next, s, err = a.complete(ctx, cookie, &l, s)
	return next, s, recovery, err
}

// half is a session that lacks need.
func (a *Accounts) half(ctx context.Context, cookie string, need Need) (Session, error) {
	s, err := a.Session(ctx, cookie)
	if err == nil && s.Needs != need {
		err = loginRequired()
	}
	return s, err
}

// complete replaces a half session, once, by a whole one.
func (a *Accounts) complete(ctx context.Context, cookie string, l *Login, s Session) (string, Session, error) {
	raw, err := a.KV.KVTake(ctx, bucketSession, s.ID)
	if errors.Is(err, store.ErrNotFound) {
		return "", Session{}, loginRequired()
	}
	var v visit
	if err == nil {
		err = json.Unmarshal(raw, &v)
	}
	if err != nil {
		return "", Session{}, fmt.Errorf("smart/account: end a session: %w", err)
	}
	key, err := a.key(ctx, l, usePassword)
	if err == nil {
		err = errors.Join(a.clear(ctx, attempt{user: key}), a.remember(ctx, l))
	}
	if err != nil {
		return "", Session{}, err
	}
	signed := Signed{User: s.User, Methods: append(v.Methods, "otp", "mfa"), epoch: v.Epoch}
	return a.Start(ctx, signed, l.Address)
}
