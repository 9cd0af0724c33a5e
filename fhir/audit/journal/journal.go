// Package journal keeps entries so that none can be changed, dropped, moved or
// added unseen: they are written in blocks, each block holds the hash of the one
// before it, and a signed head tells how far the chain goes.
//
// Each process writes a chain of its own, whose first block tells where the chains
// of the others stood. Blocks live in a KV under writer and number, and are never
// written twice. An entry is bytes; whoever waits for one shares the write with
// all who wait at the same time.
//
// It knows hashes, signatures and where blocks live. It must not know what an
// entry says.
package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"candela/store"
)

// Buckets of the KV.
const (
	blockBucket = "audit.journal" // writer/number -> block
	headBucket  = "audit.head"    // writer -> signed head
	keyBucket   = "audit.key"     // id -> public key and sealed private key
)

// Config is what a Journal is made of.
type Config struct {
	KV     store.KV
	Secret []byte // seals the signing key; 16 octets or more
	Now    func() time.Time
	Log    *slog.Logger
	// Timeout bounds one write; 0 is 10 s. Sign is the longest time between two
	// signed heads; 0 is a minute.
	Timeout, Sign time.Duration
}

// Journal appends to the chain of this process. Safe for concurrent use.
type Journal struct {
	Config
	signer  signer
	packer  *zstd.Encoder
	signing sync.Mutex // one head at a time

	mu      sync.Mutex
	waiting []*batch // of which the last takes more
	writing bool

	own   sync.Mutex // the chain's
	chain chain
}

// batch is entries that become one block, each behind its length.
type batch struct {
	payload []byte
	count   uint64
	done    chan struct{}
	err     error
}

// maxBlock is how large the entries of a block get, in bytes, unless one alone is
// larger.
const maxBlock = 1 << 20

var errNoSecret = errors.New("the audit needs a secret of 16 octets or more to seal its signing key")

