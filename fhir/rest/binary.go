package rest

import (
	"context"
	"encoding/base64"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"candela/fhir"
)

// isBinary says whether the request is about the one type whose content HTTP
// carries as it is (R4 binary.html).
func (x *exchange) isBinary() bool { return x.req.Type == "Binary" }

// rawUpload says whether the body is a Binary's content and no resource.
func (x *exchange) rawUpload() bool {
	writes := x.req.Interaction == fhir.Create || x.req.Interaction == fhir.Update
	kind := x.r.Header.Get("Content-Type")
	ok, _ := isJSON(kind, false)
	return writes && x.isBinary() && !ok && kind != ""
}

// decodeRaw makes a Binary of any body. X-Security-Context says whose access
// rules it has.
func (x *exchange) decodeRaw(ctx context.Context) (release func(), err error) {
	kind := x.r.Header.Get("Content-Type")
	if strings.HasPrefix(strings.ToLower(kind), "application/fhir+") {
		return nil, fhir.Errorf(415, fhir.CodeNotSupported, "this server takes resources as application/fhir+json of FHIR 4.0 only")
	}
	if plain, _, err := mime.ParseMediaType(kind); err != nil || !strings.Contains(plain, "/") {
		return nil, fhir.Errorf(415, fhir.CodeNotSupported, "the Content-Type is malformed")
	}
	most := x.Resource.Bytes/4*3 - (4 << 10) // base64 and the resource around it
	if release, err = x.admit(ctx, int64(x.Resource.Bytes)); err != nil {
		return nil, err
	}
	body, err := x.body(most)
	if err == nil {
		limits := x.Resource
		limits.String = limits.Bytes
		x.req.Resource, err = fhir.ParseResource(binary(x.req.ID, kind, x.r.Header.Get("X-Security-Context"), body), limits)
	}
	if err != nil {
		release()
	}
	return release, err
}

// binary is a Binary resource; "" leaves its element out.
func binary(id, kind, context string, content []byte) []byte {
	out := make([]byte, 0, 256+base64.StdEncoding.EncodedLen(len(content)))
	out = append(out, `{"resourceType":"Binary"`...)
	if id != "" {
		out = append(append(out, `,"id":`...), fhir.Quote(id)...)
	}
	out = append(append(out, `,"contentType":`...), fhir.Quote(kind)...)
	if context != "" {
		out = append(append(out, `,"securityContext":{"reference":`...), fhir.Quote(context)...)
		out = append(out, '}')
	}
	if len(content) > 0 {
		out = append(out, `,"data":"`...)
		out = append(base64.StdEncoding.AppendEncode(out, content), '"')
	}
	return append(out, '}')
}

// rawRead says whether a Binary may be asked for as it is: everything but an
// express wish for FHIR, which negotiate has found.
func (x *exchange) rawRead() bool {
	reads := x.req.Interaction == fhir.Read || x.req.Interaction == fhir.VRead
	return reads && x.isBinary() && !x.form.fhir
}

// sendRaw sends a Binary's content where the caller takes its type; done is
// false where the resource is to be sent instead. What a browser could take for
// a page must not run as one of ours (threat T69).
func (x *exchange) sendRaw(a fhir.Response) (done bool) {
	root := a.Resource.Root()
	kind := root.Get("contentType").Text()
	if _, _, err := mime.ParseMediaType(kind); err != nil {
		kind = "application/octet-stream"
	}
	if !takes(x.r.Header.Values("Accept"), kind) {
		if x.form.refused == nil {
			return false
		}
		x.write(x.refuse(x.form.refused))
		return true
	}
	content, err := base64.StdEncoding.DecodeString(root.Get("data").Text())
	if err != nil {
		return false
	}
	h := x.w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Disposition", "attachment")
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Add("Vary", "Accept")
	if owner := root.Path("securityContext", "reference").Text(); owner != "" && !strings.ContainsAny(owner, "\r\n") {
		h.Set("X-Security-Context", owner)
	}
	h.Set("Content-Length", strconv.Itoa(len(content)))
	x.w.WriteHeader(a.Status)
	x.w.WriteHeaderNow()
	if x.r.Method != http.MethodHead {
		_, _ = x.w.Write(content) // the caller may have gone
	}
	return true
}

// takes says whether an Accept header takes a media type; none takes all.
func takes(accept []string, kind string) bool {
	kind, _, _ = mime.ParseMediaType(kind)
	all := strings.Join(accept, ",")
	if strings.TrimSpace(all) == "" {
		return true
	}
	family, _, _ := strings.Cut(kind, "/")
	for one := range strings.SplitSeq(all, ",") {
		asked, params, err := mime.ParseMediaType(strings.TrimSpace(one))
		if q, bad := strconv.ParseFloat(params["q"], 64); err != nil || bad == nil && q == 0 {
			continue
		}
		if asked == kind || asked == "*/*" || asked == family+"/*" {
			return true
		}
	}
	return false
}
