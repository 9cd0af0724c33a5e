package account_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"candela/fhir"
	"candela/smart/account"
	"candela/store"
)

func TestR11_IdleLogoff(t *testing.T) {
	both(t, func(t *testing.T, h *house) {
		h.add(patient("bob", "1"))
		cookie, s := h.start("bob")
		if !s.Complete() || s.User.Name != "bob" || len(cookie) != 43 || strings.Contains(s.ID, cookie) {
			t.Fatalf("%+v", s)
		}
		for range 20 { // used every 13 minutes, it stays
			h.clock.Add(13 * time.Minute)
			if _, err := h.Session(background, cookie); err != nil {
				t.Fatal(err)
			}
		}
		h.clock.Add(15 * time.Minute)
		_, err := h.Session(background, cookie)
		refused(t, err, account.LoginRequired)
		cookie, _ = h.start("bob")
		for range 12*4 + 3 {
			h.clock.Add(14 * time.Minute)
			if _, err = h.Session(background, cookie); err != nil {
				break
			}
		}
		if err != nil && h.clock.Now().Sub(s.AuthTime) < 12*time.Hour {
			t.Fatal(err)
		}
		h.clock.Add(7 * time.Minute)
		_, err = h.Session(background, cookie)
		refused(t, err, account.LoginRequired)
	})
}

// Twelve hours are the end, to the second, however busy.
func TestR11_AbsoluteEnd(t *testing.T) {
	h := newHouse(t)
	h.add(patient("bob", "1"))
	cookie, s := h.start("bob")
	for range 71 {
		h.clock.Add(10 * time.Minute)
		if _, err := h.Session(background, cookie); err != nil {
			t.Fatal(err)
		}
	}
	h.clock.Add(10*time.Minute - time.Second)
	if got, err := h.Session(background, cookie); err != nil || !got.Until.Equal(s.AuthTime.Add(12*time.Hour)) {
		t.Fatal(got, err)
	}
	h.clock.Add(time.Second)
	_, err := h.Session(background, cookie)
	refused(t, err, account.LoginRequired)
}

// What asks for a session without a person does not keep it alive.
func TestR21_LiveIsNoUse(t *testing.T) {
	h := newHouse(t)
	h.add(patient("bob", "1"))
	cookie, s := h.start("bob")
	for range 2 {
		h.clock.Add(7 * time.Minute)
		if live, err := h.Live(background, s.ID); err != nil || live.User.Name != "bob" || live.CSRF != "" {
			t.Fatal(live, err)
		}
	}
	h.clock.Add(time.Minute)
	if _, err := h.Live(background, s.ID); !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	_, err := h.Session(background, cookie)
	refused(t, err, account.LoginRequired)
}

