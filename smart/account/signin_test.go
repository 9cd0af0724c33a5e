package account_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"candela/smart/account"
)

// rfc6238 is the reference implementation, six digits.
func rfc6238(secret []byte, step int64) string {
	mac := hmac.New(sha1.New, secret)
	binary.Write(mac, binary.BigEndian, step)
	sum := mac.Sum(nil)
	at := sum[19] & 0xf
	return fmt.Sprintf("%06d", (int(sum[at]&0x7f)<<24|int(sum[at+1])<<16|int(sum[at+2])<<8|int(sum[at+3]))%1000000)
}

func TestSignIn(t *testing.T) {
	h := newHouse(t)
	h.add(patient("bob", "1"))
	for _, name := range []string{"bob", "BOB", " Bob "} {
		if s, err := h.signIn(name, good, ""); err != nil || s.User.Name != "bob" || s.Needs != account.Nothing {
			t.Errorf("%q: %+v %v", name, s, err)
		}
	}
	for _, l := range []account.Login{{Name: "bob", Password: "x"}, {Name: "bob"}, {Name: "eve", Password: good}, {Password: good},
		{Name: "bob", Password: strings.ToUpper(good)}, {Name: "bob", Password: strings.Repeat("x", 1<<20)}, {Name: strings.Repeat("x", 1<<20), Password: good}} {
		_, err := h.SignIn(background, l)
		if e := refused(t, err, account.BadCredentials); e.Status != 401 || e.Description != "the name or the password is wrong" {
			t.Error(e)
		}
	}
	if _, err := h.Put(background, patient("new", "2")); err != nil {
		t.Fatal(err)
	}
	for _, password := range []string{"", good} { // a user without a password
		_, err := h.signIn("new", password, "")
		refused(t, err, account.BadCredentials)
	}
	// The same password, composed in another way.
	if err := h.SetPassword(background, "bob", "Zw\u00f6lf-Stra\u00dfen-\u00fcberall"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.signIn("bob", "Zwo\u0308lf-Stra\u00dfen-u\u0308berall", ""); err != nil {
		t.Error(err)
	}
}

// T58: who is not there, is shut out, or has no password takes as long and says
// the same as a wrong password. Two-sample Kolmogorov-Smirnov over interleaved
// samples; noise of the machine may spoil a round, a difference spoils all.
func TestT58_UserEnumeration(t *testing.T) {
	h := newHouse(t, func(c *account.Config) { c.Hash = account.Hash{Memory: 512, Passes: 1, Threads: 1} })
	h.add(patient("bob", "1"))
	h.add(patient("out", "2"))
	if err := h.Lock(background, "out"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Put(background, patient("new", "3")); err != nil {
		t.Fatal(err)
	}
	names := []string{"bob", "eve", "out", "new"}
	worst := ""
	for range 4 {
		times := map[string][]time.Duration{}
		for range 250 {
			for _, name := range names {
				began := time.Now()
				_, err := h.signIn(name, "wrong password here", "")
				times[name] = append(times[name], time.Since(began))
				refused(t, err, account.BadCredentials)
				if err := h.forgive(name); err != nil {
					t.Fatal(err)
				}
			}
		}
		worst = ""
		for _, name := range names[1:] {
			if d := distance(times["bob"], times[name]); d > 1.63*math.Sqrt(2.0/250) { // p < 0.01
				worst += fmt.Sprintf("%s differs by %.3f; ", name, d)
			}
		}
		if worst == "" {
			return
		}
	}
	t.Error(worst)
}

// forgive lets time pass that a test does not want to wait for.
func (h *house) forgive(string) error { h.clock.Add(25 * time.Hour); return nil }

func distance(a, b []time.Duration) float64 {
	slices.Sort(a)
	slices.Sort(b)
	most, i, j := 0.0, 0, 0
	for i < len(a) && j < len(b) {
		if a[i] <= b[j] {
			i++
		} else {
			j++
		}
		most = max(most, math.Abs(float64(i)/float64(len(a))-float64(j)/float64(len(b))))
	}
	return most
}

func TestT58_Lockout(t *testing.T) {
	for _, name := range []string{"bob", "nobody"} { // the same for both
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.add(patient("bob", "1"))
			fail := func(code string) *account.Error {
				t.Helper()
				_, err := h.signIn(name, "wrong", "")
				return refused(t, err, code)
			}
			for range 6 {
				fail(account.BadCredentials)
			}
			wait := 30 * time.Second
			for range 8 {
				e := fail(account.TooMany)
				if e.Status != 429 || e.RetryAfter != wait {
					t.Fatalf("%+v, want to wait %s", e, wait)
				}
				_, err := h.signIn(name, good, "") // the right one says nothing either
				refused(t, err, account.TooMany)
				h.clock.Add(wait - time.Second)
				if e := fail(account.TooMany); e.RetryAfter != time.Second {
					t.Fatalf("%+v", e)
				}
				h.clock.Add(time.Second)
				fail(account.BadCredentials)
				wait = min(2*wait, 15*time.Minute)
			}
			if h.told(account.LockedOut) != 1 {
				t.Error(h.events)
			}
			if name == "nobody" {
				if e := h.events[len(h.events)-1]; e.User != "" {
					t.Error("a name that is nobody's is audited:", e.User)
				}
				return
			}
			if err := h.Unlock(background, name); err != nil {
				t.Fatal(err)
			}
			if _, err := h.signIn(name, good, ""); err != nil {
				t.Fatal(err)
			}
			fail(account.BadCredentials) // and forgotten
			h.clock.Add(25 * time.Hour)
			for range 6 {
				fail(account.BadCredentials)
			}
		})
	}
}

