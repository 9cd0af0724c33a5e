package token

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sync/singleflight"

	"candela/fhir"
)

// OutsideConfig names an outside SMART authorization server whose JWT access
// tokens are taken here.
type OutsideConfig struct {
	Issuer   string           // what iss must be
	Audience string           // what aud must have in it: our FHIR base
	JWKS     string           // URL of its public keys
	HTTP     *http.Client     // fetches them; hand in a guarded one
	Now      func() time.Time // nil: time.Now

	Algorithms []string // of signatures; nil: RS256 RS384 ES256 ES384
	// The names of claims; "": scope (or scp), patient, encounter, fhirUser.
	Scope, Patient, Encounter, Person string
}

// Outside checks the tokens of an outside authorization server. It is safe for
// use by many goroutines.
type Outside struct {
	OutsideConfig
	verifier *oidc.IDTokenVerifier
	cache    cache[[sha256.Size]byte, Info] // by the hash of a token that was verified
}

// verifiedLife is how long a token that was verified is not verified again.
const verifiedLife = 30 * time.Second

// asymmetric are the algorithms whose keys can be public.
var asymmetric = [...]string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512,
	oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA,
}

// NewOutside checks the configuration. The keys are fetched when they are needed.
func NewOutside(c OutsideConfig) (*Outside, error) {
	if c.Issuer == "" || c.Audience == "" || c.JWKS == "" || c.HTTP == nil {
		return nil, errors.New("smart/token: an outside server needs an issuer, an audience, the URL of its keys and a client to fetch them")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Algorithms == nil {
		c.Algorithms = []string{oidc.RS256, oidc.RS384, oidc.ES256, oidc.ES384}
	}
	for _, alg := range c.Algorithms {
		if !slices.Contains(asymmetric[:], alg) {
			return nil, fmt.Errorf("smart/token: %q is no algorithm for tokens of others", alg)
		}
	}
	for name, usual := range map[*string]string{&c.Patient: "patient", &c.Encounter: "encounter", &c.Person: "fhirUser"} {
		if *name == "" {
			*name = usual
		}
	}
	keys := newKeyHost(c.HTTP, c.JWKS, c.Now)
	verifier := oidc.NewVerifier(c.Issuer, keys, &oidc.Config{ClientID: c.Audience, SupportedSigningAlgs: c.Algorithms, Now: c.Now})
	return &Outside{OutsideConfig: c, verifier: verifier, cache: newCache[[sha256.Size]byte, Info]()}, nil
}

// Issued says whether a token claims to be of this server, so that it is known
// whom to ask. Nothing of it is believed.
func (o *Outside) Issued(bearer string) bool {
	parts := strings.Split(bearer, ".")
	if len(bearer) > MaxBearer || len(parts) != 3 {
		return false
	}
	var claims struct {
		Iss string `json:"iss"`
	}
	raw, err := strict.DecodeString(parts[1])
	return err == nil && json.Unmarshal(raw, &claims) == nil && claims.Iss == o.Issuer
}

// Check says what an access token stands for. One that is not good is *Error
// invalid_token; keys that cannot be had are ErrUnavailable. Grant.User is "" for
// a token without a user.
func (o *Outside) Check(ctx context.Context, bearer string) (Info, error) {
	if len(bearer) > MaxBearer || strings.Count(bearer, ".") != 2 || !b64token(bearer) {
		return Info{}, invalidToken("the token is no signed JWT")
	}
	now, hash := o.Now(), sha256.Sum256([]byte(bearer))
	if info, ok := o.cache.get(hash, now, verifiedLife); ok && now.Before(info.Expires) {
		return info, nil
	}
	info, err := o.verify(ctx, bearer)
	if err != nil {
		return Info{}, err
	}
	if info.JTI == "" {
		info.JTI = strict.EncodeToString(hash[:16])
	}
	o.cache.put(hash, info, now, verifiedLife)
	return info, nil
}

func (o *Outside) verify(ctx context.Context, bearer string) (Info, error) {
	trouble := &trouble{}
	verified, err := o.verifier.Verify(context.WithValue(ctx, troubleKey{}, trouble), bearer)
	if trouble.err != nil {
		return Info{}, trouble.err
	}
	if err != nil {
		return Info{}, invalidToken("the token is not one of the authorization server for this server, or is over")
	}
	claims := rawClaims{}
	if err := verified.Claims(&claims); err != nil {
		return Info{}, invalidToken("the claims of the token cannot be read")
	}
	return o.info(claims, verified)
}

// rawClaims reads claims with their names as they are, none twice: what the
// standard library makes of JSON in other cases of letters is not said by anyone.
type rawClaims map[string]jsontext.Value

func (c *rawClaims) UnmarshalJSON(raw []byte) error {
	return json.Unmarshal(raw, (*map[string]jsontext.Value)(c))
}

// info reads the claims of a verified token.
func (o *Outside) info(claims rawClaims, verified *oidc.IDToken) (Info, error) {
	if claims.text("iss") != o.Issuer || claims["aud"] == nil || claims["exp"] == nil {
		return Info{}, invalidToken("the token has no iss, aud or exp")
	}
	client := claims.text("client_id")
	if client == "" {
		client = claims.text("azp")
	}
	g := Grant{
		Client: client, User: verified.Subject, Aud: o.Audience, Scope: o.scope(claims),
		Patient: id(claims.text(o.Patient), "Patient"), Encounter: id(claims.text(o.Encounter), "Encounter"),
		FHIRUser: o.person(claims.text(o.Person)), Created: verified.IssuedAt,
	}
	if g.User == client && g.Patient == "" && g.FHIRUser.Type == "" {
		g.User = "" // a backend service speaks for itself
	}
	jti := claims.text("jti")
	if len(jti) > 128 || !b64token(jti) {
		jti = "" // its hash is its name then
	}
	return Info{Grant: g, Scope: g.Scope, JTI: jti, Issued: verified.IssuedAt, Expires: verified.Expiry}, nil
}

// text is a claim that is a text, else "".
func (c rawClaims) text(name string) string {
	var text string
	if value := c[name]; value.Kind() != '"' || json.Unmarshal(value, &text) != nil {
		return ""
	}
	return text
}

// scope is the scope claim: a text, or an array of texts.
func (o *Outside) scope(claims rawClaims) string {
	names := []string{o.OutsideConfig.Scope}
	if names[0] == "" {
		names = []string{"scope", "scp"}
	}
	for _, name := range names {
		if text := claims.text(name); text != "" {
			return text
		}
		var list []string
		if value := claims[name]; value.Kind() == '[' && json.Unmarshal(value, &list) == nil {
			return strings.Join(list, " ")
		}
	}
	return ""
}

// person is a fhirUser of ours: relative, or absolute on our base. Any other is
// nobody here.
func (o *Outside) person(text string) fhir.Reference {
	r := fhir.ParseReference(text)
	if r.Base != "" && !sameServer(r.Base, o.Audience) || r.Version != "" || !slices.Contains(persons[:], r.Type) {
		return fhir.Reference{}
	}
	r.Base = ""
	return r
}

// id is an id that may be written with its type; "" for what is none.
func id(text, typ string) string {
	if after, ok := strings.CutPrefix(text, typ+"/"); ok {
		text = after
	}
	if !fhir.ValidID(text) {
		return ""
	}
	return text
}

const (
	fetchTime = 3 * time.Second  // for a whole answer
	retryWait = 5 * time.Second  // after a fetch that failed, before the next
	freshWait = 30 * time.Second // between fetches for a kid that the keys lack
	usualLife = 15 * time.Minute // of keys whose host says nothing
	mostLife  = time.Hour        // whatever it says
	leastLife = 30 * time.Second // whatever it says
	maxKeySet = 256 << 10        // octets
)

// keyHost is the public keys of an outside server, fetched when they are needed
// and believed for as long as its Cache-Control says, within bounds. It is an
// oidc.KeySet that tells trouble with the host from bad signatures.
type keyHost struct {
	http    *http.Client
	url     string
	now     func() time.Time
	flights singleflight.Group

	mu    sync.Mutex
	keys  []jose.JSONWebKey
	until time.Time // the keys are good before this
	next  time.Time // no fetch before this
	err   error     // of the last fetch
}

func newKeyHost(c *http.Client, url string, now func() time.Time) *keyHost {
	own := *c // the guard is in its transport; what follows is ours
	own.Timeout, own.Jar = fetchTime, nil
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &keyHost{http: &own, url: url, now: now}
}

// troubleKey is where a verification leaves trouble that is not the token's:
// the verifier does not hand the errors of its key set on.
type troubleKey struct{}

type trouble struct{ err error }

// VerifySignature is for oidc.IDTokenVerifier, which has checked the algorithm.
func (h *keyHost) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	algorithms := make([]jose.SignatureAlgorithm, len(asymmetric))
	for i, alg := range asymmetric {
		algorithms[i] = jose.SignatureAlgorithm(alg)
	}
	signed, err := jose.ParseSignedCompact(token, algorithms)
	if err != nil {
		return nil, fmt.Errorf("read a token: %w", err)
	}
	head := signed.Signatures[0].Header
	keys, err := h.find(ctx, head.KeyID)
	if err != nil {
		if t, ok := ctx.Value(troubleKey{}).(*trouble); ok {
			t.err = err
		}
		return nil, err
	}
	for i := range keys {
		if k := &keys[i]; names(k, head.KeyID) && (k.Use == "" || k.Use == "sig") && (k.Algorithm == "" || k.Algorithm == head.Algorithm) {
			if claims, err := signed.Verify(k); err == nil {
				return claims, nil
			}
		}
	}
	return nil, errors.New("no key verifies the signature")
}

