package account

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"candela/fhir"
	"candela/store"
)

// Get reads a user, one that is shut out too; store.ErrNotFound when there is
// none of that name.
func (a *Accounts) Get(ctx context.Context, name string) (User, error) {
	r, err := a.load(ctx, name)
	if err != nil {
		return User{}, err
	}
	return r.user(), nil
}

func (r *record) user() User {
	u := r.User
	u.read = r.read
	return u
}

// Active is Get for users that may use what they were granted: one that is
// locked, disabled or gone is store.ErrNotFound.
func (a *Accounts) Active(ctx context.Context, name string) (User, error) {
	u, err := a.Get(ctx, name)
	if err == nil && !u.May() {
		return User{}, fmt.Errorf("smart/account: user %s is shut out: %w", name, store.ErrNotFound)
	}
	return u, err
}

// List gives all users in the order of their names.
func (a *Accounts) List(ctx context.Context) iter.Seq2[User, error] {
	return func(yield func(User, error) bool) {
		for name, err := range a.KV.KVList(ctx, bucketUser, "") {
			var u User
			if err == nil {
				u, err = a.Get(ctx, name)
			}
			if errors.Is(err, store.ErrNotFound) { // deleted meanwhile
				continue
			}
			if !yield(u, err) || err != nil {
				return
			}
		}
	}
}

// Put checks a user and stores them: a new one, who has no password yet, or what
// Get gave with changes. What was changed by another in between, or a new one
// whose name is taken, is store.ErrConflict; what cannot be stored is *Error.
// Who is shut out by it, or gets another role or fhirUser, loses all sessions
// and tokens.
func (a *Accounts) Put(ctx context.Context, u User) (User, error) {
	if err := a.check(&u); err != nil {
		return User{}, err
	}
	if u.Created.IsZero() {
		u.Created = a.Now().UTC().Truncate(time.Second)
	}
	r := &record{Epoch: random(12)}
	what, ends := UserCreated, false
	if u.read != nil {
		old, err := parse(u.read)
		if err != nil {
			return User{}, err
		}
		if old.Name != u.Name {
			return User{}, badUser("a user cannot be renamed")
		}
		what, ends = UserChanged, old.May() && !u.May() || old.Role != u.Role || old.FHIRUser != u.FHIRUser
		r = old
	}
	r.User = u
	if ends {
		r.Epoch = random(12)
	}
	return a.store(ctx, r, u.read, what, ends)
}

func (a *Accounts) store(ctx context.Context, r *record, old []byte, what string, ends bool) (User, error) {
	raw, err := r.bytes()
	if err != nil {
		return User{}, err
	}
	if err := a.KV.KVSwap(ctx, bucketUser, r.Name, old, raw, 0); err != nil {
		return User{}, fmt.Errorf("smart/account: write a user: %w", err)
	}
	r.read = raw
	if ends {
		err = a.ended(ctx, r.Name)
	}
	return r.user(), errors.Join(err, a.tell(ctx, Event{What: what, User: r.Name}))
}

// ended tells that the tokens of a user are to end.
func (a *Accounts) ended(ctx context.Context, name string) error {
	if a.Ended == nil {
		return nil
	}
	if err := a.Ended(ctx, name); err != nil {
		return fmt.Errorf("smart/account: end the tokens of user %s: %w", name, err)
	}
	return nil
}

// Lock shuts a user out: sessions end now, tokens by Config.Ended. An error may
// leave tokens alive; call it again.
func (a *Accounts) Lock(ctx context.Context, name string) error {
	return a.shut(ctx, name, UserLocked, func(r *record) { r.Locked = true })
}

// Disable is Lock for somebody who has left.
func (a *Accounts) Disable(ctx context.Context, name string) error {
	return a.shut(ctx, name, UserDisabled, func(r *record) { r.Disabled = true })
}

// EndAll ends all sessions of a user; tokens stay.
func (a *Accounts) EndAll(ctx context.Context, name string) error {
	_, err := a.change(ctx, name, func(r *record) error { r.Epoch = random(12); return nil })
	return err
}

