package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"candela/store/embedded"
	"candela/store/vault"
)

// owners are the types of which each resource has a data key of its own.
func owners() []string { return []string{"Patient"} }

// checkKeys refuses what does not fit together about encryption.
func (c Config) checkKeys() error {
	if c.Encrypt != "on" && c.Encrypt != "off" {
		return wrong("encrypt", "%q is not known; on or off", c.Encrypt)
	}
	if c.MasterKey == "" {
		return nil
	}
	if _, err := vault.ParseMaster(c.MasterKey); err != nil {
		return wrong("master-key", "%v", err)
	}
	switch {
	case c.Encrypt == "off":
		return wrong("master-key", "is of no use with --encrypt off")
	case !c.embedded():
		return wrong("master-key", "is for the embedded store; this version does not encrypt what it keeps in MongoDB, "+
			"use the encryption of the database or of its volumes")
	}
	return nil
}

func (c Config) embedded() bool { return strings.HasPrefix(c.Store, "embedded:") }

// folder is the folder of the embedded store.
func (c Config) folder() string { return strings.TrimPrefix(c.Store, "embedded:") }

// embeddedOptions are the options of the embedded store.
func (c Config) embeddedOptions() embedded.Options {
	o := embedded.Options{
		Now: c.Now, Logger: c.Log, Relaxed: c.Relaxed, CacheBytes: int64(c.CacheMB) << 20,
		Unencrypted: c.Encrypt == "off", Owners: owners(),
	}
	o.Master, _ = vault.ParseMaster(c.MasterKey) // Check has read it; the zero one is a file beside the data
	return o
}

// storeError says which setting would open a store that could not be opened.
func storeError(err error) error {
	switch {
	case errors.Is(err, embedded.ErrClear):
		return wrong("encrypt", "%v; encrypt it once with candela keys encrypt, or go on in the clear with --encrypt off", err)
	case errors.Is(err, vault.ErrKey):
		return wrong("master-key", "%v", err)
	}
	return wrong("store", "%v", err)
}

// warnMongo says once what a MongoDB store does not have.
func (c Config) warnMongo() {
	if c.Encrypt == "on" {
		c.Log.Warn("what is kept in MongoDB is not encrypted by this version; use the encryption of the database or of its volumes",
			slog.String("setting", "encrypt"))
	}
}

// ring opens the key ring of the configured store.
func (c Config) ring(ctx context.Context) (*vault.Ring, error) {
	if err := c.checkKeys(); err != nil {
		return nil, err
	}
	if !c.embedded() {
		return nil, wrong("store", "keys are of the embedded store only")
	}
	r, err := embedded.Ring(ctx, c.folder(), c.embeddedOptions().Master)
	if err != nil {
		return nil, storeError(err)
	}
	return r, nil
}

// KeysStatus tells, line by line, which keys a store has and what each still
// protects. A server may be running on it.
func KeysStatus(ctx context.Context, c Config) ([]string, error) {
	r, err := c.ring(ctx)
	if err != nil {
		return nil, err
	}
	shares, err := embedded.Shares(c.folder(), r)
	if err != nil {
		return nil, err
	}
	s := r.Status()
	out := []string{
		"ring        " + s.Path,
		fmt.Sprintf("store       %s, version %d", s.Store, s.Version),
		"master key  " + s.Master,
	}
	for _, e := range s.Keys {
		line := fmt.Sprintf("key %-7d %-5s  made %s", e.Number, e.Use, e.Made.Format("2006-01-02 15:04:05Z"))
		if e.Use == vault.Files {
			line += fmt.Sprintf("  %s", shareOf(shares, e.Number))
		}
		if e.Number == r.Newest(e.Use).Number {
			line += "  in use"
		}
		out = append(out, line)
	}
	return out, nil
}

func shareOf(shares []embedded.Share, key uint32) string {
	for _, h := range shares {
		if h.Key == key {
			return fmt.Sprintf("%d files, %.1f MB", h.Files, float64(h.Bytes)/1e6)
		}
	}
	return "0 files"
}

// RotateKeys gives a store new keys; a running server takes them up by itself.
func RotateKeys(ctx context.Context, c Config) error {
	r, err := c.ring(ctx)
	if err != nil {
		return err
	}
	return r.Rotate(ctx, vault.Files, vault.Data)
}

// MoveKeys wraps the keys of a store with another master key.
func MoveKeys(ctx context.Context, c Config, to string) error {
	m, err := vault.ParseMaster(to)
	if err != nil {
		return wrong("to", "%v", err)
	}
	r, err := c.ring(ctx)
	if err != nil {
		return err
	}
	return r.Move(ctx, m)
}

// NewMasterKey writes a new master key into a file that is not there yet, for
// the eyes of its owner only.
func NewMasterKey(path string) error { return vault.CreateMaster(path) }

// EncryptStore makes a store in the clear an encrypted one. No server may be
// running on it.
func EncryptStore(ctx context.Context, c Config) error {
	if err := c.checkKeys(); err != nil {
		return err
	}
	if !c.embedded() || c.Encrypt == "off" {
		return wrong("store", "encrypt is for the embedded store, with --encrypt on")
	}
	if err := embedded.Encrypt(ctx, c.folder(), c.embeddedOptions()); err != nil {
		return storeError(err)
	}
	return nil
}
