package interaction_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"candela/fhir"
)

// TestHistoryAt: what was current at some moment of a period, for every period
// and page size, against the rule read literally: made before the period ends,
// not replaced before it begins, and no deletion of before.
func TestHistoryAt(t *testing.T) {
	clock := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	now := func() time.Time { return clock }
	s := open(t, openStore(t, now), now)
	for day, step := range []string{"a", "b", "a", "-a", "c", "a", "-b", "c"} {
		clock = time.Date(2020, 1, 1+day, 12, 0, 0, 0, time.UTC)
		id, gone := strings.CutPrefix(step, "-")
		r := fhir.Request{Interaction: fhir.Delete, Type: "Basic", ID: id}
		if !gone {
			r.Interaction = fhir.Update
			r.Resource = resource(t, fmt.Sprintf(`{"resourceType":"Basic","id":%q,"code":{"text":"%d"}}`, id, day))
		}
		if _, err := s.do(r); err != nil {
			t.Fatal(err)
		}
	}
	for at, want := range map[string]string{
		"2019": "", "2020": "c2 b2 a4 c1 a3 a2 b1 a1", "2020-01": "c2 b2 a4 c1 a3 a2 b1 a1",
		"2020-01-01": "a1", "2020-01-02": "b1 a1", "2020-01-03": "a2 b1 a1", "2020-01-04": "a3 a2 b1",
		"2020-01-05T00:00:00Z": "b1", "2020-01-05": "c1 b1", "2020-01-06": "a4 c1 b1", "2020-01-07": "b2 a4 c1 b1", "2020-01-09": "c2 a4", "2999": "c2 a4",
	} {
		for _, count := range []int{1, 2, 50} {
			if got := s.pastAt(t, at, count); got != want {
				t.Errorf("_at=%s by %d: %q, want %q", at, count, got, want)
			}
		}
	}
}

// pastAt pages through a type's history and names its versions.
func (s *server) pastAt(t *testing.T, at string, count int) string {
	t.Helper()
	query := fhir.Params{{Name: "_at", Value: at}, {Name: "_count", Value: fmt.Sprint(count)}}
	var seen []string
	for {
		answer, err := s.do(fhir.Request{Interaction: fhir.HistoryType, Type: "Basic", Query: query})
		if err != nil {
			t.Fatal(err)
		}
		root := resource(t, string(answer.Body)).Root()
		for one := range root.Get("entry").Elements() {
			id := one.Get("fullUrl").Text()
			seen = append(seen, id[len(id)-1:]+strings.Trim(one.Path("response", "etag").Text(), `W/"`))
		}
		next := ""
		for link := range root.Get("link").Elements() {
			if link.Get("relation").Text() == "next" {
				next = link.Get("url").Text()
			}
		}
		if next == "" {
			return strings.Join(seen, " ")
		}
		u, err := url.Parse(next)
		if err != nil {
			t.Fatal(err)
		}
		query = fhir.Params{{Name: "_page", Value: u.Query().Get("_page")}}
	}
}
