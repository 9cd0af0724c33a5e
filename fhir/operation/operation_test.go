package operation_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"candela/fhir"
	"candela/fhir/interaction"
	"candela/fhir/operation"
	"candela/fhir/r4"
	"candela/fhir/search"
	"candela/fhir/validate"
	"candela/store/embedded"
)

const base = "http://us/fhir"

// open is an engine on a fresh store.
func open(t testing.TB) fhir.Doer {
	t.Helper()
	s, err := embedded.Open(t.TempDir(), embedded.Options{Now: time.Now, Logger: slog.New(slog.DiscardHandler), Relaxed: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	spec, err := r4.Load()
	if err != nil {
		t.Fatal(err)
	}
	registry, err := search.New(spec, base)
	if err != nil {
		t.Fatal(err)
	}
	var ids atomic.Int64
	engine, err := interaction.New(interaction.Config{
		Store: s, Search: registry, Structure: validate.New(spec), Elements: spec, Types: spec.Resources(), Now: time.Now,
		NewID: func() string { return fmt.Sprint("n", ids.Add(1)) }, Operations: operation.New(registry, spec.Resources(), time.Now),
	})
	if err != nil {
		t.Fatal(err)
	}
	return engine
}

// ask does one request with the access given; the status and the answer.
func ask(t testing.TB, door fhir.Doer, access fhir.Access, method, url, body string) (int, fhir.Node) {
	t.Helper()
	r, err := fhir.RouteURL(method, url, base)
	if err != nil {
		t.Fatal(err)
	}
	r.Base, r.Caller = base, fhir.Caller{Access: access}
	if body != "" {
		if r.Resource, err = fhir.ParseResource([]byte(body), fhir.BundleLimits()); err != nil {
			t.Fatal(err)
		}
	}
	answer, err := door.Do(context.Background(), r)
	var refusal *fhir.Error
	switch {
	case errors.As(err, &refusal):
		return refusal.Status, fhir.Stored(fhir.OutcomeOf(refusal.Issues...)).Root()
	case err != nil:
		t.Fatal(err)
	case answer.Resource.Exists():
		return answer.Status, answer.Resource.Root()
	}
	return answer.Status, fhir.Stored(answer.Body).Root()
}

// put stores resources in transactions of 500.
func put(t testing.TB, door fhir.Doer, resources ...string) {
	t.Helper()
	for some := range slices.Chunk(resources, 500) {
		entries := make([]string, len(some))
		for i, raw := range some {
			root := fhir.Stored([]byte(raw)).Root()
			entries[i] = `{"resource":` + raw + `,"request":{"method":"PUT","url":"` + root.Get("resourceType").Text() + "/" + root.Get("id").Text() + `"}}`
		}
		if status, n := ask(t, door, fhir.Full(), "POST", "", `{"resourceType":"Bundle","type":"transaction","entry":[`+strings.Join(entries, ",")+`]}`); status != 200 {
			t.Fatalf("%d %s", status, n.Raw())
		}
	}
}

func observation(id, patient, code, date string) string {
	return fmt.Sprintf(`{"resourceType":"Observation","id":"%s","status":"final","code":{"coding":[{"system":"http://c","code":"%s"}]},"effectiveDateTime":"%s","subject":{"reference":"Patient/%s"},"performer":[{"reference":"Practitioner/d%d"}]}`, id, code, date, patient, len(id)%3)
}

func names(bundle fhir.Node) []string {
	var out []string
	for e := range bundle.Get("entry").Elements() {
		out = append(out, e.Path("resource", "resourceType").Text()+"/"+e.Path("resource", "id").Text())
	}
	return out
}

func next(bundle fhir.Node) string {
	for l := range bundle.Get("link").Elements() {
		if l.Get("relation").Text() == "next" {
			return l.Get("url").Text()
		}
	}
	return ""
}

// chart is two patients: p with n observations of seven codes, q with three.
func chart(t testing.TB, n int) fhir.Doer {
	door := open(t)
	all := []string{`{"resourceType":"Patient","id":"p"}`, `{"resourceType":"Patient","id":"q"}`}
	for i := range 3 {
		all = append(all, fmt.Sprintf(`{"resourceType":"Practitioner","id":"d%d"}`, i), observation(fmt.Sprint("q", i), "q", "x", "2020"))
	}
	for i := range n {
		at := time.Date(2020, 1, 1, i, 0, 0, 0, time.UTC).Format(time.RFC3339)
		all = append(all, observation(fmt.Sprint("p", i), "p", fmt.Sprint("c", i%7), at))
	}
	put(t, door, all...)
	return door
}

// TestEverythingPages: for every page size each resource comes once, the
// observations of others never, and a filter holds on each page (T107).
func TestEverythingPages(t *testing.T) {
	door := chart(t, 40)
	for _, query := range []string{"", "_type=Observation,Practitioner&", "_type=Practitioner&", "start=2020-01-02&_type=Observation&", "_since=2000-01-01T00:00:00Z&"} {
		_, whole := ask(t, door, fhir.Full(), "GET", "Patient/p/$everything?"+query, "")
		want := names(whole)
		if len(want) < 2 || next(whole) != "" {
			t.Fatalf("%s: %d in one page", query, len(want))
		}
		for _, count := range []int{1, 2, 7, 40, 41, 44} {
			var got []string
			for url := fmt.Sprintf("Patient/p/$everything?%s_count=%d", query, count); url != ""; {
				status, n := ask(t, door, fhir.Full(), "GET", url, "")
				if status != 200 || len(names(n)) > count || len(names(n)) == 0 {
					t.Fatalf("%s: %d %s", url, status, n.Raw())
				}
				got, url = append(got, names(n)...), next(n)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s _count=%d:\n%v, want\n%v", query, count, got, want)
			}
		}
		for _, name := range want {
			if strings.HasPrefix(name, "Observation/q") || name == "Patient/q" {
				t.Errorf("%s: %s is somebody else's", query, name)
			}
		}
	}
}

// TestEverythingThroughTheView: what a caller may not see is not there, whose
// page link it may be.
func TestEverythingThroughTheView(t *testing.T) {
	door := chart(t, 10)
	mine := fhir.Access{{Type: "*", Letters: "cruds", Compartment: fhir.Reference{Type: "Patient", ID: "p"}}}
	if status, n := ask(t, door, mine, "GET", "Patient/p/$everything", ""); status != 200 || len(names(n)) != 11 {
		t.Errorf("%d %v, want the patient and 10 observations", status, names(n))
	}
	for _, url := range []string{"Patient/q/$everything", "Observation/q0/$meta"} {
		if status, n := ask(t, door, mine, "GET", url, ""); status != 404 {
			t.Errorf("%s: %d %s", url, status, n.Raw())
		}
	}
	if _, n := ask(t, door, mine, "GET", "Observation/$lastn?patient=q", ""); len(names(n)) != 0 {
		t.Errorf("$lastn shows %v", names(n))
	}
	few := fhir.Access{{Type: "Patient", Letters: "rs"}, {Type: "Practitioner", Letters: "s"}}
	if status, n := ask(t, door, few, "GET", "Patient/p/$everything", ""); status != 200 || !slices.Equal(names(n), []string{"Patient/p"}) {
		t.Errorf("%d %v, want the patient only", status, names(n))
	}
	_, first := ask(t, door, fhir.Full(), "GET", "Patient/q/$everything?_count=1", "")
	if status, _ := ask(t, door, mine, "GET", next(first), ""); status != 404 {
		t.Errorf("another's page link: %d", status)
	}
	elsewhere := strings.Replace(next(first), "Patient/q", "Patient/p", 1)
	if status, _ := ask(t, door, mine, "GET", elsewhere, ""); status != 410 {
		t.Errorf("a page link of another patient: %d", status)
	}
	tag := `{"resourceType":"Parameters","parameter":[{"name":"meta","valueMeta":{"tag":[{"code":"z"}]}}]}`
	if status, _ := ask(t, door, few, "POST", "Patient/p/$meta-add", tag); status != 403 {
		t.Errorf("$meta-add without u: %d", status)
	}
	if status, _ := ask(t, door, nil, "GET", "$meta", ""); status != 403 {
		t.Errorf("$meta without any rule: %d", status)
	}
	if status, n := ask(t, door, fhir.Access{{Type: "Observation", Letters: "s"}}, "POST", "Patient/$match", `{"resourceType":"Patient","identifier":[{"value":"1"}]}`); status != 403 {
		t.Errorf("$match without s: %d %s", status, n.Raw())
	}
}

// TestMetaAddRace: of many that add at once, nobody's tag is lost.
func TestMetaAddRace(t *testing.T) {
	door := chart(t, 0)
	var group sync.WaitGroup
	var done atomic.Int64
	for i := range 8 {
		group.Go(func() {
			tag := fmt.Sprintf(`{"resourceType":"Parameters","parameter":[{"name":"meta","valueMeta":{"tag":[{"code":"t%d"}]}}]}`, i)
			if status, _ := ask(t, door, fhir.Full(), "POST", "Patient/p/$meta-add", tag); status == 200 {
				done.Add(1)
			} else if status != 409 && status != 412 {
				t.Errorf("status %d", status)
			}
		})
	}
	group.Wait()
	if _, n := ask(t, door, fhir.Full(), "GET", "Patient/p", ""); int64(n.Path("meta", "tag").Len()) != done.Load() || done.Load() == 0 {
		t.Errorf("%d said yes, the tags are %s", done.Load(), n.Path("meta", "tag").Raw())
	}
}

// TestMetaKeepsBytes: what is added and taken away again leaves the resource
// byte for byte as it was.
func TestMetaKeepsBytes(t *testing.T) {
	for _, meta := range []string{"", `"meta":{"profile":["http://a"],"_profile":[{"extension":[{"url":"http://x","valueDecimal":1.0}]}]},`, `"meta":{"extension":[{"url":"http://x","valueDecimal":1.00}],"tag":[{"code":"k"}]},`} {
		door := open(t)
		raw := `{"resourceType":"Basic","id":"b",` + meta + `"code":{"text":"é\u0041","extension":[{"url":"u","valueDecimal":1e2}]}}`
		put(t, door, raw)
		_, before := ask(t, door, fhir.Full(), "GET", "Basic/b", "")
		label := `{"resourceType":"Parameters","parameter":[{"name":"meta","valueMeta":{"security":[{"system":"s","code":"R"}],"tag":[{"code":"z"}]}}]}`
		for _, op := range []string{"$meta-add", "$meta-delete"} {
			if status, n := ask(t, door, fhir.Full(), "POST", "Basic/b/"+op, label); status != 200 {
				t.Fatalf("%s: %d %s", op, status, n.Raw())
			}
		}
		_, after := ask(t, door, fhir.Full(), "GET", "Basic/b", "")
		strip := func(n fhir.Node) string {
			s := strings.Replace(string(n.Raw()), n.Path("meta", "lastUpdated").Text(), "", 1)
			return strings.Replace(s, `"versionId":"`+n.Path("meta", "versionId").Text()+`"`, "", 1)
		}
		if strip(before) != strip(after) || after.Path("meta", "versionId").Text() != "3" {
			t.Errorf("before\n%s\nafter\n%s", before.Raw(), after.Raw())
		}
	}
}

// TestLastnAgainstNaive: for random observations and every max, $lastn gives
// per code the newest, and all that are as old as the last of these.
func TestLastnAgainstNaive(t *testing.T) {
	door := open(t)
	put(t, door, `{"resourceType":"Patient","id":"q"}`)
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		patient := fmt.Sprint("r", run)
		dates := map[string][]string{}
		all := []string{`{"resourceType":"Patient","id":"` + patient + `"}`}
		for i := range rapid.IntRange(0, 90).Draw(rt, "n") {
			code := fmt.Sprint("c", rapid.IntRange(0, 4).Draw(rt, "code"))
			date := fmt.Sprintf("2020-01-%02d", rapid.IntRange(1, 20).Draw(rt, "day"))
			dates[code] = append(dates[code], date)
			all = append(all, observation(fmt.Sprintf("%s-%d", patient, i), patient, code, date))
		}
		put(t, door, all...)
		limit := rapid.IntRange(1, 5).Draw(rt, "max")
		_, n := ask(t, door, fhir.Full(), "GET", fmt.Sprintf("Observation/$lastn?patient=%s&max=%d", patient, limit), "")
		got := map[string][]string{}
		for e := range n.Get("entry").Elements() {
			code := e.Path("resource", "code", "coding", "code").Text()
			got[code] = append(got[code], e.Path("resource", "effectiveDateTime").Text())
		}
		for code, want := range dates {
			slices.Sort(want)
			slices.Reverse(want)
			end := min(limit, len(want))
			for end < len(want) && want[end] == want[end-1] {
				end++
			}
			if !slices.Equal(got[code], want[:end]) {
				rt.Fatalf("%s max %d: %v, want %v", code, limit, got[code], want[:end])
			}
		}
		if len(got) != len(dates) {
			rt.Fatalf("codes %d, want %d", len(got), len(dates))
		}
	})
}

