package fhir_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"unicode/utf16"

	"candela/fhir"
)

// refused parses a body that must be refused, and gives the refusal.
func refused(t *testing.T, body []byte, limits fhir.Limits) *fhir.Error {
	t.Helper()
	_, err := fhir.ParseResource(body, limits)
	var refusal *fhir.Error
	if !errors.As(err, &refusal) {
		t.Fatalf("%.80q was not refused: %v", body, err)
	}
	return refusal
}

func TestT62_StrangeKeysAreKeptVerbatimOr400(t *testing.T) {
	for _, key := range []string{"a.b", "$ref", "__proto__", "constructor", "a b", "é", "\u202e", "", "$where", "toString"} {
		body := fmt.Sprintf(`{"resourceType":"Patient",%s:{"x":1}}`, fhir.Quote(key))
		r, err := fhir.ParseResource([]byte(body), fhir.Limits{})
		if err != nil {
			t.Errorf("%q: %v", key, err)
			continue
		}
		if string(r.Raw()) != body || r.Root().Get(key).Get("x").Text() != "1" {
			t.Errorf("%q: stored as %s", key, r.Raw())
		}
	}
	nul := `{"resourceType":"Patient","a\u0000b":1}`
	if r, err := fhir.ParseResource([]byte(nul), fhir.Limits{}); err != nil || string(r.Raw()) != nul {
		t.Errorf("an escaped NUL must stay escaped: %s %v", r.Raw(), err)
	}
	if e := refused(t, []byte("{\"resourceType\":\"Patient\",\"a\x00b\":1}"), fhir.Limits{}); e.Status != 400 {
		t.Errorf("bare NUL in a key: %d", e.Status)
	}
}

func TestT63_TwinsAre400(t *testing.T) {
	for _, body := range []string{
		`{"resourceType":"Patient","RESOURCETYPE":"Group"}`,
		`{"RESOURCETYPE":"Group","resourceType":"Patient"}`,
		`{"resourceType":"Patient","re\u0053ourceType":"Group"}`,
		`{"resourceType":"Patient","reſourceType":"Group"}`,
		`{"resourceType":"Patient","resourceType":"Group"}`,
		`{"resourceType":"Patient","resourc\u0065Type":"Group"}`,
		`{"resourceType":"Patient","id":"1","id":"2"}`,
		`{"resourceType":"Patient","id":"1","\u0069d":"2"}`,
		`{"resourceType":"Observation","subject":{"reference":"Patient/1"},"subject":{"reference":"Patient/2"}}`,
		`{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Patient","ResourceType":"Group"}}]}`,
		`{"RESOURCETYPE":"Patient"}`,
		`{"resourceType":["Patient","Group"]}`,
		`{"resourceType":null}`,
		`[{"resourceType":"Patient"}]`,
		`"Patient"`,
		`{}`,
	} {
		if e := refused(t, []byte(body), fhir.Limits{}); e.Status != 400 {
			t.Errorf("%s: %d, want 400", body, e.Status)
		}
	}
}

