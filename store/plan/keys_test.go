package plan_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"candela/store"
	"candela/store/plan"
)

// lab is a laboratory observation as the search layer indexes one.
func lab(n int) []store.Entry {
	code := func(param string, role store.Role, space, name, display string) store.Entry {
		return store.Entry{Param: param, Role: role, Value: store.Value{Kind: store.Code, Space: space, Name: name, Text: display, Raw: display}}
	}
	link := func(param string, role store.Role, typ, id string) store.Entry {
		return store.Entry{Param: param, Role: role, Value: store.Value{Kind: store.Link, Space: typ, Name: id}}
	}
	at := time.Date(2016, 4, 10, 7, 52, 58, 0, time.UTC).Add(time.Duration(n) * time.Hour)
	number := store.OrderedFloat(float64(n%2000) / 10)
	amount := store.Value{Kind: store.Range, Lo: number, Hi: number, Space: "http://unitsofmeasure.org", Name: "mm[Hg]", Text: "mm[Hg]"}
	name := fmt.Sprint(8000+n%200, "-6")
	loinc := store.Value{Kind: store.Code, Space: "http://loinc.org", Name: name}
	patient := fmt.Sprintf("%08d-9b2c-4a0e-8d51-000000000000", n/100)
	return []store.Entry{
		code("category", store.Hot, "http://terminology.hl7.org/CodeSystem/observation-category", "laboratory", "laboratory"),
		code("code", store.Hot, "http://loinc.org", name, "systolic blood pressure"),
		code("combo-code", 0, "http://loinc.org", name, "systolic blood pressure"),
		code("status", store.Hot, "http://hl7.org/fhir/observation-status", "final", ""),
		link("patient", store.Anchor, "Patient", patient),
		link("subject", store.Anchor, "Patient", patient),
		link("encounter", 0, "Encounter", fmt.Sprintf("%08d-1111-4a0e-8d51-000000000000", n/10)),
		{Param: "date", Role: store.Clock, Value: store.Value{Kind: store.Range, Lo: store.OrderedTime(at), Hi: store.OrderedTime(at.Add(time.Second - time.Microsecond))}},
		{Param: "value-quantity", Value: amount},
		{Param: "combo-value-quantity", Value: amount},
		{Param: "code-value-quantity", Value: store.Value{Kind: store.Tuple, Parts: []store.Value{loinc, amount}}},
		{Param: "combo-code-value-quantity", Value: store.Value{Kind: store.Tuple, Parts: []store.Value{loinc, amount}}},
		{Param: "_profile", Value: store.Value{Kind: store.URI, Name: "http://hl7.org/fhir/us/core/StructureDefinition/us-core-observation-lab"}},
	}
}

func TestKeysAreFew(t *testing.T) {
	k := plan.KeysOf("Observation", lab(1), time.Now())
	n := len(k.Equal) + len(k.Ordered) + len(k.Prefix) + len(k.Timed)
	t.Logf("%d keys: %d equal, %d ordered, %d prefix, %d timed", n, len(k.Equal), len(k.Ordered), len(k.Prefix), len(k.Timed))
	if n > 28 {
		t.Errorf("a laboratory value has %d keys", n)
	}
	if !slices.Equal(k.Clock, lab(1)[7].Lo) {
		t.Errorf("clock %x", k.Clock)
	}
}

// TestKeysWithoutTwins: keys are sorted, each once, of fixed width or within
// PrefixLen bytes of valid UTF-8, and do not depend on the order of entries.
func TestKeysWithoutTwins(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		entries := drawEntries(r)
		now := time.UnixMilli(rapid.Int64Range(0, 1<<41).Draw(r, "now"))
		k := plan.KeysOf("T", entries, now)
		if !strictly(k.Equal) || !strictly(k.Timed) {
			r.Fatalf("twins or disorder: %v %v", k.Equal, k.Timed)
		}
		for _, p := range k.Ordered {
			if len(p.Order) != 8 {
				r.Fatalf("ordered key of %d bytes", len(p.Order))
			}
		}
		for _, p := range k.Prefix {
			if len(p.Order) > plan.PrefixLen || !utf8.Valid(p.Order) {
				r.Fatalf("prefix key %q", p.Order)
			}
		}
		if (len(k.Timed) > 0) != (k.Clock != nil) {
			r.Fatalf("%d timed keys, clock %x", len(k.Timed), k.Clock)
		}
		slices.Reverse(entries)
		if other := plan.KeysOf("T", entries, now); fmt.Sprint(other) != fmt.Sprint(k) {
			r.Fatalf("another order gives other keys:\n%v\n%v", k, other)
		}
	})
}

func strictly(h []uint64) bool {
	for i := 1; i < len(h); i++ {
		if h[i] <= h[i-1] {
			return false
		}
	}
	return true
}

