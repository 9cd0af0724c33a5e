package fhir_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
	"testing"
	"time"

	"candela/fhir"
)

var noon = time.Date(2026, 11, 22, 13, 0, 0, 123_456_789, time.FixedZone("", 3600))

func parsed(t testing.TB, body string) fhir.Resource {
	t.Helper()
	r, err := fhir.ParseResource([]byte(body), fhir.Limits{})
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return r
}

func TestServerMetaIsTakenOut(t *testing.T) {
	for _, c := range [][2]string{
		{`{"resourceType":"A"}`, `{"resourceType":"A"}`},
		{`{"resourceType":"A","meta":{}}`, `{"resourceType":"A","meta":{}}`},
		{`{"resourceType":"A","meta":{"tag":[{"code":"x"}]}}`, `{"resourceType":"A","meta":{"tag":[{"code":"x"}]}}`},
		{`{"resourceType":"A","meta":{"versionId":"1"}}`, `{"resourceType":"A"}`},
		{`{"meta":{"versionId":"1"},"resourceType":"A"}`, `{"resourceType":"A"}`},
		{`{"resourceType":"A","meta":{"lastUpdated":"x","versionId":"1"},"id":"1"}`, `{"resourceType":"A","id":"1"}`},
		{`{"resourceType":"A","meta":{"versionId":"1","profile":["p"],"lastUpdated":"x"}}`, `{"resourceType":"A","meta":{"profile":["p"]}}`},
		{`{"resourceType":"A","meta":{"profile":["p"],"versionId":"1","lastUpdated":"x"}}`, `{"resourceType":"A","meta":{"profile":["p"]}}`},
		{`{"resourceType":"A","meta":{"profile":["p"],"versionId":"1","source":"s","lastUpdated":"x","tag":[]}}`, `{"resourceType":"A","meta":{"profile":["p"],"source":"s","tag":[]}}`},
		{`{"resourceType":"A","meta":{"version\u0049d":"1","security":[],"\u006castUpdated":"x"}}`, `{"resourceType":"A","meta":{"security":[]}}`},
		{`{"resourceType":"A","m\u0065ta":{"versionId":"1"}}`, `{"resourceType":"A"}`},
		{`{"resourceType":"A","meta":{"_lastUpdated":{"id":"x"},"versionId":"1"}}`, `{"resourceType":"A","meta":{"_lastUpdated":{"id":"x"}}}`},
		{`{"resourceType":"A","meta":null}`, `{"resourceType":"A"}`},
		{`{"resourceType":"A","contained":[{"resourceType":"B","meta":{"versionId":"7"}}]}`, `{"resourceType":"A","contained":[{"resourceType":"B","meta":{"versionId":"7"}}]}`},
	} {
		r := parsed(t, c[0])
		if got := fhir.Apply(r.Raw(), fhir.DropServerMeta(r)); string(got) != c[1] {
			t.Errorf("%s\nbecame %s\nwant   %s", c[0], got, c[1])
		}
	}
}

func TestSetIDStandsBesideDroppedMeta(t *testing.T) {
	for _, c := range [][2]string{
		{`{"resourceType":"A"}`, `{"resourceType":"A","id":"9"}`},
		{`{"resourceType":"A","id":"1"}`, `{"resourceType":"A","id":"9"}`},
		{`{"id":"1","resourceType":"A"}`, `{"id":"9","resourceType":"A"}`},
		{`{"resourceType":"A","i\u0064":7}`, `{"resourceType":"A","i\u0064":"9"}`},
		{`{"resourceType":"A","meta":{"versionId":"1"}}`, `{"resourceType":"A","id":"9"}`},
		{`{"meta":{"versionId":"1"},"resourceType":"A"}`, `{"resourceType":"A","id":"9"}`},
		{`{"resourceType":"A","meta":{"versionId":"1"},"id":"1"}`, `{"resourceType":"A","id":"9"}`},
		{`{"resourceType":"A","contained":[{"resourceType":"B","id":"b"}]}`, `{"resourceType":"A","id":"9","contained":[{"resourceType":"B","id":"b"}]}`},
	} {
		r := parsed(t, c[0])
		edits := append(fhir.DropServerMeta(r), fhir.SetID(r, "9"))
		if got := fhir.Apply(r.Raw(), edits); string(got) != c[1] {
			t.Errorf("%s\nbecame %s\nwant   %s", c[0], got, c[1])
		}
		if back := append([]fhir.Edit{fhir.SetID(r, "9")}, fhir.DropServerMeta(r)...); string(fhir.Apply(r.Raw(), back)) != c[1] {
			t.Errorf("%s: the order of edits counts", c[0])
		}
	}
}

