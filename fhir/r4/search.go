package r4

// SearchParameter is one search parameter definition of the base specification.
type SearchParameter struct {
	URL        string            `json:"url"`
	Code       string            `json:"code"`
	Type       string            `json:"type"` // number, date, string, token, reference, composite, quantity, uri, special
	Base       []string          `json:"base"` // resource types, also the abstract Resource and DomainResource
	Expression string            `json:"expression"`
	Target     []string          `json:"target"`
	Comparator []string          `json:"comparator"`
	Modifier   []string          `json:"modifier"`
	Component  []SearchComponent `json:"component"` // of a composite
	XPathUsage string            `json:"xpathUsage"`
}

// SearchComponent is one part of a composite parameter.
type SearchComponent struct {
	Definition string `json:"definition"` // URL of the part's own parameter
	Expression string `json:"expression"` // relative to the composite's expression
}

// SearchParameters are all definitions, sorted by URL. Seven have no expression:
// _text, _content, _query, _filter and extension placeholders.
func (s *Spec) SearchParameters() []SearchParameter { return s.search }
