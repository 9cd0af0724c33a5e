package fhir_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"candela/fhir"
)

// examples walks every JSON body of the shared test data, unpacked.
func examples(t testing.TB, each func(name string, body []byte)) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(filepath.Join(shared(t), "data", "fhir"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(d.Name(), ".json") {
			return err
		}
		body, err := os.ReadFile(path)
		if err == nil && strings.HasSuffix(path, ".gz") {
			body, err = unzip(body)
		}
		if err == nil {
			each(d.Name(), body)
			n++
		}
		return err
	})
	if err != nil || n < 300 {
		t.Fatalf("%d examples read: %v", n, err)
	}
}

func unzip(packed []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// shared finds the folder of shared test data: CANDELA_SHARED, else a folder
// "shared" beside the repository.
func shared(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("CANDELA_SHARED"); dir != "" {
		return dir
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if info, err := os.Stat(filepath.Join(dir, "shared", "data")); err == nil && info.IsDir() {
			return filepath.Join(dir, "shared")
		}
	}
	t.Fatal("shared test data not found: set CANDELA_SHARED")
	return ""
}

// Items 15 and 16: every literal, extension, null and the order of keys survive;
// only white space goes.
func TestItem15And16_EveryExampleIsKeptByteForByte(t *testing.T) {
	examples(t, func(name string, body []byte) {
		tree, err := fhir.ParseTree(body, fhir.BundleLimits())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		var want bytes.Buffer
		if err := json.Compact(&want, body); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(tree.Raw(), want.Bytes()) {
			t.Errorf("%s: changed by parsing", name)
		}
	})
}

func TestItem15_DecimalsKeepTheirDigits(t *testing.T) {
	for _, literal := range []string{"1.00", "0.0", "-0", "-0.000", "1e2", "1E+2", "1.0e-7", "100", "123456789012345678901234567890.123456789"} {
		body := `{"resourceType":"Observation","valueQuantity":{"value":` + literal + `}}`
		r, err := fhir.ParseResource([]byte(body), fhir.Limits{})
		if err != nil {
			t.Fatalf("%s: %v", literal, err)
		}
		if got := r.Root().Path("valueQuantity", "value"); got.Text() != literal || got.Kind() != fhir.Number || string(r.Raw()) != body {
			t.Errorf("%s became %s in %s", literal, got.Text(), r.Raw())
		}
	}
}

func TestItem16_PrimitiveExtensionsAndNullsStay(t *testing.T) {
	body := `{"resourceType":"Patient","birthDate":"1970","_birthDate":{"extension":[{"url":"u","valueTime":"10:00:00"}]},` +
		`"name":[{"given":["A",null,"C"],"_given":[null,{"id":"x"},null]}]}`
	r, err := fhir.ParseResource([]byte(body), fhir.Limits{})
	if err != nil || string(r.Raw()) != body {
		t.Fatalf("%s %v", r.Raw(), err)
	}
	given := r.Root().Path("name", "given")
	if given.Len() != 3 || given.First().Text() != "A" {
		t.Errorf("given: %s", given.Raw())
	}
	kinds := ""
	for e := range r.Root().Path("name", "_given").Elements() {
		kinds += string(rune(e.Kind()))
	}
	if kinds != "n{n" {
		t.Errorf("_given has kinds %q", kinds)
	}
}

func TestTreeWalks(t *testing.T) {
	tree, err := fhir.ParseTree([]byte(` { "a" : [ 1 , "x\n\u00e9" , { } , [ ] ] , "b\u0062" : true , "c" : null } `), fhir.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	root := tree.Root()
	if got := string(tree.Raw()); got != `{"a":[1,"x\n\u00e9",{},[]],"b\u0062":true,"c":null}` {
		t.Errorf("raw %s", got)
	}
	var keys []string
	for k := range root.Members() {
		keys = append(keys, k)
	}
	if strings.Join(keys, " ") != "a bb c" || root.Len() != 3 {
		t.Errorf("members %v", keys)
	}
	var texts []string
	for e := range root.Get("a").Each() {
		texts = append(texts, e.Text())
	}
	if strings.Join(texts, "|") != "1|x\né||" {
		t.Errorf("elements %q", texts)
	}
	if n := root.Get("bb"); n.Kind() != fhir.True || n.Text() != "true" {
		t.Errorf("an escaped name must be found by what it means: %v", n.Kind())
	}
	if n := root.Get("c"); !n.Exists() || n.Kind() != fhir.Null || n.Text() != "" {
		t.Errorf("null exists and has no text")
	}
	missing := root.Get("zz").Get("y").Path("z", "q").First()
	if missing.Exists() || missing.Kind() != fhir.Missing || missing.Raw() != nil || missing.Len() != 0 {
		t.Errorf("what is not there must stay quiet")
	}
	from, to := root.Get("a").Span()
	if string(tree.Raw()[from:to]) != `[1,"x\n\u00e9",{},[]]` {
		t.Errorf("span %d %d", from, to)
	}
}

// Parsing twice gives the same as parsing once, and never anything but what a
// plain JSON compactor gives.
func FuzzParseTree(f *testing.F) {
	for _, seed := range []string{
		`{"resourceType":"Patient","id":"1","name":[{"given":["A",null]}],"x":1.50e2}`, `[]`, ` "\u00e9\ud83d\ude00" `, `-0.0`, `{"a":{"b":[{}]}}`, `{"a":1,"\u0061":2}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		tree, err := fhir.ParseTree(body, fhir.Limits{})
		if err != nil {
			if s := statusOf(err); s != 400 && s != 413 {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		var want bytes.Buffer
		if err := json.Compact(&want, body); err != nil || !bytes.Equal(want.Bytes(), tree.Raw()) {
			t.Fatalf("%q became %q (%v)", body, tree.Raw(), err)
		}
		again, err := fhir.ParseTree(tree.Raw(), fhir.Limits{})
		if err != nil || !bytes.Equal(again.Raw(), tree.Raw()) {
			t.Fatalf("%q is not stable: %v", tree.Raw(), err)
		}
		walk(t, tree.Root(), tree.Raw())
	})
}

// walk checks that every node's text is a JSON value of its kind, in order.
func walk(t *testing.T, n fhir.Node, raw []byte) {
	from, to := n.Span()
	if !bytes.Equal(n.Raw(), raw[from:to]) || !json.Valid(n.Raw()) {
		t.Fatalf("node %d of %q has text %q", n.Index(), raw, n.Raw())
	}
	for key, child := range n.Members() {
		if found := n.Get(key); found != child {
			t.Fatalf("%q: Get(%q) finds another node than Members", raw, key)
		}
		walk(t, child, raw)
	}
	for child := range n.Elements() {
		walk(t, child, raw)
	}
}