func TestRefusals(t *testing.T) {
	door := chart(t, 1)
	for url, want := range map[string]int{
		"Patient/$everything": 404, "Group/g/$everything": 404, "$everything": 404, "Patient/p/$lastn": 404, "Patient/p/$everything?_count=1e9": 400,
		"Patient/p/$everything?_page=x": 400, "Observation/$lastn?patient=p&max=99999999999999999999": 400, "Observation/$stats?subject=x&code=a&statistic=sum": 400,
		"Observation/$stats?subject=http://else/Patient/p&code=a&statistic=sum": 400, "Observation/$stats?subject=Patient/p&code=&statistic=sum": 400,
		"Patient/p/$everything?_type=Observation,": 400, "DocumentReference/$docref?patient=p&type=%7C": 400, "Observation/$lastn?patient:nonsense=p": 400,
	} {
		if status, n := ask(t, door, fhir.Full(), "GET", url, ""); status != want || n.Get("resourceType").Text() != "OperationOutcome" {
			t.Errorf("%s: %d %s, want %d", url, status, n.Raw(), want)
		}
	}
	for _, body := range []string{`{"resourceType":"Parameters","parameter":[{"name":"_count"}]}`, `{"resourceType":"Parameters","parameter":[{"name":"_count","valueInteger":-1}]}`, `{"resourceType":"Parameters","parameter":[{}]}`} {
		if status, _ := ask(t, door, fhir.Full(), "POST", "Patient/p/$everything", body); status != 400 {
			t.Errorf("%s: %d", body, status)
		}
	}
}

func BenchmarkEverything(b *testing.B) {
	door := chart(b, 2000)
	for _, url := range []string{"Patient/p/$everything?_count=100", "Patient/p/$everything?_count=1000", "Patient/p/$everything?_type=Practitioner", "Observation/$lastn?patient=p", "Observation/$lastn?patient=p&code=http://c|c3", "Observation/$stats?subject=Patient/p&code=c3&statistic=count"} {
		b.Run(url, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if status, n := ask(b, door, fhir.Full(), "GET", url, ""); status != 200 {
					b.Fatalf("%s", n.Raw())
				}
			}
		})
	}
}
