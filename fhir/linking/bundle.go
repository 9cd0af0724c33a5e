package linking

import (
	"bytes"
	"context"
	"errors"
	"strconv"

	"candela/fhir"
	"candela/store"
)

// deviceID is the logical id of the Device that a Provenance names as the one
// who linked.
const deviceID = "candela-linking"

// everything lets pass what was once let in, inside a Bundle.
func everything() fhir.Limits {
	return fhir.Limits{Bytes: 1 << 30, Depth: 1 << 10, Tokens: 1 << 28, String: 1 << 30}
}

var errConditional = fhir.Errorf(422, fhir.CodeNotSupported, "the resource holds a conditional reference, which a transaction would replace")

// write does a plan as one transaction. The targets stand in it as they are: it
// fails when one of them has changed or is gone.
func (l *Linker) write(ctx context.Context, v store.Version, p plan) error {
	if err := l.introduce(ctx); err != nil {
		return err
	}
	out := bundle{bytes.NewBufferString(`{"resourceType":"Bundle","type":"transaction","entry":[`)}
	out.put(v, fhir.Apply(v.Raw, p.edits))
	for _, t := range p.targets {
		if t.Key != v.Key {
			out.put(t, t.Raw)
		}
	}
	out.entry(l.provenance(v, p.targets), "POST", "Provenance", 0)
	out.Truncate(out.Len() - 1)
	out.WriteString(`]}`)
	res, err := fhir.ParseResource(out.Bytes(), everything())
	if err != nil {
		return err
	}
	if conditional(res, l.Base) {
		return errConditional
	}
	_, err = l.Door.Do(ctx, l.request(fhir.Batch, res))
	return err
}

// request is one of ours. What was stored with elements that we do not know
// stays linkable.
func (l *Linker) request(what fhir.Interaction, res fhir.Resource) fhir.Request {
	return fhir.Request{
		Interaction: what, Resource: res, Base: l.Base, Prefer: fhir.Prefer{Return: "minimal", Handling: "lenient"},
		Caller: fhir.Caller{Name: "linking", Access: fhir.Full()},
	}
}

// bundle writes the entries of a transaction, each with a comma behind it.
type bundle struct{ *bytes.Buffer }

// put replaces a version by raw.
func (b bundle) put(v store.Version, raw []byte) { b.entry(raw, "PUT", v.Key.String(), v.Number) }

func (b bundle) entry(raw []byte, method, url string, match int64) {
	b.WriteString(`{"resource":`)
	b.Write(raw)
	b.WriteString(`,"request":{"method":"` + method + `","url":"` + url + `"`)
	if match > 0 {
		b.WriteString(`,"ifMatch":"W/\"` + strconv.FormatInt(match, 10) + `\""`)
	}
	b.WriteString(`}},`)
}

// provenance tells of one link: the version that it makes, who made it and from
// what. Versions are counted without gaps, and If-Match holds the present one.
func (l *Linker) provenance(v store.Version, targets []store.Version) []byte {
	out := []byte(`{"resourceType":"Provenance","target":[{"reference":`)
	out = fhir.AppendQuote(out, versioned(v.Key, v.Number+1))
	out = append(out, `}],"recorded":`...)
	out = fhir.AppendQuote(out, l.Now().UTC().Format(fhir.InstantForm))
	out = append(out, `,"reason":[{"text":"The identifier of a logical reference belongs to exactly one resource: the literal reference was added."}],`+
		`"activity":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-DataOperation","code":"UPDATE","display":"revise"}]},`+
		`"agent":[{"type":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/provenance-participant-type","code":"assembler","display":"Assembler"}]},`+
		`"who":{"reference":"Device/`+deviceID+`","display":`...)
	out = fhir.AppendQuote(out, "Candela "+l.Version)
	out = append(out, `}}],"entity":[`...)
	for i, t := range targets {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, `{"role":"source","what":{"reference":`...)
		out = append(fhir.AppendQuote(out, versioned(t.Key, t.Number)), '}', '}')
	}
	return append(out, ']', '}')
}

func versioned(k store.Key, number int64) string {
	return k.String() + "/_history/" + strconv.FormatInt(number, 10)
}

// introduce writes the Device that a Provenance names, before the first link of
// a process. One that is there with this version of Candela is left as it is.
func (l *Linker) introduce(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.present {
		return nil
	}
	now, err := l.Store.Get(ctx, store.Key{Type: "Device", ID: deviceID})
	if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrGone) {
		return err
	}
	known := fhir.Stored(now.Raw)
	if err == nil && known.Root().Path("version", "value").Text() == l.Version {
		l.present = true
		return nil
	}
	raw := append([]byte(`{"resourceType":"Device","id":"`+deviceID+`","status":"active","deviceName":[{"name":"Candela, linking of logical references","type":"user-friendly-name"}],"version":[{"value":`), fhir.Quote(l.Version)...)
	res, err := fhir.ParseResource(append(raw, `}]}`...), fhir.DefaultLimits())
	if err != nil {
		return err
	}
	ask := l.request(fhir.Update, res)
	ask.Type, ask.ID = "Device", deviceID
	if _, err = l.Door.Do(ctx, ask); err == nil || overtaken(statusOf(err)) { // another process introduced it
		l.present = true
		return nil
	}
	return err
}
