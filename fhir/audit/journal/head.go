package journal

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"candela/store"
)

// Head says how far a chain went, signed. Kept elsewhere it proves later that
// nothing of it was lost.
type Head struct {
	Writer    string    `json:"writer"`
	Blocks    uint64    `json:"blocks"`
	Entries   uint64    `json:"entries"`
	Last      Hash      `json:"last"` // of the last block
	Root      Hash      `json:"root"` // Merkle root over the hashes of all blocks (RFC 6962)
	Time      time.Time `json:"time"`
	Links     []Link    `json:"links,omitempty"` // where the chains of others stood when it began
	Key       string    `json:"key"`             // id of the signing key
	Signature []byte    `json:"signature"`       // Ed25519
}

// text is what is signed.
func (h Head) text() []byte {
	out := fmt.Appendf(nil, "candela audit head 1\n%s\n%d %d\n%s\n%s\n%s\n%s\n", h.Writer, h.Blocks, h.Entries, h.Last, h.Root, h.Time.UTC().Format(time.RFC3339Nano), h.Key)
	for _, l := range h.Links {
		out = fmt.Appendf(out, "%s %d %s\n", l.Writer, l.Blocks, l.Last)
	}
	return out
}

// Heads are the heads of all chains, in the order in which they began. One that
// cannot be read has only its Writer.
func Heads(ctx context.Context, kv store.KV) ([]Head, error) {
	writers, err := Writers(ctx, kv)
	if err != nil {
		return nil, err
	}
	out := make([]Head, 0, len(writers))
	for _, w := range writers {
		h, err := headOf(ctx, kv, w)
		if err != nil {
			return nil, err
		}
		out = append(out, h)
	}
	return out, nil
}

func headOf(ctx context.Context, kv store.KV, writer string) (Head, error) {
	raw, err := kv.KVGet(ctx, headBucket, writer)
	if err != nil {
		return Head{}, err
	}
	var h Head
	if json.Unmarshal(raw, &h) != nil || h.Writer != writer {
		h = Head{Writer: writer}
	}
	return h, nil
}

// Key is a public key that heads are signed with.
type Key struct {
	ID     string            `json:"id"` // of the public key: half of its SHA-256, hexadecimal
	Public ed25519.PublicKey `json:"public"`
	Sealed []byte            `json:"sealed,omitempty"` // the private key under the server's secret
	Since  time.Time         `json:"since"`
	Ours   bool              `json:"-"` // the secret at hand opens it
}

// Keys are the keys of a journal; a secret tells which are its own.
func Keys(ctx context.Context, kv store.KV, secret []byte) ([]Key, error) {
	var out []Key
	for id, err := range kv.KVList(ctx, keyBucket, "") {
		if err != nil {
			return nil, err
		}
		raw, err := kv.KVGet(ctx, keyBucket, id)
		if err != nil {
			return nil, err
		}
		var k Key
		if json.Unmarshal(raw, &k) != nil || k.ID != id || idOf(k.Public) != id {
			continue // heads that name it will not verify
		}
		private, err := unseal(secret, k)
		k.Ours = err == nil && k.Public.Equal(private.Public())
		out = append(out, k)
	}
	return out, nil
}

func idOf(public ed25519.PublicKey) string {
	sum := sha256.Sum256(public)
	return hex.EncodeToString(sum[:16])
}

// signer signs heads.
type signer struct {
	id      string
	private ed25519.PrivateKey
}

func openSigner(ctx context.Context, c Config) (signer, error) {
	keys, err := Keys(ctx, c.KV, c.Secret)
	if err != nil {
		return signer{}, err
	}
	var newest Key
	for _, k := range keys {
		if k.Ours && k.Since.After(newest.Since) {
			newest = k
		}
	}
	if newest.ID == "" {
		if len(keys) > 0 {
			c.Log.LogAttrs(ctx, slog.LevelWarn, "the secret does not open the key that signed the audit journal; a new one signs from now on")
		}
		return makeSigner(ctx, c)
	}
	private, err := unseal(c.Secret, newest)
	return signer{newest.ID, private}, err
}

func makeSigner(ctx context.Context, c Config) (signer, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return signer{}, err
	}
	k := Key{ID: idOf(public), Public: public, Since: time.Now().UTC()}
	aead, err := sealing(c.Secret)
	if err != nil {
		return signer{}, err
	}
	k.Sealed = aead.Seal(nil, nil, private.Seed(), []byte(k.ID))
	raw, err := json.Marshal(k)
	if err != nil {
		return signer{}, err
	}
	return signer{k.ID, private}, c.KV.KVSwap(ctx, keyBucket, k.ID, nil, raw, 0)
}

// sealing is AES-256-GCM with random nonces in front.
func sealing(secret []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, "candela/fhir/audit/journal/key", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func unseal(secret []byte, k Key) (ed25519.PrivateKey, error) {
	aead, err := sealing(secret)
	if err != nil {
		return nil, err
	}
	seed, err := aead.Open(nil, nil, k.Sealed, []byte(k.ID))
	if err != nil {
		return nil, err
	}
	if len(seed) != ed25519.SeedSize {
		return nil, errors.New("a seed of the wrong size")
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

func (s signer) sign(h Head) ([]byte, error) {
	h.Key, h.Time = s.id, h.Time.UTC().Round(0)
	h.Signature = ed25519.Sign(s.private, h.text())
	return json.Marshal(h)
}

// signed says whether one of the keys signed the head.
func (h Head) signed(keys map[string]ed25519.PublicKey) bool {
	public, known := keys[h.Key]
	return known && ed25519.Verify(public, h.text(), h.Signature)
}
