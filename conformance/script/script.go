// Package script runs conformance scripts against any FHIR server: text files
// of requests and what must come back.
//
// It knows HTTP, FHIRPath asserts and the little script language below. It must
// not know our server's inside.
//
// A script is a txtar archive; its comment says what it proves. Sections named
// "request" and "response" alternate:
//
//	-- request --
//	POST Patient
//	Prefer: return=minimal
//
//	{"resourceType":"Patient","identifier":[{"value":"${run}"}]}
//	-- response --
//	201
//	Location: ^${base}/Patient/[^/]+/_history/1$
//	body: !.
//	capture id: Location /Patient/([^/]+)/
//	-- request --
//	GET Patient/${id}
//	-- response --
//	200
//	fhirpath: Patient.identifier.value.exists()
//	json /meta/versionId: "1"
//
// A request starts with method and URL (below the base, which none is, or
// absolute), then headers, an empty line and the body. "request x64" sends 64 at once, and the
// response must fit each. Content-Type is application/fhir+json unless given.
// A response starts with the status ("201", "200|201", "4xx"); each line behind
// it is one assert:
//
//	Header: regexp        the header matches; "!" says that it is absent
//	body: regexp          the body matches; "!regexp": it does not
//	fhirpath: expression  is true on the resource in the body
//	json /pointer: value  the literal JSON text at the pointer; "!" absent
//	capture name: Header regexp       the regexp's first group
//	capture name: fhirpath expression its single value
//
// ${name} is a captured value, ${base} the base URL, ${run} a text that no
// other run has.
package script

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"golang.org/x/sync/errgroup"

	"candela/fhir/fhirpath"
)

// Runner runs scripts against one server.
type Runner struct {
	Base   string // the server's FHIR base URL, without trailing slash
	Client *http.Client
	Model  fhirpath.Model // r4.Spec, for fhirpath asserts
}

// step is a request, the answer wanted, and where they stand.
type step struct {
	number   int // of the request in the script, from 1
	at       int // place of its section in the archive
	times    int
	request  string
	response string
}

// Run does all steps of a script, in order. The error says the step, the
// request line and every assert that failed; a failed step ends the script.
func (r Runner) Run(ctx context.Context, archive []byte) error {
	steps, err := parse(archive)
	if err != nil {
		return err
	}
	vars := map[string]string{"base": r.Base, "run": "t" + strings.ToLower(rand.Text()[:16])}
	for _, s := range steps {
		if err := r.step(ctx, s, vars); err != nil {
			line, _, _ := strings.Cut(s.request, "\n")
			return fmt.Errorf("step %d (%s): %w", s.number, line, err)
		}
	}
	return nil
}

func parse(archive []byte) ([]step, error) {
	a := txtar.Parse(archive)
	var steps []step
	for i, f := range a.Files {
		kind, times, _ := strings.Cut(f.Name, " x")
		switch {
		case kind == "request" && i%2 == 0:
			n := 1
			if times != "" {
				var err error
				if n, err = strconv.Atoi(times); err != nil || n < 1 {
					return nil, fmt.Errorf("section %q: no number behind x", f.Name)
				}
			}
			steps = append(steps, step{number: len(steps) + 1, at: i, times: n, request: strings.TrimSpace(string(f.Data))})
		case kind == "response" && i%2 == 1:
			steps[len(steps)-1].response = strings.TrimSpace(string(f.Data))
		default:
			return nil, fmt.Errorf("section %d is %q; request and response must alternate", i+1, f.Name)
		}
	}
	if len(steps) == 0 || len(a.Files)%2 != 0 {
		return nil, fmt.Errorf("a script needs pairs of request and response")
	}
	return steps, nil
}

// expand puts in variables. An unknown one is left as it stands and will not
// match anything.
func expand(text string, vars map[string]string) string {
	if !strings.Contains(text, "${") {
		return text
	}
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		pairs = append(pairs, "${"+name+"}", vars[name])
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// step sends the request, at once as often as asked, and judges each answer.
func (r Runner) step(ctx context.Context, s step, vars map[string]string) error {
	answers := make([]answer, s.times)
	text := expand(s.request, vars)
	var group errgroup.Group
	for i := range answers {
		group.Go(func() (err error) {
			answers[i], err = r.send(ctx, text)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, a := range answers {
		if err := a.judge(s.response, vars, r.Model); err != nil {
			return fmt.Errorf("%w\nanswer: %d %s", err, a.status, shorten(a.body))
		}
	}
	return nil
}

func shorten(body []byte) string {
	if len(body) > 2000 {
		return string(body[:2000]) + "…"
	}
	return string(body)
}

// send makes one HTTP request of a request section.
func (r Runner) send(ctx context.Context, text string) (answer, error) {
	head, body, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	method, url, _ := strings.Cut(lines[0], " ") // no URL is the base itself
	if !strings.HasPrefix(url, "http://") && !strings.HasPrefix(url, "https://") {
		url = strings.TrimSuffix(r.Base+"/"+url, "/")
	}
	url = strings.Replace(url, "/?", "?", 1)
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/fhir+json")
	}
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return answer{}, fmt.Errorf("%q is no header", line)
		}
		req.Header.Set(name, strings.TrimSpace(value))
	}
	return r.receive(req)
}

func (r Runner) receive(req *http.Request) (answer, error) {
	client := r.Client
	if client == nil {
		client = &http.Client{Timeout: time.Minute}
	}
	res, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	body, err := io.ReadAll(res.Body)
	if closing := res.Body.Close(); err == nil {
		err = closing
	}
	return answer{res.StatusCode, res.Header, body}, err
}
