package mongo

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"candela/store"
)

// errAgain says that a race was lost before anything was written: try anew.
var errAgain = errors.New("lost a race")

// The server's error codes that name a state of the store. Everything else
// that is no network error or timeout is a defect and stays unclassified.
var (
	codesUnavailable = []int{6, 7, 50, 63, 64, 89, 91, 112, 133, 134, 189, 202, 246, 262, 365, 384, 9001, 10058, 10107, 11600, 11602, 13435, 13436}
	codesFull        = []int{14031, 28, 8000}
	codesTooLarge    = []int{257, 290, 334, 394, 10334, 17280, 17419, 17420}
	codesDenied      = []int{13, 18}
)

// classify wraps err in the sentinel that says what it means; nil stays nil.
func classify(doing string, err error) error {
	if err == nil {
		return nil
	}
	if s := sentinel(err); s != nil && !errors.Is(err, s) {
		return fmt.Errorf("mongo: %s: %w: %w", doing, s, err)
	}
	return fmt.Errorf("mongo: %s: %w", doing, err)
}

func sentinel(err error) error {
	switch {
	case errors.Is(err, driver.ErrDocumentTooLarge), hasCode(err, codesTooLarge...):
		return store.ErrTooLarge
	case hasCode(err, codesFull...):
		return store.ErrFull
	case mongo.IsDuplicateKeyError(err):
		return store.ErrConflict
	case mongo.IsNetworkError(err), mongo.IsTimeout(err), hasCode(err, codesUnavailable...), hasCode(err, codesDenied...),
		errors.Is(err, mongo.ErrClientDisconnected), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		selectionFailed(err):
		return store.ErrUnavailable
	}
	return nil
}

// selectionFailed says that no primary was found in time.
func selectionFailed(err error) bool {
	var se topology.ServerSelectionError
	return errors.As(err, &se)
}

func hasCode(err error, codes ...int) bool {
	var se mongo.ServerError
	if !errors.As(err, &se) {
		return false
	}
	for _, c := range codes {
		if se.HasErrorCode(c) {
			return true
		}
	}
	return false
}

func hasLabel(err error, label string) bool {
	var le mongo.LabeledError
	return errors.As(err, &le) && le.HasErrorLabel(label)
}

// twin names the index whose uniqueness err is about, by its first field: "t",
// "s" or "_id"; "" when err is about none. at is the place in the batch.
func twin(err error) (field string, at int) {
	var we mongo.WriteException
	if errors.As(err, &we) && len(we.WriteErrors) > 0 {
		return twinOf(we.WriteErrors[0])
	}
	var be mongo.BulkWriteException
	if errors.As(err, &be) && len(be.WriteErrors) > 0 {
		return twinOf(be.WriteErrors[0].WriteError)
	}
	return "", 0
}

func twinOf(e mongo.WriteError) (field string, at int) {
	const duplicateKey = 11000
	if e.Code != duplicateKey {
		return "", 0
	}
	if pattern, ok := e.Raw.Lookup("keyPattern").DocumentOK(); ok {
		if first, err := pattern.IndexErr(0); err == nil {
			return first.Key(), e.Index
		}
	}
	return "_id", e.Index
}
