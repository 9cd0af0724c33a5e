//go:build clients

package clients_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// The clients that are tried, and what drives them.
var (
	fromNPM  = []string{"fhirclient@2.6.3", "fhir-kit-client@2.0.3", "playwright-core@1.65.1"}
	fromPyPI = []string{"fhirclient==4.4.0"}
)

// folder is where the clients of these versions lie: below the user's cache.
var folder = sync.OnceValues(func() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(strings.Join(append(fromNPM, fromPyPI...), " ")))
	dir := filepath.Join(cache, "candela", "clients-"+hex.EncodeToString(sum[:6]))
	return dir, os.MkdirAll(dir, 0o755)
})

// obtain runs steps once for all runs on this machine: a mark says they are done.
func obtain(t *testing.T, mark string, steps ...[]string) string {
	t.Helper()
	dir, err := folder()
	if err != nil {
		t.Fatal(err)
	}
	done := filepath.Join(dir, mark)
	if _, err := os.Stat(done); err == nil {
		return dir
	}
	for _, step := range steps {
		cmd := exec.CommandContext(t.Context(), step[0], step[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(step, " "), err, out)
		}
	}
	if err := os.WriteFile(done, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// npm is the folder whose node_modules hold the clients for JavaScript. Their
// install scripts do not run.
func npm(t *testing.T) string {
	t.Helper()
	install := []string{"npm", "install", "--prefix", ".", "--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--omit=optional", "--ignore-scripts"}
	return obtain(t, "npm.done", append(install, fromNPM...))
}

// python is a Python that has the clients for it.
func python(t *testing.T) string {
	t.Helper()
	install := []string{filepath.Join("venv", "bin", "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"}
	dir := obtain(t, "pip.done", []string{"python3", "-m", "venv", "venv"}, append(install, fromPyPI...))
	return filepath.Join(dir, "venv", "bin", "python")
}

// chromium is the browser: CANDELA_TEST_CHROMIUM, or that of the machine.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{os.Getenv("CANDELA_TEST_CHROMIUM"), "chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("no Chromium: install the package chromium, or set CANDELA_TEST_CHROMIUM")
	return ""
}

// run gives a script its plan as JSON on standard input and reads a JSON value from
// each line of its output into results, whose number is known.
func run[T any](t *testing.T, dir string, plan any, command ...string) []T {
	t.Helper()
	input, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	var out, complaints bytes.Buffer
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, bytes.NewReader(input), &out, &complaints
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", filepath.Base(command[len(command)-1]), err, out.Bytes(), complaints.Bytes())
	}
	var results []T
	for line := range bytes.Lines(out.Bytes()) {
		var one T
		if err := json.Unmarshal(line, &one); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		t.Logf("%s", line)
		results = append(results, one)
	}
	return results
}

func script(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}
