package store

import (
	"encoding/binary"
	"math"
	"time"
)

// OrderedInt is v as eight ordered bytes.
func OrderedInt(v int64) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(v)^(1<<63))
}

// OrderedFloat is v as eight ordered bytes. NaN is not allowed.
func OrderedFloat(v float64) []byte {
	bits := math.Float64bits(v)
	if bits>>63 == 1 {
		bits = ^bits
	} else {
		bits |= 1 << 63
	}
	return binary.BigEndian.AppendUint64(nil, bits)
}

// FloatOf is the inverse of OrderedFloat; ok is false for other lengths.
func FloatOf(b []byte) (v float64, ok bool) {
	if len(b) != 8 {
		return 0, false
	}
	bits := binary.BigEndian.Uint64(b)
	if bits>>63 == 1 {
		bits &^= 1 << 63
	} else {
		bits = ^bits
	}
	return math.Float64frombits(bits), true
}

// OrderedTime is t as eight ordered bytes: microseconds since 1970, UTC.
func OrderedTime(t time.Time) []byte { return OrderedInt(t.UnixMicro()) }
