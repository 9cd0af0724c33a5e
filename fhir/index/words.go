package index

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"candela/fhir/search"
	"candela/store"
)

// What a process can ask of the index of words. The store remembers: all of its
// processes index alike, also those that ask nothing.
const (
	WordsOn  = "on"
	WordsOff = "off"
)

// wordsID stands for the index of words among the ids of parameters; it is no id
// that a resource could have.
const wordsID = "_words"

// switchWords does what Config.Words says. What was indexed before words were
// switched off is not trusted again: resources may have changed since.
func (k *Keeper) switchWords(ctx context.Context) error {
	switch k.Words {
	case WordsOff:
		return k.Store.KVDelete(ctx, progressBucket, wordsID)
	case WordsOn:
	default:
		return nil
	}
	head, err := k.Store.Head(ctx)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(progress{Version: 1, Seq: head, Parts: []part{{}}})
	if err != nil {
		return err
	}
	err = k.Store.KVSwap(ctx, progressBucket, wordsID, nil, raw, 0)
	if errors.Is(err, store.ErrConflict) { // switched on already
		return nil
	}
	return err
}

// readWords is the state of the index of words, and how the store writes it.
func (k *Keeper) readWords(ctx context.Context) (search.WordIndex, []byte, error) {
	raw, err := k.Store.KVGet(ctx, progressBucket, wordsID)
	if errors.Is(err, store.ErrNotFound) {
		return search.WordsOff, nil, nil
	}
	var p progress
	if err == nil {
		err = json.Unmarshal(raw, &p)
	}
	switch {
	case err != nil:
		return search.WordsOff, nil, err
	case p.Done:
		return search.WordsOn, raw, nil
	}
	return search.WordsBuilding, raw, nil
}

// wordsChanged says whether another process switched the index of words.
func (k *Keeper) wordsChanged(ctx context.Context) (bool, error) {
	_, raw, err := k.readWords(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	return !bytes.Equal(raw, k.words), err
}

// Finish indexes all that is waiting before it returns: what a command does that
// serves nobody meanwhile.
func (k *Keeper) Finish(ctx context.Context) error {
	for _, id := range k.waiting() {
		if !k.leased(ctx) {
			return nil // another process is at it
		}
		if err := k.index(ctx, id); err != nil && !errors.Is(err, errOvertaken) {
			return err
		}
	}
	k.release(context.WithoutCancel(ctx))
	return nil
}

// types are those that a part is about: its own, or all.
func (p part) types() []string {
	if p.Type == "" {
		return nil
	}
	return []string{p.Type}
}

func (p part) speaksOf(typ string) bool { return p.Type == "" || p.Type == typ }
