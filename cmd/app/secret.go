package app

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// secretSize is the least size of a server's secret, in octets.
const secretSize = 32

// secretFile is where the secret is kept.
func (c Config) secretFile() string {
	if c.SecretFile != "" {
		return c.SecretFile
	}
	if dir, ok := strings.CutPrefix(c.Store, "embedded:"); ok {
		return filepath.Join(dir, "server.secret")
	}
	return filepath.Join(DataDir(), "server.secret")
}

// readSecret reads the secret, or makes one where there is none. Of several
// processes that make one at a time, all use the first.
func readSecret(path string) ([]byte, error) {
	secret, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeSecret(path); err == nil {
			secret, err = os.ReadFile(path)
		}
	}
	if err == nil && len(secret) < secretSize {
		err = fmt.Errorf("%s holds %d octets; %d is the least", path, len(secret), secretSize)
	}
	return secret, err
}

func makeSecret(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	fresh := make([]byte, secretSize)
	if _, err := rand.Read(fresh); err != nil {
		return err
	}
	draft, err := os.CreateTemp(filepath.Dir(path), ".secret-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = draft.Write(fresh)
	err = errors.Join(err, draft.Sync(), draft.Close())
	if err == nil {
		if err = os.Link(draft.Name(), path); errors.Is(err, fs.ErrExist) {
			err = nil
		}
	}
	return errors.Join(err, os.Remove(draft.Name()))
}
