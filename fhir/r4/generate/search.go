package main

import (
	"sort"
	"strings"
)

// searchParameter is both what we read of a SearchParameter and one row of
// search-parameters.json.gz.
type searchParameter struct {
	URL        string            `json:"url"`
	Code       string            `json:"code"`
	Type       string            `json:"type"`
	Base       []string          `json:"base,omitempty"`
	Expression string            `json:"expression,omitempty"`
	Target     []string          `json:"target,omitempty"`
	Comparator []string          `json:"comparator,omitempty"`
	Modifier   []string          `json:"modifier,omitempty"`
	Component  []searchComponent `json:"component,omitempty"`
	XPathUsage string            `json:"xpathUsage,omitempty"`
}

type searchComponent struct {
	Definition string `json:"definition"`
	Expression string `json:"expression"`
}

type searchList []searchParameter

func (l searchList) rows() []any { return anyRows(l) }

// searchFacts leaves out the documentation's examples and the placeholders that
// search on no type.
func searchFacts(all []searchParameter) searchList {
	var out searchList
	for _, p := range all {
		name := p.URL[strings.LastIndexByte(p.URL, '/')+1:]
		if len(p.Base) == 0 || name == "example" || strings.HasPrefix(name, "example-") {
			continue
		}
		out = append(out, p)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].URL < out[j].URL })
	return out
}

type compartment struct {
	ID, Code string
	Resource []struct {
		Code  string
		Param []string
	}
}

// compartmentFacts: compartment code -> resource type -> parameter codes; a type
// outside the compartment has no entry.
func compartmentFacts(all []compartment) map[string]map[string][]string {
	out := map[string]map[string][]string{}
	for _, c := range all {
		if c.Code == "" || strings.Contains(c.ID, "example") {
			continue
		}
		types := map[string][]string{}
		for _, r := range c.Resource {
			if len(r.Param) > 0 {
				types[r.Code] = r.Param
			}
		}
		out[c.Code] = types
	}
	return out
}