// names says whether a key may be the one that a token names.
func names(k *jose.JSONWebKey, kid string) bool { return kid == "" || k.KeyID == kid }

// find gives the keys, with kid among them if the host has it. Every trouble
// with the host is ErrUnavailable.
func (h *keyHost) find(ctx context.Context, kid string) ([]jose.JSONWebKey, error) {
	if keys, err, ok := h.look(kid); ok {
		return keys, err
	}
	flight := h.flights.DoChan("", func() (any, error) {
		if _, _, ok := h.look(kid); !ok { // another flight may have landed since
			h.fetch(context.WithoutCancel(ctx))
		}
		return nil, nil
	})
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("smart/token: wait for keys: %w", ctx.Err())
	case <-flight:
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.err != nil {
			return nil, fmt.Errorf("smart/token: %w: %w", ErrUnavailable, h.err)
		}
		return h.keys, nil
	}
}

// look answers from what is held; ok is false when a fetch is due.
func (h *keyHost) look(kid string) (keys []jose.JSONWebKey, err error, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	fresh := now.Before(h.until)
	known := slices.ContainsFunc(h.keys, func(k jose.JSONWebKey) bool { return names(&k, kid) })
	switch {
	case fresh && known:
		return h.keys, nil, true
	case !now.Before(h.next):
		return nil, nil, false
	case fresh && h.err == nil:
		return h.keys, nil, true
	}
	// The kid may be a new one: without the host nobody can tell.
	return nil, fmt.Errorf("smart/token: %w: %w", ErrUnavailable, h.err), true
}

