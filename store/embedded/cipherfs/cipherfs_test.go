package cipherfs_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"candela/store/embedded/cipherfs"
	"candela/store/vault"
)

func ringIn(t testing.TB, dir string) *vault.Ring {
	t.Helper()
	master := vault.MasterFile(filepath.Join(dir, "master"))
	if err := vault.CreateMaster(filepath.Join(dir, "master")); err != nil {
		t.Fatal(err)
	}
	r, err := vault.CreateRing(context.Background(), filepath.Join(dir, "ring"), master)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func write(t testing.TB, fs vfs.FS, name string, parts ...[]byte) {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		if n, err := f.Write(bytes.Clone(p)); err != nil || n != len(p) {
			t.Fatal(n, err)
		}
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsWrittenIsReadFromAnyPlace(t *testing.T) {
	dir := t.TempDir()
	fs := cipherfs.New(vfs.Default, ringIn(t, dir))
	rnd := rand.New(rand.NewPCG(1, 2))
	for round := range 20 {
		name := filepath.Join(dir, fmt.Sprintf("%d.%s", round, []string{"sst", "log"}[round%2]))
		var parts [][]byte
		for range 1 + rnd.IntN(20) {
			p := make([]byte, rnd.IntN(3000))
			for i := range p {
				p[i] = byte(rnd.IntN(3))
			}
			parts = append(parts, p)
		}
		write(t, fs, name, parts...)
		whole := bytes.Join(parts, nil)
		if info, err := fs.Stat(name); err != nil || info.Size() != int64(len(whole)) {
			t.Fatal(info.Size(), len(whole), err)
		}
		f, err := fs.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if all, err := io.ReadAll(f); err != nil || !bytes.Equal(all, whole) {
			t.Fatalf("read %d of %d: %v", len(all), len(whole), err)
		}
		for range 200 {
			at := rnd.IntN(len(whole) + 1)
			p := make([]byte, rnd.IntN(200))
			n, err := f.ReadAt(p, int64(at))
			if want := min(len(p), len(whole)-at); n != want || !bytes.Equal(p[:n], whole[at:at+n]) || n < len(p) && err != io.EOF {
				t.Fatal(at, n, want, err)
			}
		}
		if info, err := f.Stat(); err != nil || info.Size() != int64(len(whole)) {
			t.Fatal(info, err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNothingIsWrittenInTheClearAndNothingTwice(t *testing.T) {
	dir := t.TempDir()
	fs := cipherfs.New(vfs.Default, ringIn(t, dir))
	text := bytes.Repeat([]byte("a canary in a store "), 100)
	names := []string{filepath.Join(dir, "a.sst"), filepath.Join(dir, "b.sst"), filepath.Join(dir, "c.log")}
	blocks := map[string]bool{}
	for _, name := range names {
		write(t, fs, name, text)
		raw, err := os.ReadFile(name)
		if err != nil || bytes.Contains(raw, []byte("canary")) {
			t.Fatal("in the clear", err)
		}
		for b := range slices.Chunk(raw[8:], 16) {
			if blocks[string(b)] {
				t.Errorf("block %s comes twice", hex.EncodeToString(b))
			}
			blocks[string(b)] = true
		}
	}
	f, err := fs.ReuseForWrite(names[2], filepath.Join(dir, "d.log"), vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(bytes.Clone(text)); err != nil {
		t.Fatal(err)
	}
	raw, _ := os.ReadFile(filepath.Join(dir, "d.log"))
	for b := range slices.Chunk(raw[8:], 16) {
		if blocks[string(b)] {
			t.Errorf("a file used again has block %s of before", hex.EncodeToString(b))
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestHeadersThatAreNotWhole(t *testing.T) {
	dir := t.TempDir()
	ring := ringIn(t, dir)
	fs := cipherfs.New(vfs.Default, ring)
	name := filepath.Join(dir, "1.log")
	write(t, fs, name, []byte("content of a log"))
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	head := len(whole) - len("content of a log")
	open := func(data []byte) ([]byte, error) {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := fs.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return io.ReadAll(f)
	}
	for cut := range head {
		if got, err := open(whole[:cut]); err != nil || len(got) != 0 {
			t.Errorf("cut at %d: %q, %v", cut, got, err)
		}
	}
	if got, err := open(make([]byte, head)); err != nil || len(got) != 0 {
		t.Errorf("zeros: %q, %v", got, err)
	}
	for i := range head {
		bad := bytes.Clone(whole)
		bad[i] ^= 4
		if got, err := open(bad); !errors.Is(err, vault.ErrDamaged) && !errors.Is(err, vault.ErrKey) {
			t.Errorf("byte %d: %q, %v", i, got, err)
		}
	}
	if _, err := open([]byte("a file in the clear that is long enough to have a header in front of it, and then some")); !errors.Is(err, vault.ErrDamaged) {
		t.Errorf("a file in the clear: %v", err)
	}
	other := cipherfs.New(vfs.Default, ringIn(t, t.TempDir()))
	if err := os.WriteFile(name, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Open(name); !errors.Is(err, vault.ErrDamaged) {
		t.Errorf("another store's ring: %v", err)
	}
	if _, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified); err == nil {
		t.Error("a file is opened for writing at any place")
	}
}

// TestRotationMeetsReaders: files of both keys are read while there are both.
func TestRotationMeetsReaders(t *testing.T) {
	dir := t.TempDir()
	ring := ringIn(t, dir)
	fs := cipherfs.New(vfs.Default, ring)
	old, young := filepath.Join(dir, "old"), filepath.Join(dir, "young")
	write(t, fs, old, []byte("old"))
	if err := ring.Rotate(context.Background(), vault.Files); err != nil {
		t.Fatal(err)
	}
	write(t, fs, young, []byte("young"))
	a, _ := fs.KeyOf(old)
	b, _ := fs.KeyOf(young)
	if a == 0 || a == b {
		t.Fatalf("keys %d and %d", a, b)
	}
	for _, name := range []string{old, young} {
		f, err := fs.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(f); err != nil || string(got) != filepath.Base(name) {
			t.Errorf("%q, %v", got, err)
		}
		_ = f.Close()
	}
	if err := ring.Retire(context.Background(), func(e vault.Entry) bool { return e.Number != a }); err != nil {
		t.Fatal(err)
	}
	if _, err := fs.Open(old); !errors.Is(err, vault.ErrKey) {
		t.Errorf("a file of a retired key: %v", err)
	}
}

func BenchmarkRead32K(b *testing.B) {
	dir := b.TempDir()
	for name, fs := range map[string]vfs.FS{"clear": vfs.Default, "sealed": cipherfs.New(vfs.Default, ringIn(b, dir))} {
		b.Run(name, func(b *testing.B) {
			path := filepath.Join(dir, name)
			write(b, fs, path, make([]byte, 1<<20))
			f, err := fs.Open(path)
			if err != nil {
				b.Fatal(err)
			}
			p := make([]byte, 32<<10)
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := f.ReadAt(p, int64(i%30)*(32<<10)+int64(i%100)); err != nil {
					b.Fatal(err)
				}
			}
			_ = f.Close()
		})
	}
}
