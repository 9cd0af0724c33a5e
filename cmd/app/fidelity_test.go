package app_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"candela/cmd/app"
	"candela/fhir"
)

// TestEveryExampleReadsBackAsSent stores all HL7 and US Core examples and
// compares what is read back literal by literal.
func TestEveryExampleReadsBackAsSent(t *testing.T) {
	onBoth(t, func(t *testing.T, s *app.Server) {
		examples := append(files(t, "hl7-r4-examples/*.json", 151), files(t, "us-core-6.1.0-examples/*.json", 182)...)
		for _, path := range examples {
			storeAndCompare(t, s, path)
		}
	})
}

func storeAndCompare(t *testing.T, s *app.Server, path string) {
	t.Helper()
	raw := readFile(t, path)
	sent := answer{body: raw}.tree(t)
	url := sent.Get("resourceType").Text() + "/" + sent.Get("id").Text()
	stored := ask(t, s, "PUT", url, raw)
	if stored.status != 201 && stored.status != 200 {
		t.Errorf("%s: %d %s", filepath.Base(path), stored.status, stored.body)
		return
	}
	got := ask(t, s, "GET", url, nil)
	if why := differs("", sent, got.tree(t), nil); got.status != 200 || why != "" {
		t.Errorf("%s: %d, %s", filepath.Base(path), got.status, why)
	}
}

// TestEverySyntheaResourceReadsBackAsSent loads the 16 bundles and reads every
// resource back: the same literals in the same order, references rewritten.
func TestEverySyntheaResourceReadsBackAsSent(t *testing.T) {
	onBoth(t, func(t *testing.T, s *app.Server) {
		bundles := append(files(t, "synthea-2.7/*.gz", 14), files(t, "synthea-2019/*.gz", 4)...)
		compared := 0
		for _, path := range bundles {
			compared += loadAndCompare(t, s, path)
		}
		if compared != 9644 {
			t.Errorf("%d resources compared, want 9644", compared)
		}
	})
}

func loadAndCompare(t *testing.T, s *app.Server, path string) int {
	t.Helper()
	raw := readFile(t, path)
	loaded := ask(t, s, "POST", "", raw)
	if loaded.status != 200 {
		t.Fatalf("%s: %d %.2000s", filepath.Base(path), loaded.status, loaded.body)
	}
	ids := map[string]string{}
	var responses []fhir.Node
	for e := range loaded.tree(t).Get("entry").Elements() {
		responses = append(responses, e.Get("response"))
	}
	entries := answer{body: raw}.tree(t).Get("entry")
	n := 0
	for e := range entries.Elements() {
		status, place := responses[n].Get("status").Text(), responses[n].Get("location").Text()
		if !strings.HasPrefix(status, "20") {
			t.Fatalf("%s entry %d: %s %s", filepath.Base(path), n, status, responses[n].Raw())
		}
		ids[e.Get("fullUrl").Text()] = plainPlace(place)
		n++
	}
	n = 0
	for e := range entries.Elements() {
		url := ids[e.Get("fullUrl").Text()]
		got := ask(t, s, "GET", url, nil)
		if why := differs("", e.Get("resource"), got.tree(t), ids); got.status != 200 || why != "" {
			t.Fatalf("%s entry %d %s: %d, %s", filepath.Base(path), n, url, got.status, why)
		}
		n++
	}
	return n
}

// plainPlace is Type/id of a location with or without base and version.
func plainPlace(location string) string {
	plain, _, _ := strings.Cut(location, "/_history/")
	parts := strings.Split(plain, "/")
	return strings.Join(parts[max(0, len(parts)-2):], "/")
}

// differs says where got is not what was sent: same keys in the same order,
// same literals. The server's own meta and id may differ at the top, and
// strings that are references rewritten by ids.
func differs(path string, sent, got fhir.Node, ids map[string]string) string {
	if sent.Kind() != got.Kind() {
		return fmt.Sprintf("%s: kind %c became %c", path, sent.Kind(), got.Kind())
	}
	switch sent.Kind() {
	case fhir.Object:
		return membersDiffer(path, sent, got, ids)
	case fhir.Array:
		if sent.Len() != got.Len() {
			return fmt.Sprintf("%s: %d elements became %d", path, sent.Len(), got.Len())
		}
		var have []fhir.Node
		for e := range got.Elements() {
			have = append(have, e)
		}
		i := 0
		for e := range sent.Elements() {
			if why := differs(fmt.Sprintf("%s[%d]", path, i), e, have[i], ids); why != "" {
				return why
			}
			i++
		}
		return ""
	}
	if bytes.Equal(sent.Raw(), got.Raw()) || rewritten(sent.Text(), got.Text(), ids) {
		return ""
	}
	return fmt.Sprintf("%s: %s became %s", path, sent.Raw(), got.Raw())
}

func membersDiffer(path string, sent, got fhir.Node, ids map[string]string) string {
	want, have := members(path, sent, ids != nil), members(path, got, ids != nil)
	if len(want) != len(have) {
		return fmt.Sprintf("%s: %d members became %d", path, len(want), len(have))
	}
	for i := range want {
		if want[i].key != have[i].key {
			return fmt.Sprintf("%s: member %s became %s", path, want[i].key, have[i].key)
		}
		if why := differs(path+"."+want[i].key, want[i].value, have[i].value, ids); why != "" {
			return why
		}
	}
	return ""
}

type member struct {
	key   string
	value fhir.Node
}

// members leaves out what belongs to the server: the version in meta, a meta
// that held nothing else, and the id of a create.
func members(path string, n fhir.Node, created bool) []member {
	var out []member
	for key, value := range n.Members() {
		switch {
		case path == ".meta" && (key == "versionId" || key == "lastUpdated"):
		case path == "" && key == "meta" && len(members(".meta", value, created)) == 0:
		case path == "" && key == "id" && created:
		default:
			out = append(out, member{key, value})
		}
	}
	return out
}

func rewritten(sent, got string, ids map[string]string) bool {
	if ids == nil {
		return false
	}
	if target, ok := ids[sent]; ok {
		return got == target
	}
	typ, criteria, conditional := strings.Cut(sent, "?")
	if conditional && criteria != "" {
		return strings.HasPrefix(got, typ+"/")
	}
	for uuid, target := range ids { // inside narrative links and other uris
		sent = strings.ReplaceAll(sent, uuid, target)
	}
	return sent == got
}