func (a *Accounts) shut(ctx context.Context, name, what string, set func(*record)) error {
	r, err := a.change(ctx, name, func(r *record) error {
		set(r)
		r.Epoch = random(12)
		return nil
	})
	if err != nil {
		return err
	}
	return errors.Join(a.ended(ctx, r.Name), a.tell(ctx, Event{What: what, User: r.Name}))
}

// Unlock lets a user in again whom Lock or too many attempts shut out.
func (a *Accounts) Unlock(ctx context.Context, name string) error {
	if _, err := a.change(ctx, name, func(r *record) error { r.Locked = false; return nil }); err != nil {
		return err
	}
	if err := a.forgive(ctx, fold(name)); err != nil {
		return err
	}
	return a.tell(ctx, Event{What: UserUnlocked, User: fold(name)})
}

// Enable undoes Disable.
func (a *Accounts) Enable(ctx context.Context, name string) error {
	if _, err := a.change(ctx, name, func(r *record) error { r.Disabled = false; return nil }); err != nil {
		return err
	}
	return a.tell(ctx, Event{What: UserEnabled, User: fold(name)})
}

// Delete forgets a user, with sessions and tokens.
func (a *Accounts) Delete(ctx context.Context, name string) error {
	r, err := a.load(ctx, name)
	if err != nil {
		return err
	}
	if r.Subject != "" {
		if err := a.KV.KVDelete(ctx, bucketSubject, r.Subject); err != nil {
			return fmt.Errorf("smart/account: forget a subject: %w", err)
		}
	}
	if err := a.KV.KVDelete(ctx, bucketUser, r.Name); err != nil {
		return fmt.Errorf("smart/account: delete a user: %w", err)
	}
	return errors.Join(a.ended(ctx, r.Name), a.tell(ctx, Event{What: UserDeleted, User: r.Name}))
}

const (
	maxName     = 64  // octets
	maxDisplay  = 200 // characters
	maxPatients = 64
	maxPolicy   = 400 // rules
)

func validName(name string) bool {
	return len(name) >= 1 && len(name) <= maxName && strings.IndexFunc(name, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || strings.ContainsRune("._@+-", c))
	}) < 0
}

// fold is a name as it is stored.
func fold(name string) string {
	if len(name) > 4*maxName {
		return name
	}
	return strings.ToLower(strings.TrimSpace(name))
}

// check folds the name and says what of a user cannot be stored.
func (a *Accounts) check(u *User) error {
	u.Name = fold(u.Name)
	role, known := a.roles[u.Role]
	switch {
	case !validName(u.Name):
		return badUser("the name is not 1 to 64 of a-z 0-9 . _ @ + -")
	case !printable(u.Display):
		return badUser("the display name is not up to 200 printable characters")
	case !known:
		return badUser("the role is not known")
	case len(u.Policy) > maxPolicy:
		return badUser("the policy has more than 400 rules")
	case u.FHIRUser != (fhir.Reference{}) && !fits(role, u.FHIRUser):
		return badUser("the fhirUser is not Type/id of a person who can have this role")
	case len(u.Patients) > maxPatients || slices.ContainsFunc(u.Patients, func(id string) bool { return !fhir.ValidID(id) }):
		return badUser("the patients are not up to 64 ids")
	case role.Own != (len(u.Own()) > 0):
		return badUser("patients and proxies, and nobody else, have patients")
	}
	if _, err := a.Scopes.Policy(u.Policy); err != nil {
		return badUser("the policy has a rule that cannot be read")
	}
	return nil
}

func printable(text string) bool {
	return utf8.ValidString(text) && utf8.RuneCountInString(text) <= maxDisplay &&
		!strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) })
}

// fits says whether a resource can be a person of a role.
func fits(role Role, r fhir.Reference) bool {
	if r.Base != "" || r.Version != "" || r.Other != "" || !fhir.ValidID(r.ID) {
		return false
	}
	types := []string{"Practitioner", "PractitionerRole", "Person"}
	switch role.Name {
	case Patient:
		types = []string{"Patient"}
	case Proxy:
		types = []string{"RelatedPerson", "Person", "Patient"}
	}
	return slices.Contains(types, r.Type)
}
