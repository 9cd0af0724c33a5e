// Package cipherfs is a file system whose files lie encrypted on another.
//
// Each file has a random key of its own, which lies in the file's header, sealed
// under a key of the store's ring; what follows is AES-256-CTR by position, so
// that any part can be read alone and logs grow by a few bytes at a time.
// Names, sizes and times are as they are; locks and folders are handed on.
//
// The stream hides, it does not authenticate: a tag for each block would need a
// fixed block, rewritten for every append of a log, which a crash would tear.
// Damage by chance is found by the database's checksums, which lie inside the
// stream. What somebody changes on purpose is found where it matters: resources
// and forward records are sealed one by one, with tags, below this.
//
// It knows files and keys. It must not know what is in them.
package cipherfs

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"candela/store/vault"
)

// FS is a file system over another. All files it makes are encrypted, all that
// it opens must be.
type FS struct {
	vfs.FS
	ring *vault.Ring
}

// New is an encrypted file system on inner with the keys of a ring.
func New(inner vfs.FS, ring *vault.Ring) *FS { return &FS{inner, ring} }

// Unwrap is the file system below.
func (s *FS) Unwrap() vfs.FS { return s.FS }

// The header: magic, number of the ring's key, the file's own key sealed.
const (
	magic      = "CANDELA\x01"
	sealedSize = 12 + 32 + 16
	headSize   = int64(len(magic) + 4 + sealedSize)
)

var errMixed = errors.New("a file is written in order, once")

// place is what a file's key is sealed for. Files are renamed while they are
// written, so their names are no part of it.
func (s *FS) place(head []byte) []byte {
	return append([]byte("candela file "+string(head[:len(magic)+4])), s.ring.Store()...)
}

// newHead is a header for a new file, and its cipher.
func (s *FS) newHead() ([]byte, cipher.Block, error) {
	e, own := s.ring.Newest(vault.Files), vault.NewKey()
	head := binary.BigEndian.AppendUint32([]byte(magic), e.Number)
	head, err := e.Key.Wrap(head, own[:], s.place(head))
	if err != nil {
		return nil, nil, err
	}
	block, err := aes.NewCipher(own[:])
	return head, block, err
}

// openHead reads a header. A nil cipher: the file is empty, or was still so when
// the machine stopped.
func (s *FS) openHead(name string, f vfs.File) (cipher.Block, error) {
	head := make([]byte, headSize)
	n, err := f.ReadAt(head, 0)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return nil, err
	case int64(n) < headSize:
		return nil, nil // data is written only behind a whole header
	case string(head[:len(magic)]) != magic:
		info, err := f.Stat()
		if err == nil && info.Size() == headSize && bytes.Count(head, []byte{0}) == len(head) {
			return nil, nil
		}
		return nil, fmt.Errorf("%w: file %s has no header", vault.ErrDamaged, filepath.Base(name))
	}
	e, err := s.ring.Numbered(vault.Files, binary.BigEndian.Uint32(head[len(magic):]))
	if err != nil {
		return nil, fmt.Errorf("file %s: %w", filepath.Base(name), err)
	}
	own, err := e.Key.Unwrap(nil, head[len(magic)+4:], s.place(head))
	if err != nil {
		return nil, fmt.Errorf("file %s: %w", filepath.Base(name), err)
	}
	return aes.NewCipher(own)
}

// KeyOf is the number of the ring's key that a file needs, 0 of an empty one.
func (s *FS) KeyOf(name string) (uint32, error) {
	f, err := s.FS.Open(name)
	if err != nil {
		return 0, err
	}
	head := make([]byte, headSize)
	n, err := f.ReadAt(head, 0)
	err = errors.Join(f.Close(), ignoreEOF(err))
	if err != nil || int64(n) < headSize || string(head[:len(magic)]) != magic {
		return 0, err
	}
	return binary.BigEndian.Uint32(head[len(magic):]), nil
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// Create makes a new file. A log's header is on disk before anything follows
// it: a crash may leave less of a log than was written, but no log without its key.
func (s *FS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.Create(name, c)
	if err != nil {
		return nil, err
	}
	out := &file{File: f, fs: s}
	if strings.HasSuffix(name, ".log") {
		if err = out.begin(); err == nil {
			err = f.SyncData()
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return out, nil
}

// ReuseForWrite makes a new file and removes the old: one key never encrypts
// two contents.
func (s *FS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := s.FS.Remove(old); err != nil {
		return nil, err
	}
	return s.Create(name, c)
}

// Open opens a file for reading.
func (s *FS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := s.FS.Open(name, opts...)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		return f, nil
	}
	out := &file{File: f, fs: s, reading: true}
	if err == nil {
		out.block, err = s.openHead(name, f)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return out, nil
}

// OpenReadWrite is for files that are written at any place, which a stream
// cannot be without showing what changed; the store has none.
func (s *FS) OpenReadWrite(name string, _ vfs.DiskWriteCategory, _ ...vfs.OpenOption) (vfs.File, error) {
	return nil, &os.PathError{Op: "open", Path: name, Err: errMixed}
}

// Stat describes a file; its size is that of its content.
func (s *FS) Stat(name string) (vfs.FileInfo, error) {
	info, err := s.FS.Stat(name)
	if err != nil || info.IsDir() {
		return info, err
	}
	return sized{info}, nil
}

// sized is a file without its header.
type sized struct{ vfs.FileInfo }

// Size is the size of the content.
func (i sized) Size() int64 { return max(0, i.FileInfo.Size()-headSize) }
