package guard

import (
	"net/url"
	"strings"

	"candela/fhir"
)

const (
	// levels are the codes of confidentiality, from the lowest to the highest.
	levels          = "ULMNRV"
	confidentiality = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
)

// labels are the rules that withhold what is more confidential than a clearance,
// and what has a code of confidentiality that is none.
func labels(clearance string) fhir.Access {
	at := strings.Index(levels, clearance)
	all, above := tokens(levels), tokens(levels[at+1:])
	unknown := "_security=" + url.QueryEscape(confidentiality+"|") + "&" + url.QueryEscape("_security:not") + "=" + url.QueryEscape(strings.Join(all, ","))
	out := fhir.Access{{Type: "*", Filter: unknown}}
	if len(above) > 0 {
		out = append(out, fhir.Rule{Type: "*", Filter: "_security=" + url.QueryEscape(strings.Join(above, ","))})
	}
	return out
}

func tokens(codes string) []string {
	var out []string
	for _, c := range codes {
		out = append(out, confidentiality+"|"+string(c))
	}
	return out
}
