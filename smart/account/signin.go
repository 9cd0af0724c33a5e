package account

import (
	"context"
	"errors"
	"strings"
	"time"

	"candela/store"
)

// Login is what somebody types in, and where they are.
type Login struct {
	Name, Password string
	Code           string // of the second factor, or a recovery code; "": asked for later
	Address        string // network address without port; "": not counted
}

// Need is what a sign-in lacks yet.
type Need string

// What a sign-in can lack.
const (
	Nothing Need = ""
	Code    Need = "code"  // a code of the second factor: SecondFactor
	Enrol   Need = "enrol" // staff without a second factor: Accounts.Enrol, then Enrolled
)

// Signed is somebody who proved who they are, wholly if Needs is Nothing. Start
// makes a session of it.
type Signed struct {
	User    User
	Needs   Need
	Methods []string // RFC 8176: pwd, otp, mfa; or what a provider said
	epoch   string
}

// SignIn judges a name and a password, and a code where there is one. What is
// wrong is *Error BadCredentials, the same and as late for users that are not
// there or shut out, BadCode, or TooMany.
func (a *Accounts) SignIn(ctx context.Context, l Login) (Signed, error) {
	r, counted, err := a.prove(ctx, &l)
	if err != nil {
		return Signed{}, err
	}
	out := Signed{User: r.user(), Needs: a.needs(r), Methods: []string{"pwd"}, epoch: r.Epoch}
	if out.Needs == Code && l.Code != "" {
		if err := a.code(ctx, &l); err != nil {
			return Signed{}, errors.Join(err, a.refund(ctx, counted))
		}
		out.Needs, out.Methods = Nothing, []string{"pwd", "otp", "mfa"}
	}
	if out.Needs != Nothing {
		return out, a.refund(ctx, counted)
	}
	return out, errors.Join(a.clear(ctx, counted), a.remember(ctx, &l))
}

// needs is what a user has to show beside a password.
func (a *Accounts) needs(r *record) Need {
	role, known := a.roles[r.Role]
	switch {
	case r.Factor != nil:
		return Code
	case role.Staff || !known:
		return Enrol
	}
	return Nothing
}

// prove judges name and password. The attempt stays counted; what follows says
// by refund or clear that it was right. It puts name and address into the form
// that they are counted in.
func (a *Accounts) prove(ctx context.Context, l *Login) (*record, attempt, error) {
	l.Name, l.Address = fold(l.Name), network(l.Address)
	counted, err := a.count(ctx, l, usePassword)
	if err != nil {
		return nil, counted, err
	}
	r, err := a.judge(ctx, l)
	var wrong *Error
	if err != nil && !(errors.As(err, &wrong) && wrong.Code == BadCredentials) {
		err = errors.Join(err, a.refund(ctx, counted)) // nobody's fault
	}
	return r, counted, err
}

func (a *Accounts) judge(ctx context.Context, l *Login) (*record, error) {
	r, err := a.record(ctx, l.Name)
	if err != nil {
		return nil, err
	}
	password := l.Password
	if len(password) > maxPassword {
		password = "" // which is nobody's
	}
	good, stale, err := a.hasher.verify(ctx, r.Password, a.material(r.Name, password))
	if err != nil {
		return nil, err
	}
	if !good || r.Name == "" || !r.May() {
		if err := a.tell(ctx, Event{What: SignInFailed, User: r.Name, Address: l.Address, Failed: true}); err != nil {
			return nil, err
		}
		return nil, wrongCredentials()
	}
	if stale {
		return a.rehash(ctx, r, password)
	}
	return r, nil
}

// record is that of a user, or of the ghost: with a password that nobody has.
func (a *Accounts) record(ctx context.Context, name string) (*record, error) {
	r, err := a.load(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		return parse(a.ghost)
	}
	if err == nil && r.Password == "" {
		ghost, err := parse(a.ghost)
		if err != nil {
			return nil, err
		}
		r.Password = ghost.Password
	}
	return r, err
}

// rehash stores a password with the parameters of today.
func (a *Accounts) rehash(ctx context.Context, r *record, password string) (*record, error) {
	hashed, err := a.hasher.make(ctx, a.material(r.Name, password))
	if err != nil {
		return nil, err
	}
	return a.change(ctx, r.Name, func(now *record) error {
		if now.Password != r.Password {
			return wrongCredentials() // changed by another meanwhile
		}
		now.Password = hashed
		return nil
	})
}

// CheckCode judges a code of a user's second factor; it is used up.
func (a *Accounts) CheckCode(ctx context.Context, name, code, address string) error {
	return a.code(ctx, &Login{Name: fold(name), Code: code, Address: network(address)})
}

// code judges l.Code, counted apart from passwords: to know one of the two does
// not give more attempts at the other.
func (a *Accounts) code(ctx context.Context, l *Login) error {
	counted, err := a.count(ctx, l, useCode)
	if err != nil {
		return err
	}
	recovery := false
	_, err = a.change(ctx, l.Name, func(r *record) (err error) {
		recovery, err = a.use(r, strings.TrimSpace(l.Code))
		return err
	})
	var wrong *Error
	if errors.As(err, &wrong) {
		return errors.Join(err, a.tell(ctx, Event{What: CodeFailed, User: l.Name, Address: l.Address, Failed: true}))
	}
	if err != nil {
		return errors.Join(err, a.refund(ctx, counted))
	}
	if recovery {
		err = a.tell(ctx, Event{What: RecoveryUsed, User: l.Name, Address: l.Address})
	}
	return errors.Join(err, a.clear(ctx, counted))
}

// ago is how long before now something was, 0 when the clock was set back.
func ago(now, at time.Time) time.Duration { return max(now.Sub(at), 0) }
