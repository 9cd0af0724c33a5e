package interaction_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"candela/fhir"
)

// linkOf is the link of a searchset, below the base; "" when there is none.
func (s *server) linkOf(t *testing.T, body, relation string) string {
	t.Helper()
	for one := range resource(t, body).Root().Get("link").Elements() {
		if one.Get("relation").Text() == relation {
			return strings.TrimPrefix(one.Get("url").Text(), s.base+"/")
		}
	}
	return ""
}

// A page of large resources ends early, with a link to the next; includes have
// the same bound.
func TestPagesAreBoundedByBytes(t *testing.T) {
	s := open(t, openStore(t, time.Now), time.Now)
	const n, each = 12, 6 << 20
	data := strings.Repeat("QUJD", each/4)
	for i := range n {
		id := fmt.Sprintf("b%02d", i)
		body := `{"resourceType":"Binary","id":"` + id + `","contentType":"text/plain","data":"` + data + `"}`
		if status, answer := s.as(t, fhir.Full(), "PUT", "Binary/"+id, body); status != 201 {
			t.Fatalf("got %d %.200s", status, answer)
		}
	}
	var ids []string
	for at := "Binary?_count=100&_sort=_id&_total=accurate"; at != ""; {
		status, body := s.as(t, fhir.Full(), "GET", at, "")
		if status != 200 || len(body) > 33<<20 || !strings.Contains(body, `"total":12`) {
			t.Fatalf("got %d with %d bytes", status, len(body))
		}
		for one := range resource(t, body).Root().Get("entry").Elements() {
			ids = append(ids, one.Path("resource", "id").Text())
		}
		at = s.linkOf(t, body, "next")
	}
	if len(ids) != n || !slices.IsSorted(ids) || len(slices.Compact(ids)) != n {
		t.Errorf("the pages have %v", ids)
	}
	seen := 0
	for at := "Binary/_history?_count=100"; at != ""; {
		status, body := s.as(t, fhir.Full(), "GET", at, "")
		if status != 200 || len(body) > 34<<20 {
			t.Fatalf("the history is %d with %d bytes", status, len(body))
		}
		for range resource(t, body).Root().Get("entry").Elements() {
			seen++
		}
		at = s.linkOf(t, body, "next")
	}
	if seen != n {
		t.Errorf("the pages of the history have %d versions", seen)
	}
	var items []string
	for _, id := range ids {
		items = append(items, `{"item":{"reference":"Binary/`+id+`"}}`)
	}
	list := `{"resourceType":"List","id":"l","status":"current","mode":"working","entry":[` + strings.Join(items, ",") + `]}`
	if status, answer := s.as(t, fhir.Full(), "PUT", "List/l", list); status != 201 {
		t.Fatalf("got %d %s", status, answer)
	}
	status, body := s.as(t, fhir.Full(), "GET", "List?_include=List:item", "")
	if status != 200 || len(body) > 40<<20 || !strings.Contains(body, "too-costly") {
		t.Errorf("the includes are %d bytes, want a warning and no more than the bound: %.300s", len(body), body)
	}
}

// Links to other pages stay short, however long the question was.
func TestLinksOfLongSearchesStayShort(t *testing.T) {
	s := ward(t)
	var list [4][]string
	for i := range 400 {
		list[i%4] = append(list[i%4], fmt.Sprintf("Patient/00000000-0000-4000-8000-%012d", i))
	}
	query := "Observation?_count=1&_total=accurate"
	for _, some := range list {
		query += "&subject=Patient/a,Patient/b," + url.QueryEscape(strings.Join(some[:98], ","))
	}
	if len(query) < 15_000 {
		t.Fatalf("the query has only %d bytes", len(query))
	}
	status, body := s.as(t, fhir.Full(), "GET", query, "")
	next := s.linkOf(t, body, "next")
	if status != 200 || next == "" || len(next) > 8000 {
		t.Fatalf("got %d, a next link of %d bytes", status, len(next))
	}
	status, second := s.as(t, fhir.Full(), "GET", next, "")
	if status != 200 || !strings.Contains(second, `"id":"ob"`) || strings.Contains(second, `"id":"oa"`) || s.linkOf(t, second, "next") != "" {
		t.Errorf("the next page: %d %.300s", status, second)
	}
	back := s.linkOf(t, second, "previous")
	if status, first := s.as(t, fhir.Full(), "GET", back, ""); status != 200 || len(back) > 8000 || !strings.Contains(first, `"id":"oa"`) {
		t.Errorf("the page before: %d, by a link of %d bytes", status, len(back))
	}
}
