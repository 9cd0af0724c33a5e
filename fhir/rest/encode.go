package rest

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/klauspost/compress/gzip"

	"candela/fhir"
)

// refuse makes the answer of an error: its status and OperationOutcome.
func (x *exchange) refuse(err error) fhir.Response {
	var refusal *fhir.Error
	if !errors.As(err, &refusal) {
		x.Log.Error("an error came through unexplained", slog.String("request", x.id), slog.String("route", x.route))
		refusal = fhir.Errorf(500, fhir.CodeException, "an internal error; the operator has been told")
	}
	if refusal.Allow != "" {
		x.w.Header().Set("Allow", refusal.Allow)
	}
	if refusal.Authenticate != "" {
		x.w.Header().Set("WWW-Authenticate", refusal.Authenticate)
	}
	if refusal.Status == http.StatusUnsupportedMediaType && x.r.Method == http.MethodPatch {
		x.w.Header().Set("Accept-Patch", acceptPatch)
	}
	if refusal.Status == http.StatusServiceUnavailable || refusal.Status == http.StatusTooManyRequests {
		x.w.Header().Set("Retry-After", "2")
	}
	return fhir.Response{Status: refusal.Status, Body: fhir.OutcomeOf(refusal.Issues...)}
}

// write sends the answer.
func (x *exchange) write(a fhir.Response) {
	h := x.w.Header()
	if a.ETag != "" {
		h.Set("ETag", `W/"`+a.ETag+`"`)
	}
	if !a.LastModified.IsZero() {
		h.Set("Last-Modified", a.LastModified.UTC().Format(http.TimeFormat))
	}
	if a.Location != "" {
		name := "Content-Location"
		if a.Status == http.StatusCreated || x.r.Method == http.MethodPost {
			name = "Location"
		}
		h.Set(name, x.Base+"/"+a.Location)
	}
	if a.Resource.Exists() && a.Status == http.StatusOK && x.rawRead() && x.sendRaw(a) {
		return
	}
	body := a.Body
	if a.Resource.Exists() {
		body = a.Resource.Raw()
	}
	if len(body) == 0 || a.Status == http.StatusNoContent || a.Status == http.StatusNotModified {
		x.w.WriteHeader(a.Status)
		x.w.WriteHeaderNow()
		return
	}
	x.send(a.Status, body)
}

// send writes a body in the form that was negotiated.
func (x *exchange) send(status int, body []byte) {
	h := x.w.Header()
	h.Set("Content-Type", x.form.mediaType())
	h.Add("Vary", "Accept, Accept-Encoding")
	if x.form.pretty {
		body = indent(body)
	}
	if x.form.gzip && len(body) >= worthPacking {
		h.Set("Content-Encoding", "gzip")
		body = x.pack(body)
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	x.w.WriteHeader(status)
	x.w.WriteHeaderNow()
	if x.r.Method == http.MethodHead {
		return
	}
	if _, err := x.w.Write(body); err != nil {
		x.Log.Debug("the caller went away", slog.String("request", x.id))
	}
}

// The media types of patches (RFC 5789).
const (
	jsonPatch   = "application/json-patch+json"
	mergePatch  = "application/merge-patch+json"
	acceptPatch = jsonPatch + ", " + mergePatch + ", application/fhir+json"
)

// worthPacking is the body size in bytes from which gzip pays.
const worthPacking = 2 << 10

// indent never re-encodes: digits, escapes and order stay.
func indent(body []byte) []byte {
	v := jsontext.Value(bytes.Clone(body))
	if err := v.Indent(jsontext.WithIndent("  "), jsontext.PreserveRawStrings(true)); err != nil {
		return body
	}
	return append(v, '\n')
}

// pack is body under gzip at its fastest.
func (s *server) pack(body []byte) []byte {
	var out bytes.Buffer
	out.Grow(len(body) / 4)
	w, ok := s.packers.Get().(*gzip.Writer)
	if !ok {
		if w, _ = gzip.NewWriterLevel(nil, gzip.BestSpeed); w == nil { // the level is valid
			w = gzip.NewWriter(nil)
		}
	}
	defer s.packers.Put(w)
	w.Reset(&out)
	_, _ = w.Write(body) // a Buffer takes everything
	_ = w.Close()
	return out.Bytes()
}
