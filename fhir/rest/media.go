package rest

import (
	"mime"
	"net/http"
	"strconv"
	"strings"

	"candela/fhir"
)

// form is how an answer is written.
type form struct {
	pretty  bool
	gzip    bool
	version bool // the caller named fhirVersion: name it back
	fhir    bool // the caller asked for FHIR by name, not just for anything or JSON
	refused error
}

// mediaType is what the answer's Content-Type says.
func (f form) mediaType() string {
	if f.version {
		return "application/fhir+json; fhirVersion=4.0; charset=utf-8"
	}
	return "application/fhir+json; charset=utf-8"
}

// negotiate reads _format, _pretty, Accept and Accept-Encoding. _format beats
// Accept (R4 http, mime-type); what is not JSON of R4 is 406.
func negotiate(h http.Header, query fhir.Params) form {
	f := form{pretty: query.Get("_pretty") == "true", gzip: accepts(h.Values("Accept-Encoding"), "gzip")}
	asked := query.Get("_format")
	if asked == "" {
		asked = strings.Join(h.Values("Accept"), ",")
	}
	if strings.TrimSpace(asked) == "" {
		return f
	}
	for one := range strings.SplitSeq(asked, ",") {
		ok, version := isJSON(one, true)
		if ok {
			f.version, f.fhir = version, query.Has("_format") || strings.Contains(one, "fhir")
			return f
		}
	}
	f.refused = fhir.Errorf(406, fhir.CodeNotSupported, "this server answers application/fhir+json of FHIR 4.0 only")
	return f
}

// isJSON says whether a media type or range takes FHIR JSON of our version, and
// whether it named the version. wide lets short names and wildcards pass.
func isJSON(text string, wide bool) (ok, version bool) {
	// "application/fhir json" is what becomes of an unescaped + in a URL.
	text = strings.Replace(strings.TrimSpace(text), "/fhir json", "/fhir+json", 1)
	kind, params, err := mime.ParseMediaType(text)
	if err != nil {
		return false, false
	}
	switch kind {
	case "application/fhir+json", "application/json":
	case "json", "text/json", "application/json+fhir", "application/*", "*/*":
		if !wide {
			return false, false
		}
	default:
		return false, false
	}
	if q, err := strconv.ParseFloat(params["q"], 64); err == nil && q == 0 {
		return false, false
	}
	v, named := params["fhirversion"]
	return !named || v == "4.0" || v == "4.0.1", named
}

// accepts says whether an Accept-Encoding header takes the coding.
func accepts(headers []string, coding string) bool {
	for one := range strings.SplitSeq(strings.Join(headers, ","), ",") {
		name, weight, _ := strings.Cut(one, ";")
		if strings.TrimSpace(name) != coding {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimPrefix(strings.TrimSpace(weight), "q="), 64)
		return err != nil || q > 0
	}
	return false
}

// prefer reads the Prefer headers (RFC 7240); the first of a name counts.
func prefer(headers []string) fhir.Prefer {
	var out fhir.Prefer
	for one := range strings.FieldsFuncSeq(strings.Join(headers, ","), func(r rune) bool { return r == ',' || r == ';' }) {
		name, value, _ := strings.Cut(strings.TrimSpace(one), "=")
		value = strings.Trim(strings.TrimSpace(value), `"`)
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "return":
			if out.Return == "" && (value == "minimal" || value == "representation" || value == "OperationOutcome") {
				out.Return = value
			}
		case "handling":
			if out.Handling == "" && (value == "strict" || value == "lenient") {
				out.Handling = value
			}
		}
	}
	return out
}
