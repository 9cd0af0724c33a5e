package app_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"candela/cmd/app"
)

// TestT96_NoCanaryInTheFolder: a server at work leaves nothing that can be read.
func TestT96_NoCanaryInTheFolder(t *testing.T) {
	dir := t.TempDir()
	s := startWith(t, testConfig("embedded:"+dir))
	patient := `{"resourceType":"Patient","id":"canaryid","name":[{"family":"Canaryfamily","given":["Canarygiven"]}],"telecom":[{"system":"email","value":"canary@mail.example"}]}`
	observation := `{"resourceType":"Observation","id":"canaryobs","status":"final","code":{"text":"Canarycode"},"subject":{"reference":"Patient/canaryid"},"valueString":"Canaryvalue"}`
	put := func(path, body string) {
		t.Helper()
		req, _ := http.NewRequestWithContext(context.Background(), http.MethodPut, s.Base+path, strings.NewReader(body))
		req.Header.Set("Content-Type", "application/fhir+json")
		res, err := http.DefaultClient.Do(req)
		if err != nil || res.StatusCode != 201 {
			t.Fatal(res, err)
		}
		_ = res.Body.Close()
	}
	put("/Patient/canaryid", patient)
	put("/Observation/canaryobs", observation)
	look := func() {
		t.Helper()
		files := 0
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			if err == nil && bytes.Contains(bytes.ToLower(data), []byte("canary")) {
				t.Errorf("%s can be read", path)
			}
			files++
			return nil
		})
		if err != nil || files < 5 {
			t.Error(files, err)
		}
	}
	look()
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	look()
}

func TestKeysOfAStore(t *testing.T) {
	ctx := context.Background()
	dir, master := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "master")
	if err := app.NewMasterKey(master); err != nil {
		t.Fatal(err)
	}
	if err := app.NewMasterKey(master); err == nil {
		t.Error("a master key is written over")
	}
	c := testConfig("embedded:" + dir)
	c.MasterKey = "file:" + master
	start := time.Now()
	s := startWith(t, c)
	t.Logf("first start %v", time.Since(start))
	if err := app.RotateKeys(ctx, c); err != nil { // while the server runs
		t.Fatal(err)
	}
	lines, err := app.KeysStatus(ctx, c)
	if err != nil || strings.Count(strings.Join(lines, "\n"), "in use") != 2 || !strings.Contains(lines[3], "files, ") {
		t.Errorf("%v\n%s", err, strings.Join(lines, "\n"))
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "other")
	if err := errors.Join(app.NewMasterKey(other), app.MoveKeys(ctx, c, "file:"+other)); err != nil {
		t.Fatal(err)
	}
	var key *app.KeyError
	if _, err := app.Open(ctx, c); !errors.As(err, &key) || key.Key != "master-key" || !strings.Contains(err.Error(), master) {
		t.Errorf("the former master key: %v", err)
	}
	c.MasterKey = "file:" + other
	a, err := app.Open(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestStoresInTheClear(t *testing.T) {
	ctx := context.Background()
	c := testConfig("embedded:" + filepath.Join(t.TempDir(), "data"))
	c.Encrypt = "off"
	a, err := app.Open(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	c.Encrypt = "on"
	var key *app.KeyError
	if _, err := app.Open(ctx, c); !errors.As(err, &key) || key.Key != "encrypt" || !strings.Contains(err.Error(), "candela keys encrypt") {
		t.Errorf("a clear folder: %v", err)
	}
	if err := app.EncryptStore(ctx, c); err != nil {
		t.Fatal(err)
	}
	if a, err = app.Open(ctx, c); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*app.Config){
		"encrypt":    func(c *app.Config) { c.Encrypt = "maybe" },
		"master-key": func(c *app.Config) { c.MasterKey = "hunter2" },
		"store":      func(c *app.Config) { c.Encrypt = "off" },
	} {
		bad := c
		change(&bad)
		if _, err := app.Open(ctx, bad); !errors.As(err, &key) || key.Key != want || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", want, err)
		}
	}
	c.Store, c.MasterKey = "mongodb://127.0.0.1:1/x", "env:X"
	if err := c.Check(); !errors.As(err, &key) || key.Key != "master-key" {
		t.Errorf("a master key for MongoDB: %v", err)
	}
}
