package rest

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"candela/fhir"
)

// decodeURL reads everything but the body.
func (x *exchange) decodeURL() error {
	if len(x.r.URL.RequestURI()) > maxURL {
		return fhir.Errorf(414, fhir.CodeTooLong, "the URL is longer than %d bytes; search by POST _search", maxURL)
	}
	query, err := fhir.ParseParams(x.r.URL.RawQuery)
	if err != nil {
		return err
	}
	x.form = negotiate(x.r.Header, query)
	path, below := x.below()
	if !below {
		return fhir.Errorf(404, fhir.CodeNotFound, "nothing is served at this path")
	}
	if x.req, err = fhir.Route(x.r.Method, path, without(query, "_format", "_pretty")); err != nil {
		return err
	}
	if x.form.refused != nil && !x.rawRead() {
		return x.form.refused
	}
	h := x.r.Header
	x.req.IfMatch, x.req.IfNoneMatch, x.req.IfNoneExist = h.Get("If-Match"), h.Get("If-None-Match"), h.Get("If-None-Exist")
	if since, err := http.ParseTime(h.Get("If-Modified-Since")); err == nil {
		x.req.IfModifiedSince = since
	}
	x.req.Prefer = prefer(h.Values("Prefer"))
	x.req.Base, x.req.RequestID = x.Base, x.id
	return x.decodeProvenance(h.Get("X-Provenance"))
}

// decodeProvenance reads the header X-Provenance (R4 provenance.html): of no
// use to a read, and refused where it would get lost.
func (x *exchange) decodeProvenance(sent string) (err error) {
	if sent == "" || x.r.Method == http.MethodGet || x.req.Head {
		return nil
	}
	switch x.req.Interaction {
	case fhir.Create, fhir.Update, fhir.Patch:
	default:
		return fhir.Errorf(400, fhir.CodeNotSupported, "X-Provenance goes with a create, update or patch; in a Bundle, add an entry")
	}
	if x.req.Provenance, err = fhir.ParseResource([]byte(sent), x.Resource); err != nil {
		return fhir.Errorf(400, fhir.CodeStructure, "the header X-Provenance must be a Provenance resource as JSON")
	}
	return nil
}

// below is the path below that of the base, with its leading slash.
func (x *exchange) below() (path string, ok bool) {
	path, ok = strings.CutPrefix(x.r.URL.EscapedPath(), x.root)
	return path, ok && (path == "" || path[0] == '/')
}

// maxURL bounds a URL (security requirement R43).
const maxURL = 16 << 10

// without leaves out the parameters that are about the transport.
func without(query fhir.Params, names ...string) fhir.Params {
	kept := query[:0]
	for _, p := range query {
		drop := false
		for _, n := range names {
			drop = drop || p.Name == n
		}
		if !drop {
			kept = append(kept, p)
		}
	}
	return kept
}

// decodeBody reads the body the interaction takes. release gives back the room
// the body takes while it is worked on.
func (x *exchange) decodeBody(ctx context.Context) (release func(), err error) {
	nothing := func() {}
	switch x.req.Interaction {
	case fhir.SearchType, fhir.SearchSystem, fhir.SearchCompart:
		if x.r.Method == http.MethodPost {
			return nothing, x.decodeForm()
		}
		return nothing, nil
	case fhir.Patch:
		return x.decodePatch(ctx)
	case fhir.Create, fhir.Update, fhir.Batch:
	case fhir.Operation:
		if x.r.ContentLength == 0 {
			return nothing, nil
		}
	default:
		return nothing, nil
	}
	limits := x.Resource
	if x.req.Interaction == fhir.Batch {
		limits = x.Bundle
	}
	if x.rawUpload() {
		return x.decodeRaw(ctx)
	}
	if err := x.isResource(); err != nil {
		return nothing, err
	}
	release, err = x.admit(ctx, int64(limits.Bytes))
	if err != nil {
		return nothing, err
	}
	body, err := x.body(limits.Bytes)
	if err == nil {
		x.req.Resource, err = fhir.ParseResource(body, limits)
	}
	if err != nil {
		release()
		return nothing, err
	}
	return release, nil
}

