package sets

import (
	"encoding/binary"
	"fmt"

	"github.com/RoaringBitmap/roaring/v2/roaring64"
	"github.com/cespare/xxhash/v2"
)

// saved is the first byte of a saved list: its format.
const saved = 1

// Save hands out what is kept, for Load at the next start. No commit may be
// under way. stamp names the state of the store. Nothing kept has changed when
// use fails: the lists that were not taken are made anew some day.
func (k *Keeper) Save(stamp uint64, use func(hash uint64, data []byte) error) error {
	k.mu.RLock()
	defer k.mu.RUnlock()
	for hash, l := range k.lists {
		if l.rids == nil {
			continue
		}
		packed, err := l.rids.ToBytes()
		if err != nil {
			return fmt.Errorf("a list of record ids: %w", err)
		}
		data := binary.BigEndian.AppendUint64([]byte{saved, 0}, stamp)
		if l.held {
			data[1] = 1
		}
		data = append(data, packed...)
		if err := use(hash, binary.BigEndian.AppendUint64(data, sum(hash, data))); err != nil {
			return err
		}
	}
	return nil
}

// Load takes up a list that was saved. It is left out, without an error, when
// it is damaged or of another state than stamp: it can be made anew.
func (k *Keeper) Load(stamp, hash uint64, data []byte) {
	const head, tail = 2 + 8, 8
	if len(data) < head+tail || data[0] != saved || binary.BigEndian.Uint64(data[2:]) != stamp {
		return
	}
	body := data[:len(data)-tail]
	rids := roaring64.New()
	if binary.BigEndian.Uint64(data[len(body):]) != sum(hash, body) || rids.UnmarshalBinary(body[head:]) != nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.off {
		return
	}
	done := make(chan struct{})
	close(done)
	k.keep(hash, &list{rids: rids, held: data[1] == 1, ready: done})
	k.evict()
}

func sum(hash uint64, data []byte) uint64 {
	d := xxhash.NewWithSeed(hash)
	_, _ = d.Write(data) // a hash never fails to write
	return d.Sum64()
}

// Kept is how many lists are kept, and their size.
func (k *Keeper) Kept() (lists int, bytes int64) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	for _, l := range k.lists {
		if l.rids != nil {
			lists++
			bytes += int64(l.rids.GetSizeInBytes())
		}
	}
	return lists, bytes
}
