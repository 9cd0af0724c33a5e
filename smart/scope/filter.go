package scope

import (
	"cmp"
	"net/url"
	"slices"
	"strings"

	"candela/fhir"
)

// test is one search parameter of a filter: any of its values must match, and
// each test of the filter.
type test struct {
	name   string
	values []string
}

// encode is the canonical query of tests: sorted, nothing twice, percent-encoded.
func encode(tests []test) string {
	for i := range tests {
		slices.Sort(tests[i].values)
		tests[i].values = slices.Compact(tests[i].values)
	}
	slices.SortFunc(tests, func(a, b test) int {
		return cmp.Or(strings.Compare(a.name, b.name), slices.Compare(a.values, b.values))
	})
	tests = slices.CompactFunc(tests, func(a, b test) bool {
		return a.name == b.name && slices.Equal(a.values, b.values)
	})
	var out strings.Builder
	for i, one := range tests {
		if i > 0 {
			out.WriteByte('&')
		}
		out.WriteString(url.QueryEscape(one.name))
		out.WriteByte('=')
		out.WriteString(url.QueryEscape(strings.Join(one.values, ",")))
	}
	return out.String()
}

// decode is the reverse of encode.
func decode(filter string) []test {
	if filter == "" {
		return nil
	}
	params, err := fhir.ParseParams(filter)
	if err != nil { // a filter that is not ours: one test that is like no other
		return []test{{name: filter}}
	}
	out := make([]test, len(params))
	for i, p := range params {
		out[i] = test{p.Name, strings.Split(p.Value, ",")}
	}
	return out
}

// wider says whether whatever passes narrow is sure to pass broad: each test of
// broad has a test of the same parameter in narrow with some of its values. That
// holds because filters of scopes have no modifiers.
func wider(broad, narrow []test) bool {
	for _, b := range broad {
		if !slices.ContainsFunc(narrow, func(n test) bool { return b.name == n.name && within(n.values, b.values) }) {
			return false
		}
	}
	return true
}

func within(some, many []string) bool {
	for _, one := range some {
		if !slices.Contains(many, one) {
			return false
		}
	}
	return true
}

// both joins two encoded queries so that each test of either must hold. It looks
// into none of them, so filters of a policy may be any search parameters.
func both(a, b string) string {
	if a == "" || a == b {
		return b
	}
	if b == "" {
		return a
	}
	have := strings.Split(a, "&")
	for part := range strings.SplitSeq(b, "&") {
		if !slices.Contains(have, part) {
			a += "&" + part
		}
	}
	return a
}
