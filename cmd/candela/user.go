package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"candela/cmd/app"
	"candela/fhir"
	"candela/smart/account"
)

// userCommand keeps the people who may sign in.
type userCommand struct {
	Add     userAdd     `cmd:"" help:"Add a user."`
	List    userList    `cmd:"" help:"List all users."`
	Passwd  userPasswd  `cmd:"" help:"Set a password; the user's sessions end."`
	Invite  userInvite  `cmd:"" help:"Make a one-time secret by which the user sets a password."`
	Lock    userLock    `cmd:"" help:"Shut a user out; sessions and tokens end."`
	Unlock  userUnlock  `cmd:"" help:"Let a user in again whom lock or too many attempts shut out."`
	Disable userDisable `cmd:"" help:"Shut out a user who has left; sessions and tokens end."`
	Enable  userEnable  `cmd:"" help:"Undo disable."`
	Delete  userDelete  `cmd:"" help:"Forget a user."`
	TOTP    userTOTP    `cmd:"" name:"totp" help:"Give a user a second factor, or take it away."`
}

// oneUser is a verb about one user.
type oneUser struct {
	storeFlags
	logFlags
	Name string `arg:"" help:"The name that is typed in to sign in."`
}

// do does work with a user and says that it is done.
func (c oneUser) do(ctx context.Context, done string, work func(a *account.Accounts) error) error {
	return c.with(ctx, c.logFlags, func(r *app.Registers) error {
		err := named("user", c.Name, work(r.Accounts))
		if err == nil && done != "" {
			fmt.Printf("%s %s\n", c.Name, done)
		}
		return err
	})
}

type userAdd struct {
	oneUser
	Role       string   `help:"practitioner, nurse, frontdesk, administrator, privacy-officer, analyst, patient or proxy." required:""`
	Display    string   `help:"Name as pages show it." placeholder:"TEXT"`
	FHIRUser   string   `name:"fhir-user" help:"The person as a resource of this server, for example Practitioner/123." placeholder:"TYPE/ID"`
	Patient    []string `help:"Id of a patient whose record a patient or proxy has. May be repeated." placeholder:"ID"`
	Policy     []string `help:"What this user may do instead of what the role says, as scopes without a level: Observation.rs?category=vital-signs. May be repeated." sep:"none" placeholder:"RULE"`
	NoPassword bool     `help:"Read no password; see invite."`
}

// Help is shown below the flags.
func (userAdd) Help() string {
	return `The password is read from standard input, or from CANDELA_PASSWORD; never from the command line.

Examples:
  candela user add ada --role practitioner --fhir-user Practitioner/p1 < password
  candela user add bob --role patient --fhir-user Patient/1 --no-password && candela user invite bob`
}

// Run adds the user, all of it or nothing.
func (c userAdd) Run(ctx context.Context) (err error) {
	secret := ""
	if !c.NoPassword {
		if secret, err = password(); err != nil {
			return err
		}
	}
	u := account.User{Name: c.Name, Display: c.Display, Role: c.Role, Patients: c.Patient, Policy: c.Policy}
	if c.FHIRUser != "" {
		u.FHIRUser = fhir.ParseReference(c.FHIRUser)
	}
	return c.do(ctx, "added", func(a *account.Accounts) error {
		if _, err := a.Put(ctx, u); err != nil {
			return err
		}
		if c.NoPassword {
			return nil
		}
		if err := a.SetPassword(ctx, u.Name, secret); err != nil {
			return errors.Join(err, a.Delete(ctx, u.Name))
		}
		return nil
	})
}

type userList struct {
	storeFlags
	logFlags
}

// Run prints a line for each user.
func (c userList) Run(ctx context.Context) error {
	return c.with(ctx, c.logFlags, func(r *app.Registers) error {
		rows := [][]string{{"NAME", "ROLE", "STATE", "SECOND FACTOR", "PERSON", "DISPLAY"}}
		for u, err := range r.Accounts.List(ctx) {
			if err != nil {
				return err
			}
			has, _, err := r.Accounts.HasFactor(ctx, u.Name)
			if err != nil {
				return err
			}
			factor, person := "no", u.FHIRUser.String()
			if has {
				factor = "yes"
			}
			if len(u.Patients) > 0 {
				person = strings.TrimSpace(person + " for " + strings.Join(u.Patients, ","))
			}
			rows = append(rows, []string{u.Name, u.Role, state(u), factor, person, u.Display})
		}
		return table(rows)
	})
}