// fetch asks the host and holds what it says.
func (h *keyHost) fetch(ctx context.Context) {
	began := h.now()
	keys, life, err := h.get(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = err
	if err != nil {
		h.next = h.now().Add(retryWait)
		return
	}
	h.keys, h.until, h.next = keys, began.Add(life), began.Add(freshWait)
}

func (h *keyHost) get(ctx context.Context) ([]jose.JSONWebKey, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url, nil)
	if err != nil {
		return nil, 0, err
	}
	ask.Header.Set("Accept", "application/jwk-set+json, application/json")
	answer, err := h.http.Do(ask)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("the host of the keys answered %d", answer.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxKeySet+1))
	if err != nil {
		return nil, 0, err
	}
	keys, err := readKeys(body)
	return keys, lifetime(answer.Header.Get("Cache-Control")), err
}

// readKeys reads a JWKS. Keys that are of no known kind, or not public, are
// passed over (RFC 7517 §5).
func readKeys(body []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []jsontext.Value `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil || len(body) > maxKeySet || set.Keys == nil {
		return nil, errors.New("the host of the keys has no list of keys")
	}
	var keys []jose.JSONWebKey
	for _, one := range set.Keys {
		var k jose.JSONWebKey
		if k.UnmarshalJSON(one) == nil && k.Valid() && k.IsPublic() {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

// lifetime is the max-age of a Cache-Control header, within bounds.
func lifetime(control string) time.Duration {
	life := usualLife
	for part := range strings.SplitSeq(strings.ToLower(control), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch n, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 32); {
		case name == "no-store" || name == "no-cache":
			return leastLife
		case name == "max-age" && err == nil:
			life = time.Duration(n) * time.Second
		}
	}
	return min(max(life, leastLife), mostLife)
}