// Open makes a Journal. It reads or makes the signing key; its chain begins with
// the first entry.
func Open(ctx context.Context, c Config) (*Journal, error) {
	if len(c.Secret) < 16 {
		return nil, errNoSecret
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	if c.Sign == 0 {
		c.Sign = time.Minute
	}
	j := &Journal{Config: c}
	var err error
	if j.packer, err = newPacker(); err != nil {
		return nil, err
	}
	j.signer, err = openSigner(ctx, c)
	return j, err
}

// Append keeps entries, in this order and in one block. They are on disk when it
// returns nil; after an error they may be there or not.
func (j *Journal) Append(ctx context.Context, entries ...[]byte) error {
	if len(entries) == 0 {
		return nil
	}
	j.mu.Lock()
	b := j.join(entries)
	if j.writing {
		j.mu.Unlock()
		select {
		case <-b.done:
			return b.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	j.writing, j.waiting = true, nil
	j.mu.Unlock()
	j.write(b)
	j.handOn()
	return b.err
}

// join adds entries to the last batch that waits, or to a new one where that is full.
func (j *Journal) join(entries [][]byte) *batch {
	size := 0
	for _, e := range entries {
		size += len(e) + binary.MaxVarintLen32
	}
	last := len(j.waiting) - 1
	if last < 0 || len(j.waiting[last].payload)+size > maxBlock {
		j.waiting = append(j.waiting, &batch{payload: make([]byte, 0, size), done: make(chan struct{})})
		last++
	}
	b := j.waiting[last]
	for _, e := range entries {
		b.payload = binary.AppendUvarint(b.payload, uint64(len(e)))
		b.payload = append(b.payload, e...)
	}
	b.count += uint64(len(entries))
	return b
}

// handOn lets a goroutine write what came in meanwhile, until nothing does.
func (j *Journal) handOn() {
	if !j.more() {
		return
	}
	go func() {
		for again := true; again; again = j.more() {
			j.write(j.next())
		}
	}()
}

// more says whether somebody waits; else the next to come writes for itself.
func (j *Journal) more() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.writing = len(j.waiting) > 0
	return j.writing
}

func (j *Journal) next() *batch {
	j.mu.Lock()
	defer j.mu.Unlock()
	b := j.waiting[0]
	j.waiting = j.waiting[1:]
	return b
}

// write makes a block of b and tells those who wait.
func (j *Journal) write(b *batch) {
	defer close(b.done)
	ctx, cancel := context.WithTimeout(context.Background(), j.Timeout)
	defer cancel()
	j.own.Lock()
	defer j.own.Unlock()
	b.err = j.put(ctx, b)
}

// retireAfter is how long a chain may go without a signed head before its process
// begins another: readers take a chain for ended that has been silent for endedAfter.
const (
	retireAfter = 5 * time.Minute
	endedAfter  = 2 * retireAfter
)

// put writes b as the next block. Where an earlier write failed, its block may be
// there or come yet: the number is the same, so that only one of them can.
func (j *Journal) put(ctx context.Context, b *batch) error {
	for range 4 {
		if c := &j.chain; c.writer == "" || time.Since(c.signedAt) > retireAfter {
			if err := j.begin(ctx); err != nil {
				return err
			}
		}
		mine := j.chain.block(b.payload, b.count, j.Now(), j.packer)
		key := blockKey(j.chain.writer, j.chain.blocks+1)
		err := j.KV.KVSwap(ctx, blockBucket, key, nil, mine.value, 0)
		if err == nil {
			return j.chain.take(mine)
		}
		if !errors.Is(err, store.ErrConflict) {
			j.chain.unsure = append(j.chain.unsure, mine)
			return err
		}
		have, err := j.KV.KVGet(ctx, blockBucket, key)
		if err != nil {
			return err
		}
		if bytes.Equal(have, mine.value) {
			return j.chain.take(mine)
		}
		if err := j.settle(ctx, have); err != nil {
			return err
		}
	}
	return fmt.Errorf("audit journal: %w", store.ErrConflict)
}

// settle goes on behind a block that was found where the next should go: one of
// ours whose write had seemed to fail. Any other is none we know of, and the chain
// is left as it stands.
func (j *Journal) settle(ctx context.Context, have []byte) error {
	for _, one := range j.chain.unsure {
		if bytes.Equal(one.value, have) {
			return j.chain.take(one)
		}
	}
	j.Log.LogAttrs(ctx, slog.LevelError, "a block of the audit journal was written by somebody else; the chain goes on under another name", slog.String("writer", j.chain.writer))
	j.chain = chain{}
	return nil
}

// Run signs heads until ctx ends.
func (j *Journal) Run(ctx context.Context) {
	tick := time.NewTicker(j.Sign)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := j.SignHead(ctx); err != nil && ctx.Err() == nil {
			j.Log.LogAttrs(ctx, slog.LevelError, "the head of the audit journal was not signed", slog.Any("error", err))
		}
	}
}

// SignHead signs how far the chain of this process goes; nothing where it has none.
func (j *Journal) SignHead(ctx context.Context) error {
	j.signing.Lock()
	defer j.signing.Unlock()
	j.own.Lock()
	h, err := j.chain.head()
	j.own.Unlock()
	if err != nil || h.Writer == "" {
		return err
	}
	if err := j.publish(ctx, h); err != nil {
		return err
	}
	j.own.Lock()
	defer j.own.Unlock()
	if j.chain.writer == h.Writer {
		j.chain.signedAt = h.Time
	}
	return nil
}

// publish signs a head and keeps it.
func (j *Journal) publish(ctx context.Context, h Head) error {
	raw, err := j.signer.sign(h)
	if err != nil {
		return err
	}
	return j.KV.KVPut(ctx, headBucket, h.Writer, raw, 0)
}

// Close signs the last head. What is appended later begins another chain.
func (j *Journal) Close(ctx context.Context) error {
	err := j.SignHead(ctx)
	j.own.Lock()
	defer j.own.Unlock()
	j.chain = chain{}
	return err
}