func state(u account.User) string {
	switch {
	case u.Disabled:
		return "disabled"
	case u.Locked:
		return "locked"
	}
	return "active"
}

type userPasswd struct{ oneUser }

// Help is shown below the flags.
func (userPasswd) Help() string {
	return "The password is read from standard input, or from CANDELA_PASSWORD; never from the command line."
}

// Run sets the password.
func (c userPasswd) Run(ctx context.Context) error {
	secret, err := password()
	if err != nil {
		return err
	}
	return c.do(ctx, "has a new password", func(a *account.Accounts) error { return a.SetPassword(ctx, c.Name, secret) })
}

type userInvite struct {
	oneUser
	Life time.Duration `help:"How long the secret is good." default:"72h"`
}

// Run prints the secret, which is told this once.
func (c userInvite) Run(ctx context.Context) error {
	return c.do(ctx, "", func(a *account.Accounts) error {
		secret, err := a.Invite(ctx, c.Name, c.Life)
		if err == nil {
			fmt.Printf("good once, until %s:\n%s\n", time.Now().Add(c.Life).UTC().Format(time.RFC3339), secret)
		}
		return err
	})
}

type userLock struct{ oneUser }

// Run locks.
func (c userLock) Run(ctx context.Context) error {
	return c.do(ctx, "is locked", func(a *account.Accounts) error { return a.Lock(ctx, c.Name) })
}

type userUnlock struct{ oneUser }

// Run unlocks.
func (c userUnlock) Run(ctx context.Context) error {
	return c.do(ctx, "is unlocked", func(a *account.Accounts) error { return a.Unlock(ctx, c.Name) })
}

type userDisable struct{ oneUser }

// Run disables.
func (c userDisable) Run(ctx context.Context) error {
	return c.do(ctx, "is disabled", func(a *account.Accounts) error { return a.Disable(ctx, c.Name) })
}

type userEnable struct{ oneUser }

// Run enables.
func (c userEnable) Run(ctx context.Context) error {
	return c.do(ctx, "is enabled", func(a *account.Accounts) error { return a.Enable(ctx, c.Name) })
}

type userDelete struct{ oneUser }

// Run deletes.
func (c userDelete) Run(ctx context.Context) error {
	return c.do(ctx, "deleted", func(a *account.Accounts) error { return a.Delete(ctx, c.Name) })
}

type userTOTP struct {
	oneUser
	Code   string `help:"A code of the app: ends the enrolment and prints the recovery codes." placeholder:"DIGITS" env:"-"`
	Remove bool   `help:"Take the second factor away; sessions end."`
}

// Help is shown below the flags.
func (userTOTP) Help() string {
	return `Without flags it begins an enrolment: it prints a secret for an authenticator app. The factor counts once a
code of the app was given by --code, within 10 minutes. Users do the same for themselves when they sign in.`
}

// Run begins or ends an enrolment, or removes the factor.
func (c userTOTP) Run(ctx context.Context) error {
	switch {
	case c.Remove:
		return c.do(ctx, "has no second factor", func(a *account.Accounts) error { return a.RemoveFactor(ctx, c.Name) })
	case c.Code != "":
		return c.do(ctx, "", func(a *account.Accounts) error {
			codes, err := a.Confirm(ctx, c.Name, c.Code)
			if err == nil {
				fmt.Println("recovery codes, each good once, told this once:")
				fmt.Println(strings.Join(codes, "\n"))
			}
			return err
		})
	}
	return c.do(ctx, "", func(a *account.Accounts) error {
		e, err := a.Enrol(ctx, c.Name)
		if err == nil {
			fmt.Printf("secret, told this once: %s\n%s\n", e.Secret, e.URI)
		}
		return err
	})
}
