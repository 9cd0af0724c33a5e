package account

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" // what RFC 6238 and the apps have; HMAC does not need more
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"candela/store"
)

const (
	step         = 30 // seconds
	digits       = 6
	drift        = 1 // steps that a clock may be wrong by
	factorSize   = 20
	recoveries   = 10
	recoverySize = 10 // octets
	enrolTime    = 10 * time.Minute
)

// factor is a second factor: an app that makes codes (TOTP).
type factor struct {
	Sealed   []byte    `json:"sealed"`            // the secret it shares with us
	Last     int64     `json:"last,omitzero"`     // step of the last code that was used
	Recovery []string  `json:"recovery,omitzero"` // digests of codes that work once each
	Until    time.Time `json:"until,omitzero"`    // of one that is not confirmed yet
}

// Enrolment is what an authenticator app is told, this once.
type Enrolment struct {
	Secret string // base32, to type in
	URI    string // otpauth://, to show as a QR code
}

// Enrol begins to give a user a second factor, which counts once Confirm or
// Enrolled has seen a code of it, within 10 minutes. A user who has one is *Error
// Enrolled: RemoveFactor first.
func (a *Accounts) Enrol(ctx context.Context, name string) (Enrolment, error) {
	name = fold(name)
	secret := make([]byte, factorSize)
	rand.Read(secret) // never fails: crypto/rand ends the process instead
	sealed, err := a.sealed(secret, name)
	if err != nil {
		return Enrolment{}, err
	}
	_, err = a.change(ctx, name, func(r *record) error {
		if r.Factor != nil {
			return &Error{Code: Enrolled, Description: "there is a second factor already", Status: 409}
		}
		r.Pending = &factor{Sealed: sealed, Until: a.Now().Add(enrolTime).UTC()}
		return nil
	})
	if err != nil {
		return Enrolment{}, err
	}
	text := base32.StdEncoding.EncodeToString(secret)
	uri := url.URL{Scheme: "otpauth", Host: "totp", Path: "/" + a.Name + ":" + name}
	uri.RawQuery = "secret=" + text + "&issuer=" + url.PathEscape(a.Name) + "&algorithm=SHA1&digits=" + strconv.Itoa(digits) + "&period=" + strconv.Itoa(step)
	return Enrolment{Secret: text, URI: uri.String()}, nil
}

// Confirm ends an enrolment by a code of the app. It gives the recovery codes,
// which are told this once.
func (a *Accounts) Confirm(ctx context.Context, name, code string) ([]string, error) {
	name = fold(name)
	codes, digests := a.newRecovery(name)
	_, err := a.change(ctx, name, func(r *record) error {
		if r.Pending == nil || r.Factor != nil || !a.Now().Before(r.Pending.Until) {
			return &Error{Code: EnrolmentNeeded, Description: "begin the enrolment again", Status: 409}
		}
		at, err := a.match(r.Pending, name, strings.TrimSpace(code))
		if err != nil {
			return err
		}
		r.Factor, r.Pending = &factor{Sealed: r.Pending.Sealed, Last: at, Recovery: digests}, nil
		return nil
	})
	if err != nil {
		return nil, err
	}
	return codes, a.tell(ctx, Event{What: FactorEnrolled, User: name})
}

// RemoveFactor takes the second factor away, and ends all sessions.
func (a *Accounts) RemoveFactor(ctx context.Context, name string) error {
	name = fold(name)
	_, err := a.change(ctx, name, func(r *record) error {
		r.Factor, r.Pending, r.Epoch = nil, nil, random(12)
		return nil
	})
	if err != nil {
		return err
	}
	return a.tell(ctx, Event{What: FactorRemoved, User: name})
}

// HasFactor says whether a user has a second factor, and how many recovery codes
// are left.
func (a *Accounts) HasFactor(ctx context.Context, name string) (has bool, recovery int, err error) {
	r, err := a.load(ctx, fold(name))
	if err != nil || r.Factor == nil {
		return false, 0, err
	}
	return true, len(r.Factor.Recovery), nil
}

// use uses a code up, that of the app or a recovery code.
func (a *Accounts) use(r *record, code string) (recovery bool, err error) {
	if r.Factor == nil || !r.May() {
		return false, wrongCode()
	}
	if len(code) == digits {
		at, err := a.match(r.Factor, r.Name, code)
		if err == nil {
			r.Factor.Last = at
		}
		return false, err
	}
	i := slices.Index(r.Factor.Recovery, a.digest("recovery", r.Name, plainCode(code)))
	if i < 0 {
		return false, wrongCode()
	}
	r.Factor.Recovery = slices.Delete(r.Factor.Recovery, i, i+1)
	return true, nil
}

// match finds the step of a code, which must be later than that of the last one.
func (a *Accounts) match(f *factor, name, code string) (int64, error) {
	secret, err := a.unsealed(f.Sealed, name)
	if err != nil {
		return 0, err
	}
	now, found := a.Now().Unix()/step, int64(-1)
	for at := now - drift; at <= now+drift; at++ {
		if same(totp(secret, at), code) && at > f.Last && found < 0 {
			found = at
		}
	}
	if found < 0 {
		return 0, wrongCode()
	}
	return found, nil
}

// totp is the code of a step (RFC 4226 §5.3, RFC 6238 §4).
func totp(secret []byte, at int64) string {
	mac := hmac.New(sha1.New, secret)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(at)))
	sum := mac.Sum(nil)
	value := binary.BigEndian.Uint32(sum[sum[len(sum)-1]&15:]) & (1<<31 - 1)
	return fmt.Sprintf("%0*d", digits, value%1_000_000)
}

// newRecovery makes recovery codes, each of 80 bits.
func (a *Accounts) newRecovery(name string) (codes, digests []string) {
	for range recoveries {
		b := make([]byte, recoverySize)
		rand.Read(b) // never fails: crypto/rand ends the process instead
		text := strings.ToLower(base32.StdEncoding.EncodeToString(b))
		codes = append(codes, text[:4]+"-"+text[4:8]+"-"+text[8:12]+"-"+text[12:])
		digests = append(digests, a.digest("recovery", name, text))
	}
	return codes, digests
}

func plainCode(code string) string {
	if len(code) > 64 {
		return ""
	}
	return strings.ToLower(strings.NewReplacer("-", "", " ", "").Replace(code))
}

func (a *Accounts) aead() (cipher.AEAD, error) {
	block, err := aes.NewCipher(a.seal)
	if err != nil {
		return nil, fmt.Errorf("smart/account: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// sealed encrypts a secret for the record of one user.
func (a *Accounts) sealed(secret []byte, name string) ([]byte, error) {
	c, err := a.aead()
	if err != nil {
		return nil, err
	}
	return c.Seal(nil, nil, secret, []byte(name)), nil
}

func (a *Accounts) unsealed(sealed []byte, name string) ([]byte, error) {
	c, err := a.aead()
	if err != nil {
		return nil, err
	}
	secret, err := c.Open(nil, nil, sealed, []byte(name))
	if err != nil {
		return nil, fmt.Errorf("smart/account: the second factor of user %s: %w", name, errors.Join(store.ErrCorrupt, err))
	}
	return secret, nil
}