// T58: many attempts at once are not judged before they are counted.
func TestT58_ParallelAttempts(t *testing.T) {
	both(t, func(t *testing.T, h *house) {
		h.add(patient("bob", "1"))
		_, errs := race(64, func(int) error { _, err := h.signIn("bob", "wrong", ""); return err })
		judged := 0
		for _, err := range errs {
			var e *account.Error
			if !errors.As(err, &e) || e.Code != account.BadCredentials && e.Code != account.TooMany {
				t.Fatal(err)
			}
			if e.Code == account.BadCredentials {
				judged++
			}
		}
		if len(errs) != 64 || judged < 1 || judged > 6 {
			t.Errorf("%d of 64 attempts were judged", judged)
		}
	})
}

// T58: stuffing from one address ends; the address of a hospital stays usable.
func TestT58_AddressLockout(t *testing.T) {
	h := newHouse(t)
	h.add(patient("bob", "1"))
	try := func(name, password, address string) error {
		_, err := h.SignIn(background, account.Login{Name: name, Password: password, Address: address})
		return err
	}
	for i := range 31 {
		refused(t, try(fmt.Sprint("user", i), "wrong", "2001:db8::1"), account.BadCredentials)
	}
	if e := refused(t, try("bob", good, "2001:db8::ffff"), account.TooMany); e.RetryAfter != 30*time.Second {
		t.Fatal("the household is not one address:", e)
	}
	for _, free := range []string{"2001:db8:0:1::1", "192.0.2.1", "::ffff:192.0.2.2", "", "no address"} {
		if err := try("bob", good, free); err != nil {
			t.Errorf("%s: %v", free, err)
		}
	}
	// Failures that are far apart are nobody's attack, and what was right does not count.
	for i := range 200 {
		if err := errors.Join(try("bob", good, "192.0.2.9")); err != nil {
			t.Fatal(i, err)
		}
		refused(t, try(fmt.Sprint("typo", i), "wrong", "192.0.2.9"), account.BadCredentials)
		h.clock.Add(2 * time.Minute)
	}
}

// T58: strangers who guess do not lock the user out where the user signs in.
func TestT58_KnownAddress(t *testing.T) {
	h := newHouse(t)
	h.add(patient("bob", "1"))
	home := account.Login{Name: "bob", Password: good, Address: "192.0.2.1"}
	if _, err := h.SignIn(background, home); err != nil {
		t.Fatal(err)
	}
	for range 7 {
		h.SignIn(background, account.Login{Name: "bob", Password: "guess", Address: "198.51.100.1"})
	}
	away := home
	away.Address = "203.0.113.1"
	_, err := h.SignIn(background, away)
	refused(t, err, account.TooMany)
	if _, err := h.SignIn(background, home); err != nil {
		t.Fatal("locked out at home:", err)
	}
	wrong := home
	wrong.Password = "guess"
	for range 6 {
		_, err := h.SignIn(background, wrong)
		refused(t, err, account.BadCredentials)
	}
	_, err = h.SignIn(background, home)
	refused(t, err, account.TooMany)
	if err := h.Unlock(background, "bob"); err != nil {
		t.Fatal(err)
	}
	for _, l := range []account.Login{home, away} {
		if _, err := h.SignIn(background, l); err != nil {
			t.Error("still out after Unlock:", err)
		}
	}
}