func TestT101_CSRFAndFixation(t *testing.T) {
	h := newHouse(t)
	h.add(practitioner("ada"))
	h.add(patient("bob", "1"))
	code, _ := h.enrol("ada")
	half, before := h.start("ada")
	cookie, after, err := h.SecondFactor(background, half, code(), "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.Session(background, half)
	refused(t, err, account.LoginRequired)
	_, _, err = h.SecondFactor(background, half, code(), "")
	refused(t, err, account.LoginRequired)
	if cookie == half || after.ID == before.ID || after.CSRF == before.CSRF || !after.Complete() || before.Complete() {
		t.Fatal("the session was not made anew")
	}
	s, err := h.Session(background, cookie)
	if err != nil || !s.Valid(s.CSRF) || !s.Valid(after.CSRF) {
		t.Fatal("the form of the session is refused", err)
	}
	_, other := h.start("bob")
	for _, forged := range []string{"", other.CSRF, before.CSRF, s.CSRF + "x", s.CSRF[1:], cookie} {
		if s.Valid(forged) {
			t.Errorf("%q is taken", forged)
		}
	}
	if all := h.dump(); strings.Contains(all, cookie) || strings.Contains(all, s.CSRF) || strings.Contains(all, good) {
		t.Error("a cookie, a CSRF token or a password is in the store")
	}
	if (&account.Session{}).Valid("") || (&account.Session{}).Complete() {
		t.Error("no session is one")
	}
}

func TestR11_SignOut(t *testing.T) {
	h := newHouse(t)
	h.add(patient("bob", "1"))
	cookie, _ := h.start("bob")
	other, _ := h.start("bob")
	for range 2 {
		if err := h.End(background, cookie); err != nil {
			t.Fatal(err)
		}
	}
	_, err := h.Session(background, cookie)
	refused(t, err, account.LoginRequired)
	if _, err := h.Session(background, other); err != nil {
		t.Fatal("signing out of one ends the other:", err)
	}
	if h.told(account.SignedOut) != 1 || h.told(account.SignedIn) != 2 {
		t.Fatal(h.events)
	}
	if err := h.EndAll(background, "bob"); err != nil {
		t.Fatal(err)
	}
	_, err = h.Session(background, other)
	refused(t, err, account.LoginRequired)
	for _, wrong := range []string{"", "x", strings.Repeat("x", 43), strings.Repeat("x", 1<<20)} {
		_, err := h.Session(background, wrong)
		refused(t, err, account.LoginRequired)
	}
}

// T104: who is locked is out at once, in every process, and the tokens are told.
func TestT104_LockedUser(t *testing.T) {
	both(t, func(t *testing.T, h *house) {
		other := h.again()
		for name, shut := range map[string]func() error{
			"lock":    func() error { return other.Lock(background, "bob") },
			"disable": func() error { return other.Disable(background, "bob") },
			"put": func() error {
				u, err := other.Get(background, "bob")
				u.Locked = true
				_, err2 := other.Put(background, u)
				return errors.Join(err, err2)
			},
			"other person": func() error {
				u, err := other.Get(background, "bob")
				u.FHIRUser = fhir.Reference{Type: "Patient", ID: "2"}
				_, err2 := other.Put(background, u)
				return errors.Join(err, err2)
			},
			"delete": func() error { return other.Delete(background, "bob") },
		} {
			h.ended = nil
			h.add(patient("bob", "1"))
			cookie, s := h.start("bob")
			signed, err := h.signIn("bob", good, "")
			if err != nil {
				t.Fatal(err)
			}
			if err := shut(); err != nil {
				t.Fatal(name, err)
			}
			_, err = h.Session(background, cookie)
			refused(t, err, account.LoginRequired)
			if _, err := h.Live(background, s.ID); !errors.Is(err, store.ErrNotFound) {
				t.Error(name, err)
			}
			if len(h.ended) != 1 || h.ended[0] != "bob" {
				t.Error(name, "tokens of", h.ended)
			}
			// A sign-in that was on its way is of no use any more.
			if late, _, err := h.Start(background, signed, ""); err == nil {
				_, err = h.Session(background, late)
				refused(t, err, account.LoginRequired)
			}
			if name == "other person" {
				h.Delete(background, "bob")
				continue
			}
			if _, err := h.Active(background, "bob"); !errors.Is(err, store.ErrNotFound) {
				t.Error(name, err)
			}
			_, err = h.signIn("bob", good, "")
			refused(t, err, account.BadCredentials)
			if err := errors.Join(h.Unlock(background, "bob"), h.Enable(background, "bob")); name != "delete" {
				if _, err2 := h.signIn("bob", good, ""); err != nil && err2 != nil {
					t.Error(name, err, err2)
				}
				_, err = h.Session(background, cookie)
				refused(t, err, account.LoginRequired) // it does not come back
				h.Delete(background, "bob")
			}
		}
	})
}

// A touch never brings a session back that was ended at the same moment.
func TestE13_TouchAndEnd(t *testing.T) {
	both(t, func(t *testing.T, h *house) {
		h.add(patient("bob", "1"))
		for range 20 {
			cookie, _ := h.start("bob")
			h.clock.Add(2 * time.Minute)
			race(8, func(i int) error {
				if i == 0 {
					return h.End(background, cookie)
				}
				_, err := h.Session(background, cookie)
				return err
			})
			_, err := h.Session(background, cookie)
			refused(t, err, account.LoginRequired)
		}
	})
}

// R52: trouble of the store is no sign-out.
func TestR52_StoreTrouble(t *testing.T) {
	h := newHouse(t)
	h.add(patient("bob", "1"))
	cookie, s := h.start("bob")
	h.kv.fail.Store(true)
	_, err1 := h.Session(background, cookie)
	_, err2 := h.signIn("bob", good, "")
	_, err3 := h.Live(background, s.ID)
	_, err4 := h.Active(background, "bob")
	err5 := h.Redeem(background, "x", good)
	for i, err := range []error{err1, err2, err3, err4, err5} {
		var e *account.Error
		if !errors.Is(err, store.ErrUnavailable) || errors.As(err, &e) || errors.Is(err, store.ErrNotFound) {
			t.Errorf("%d: %v", i+1, err)
		}
	}
	h.kv.fail.Store(false)
	if _, err := h.Session(background, cookie); err != nil {
		t.Fatal(err)
	}
}

// What cannot be audited does not happen.
func TestR38_AuditTrouble(t *testing.T) {
	h := newHouse(t)
	h.add(patient("bob", "1"))
	signed, err := h.signIn("bob", good, "")
	if err != nil {
		t.Fatal(err)
	}
	h.refuse = errors.New("the journal is full")
	if _, _, err := h.Start(background, signed, ""); !errors.Is(err, h.refuse) {
		t.Error(err)
	}
	if _, err := h.signIn("bob", "wrong", ""); !errors.Is(err, h.refuse) {
		t.Error(err)
	}
}

func BenchmarkSession(b *testing.B) {
	h := newHouse(b)
	h.add(patient("bob", "1"))
	cookie, _ := h.start("bob")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Session(background, cookie); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPolicy(b *testing.B) {
	h := newHouse(b)
	u := h.add(practitioner("ada"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Policy(u, tables()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSignIn(b *testing.B) {
	h := newHouse(b, func(c *account.Config) { c.Hash = account.Hash{} })
	h.add(patient("bob", "1"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.signIn("bob", good, ""); err != nil {
			b.Fatal(err)
		}
	}
}
