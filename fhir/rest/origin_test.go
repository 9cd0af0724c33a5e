package rest_test

import (
	"testing"

	"candela/fhir/rest"
)

// TestOrigins: T100 for the API. A page of an origin that is not known may not
// read an answer nor ask for a write, except metadata.
func TestOrigins(t *testing.T) {
	s := open(t, func(c *rest.Config) { c.Origin = func(o string) bool { return o == "https://app.example" } })
	for _, c := range []struct{ method, path, origin, want string }{
		{"GET", "/fhir/Patient/1", "https://app.example", "https://app.example"},
		{"GET", "/fhir/Patient/1", "https://app.example.evil", ""},
		{"GET", "/fhir/Patient/1", "null", ""},
		{"GET", "/fhir/Patient/1", "", ""},
		{"GET", "/fhir/metadata", "https://app.example.evil", "*"},
		{"OPTIONS", "/fhir/Patient/1", "https://app.example", "https://app.example"},
		{"OPTIONS", "/fhir/Patient/1", "https://app.example.evil", ""},
		{"OPTIONS", "/fhir/metadata", "https://any", "*"},
		{"OPTIONS", "/elsewhere", "https://any", ""},
	} {
		headers := []string{"Access-Control-Request-Method: GET"}
		if c.origin != "" {
			headers = append(headers, "Origin: "+c.origin)
		}
		w := s.call(c.method, c.path, "", headers...)
		h := w.Header()
		if got := h.Get("Access-Control-Allow-Origin"); got != c.want {
			t.Errorf("%s %s from %q: allowed %q, want %q", c.method, c.path, c.origin, got, c.want)
		}
		if h.Get("Access-Control-Allow-Credentials") != "" {
			t.Error("credentials are allowed")
		}
		if preflight := c.method == "OPTIONS"; preflight && w.Code != 204 || (h.Get("Access-Control-Allow-Methods") != "") != (preflight && c.want != "") {
			t.Errorf("%s %s from %q: %d, methods %q", c.method, c.path, c.origin, w.Code, h.Get("Access-Control-Allow-Methods"))
		}
	}
	none := open(t, nil)
	if got := none.call("GET", "/fhir/Patient/1", "", "Origin: https://app.example").Header().Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("without Origin allowed %q", got)
	}
}
