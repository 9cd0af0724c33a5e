package account

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"

	"candela/store"
)

// Hash is what a password costs to try: argon2id of RFC 9106.
type Hash struct {
	Memory  uint32 // KiB; 0: 19456
	Passes  uint32 // 0: 2
	Threads uint8  // 0: 1
}

const (
	maxMemory = 1 << 20 // KiB
	maxPasses = 64
	hashSize  = 32 // octets
	saltSize  = 16
	// waiting is how many may wait for each that is being hashed: a second or two.
	waiting = 32
)

func (h *Hash) check() error {
	if *h == (Hash{}) {
		*h = Hash{Memory: 19456, Passes: 2, Threads: 1}
	}
	if !h.sane() {
		return errors.New("smart/account: a password hash takes 8 KiB to 1 GiB for each thread, and 1 to 64 passes")
	}
	return nil
}

func (h Hash) sane() bool {
	return h.Threads >= 1 && h.Passes >= 1 && h.Passes <= maxPasses && h.Memory >= 8*uint32(h.Threads) && h.Memory <= maxMemory
}

// hasher hashes passwords, so many at a time: each takes its memory.
type hasher struct {
	Hash
	slots chan struct{}
	queue atomic.Int64
}

func newHasher(h Hash, parallel int) *hasher {
	return &hasher{Hash: h, slots: make(chan struct{}, parallel)}
}

// run does the work in a slot. Too many that wait are *Error Busy.
func (h *hasher) run(ctx context.Context, p Hash, password, salt []byte) ([]byte, error) {
	defer h.queue.Add(-1)
	if h.queue.Add(1) > int64(cap(h.slots)*(1+waiting)) {
		return nil, &Error{Code: Busy, Description: "too many people sign in at this moment", Status: 503, RetryAfter: 2 * time.Second}
	}
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("smart/account: wait to hash a password: %w", ctx.Err())
	case h.slots <- struct{}{}:
	}
	defer func() { <-h.slots }()
	return argon2.IDKey(password, salt, p.Passes, p.Memory, p.Threads, hashSize), nil
}

// make hashes a password: parameters, salt and hash in the text form that other
// programs have for argon2id.
func (h *hasher) make(ctx context.Context, password []byte) (string, error) {
	salt := make([]byte, saltSize)
	rand.Read(salt) // never fails: crypto/rand ends the process instead
	sum, err := h.run(ctx, h.Hash, password, salt)
	if err != nil {
		return "", err
	}
	return h.text(salt, sum), nil
}

func (h *hasher) text(salt, sum []byte) string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.Memory, h.Passes, h.Threads,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(sum))
}

// dummy is the hash of no password: trying one takes as long as for any other.
func (h *hasher) dummy() string {
	b := make([]byte, saltSize+hashSize)
	rand.Read(b) // never fails: crypto/rand ends the process instead
	return h.text(b[:saltSize], b[saltSize:])
}

// verify tries a password; stale says that it should be hashed anew, with the
// parameters of today.
func (h *hasher) verify(ctx context.Context, hashed string, password []byte) (good, stale bool, err error) {
	p, salt, want, err := readHash(hashed)
	if err != nil {
		return false, false, err
	}
	sum, err := h.run(ctx, p, password, salt)
	if err != nil {
		return false, false, err
	}
	return hmac.Equal(sum, want), p != h.Hash, nil
}

func readHash(text string) (p Hash, salt, sum []byte, err error) {
	damaged := fmt.Errorf("smart/account: a password hash: %w", store.ErrCorrupt)
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return p, nil, nil, damaged
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.Memory, &p.Passes, &p.Threads); err != nil || !p.sane() {
		return p, nil, nil, damaged
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	sum, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(sum) != hashSize {
		return p, nil, nil, damaged
	}
	return p, salt, sum, nil
}
