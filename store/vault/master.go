package vault

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Master is where the master key comes from: file:PATH, env:NAME or
// cmd:PROGRAM ARGUMENTS (run without a shell; it prints the key). A key is 32
// bytes in base64 or 64 hex digits.
type Master struct{ kind, rest string }

// ParseMaster reads a Master.
func ParseMaster(text string) (Master, error) {
	kind, rest, found := strings.Cut(text, ":")
	if !found || strings.TrimSpace(rest) == "" || kind != "file" && kind != "env" && kind != "cmd" {
		return Master{}, errors.New("use file:PATH, env:NAME or cmd:PROGRAM ARGUMENTS")
	}
	return Master{kind, rest}, nil
}

// MasterFile is the Master in a file.
func MasterFile(path string) Master { return Master{"file", path} }

// String is the text that ParseMaster reads; of a command only the program, as
// arguments may be secret.
func (m Master) String() string {
	if m.kind == "cmd" {
		return "cmd:" + strings.Fields(m.rest)[0]
	}
	return m.kind + ":" + m.rest
}

// IsZero says that no Master was given.
func (m Master) IsZero() bool { return m.kind == "" }

// commandTime is how long a command may take to print the key.
const commandTime = 30 * time.Second

// Key fetches the key. Errors are ErrKey and name the place, never the content.
func (m Master) Key(ctx context.Context) (Key, error) {
	text, err := m.text(ctx)
	if err != nil {
		return Key{}, fmt.Errorf("%w: master key of %s: %w", ErrKey, m, err)
	}
	defer clear(text)
	k, err := parseKey(text)
	if err != nil {
		return Key{}, fmt.Errorf("%w: master key of %s: %w", ErrKey, m, err)
	}
	return k, nil
}

func (m Master) text(ctx context.Context) ([]byte, error) {
	switch m.kind {
	case "file":
		return os.ReadFile(m.rest)
	case "env":
		text, ok := os.LookupEnv(m.rest)
		if !ok {
			return nil, errors.New("the variable is not set")
		}
		return []byte(text), nil
	case "cmd":
		ctx, cancel := context.WithTimeout(ctx, commandTime)
		defer cancel()
		args := strings.Fields(m.rest)
		out, err := exec.CommandContext(ctx, args[0], args[1:]...).Output() // what it says on stderr may be secret
		return out, err
	}
	return nil, errors.New("none is configured")
}

// parseKey reads 32 bytes in hex or base64.
func parseKey(text []byte) (k Key, err error) {
	text = bytes.TrimSpace(text)
	if len(text) == 2*len(k) {
		if _, err := hex.Decode(k[:], text); err == nil {
			return k, nil
		}
	}
	raw, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil {
		raw, err = base64.RawURLEncoding.DecodeString(string(text))
	}
	if err != nil || len(raw) != len(k) {
		return k, errors.New("it is not 32 bytes in base64 or 64 hex digits")
	}
	copy(k[:], raw)
	return k, nil
}

// CreateMaster writes a new random key into a file that nobody else can read
// and that must not be there yet.
func CreateMaster(path string) error {
	k := NewKey()
	return writeNew(path, []byte(base64.StdEncoding.EncodeToString(k[:])+"\n"))
}

// writeNew writes a file that is not there, whole and on disk or not at all.
func writeNew(path string, data []byte) error {
	temp, err := writeTemp(path, data)
	if err != nil {
		return err
	}
	if err := os.Link(temp, path); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return errors.Join(os.Remove(temp), syncDir(path))
}

// replace writes a file in place of another, whole and on disk or not at all.
func replace(path string, data []byte) error {
	temp, err := writeTemp(path, data)
	if err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return syncDir(path)
}

func writeTemp(path string, data []byte) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