func drawEntries(r *rapid.T) (out []store.Entry) {
	text := rapid.SampledFrom([]string{"", "a", "http://x/y", "Ünal 東京東京東京東京東京 ab", "x\x00y", "a fairly long text of some words"})
	ends := rapid.SampledFrom([][]byte{nil, {}, {1}, store.OrderedInt(5), store.OrderedInt(1 << 40), append(store.OrderedInt(7), 9, 9)})
	value := func() store.Value {
		return store.Value{
			Kind: store.Kind(rapid.IntRange(1, 7).Draw(r, "kind")), Space: text.Draw(r, "space"), Name: text.Draw(r, "name"),
			Text: text.Draw(r, "text"), Raw: text.Draw(r, "raw"), Lo: ends.Draw(r, "lo"), Hi: ends.Draw(r, "hi"),
		}
	}
	for range rapid.IntRange(0, 6).Draw(r, "entries") {
		e := store.Entry{Param: rapid.SampledFrom([]string{"p", "q", "_r"}).Draw(r, "param"), Role: store.Role(rapid.IntRange(0, 7).Draw(r, "role")), Value: value()}
		if e.Kind == store.Place {
			e.Lo, e.Hi = store.OrderedFloat(1), store.OrderedFloat(2)
		}
		for range rapid.IntRange(0, 2).Draw(r, "parts") {
			e.Parts = append(e.Parts, value())
		}
		out = append(out, e)
	}
	return out
}

func drawRow(r *rapid.T) plan.Row {
	return plan.Row{
		RID: store.RID(rapid.Uint64().Draw(r, "rid")), Key: store.Key{Type: "T", ID: rapid.String().Draw(r, "id")},
		Number: rapid.Int64Range(1, 1<<40).Draw(r, "number"), Seq: store.Seq(rapid.Uint64().Draw(r, "seq")),
		Time: time.UnixMilli(rapid.Int64Range(-1<<41, 1<<41).Draw(r, "time")).UTC(), Entries: drawEntries(r),
	}
}

// TestRowsComeBack: what is encoded is decoded, grouped by parameter.
func TestRowsComeBack(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		row := drawRow(r)
		data := plan.EncodeRow([]byte("x"), row)[1:]
		got, err := plan.DecodeRow(data)
		if err != nil {
			r.Fatal(err)
		}
		if got.RID != row.RID || got.Key != row.Key || got.Number != row.Number || got.Seq != row.Seq || !got.Time.Equal(row.Time) {
			r.Fatalf("head %+v, want %+v", got, row)
		}
		if g, w := byParam(got.Entries), byParam(row.Entries); fmt.Sprintf("%#v", g) != fmt.Sprintf("%#v", w) {
			r.Fatalf("entries\n got %#v\nwant %#v", g, w)
		}
		if again := plan.EncodeRow(nil, got); !bytes.Equal(again, data) {
			r.Fatalf("encoding is not stable:\n%x\n%x", data, again)
		}
	})
}

// byParam sorts as a packed record does, and forgets which empty slices were nil.
func byParam(entries []store.Entry) (out []store.Entry) {
	var params []string
	for _, e := range entries {
		if !slices.Contains(params, e.Param) {
			params = append(params, e.Param)
		}
	}
	for _, p := range params {
		for _, e := range entries {
			if e.Param == p {
				out = append(out, e)
			}
		}
	}
	return out
}

// FuzzDecodeRow: damaged records are an error or a row, never a crash.
func FuzzDecodeRow(f *testing.F) {
	good := plan.EncodeRow(nil, plan.Row{RID: 7, Key: store.Key{Type: "Observation", ID: "1"}, Number: 3, Seq: 9, Entries: lab(3)})
	f.Add(good)
	for i := range good {
		f.Add(good[:i])
		bad := slices.Clone(good)
		bad[i] ^= 0xff
		f.Add(bad)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		row, err := plan.DecodeRow(data)
		if err == nil {
			_, err = row.All()
		}
		if err != nil && len(row.Entries) > len(data) {
			t.Fatalf("%d entries from %d bytes", len(row.Entries), len(data))
		}
	})
}

func BenchmarkKeysOf(b *testing.B) {
	entries, now := lab(1), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		plan.KeysOf("Observation", entries, now)
	}
}

func BenchmarkEncodeRow(b *testing.B) {
	row := plan.Row{RID: 7, Key: store.Key{Type: "Observation", ID: "1"}, Number: 1, Seq: 9, Time: time.Now(), Entries: lab(1)}
	buf := plan.EncodeRow(nil, row)
	b.ReportMetric(float64(len(buf)), "bytes/row")
	b.ReportAllocs()
	for b.Loop() {
		buf = plan.EncodeRow(buf[:0], row)
	}
}

func BenchmarkDecodeRow(b *testing.B) {
	buf := plan.EncodeRow(nil, plan.Row{RID: 7, Key: store.Key{Type: "Observation", ID: "1"}, Number: 1, Seq: 9, Entries: lab(1)})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := plan.DecodeRow(buf); err != nil {
			b.Fatal(err)
		}
	}
}
