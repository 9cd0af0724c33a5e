package interaction_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"candela/fhir"
	"candela/fhir/interaction"
	"candela/fhir/operation"
	"candela/fhir/r4"
	"candela/fhir/search"
	"candela/fhir/validate"
	"candela/store"
	"candela/store/embedded"
)

// E1: two stores that are equal on what a caller may see must answer every
// request of that caller alike, byte for byte. This file makes such pairs.

const twinBase = "http://us/fhir"

// dice chooses: rapid's draws, or plain random numbers.
type dice interface{ roll(n int, what string) int }

func pick[T any](d dice, what string, from ...T) T { return from[d.roll(len(from), what)] }

// parts are what engines of all pairs share.
var parts = sync.OnceValues(func() (*twinParts, error) {
	spec, err := r4.Load()
	if err != nil {
		return nil, err
	}
	registry, err := search.New(spec, twinBase)
	if err != nil {
		return nil, err
	}
	now := func() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }
	return &twinParts{spec, registry, validate.New(spec), operation.New(registry, spec.Resources(), now), now}, nil
})

type twinParts struct {
	spec       *r4.Spec
	search     *search.Registry
	structure  *validate.Structure
	operations *operation.Catalog
	now        func() time.Time
}

// leak is a view check taken out, for the test of the test: a layer that widens
// callers, or a store that forgets what queries are narrowed by.
type leak struct {
	name  string
	door  func(fhir.Doer) fhir.Doer
	store func(s store.Store, w witness) store.Store
}

// world is one store with its engine.
type world struct {
	*interaction.Engine
	store store.Store
	next  string // the link to the next page, of the last answer that had one
}

