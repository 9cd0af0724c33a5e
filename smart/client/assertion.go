package client

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"candela/store"
)

const (
	maxAssertion = 16 << 10        // octets of a client_assertion
	maxAhead     = 5 * time.Minute // how far ahead its exp may be
)

var algorithms = [...]string{string(jose.RS384), string(jose.ES384)}

// header is the protected header of an assertion; claims are what it says. Names
// are matched exactly and none may be there twice.
type header struct {
	Alg  string         `json:"alg"`
	Kid  string         `json:"kid"`
	Typ  string         `json:"typ"`
	JKU  *string        `json:"jku"`
	Crit jsontext.Value `json:"crit"`
	B64  jsontext.Value `json:"b64"`
}

type claims struct {
	Iss string         `json:"iss"`
	Sub string         `json:"sub"`
	Aud jsontext.Value `json:"aud"`
	Exp jsontext.Value `json:"exp"`
	Nbf jsontext.Value `json:"nbf"`
	JTI string         `json:"jti"`
}

// byAssertion is private_key_jwt. What costs more comes later: nobody makes this
// server fetch keys or write to its store by an assertion that is wrong in itself.
func (r *Registry) byAssertion(ctx context.Context, named, token string) (Client, error) {
	head, body, err := open(token)
	if err != nil {
		return Client{}, err
	}
	if body.Iss == "" || body.Iss != body.Sub || named != "" && named != body.Iss {
		return Client{}, unauthorized("iss, sub and client_id of the assertion are not one client")
	}
	c, err := r.known(ctx, body.Iss, Asymmetric)
	if err != nil {
		return Client{}, err
	}
	if err := c.checkHeader(head); err != nil {
		return Client{}, err
	}
	expires, err := r.checkClaims(body)
	if err != nil {
		return Client{}, err
	}
	if err := r.checkSignature(ctx, &c, head, token); err != nil {
		return Client{}, err
	}
	if err := r.use(ctx, body, expires); err != nil {
		return Client{}, err
	}
	return c, nil
}

// open reads an assertion without believing it.
func open(token string) (header, claims, error) {
	var head header
	var body claims
	if len(token) > maxAssertion {
		return head, body, malformed("the assertion is longer than 16 KiB")
	}
	if strings.Count(token, ".") != 2 {
		return head, body, malformed("the assertion is no signed JWT in compact form")
	}
	first, rest, _ := strings.Cut(token, ".")
	second, third, _ := strings.Cut(rest, ".")
	// Strict, so that no two texts are the same assertion.
	encoding := base64.RawURLEncoding.Strict()
	_, err := encoding.DecodeString(third)
	if err != nil || third == "" || strings.ContainsAny(token, "\r\n") {
		return head, body, malformed("the signature of the assertion is no base64url")
	}
	top, err1 := encoding.DecodeString(first)
	said, err2 := encoding.DecodeString(second)
	if err := errors.Join(err1, err2, json.Unmarshal(top, &head), json.Unmarshal(said, &body)); err != nil {
		return head, body, malformed("header or claims of the assertion cannot be read")
	}
	return head, body, nil
}

func (c *Client) checkHeader(h header) error {
	switch {
	case h.Alg != algorithms[0] && h.Alg != algorithms[1]:
		return unauthorized("the assertion is not signed with RS384 or ES384")
	case h.Typ != "JWT":
		return unauthorized("the typ of the assertion is not JWT")
	case h.Kid == "":
		return unauthorized("the assertion has no kid")
	case h.Crit != nil || h.B64 != nil:
		return unauthorized("the assertion has a header that is not understood")
	case h.JKU != nil && (*h.JKU == "" || *h.JKU != c.JWKSURL && *h.JKU != c.JKU):
		return unauthorized("the jku of the assertion is not the registered URL")
	}
	return nil
}

// checkClaims gives the time at which the assertion ends.
func (r *Registry) checkClaims(body claims) (time.Time, error) {
	if !r.audience(body.Aud) {
		return time.Time{}, unauthorized("the aud of the assertion is not the token URL alone")
	}
	now := r.Now()
	expires, ok := numericDate(body.Exp)
	switch {
	case !ok:
		return time.Time{}, unauthorized("the assertion has no exp in seconds since 1970")
	case !expires.Add(r.Skew).After(now):
		return time.Time{}, unauthorized("the assertion has expired")
	// In whole seconds, as exp mostly is.
	case expires.After(now.Truncate(time.Second).Add(maxAhead + r.Skew)):
		return time.Time{}, unauthorized("the exp of the assertion is more than 5 minutes ahead")
	case body.JTI == "":
		return time.Time{}, unauthorized("the assertion has no jti")
	}
	if body.Nbf != nil {
		if begins, ok := numericDate(body.Nbf); !ok || begins.After(now.Add(r.Skew)) {
			return time.Time{}, unauthorized("the assertion is not valid yet")
		}
	}
	return expires, nil
}

// audience takes a text, or a list of one, which some libraries make of it.
func (r *Registry) audience(aud jsontext.Value) bool {
	var one string
	if json.Unmarshal(aud, &one) != nil {
		var list []string
		if json.Unmarshal(aud, &list) != nil || len(list) != 1 {
			return false
		}
		one = list[0]
	}
	return one != "" && (one == r.TokenURL || one == r.Issuer)
}

// numericDate reads seconds since 1970, which may have a fraction (RFC 7519 §2).
func numericDate(v jsontext.Value) (time.Time, bool) {
	if v.Kind() != '0' {
		return time.Time{}, false
	}
	seconds, err := strconv.ParseFloat(string(v), 64)
	if err != nil || seconds < 0 || seconds > 1<<40 {
		return time.Time{}, false
	}
	whole, part := math.Modf(seconds)
	return time.Unix(int64(whole), int64(part*1e9)), true
}

func (r *Registry) checkSignature(ctx context.Context, c *Client, h header, token string) error {
	keys, err := r.keys(ctx, c, h.Kid)
	if err != nil {
		return err
	}
	key, ok := choose(keys, h.Kid, h.Alg)
	if !ok {
		return unauthorized("the kid of the assertion is not that of exactly one fitting key")
	}
	public, ok := key.public()
	if !ok {
		return unauthorized("the key of the assertion is not RSA of 2048 to 8192 bits or EC P-384")
	}
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(h.Alg)})
	if err == nil {
		_, err = signed.Verify(public)
	}
	if err != nil {
		return unauthorized("the signature of the assertion does not match")
	}
	return nil
}

func (r *Registry) keys(ctx context.Context, c *Client, kid string) ([]key, error) {
	if c.JWKSURL != "" {
		return r.remote.keys(ctx, c.ID, c.JWKSURL, kid)
	}
	keys, err := readSet(c.JWKS)
	if err != nil {
		return nil, fmt.Errorf("smart/client: the keys of client %s: %w", c.ID, store.ErrCorrupt)
	}
	return keys, nil
}

// use notes an assertion as used, once for all processes and restarts, for a
// minute longer than it could be sent again.
func (r *Registry) use(ctx context.Context, body claims, expires time.Time) error {
	id := base64.RawURLEncoding.EncodeToString(r.digest("jti", body.Iss, body.JTI))
	life := expires.Sub(r.Now()) + r.Skew + time.Minute
	err := r.KV.KVSwap(ctx, bucketJTI, id, nil, []byte{1}, life)
	if errors.Is(err, store.ErrConflict) {
		return unauthorized("the jti of the assertion was used before")
	}
	if err != nil {
		return fmt.Errorf("smart/client: note an assertion: %w", err)
	}
	return nil
}
