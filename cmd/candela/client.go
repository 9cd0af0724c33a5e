package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"candela/cmd/app"
	"candela/smart/client"
)

// clientCommand keeps the apps and services that may ask for tokens.
type clientCommand struct {
	Add     clientAdd     `cmd:"" help:"Register an app or service."`
	List    clientList    `cmd:"" help:"List all clients."`
	Secret  clientSecret  `cmd:"" help:"Give a symmetric client a new secret."`
	Disable clientDisable `cmd:"" help:"Shut a client out; its tokens end."`
	Enable  clientEnable  `cmd:"" help:"Undo disable."`
	Delete  clientDelete  `cmd:"" help:"Forget a client; its tokens end."`
}

type clientAdd struct {
	storeFlags
	logFlags
	Name         string   `arg:"" help:"Name as users see it."`
	ID           string   `help:"client_id; one is made when left out." placeholder:"ID"`
	Kind         string   `help:"How it proves who it is: public (PKCE only), symmetric (a secret) or asymmetric (private_key_jwt)." enum:"public,symmetric,asymmetric" default:"public"`
	Redirect     []string `help:"Redirect URI. May be repeated." sep:"none" placeholder:"URI"`
	Scope        []string `help:"Scope that it may have. May be repeated; several in one, with spaces between, as well." sep:"none" placeholder:"SCOPE"`
	Grant        []string `help:"authorization_code, refresh_token or client_credentials. May be repeated; authorization_code and refresh_token with a redirect URI, else client_credentials." placeholder:"GRANT"`
	JWKS         string   `name:"jwks" help:"File with its public keys." placeholder:"FILE"`
	JWKSURL      string   `name:"jwks-url" help:"Where its public keys are found." placeholder:"URL"`
	LaunchURL    string   `help:"Where an EHR launches it." placeholder:"URL"`
	Introspect   bool     `help:"May ask about the tokens of other clients."`
	CreateLaunch bool     `help:"Is an EHR: may create launches."`
}

// Help is shown below the flags.
func (clientAdd) Help() string {
	return `Examples:
  candela client add "Growth chart" --redirect https://growth.example.org/cb --scope "launch openid fhirUser patient/*.rs"
  candela client add Warehouse --kind asymmetric --jwks warehouse.jwks --scope "system/*.rs"`
}

// Run registers the client and prints its id, and its secret this once.
func (c clientAdd) Run(ctx context.Context) error {
	wanted := client.Client{ID: c.ID, Name: c.Name, Kind: client.Kind(c.Kind), Redirects: c.Redirect, Grants: c.Grant,
		Scopes: strings.Fields(strings.Join(c.Scope, " ")), JWKSURL: c.JWKSURL, LaunchURL: c.LaunchURL, Introspect: c.Introspect, CreateLaunch: c.CreateLaunch}
	if len(c.Grant) == 0 {
		wanted.Grants = []string{client.GrantCode, client.GrantRefresh}
		if len(c.Redirect) == 0 {
			wanted.Grants = []string{client.GrantBackend}
		}
	}
	if c.JWKS != "" {
		keys, err := os.ReadFile(c.JWKS)
		if err != nil {
			return &app.KeyError{Key: "jwks", Why: err.Error()}
		}
		wanted.JWKS = keys
	}
	return c.with(ctx, c.logFlags, func(r *app.Registers) error {
		added, err := r.Clients.Put(ctx, wanted)
		if err != nil {
			return named("client", cmp.Or(c.ID, c.Name), err)
		}
		fmt.Println("client_id:", added.ID)
		if added.Kind != client.Symmetric {
			return nil
		}
		return newSecret(ctx, r, added.ID, 0)
	})
}

func newSecret(ctx context.Context, r *app.Registers, id string, overlap time.Duration) error {
	secret, err := r.Clients.NewSecret(ctx, id, overlap)
	if err == nil {
		fmt.Println("client_secret, told this once:", secret)
	}
	return named("client", id, err)
}

type clientList struct {
	storeFlags
	logFlags
}

// Run prints a line for each client.
func (c clientList) Run(ctx context.Context) error {
	return c.with(ctx, c.logFlags, func(r *app.Registers) error {
		rows := [][]string{{"CLIENT_ID", "KIND", "STATE", "GRANTS", "NAME", "SCOPES"}}
		for one, err := range r.Clients.List(ctx) {
			if err != nil {
				return err
			}
			state := "active"
			if one.Disabled {
				state = "disabled"
			}
			rows = append(rows, []string{one.ID, string(one.Kind), state, strings.Join(one.Grants, ","), one.Name, strings.Join(one.Scopes, " ")})
		}
		return table(rows)
	})
}

// oneClient is a verb about one client.
type oneClient struct {
	storeFlags
	logFlags
	ID string `arg:"" help:"The client_id."`
}

func (c oneClient) do(ctx context.Context, done string, work func(r *app.Registers) error) error {
	return c.with(ctx, c.logFlags, func(r *app.Registers) error {
		err := named("client", c.ID, work(r))
		if err == nil {
			fmt.Printf("%s %s\n", c.ID, done)
		}
		return err
	})
}

type clientSecret struct {
	oneClient
	Overlap time.Duration `help:"How long the secret before stays good." default:"24h"`
}

// Run prints the new secret, which is told this once.
func (c clientSecret) Run(ctx context.Context) error {
	if c.Overlap < 0 {
		return &app.KeyError{Key: "overlap", Why: "must be 0 or greater"}
	}
	return c.with(ctx, c.logFlags, func(r *app.Registers) error { return newSecret(ctx, r, c.ID, c.Overlap) })
}

type clientDisable struct{ oneClient }

// Run disables.
func (c clientDisable) Run(ctx context.Context) error {
	return c.do(ctx, "is disabled", func(r *app.Registers) error { return r.DisableClient(ctx, c.ID, true) })
}

type clientEnable struct{ oneClient }

// Run enables.
func (c clientEnable) Run(ctx context.Context) error {
	return c.do(ctx, "is enabled", func(r *app.Registers) error { return r.DisableClient(ctx, c.ID, false) })
}

type clientDelete struct{ oneClient }

// Run deletes.
func (c clientDelete) Run(ctx context.Context) error {
	return c.do(ctx, "deleted", func(r *app.Registers) error { return r.DeleteClient(ctx, c.ID) })
}