func TestR11_StaffNeedSecondFactor(t *testing.T) {
	h := newHouse(t)
	for _, role := range account.Roles() {
		u := staff("u-"+role.Name, role.Name)
		if role.Own {
			u.Patients = []string{"1"}
		}
		h.add(u)
		s, err := h.signIn(u.Name, good, "")
		if err != nil || (s.Needs == account.Enrol) != role.Staff || (s.Needs == account.Nothing) == role.Staff {
			t.Errorf("%s: %q %v", role.Name, s.Needs, err)
		}
	}
	// Enrolled from the half session, it becomes a whole one.
	cookie, s := h.start("u-nurse")
	if s.Complete() {
		t.Fatal("complete without a second factor")
	}
	if _, err := h.Live(background, s.ID); err == nil {
		t.Fatal("a half session stands for its user")
	}
	_, _, err := h.SecondFactor(background, cookie, "123456", "")
	refused(t, err, account.LoginRequired)
	_, _, _, err = h.Enrolled(background, cookie, "123456", "")
	refused(t, err, account.EnrolmentNeeded)
	e, err := h.Enrol(background, "u-nurse")
	if err != nil {
		t.Fatal(err)
	}
	_, _, _, err = h.Enrolled(background, cookie, "000000", "")
	if app(t, e, h.clock.Now()) != "000000" {
		refused(t, err, account.BadCode)
	}
	next, s, recovery, err := h.Enrolled(background, cookie, app(t, e, h.clock.Now()), "")
	if err != nil || !s.Complete() || len(recovery) != 10 || next == cookie || !slices.Contains(s.Methods, "mfa") {
		t.Fatal(s, recovery, err)
	}
	// An old half session enrols nobody over the one that is there.
	_, err = h.Enrol(background, "u-nurse")
	refused(t, err, account.Enrolled)
	half, _ := h.start("u-nurse")
	h.clock.Add(5 * time.Minute)
	_, err = h.Session(background, half)
	refused(t, err, account.LoginRequired)
}

func TestR11_TOTP(t *testing.T) {
	h := newHouse(t)
	h.add(practitioner("ada"))
	e, err := h.Enrol(background, "Ada")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(e.URI, "otpauth://totp/Candela:ada?secret="+e.Secret+"&issuer=Candela&algorithm=SHA1&digits=6&period=30") || len(e.Secret) != 32 {
		t.Fatal(e)
	}
	secret, _ := base32.StdEncoding.DecodeString(e.Secret)
	if strings.Contains(h.dump(), e.Secret) || strings.Contains(h.dump(), string(secret)) {
		t.Fatal("the secret is in the store")
	}
	h.clock.Add(10 * time.Minute)
	_, err = h.Confirm(background, "ada", app(t, e, h.clock.Now()))
	refused(t, err, account.EnrolmentNeeded)
	code, _ := h.enrol("ada")
	at := func(d time.Duration) error {
		h.clock.Add(d)
		text := code()
		h.clock.Add(-d)
		_, err := h.signIn("ada", good, text)
		return err
	}
	h.clock.at.Store(h.clock.Now().Truncate(30 * time.Second).UnixNano())
	for _, wrong := range []time.Duration{-60 * time.Second, 60 * time.Second} {
		refused(t, at(wrong), account.BadCode)
	}
	for _, right := range []time.Duration{-30 * time.Second, 0, 30 * time.Second} {
		if err := at(right); err != nil {
			t.Fatal(right, err)
		}
		refused(t, at(right), account.BadCode) // once
	}
	refused(t, at(0), account.BadCode) // older than the last
	for _, text := range []string{"12345", "1234567", "abcdef", "１２３４５６"} {
		h.forgive("ada")
		_, err := h.signIn("ada", good, text)
		refused(t, err, account.BadCode)
	}
	if err := h.RemoveFactor(background, "ada"); err != nil {
		t.Fatal(err)
	}
	if s, err := h.signIn("ada", good, ""); err != nil || s.Needs != account.Enrol {
		t.Fatal(s, err)
	}
}

// The vectors of RFC 6238 appendix B, in six digits, seen through our server.
func TestRFC6238_Vectors(t *testing.T) {
	for at, want := range map[int64]string{59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037", 20000000000: "353130"} {
		if got := rfc6238([]byte("12345678901234567890"), at/30); got != want {
			t.Errorf("%d: %s", at, got)
		}
	}
}

// E13: one code, one recovery code: one sign-in.
func TestE13_CodesOnce(t *testing.T) {
	both(t, func(t *testing.T, h *house) {
		h.add(practitioner("ada"))
		code, recovery := h.enrol("ada")
		for _, once := range []string{code(), recovery[0], strings.ToUpper(strings.ReplaceAll(recovery[1], "-", " "))} {
			done, errs := race(5, func(int) error { return h.CheckCode(background, "ada", once, "") })
			if done != 1 {
				t.Errorf("%q was good %d times: %v", once, done, errs)
			}
			h.forgive("ada")
		}
		if has, left, err := h.HasFactor(background, "ada"); !has || left != 8 || err != nil {
			t.Error(has, left, err)
		}
		if h.told(account.RecoveryUsed) != 2 {
			t.Error(h.events)
		}
	})
}

// T58: to know the password gives no free guesses at the code.
func TestT58_CodeGuessing(t *testing.T) {
	h := newHouse(t)
	h.add(practitioner("ada"))
	h.enrol("ada")
	judged := 0
	for i := range 40 {
		if _, err := h.signIn("ada", good, ""); err != nil { // right passwords in between
			t.Fatal(err)
		}
		_, err := h.signIn("ada", good, fmt.Sprintf("%06d", i))
		var e *account.Error
		if errors.As(err, &e) && e.Code == account.BadCode {
			judged++
		}
	}
	if judged > 6 {
		t.Errorf("%d codes were judged", judged)
	}
}
