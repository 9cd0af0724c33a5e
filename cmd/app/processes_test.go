package app_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"candela/store/mongo/mongotest"
)

// processes starts n server processes on one store and gives their bases.
func processes(t *testing.T, n int, store string) []string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "candela")
	if out, err := exec.Command("go", "build", "-o", binary, "candela/cmd/candela").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	bases := make([]string, n)
	for i := range bases {
		bases[i] = process(t, binary, store)
	}
	return bases
}

var servingAt = regexp.MustCompile(`msg=serving base=(\S+)`)

// process starts one server, waits until it serves, and stops it at the end.
func process(t *testing.T, binary, store string) string {
	t.Helper()
	cmd := exec.Command(binary, "serve", "--listen", "127.0.0.1:0", "--store", store)
	log, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	base, rest := make(chan string, 1), make(chan string, 1)
	go func() {
		var all strings.Builder
		for lines := bufio.NewScanner(log); lines.Scan(); {
			if found := servingAt.FindStringSubmatch(lines.Text()); found != nil {
				base <- found[1]
			}
			all.WriteString(lines.Text() + "\n")
		}
		rest <- all.String()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		text := <-rest
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Errorf("server process: %v\n%s", err, text)
		}
	})
	select {
	case at := <-base:
		return at
	case <-time.After(30 * time.Second):
		t.Fatal("the server process does not serve")
		return ""
	}
}

// rush sends 64 requests at once, in turn to each base, and gives how often
// each status came.
func rush(t *testing.T, bases []string, request func(i int) (method, path, condition, body string)) map[int]int {
	t.Helper()
	const clients = 64
	web := &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	defer web.CloseIdleConnections()
	var mu sync.Mutex
	var group sync.WaitGroup
	statuses, start := map[int]int{}, make(chan struct{})
	for i := range clients {
		method, path, condition, body := request(i)
		req, err := http.NewRequest(method, bases[i%len(bases)]+"/"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/fhir+json")
		if condition != "" {
			req.Header.Set("If-None-Exist", condition)
		}
		group.Go(func() {
			<-start
			res, err := web.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			_, _ = io.Copy(io.Discard, res.Body) // the status is what counts
			mu.Lock()
			defer mu.Unlock()
			statuses[res.StatusCode]++
		})
	}
	close(start)
	group.Wait()
	return statuses
}

// total counts what a search finds.
func total(t *testing.T, base, query string) string {
	t.Helper()
	res, err := http.Get(base + "/" + query + "&_summary=count")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := bytes.Cut(body, []byte(`"total":`))
	return string(after[:max(0, slices.IndexFunc(after, func(c byte) bool { return c < '0' || c > '9' }))])
}

// TestOneIdentityInTwoProcesses: threat T82 and items 18 and 20. Clients of two
// server processes on one database create and replace under criteria that name
// one identity, each spelled as a client likes; all of them succeed, and one
// resource comes of it.
func TestOneIdentityInTwoProcesses(t *testing.T) {
	bases := processes(t, 2, mongotest.URI(t))
	spelled := []string{"identifier=urn:s|%[1]s", "identifier=%[1]s", "identifier=urn:s|%[1]s&active=true", "identifier=none,%[1]s", "active=true&identifier=%[1]s&gender=male"}
	body := func(value string, i int) string {
		return fmt.Sprintf(`{"resourceType":"Patient","active":true,"gender":"male","identifier":[{"system":"urn:s","value":%q}],"name":[{"family":"v%d"}]}`, value, i)
	}
	for _, kind := range []struct {
		name   string
		ways   int
		update bool
	}{
		{"create", 1, false}, {"create-spelled", len(spelled), false}, {"update", 1, true}, {"update-spelled", len(spelled), true},
	} {
		for round := range 3 {
			value := fmt.Sprint(kind.name, "-", round)
			begin := time.Now()
			statuses := rush(t, bases, func(i int) (string, string, string, string) {
				criteria := fmt.Sprintf(spelled[i%kind.ways], value)
				if kind.update {
					return http.MethodPut, "Patient?" + criteria, "", body(value, i)
				}
				return http.MethodPost, "Patient", criteria, body(value, i)
			})
			t.Logf("%s: %v in %v", value, statuses, time.Since(begin).Round(time.Millisecond))
			if found := total(t, bases[0], "Patient?identifier="+value); statuses[201] != 1 || statuses[200] != 63 || found != "1" {
				t.Errorf("%s: %v, and %s resources", value, statuses, found)
			}
		}
	}
}
