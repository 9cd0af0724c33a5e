package journal

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"

	"github.com/transparency-dev/merkle/compact"

	"candela/store"
)

// Finding is the first thing that is wrong with a chain.
type Finding struct {
	Writer string
	Block  uint64 // 0: the chain as a whole
	What   string
}

func (f Finding) String() string {
	if f.Block == 0 {
		return fmt.Sprintf("journal %s: %s", f.Writer, f.What)
	}
	return fmt.Sprintf("journal %s, block %d: %s", f.Writer, f.Block, f.What)
}

// Report is what verifying found.
type Report struct {
	Chains, Blocks, Entries uint64
	// Tail is how many blocks no signed head covers yet: those of the last minute.
	Tail     uint64
	Findings []Finding // the first of each chain, in the order of the chains
}

// Options say what a journal is held against.
type Options struct {
	Secret []byte              // the server's; heads must be signed by a key that it opens
	Keys   []ed25519.PublicKey // others that are trusted, such as from before the secret changed
	Heads  []Head              // heads that were kept elsewhere
	// Block is told of every block that is as it was written, in order; nil: nobody.
	Block func(Block) error
}

// Verify reads the whole journal and names the first bad, missing, moved or added
// block of each chain. An error says that it could not be read.
func Verify(ctx context.Context, kv store.KV, o Options) (Report, error) {
	v := &verifier{Options: o, kv: kv, marks: map[string][]mark{}, heads: map[string]Head{}, bad: map[string]bool{}}
	var err error
	if v.opener, err = newOpener(); err != nil {
		return v.report, err
	}
	defer v.opener.close()
	if err := v.prepare(ctx); err != nil {
		return v.report, err
	}
	if err := v.walk(ctx); err != nil {
		return v.report, err
	}
	v.unseen()
	slices.SortStableFunc(v.report.Findings, func(a, b Finding) int { return bytes.Compare([]byte(a.Writer), []byte(b.Writer)) })
	return v.report, nil
}

// mark is what a chain must be at a block; who says so.
type mark struct {
	blocks  uint64
	last    Hash
	root    *Hash
	entries uint64
	by      string
}

type verifier struct {
	Options
	kv     store.KV
	opener opener
	heads  map[string]Head
	marks  map[string][]mark // by chain
	bad    map[string]bool
	report Report

	at   Link // the chain being walked
	seen uint64
	tree *compact.Range
	said map[string]bool // chains walked
}

// blame notes the first finding of a chain.
func (v *verifier) blame(writer string, block uint64, format string, args ...any) {
	if !v.bad[writer] {
		v.bad[writer] = true
		v.report.Findings = append(v.report.Findings, Finding{writer, block, fmt.Sprintf(format, args...)})
	}
}

// prepare reads the heads and what they say of which chain.
func (v *verifier) prepare(ctx context.Context) error {
	known, err := Keys(ctx, v.kv, v.Secret)
	if err != nil {
		return err
	}
	trusted := map[string]ed25519.PublicKey{}
	for _, k := range known {
		if k.Ours {
			trusted[k.ID] = k.Public
		}
	}
	for _, k := range v.Keys {
		trusted[idOf(k)] = k
	}
	heads, err := Heads(ctx, v.kv)
	if err != nil {
		return err
	}
	v.said = map[string]bool{}
	for _, h := range heads {
		v.heads[h.Writer] = h
		if !h.signed(trusted) {
			v.blame(h.Writer, 0, "its head is not signed by a key that is trusted")
			continue
		}
		v.expect(h, "its signed head")
	}
	for _, h := range v.Heads {
		if !h.signed(trusted) {
			return fmt.Errorf("the head of journal %s that was kept is not signed by a key that is trusted", h.Writer)
		}
		v.expect(h, "a head that was kept elsewhere")
	}
	return nil
}

func (v *verifier) expect(h Head, by string) {
	v.marks[h.Writer] = append(v.marks[h.Writer], mark{h.Blocks, h.Last, &h.Root, h.Entries, by})
	for _, l := range h.Links {
		v.marks[l.Writer] = append(v.marks[l.Writer], mark{blocks: l.Blocks, last: l.Last, by: "the chain " + h.Writer + " that came after it"})
	}
}

