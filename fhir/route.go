package fhir

import (
	"net/url"
	"strings"
)

// Route reads one RESTful URL (R4 http.html, "Style guide"): method is the HTTP
// verb, path the escaped path below the base without query ("Patient/1",
// "" for the base itself), query its parameters. HTTP requests and Bundle
// entries are read alike. The Request has Interaction, Type, ID, Version,
// Operation, Compartment, Query, Head and Safe set. Errors are *Error: 404 for a
// path of no form, 400 for a malformed id, 405 with Allow for a wrong method.
//
// Whether a resource type exists is the engine's question, not Route's.
func Route(method, path string, query Params) (Request, error) {
	parts, err := segments(path)
	if err != nil {
		return Request{}, err
	}
	form, err := formOf(parts)
	if err != nil {
		return Request{}, err
	}
	r := form.Request
	r.Query = query
	if method == "HEAD" {
		r.Head, method = true, "GET"
	}
	for _, v := range form.verbs {
		if v.method == method {
			r.Interaction, r.Safe = v.does, method == "GET"
			return r, nil
		}
	}
	return Request{}, notAllowed(form.verbs)
}

// RouteURL is Route for a URL as a Bundle entry's request.url or a link has it:
// relative to the base, or absolute below base.
func RouteURL(method, text, base string) (Request, error) {
	if below, ok := strings.CutPrefix(text, base); ok && base != "" && (below == "" || below[0] == '/' || below[0] == '?') {
		text = strings.TrimPrefix(below, "/")
	}
	path, raw, _ := strings.Cut(text, "?")
	if strings.Contains(path, "://") {
		return Request{}, Errorf(400, CodeInvalid, "the URL is not below this server's base")
	}
	query, err := ParseParams(raw)
	if err != nil {
		return Request{}, err
	}
	return Route(method, path, query)
}

// verb is one method a URL form allows and what it then means.
type verb struct {
	method string
	does   Interaction
}

// form is a URL form: the request it names and its verbs.
type form struct {
	Request
	verbs []verb
}

func segments(path string) ([]string, error) {
	path = strings.TrimPrefix(path, "/")
	if path == "" {
		return nil, nil
	}
	parts := strings.Split(path, "/")
	for i, p := range parts {
		text, err := url.PathUnescape(p)
		if err != nil || strings.ContainsAny(text, "/\x00") {
			return nil, Errorf(400, CodeInvalid, "the path has a broken percent-escape")
		}
		parts[i] = text
	}
	return parts, nil
}

func formOf(parts []string) (form, error) {
	if len(parts) == 0 {
		return form{verbs: []verb{{"GET", SearchSystem}, {"POST", Batch}}}, nil
	}
	if !isTypeName(parts[0]) {
		return systemForm(parts)
	}
	if len(parts) > 1 {
		if f, ok := typeForm(parts); ok {
			return f, nil
		}
		if !ValidID(parts[1]) {
			return form{}, badID(parts[1])
		}
	}
	return instanceForm(parts)
}

// systemForm is [base]/_history, /_search, /metadata and /$operation.
func systemForm(parts []string) (form, error) {
	if len(parts) == 1 {
		switch name := parts[0]; {
		case name == "metadata":
			return form{verbs: []verb{{"GET", Capabilities}}}, nil
		case name == "_history":
			return form{verbs: []verb{{"GET", HistorySystem}}}, nil
		case name == "_search":
			return form{verbs: []verb{{"POST", SearchSystem}}}, nil
		case isOperation(name):
			return operation(Request{Operation: name[1:]}), nil
		}
	}
	return form{}, noForm()
}

// typeForm is [base]/Type/_history, /_search and /$operation.
func typeForm(parts []string) (form, bool) {
	if len(parts) != 2 {
		return form{}, false
	}
	r := Request{Type: parts[0]}
	switch name := parts[1]; {
	case name == "_history":
		return form{r, []verb{{"GET", HistoryType}}}, true
	case name == "_search":
		return form{r, []verb{{"POST", SearchType}}}, true
	case isOperation(name):
		r.Operation = name[1:]
		return operation(r), true
	}
	return form{}, false
}

// instanceForm is [base]/Type, /Type/id and what lies below it.
func instanceForm(parts []string) (form, error) {
	r := Request{Type: parts[0]}
	if len(parts) == 1 {
		return form{r, []verb{{"GET", SearchType}, {"POST", Create}, {"PUT", Update}, {"PATCH", Patch}, {"DELETE", Delete}}}, nil
	}
	r.ID = parts[1]
	if len(parts) == 2 {
		return form{r, []verb{{"GET", Read}, {"PUT", Update}, {"PATCH", Patch}, {"DELETE", Delete}}}, nil
	}
	switch name := parts[2]; {
	case name == "_history":
		return historyForm(r, parts[3:])
	case isOperation(name) && len(parts) == 3:
		r.Operation = name[1:]
		return operation(r), nil
	default:
		return compartmentForm(r, parts[2:])
	}
}

func historyForm(r Request, below []string) (form, error) {
	switch {
	case len(below) == 0:
		return form{r, []verb{{"GET", HistoryInstance}}}, nil
	case len(below) > 1:
		return form{}, noForm()
	case !ValidID(below[0]):
		return form{}, badID(below[0])
	}
	r.Version = below[0]
	return form{r, []verb{{"GET", VRead}}}, nil
}

// compartmentForm is [base]/Comp/id/Type, /Comp/id/* and each with /_search.
func compartmentForm(r Request, below []string) (form, error) {
	does := verb{"GET", SearchCompart}
	if last := len(below) - 1; below[last] == "_search" {
		does.method = "POST"
		below = below[:last]
	}
	if len(below) == 0 {
		below = []string{"*"}
	}
	if len(below) != 1 || below[0] != "*" && !isTypeName(below[0]) {
		return form{}, noForm()
	}
	r.Compartment, r.Type = r.Type, below[0]
	return form{r, []verb{does}}, nil
}

func operation(r Request) form {
	return form{r, []verb{{"GET", Operation}, {"POST", Operation}}}
}

func isOperation(name string) bool {
	return len(name) > 1 && name[0] == '$' && ValidID(name[1:])
}

func noForm() *Error {
	return Errorf(404, CodeNotFound, "the path is no FHIR URL; expected [Type], [Type]/[id], metadata, _history or one of their forms")
}

func badID(id string) *Error {
	if id == "" {
		return noForm()
	}
	return Errorf(400, CodeValue, "an id in the path is malformed; ids are 1 to 64 characters of A-Z a-z 0-9 - and .")
}

func notAllowed(verbs []verb) *Error {
	var allow []string
	for _, v := range verbs {
		allow = append(allow, v.method)
		if v.method == "GET" {
			allow = append(allow, "HEAD")
		}
	}
	e := Errorf(405, CodeNotSupported, "this URL does not take that method; it takes %s", strings.Join(allow, ", "))
	e.Allow = strings.Join(allow, ", ")
	return e
}
