package main

import (
	"context"
	"fmt"
	"strings"

	"candela/cmd/app"
)

// keysCommand keeps the keys that the embedded store is encrypted with.
type keysCommand struct {
	Status  keysStatus  `cmd:"" help:"Tell which keys there are, and what each still protects."`
	Rotate  keysRotate  `cmd:"" help:"New keys for the store; or, with --to, another master key."`
	New     keysNew     `cmd:"" help:"Write a new master key into a file."`
	Encrypt keysEncrypt `cmd:"" help:"Encrypt a store that lies in the clear."`
}

type keysStatus struct {
	storeFlags
	logFlags
}

// Run prints the status.
func (c keysStatus) Run(ctx context.Context) error {
	lines, err := app.KeysStatus(ctx, c.config(c.logFlags))
	if err == nil {
		fmt.Println(strings.Join(lines, "\n"))
	}
	return err
}

type keysRotate struct {
	storeFlags
	logFlags
	To string `help:"The new master key: file:PATH, env:NAME or cmd:PROGRAM ARGUMENTS. The server needs it at its next start." placeholder:"KEY"`
}

// Help is shown below the flags.
func (keysRotate) Help() string {
	return `A running server goes on meanwhile. New keys are taken up at once: what is written from then on is encrypted
with them, and within minutes the server begins to rewrite what is not; candela keys status tells how much is left.
With --to only the file candela.keys is written anew; keep its former master key until old backups are gone.

Examples:
  candela keys rotate
  candela keys new /secure/master.key && candela keys rotate --to file:/secure/master.key`
}

// Run rotates.
func (c keysRotate) Run(ctx context.Context) error {
	if c.To == "" {
		if err := app.RotateKeys(ctx, c.config(c.logFlags)); err != nil {
			return err
		}
		fmt.Println("the store has new keys; old ones end when nothing needs them any more")
		return nil
	}
	if err := app.MoveKeys(ctx, c.config(c.logFlags), c.To); err != nil {
		return err
	}
	fmt.Println("the store's keys are under the new master key; start the server with --master-key", c.To)
	return nil
}

type keysNew struct {
	File string `arg:"" help:"The file; it must not be there yet." type:"path"`
}

// Run writes the key.
func (c keysNew) Run() error { return app.NewMasterKey(c.File) }

type keysEncrypt struct {
	storeFlags
	logFlags
}

// Help is shown below the flags.
func (keysEncrypt) Help() string {
	return `No server may run on the store. An encrypted copy is written beside it and takes its place, so there must be
room for both. What the disk keeps of removed files, and older backups, stay in the clear.`
}

// Run encrypts.
func (c keysEncrypt) Run(ctx context.Context) error {
	if err := app.EncryptStore(ctx, c.config(c.logFlags)); err != nil {
		return err
	}
	fmt.Println("the store is encrypted")
	return nil
}
