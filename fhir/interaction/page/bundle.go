package page

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"

	"candela/fhir"
	"candela/store"
)

// Bundle is a Bundle being written as bytes: first total, then links, then
// entries.
type Bundle struct {
	Base string // the server's base URL
	// Form appends a version as it leaves the server; nil: whole.
	Form    func(dst []byte, v store.Version) []byte
	out     []byte
	links   int
	entries int
	mark    int // the place in levels of the highest confidentiality in it, from 1; 0: none has one
}

// NewBundle starts a Bundle of the given type, of about size bytes.
func NewBundle(base, kind string, size int) *Bundle {
	b := &Bundle{Base: base, out: make([]byte, 0, size+1024)}
	b.out = append(b.out, `{"resourceType":"Bundle","type":"`...)
	b.out = append(b.out, kind...)
	b.out = append(b.out, '"')
	return b
}

// Total writes the number of matches; a negative one is unknown and left out.
func (b *Bundle) Total(n int64) {
	if n >= 0 {
		b.out = append(b.out, `,"total":`...)
		b.out = strconv.AppendInt(b.out, n, 10)
	}
}

// Link writes one link.
func (b *Bundle) Link(relation, url string) {
	if b.links++; b.links == 1 {
		b.out = append(b.out, `,"link":[`...)
	} else {
		b.out = append(b.out, ',')
	}
	b.out = append(b.out, `{"relation":"`...)
	b.out = append(b.out, relation...)
	b.out = append(b.out, `","url":`...)
	b.out = append(fhir.AppendQuote(b.out, url), '}')
}

// open starts an entry.
func (b *Bundle) open() {
	if b.entries++; b.entries > 1 {
		b.out = append(b.out, ',', '{')
		return
	}
	if b.links > 0 {
		b.out = append(b.out, ']')
	}
	b.out = append(b.out, `,"entry":[{`...)
}

// member starts a member of the object that is being written.
func (b *Bundle) member(key string) {
	if b.out[len(b.out)-1] != '{' {
		b.out = append(b.out, ',')
	}
	b.out = append(b.out, '"')
	b.out = append(b.out, key...)
	b.out = append(b.out, '"', ':')
}

func (b *Bundle) text(key, value string) {
	b.member(key)
	b.out = fhir.AppendQuote(b.out, value)
}

func (b *Bundle) fullURL(k store.Key) {
	b.text("fullUrl", b.Base+"/"+k.String())
}

func (b *Bundle) stamped(v store.Version) {
	b.Label(v.Raw)
	b.member("resource")
	if b.Form != nil {
		b.out = b.Form(b.out, v)
		return
	}
	b.out = fhir.AppendStamped(b.out, v.Raw, v.Number, v.Time)
}

// Match writes an entry of a searchset; mode is match or include.
func (b *Bundle) Match(v store.Version, mode string) {
	b.open()
	b.fullURL(v.Key)
	b.stamped(v)
	b.out = append(b.out, `,"search":{"mode":"`...)
	b.out = append(b.out, mode...)
	b.out = append(b.out, `"}}`...)
}

// Contained writes a match that stands inside of a resource, by its own id there.
func (b *Bundle) Contained(in store.Key, id string, raw []byte) {
	b.open()
	b.text("fullUrl", b.Base+"/"+in.String()+"#"+id)
	b.member("resource")
	b.out = append(b.out, raw...)
	b.out = append(b.out, `,"search":{"mode":"match"}}`...)
}

// Graded writes an entry of a searchset with its search element as JSON.
func (b *Bundle) Graded(v store.Version, search []byte) {
	b.open()
	b.fullURL(v.Key)
	b.stamped(v)
	b.member("search")
	b.out = append(append(b.out, search...), '}')
}

// Outcome writes issues as the outcome entry of a searchset; none, no entry.
func (b *Bundle) Outcome(issues []fhir.Issue) {
	if len(issues) == 0 {
		return
	}
	b.open()
	b.member("resource")
	b.out = append(b.out, fhir.OutcomeOf(issues...)...)
	b.out = append(b.out, `,"search":{"mode":"outcome"}}`...)
}

// Past writes an entry of a history: what was asked and answered when the
// version was made. A delete has no resource.
func (b *Bundle) Past(v store.Version) {
	method, url, status := "PUT", v.Key.String(), 200
	switch {
	case v.Action == store.Delete:
		method, status = "DELETE", 204
	case v.Action == store.Create:
		method, url, status = "POST", v.Key.Type, 201
	case v.Number == 1:
		status = 201
	}
	b.open()
	b.fullURL(v.Key)
	if v.Action != store.Delete {
		b.stamped(v)
	}
	b.member("request")
	b.out = append(b.out, '{')
	b.text("method", method)
	b.text("url", url)
	b.out = append(b.out, '}')
	b.response(fhir.Response{Status: status, ETag: strconv.FormatInt(v.Number, 10), LastModified: v.Time})
	b.out = append(b.out, '}')
}

// Answer writes an entry of a batch or transaction response.
func (b *Bundle) Answer(a fhir.Response) {
	b.open()
	raw := a.Body
	if a.Resource.Exists() {
		raw = a.Resource.Raw()
	}
	if where := fhir.ParseReference(a.Location); where.Type != "" && len(raw) > 0 {
		b.fullURL(store.Key{Type: where.Type, ID: where.ID})
	}
	b.Label(raw)
	if len(raw) > 0 && !isOutcome(a) {
		b.member("resource")
		b.out = append(b.out, raw...)
		raw = nil
	}
	a.Body = raw
	b.response(a)
	b.out = append(b.out, '}')
}

// isOutcome says whether the body is about the answer: it then stands in
// response.outcome.
func isOutcome(a fhir.Response) bool {
	const head = `{"resourceType":"OperationOutcome"`
	return len(a.Body) >= len(head) && string(a.Body[:len(head)]) == head
}

func (b *Bundle) response(a fhir.Response) {
	b.member("response")
	b.out = append(b.out, '{')
	b.text("status", strconv.Itoa(a.Status)+" "+http.StatusText(a.Status))
	if a.Location != "" {
		b.text("location", a.Location)
	}
	if a.ETag != "" {
		b.text("etag", `W/"`+a.ETag+`"`)
	}
	if !a.LastModified.IsZero() {
		b.text("lastModified", a.LastModified.UTC().Format(fhir.InstantForm))
	}
	if len(a.Body) > 0 {
		b.member("outcome")
		b.out = append(b.out, a.Body...)
	}
	b.out = append(b.out, '}')
}

// The codes of confidentiality from the lowest to the highest, and their system.
const (
	levels          = "ULMNRV"
	confidentiality = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
)

// Label notes the confidentiality of a resource that is in the Bundle: the
// highest of all becomes the Bundle's own (HL7 DS4P, high-water mark).
func (b *Bundle) Label(raw []byte) {
	if b.mark == len(levels) || !bytes.Contains(raw, []byte(confidentiality)) {
		return
	}
	for one := range fhir.Stored(raw).Root().Path("meta", "security").Elements() {
		if code := one.Get("code").Text(); one.Get("system").Text() == confidentiality && len(code) == 1 {
			b.mark = max(b.mark, 1+strings.Index(levels, code))
		}
	}
}

// Bytes ends the Bundle.
func (b *Bundle) Bytes() []byte {
	if b.entries > 0 || b.links > 0 {
		b.out = append(b.out, ']')
	}
	if b.mark > 0 {
		b.out = append(b.out, `,"meta":{"security":[{"system":"`+confidentiality+`","code":"`+levels[b.mark-1:b.mark]+`"}]}`...)
	}
	return append(b.out, '}')
}
