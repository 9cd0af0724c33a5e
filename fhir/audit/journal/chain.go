package journal

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"

	"candela/store"
)

// chain is what a process has written.
type chain struct {
	writer   string // "" before it begins
	links    []Link
	blocks   uint64
	entries  uint64
	last     Hash
	tree     *compact.Range // over the hashes of all blocks (RFC 6962)
	signedAt time.Time      // on the process's own clock
	unsure   []made         // written as the next block, with unknown outcome
}

func newTree() *compact.Range {
	factory := compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
	return factory.NewEmptyRange(0)
}

func grow(tree *compact.Range, h Hash) error {
	return tree.Append(rfc6962.DefaultHasher.HashLeaf(h[:]), nil)
}

// rootOf is the Merkle root; that of an empty tree is the hash of nothing.
func rootOf(tree *compact.Range) (h Hash, err error) {
	root, err := tree.GetRootHash(nil)
	if tree.End() == 0 {
		root = rfc6962.DefaultHasher.EmptyRoot()
	}
	copy(h[:], root)
	return h, err
}

// block lays out what would come next.
func (c *chain) block(payload []byte, count uint64, now time.Time, packer *zstd.Encoder) made {
	b := Block{Writer: c.writer, Number: c.blocks + 1, First: c.entries + 1, Time: now, Before: c.last}
	if c.blocks == 0 {
		b.Links = c.links
	}
	value := appendBlock(make([]byte, 0, len(payload)+256), b, count, payload, packer)
	out := made{value: value, count: count}
	copy(out.hash[:], value[len(value)-len(out.hash):])
	return out
}

// take makes a block the last.
func (c *chain) take(b made) error {
	c.blocks, c.entries, c.last, c.unsure = c.blocks+1, c.entries+b.count, b.hash, nil
	return grow(c.tree, b.hash)
}

func (c *chain) head() (Head, error) {
	if c.writer == "" {
		return Head{}, nil
	}
	root, err := rootOf(c.tree)
	return Head{Writer: c.writer, Blocks: c.blocks, Entries: c.entries, Last: c.last, Root: root, Time: time.Now(), Links: c.links}, err
}

// begin starts a chain: its head is there before its first block, so that whoever
// reads the heads finds all chains.
func (j *Journal) begin(ctx context.Context) error {
	links, err := j.others(ctx)
	if err != nil {
		return err
	}
	var tail [4]byte
	if _, err := rand.Read(tail[:]); err != nil {
		return err
	}
	c := chain{writer: fmt.Sprintf("%012x", time.Now().UnixMilli()) + hex.EncodeToString(tail[:]), links: links, tree: newTree(), signedAt: time.Now()}
	h, err := c.head()
	if err != nil {
		return err
	}
	if err := j.publish(ctx, h); err != nil {
		return err
	}
	j.chain = c
	return nil
}

// others are the chains that are not yet linked to as far as they go.
func (j *Journal) others(ctx context.Context) ([]Link, error) {
	heads, err := Heads(ctx, j.KV)
	if err != nil {
		return nil, err
	}
	linked := map[string]uint64{}
	for _, h := range heads {
		for _, l := range h.Links {
			linked[l.Writer] = max(linked[l.Writer], l.Blocks)
		}
	}
	blocks, err := newOpener()
	if err != nil {
		return nil, err
	}
	defer blocks.close()
	var out []Link
	for _, h := range heads {
		tip, err := j.tip(ctx, h, blocks)
		if err != nil {
			return nil, err
		}
		if tip.Blocks > linked[h.Writer] {
			out = append(out, tip)
		}
	}
	return out, nil
}

// tip is the last block of a chain, which may be behind its head.
func (j *Journal) tip(ctx context.Context, h Head, blocks opener) (Link, error) {
	at := Link{Writer: h.Writer, Blocks: h.Blocks, Last: h.Last}
	for {
		b, there, err := j.block(ctx, h.Writer, at.Blocks+1, blocks)
		if err != nil || !there {
			return at, err
		}
		at.Blocks, at.Last = b.Number, b.Hash
	}
}

// block reads a block, if it is there and whole; verifying names one that is not.
func (j *Journal) block(ctx context.Context, writer string, number uint64, blocks opener) (b Block, there bool, err error) {
	value, err := j.KV.KVGet(ctx, blockBucket, blockKey(writer, number))
	if errors.Is(err, store.ErrNotFound) {
		return Block{}, false, nil
	}
	if err != nil {
		return Block{}, false, err
	}
	b, broken := blocks.open(value)
	return b, broken == nil, nil
}

// Writers are the chains, in the order in which they began.
func Writers(ctx context.Context, kv store.KV) ([]string, error) {
	var out []string
	for writer, err := range kv.KVList(ctx, headBucket, "") {
		if err != nil {
			return nil, err
		}
		out = append(out, writer)
	}
	return out, nil
}

// Blocks yields the blocks of a chain behind number after, up to the last. What
// cannot be read is store.ErrCorrupt.
func Blocks(ctx context.Context, kv store.KV, writer string, after uint64) iter.Seq2[Block, error] {
	return func(yield func(Block, error) bool) {
		blocks, err := newOpener()
		if err != nil {
			yield(Block{}, err)
			return
		}
		defer blocks.close()
		for n := after + 1; ; n++ {
			value, err := kv.KVGet(ctx, blockBucket, blockKey(writer, n))
			if errors.Is(err, store.ErrNotFound) {
				return
			}
			var b Block
			if err == nil {
				if b, err = blocks.open(value); err != nil {
					err = fmt.Errorf("block %d of audit journal %s: %w", n, writer, store.ErrCorrupt)
				}
			}
			if !yield(b, err) || err != nil {
				return
			}
		}
	}
}

// Ended says that nothing will be added to a chain any more.
func Ended(ctx context.Context, kv store.KV, writer string) (bool, error) {
	h, err := headOf(ctx, kv, writer)
	return err == nil && time.Since(h.Time) > endedAfter, err
}
