package erase

import (
	"cmp"
	"maps"
	"slices"
	"strconv"

	"candela/fhir"
	"candela/store"
)

// maxNamed bounds how many resources an answer names that stay.
const maxNamed = 1000

// texts say what the reasons mean.
var texts = map[Why]string{
	Shared: "belongs to other patients too",
	Moved:  "belongs to another patient now; earlier versions name the erased one",
	Refers: "is not part of the patient's compartment and refers to what is erased",
}

// Answer is the report as a Parameters resource in compact JSON: dry-run; erased,
// a type and how many; left, a resource that stays and why; kept, AuditEvents
// that stay; audit, the records of this erasure.
func (r Report) Answer(dry bool) []byte {
	out := []byte(`{"resourceType":"Parameters","parameter":[{"name":"dry-run","valueBoolean":`)
	out = append(strconv.AppendBool(out, dry), '}')
	for _, t := range slices.Sorted(maps.Keys(r.Counts)) {
		out = appendCount(out, "erased", t, int64(r.Counts[t]))
	}
	for _, one := range r.named() {
		out = append(out, `,{"name":"left","part":[{"name":"resource","valueReference":`...)
		out = appendReference(out, one.Key)
		out = append(out, `},{"name":"reason","valueCode":`...)
		out = fhir.AppendQuote(out, string(one.Why))
		out = append(out, `},{"name":"text","valueString":`...)
		out = append(fhir.AppendQuote(out, texts[one.Why]), `}]}`...)
	}
	if more := len(r.Left) - maxNamed; more > 0 {
		out = append(out, `,{"name":"left-unnamed","valueInteger":`...)
		out = append(strconv.AppendInt(out, int64(more), 10), '}')
	}
	if r.Kept > 0 {
		out = appendCount(out, "kept", auditEvent, r.Kept)
	}
	for _, k := range r.Records {
		out = append(out, `,{"name":"audit","valueReference":`...)
		out = append(appendReference(out, k), '}')
	}
	return append(out, `]}`...)
}

// named are the first of those left, sorted by reason, type and id.
func (r Report) named() []Left {
	sorted := slices.SortedFunc(slices.Values(r.Left), func(a, b Left) int {
		return cmp.Or(-cmp.Compare(a.Why, b.Why), cmp.Compare(a.Key.Type, b.Key.Type), cmp.Compare(a.Key.ID, b.Key.ID))
	})
	return sorted[:min(len(sorted), maxNamed)]
}

func appendCount(out []byte, name, typ string, n int64) []byte {
	out = append(append(append(out, `,{"name":"`...), name...), `","part":[{"name":"type","valueCode":`...)
	out = append(fhir.AppendQuote(out, typ), `},{"name":"count","valueInteger":`...)
	return append(strconv.AppendInt(out, n, 10), `}]}`...)
}

func appendReference(out []byte, k store.Key) []byte {
	out = append(out, `{"reference":`...)
	return append(fhir.AppendQuote(out, k.String()), '}')
}
