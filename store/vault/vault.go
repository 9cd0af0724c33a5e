// Package vault keeps the keys that stored data is encrypted with, and seals
// values with them.
//
// There are three floors. One master key, which the operator keeps, opens the
// ring. The ring holds the store's own keys: those that files are encrypted
// with, and those that data keys are wrapped with. A data key seals the values
// of one owner, is wrapped by the ring and lies beside the data; without it all
// values of that owner, wherever copies of them are, are noise.
//
// All sealing is AES-256-GCM with a random nonce, and names in its additional
// data what is sealed and where it belongs, so that nothing sealed can be put
// in another's place.
//
// It knows keys and bytes. It must not know what is stored, nor the database
// it is stored in.
package vault

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// ErrKey says that a key is missing or is not the one that is needed.
var ErrKey = errors.New("wrong or missing key")

// ErrDamaged says that what was sealed is not whole, or stands where something
// else belongs.
var ErrDamaged = errors.New("sealed data is damaged or out of place")

// Key is an AES-256 key.
type Key [32]byte

// NewKey is a random key.
func NewKey() (k Key) {
	_, _ = rand.Read(k[:]) // never fails
	return k
}

// Fingerprint names a key without telling anything about it: 16 hex digits.
func (k Key) Fingerprint() string {
	m := hmac.New(sha256.New, k[:])
	_, _ = m.Write([]byte("candela fingerprint")) // a hash never fails to write
	return hex.EncodeToString(m.Sum(nil)[:8])
}

// String keeps a key out of logs.
func (k Key) String() string { return "key " + k.Fingerprint() }

// MarshalText keeps a key out of what is written as text or JSON.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// GoString keeps a key out of dumps.
func (k Key) GoString() string { return k.String() }

// aead is the cipher of a key.
func (k Key) aead() (cipher.AEAD, error) {
	block, err := aes.NewCipher(k[:])
	if err != nil {
		return nil, fmt.Errorf("cipher: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// Wrap appends plain, sealed by k for a place, to dst: 28 bytes more.
func (k Key) Wrap(dst, plain, place []byte) ([]byte, error) {
	a, err := k.aead()
	if err != nil {
		return dst, err
	}
	return a.Seal(dst, nil, plain, place), nil
}

// Unwrap appends what Wrap sealed to dst; ErrDamaged where key or place are others.
func (k Key) Unwrap(dst, sealed, place []byte) ([]byte, error) {
	a, err := k.aead()
	if err != nil {
		return dst, err
	}
	out, err := a.Open(dst, nil, sealed, place)
	if err != nil {
		return dst, ErrDamaged
	}
	return out, nil
}
