package vault

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
)

// ID names a data key within its store. 0 is none.
type ID uint64

// DataKey seals the values of one owner.
type DataKey struct {
	ID    ID
	Owner string // its place: nobody else's key can lie there
	seal  cipher.AEAD
	key   Key
}

// NewDataKey is a new key of an owner.
func NewDataKey(owner string) (*DataKey, error) {
	var id ID
	for id == 0 {
		k := NewKey() // for its random bytes
		id = ID(binary.BigEndian.Uint64(k[:8]))
	}
	return dataKey(id, owner, NewKey())
}

func dataKey(id ID, owner string, key Key) (*DataKey, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, fmt.Errorf("cipher: %w", err)
	}
	seal, err := cipher.NewGCMWithRandomNonce(block)
	return &DataKey{ID: id, Owner: owner, seal: seal, key: key}, err
}

// wrapped is the first byte of a wrapped data key, sealed that of a sealed value.
const (
	wrapped byte = 1
	sealed  byte = 2
)

// Overhead is what a sealed value is longer than what is in it.
const Overhead = 1 + 8 + 12 + 16

func placeOf(store []byte, id ID, owner string) []byte {
	place := append([]byte("candela data key "), store...)
	return append(binary.BigEndian.AppendUint64(place, uint64(id)), owner...)
}

// Wrap is the key in the form in which it lies in the store.
func (d *DataKey) Wrap(r *Ring) ([]byte, error) {
	e := r.Newest(Data)
	out := binary.BigEndian.AppendUint32([]byte{wrapped}, e.Number)
	out = append(binary.AppendUvarint(out, uint64(len(d.Owner))), d.Owner...)
	return e.Key.Wrap(out, d.key[:], placeOf(r.Store(), d.ID, d.Owner))
}

// WrappedBy is the number of the ring's key that wraps a data key.
func WrappedBy(data []byte) (uint32, error) {
	if len(data) < 5 || data[0] != wrapped {
		return 0, fmt.Errorf("data key: %w", ErrDamaged)
	}
	return binary.BigEndian.Uint32(data[1:]), nil
}

// OpenDataKey reads what Wrap made.
func OpenDataKey(r *Ring, id ID, data []byte) (*DataKey, error) {
	number, err := WrappedBy(data)
	if err != nil {
		return nil, err
	}
	length, n := binary.Uvarint(data[5:])
	if n <= 0 || length > uint64(len(data)-5-n) {
		return nil, fmt.Errorf("data key: %w", ErrDamaged)
	}
	owner, rest := string(data[5+n:5+n+int(length)]), data[5+n+int(length):]
	e, err := r.Numbered(Data, number)
	if err != nil {
		return nil, err
	}
	plain, err := e.Key.Unwrap(nil, rest, placeOf(r.Store(), id, owner))
	if err != nil || len(plain) != len(Key{}) {
		return nil, fmt.Errorf("data key %x: %w", uint64(id), ErrDamaged)
	}
	return dataKey(id, owner, Key(plain))
}

// Seal appends plain, sealed for a place, to dst. place is what the value
// belongs to, in a form that no other value shares.
func (d *DataKey) Seal(dst, plain, place []byte) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, sealed), uint64(d.ID))
	return d.seal.Seal(dst, nil, plain, place)
}

// SealedBy is the key that a value was sealed with.
func SealedBy(value []byte) (ID, error) {
	if len(value) < Overhead || value[0] != sealed {
		return 0, fmt.Errorf("value: %w", ErrDamaged)
	}
	return ID(binary.BigEndian.Uint64(value[1:])), nil
}

// Open appends what Seal sealed to dst. ErrDamaged where anything about it,
// its place included, is not as it was.
func (d *DataKey) Open(dst, value, place []byte) ([]byte, error) {
	if id, err := SealedBy(value); err != nil || id != d.ID {
		return dst, fmt.Errorf("value: %w", ErrDamaged)
	}
	out, err := d.seal.Open(dst, nil, value[9:], place)
	if err != nil {
		return dst, fmt.Errorf("value: %w", ErrDamaged)
	}
	return out, nil
}
