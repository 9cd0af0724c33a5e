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
// and what has a code of confidentiality that is none. From the highest clearance
// nothing is withheld: some things are for those only who may reach everything.
func labels(clearance string) fhir.Access {
	at := strings.Index(levels, clearance)
	if at == len(levels)-1 {
		return nil
	}
	all, above := tokens(levels), tokens(levels[at+1:])
	unknown := "_security=" + url.QueryEscape(confidentiality+"|") + "&" + url.QueryEscape("_security:not") + "=" + url.QueryEscape(strings.Join(all, ","))
	return fhir.Access{{Type: "*", Filter: unknown}, {Type: "*", Filter: "_security=" + url.QueryEscape(strings.Join(above, ","))}}
}

func tokens(codes string) []string {
	var out []string
	for _, c := range codes {
		out = append(out, confidentiality+"|"+string(c))
	}
	return out
}
