package account

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/go-json-experiment/json"

	"candela/store"
)

const (
	minPassword = 12   // characters
	maxPassword = 1024 // octets
	minRest     = 6    // characters that are not easily guessed
	maxLink     = 30 * 24 * time.Hour
)

// material is what is hashed: the password, keyed, and bound to its user so
// that a hash is worth nothing in another's record.
func (a *Accounts) material(name, password string) []byte {
	return []byte(a.digest("password", name, norm.NFC.String(password)))
}

// SetPassword sets a password; all sessions of the user end. A password that is
// easily guessed is *Error WeakPassword.
func (a *Accounts) SetPassword(ctx context.Context, name, password string) error {
	hashed, err := a.newHash(ctx, name, password)
	if err != nil {
		return err
	}
	return a.setPassword(ctx, name, hashed, func(*record) error { return nil })
}

// newHash hashes a password that may be one.
func (a *Accounts) newHash(ctx context.Context, name, password string) (string, error) {
	r, err := a.load(ctx, name)
	if err != nil {
		return "", err
	}
	if err := a.weak(r, password); err != nil {
		return "", err
	}
	return a.hasher.make(ctx, a.material(r.Name, password))
}

// setPassword asks allow of the record as it is replaced.
func (a *Accounts) setPassword(ctx context.Context, name, hashed string, allow func(*record) error) error {
	r, err := a.change(ctx, name, func(r *record) error {
		if err := allow(r); err != nil {
			return err
		}
		r.Password, r.Changed, r.Epoch = hashed, a.Now().UTC(), random(12)
		return nil
	})
	if err != nil {
		return err
	}
	return a.tell(ctx, Event{What: PasswordChanged, User: r.Name})
}

// ChangePassword is SetPassword by the user, who proves to be it by the old
// password. Wrong ones count as attempts to sign in.
func (a *Accounts) ChangePassword(ctx context.Context, l Login, password string) error {
	r, counted, err := a.prove(ctx, &l)
	if err != nil {
		return err
	}
	if err := a.refund(ctx, counted); err != nil {
		return err
	}
	hashed, err := a.newHash(ctx, r.Name, password)
	if err != nil {
		return err
	}
	return a.setPassword(ctx, r.Name, hashed, func(now *record) error {
		if now.Password != r.Password {
			return wrongCredentials() // changed by another meanwhile
		}
		return nil
	})
}

// link is what a link to set a password stands for.
type link struct {
	User  string `json:"user"`
	Epoch string `json:"epoch"`
}

// Invite makes the secret of a link by which a user sets a password, once,
// within life, 30 days at most. It ends when sessions of the user are ended.
func (a *Accounts) Invite(ctx context.Context, name string, life time.Duration) (string, error) {
	r, err := a.load(ctx, name)
	if err != nil {
		return "", err
	}
	if life <= 0 || life > maxLink {
		return "", badUser("a link lives up to 30 days")
	}
	if !r.May() {
		return "", badUser("the user is shut out")
	}
	raw, err := json.Marshal(link{User: r.Name, Epoch: r.Epoch})
	if err != nil {
		return "", fmt.Errorf("smart/account: write a link: %w", err)
	}
	secret := random(32)
	if err := a.KV.KVPut(ctx, bucketLink, a.digest("link", secret), raw, life); err != nil {
		return "", fmt.Errorf("smart/account: write a link: %w", err)
	}
	return secret, a.tell(ctx, Event{What: LinkMade, User: r.Name})
}

// Redeem sets the password of the user for whom a link was made. A password that
// is refused as weak does not use the link up.
func (a *Accounts) Redeem(ctx context.Context, secret, password string) error {
	key := a.digest("link", secret)
	raw, err := a.KV.KVGet(ctx, bucketLink, key)
	var l link
	if err == nil && json.Unmarshal(raw, &l) != nil {
		err = store.ErrCorrupt
	}
	if err == nil {
		err = a.redeem(ctx, key, l, password)
	}
	if errors.Is(err, store.ErrNotFound) {
		return badLink()
	}
	return err
}

func (a *Accounts) redeem(ctx context.Context, key string, l link, password string) error {
	hashed, err := a.newHash(ctx, l.User, password)
	if err != nil {
		return err
	}
	if _, err := a.KV.KVTake(ctx, bucketLink, key); err != nil {
		return err
	}
	return a.setPassword(ctx, l.User, hashed, func(r *record) error {
		if r.Epoch != l.Epoch || !r.May() {
			return badLink()
		}
		return nil
	})
}

func badLink() error {
	return &Error{Code: BadLink, Description: "the link was used, is too old, or is none", Status: 400}
}

// weak says why a password is refused.
func (a *Accounts) weak(r *record, password string) error {
	reason := ""
	switch text := norm.NFC.String(password); {
	case !utf8.ValidString(password) || len(text) > maxPassword:
		reason = "the password is longer than 1024 octets or no text"
	case utf8.RuneCountInString(text) < minPassword:
		reason = "the password has less than 12 characters"
	case guessable(text, r.Name, r.Display, a.Name):
		reason = "the password is made of common words, names or rows of keys"
	default:
		return nil
	}
	return &Error{Code: WeakPassword, Description: reason, Status: 400}
}

// common are what passwords that fall first are made of.
const common = "password passwort passw0rd qwertyuiop qwertzuiop azertyuiop asdfghjkl qwerty qwertz azerty asdfgh zxcvbnm yxcvbnm zxcvbn " +
	"1q2w3e4r5t 1q2w3e4r 1qaz2wsx qazwsxedc qazwsx administrator administer admin welcome willkommen letmein iloveyou princess sunshine " +
	"football baseball basketball superman batman dragon monkey master shadow michael jordan charlie trustno1 starwars computer internet " +
	"whatever freedom hello summer winter spring autumn monday friday january december secret changeme default login access " +
	"hospital clinic doctor nurse patient medical health correcthorsebatterystaple correcthorse batterystaple"

// letters are read as what they are often written for.
const unleet = "0o1i3e4a5s7t@a$s!i"

// guessable says whether little is left of a password when common words, the
// user's names, and rows of characters are taken away.
func guessable(password string, names ...string) bool {
	plain := strings.ReplaceAll(strings.ToLower(password), " ", "")
	read := strings.Map(func(r rune) rune {
		if i := strings.IndexRune(unleet, r); i >= 0 && i%2 == 0 {
			return rune(unleet[i+1])
		}
		return r
	}, plain)
	words := strings.Fields(common)
	for _, name := range names {
		words = append(words, strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return strings.ContainsRune(" .@_+-", r) })...)
	}
	return rest(plain, words) < minRest || rest(read, words) < minRest
}

// rest counts what is left: characters that were not taken away and do not
// repeat or follow the one before, none more than twice.
func rest(text string, words []string) int {
	for _, word := range words {
		if len(word) >= 3 {
			text = strings.ReplaceAll(text, word, "\x00")
		}
	}
	seen := map[rune]int{}
	last, left := rune(-2), 0
	for _, r := range text {
		row := r-last <= 1 && last-r <= 1
		last = r
		if seen[r]++; r != 0 && !row && seen[r] <= 2 {
			left++
		}
	}
	return left
}
