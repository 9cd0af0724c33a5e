package main

import (
	"context"
	"fmt"

	"candela/cmd/app"
)

// signingCommand keeps the keys that id_tokens are signed with.
type signingCommand struct {
	List   signingList   `cmd:"" help:"Print the public keys, as apps are told them."`
	Rotate signingRotate `cmd:"" help:"Make a new key; the old ones stay published for a day after it signs."`
}

type signingList struct {
	storeFlags
	logFlags
}

// Run prints the JWKS.
func (c signingList) Run(ctx context.Context) error {
	return c.with(ctx, c.logFlags, func(r *app.Registers) error {
		keys, err := r.Tokens.JWKS(ctx)
		if err == nil {
			fmt.Println(string(keys))
		}
		return err
	})
}

type signingRotate struct {
	storeFlags
	logFlags
	Compromised bool `help:"Somebody else has the old keys: forget them now. What they signed can be verified no more."`
}

// Run rotates.
func (c signingRotate) Run(ctx context.Context) error {
	return c.with(ctx, c.logFlags, func(r *app.Registers) error {
		err := r.Tokens.Rotate(ctx, c.Compromised)
		if err == nil {
			fmt.Println("a new key is published; it signs within a minute")
		}
		return err
	})
}
