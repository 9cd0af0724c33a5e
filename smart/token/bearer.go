package token

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
)

// kind is what a token is for. No token is good as one of another kind.
type kind string

const (
	access  kind = "candela_at_"
	refresh kind = "candela_rt_"
	code    kind = "candela_ac_"
)

// A token is its kind and, in base64url, the id of its grant, 256 random bits
// and a tag. The tag tells our tokens from all others without the store, and so
// a spent token of a grant from a made-up one.
const (
	idSize     = 16
	randomSize = 32
	tagSize    = 16
	payload    = idSize + randomSize
	textSize   = len(access) + (payload+tagSize)*4/3 + 1
)

// strict refuses a second spelling of the same octets.
var strict = base64.RawURLEncoding.Strict()

// parsed is a token that is one of ours.
type parsed struct {
	id     [idSize]byte // of the grant
	digest []byte       // what the record knows it by
}

// grant is the id of the token's grant as it is written.
func (p *parsed) grant() string { return strict.EncodeToString(p.id[:]) }

func sum(key []byte, parts ...[]byte) []byte {
	mac := hmac.New(sha256.New, key)
	for _, part := range parts {
		mac.Write(part)
	}
	return mac.Sum(nil)
}

// random is n random octets in base64url.
func random(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails: crypto/rand ends the process instead
	return strict.EncodeToString(b)
}

// mint makes a token of a grant and the digest to know it by.
func (t *Tokens) mint(k kind, grant string) (text string, digest []byte) {
	raw := make([]byte, 0, payload+tagSize)
	raw, _ = strict.AppendDecode(raw, []byte(grant)) // an id of ours
	raw = raw[:payload]
	rand.Read(raw[idSize:])
	raw = append(raw, sum(t.keys.tag, []byte(k), raw)[:tagSize]...)
	return string(k) + strict.EncodeToString(raw), sum(t.keys.digest, []byte(k), raw)
}

// parse reads a token of kind k; ok is false for all but ours.
func (t *Tokens) parse(k kind, text string) (p parsed, ok bool) {
	if len(text) != textSize || text[:len(k)] != string(k) {
		return parsed{}, false
	}
	var raw [payload + tagSize]byte
	// The decoder passes over line ends: a text of the right length with one has
	// octets missing.
	if n, err := strict.Decode(raw[:], []byte(text[len(k):])); err != nil || n != len(raw) {
		return parsed{}, false
	}
	if !hmac.Equal(sum(t.keys.tag, []byte(k), raw[:payload])[:tagSize], raw[payload:]) {
		return parsed{}, false
	}
	copy(p.id[:], raw[:])
	p.digest = sum(t.keys.digest, []byte(k), raw[:])
	return p, true
}

// MaxBearer is how many octets the longest bearer token may have.
const MaxBearer = 16 << 10

// Bearer reads the bearer token of a request (RFC 6750 §2.1). It is taken from
// the Authorization header alone, never from a query or form. A request without
// the header is *Error with status 401 and no code, as RFC 6750 §3.1 wants it.
func Bearer(h http.Header) (string, error) {
	values := h.Values("Authorization")
	switch {
	case len(values) == 0:
		return "", &Error{Description: "no bearer token was sent", Status: http.StatusUnauthorized}
	case len(values) > 1:
		return "", invalidRequest("more than one Authorization header was sent")
	}
	scheme, text, found := strings.Cut(values[0], " ")
	switch {
	case !strings.EqualFold(scheme, "Bearer"):
		return "", &Error{Description: "the Authorization header has no bearer token", Status: http.StatusUnauthorized}
	case !found || len(text) > MaxBearer || !b64token(text):
		return "", invalidRequest("the bearer token is empty, too long or has characters that none has")
	}
	return text, nil
}

// b64token is 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"=".
func b64token(s string) bool {
	s = strings.TrimRight(s, "=")
	for i := range len(s) {
		if c := s[i]; !unreserved(c) && c != '+' && c != '/' {
			return false
		}
	}
	return s != ""
}

// unreserved is a character of RFC 3986 §2.3.
func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}
