package interaction_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"candela/fhir"
	"candela/fhir/interaction"
)

// watch is a guard and an audit in one: it refuses what names "forbidden", lets
// "narrow" read only, and keeps what became of everything.
type watch struct {
	mu   sync.Mutex
	told []string
}

func (w *watch) around(next fhir.Doer) fhir.Doer {
	return fhir.DoerFunc(func(ctx context.Context, r fhir.Request) (answer fhir.Response, err error) {
		switch r.ID {
		case "forbidden":
			err = fhir.Errorf(403, fhir.CodeForbidden, "not this one")
		case "narrow":
			r.Caller.Access = fhir.Access{{Type: "*", Letters: "rs"}}
			answer, err = next.Do(ctx, r)
		default:
			answer, err = next.Do(ctx, r)
		}
		end := "done"
		if err != nil {
			end = "refused"
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.told = append(w.told, strings.Join([]string{string(r.Interaction), r.Type, r.ID, r.Operation, end}, " "))
		return answer, err
	})
}

// took gives what was seen since the last call, sorted.
func (w *watch) took() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.told
	w.told = nil
	slices.Sort(out)
	return out
}

func watched(t *testing.T) (*server, *watch) {
	w := &watch{}
	return openAs(t, openStore(t, time.Now), time.Now, func(c *interaction.Config) { c.Door = w.around }), w
}

func wants(t *testing.T, w *watch, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := w.took(); !slices.Equal(got, want) {
		t.Errorf("the door saw\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func entryOf(method, url, resource string) string {
	if resource != "" {
		resource = `"resource":` + resource + `,`
	}
	return `{` + resource + `"request":{"method":"` + method + `","url":"` + url + `"}}`
}

func bundleOf(kind string, entries ...string) string {
	return `{"resourceType":"Bundle","type":"` + kind + `","entry":[` + strings.Join(entries, ",") + `]}`
}

const basic = `{"resourceType":"Basic","id":"ID","code":{"text":"x"}}`

func basicOf(id string) string { return strings.Replace(basic, "ID", id, 1) }

func TestDoorSeesEveryEntry(t *testing.T) {
	s, w := watched(t)
	status, _, body := s.send(t, "POST", "", bundleOf("transaction", entryOf("PUT", "Basic/a", basicOf("a")), entryOf("GET", "Basic/a", ""), entryOf("DELETE", "Basic/z", "")))
	if status != 200 || !strings.Contains(body, `"id":"a"`) {
		t.Fatalf("%d %s", status, body)
	}
	wants(t, w, "batch    done", "update Basic a  done", "read Basic a  done", "delete Basic z  done")
	if status, _, _ = s.send(t, "POST", "", bundleOf("batch", entryOf("PUT", "Basic/b", basicOf("b")), entryOf("PUT", "Basic/forbidden", basicOf("forbidden")), entryOf("GET", "Basic/none", ""))); status != 200 {
		t.Fatal(status)
	}
	wants(t, w, "batch    done", "update Basic b  done", "update Basic forbidden  refused", "read Basic none  refused")
	if status, _, body = s.send(t, "POST", "/Basic/a/$meta-add", `{"resourceType":"Parameters","parameter":[{"name":"meta","valueMeta":{"tag":[{"code":"t"}]}}]}`); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	wants(t, w, "operation Basic a meta-add done", "update Basic a  done")
}

func TestDoorRefusesOneEntryAndSoAll(t *testing.T) {
	s, w := watched(t)
	status, _, body := s.send(t, "POST", "", bundleOf("transaction", entryOf("PUT", "Basic/a", basicOf("a")), entryOf("PUT", "Basic/forbidden", basicOf("forbidden"))))
	if status != 403 || !strings.Contains(body, "Bundle.entry[1]") {
		t.Fatalf("%d %s", status, body)
	}
	wants(t, w, "batch    refused", "update Basic a  refused", "update Basic forbidden  refused")
	if status, _, _ := s.send(t, "GET", "/Basic/a", ""); status != 404 {
		t.Errorf("a part of the transaction was stored: %d", status)
	}
	w.took()
	if status, _, _ := s.send(t, "POST", "", bundleOf("transaction", entryOf("PUT", "Basic/a", basicOf("a")), entryOf("PUT", "Basic/c?no", basicOf("a")))); status != 400 {
		t.Errorf("got %d", status)
	}
	wants(t, w, "batch    refused", "update Basic a  refused", "update Basic c  refused")
}

// A layer that narrows the caller of one entry narrows what that entry may do.
func TestDoorNarrowsOneEntry(t *testing.T) {
	s, w := watched(t)
	for _, kind := range []string{"batch", "transaction"} {
		_, err := s.do(fhir.Request{Interaction: fhir.Batch, Resource: resource(t, bundleOf(kind, entryOf("PUT", "Basic/narrow", basicOf("narrow"))))})
		var refusal *fhir.Error
		if errors.As(err, &refusal) != (kind == "transaction") || refusal != nil && refusal.Status != 403 {
			t.Errorf("%s: %v", kind, err)
		}
		if status, _, _ := s.send(t, "GET", "/Basic/narrow", ""); status != 404 {
			t.Errorf("%s: written against the caller's rules", kind)
		}
	}
	w.took()
}
