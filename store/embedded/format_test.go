package embedded

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2"

	"candela/store"
)

// layouts are all layouts on disk there ever were, by number, as fingerprints
// of what fixed writes leave in the folder. A change of any byte needs a new
// number: a folder of another layout must be refused, not misread. (Where only a
// library packs differently and both are read alike, the fingerprint changes.)
var layouts = map[string]uint64{
	"2": 0xb9bff719e8f2b35c,
	"3": 0x298f29ba1fa01197,
}

func fixedWrites(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, Options{Unencrypted: true, Now: func() time.Time { return time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC) }})
	if err != nil {
		t.Fatal(err)
	}
	raw := []byte(`{"resourceType":"A","id":"1","text":"` + strings.Repeat("some text of a body ", 20) + `"}`)
	a, b, c := store.Key{Type: "A", ID: "1"}, store.Key{Type: "B", ID: "2"}, store.Key{Type: "C", ID: "3"}
	entries := []store.Entry{
		{Param: "name", Value: store.Value{Kind: store.Text, Text: "carreno quinones", Raw: "Carreño Quinones"}},
		{Param: "code", Role: store.Hot, Value: store.Value{Kind: store.Code, Space: "http://s", Name: "c", Text: "display", Raw: "Display"}},
		{Param: "subject", Role: store.Anchor, Value: store.Value{Kind: store.Link, Space: "B", Name: "2"}},
		{Param: "date", Role: store.Clock, Value: store.Value{Kind: store.Range, Lo: []byte("12345678"), Hi: []byte("12345679")}},
		{Param: "url", Value: store.Value{Kind: store.URI, Name: "http://u/v"}},
	}
	for _, ops := range [][]store.Op{
		{{Action: store.Create, Key: a, Raw: raw, Entries: entries}, {Action: store.Put, Key: b, Raw: []byte(`{"resourceType":"B","id":"2"}`)}},
		{{Action: store.Put, Key: a, Raw: raw[:len(raw)-3], Entries: entries[1:]}, {Action: store.Delete, Key: b}, {Action: store.Put, Key: c, Raw: raw}},
		{{Action: store.Put, Key: a, Raw: raw, Entries: entries[3:]}, {Action: store.Erase, Key: c}},
	} {
		if _, err := s.Commit(context.Background(), ops...); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestAChangedLayoutHasANewNumber(t *testing.T) {
	s := fixedWrites(t, t.TempDir())
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{spaceSetting + 1}})
	if err != nil {
		t.Fatal(err)
	}
	sum := xxhash.New()
	for it.First(); it.Valid(); it.Next() {
		_, _ = sum.Write(it.Key())
		_, _ = sum.Write(it.Value())
	}
	if err := errors.Join(it.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if got := sum.Sum64(); layouts[format] != got {
		t.Errorf("the writes leave %#x, layout %q is %#x: give the changed layout a new number", got, format, layouts[format])
	}
}

func TestAFolderOfAnotherLayoutIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := fixedWrites(t, dir)
	key := append([]byte{spaceSetting}, "format"...)
	if err := errors.Join(s.db.Set(key, []byte("1"), pebble.Sync), s.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{Unencrypted: true}); err == nil || !strings.Contains(err.Error(), `"1"`) {
		t.Errorf("got %v, want a refusal that names the layout", err)
	}
}
