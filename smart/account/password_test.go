package account_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"candela/smart/account"
)

func TestPasswordRules(t *testing.T) {
	h := newHouse(t)
	h.add(account.User{Name: "ada.lovelace", Display: "Ada Lovelace", Role: account.Nurse})
	for _, weak := range []string{"", "short", "elevenchars", "Password1234", "P@ssw0rd1234!", "passwordpassword", "123456789012", "qwertyuiop12", "aaaaaaaaaaaaaaaa",
		"abcdefghijklmnop", "AdaLovelace1", "lovelace2026!", "candela12345", "Welcome2026!!", "1q2w3e4r5t6z", "abababababababab", "Hospital2026", "correct horse battery",
		"\xff\xfe\xfd not text at all", strings.Repeat("long pass ", 103)} {
		if err := h.SetPassword(background, "ada.lovelace", weak); err == nil {
			t.Errorf("%q is taken", weak)
		} else if e := refused(t, err, account.WeakPassword); weak != "" && strings.Contains(e.Error(), weak) {
			t.Error("the password is in the error")
		}
	}
	for _, strong := range []string{good, "three purple giraffes sing", "kQ9#vT2mXz!4", "a password that is long enough", "日本語のパスワードは長いよ", "zebra-0451-teapot"} {
		if err := h.SetPassword(background, "ada.lovelace", strong); err != nil {
			t.Errorf("%q: %v", strong, err)
		}
	}
}

func TestRehash(t *testing.T) {
	h := newHouse(t)
	h.add(patient("bob", "1"))
	before := h.dump()
	if !strings.Contains(before, "$argon2id$v=19$m=64,t=1,p=1$") {
		t.Fatal(before)
	}
	now := h.again(func(c *account.Config) { c.Hash = account.Hash{Memory: 128, Passes: 2, Threads: 1} })
	cookie, _ := h.start("bob")
	if _, err := now.SignIn(background, account.Login{Name: "bob", Password: "wrong"}); err == nil || !strings.Contains(h.dump(), "m=64,") {
		t.Fatal("a wrong password changed the hash")
	}
	for range 2 {
		if _, err := now.SignIn(background, account.Login{Name: "bob", Password: good}); err != nil {
			t.Fatal(err)
		}
	}
	if after := h.dump(); strings.Contains(after, "m=64,") || !strings.Contains(after, "m=128,t=2,p=1$") {
		t.Fatal(after)
	}
	if _, err := h.Session(background, cookie); err != nil {
		t.Error("the session ended by it:", err)
	}
	// A hash is bound to its user and to the secret of the server.
	other := h.again(func(c *account.Config) { c.Secret = []byte(strings.Repeat("t", 32)) })
	_, err := other.SignIn(background, account.Login{Name: "bob", Password: good})
	refused(t, err, account.BadCredentials)
}

// Many who sign in at once wait for each other; too many are told to come again.
func TestParallelSignInsAreBounded(t *testing.T) {
	h := newHouse(t, func(c *account.Config) { c.Parallel, c.Hash = 1, account.Hash{Memory: 8192, Passes: 1, Threads: 1} })
	h.add(patient("bob", "1"))
	var busy, done atomic.Int64
	race(80, func(i int) error {
		_, err := h.signIn(fmt.Sprint("nobody", i), "wrong", "")
		var e *account.Error
		if errors.As(err, &e) && e.Code == account.Busy && e.Status == 503 && e.RetryAfter > 0 {
			busy.Add(1)
		} else if errors.As(err, &e) && e.Code == account.BadCredentials {
			done.Add(1)
		}
		return nil
	})
	if busy.Load()+done.Load() != 80 || done.Load() < 33 || busy.Load() == 0 {
		t.Errorf("%d done, %d told to come again", done.Load(), busy.Load())
	}
}

func TestChangePassword(t *testing.T) {
	h := newHouse(t)
	h.add(patient("bob", "1"))
	cookie, _ := h.start("bob")
	const next = "Wolken-ziehen-38"
	refused(t, h.ChangePassword(background, account.Login{Name: "bob", Password: "wrong"}, next), account.BadCredentials)
	refused(t, h.ChangePassword(background, account.Login{Name: "bob", Password: good}, "weak"), account.WeakPassword)
	if err := h.ChangePassword(background, account.Login{Name: "bob", Password: good}, next); err != nil {
		t.Fatal(err)
	}
	_, err := h.Session(background, cookie)
	refused(t, err, account.LoginRequired)
	_, err = h.signIn("bob", good, "")
	refused(t, err, account.BadCredentials)
	if _, err := h.signIn("bob", next, ""); err != nil {
		t.Fatal(err)
	}
	for range 6 {
		h.ChangePassword(background, account.Login{Name: "bob", Password: "guess"}, next)
	}
	err = h.ChangePassword(background, account.Login{Name: "bob", Password: next}, next)
	refused(t, err, account.TooMany)
}

func TestE13_LinkOnce(t *testing.T) {
	both(t, func(t *testing.T, h *house) {
		h.add(patient("bob", "1"))
		cookie, _ := h.start("bob")
		link, err := h.Invite(background, "bob", time.Hour)
		if err != nil || strings.Contains(h.dump(), link) {
			t.Fatal("the link is in the store, or there is none:", err)
		}
		refused(t, h.Redeem(background, link, "weak"), account.WeakPassword) // does not use it up
		refused(t, h.Redeem(background, link+"x", good), account.BadLink)
		done, errs := race(8, func(i int) error { return h.Redeem(background, link, fmt.Sprintf("Wolken-ziehen-vorbei-%d", i)) })
		if done != 1 {
			t.Fatalf("used %d times: %v", done, errs)
		}
		for _, err := range errs {
			refused(t, err, account.BadLink)
		}
		_, err = h.Session(background, cookie)
		refused(t, err, account.LoginRequired)
		// Old links end with the sessions, by time, and with the user.
		for _, spoil := range []func() error{
			func() error { return h.SetPassword(background, "bob", good) },
			func() error { h.clock.Add(2 * time.Hour); return nil },
			func() error { return h.Lock(background, "bob") },
		} {
			if link, err = h.Invite(background, "bob", time.Hour); err == nil {
				err = spoil()
			}
			if err != nil {
				t.Fatal(err)
			}
			refused(t, h.Redeem(background, link, "Wolken-ziehen-38"), account.BadLink)
		}
		_, err = h.Invite(background, "bob", time.Hour)
		refused(t, err, account.BadUser)
		_, err = h.Invite(background, "bob", 31*24*time.Hour)
		refused(t, err, account.BadUser)
	})
}
