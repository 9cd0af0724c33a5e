package client

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"slices"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const maxSet = 64 << 10 // octets of a JWKS

// key is one JSON Web Key; its numbers are read when it is used.
type key struct {
	Kty string   `json:"kty"`
	Kid string   `json:"kid"`
	Use string   `json:"use"`
	Alg string   `json:"alg"`
	Crv string   `json:"crv"`
	Ops []string `json:"key_ops"`

	// The parts of private and symmetric keys.
	D jsontext.Value `json:"d"`
	P jsontext.Value `json:"p"`
	Q jsontext.Value `json:"q"`
	K jsontext.Value `json:"k"`

	raw jsontext.Value
}

func (k *key) private() bool { return k.D != nil || k.P != nil || k.Q != nil || k.K != nil }

// readSet reads a JWKS. Keys of kinds that are not known here are passed over
// (RFC 7517 §5), and so are those that cannot be read.
func readSet(raw []byte) ([]key, error) {
	if len(raw) > maxSet {
		return nil, errors.New("the key set is longer than 64 KiB")
	}
	var set struct {
		Keys []jsontext.Value `json:"keys"`
	}
	if err := json.Unmarshal(raw, &set); err != nil || set.Keys == nil {
		return nil, errors.New("the key set has no list of keys")
	}
	keys := make([]key, 0, len(set.Keys))
	for _, one := range set.Keys {
		k := key{raw: one}
		if json.Unmarshal(one, &k) == nil {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

// fits says whether a key is one to check signatures of an algorithm with. A key
// whose private part is public is none.
func (k *key) fits(alg string) bool {
	right := alg == string(jose.RS384) && k.Kty == "RSA" || alg == string(jose.ES384) && k.Kty == "EC" && k.Crv == "P-384"
	return right && !k.private() && (k.Use == "" || k.Use == "sig") && (k.Alg == "" || k.Alg == alg) &&
		(k.Ops == nil || slices.Contains(k.Ops, "verify"))
}

// choose finds the one key of a kid that fits; two are as bad as none.
func choose(keys []key, kid, alg string) (found *key, ok bool) {
	for i := range keys {
		if keys[i].Kid == kid && keys[i].fits(alg) {
			if found != nil {
				return nil, false
			}
			found = &keys[i]
		}
	}
	return found, found != nil
}

func has(keys []key, kid string) bool {
	return slices.ContainsFunc(keys, func(k key) bool { return k.Kid == kid })
}

// public reads the numbers of a key.
func (k *key) public() (any, bool) {
	var parsed jose.JSONWebKey
	if parsed.UnmarshalJSON(k.raw) != nil || !parsed.Valid() {
		return nil, false
	}
	switch public := parsed.Key.(type) {
	case *rsa.PublicKey:
		return public, public.N.BitLen() >= 2048 && public.N.BitLen() <= 8192
	case *ecdsa.PublicKey:
		return public, public.Curve == elliptic.P384()
	}
	return nil, false
}

// checkSet says what of a JWKS cannot be registered by value.
func checkSet(raw []byte) error {
	keys, err := readSet(raw)
	if err != nil {
		return badMetadata(err.Error())
	}
	usable := 0
	for i, k := range keys {
		if k.private() {
			return badMetadata("the key set holds a private or symmetric key: that key is no secret any more")
		}
		rs, es := k.fits(string(jose.RS384)), k.fits(string(jose.ES384))
		if !rs && !es {
			continue
		}
		if _, ok := k.public(); !ok || k.Kid == "" {
			return badMetadata("a key has no kid, or is not RSA of 2048 to 8192 bits or EC P-384")
		}
		if slices.ContainsFunc(keys[:i], func(o key) bool { return o.Kid == k.Kid && o.Kty == k.Kty }) {
			return badMetadata("two keys have the same kid")
		}
		usable++
	}
	if usable == 0 {
		return badMetadata("the key set has no public key for RS384 or ES384")
	}
	return nil
}
