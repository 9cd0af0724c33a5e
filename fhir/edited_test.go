package fhir_test

import (
	"bytes"
	"testing"
	"time"

	"candela/fhir"
)

const rich = `{"resourceType":"Observation","id":"old","meta":{"profile":["http://p"]},"text":{"div":"<div>\"a\\\\\"</div>"},` +
	`"contained":[{"resourceType":"Patient","id":"p","name":[{"given":["a","b",null]}]}],"valueQuantity":{"value":1.00},"subject":{"reference":"urn:uuid:1"},` +
	`"performer":[{"reference":"urn:uuid:2"},{"reference":"urn:uuid:1"}],"x":{}}`

func parse(t *testing.T, raw string) fhir.Resource {
	t.Helper()
	r, err := fhir.ParseResource([]byte(raw), fhir.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// sameTree compares every node of two resources.
func sameTree(t *testing.T, got, want fhir.Node) {
	t.Helper()
	if !bytes.Equal(got.Raw(), want.Raw()) || got.Kind() != want.Kind() || got.Len() != want.Len() {
		t.Fatalf("node differs: %s, want %s", got.Raw(), want.Raw())
	}
	for key, child := range want.Members() {
		sameTree(t, got.Get(key), child)
	}
	var gots []fhir.Node
	for n := range got.Elements() {
		gots = append(gots, n)
	}
	i := 0
	for n := range want.Elements() {
		sameTree(t, gots[i], n)
		i++
	}
}

func TestEditedEqualsParsingAgain(t *testing.T) {
	r := parse(t, rich)
	edits := []fhir.Edit{fhir.SetID(r, "a-much-longer-new-id")}
	for _, n := range r.Root().Strings() {
		if text := n.Text(); len(text) > 4 && text[:4] == "urn:" {
			from, to := n.Span()
			edits = append(edits, fhir.Edit{From: from, To: to, With: []byte(`"P/1"`)})
		}
	}
	if len(edits) != 4 {
		t.Fatalf("found %d strings to edit, want 4", len(edits))
	}
	got, err := r.Edited(edits)
	if err != nil {
		t.Fatal(err)
	}
	sameTree(t, got.Root(), parse(t, string(got.Raw())).Root())
	if got.ID() != "a-much-longer-new-id" || got.Root().Get("performer").First().Get("reference").Text() != "P/1" {
		t.Errorf("edits are not in: %s", got.Raw())
	}
	dropped, err := r.Edited([]fhir.Edit{{From: 1, To: len(`{"resourceType":"Observation",`), With: []byte(`"resourceType":"Basic",`)}})
	if err != nil || dropped.Type() != "Basic" {
		t.Errorf("an edit of members: %v %s", err, dropped.Raw())
	}
}

func TestResourceAtIsTheSubTree(t *testing.T) {
	r := parse(t, rich)
	inner, err := fhir.ResourceAt(r.Root().Get("contained").First())
	if err != nil {
		t.Fatal(err)
	}
	sameTree(t, inner.Root(), parse(t, string(inner.Raw())).Root())
	if inner.Type() != "Patient" || inner.ID() != "p" {
		t.Errorf("got %s/%s", inner.Type(), inner.ID())
	}
}

func TestAppendStampedEqualsStamp(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	for _, raw := range []string{
		rich, `{"resourceType":"A"}`, `{"resourceType":"A","id":"1"}`, `{"id":"1","resourceType":"A"}`, `{"resourceType":"A","meta":{}}`,
		`{"resourceType":"A","id":"1","active":true,"n":[1,{"meta":{"a":1}}],"meta":{"tag":[{"code":"\"}"}]},"z":null}`,
		`{"resourceType":"A","text":"\\","id":"1"}`, `{"resourceType":"A","m\u0065ta":{"source":"x"},"id":"1"}`, `{"a":1.50,"resourceType":"A"}`,
	} {
		want := fhir.Stamp(parse(t, raw), 7, at)
		got := fhir.AppendStamped([]byte("x"), []byte(raw), 7, at)
		if string(got[1:]) != string(want) {
			t.Errorf("%s\n got %s\nwant %s", raw, got[1:], want)
		}
		parse(t, string(got[1:]))
	}
}

func TestStoredParsesLate(t *testing.T) {
	r := fhir.Stored([]byte(rich))
	if string(r.Raw()) != rich || r.Type() != "Observation" || r.ID() != "old" {
		t.Errorf("got %s/%s", r.Type(), r.ID())
	}
	if broken := fhir.Stored([]byte(`{"a":`)); broken.Root().Exists() || broken.Type() != "" {
		t.Error("damaged bytes have a root")
	}
}

func BenchmarkAppendStamped(b *testing.B) {
	raw, at := []byte(rich), time.Now()
	dst := make([]byte, 0, 4096)
	for b.Loop() {
		dst = fhir.AppendStamped(dst[:0], raw, 7, at)
	}
}
