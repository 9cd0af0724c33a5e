package operation

import (
	"context"
	"strconv"

	"candela/fhir"
	"candela/fhir/search"
	"candela/store"
)

// status answers SearchParameter/[id]/$status: what this server makes of the
// definition, and how much of each type is indexed by it.
func (c *Catalog) status(ctx context.Context, a call) (fhir.Response, error) {
	if _, err := a.Get(ctx, store.Key{Type: a.Type, ID: a.ID}); err != nil {
		return fhir.Response{}, err
	}
	out := []byte(`{"resourceType":"Parameters","parameter":[`)
	state := "unused" // not active, or the same as one of the specification
	for _, one := range c.search.Added() {
		if one.ID != a.ID {
			continue
		}
		if state = stateOf(one); one.Refused != "" {
			out = appendNamed(out, "reason", "valueString", fhir.Quote(one.Refused))
		}
		out = appendNamed(out, "code", "valueCode", fhir.Quote(one.Code()))
		for _, p := range one.Parts {
			out = appendProgress(out, p)
		}
	}
	out = appendNamed(out, "state", "valueCode", fhir.Quote(state))
	out[len(out)-1] = ']' // in place of the last comma
	return fhir.Response{Status: 200, Body: append(out, '}')}, nil
}

func stateOf(one search.Added) string {
	switch {
	case one.Refused != "":
		return "refused"
	case one.Complete():
		return "complete"
	default:
		return "building"
	}
}

// appendNamed appends one parameter and a comma.
func appendNamed(out []byte, name, member string, value []byte) []byte {
	out = append(append(append(out, `{"name":"`...), name...), `","`...)
	out = append(append(append(out, member...), `":`...), value...)
	return append(out, "},"...)
}

func appendProgress(out []byte, p search.Progress) []byte {
	out = append(out, `{"name":"type","part":[`...)
	out = appendNamed(out, "name", "valueCode", fhir.Quote(p.Type))
	out = appendNamed(out, "percent", "valueInteger", strconv.AppendInt(nil, p.Percent(), 10))
	out = appendNamed(out, "indexed", "valueDecimal", strconv.AppendInt(nil, p.Done, 10))
	out = appendNamed(out, "total", "valueDecimal", strconv.AppendInt(nil, p.Total, 10))
	out[len(out)-1] = ']'
	return append(out, "},"...)
}