// walk goes through all blocks, which lie chain by chain.
func (v *verifier) walk(ctx context.Context) error {
	for key, err := range v.kv.KVList(ctx, blockBucket, "") {
		if err != nil {
			return err
		}
		writer, number, err := splitKey(key)
		if err != nil {
			v.blame("?", 0, "a key that is none of a block")
			continue
		}
		if writer != v.at.Writer {
			v.end()
			v.start(writer)
		}
		if v.bad[writer] {
			continue
		}
		value, err := v.kv.KVGet(ctx, blockBucket, key)
		switch {
		case errors.Is(err, store.ErrNotFound):
			v.blame(writer, number, "it is missing")
		case err != nil:
			return err
		default:
			if err := v.check(number, value); err != nil {
				return err
			}
		}
	}
	v.end()
	return nil
}

func (v *verifier) start(writer string) {
	v.at, v.tree, v.seen = Link{Writer: writer}, newTree(), 0
	v.said[writer] = true
	v.report.Chains++
	if _, known := v.heads[writer]; !known {
		v.blame(writer, 0, "it has no signed head")
	}
}

// check takes the next block of the chain.
func (v *verifier) check(number uint64, value []byte) error {
	writer := v.at.Writer
	if next := v.at.Blocks + 1; number != next {
		v.blame(writer, next, "it is missing; the next one there is %d", number)
		return nil
	}
	b, err := v.opener.open(value)
	switch {
	case err != nil:
		v.blame(writer, number, "%v", err)
		return nil
	case b.Writer != writer || b.Number != number:
		v.blame(writer, number, "in its place stands block %d of journal %s", b.Number, b.Writer)
		return nil
	case b.Before != v.at.Last || b.First != v.seen+1:
		v.blame(writer, number-1, "it is not the one that block %d was written behind", number)
		return nil
	case number == 1 && !slices.Equal(b.Links, v.heads[writer].Links):
		v.blame(writer, number, "it links to other chains than the signed head says")
		return nil
	}
	v.at.Blocks, v.at.Last = number, b.Hash
	v.report.Blocks++
	if err := grow(v.tree, b.Hash); err != nil {
		return err
	}
	return v.tell(b)
}

// tell holds the chain against what is known of it at this block, and hands the
// block on.
func (v *verifier) tell(b Block) error {
	v.seen += uint64(len(b.Entries))
	for _, m := range v.marks[b.Writer] {
		if m.blocks != b.Number {
			continue
		}
		root, err := rootOf(v.tree)
		if err != nil {
			return err
		}
		if m.last != b.Hash || m.root != nil && (*m.root != root || m.entries != v.seen) {
			v.blame(b.Writer, b.Number, "it is another one than %s says", m.by)
			return nil
		}
	}
	v.report.Entries += uint64(len(b.Entries))
	if v.Block == nil {
		return nil
	}
	return v.Block(b)
}

// end says what a chain lacks.
func (v *verifier) end() {
	if v.at.Writer == "" {
		return
	}
	var covered uint64
	for _, m := range v.marks[v.at.Writer] {
		covered = max(covered, m.blocks)
		if m.blocks > v.at.Blocks {
			v.blame(v.at.Writer, v.at.Blocks+1, "it is missing, and so is all up to block %d, which %s names", m.blocks, m.by)
		}
	}
	if v.at.Blocks > covered {
		v.report.Tail += v.at.Blocks - covered
	}
}

// unseen are chains of which not one block is left.
func (v *verifier) unseen() {
	for writer, marks := range v.marks {
		for _, m := range marks {
			if !v.said[writer] && m.blocks > 0 {
				v.blame(writer, 1, "it is missing, and so is all up to block %d, which %s names", m.blocks, m.by)
			}
		}
		if _, known := v.heads[writer]; !known {
			v.blame(writer, 0, "it has no signed head")
		}
	}
}
