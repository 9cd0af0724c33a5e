package journal

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"candela/store"
)

// Hash is a SHA-256.
type Hash [sha256.Size]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText writes hexadecimal digits.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads them.
func (h *Hash) UnmarshalText(text []byte) error {
	if hex.DecodedLen(len(text)) != len(h) {
		return errBlock
	}
	_, err := hex.Decode(h[:], text)
	return err
}

// Link is how far a chain went.
type Link struct {
	Writer string `json:"writer"`
	Blocks uint64 `json:"blocks"`
	Last   Hash   `json:"last"` // of its last block; zero when it has none
}

// Block is one link of a chain, as it is read back.
type Block struct {
	Writer  string
	Number  uint64 // 1, 2, 3 …
	First   uint64 // number of its first entry in the chain, from 1
	Time    time.Time
	Before  Hash     // of the block before; zero for the first
	Links   []Link   // only the first: where other chains stood
	Entries [][]byte // what was appended
	Hash    Hash
}

// The layout of a block: version, flags, writer, number, first, count, time in ms,
// hash of the block before, links, then the entries, each behind its length; last
// the SHA-256 of all that.
const (
	layout       = 1
	flagPacked   = 1 // the entries are under zstd
	worthPacking = 1 << 10
)

var errBlock = errors.New("it is damaged")

// made is a block about to be written.
type made struct {
	value []byte
	hash  Hash
	count uint64
}

// appendBlock lays out a block; payload is its entries behind their lengths.
func appendBlock(dst []byte, b Block, count uint64, payload []byte, packer *zstd.Encoder) []byte {
	var flags byte
	if len(payload) >= worthPacking {
		payload = packer.EncodeAll(payload, nil)
		flags |= flagPacked
	}
	dst = append(dst, layout, flags)
	dst = appendText(dst, b.Writer)
	dst = binary.AppendUvarint(dst, b.Number)
	dst = binary.AppendUvarint(dst, b.First)
	dst = binary.AppendUvarint(dst, count)
	dst = binary.AppendVarint(dst, b.Time.UnixMilli())
	dst = append(dst, b.Before[:]...)
	dst = binary.AppendUvarint(dst, uint64(len(b.Links)))
	for _, l := range b.Links {
		dst = binary.AppendUvarint(appendText(dst, l.Writer), l.Blocks)
		dst = append(dst, l.Last[:]...)
	}
	dst = append(dst, payload...)
	sum := sha256.Sum256(dst)
	return append(dst, sum[:]...)
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// newPacker makes what packs the entries of blocks; EncodeAll of one serves all.
func newPacker() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<17), zstd.WithEncoderCRC(false))
}

// opener reads blocks back. Close it.
type opener struct{ unpacker *zstd.Decoder }

func newOpener() (opener, error) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(1<<30))
	return opener{d}, err
}

func (o opener) close() { o.unpacker.Close() }

// open reads a block back; whatever is not as it was written is an error.
func (o opener) open(value []byte) (Block, error) {
	if len(value) < sha256.Size+2 {
		return Block{}, errBlock
	}
	body := value[:len(value)-sha256.Size]
	b := Block{Hash: sha256.Sum256(body)}
	if string(b.Hash[:]) != string(value[len(body):]) || body[0] != layout {
		return Block{}, errBlock
	}
	r := reader{rest: body[2:]}
	b.Writer, b.Number, b.First = r.text(), r.number(), r.number()
	count := r.number()
	b.Time = time.UnixMilli(r.signed()).UTC()
	copy(b.Before[:], r.take(sha256.Size))
	for range min(r.number(), uint64(len(r.rest))) {
		l := Link{Writer: r.text(), Blocks: r.number()}
		copy(l.Last[:], r.take(sha256.Size))
		b.Links = append(b.Links, l)
	}
	if body[1]&flagPacked != 0 && !r.broken {
		var err error
		r.rest, err = o.unpacker.DecodeAll(r.rest, nil)
		r.broken = err != nil
	}
	for len(r.rest) > 0 && !r.broken {
		b.Entries = append(b.Entries, r.take(int(min(r.number(), 1<<40))))
	}
	if r.broken || uint64(len(b.Entries)) != count {
		return Block{}, errBlock
	}
	return b, nil
}

// reader takes a block apart; broken once something is not there.
type reader struct {
	rest   []byte
	broken bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.rest) {
		r.broken, r.rest = true, nil
		return nil
	}
	out := r.rest[:n]
	r.rest = r.rest[n:]
	return out
}

func (r *reader) number() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.broken, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) signed() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.broken, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) text() string { return string(r.take(int(min(r.number(), 1<<16)))) }

// blockKey is writer/number, the number in 16 hexadecimal digits: keys are in order.
func blockKey(writer string, number uint64) string {
	return fmt.Sprintf("%s/%016x", writer, number)
}

func splitKey(key string) (writer string, number uint64, err error) {
	writer, digits, found := strings.Cut(key, "/")
	if !found || len(digits) != 16 {
		return "", 0, fmt.Errorf("key of a block: %w", store.ErrCorrupt)
	}
	number, err = strconv.ParseUint(digits, 16, 64)
	return writer, number, err
}
