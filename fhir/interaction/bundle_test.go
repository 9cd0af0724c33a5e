package interaction_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"candela/fhir"
)

// bundle is a Bundle of n entries made by entry.
func bundle(kind string, n int, entry func(i int) string) string {
	var out strings.Builder
	out.WriteString(`{"resourceType":"Bundle","type":"` + kind + `","entry":[`)
	for i := range n {
		if i > 0 {
			out.WriteByte(',')
		}
		out.WriteString(entry(i))
	}
	out.WriteString("]}")
	return out.String()
}

func put(id, more string) string {
	return fmt.Sprintf(`{"resource":{"resourceType":"Patient","id":"%s"%s},"request":{"method":"PUT","url":"Patient/%[1]s"}}`, id, more)
}

func TestT80_TooManyEntries(t *testing.T) {
	s := open(t, openStore(t, time.Now), time.Now)
	for _, kind := range []string{"batch", "transaction"} {
		status, _, body := s.send(t, "POST", "", bundle(kind, 5001, func(i int) string { return put(fmt.Sprint("p", i), "") }))
		if status != 413 || !strings.Contains(body, "5000") || !strings.Contains(body, `"Bundle.entry"`) {
			t.Errorf("%s: %d %.300s", kind, status, body)
		}
	}
	if status, _, _ := s.send(t, "GET", "/Patient/p1", ""); status != 404 {
		t.Errorf("something was stored: %d", status)
	}
}

func TestT80_ManyEntriesOnOneID(t *testing.T) {
	s := open(t, openStore(t, time.Now), time.Now)
	text := func(kind string) string {
		return bundle(kind, 1000, func(i int) string { return put("one", fmt.Sprintf(`,"name":[{"text":"%d"}]`, i)) })
	}
	if status, _, body := s.send(t, "POST", "", text("transaction")); status != 400 || !strings.Contains(body, "duplicate") {
		t.Errorf("transaction: %d %.300s", status, body)
	}
	if status, _, _ := s.send(t, "GET", "/Patient/one", ""); status != 404 {
		t.Errorf("the failed transaction stored: %d", status)
	}
	if status, _, body := s.send(t, "POST", "", text("batch")); status != 200 || strings.Count(body, `"status":"20`) != 1000 {
		t.Errorf("batch: %d %.300s", status, body)
	}
	if _, header, body := s.send(t, "GET", "/Patient/one", ""); header.Get("ETag") != `W/"1000"` || !strings.Contains(body, `"999"`) {
		t.Errorf("batch entries on one resource out of order: %s %s", header.Get("ETag"), body)
	}
}

func TestT80_ReferenceCycle(t *testing.T) {
	s := open(t, openStore(t, time.Now), time.Now)
	const n = 300
	status, _, body := s.send(t, "POST", "", bundle("transaction", n, func(i int) string {
		return fmt.Sprintf(`{"fullUrl":"urn:uuid:%d","resource":{"resourceType":"Patient","link":[{"other":{"reference":"urn:uuid:%d"},"type":"seealso"}]},"request":{"method":"POST","url":"Patient"}}`, i, (i+1)%n)
	}))
	if status != 200 || strings.Count(body, "201 Created") != n {
		t.Fatalf("got %d %.300s", status, body)
	}
	_, _, all := s.send(t, "GET", "/Patient?_count=1000", "")
	if strings.Contains(all, "urn:uuid") || strings.Count(all, `"reference":"Patient/new-`) != n {
		t.Errorf("links are left: %.500s", all)
	}
}

