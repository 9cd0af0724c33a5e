package bulk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"candela/fhir"
)

// Load sends files through Door. The zero values of the rest are good.
type Load struct {
	Door    fhir.Doer
	Workers int // files at once; 0: 2
	Entries int // entries of one Bundle at most; 0: 5,000 (the limit of a server's defaults)
	Journal *Journal
	Caller  fhir.Caller
	// Progress is told after every Bundle; calls do not overlap.
	Progress func(Summary)
}

// Summary is the account of a load so far.
type Summary struct {
	Files, FilesDone int
	Bundles          int
	Stored           int // entries the server accepted
	Skipped          int // entries of parts the journal knows
	Refused          int // entries the server refused, or that could not be read
	// Reasons counts refusals by status and cause; Examples names the first file
	// and entry of each.
	Reasons  map[string]int
	Examples map[string]string
}

// run is one Load at work.
type run struct {
	Load
	mu     sync.Mutex
	sum    Summary
	single atomic.Bool // the server takes no transactions
}

// Run loads all files below paths: leading bundles first, one by one and in
// order of name, then the others in parallel. A refused Bundle does not stop
// it; an unreachable server, an unreadable path or ctx does.
func (l Load) Run(ctx context.Context, paths ...string) (Summary, error) {
	if l.Workers == 0 {
		l.Workers = 2
	}
	if l.Entries == 0 {
		l.Entries = 5000
	}
	all, err := sources(paths)
	if err != nil {
		return Summary{}, err
	}
	r := &run{Load: l}
	r.sum = Summary{Files: len(all), Reasons: map[string]int{}, Examples: map[string]string{}}
	if len(all) == 0 {
		return r.sum, errors.New("no .json, .ndjson, .gz or .zip files there")
	}
	leading, rest, err := order(all)
	if err != nil {
		return r.sum, err
	}
	if err := r.each(ctx, leading, 1); err != nil {
		return r.sum, err
	}
	err = r.each(ctx, rest, l.Workers)
	return r.sum, err
}

func order(all []source) (leading, rest []source, err error) {
	for _, s := range all {
		first, err := s.leads()
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", s.name, err)
		}
		if first {
			leading = append(leading, s)
		} else {
			rest = append(rest, s)
		}
	}
	return leading, rest, nil
}

func (r *run) each(ctx context.Context, list []source, workers int) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	work := make(chan source)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for s := range work {
				if err := r.file(ctx, s); err != nil {
					stop(err)
				}
			}
		})
	}
	for _, s := range list {
		select {
		case work <- s:
		case <-ctx.Done():
		}
	}
	close(work)
	group.Wait()
	return context.Cause(ctx)
}