func TestStamp(t *testing.T) {
	stamp := `"versionId":"3","lastUpdated":"2026-11-22T12:00:00.123Z"`
	for _, c := range [][2]string{
		{`{"resourceType":"A"}`, `{"resourceType":"A","meta":{` + stamp + `}}`},
		{`{"resourceType":"A","id":"1","x":1.0}`, `{"resourceType":"A","id":"1","meta":{` + stamp + `},"x":1.0}`},
		{`{"x":"\"}","resourceType":"A","id":"1"}`, `{"x":"\"}","resourceType":"A","id":"1","meta":{` + stamp + `}}`},
		{`{"resourceType":"A","meta":{},"id":"1"}`, `{"resourceType":"A","meta":{` + stamp + `},"id":"1"}`},
		{`{"resourceType":"A","meta":{"tag":[]}}`, `{"resourceType":"A","meta":{` + stamp + `,"tag":[]}}`},
		{`{"resourceType":"A","meta":{"versionId":"1","tag":[]}}`, `{"resourceType":"A","meta":{` + stamp + `,"tag":[]}}`},
		{`{"resourceType":"A","meta":null}`, `{"resourceType":"A","meta":{` + stamp + `}}`},
	} {
		if got := fhir.Stamp(parsed(t, c[0]), 3, noon); string(got) != c[1] {
			t.Errorf("%s\nbecame %s\nwant   %s", c[0], got, c[1])
		}
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{"a<b>&\"\\": `"a<b>&\"\\"`, "\x00\n": `"\u0000\n"`, "é\xff": `"é` + "\uFFFD" + `"`} {
		if got := string(fhir.Quote(in)); got != want {
			t.Errorf("Quote(%q) = %s, want %s", in, got, want)
		}
	}
}

// Whatever the resource: after the edits of a write it parses, has the id, has
// no server meta, and all else is as it was; the stamp on top adds only itself.
func FuzzEdits(f *testing.F) {
	for _, seed := range []string{
		`{"resourceType":"A","id":"1","meta":{"versionId":"1","profile":["p"],"lastUpdated":"x"},"z":[1.0]}`,
		`{"meta":{"lastUpdated":"x"},"a":"\\\"","resourceType":"A"}`,
		`{"\u006deta":{"\u0076ersionId":1},"resourceType":"A","\u0069d":{}}`, `{"resourceType":"A","meta":[]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := fhir.ParseResource(body, fhir.Limits{})
		if err != nil {
			return
		}
		edited, err := r.Edited(append(fhir.DropServerMeta(r), fhir.SetID(r, "new-id")))
		if err != nil {
			t.Fatalf("%s: edited: %v", r.Raw(), err)
		}
		want := members(t, r.Raw())
		want["id"] = json.RawMessage(`"new-id"`)
		dropMeta(t, want)
		if got := members(t, edited.Raw()); !reflect.DeepEqual(got, want) {
			t.Fatalf("%s\nbecame %s", r.Raw(), edited.Raw())
		}
		stamped := fhir.Stamp(edited, 7, noon)
		if plain := fhir.AppendStamped(nil, edited.Raw(), 7, noon); !bytes.Equal(plain, stamped) {
			t.Fatalf("Stamp gives %s\nAppendStamped %s", stamped, plain)
		}
		meta := members(t, members(t, stamped)["meta"])
		if string(meta["versionId"]) != strconv.Quote("7") || string(meta["lastUpdated"]) != `"2026-11-22T12:00:00.123Z"` {
			t.Fatalf("%s: stamped %s", edited.Raw(), stamped)
		}
		back := parsed(t, string(stamped))
		if again := members(t, fhir.Apply(back.Raw(), fhir.DropServerMeta(back))); !sameButEmptyMeta(again, want) {
			t.Fatalf("%s: stamp and drop are no round trip: %s", edited.Raw(), stamped)
		}
	})
}

func members(t *testing.T, raw []byte) map[string]json.RawMessage {
	t.Helper()
	var out map[string]json.RawMessage
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return out
}

func dropMeta(t *testing.T, of map[string]json.RawMessage) {
	meta, ok := of["meta"]
	switch {
	case !ok || string(meta) == "{}":
		return
	case meta[0] != '{':
		delete(of, "meta")
		return
	}
	r := parsed(t, `{"resourceType":"X","m":`+string(meta)+`}`)
	kept := ""
	for _, pair := range pairs(r.Root().Get("m")) {
		if pair[0] != "versionId" && pair[0] != "lastUpdated" {
			kept += "," + pair[1]
		}
	}
	if delete(of, "meta"); kept != "" {
		of["meta"] = json.RawMessage("{" + kept[1:] + "}")
	}
}

// pairs are an object's members as meant name and written text.
func pairs(n fhir.Node) (out [][2]string) {
	raw, at := n.Raw(), 1
	base, _ := n.Span()
	for key, value := range n.Members() {
		_, to := value.Span()
		out = append(out, [2]string{key, string(raw[at : to-base])})
		at = to - base + 1
	}
	return out
}

func sameButEmptyMeta(a, b map[string]json.RawMessage) bool {
	for _, m := range []map[string]json.RawMessage{a, b} {
		if string(m["meta"]) == "{}" {
			delete(m, "meta")
		}
	}
	return reflect.DeepEqual(a, b)
}

// Damaged bytes from a store show as a resource without content, never as a crash.
func TestDamagedStoredBytes(t *testing.T) {
	for _, raw := range []string{"", "{", `{"resourceType":"A"`, "\x00\x01", `[]`, `7`} {
		r := fhir.Stored([]byte(raw))
		if r.Type() != "" || r.ID() != "" || r.Root().Get("x").Exists() {
			t.Errorf("%q has content", raw)
		}
		if _, err := r.Edited([]fhir.Edit{{From: 0, To: 0, With: []byte("x")}}); err == nil {
			t.Errorf("%q was edited into a resource", raw)
		}
	}
}
