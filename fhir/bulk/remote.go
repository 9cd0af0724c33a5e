package bulk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"candela/fhir"
)

// Remote is a Doer that posts Bundles to another server's base URL. It does
// the Batch interaction only.
type Remote struct {
	Base   string
	Client *http.Client
	Header http.Header // sent with every request, for example Authorization
}

// tries bounds how often a busy server (429, 503) is asked again.
const tries = 6

// Do posts r.Resource to the base.
func (m Remote) Do(ctx context.Context, r fhir.Request) (fhir.Response, error) {
	if r.Interaction != fhir.Batch {
		return fhir.Response{}, fhir.Errorf(501, fhir.CodeNotSupported, "a remote load only sends Bundles")
	}
	for try := 1; ; try++ {
		answer, wait, err := m.post(ctx, r.Resource.Raw())
		var refusal *fhir.Error
		busy := errors.As(err, &refusal) && (refusal.Status == 429 || refusal.Status == 503)
		if !busy || try == tries {
			return answer, err
		}
		if wait == 0 {
			wait = time.Duration(try) * time.Second
		}
		select {
		case <-ctx.Done():
			return answer, ctx.Err()
		case <-time.After(wait):
		}
	}
}

func (m Remote) post(ctx context.Context, body []byte) (fhir.Response, time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.Base, bytes.NewReader(body))
	if err != nil {
		return fhir.Response{}, 0, err
	}
	for name, values := range m.Header {
		req.Header[name] = values
	}
	req.Header.Set("Content-Type", "application/fhir+json")
	req.Header.Set("Accept", "application/fhir+json")
	req.Header.Set("Prefer", "return=minimal")
	res, err := m.Client.Do(req)
	if err != nil {
		return fhir.Response{}, 0, err
	}
	defer func() { _ = res.Body.Close() }() // only read from
	answer, err := io.ReadAll(io.LimitReader(res.Body, 256<<20))
	if err != nil {
		return fhir.Response{}, 0, fmt.Errorf("answer broke off: %w", err)
	}
	if res.StatusCode >= 300 {
		seconds, _ := strconv.Atoi(res.Header.Get("Retry-After")) // absent or a date: our own pause
		return fhir.Response{}, time.Duration(seconds) * time.Second, refusalOf(res.StatusCode, answer)
	}
	return fhir.Response{Status: res.StatusCode, Body: answer}, 0, nil
}

func refusalOf(status int, body []byte) *fhir.Error {
	out := &fhir.Error{Status: status}
	if tree, err := fhir.ParseTree(body, wide(len(body))); err == nil {
		for issue := range tree.Root().Get("issue").Elements() {
			out.Issues = append(out.Issues, fhir.Issue{Severity: fhir.SevError, Code: issue.Get("code").Text(),
				Diagnostics: issue.Get("diagnostics").Text(), Expression: issue.Path("expression").First().Text()})
		}
	}
	if len(out.Issues) == 0 {
		out.Issues = fhir.Errorf(status, fhir.CodeException, "%s", http.StatusText(status)).Issues
	}
	return out
}