// file loads one source. Only what makes going on pointless is an error.
func (r *run) file(ctx context.Context, s source) error {
	number := -1
	err := parts(s, r.Entries, func(p part) error {
		number++
		return r.part(ctx, s, p, number)
	})
	var refusal *fhir.Error
	if errors.As(err, &refusal) && refusal.Status < 500 {
		r.refuse(s, 0, 1, refusal.Status, refusal)
		err = nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	r.report(func(sum *Summary) { sum.FilesDone++ })
	return nil
}

func (r *run) part(ctx context.Context, s source, p part, number int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if r.Journal.Done(s, number) {
		r.report(func(sum *Summary) { sum.Skipped += p.entries })
		return nil
	}
	send := r.apart
	if p.plain {
		send = r.together
	}
	if done, err := send(ctx, s, p); err != nil || !done {
		return err
	}
	return r.Journal.Add(s, number)
}

// fewTogether is how few entries are no longer worth a commit of their own parts.
const fewTogether = 16

// together sends a part as a transaction, which is stored in one commit. Where
// that is refused, its halves are sent, and what is few in the end one by one: so
// each entry meets the fate that it meets alone. done says that none was refused whole.
func (r *run) together(ctx context.Context, s source, p part) (done bool, err error) {
	if p.entries < 2 || r.single.Load() {
		return r.apart(ctx, s, p)
	}
	answer, err := r.send(ctx, p.as("transaction"))
	var refusal *fhir.Error
	switch {
	case err == nil:
		r.count(s, p, answer)
		return true, nil
	case !errors.As(err, &refusal) || refusal.Status >= 500 && refusal.Status != http.StatusNotImplemented:
		return false, err
	case refusal.Status == http.StatusNotImplemented || refusal.Status == http.StatusMethodNotAllowed:
		r.single.Store(true)
		return r.apart(ctx, s, p)
	case p.entries <= fewTogether || refusal.Status == http.StatusUnauthorized || refusal.Status == http.StatusForbidden:
		return r.apart(ctx, s, p)
	}
	done = true
	for _, half := range p.halves() {
		all, err := r.together(ctx, s, half)
		if err != nil {
			return false, err
		}
		done = done && all
	}
	return done, nil
}

// apart sends a part as the Bundle it is, or as a batch. done says that it was
// not refused whole.
func (r *run) apart(ctx context.Context, s source, p part) (done bool, err error) {
	answer, err := r.send(ctx, p.as("batch"))
	var refusal *fhir.Error
	if errors.As(err, &refusal) && refusal.Status < 500 {
		r.refuse(s, p.first, p.entries, refusal.Status, refusal)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	r.count(s, p, answer)
	return true, nil
}

func (r *run) send(ctx context.Context, bundle []byte) (fhir.Response, error) {
	res, err := fhir.ParseResource(bundle, wide(len(bundle)))
	if err != nil {
		return fhir.Response{}, err
	}
	return r.Door.Do(ctx, fhir.Request{Interaction: fhir.Batch, Resource: res, Caller: r.Caller})
}

// count reads a batch-response: each entry tells its own fate.
func (r *run) count(s source, p part, answer fhir.Response) {
	refused := 0
	tree, err := fhir.ParseTree(answer.Body, wide(len(answer.Body)))
	if err == nil {
		at := p.first
		for e := range tree.Root().Get("entry").Elements() {
			status := e.Get("response").Get("status").Text()
			if len(status) < 3 || status[0] != '2' {
				refused++
				code, _ := strconv.Atoi(status[:min(3, len(status))]) // 0 says the server sent no number
				r.refuse(s, at, 1, code, cause(e))
			}
			at++
		}
	}
	r.report(func(sum *Summary) { sum.Bundles++; sum.Stored += p.entries - refused })
}

func cause(entry fhir.Node) error {
	issue := entry.Get("response").Get("outcome").Path("issue", "diagnostics")
	return errors.New(issue.Text())
}

func (r *run) refuse(s source, at, entries, status int, why error) {
	text := strings.TrimPrefix(why.Error(), strconv.Itoa(status)+" ")
	reason := fmt.Sprintf("%d %s", status, text)
	r.report(func(sum *Summary) {
		sum.Refused += entries
		sum.Reasons[reason] += entries
		if _, known := sum.Examples[reason]; !known {
			sum.Examples[reason] = fmt.Sprintf("%s entry %d", s.name, at)
		}
	})
}

func (r *run) report(change func(*Summary)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.sum)
	if r.Progress != nil {
		r.Progress(r.sum)
	}
}

// Lines is the summary as text, the commonest refusals first.
func (s Summary) Lines() []string {
	out := []string{fmt.Sprintf("%d of %d files, %d bundles: %d resources stored, %d refused, %d loaded before",
		s.FilesDone, s.Files, s.Bundles, s.Stored, s.Refused, s.Skipped)}
	reasons := slices.SortedFunc(maps.Keys(s.Reasons), func(a, b string) int {
		if d := s.Reasons[b] - s.Reasons[a]; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for _, reason := range reasons {
		out = append(out, fmt.Sprintf("  refused %d: %s (first: %s)", s.Reasons[reason], reason, s.Examples[reason]))
	}
	return out
}
