package bulk

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"candela/fhir"
)

// part is one Bundle to send, with where its entries came from.
type part struct {
	bundle  []byte // nil: of list
	list    [][]byte
	entries int
	first   int // position of the first entry in the file, from 0
	// plain says that list is writes of one resource each that ask for nothing of
	// each other: stored in one commit they become what they become one by one.
	plain bool
}

// as is the part's list as a Bundle of a kind.
func (p part) as(kind string) []byte {
	if p.bundle != nil {
		return p.bundle
	}
	return fmt.Appendf(nil, `{"resourceType":"Bundle","type":%q,"entry":[%s]}`, kind, bytes.Join(p.list, []byte(",")))
}

// halves cuts a part of at least two entries.
func (p part) halves() [2]part {
	n := len(p.list) / 2
	a, b := p, p
	a.list, a.entries = p.list[:n], n
	b.list, b.entries, b.first = p.list[n:], p.entries-n, p.first+n
	return [2]part{a, b}
}

// parts yields a source as Bundles of at most most entries. A batch or
// transaction within the limit is sent as it is. A longer one is cut: its
// urn:uuid entries then keep that uuid as their id, so that references hold
// across the cuts. Any other Bundle, a lone resource and NDJSON lines become
// batches of updates (creates where there is no id).
func parts(s source, most int, yield func(part) error) error {
	f, err := s.open()
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read from
	if s.lines {
		return lineParts(f, most, yield)
	}
	body, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	tree, err := fhir.ParseTree(body, wide(len(body)))
	if err != nil {
		return err
	}
	return treeParts(tree, most, yield)
}

// wide lets a file be as large as it is: the limits of one request are the
// server's to check on what it is sent.
func wide(size int) fhir.Limits {
	return fhir.Limits{Bytes: size, Depth: 72, Tokens: size + 1, String: size}
}

func treeParts(tree *fhir.Tree, most int, yield func(part) error) error {
	root := tree.Root()
	if root.Get("resourceType").Text() != "Bundle" {
		return yield(part{list: [][]byte{writeOf(root)}, entries: 1})
	}
	entries := root.Get("entry")
	kind := root.Get("type").Text()
	writes := kind == "batch" || kind == "transaction"
	if writes && entries.Len() <= most {
		return yield(part{bundle: tree.Raw(), entries: entries.Len()})
	}
	ids := map[string]string{}
	if writes {
		ids = keptIDs(entries)
	}
	cut := cutter{most: most, yield: yield, always: !writes, plain: !writes}
	for e := range entries.Elements() {
		raw := writeOf(e.Get("resource"))
		cut.plain = cut.plain && !conditional(e.Get("resource"))
		if writes {
			raw = keepID(e, ids)
		}
		if err := cut.add(raw); err != nil {
			return err
		}
	}
	return cut.flush()
}

// keptIDs maps each urn:uuid fullUrl of a created resource to Type/uuid.
func keptIDs(entries fhir.Node) map[string]string {
	ids := map[string]string{}
	for e := range entries.Elements() {
		id, ok := strings.CutPrefix(e.Get("fullUrl").Text(), "urn:uuid:")
		plain := !e.Get("request").Get("ifNoneExist").Exists()
		if ok && plain && e.Get("request").Get("method").Text() == "POST" {
			ids["urn:uuid:"+id] = e.Get("resource").Get("resourceType").Text() + "/" + id
		}
	}
	return ids
}

// keepID turns a create into an update with the uuid as id and points
// references at kept ids. Entries of other kinds only get the references.
func keepID(entry fhir.Node, ids map[string]string) []byte {
	var edits []fhir.Edit
	base, _ := entry.Span()
	pointAt(entry, ids, &edits)
	if target, ok := ids[entry.Get("fullUrl").Text()]; ok {
		_, id, _ := strings.Cut(target, "/")
		if res, err := fhir.ResourceAt(entry.Get("resource")); err == nil {
			start, _ := entry.Get("resource").Span()
			set := fhir.SetID(res, id) // counts from the resource's own start
			edits = append(edits, fhir.Edit{From: set.From + start, To: set.To + start, With: set.With})
		}
		from, to := entry.Get("request").Span()
		edits = append(edits, fhir.Edit{From: from, To: to, With: putOf(target)})
	}
	for i := range edits {
		edits[i].From -= base
		edits[i].To -= base
	}
	return fhir.Apply(entry.Raw(), edits)
}

func putOf(target string) []byte {
	return fmt.Appendf(nil, `{"method":"PUT","url":%s}`, fhir.Quote(target))
}

func pointAt(n fhir.Node, ids map[string]string, edits *[]fhir.Edit) {
	for key, value := range n.Members() {
		if target, ok := ids[value.Text()]; ok && key == "reference" {
			from, to := value.Span()
			*edits = append(*edits, fhir.Edit{From: from, To: to, With: fhir.Quote(target)})
		}
		pointAt(value, ids, edits)
	}
	for value := range n.Elements() {
		pointAt(value, ids, edits)
	}
}

// writeOf is a batch entry that stores one resource.
func writeOf(resource fhir.Node) []byte {
	typ, id := resource.Get("resourceType").Text(), resource.Get("id").Text()
	request := fmt.Appendf(nil, `{"method":"POST","url":%s}`, fhir.Quote(typ))
	if id != "" {
		request = putOf(typ + "/" + id)
	}
	return fmt.Appendf(nil, `{"resource":%s,"request":%s}`, resource.Raw(), request)
}

// conditional says whether a resource may have a reference that a transaction
// would look for and a batch would not.
func conditional(resource fhir.Node) bool {
	for key, n := range resource.Strings() {
		if string(key) == `"reference"` && bytes.IndexByte(n.Raw(), '?') >= 0 {
			return true
		}
	}
	return false
}

// cutter gathers entries into batches.
type cutter struct {
	most    int
	yield   func(part) error
	always  bool // parts are plain unless an entry says otherwise
	plain   bool // the part that is gathered, so far
	entries [][]byte
	bytes   int
	first   int
}

// batchBytes keeps one cut well below the server's limit for a Bundle.
const batchBytes = 8 << 20

func (c *cutter) add(entry []byte) error {
	c.entries = append(c.entries, entry)
	c.bytes += len(entry)
	if len(c.entries) >= c.most || c.bytes >= batchBytes {
		return c.flush()
	}
	return nil
}

func (c *cutter) flush() error {
	if len(c.entries) == 0 {
		return nil
	}
	err := c.yield(part{list: c.entries, entries: len(c.entries), first: c.first, plain: c.plain})
	c.first += len(c.entries)
	c.entries, c.bytes = nil, 0
	c.plain = c.always
	return err
}

// lineBatch is how many NDJSON resources go into one batch: small enough to
// resume closely, large enough to share commits.
const lineBatch = 500

func lineParts(r io.Reader, most int, yield func(part) error) error {
	in := bufio.NewReaderSize(r, 1<<20)
	cut := cutter{most: min(most, lineBatch), yield: yield, always: true, plain: true}
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if text := bytes.TrimSpace(line); len(text) > 0 {
			tree, bad := fhir.ParseTree(text, wide(len(text)))
			if bad != nil {
				return fmt.Errorf("line %d: %w", n, bad)
			}
			cut.plain = cut.plain && !conditional(tree.Root())
			if bad := cut.add(writeOf(tree.Root())); bad != nil {
				return bad
			}
		}
		if errors.Is(err, io.EOF) {
			return cut.flush()
		}
		if err != nil {
			return err
		}
	}
}