func TestItem18_TransactionsAtOnceMakeOneTwin(t *testing.T) {
	s := open(t, openStore(t, time.Now), time.Now)
	text := bundle("transaction", 2, func(i int) string {
		if i == 0 {
			return `{"fullUrl":"urn:uuid:a","resource":{"resourceType":"Practitioner","identifier":[{"system":"http://i","value":"1"}]},"request":{"method":"POST","url":"Practitioner","ifNoneExist":"identifier=http://i|1"}}`
		}
		return `{"resource":{"resourceType":"Observation","status":"final","code":{"text":"x"},"performer":[{"reference":"urn:uuid:a"}]},"request":{"method":"POST","url":"Observation"}}`
	})
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			if status, _, body := s.send(t, "POST", "", text); status != 200 {
				t.Errorf("got %d %.300s", status, body)
			}
		})
	}
	group.Wait()
	_, _, all := s.send(t, "GET", "/Practitioner?_total=accurate", "")
	if !strings.Contains(all, `"total":1,`) {
		t.Errorf("twins: %.300s", all)
	}
	id := resource(t, all).Root().Path("entry", "resource", "id").Text()
	if _, _, seen := s.send(t, "GET", "/Observation?performer=Practitioner/"+id+"&_total=accurate", ""); !strings.Contains(seen, `"total":16,`) {
		t.Errorf("not all observations point to the one: %.300s", seen)
	}
}

func TestItem38_OneTimestampPagesWithoutDuplicateOrGap(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	now := func() time.Time { return at }
	s := open(t, openStore(t, now), now)
	if status, _, body := s.send(t, "POST", "", bundle("transaction", 1000, func(i int) string { return put(fmt.Sprint("p", i), "") })); status != 200 {
		t.Fatalf("got %d %.300s", status, body)
	}
	for _, url := range []string{"/Patient/_history?_count=37", "/_history?_count=37", "/Patient?_count=37", "/Patient?_count=37&_sort=-_lastUpdated"} {
		seen := map[string]bool{}
		for next, pages := s.base+url, 0; next != ""; pages++ {
			status, _, body := s.send(t, "GET", strings.TrimPrefix(next, s.base), "")
			if status != 200 || pages > 30 {
				t.Fatalf("%s: page %d: %d %.300s", url, pages, status, body)
			}
			root := resource(t, body).Root()
			for e := range root.Get("entry").Elements() {
				id := e.Path("resource", "id").Text()
				if seen[id] {
					t.Fatalf("%s: %s twice", url, id)
				}
				seen[id] = true
			}
			next = linkTo(root, "next")
		}
		if len(seen) != 1000 {
			t.Errorf("%s: %d of 1000", url, len(seen))
		}
	}
}

func linkTo(bundle fhir.Node, relation string) string {
	for l := range bundle.Get("link").Elements() {
		if l.Get("relation").Text() == relation {
			return l.Get("url").Text()
		}
	}
	return ""
}

func TestPageLinksAreSharedAndSealed(t *testing.T) {
	shared := openStore(t, time.Now)
	a, b := open(t, shared, time.Now), open(t, shared, time.Now)
	other := open(t, openStore(t, time.Now), time.Now)
	if status, _, body := a.send(t, "POST", "", bundle("transaction", 5, func(i int) string { return put(fmt.Sprint("p", i), `,"name":[{"family":"Doe"}]`) })); status != 200 {
		t.Fatalf("got %d %s", status, body)
	}
	_, _, body := a.send(t, "GET", "/Patient?family=Doe&_count=2", "")
	next := strings.TrimPrefix(linkTo(resource(t, body).Root(), "next"), a.base)
	if strings.Contains(next, "Doe") || !strings.HasPrefix(next, "/Patient?_page=") {
		t.Errorf("the link is %q", next)
	}
	if status, _, body := b.send(t, "GET", next, ""); status != 200 || strings.Count(body, `"mode":"match"`) != 2 {
		t.Errorf("another process on the store: %d %.300s", status, body)
	}
	if status, _, _ := other.send(t, "GET", next, ""); status != 410 {
		t.Errorf("a foreign server: %d", status)
	}
	for _, wrong := range []string{strings.Replace(next, "/Patient?", "/Observation?", 1), strings.Replace(next, "/Patient?", "?", 1), next[:len(next)-2], next + "AA", "/Patient/_history" + next[len("/Patient"):], "/Patient/p1" + next} {
		if status, _, _ := a.send(t, "GET", wrong, ""); status != 410 && status != 400 {
			t.Errorf("%s: %d, want 410 or 400", wrong, status)
		}
	}
}