func newWorld(t testing.TB, w witness, l leak) *world {
	t.Helper()
	p, err := parts()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(t.TempDir(), "world")
	if err != nil {
		t.Fatal(err)
	}
	s, err := embedded.Open(dir, embedded.Options{Now: p.now, Logger: slog.New(slog.DiscardHandler), Relaxed: true, CacheBytes: 1 << 20, SetBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	out := &world{store: s}
	seen := store.Store(s)
	if l.store != nil {
		seen = l.store(s, w)
	}
	n := 0
	out.Engine, err = interaction.New(interaction.Config{
		Store: seen, Search: p.search, Structure: p.structure, Elements: p.spec, Types: p.spec.Resources(), Now: p.now, Operations: p.operations,
		NewID: func() string { n++; return fmt.Sprint("new", n) }, Log: slog.New(slog.DiscardHandler), Door: l.door, Workers: 1, DeleteMany: 3,
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// close ends the store and takes its folder away.
func (w *world) close(t testing.TB) {
	t.Helper()
	if err := w.store.Close(); err != nil {
		t.Error(err)
	}
}

// ask sends one request and gives all that its answer tells.
func (w *world) ask(c fhir.Caller, a asked) string {
	url := a.url
	if url == nextPage {
		if url = w.next; url == "" {
			return "no next page"
		}
	}
	r, err := fhir.RouteURL(a.method, url, twinBase)
	if err != nil {
		return err.Error()
	}
	r.Base, r.Caller = twinBase, c
	r.IfMatch, r.IfNoneMatch, r.IfNoneExist, r.Format = a.ifMatch, a.ifNoneMatch, a.ifNoneExist, a.format
	r.Prefer.Handling = "lenient"
	switch {
	case a.format != "":
		r.Body = []byte(a.body)
	case a.body != "":
		if r.Resource, err = fhir.ParseResource([]byte(a.body), fhir.BundleLimits()); err != nil {
			return err.Error()
		}
	}
	answer, err := w.Do(context.Background(), r)
	var refusal *fhir.Error
	if errors.As(err, &refusal) {
		return fmt.Sprint(refusal.Status, " ", string(fhir.OutcomeOf(refusal.Issues...)))
	}
	body := string(answer.Body)
	if answer.Resource.Exists() {
		body = string(answer.Resource.Raw())
	}
	if at := strings.Index(body, `{"relation":"next","url":"`+twinBase); at >= 0 {
		rest := body[at+len(`{"relation":"next","url":"`):]
		w.next, _, _ = strings.Cut(rest, `"`)
	}
	return fmt.Sprint(answer.Status, " ", answer.ETag, " ", answer.LastModified.UnixMilli(), " ", answer.Location, " ", sealed.ReplaceAllString(body, "_page=SEALED"))
}

// sealed are page tokens: their nonces differ always.
var sealed = regexp.MustCompile(`_page=[A-Za-z0-9_-]+`)

// asked is one step of a program.
type asked struct {
	method, url, body, format         string
	ifMatch, ifNoneMatch, ifNoneExist string
}

const nextPage = "(next page)"

func (a asked) String() string {
	out := a.method + " " + a.url
	for name, value := range map[string]string{"If-Match": a.ifMatch, "If-None-Match": a.ifNoneMatch, "If-None-Exist": a.ifNoneExist, "Format": a.format} {
		if value != "" {
			out += " " + name + ": " + value
		}
	}
	return out + " " + a.body
}

// witness is a caller and how things are hidden from it.
type witness struct {
	name   string
	caller fhir.Caller
	// hide makes a thing invisible to the caller.
	hide func(d dice, x *thing)
}

// thing is a resource of the pairs.
type thing struct {
	typ, id, subject, status, code, category, identifier, name, security, tag string
	links                                                                     []string // Type/id
	value                                                                     int
}

func (x thing) first(typ string) string {
	for _, l := range x.links {
		if strings.HasPrefix(l, typ+"/") {
			return l
		}
	}
	return ""
}

func ref(member, to string) string {
	if to == "" {
		return ""
	}
	return `,"` + member + `":{"reference":"` + to + `"}`
}

func refs(member string, to ...string) string {
	var list []string
	for _, one := range to {
		if one != "" {
			list = append(list, `{"reference":"`+one+`"}`)
		}
	}
	if list == nil {
		return ""
	}
	return `,"` + member + `":[` + strings.Join(list, ",") + `]`
}

// json writes the thing. Types have the members that searches of programs ask.
func (x thing) json() string {
	var meta []string
	if x.security != "" {
		meta = append(meta, `"security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-Confidentiality","code":"`+x.security+`"}]`)
	}
	if x.tag != "" {
		meta = append(meta, `"tag":[{"system":"urn:t","code":"`+x.tag+`"}]`)
	}
	out := `{"resourceType":"` + x.typ + `"`
	if x.id != "" {
		out += `,"id":"` + x.id + `"`
	}
	if meta != nil {
		out += `,"meta":{` + strings.Join(meta, ",") + `}`
	}
	identifier := `,"identifier":[{"system":"urn:s","value":"` + x.identifier + `"}]`
	code := `,"code":{"coding":[{"system":"urn:c","code":"` + x.code + `"}]}`
	switch x.typ {
	case "Patient":
		out += identifier + `,"name":[{"family":"` + x.name + `"}],"birthDate":"19` + fmt.Sprint(50+x.value) + `-01-01"` + refs("generalPractitioner", x.first("Practitioner"))
	case "Practitioner", "Organization":
		out += identifier + `,"active":true`
	case "Observation":
		out += identifier + `,"status":"` + x.status + `","category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"` + x.category + `"}]}]` + code + ref("subject", x.subject) +
			ref("encounter", x.first("Encounter")) + fmt.Sprintf(`,"effectiveDateTime":"2020-01-%02d","valueQuantity":{"value":%d,"unit":"mg","system":"http://unitsofmeasure.org","code":"mg"}`, 1+x.value%28, x.value) +
			refs("performer", x.first("Practitioner"), x.first("RelatedPerson")) + refs("hasMember", x.first("Observation"))
	case "Condition":
		out += `,"contained":[{"resourceType":"Practitioner","id":"p"` + identifier + `}],"asserter":{"reference":"#p"}` + identifier + code + ref("subject", x.subject) + ref("encounter", x.first("Encounter"))
	case "Encounter":
		out += identifier + `,"status":"finished","class":{"code":"AMB"}` + ref("subject", x.subject)
	case "RelatedPerson":
		out += identifier + ref("patient", x.subject) + `,"name":[{"family":"` + x.name + `"}]`
	case "List":
		out += identifier + `,"status":"current","mode":"working"` + ref("subject", x.subject)
		if item := x.first("Observation"); item != "" {
			out += `,"entry":[{"item":{"reference":"` + item + `"}}]`
		}
	case "CareTeam":
		out += identifier + ref("subject", x.subject)
	case "Basic":
		out += identifier + code + ref("subject", x.subject)
	case "Device":
		out += identifier + ref("patient", x.subject)
	case "Task":
		out += identifier + `,"status":"requested","intent":"order"` + ref("for", x.subject) + ref("focus", x.first("Observation"))
	case "Group":
		out += identifier + `,"type":"person","actual":true,"member":[{"entity":{"reference":"` + x.subject + `"}}]`
	case "Binary":
		out += `,"contentType":"text/plain"` + ref("securityContext", x.subject) + `,"data":"` + pad(x.name) + `"`
	case "DocumentReference":
		out += identifier + `,"status":"current"` + ref("subject", x.subject) + `,"content":[{"attachment":{"url":"` + x.first("Binary") + `"}}]`
	case "Provenance":
		out += refs("target", x.first("Observation")) + `,"recorded":"2020-01-01T00:00:00Z","agent":[{"who":{"display":"` + x.name + `"}}]`
	}
	return out + "}"
}

// pad makes base64 of a name.
func pad(name string) string { return name + strings.Repeat("A", (4-len(name)%4)%4) }
