package vault_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"candela/store/vault"
)

var ctx = context.Background()

func create(t testing.TB) (r *vault.Ring, path string, master vault.Master) {
	t.Helper()
	dir := t.TempDir()
	path, master = filepath.Join(dir, "ring"), vault.MasterFile(filepath.Join(dir, "master"))
	if err := vault.CreateMaster(filepath.Join(dir, "master")); err != nil {
		t.Fatal(err)
	}
	r, err := vault.CreateRing(ctx, path, master)
	if err != nil {
		t.Fatal(err)
	}
	return r, path, master
}

func TestMasterKeysComeFromFileEnvironmentAndCommand(t *testing.T) {
	raw := bytes.Repeat([]byte{1, 200}, 16)
	want := vault.Key(raw).Fingerprint()
	for _, text := range []string{hex.EncodeToString(raw), base64.StdEncoding.EncodeToString(raw) + "\n", base64.RawURLEncoding.EncodeToString(raw)} {
		file := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("CANDELA_TEST_MASTER", text)
		for _, spec := range []string{"file:" + file, "env:CANDELA_TEST_MASTER", "cmd:cat " + file} {
			m, err := vault.ParseMaster(spec)
			if err != nil {
				t.Fatal(err)
			}
			if k, err := m.Key(ctx); err != nil || k.Fingerprint() != want {
				t.Errorf("%s: %v %v", spec, k, err)
			}
		}
	}
	for _, spec := range []string{"", "file:", "env", "x:y", "cmd: "} {
		if _, err := vault.ParseMaster(spec); err == nil {
			t.Errorf("%q is taken", spec)
		}
	}
	t.Setenv("CANDELA_TEST_MASTER", "hunter2-secret")
	for _, spec := range []string{"env:CANDELA_TEST_NONE", "env:CANDELA_TEST_MASTER", "file:" + filepath.Join(t.TempDir(), "none"), "cmd:false", "cmd:echo hunter2-secret"} {
		m, _ := vault.ParseMaster(spec)
		_, err := m.Key(ctx)
		if !errors.Is(err, vault.ErrKey) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", spec, err)
		}
	}
}

func TestAKeyIsNeverPrinted(t *testing.T) {
	k := vault.NewKey()
	data, err := json.Marshal(vault.Entry{Key: k})
	if err != nil {
		t.Fatal(err)
	}
	as, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprint(k), fmt.Sprintf("%v %+v %#v %s %q", k, k, k, k, k), string(data), string(as)} {
		if strings.Contains(text, hex.EncodeToString(k[:4])) || strings.Contains(text, fmt.Sprintf("%d %d", k[0], k[1])) ||
			strings.Contains(text, base64.StdEncoding.EncodeToString(k[:])[:8]) {
			t.Errorf("%q shows the key", text)
		}
	}
}

func TestARingOpensOnlyWithItsMaster(t *testing.T) {
	r, path, master := create(t)
	before, _ := os.ReadFile(path)
	again, err := vault.OpenRing(ctx, path, master, nil)
	if err != nil || again.Newest(vault.Files) != r.Newest(vault.Files) || !bytes.Equal(again.Store(), r.Store()) {
		t.Fatal(err)
	}
	_, _, other := create(t)
	_, err = vault.OpenRing(ctx, path, other, nil)
	if !errors.Is(err, vault.ErrKey) || !strings.Contains(err.Error(), r.Status().Master) || !strings.Contains(err.Error(), other.String()) {
		t.Errorf("another master key: %v", err)
	}
	if _, err := vault.OpenRing(ctx, path, vault.MasterFile(path+".none"), nil); !errors.Is(err, vault.ErrKey) {
		t.Errorf("no master key: %v", err)
	}
	if _, err := vault.OpenRing(ctx, path+".none", master, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no ring: %v", err)
	}
	if _, err := vault.CreateRing(ctx, path, master); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a ring where there is one: %v", err)
	}
	if now, _ := os.ReadFile(path); !bytes.Equal(before, now) {
		t.Error("the file was touched")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
}