// A small body must not be able to ask for an answer that fills the memory.
func TestT80_AnswersOfABundleAreBounded(t *testing.T) {
	s := open(t, openStore(t, time.Now), time.Now)
	big := fmt.Sprintf(`{"resourceType":"Basic","id":"big","identifier":[{"system":"b","value":"b"}],"code":{"text":"%s"}}`, strings.Repeat("x", 1<<20-8))
	if status, _, body := s.send(t, "PUT", "/Basic/big", big); status != 201 {
		t.Fatalf("%d %.300s", status, body)
	}
	for _, kind := range []string{"batch", "transaction"} {
		id := "small-" + kind
		status, _, body := s.send(t, "POST", "", bundle(kind, 201, func(i int) string {
			if i == 100 {
				return put(id, "")
			}
			return `{"request":{"method":"GET","url":"Basic/big"}}`
		}))
		done, refused := strings.Count(body, `"status":"200`), strings.Count(body, `"too-costly"`)
		if status != 200 || len(body) > 100<<20 || done < 32 || refused == 0 || done+refused != 200 {
			t.Errorf("%s: %d, %d bytes, %d entries done, %d refused", kind, status, len(body), done, refused)
		}
		if status, _, _ := s.send(t, "GET", "/Patient/"+id, ""); status != 200 {
			t.Errorf("%s: the write beside the reads was not done: %d", kind, status)
		}
	}
}

// A write is done however much was answered already; only its body is left out.
func TestT80_WritesPastTheBoundAreDone(t *testing.T) {
	s := open(t, openStore(t, time.Now), time.Now)
	big := fmt.Sprintf(`{"resourceType":"Basic","id":"big","identifier":[{"system":"b","value":"b"}],"code":{"text":"%s"}}`, strings.Repeat("x", 1<<20-8))
	if status, _, body := s.send(t, "PUT", "/Basic/big", big); status != 201 {
		t.Fatalf("%d %.300s", status, body)
	}
	for _, kind := range []string{"batch", "transaction"} {
		all := resource(t, bundle(kind, 150, func(int) string {
			return `{"resource":{"resourceType":"Basic","code":{"text":"y"}},"request":{"method":"POST","url":"Basic","ifNoneExist":"identifier=b|b"}}`
		}))
		answer, err := s.do(fhir.Request{Interaction: fhir.Batch, Resource: all, Prefer: fhir.Prefer{Return: "representation"}})
		if done := strings.Count(string(answer.Body), `"status":"200`); err != nil || done != 150 || len(answer.Body) > 100<<20 {
			t.Errorf("%s: %v, %d entries done, %d bytes", kind, err, done, len(answer.Body))
		}
	}
}

// An operation that would be refused refuses its transaction before it writes;
// one that changes data is never part of one, since it could not be undone with it.
func TestTransactionsForeseeTheirOperations(t *testing.T) {
	s := open(t, openStore(t, time.Now), time.Now)
	if status, _, body := s.send(t, "PUT", "/Basic/a", basicOf("a")); status != 201 {
		t.Fatalf("%d %s", status, body)
	}
	meta := `{"resourceType":"Parameters","parameter":[{"name":"meta","valueMeta":{"tag":[{"code":"x"}]}}]}`
	for entry, want := range map[string]int{
		entryOf("GET", "Basic/a/$none", ""): 404, entryOf("GET", "Basic/$everything", ""): 404, entryOf("GET", "Patient/a/$everything?_count=x", ""): 400,
		entryOf("GET", "Basic/a/$meta-add", ""): 400, entryOf("POST", "Basic/a/$meta-add", meta): 400, entryOf("GET", "Basic/a/$meta", ""): 200,
	} {
		status, _, body := s.send(t, "POST", "", bundleOf("transaction", entryOf("POST", "Basic", basicOf("b")), entry))
		if status != want || want != 200 && !strings.Contains(body, "Bundle.entry[1]") {
			t.Errorf("%s: %d, want %d: %s", entry, status, want, body)
		}
	}
	if _, _, body := s.send(t, "GET", "/Basic?_summary=count", ""); !strings.Contains(body, `"total":2`) {
		t.Errorf("one of the transactions and the first write are done: %s", body)
	}
	if _, _, body := s.send(t, "POST", "", bundleOf("batch", entryOf("POST", "Basic/a/$meta-add", meta))); !strings.Contains(body, `"status":"200`) {
		t.Errorf("a batch takes it: %s", body)
	}
}