// TestT64_HostileSizes: each body is refused or read, and what it allocates in
// all (an upper bound of what it holds at any one time) stays below ten times
// its size.
func TestT64_HostileSizes(t *testing.T) {
	repeat := func(prefix, item, suffix string, n int) string {
		return prefix + strings.Repeat(item+",", n-1) + item + suffix
	}
	for _, c := range []struct {
		name, body string
		status     int // 0: read
	}{
		{"depth 10,000", `{"resourceType":"A","a":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + "}", 413},
		{"depth 10,000 of objects", strings.Repeat(`{"a":`, 10_000) + "1" + strings.Repeat("}", 10_000), 413},
		{"1 M empty objects", repeat(`{"resourceType":"A","a":[`, "{}", "]}", 1_000_000), 0},
		{"2 M empty objects", repeat(`{"resourceType":"A","a":[`, "{}", "]}", 2_000_000), 413},
		{"1 M ones", repeat(`{"resourceType":"A","a":[`, "1", "]}", 1_000_000), 0},
		{"8 MB of commas in content", `{"resourceType":"A","data":"` + strings.Repeat(",", 8<<20) + `"}`, 0},
		{"50 MB string", `{"resourceType":"A","a":"` + strings.Repeat("x", 50<<20) + `"}`, 413},
		{"2 MB string", `{"resourceType":"A","a":"` + strings.Repeat("x", 2<<20) + `"}`, 413},
		{"9 MB attachment", `{"resourceType":"A","data":"` + strings.Repeat("x", 9<<20) + `"}`, 0},
		{"200,000 extensions", repeat(`{"resourceType":"A","extension":[`, `{"url":"u"}`, "]}", 200_000), 0},
		{"1e6 extensions", repeat(`{"resourceType":"A","extension":[`, `{"url":"u"}`, "]}", 1_000_000), 413},
		{"1e400", `{"resourceType":"A","a":1e400}`, 400},
		{"1e400000000", `{"resourceType":"A","a":1e400000000}`, 400},
		{"1E-99999999999999999999", `{"resourceType":"A","a":[-1.5E-99999999999999999999]}`, 400},
		{"9 MB of digits", `{"resourceType":"A","a":` + strings.Repeat("9", 9<<20) + `}`, 413},
		{"100,000 members", `{"resourceType":"A"` + manyMembers(100_000) + `}`, 413},
		{"long name", `{"resourceType":"A","` + strings.Repeat("n", 1<<20) + `":1}`, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := []byte(c.body)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := fhir.ParseResource(body, fhir.Limits{})
			runtime.ReadMemStats(&after)
			if got := statusOf(err); got != c.status {
				t.Errorf("status %d, want %d (%v)", got, c.status, err)
			}
			// A fixed cost of a few KB is no multiple of anything.
			if used := after.TotalAlloc - before.TotalAlloc; used > uint64(10*len(body))+64<<10 {
				t.Errorf("%d bytes of body cost %d bytes of heap", len(body), used)
			}
		})
	}
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"%x":1`, i)
	}
	return b.String()
}

func statusOf(err error) int {
	var refusal *fhir.Error
	if errors.As(err, &refusal) {
		return refusal.Status
	}
	if err != nil {
		return -1
	}
	return 0
}

func TestT64_LimitsOfABundleAreWider(t *testing.T) {
	body := []byte(`{"resourceType":"Bundle","a":[` + strings.Repeat("{},", 1_500_000) + `{}]}`)
	if _, err := fhir.ParseResource(body, fhir.BundleLimits()); err != nil {
		t.Errorf("a Bundle of 1.5 M values: %v", err)
	}
	if e := refused(t, body, fhir.Limits{Bytes: 1000}); e.Status != 413 || e.Issues[0].Code != fhir.CodeTooLong {
		t.Errorf("a body over its size limit: %v", e)
	}
}

func TestT66_BrokenTextIs400(t *testing.T) {
	patient := `{"resourceType":"Patient","id":"1"}`
	words := utf16.Encode([]rune("\ufeff" + patient))
	var little, big bytes.Buffer
	_ = binary.Write(&little, binary.LittleEndian, words)
	_ = binary.Write(&big, binary.BigEndian, words)
	for name, body := range map[string][]byte{
		"bad UTF-8 in a value":     []byte("{\"resourceType\":\"Patient\",\"a\":\"\xff\"}"),
		"bad UTF-8 in a name":      []byte("{\"resourceType\":\"Patient\",\"\xc3\":1}"),
		"overlong UTF-8":           []byte("{\"resourceType\":\"Patient\",\"a\":\"\xc0\xaf\"}"),
		"surrogate in UTF-8":       []byte("{\"resourceType\":\"Patient\",\"a\":\"\xed\xa0\x80\"}"),
		"lone high surrogate":      []byte(`{"resourceType":"Patient","a":"\ud800"}`),
		"lone low surrogate":       []byte(`{"resourceType":"Patient","a":"\udc00x"}`),
		"lone surrogate in a name": []byte(`{"resourceType":"Patient","\ud800":1}`),
		"byte order mark":          []byte("\xef\xbb\xbf" + patient),
		"UTF-16 little endian":     little.Bytes(),
		"UTF-16 big endian":        big.Bytes(),
		"bare control character":   []byte("{\"resourceType\":\"Patient\",\"a\":\"\n\"}"),
		"empty":                    nil,
		"white space":              []byte(" \n"),
		"cut short":                []byte(patient[:20]),
		"two values":               []byte(patient + patient),
		"trailing comma":           []byte(`{"resourceType":"Patient",}`),
		"comment":                  []byte(`{"resourceType":"Patient"/*x*/}`),
		"single quotes":            []byte(`{'resourceType':'Patient'}`),
		"NaN":                      []byte(`{"resourceType":"Patient","a":NaN}`),
		"leading zero":             []byte(`{"resourceType":"Patient","a":01}`),
		"plus":                     []byte(`{"resourceType":"Patient","a":+1}`),
		"no digit after the point": []byte(`{"resourceType":"Patient","a":1.}`),
		"XML":                      []byte(`<Patient xmlns="http://hl7.org/fhir"/>`),
	} {
		if e := refused(t, body, fhir.Limits{}); e.Status != 400 {
			t.Errorf("%s: %d, want 400", name, e.Status)
		}
	}
	good := `{"resourceType":"Patient","a":"\ud83d\ude00 😀 ` + "\u202e" + `"}`
	if r, err := fhir.ParseResource([]byte(good), fhir.Limits{}); err != nil || string(r.Raw()) != good {
		t.Errorf("good surrogate pairs and bidi text must stay as written: %s %v", r.Raw(), err)
	}
}

func TestRefusalsNameTheirPlace(t *testing.T) {
	for body, place := range map[string]string{
		`{"resourceType":"Patient","name":[{"given":[1e999]}]}`: "name",
		`{"resourceType":"Patient","x y":1e999}`:                "",
		`{"resourceType":"Patient","name":[}`:                   "name",
	} {
		if e := refused(t, []byte(body), fhir.Limits{}); e.Issues[0].Expression != place {
			t.Errorf("%s: place %q, want %q", body, e.Issues[0].Expression, place)
		}
	}
}

func TestRefusalsDoNotEchoValues(t *testing.T) {
	for _, body := range []string{
		`{"resourceType":"Patient","name":"Kowalski","name":"Kowalski"}`,
		`{"resourceType":"Patient","name":Kowalski}`,
		`{"resourceType":"Patient","name":"Kowalski"`,
		`{"resourceType":"Patient","name":"Kowalski` + strings.Repeat("x", 2<<20) + `"}`,
		`{"resourceType":"Patient","name":["Kowalski",1e999]}`,
		`{"resourceType":"Patient","Kowalski 1970":1,"Kowalski 1970":2}`,
		`{"resourceType":"Patient","Kowalski 1970":1e999}`,
	} {
		if e := refused(t, []byte(body), fhir.Limits{}); strings.Contains(e.Error(), "Kowal") {
			t.Errorf("the refusal of %.60s tells what was in it: %v", body, e)
		}
	}
}