// decodePatch takes the patch as it is: reading it is the Doer's work.
func (x *exchange) decodePatch(ctx context.Context) (release func(), err error) {
	x.req.Format = x.r.Header.Get("Content-Type")
	kind, _, err := mime.ParseMediaType(x.req.Format)
	if ok, _ := isJSON(x.req.Format, false); err != nil || !ok && kind != jsonPatch && kind != mergePatch || !utf8Charset(x.req.Format) {
		return nil, fhir.Errorf(415, fhir.CodeNotSupported, "a patch comes as Content-Type: %s", acceptPatch)
	}
	if release, err = x.admit(ctx, int64(x.Resource.Bytes)); err != nil {
		return nil, err
	}
	if x.req.Body, err = x.body(x.Resource.Bytes); err != nil {
		release()
	}
	return release, err
}

// isResource refuses bodies that are not FHIR JSON.
func (x *exchange) isResource() error {
	kind := x.r.Header.Get("Content-Type")
	if ok, _ := isJSON(kind, false); !ok || !utf8Charset(kind) {
		return fhir.Errorf(415, fhir.CodeNotSupported, "send Content-Type: application/fhir+json (FHIR 4.0, UTF-8)")
	}
	return nil
}

func utf8Charset(kind string) bool {
	_, params, err := mime.ParseMediaType(kind)
	charset, named := params["charset"]
	return err == nil && (!named || strings.EqualFold(charset, "utf-8"))
}

// admit waits until there is room for the body: its length, or the limit when
// the length is unknown or packed.
func (x *exchange) admit(ctx context.Context, limit int64) (release func(), err error) {
	need := x.r.ContentLength
	if need < 0 || x.r.Header.Get("Content-Encoding") != "" {
		need = limit
	}
	need = min(need, limit, x.InFlight)
	if err := x.room.Acquire(ctx, need); err != nil {
		return nil, fhir.Errorf(503, fhir.CodeThrottled, "the server is busy with other large requests; try again")
	}
	return func() { x.room.Release(need) }, nil
}

// body reads the whole body, unpacked, of at most limit bytes.
func (x *exchange) body(limit int) ([]byte, error) {
	if x.r.ContentLength > int64(limit) {
		return nil, tooLong(limit)
	}
	var from io.Reader = x.r.Body
	switch coding := strings.ToLower(x.r.Header.Get("Content-Encoding")); coding {
	case "", "identity":
	case "gzip":
		unpacked, err := gzip.NewReader(io.LimitReader(x.r.Body, int64(limit)))
		if err != nil {
			return nil, fhir.Errorf(400, fhir.CodeStructure, "the body is not gzip, as Content-Encoding says")
		}
		from = unpacked
	default:
		return nil, fhir.Errorf(415, fhir.CodeNotSupported, "Content-Encoding must be gzip or absent")
	}
	return readUpTo(from, limit, x.r.ContentLength)
}

// readUpTo reads all of from; more than limit bytes are 413. What comes in is
// counted, not what a header promises.
func readUpTo(from io.Reader, limit int, promised int64) ([]byte, error) {
	var buf bytes.Buffer
	buf.Grow(int(min(max(promised, 0)+512, 1<<20)))
	n, err := buf.ReadFrom(io.LimitReader(from, int64(limit)+1))
	switch {
	case n > int64(limit):
		return nil, tooLong(limit)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return nil, fhir.Errorf(503, fhir.CodeTimeout, "the body did not come in time")
	case err != nil:
		return nil, fhir.Errorf(400, fhir.CodeStructure, "the body could not be read to its end")
	}
	return buf.Bytes(), nil
}

func tooLong(limit int) error {
	return fhir.Errorf(413, fhir.CodeTooLong, "the body is longer than %d bytes", limit)
}

// decodeForm adds the parameters of a POST _search to those of the URL.
func (x *exchange) decodeForm() error {
	if x.r.ContentLength == 0 {
		return nil
	}
	kind, _, err := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return fhir.Errorf(415, fhir.CodeNotSupported, "POST _search takes Content-Type: application/x-www-form-urlencoded")
	}
	body, err := x.body(maxForm)
	if err != nil {
		return err
	}
	params, err := fhir.ParseParams(string(body))
	if err != nil {
		return err
	}
	if params.Has("_format") || params.Has("_pretty") {
		if x.form = negotiate(x.r.Header, params); x.form.refused != nil {
			return x.form.refused
		}
	}
	x.req.Query = append(x.req.Query, without(params, "_format", "_pretty")...)
	return nil
}

// maxForm bounds the form of a POST _search.
const maxForm = 1 << 20
