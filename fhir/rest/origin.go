package rest

import (
	"net/http"

	"candela/fhir"
)

// What a page of another origin may send and see (Fetch standard, CORS).
const (
	allowMethods  = "GET, HEAD, POST, PUT, PATCH, DELETE"
	allowHeaders  = "Accept, Authorization, Content-Type, If-Match, If-Modified-Since, If-None-Exist, If-None-Match, Prefer, X-Provenance, X-Request-Id, X-Security-Context"
	exposeHeaders = "Content-Location, ETag, Last-Modified, Location, X-Request-Id, X-Security-Context"
)

// origin lets a page of another origin read the answer: any page that of
// metadata, and those that Origin knows all others. Nothing here speaks of
// credentials: browsers send none.
func (x *exchange) origin() {
	from := x.r.Header.Get("Origin")
	if from == "" {
		return
	}
	h := x.w.Header()
	h.Add("Vary", "Origin")
	if x.req.Interaction == fhir.Capabilities {
		from = "*"
	} else if x.Origin == nil || !x.Origin(from) {
		return
	}
	h.Set("Access-Control-Allow-Origin", from)
	h.Set("Access-Control-Expose-Headers", exposeHeaders)
}

// preflight answers a browser that asks whether it may send a request; done is
// false for what is no such question.
func (x *exchange) preflight() (done bool) {
	wanted := x.r.Header.Get("Access-Control-Request-Method")
	if x.r.Method != http.MethodOptions || wanted == "" || x.r.Header.Get("Origin") == "" {
		return false
	}
	x.route = "preflight"
	path, _ := x.below()
	if form, err := fhir.Route(wanted, path, nil); err == nil {
		x.req.Interaction = form.Interaction
	}
	x.origin()
	if h := x.w.Header(); h.Get("Access-Control-Allow-Origin") != "" {
		h.Set("Access-Control-Allow-Methods", allowMethods)
		h.Set("Access-Control-Allow-Headers", allowHeaders)
		h.Set("Access-Control-Max-Age", "600")
	}
	x.w.WriteHeader(http.StatusNoContent)
	x.w.WriteHeaderNow()
	return true
}
