package cipherfs

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// file is one encrypted file.
type file struct {
	vfs.File
	fs      *FS
	block   cipher.Block  // nil while there is nothing in it
	reading bool          // not to be written
	at      int64         // where the next Read or Write is
	stream  cipher.Stream // of writing, at the place at
}

// begin writes the header.
func (f *file) begin() error {
	head, block, err := f.fs.newHead()
	if err != nil {
		return err
	}
	n, err := f.File.Write(head)
	if err == nil && n < len(head) {
		err = io.ErrShortWrite
	}
	if err != nil {
		f.reading = true // a part of the header may be there
		return err
	}
	f.block, f.stream = block, streamAt(block, 0)
	return nil
}

// streamAt is the stream of a file from a place on.
func streamAt(block cipher.Block, at int64) cipher.Stream {
	var counter [aes.BlockSize]byte
	binary.BigEndian.PutUint64(counter[8:], uint64(at/aes.BlockSize))
	s := cipher.NewCTR(block, counter[:])
	if skip := at % aes.BlockSize; skip > 0 {
		var waste [aes.BlockSize]byte
		s.XORKeyStream(waste[:skip], waste[:skip])
	}
	return s
}

// Write appends p, which it changes.
func (f *file) Write(p []byte) (int, error) {
	if f.reading {
		return 0, errMixed
	}
	if f.block == nil {
		if err := f.begin(); err != nil {
			return 0, err
		}
	}
	if f.stream == nil {
		f.stream = streamAt(f.block, f.at)
	}
	f.stream.XORKeyStream(p, p)
	n, err := f.File.Write(p)
	f.at += int64(n)
	if n < len(p) { // the same bytes come again, or none
		f.stream = nil
		streamAt(f.block, f.at).XORKeyStream(p[n:], p[n:])
	}
	return n, err
}

// WriteAt is refused: see OpenReadWrite.
func (f *file) WriteAt([]byte, int64) (int, error) { return 0, errMixed }

// Read reads on.
func (f *file) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.at)
	f.at += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// ReadAt reads from any place.
func (f *file) ReadAt(p []byte, at int64) (int, error) {
	if f.block == nil {
		return 0, io.EOF
	}
	n, err := f.File.ReadAt(p, at+headSize)
	streamAt(f.block, at).XORKeyStream(p[:n], p[:n])
	return n, err
}

// Stat describes the file; its size is that of its content.
func (f *file) Stat() (vfs.FileInfo, error) {
	info, err := f.File.Stat()
	if err != nil {
		return nil, err
	}
	return sized{info}, nil
}

// Preallocate keeps room for what comes.
func (f *file) Preallocate(offset, length int64) error {
	return f.File.Preallocate(offset+headSize, length)
}

// SyncTo writes the content up to length to disk.
func (f *file) SyncTo(length int64) (bool, error) { return f.File.SyncTo(length + headSize) }

// Prefetch asks for what will be read.
func (f *file) Prefetch(offset, length int64) error { return f.File.Prefetch(offset+headSize, length) }
