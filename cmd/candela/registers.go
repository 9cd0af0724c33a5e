package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"golang.org/x/term"

	"candela/cmd/app"
	"candela/store"
)

// with opens the registers of a store, does the work and closes them.
func (s storeFlags) with(ctx context.Context, l logFlags, work func(r *app.Registers) error) error {
	r, err := app.OpenRegisters(ctx, s.config(l))
	if err != nil {
		return err
	}
	return errors.Join(work(r), r.Close())
}

// named says of which thing an error of the registers is.
func named(kind, name string, err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("there is no %s %q", kind, name)
	case errors.Is(err, store.ErrConflict):
		return fmt.Errorf("there is a %s %q already", kind, name)
	case err != nil:
		return fmt.Errorf("%s %q: %w", kind, name, err)
	}
	return nil
}

// passwordName is the variable of the environment that a password may stand in.
const passwordName = "CANDELA_PASSWORD"

// password reads a new password: from the environment, from a terminal without
// showing it, or the first line of standard input. Never from the command line,
// which every process can read.
func password() (string, error) {
	if text, ok := os.LookupEnv(passwordName); ok {
		return text, nil
	}
	if in := int(os.Stdin.Fd()); term.IsTerminal(in) {
		return askTwice(in)
	}
	line, err := bufio.NewReader(io.LimitReader(os.Stdin, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the password: %w", err)
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", errors.New("no password: it is read from standard input or " + passwordName)
	}
	return line, nil
}

func askTwice(in int) (string, error) {
	var typed [2]string
	for i, prompt := range [...]string{"Password: ", "Again: "} {
		fmt.Fprint(os.Stderr, prompt)
		text, err := term.ReadPassword(in)
		fmt.Fprintln(os.Stderr)
		if err != nil {
			return "", fmt.Errorf("read the password: %w", err)
		}
		typed[i] = string(text)
	}
	if typed[0] != typed[1] {
		return "", errors.New("the two passwords are not the same")
	}
	return typed[0], nil
}

// table prints rows in columns.
func table(rows [][]string) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		if _, err := fmt.Fprintln(w, strings.TrimRight(strings.Join(row, "\t"), "\t")); err != nil {
			return err
		}
	}
	return w.Flush()
}
