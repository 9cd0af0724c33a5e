// Package page writes pages of results: the Bundles of searches, histories and
// batches as bytes, and the links between pages. A link's token is sealed: it
// carries no patient data, and nobody else can write one. What is too long for a
// link is parked in the store.
//
// It knows Bundles, AES-GCM and where the key lives. It must not know how the
// results were found, nor what a token says.
package page

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"time"

	"candela/fhir"
	"candela/store"
)

// Sealer makes and reads tokens. Its key is kept in the store, so that every
// process on one store reads the tokens of all. Safe for concurrent use.
type Sealer struct {
	kv   store.KV
	mu   sync.Mutex
	aead cipher.AEAD
}

const (
	bucket  = "paging"
	keyName = "key"
	parked  = "paging-parked"
	maxSize = 16 << 10 // of a token, in bytes
)

// New makes a Sealer; the key is read or made at the first use.
func New(kv store.KV) *Sealer { return &Sealer{kv: kv} }

// Seal makes a URL-safe token of plain, bound to purpose: Open needs the same.
func (s *Sealer) Seal(ctx context.Context, purpose string, plain []byte) (string, error) {
	aead, err := s.cipher(ctx)
	if err != nil {
		return "", err
	}
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(plain)+aead.Overhead())
	if _, err := rand.Read(nonce); err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(aead.Seal(nonce, nonce, plain, []byte(purpose))), nil
}

var errForeign = fhir.Errorf(410, fhir.CodeNotFound, "the page link is not good here, or not for you; search again").Because(store.ErrCursor)

// Open is what Seal was given. What is no token is store.ErrCursor, an edited or
// foreign one a 410.
func (s *Sealer) Open(ctx context.Context, purpose, token string) ([]byte, error) {
	aead, err := s.cipher(ctx)
	if err != nil {
		return nil, err
	}
	if len(token) > maxSize {
		return nil, store.ErrCursor
	}
	sealed, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(sealed) < aead.NonceSize() {
		return nil, store.ErrCursor
	}
	plain, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], []byte(purpose))
	if err != nil {
		return nil, errForeign
	}
	return plain, nil
}

// parkTime is how long a parked text can be read, from when it was parked last.
const parkTime = 24 * time.Hour

// Park keeps a text that is too long for a token, for a day; the key is the same
// for the same text.
func (s *Sealer) Park(ctx context.Context, text string) (key string, err error) {
	sum := sha256.Sum256([]byte(text))
	key = base64.RawURLEncoding.EncodeToString(sum[:])
	return key, s.kv.KVPut(ctx, parked, key, []byte(text), parkTime)
}

// Parked is what Park was given; store.ErrCursor when its time is over.
func (s *Sealer) Parked(ctx context.Context, key string) (string, error) {
	text, err := s.kv.KVGet(ctx, parked, key)
	if errors.Is(err, store.ErrNotFound) {
		err = store.ErrCursor
	}
	return string(text), err
}

func (s *Sealer) cipher(ctx context.Context) (cipher.AEAD, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.aead != nil {
		return s.aead, nil
	}
	key, err := s.key(ctx)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("paging key: %w", store.ErrCorrupt)
	}
	s.aead, err = cipher.NewGCM(block)
	return s.aead, err
}

// key reads the key, or makes it when there is none; of several processes that
// make one at a time, all use the first.
func (s *Sealer) key(ctx context.Context) ([]byte, error) {
	key, err := s.kv.KVGet(ctx, bucket, keyName)
	if !errors.Is(err, store.ErrNotFound) {
		return key, err
	}
	fresh := make([]byte, 32)
	if _, err := rand.Read(fresh); err != nil {
		return nil, err
	}
	err = s.kv.KVSwap(ctx, bucket, keyName, nil, fresh, 0)
	if errors.Is(err, store.ErrConflict) {
		return s.kv.KVGet(ctx, bucket, keyName)
	}
	return fresh, err
}