// TestT95_RingsAreNotMixed: neither store nor version nor keys of one stand in
// another, also not of an older version in a newer one.
func TestT95_RingsAreNotMixed(t *testing.T) {
	r, path, master := create(t)
	one, _ := os.ReadFile(path)
	if err := r.Rotate(ctx, vault.Files); err != nil {
		t.Fatal(err)
	}
	two, _ := os.ReadFile(path)
	var a, b map[string]any
	if err := errors.Join(json.Unmarshal(one, &a), json.Unmarshal(two, &b)); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"sealed", "version", "store"} {
		mixed := map[string]any{}
		for k, v := range b {
			mixed[k] = v
		}
		if mixed[field] = a[field]; field == "store" {
			mixed[field] = strings.Repeat("00", 16)
		}
		data, _ := json.Marshal(mixed)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := vault.OpenRing(ctx, path, master, nil); !errors.Is(err, vault.ErrDamaged) {
			t.Errorf("a foreign %s: %v", field, err)
		}
	}
}

// TestADamagedRingGivesNoOtherKeys, whichever bit is turned.
func TestADamagedRingGivesNoOtherKeys(t *testing.T) {
	r, path, master := create(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for i := range whole {
		bad := bytes.Clone(whole)
		bad[i] ^= 1 << (i % 8)
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := vault.OpenRing(ctx, path, master, nil)
		if err != nil {
			refused++
		} else if got.Newest(vault.Files) != r.Newest(vault.Files) || !bytes.Equal(got.Store(), r.Store()) {
			t.Errorf("byte %d gives other keys", i)
		}
	}
	if refused < len(whole)*9/10 {
		t.Errorf("%d of %d damages are refused", refused, len(whole))
	}
}

func TestRotationIsSeenByWhoHasTheRingOpen(t *testing.T) {
	r, path, master := create(t)
	first := r.Newest(vault.Data)
	other, err := vault.OpenRing(ctx, path, master, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Rotate(ctx, vault.Data); err != nil {
		t.Fatal(err)
	}
	if got := r.Newest(vault.Data); got == first || got != other.Newest(vault.Data) {
		t.Errorf("the other sees %v", got.Number)
	}
	if got, err := r.Numbered(vault.Data, first.Number); err != nil || got != first {
		t.Error("the old key is gone", err)
	}
	if _, err := r.Numbered(vault.Files, first.Number); !errors.Is(err, vault.ErrKey) {
		t.Errorf("a key for another use: %v", err)
	}
}

func TestANewMasterKeyWrapsTheSameKeys(t *testing.T) {
	_, path, master := create(t)
	told := 0
	server, err := vault.OpenRing(ctx, path, master, func(error) { told++ })
	if err != nil {
		t.Fatal(err)
	}
	first := server.Newest(vault.Files)
	tool, _ := vault.OpenRing(ctx, path, master, nil)
	fresh := vault.MasterFile(filepath.Join(t.TempDir(), "fresh"))
	if err := vault.CreateMaster(strings.TrimPrefix(fresh.String(), "file:")); err != nil {
		t.Fatal(err)
	}
	if err := tool.Move(ctx, fresh); err != nil {
		t.Fatal(err)
	}
	for range 3 { // a server that has the old one only goes on
		if got := server.Newest(vault.Files); got != first {
			t.Fatal("the keys changed")
		}
	}
	if told != 1 {
		t.Errorf("the server was told %d times", told)
	}
	if _, err := vault.OpenRing(ctx, path, master, nil); !errors.Is(err, vault.ErrKey) {
		t.Errorf("the old master key: %v", err)
	}
	if again, err := vault.OpenRing(ctx, path, fresh, nil); err != nil || again.Newest(vault.Files) != first {
		t.Error("the new master key", err)
	}
}

func TestRotationsAtOnceLoseNone(t *testing.T) {
	r, path, master := create(t)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			mine, err := vault.OpenRing(ctx, path, master, nil)
			if err == nil {
				err = mine.Rotate(ctx, vault.Files)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	for range 200 {
		if r.Newest(vault.Files).Number == 0 {
			t.Error("no key")
		}
	}
	group.Wait()
	if n := len(r.Status().Keys); n != 10 {
		t.Errorf("%d keys", n)
	}
}

// TestT95_ValuesAreBoundToKeyAndPlace: nothing sealed can be put elsewhere, and
// no nonce comes twice.
func TestT95_ValuesAreBoundToKeyAndPlace(t *testing.T) {
	r, _, _ := create(t)
	one, err1 := vault.NewDataKey("Patient/1")
	two, err2 := vault.NewDataKey("Patient/2")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	plain, place := []byte(`{"resourceType":"Patient"}`), []byte("body 1")
	value := one.Seal(nil, plain, place)
	if got, err := one.Open(nil, value, place); err != nil || !bytes.Equal(got, plain) || len(value) != len(plain)+vault.Overhead {
		t.Fatal(err)
	}
	if _, err := one.Open(nil, value, []byte("row 1")); !errors.Is(err, vault.ErrDamaged) {
		t.Errorf("another place: %v", err)
	}
	if _, err := two.Open(nil, value, place); !errors.Is(err, vault.ErrDamaged) {
		t.Errorf("another key: %v", err)
	}
	for i := range value {
		bad := bytes.Clone(value)
		bad[i] ^= 1
		if _, err := one.Open(nil, bad, place); !errors.Is(err, vault.ErrDamaged) {
			t.Errorf("byte %d: %v", i, err)
		}
	}
	wrapped, err := one.Wrap(r)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := vault.OpenDataKey(r, one.ID, wrapped); err != nil || got.Owner != "Patient/1" {
		t.Fatal(err)
	} else if back, err := got.Open(nil, value, place); err != nil || !bytes.Equal(back, plain) {
		t.Fatal(err)
	}
	if _, err := vault.OpenDataKey(r, two.ID, wrapped); !errors.Is(err, vault.ErrDamaged) {
		t.Errorf("another id: %v", err)
	}
	other, _, _ := create(t)
	if _, err := vault.OpenDataKey(other, one.ID, wrapped); !errors.Is(err, vault.ErrDamaged) {
		t.Errorf("another store: %v", err)
	}
	seen := map[string]bool{}
	for range 100_000 {
		nonce := string(one.Seal(nil, nil, place)[9:21])
		if seen[nonce] {
			t.Fatal("a nonce comes twice")
		}
		seen[nonce] = true
	}
}

func TestACacheKeepsTheLastUsed(t *testing.T) {
	c := vault.Cache{Size: 2}
	var keys []*vault.DataKey
	for i := range 3 {
		d, err := vault.NewDataKey(fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, d)
	}
	c.Add(keys[0], true)
	c.Add(keys[1], false)
	c.Get(keys[0].ID)
	c.Add(keys[2], true)
	if c.Of("0") != keys[0] || c.Get(keys[1].ID) != nil || c.Of("1") != nil || c.Of("2") != keys[2] {
		t.Error("the wrong key was dropped")
	}
	c.Forget(keys[0].ID)
	if c.Of("0") != nil || c.Get(keys[0].ID) != nil {
		t.Error("a key is not forgotten")
	}
}

func BenchmarkSeal(b *testing.B) {
	d, err := vault.NewDataKey("Patient/1")
	if err != nil {
		b.Fatal(err)
	}
	for _, size := range []int{300, 600, 4000} {
		plain, place := make([]byte, size), make([]byte, 60)
		value := d.Seal(nil, plain, place)
		b.Run(fmt.Sprint("seal ", size), func(b *testing.B) {
			b.ReportAllocs()
			var dst []byte
			for b.Loop() {
				dst = d.Seal(dst[:0], plain, place)
			}
		})
		b.Run(fmt.Sprint("open ", size), func(b *testing.B) {
			b.ReportAllocs()
			var dst []byte
			for b.Loop() {
				dst, _ = d.Open(dst[:0], value, place)
			}
		})
	}
}
