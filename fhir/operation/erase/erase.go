// Package erase takes a patient away for good: the Patient, every resource of its
// R4 compartment, present and former, and what only describes or is attached to
// these, with all versions.
//
// It knows what belongs to one patient, what belongs to others too, and in which
// order to take things away so that a broken run can be finished. It must not
// know HTTP, a store's inside or what a caller's rules are.
package erase

import (
	"context"
	"errors"
	"iter"
	"time"

	"candela/fhir"
	"candela/fhir/audit"
	"candela/fhir/search"
	"candela/store"
)

// Whole is everything that is stored, past and present, in the hands of somebody
// who may erase it.
type Whole interface {
	Find(ctx context.Context, q store.Query) (store.Page, error)
	Former(ctx context.Context, owner store.Key) iter.Seq2[store.Key, error]
	Get(ctx context.Context, k store.Key) (store.Version, error)
	GetVersion(ctx context.Context, k store.Key, number int64) (store.Version, error)
	History(ctx context.Context, s store.Span) (store.Page, error)
	// Erase takes the resources away whose current versions these are, and stores
	// the record, in one commit. It gives the record's key.
	Erase(ctx context.Context, gone []store.Version, record fhir.Resource) (store.Key, error)
}

// Order is one request to erase a patient.
type Order struct {
	Request fhir.Request // Type and ID are the patient's
	Whole   Whole
	Search  *search.Registry
	Types   []string // all resource types
	Now     func() time.Time
	DryRun  bool
	Shared  bool // take also what belongs to other patients too
	Reason  string
}

// Report is what was taken away, or would be.
type Report struct {
	Counts  map[string]int // erased, by type
	Left    []Left         // in no order
	Kept    int64          // AuditEvents about the patient: they stay
	Records []store.Key    // the AuditEvents that tell of this erasure
}

// Why is the reason why a resource stays.
type Why string

// The reasons.
const (
	Shared Why = "shared" // it belongs to other patients too
	Moved  Why = "moved"  // it belongs to another patient now
	Refers Why = "refers" // it is in no compartment of the patient and refers to what is erased
)

// Left is a resource that stays although it has to do with the patient.
type Left struct {
	Key store.Key
	Why Why
}

const (
	// perCommit is how many resources one commit takes away; a store that finds
	// them too large gets fewer.
	perCommit = 500
	// maxTries bounds how often the compartment is looked at again because it
	// changed meanwhile.
	maxTries = 5
)

// Do erases. The patient goes last: called again, it finishes what was broken
// off. What is not there, or has been erased, is store.ErrNotFound.
func (o *Order) Do(ctx context.Context) (Report, error) {
	report := Report{Counts: map[string]int{}}
	for try := 1; ; try++ {
		found, err := o.look(ctx)
		if err != nil {
			return report, err
		}
		report.Left, report.Kept = found.leftOver(), found.kept
		gone := found.inOrder()
		if len(gone) == 0 && len(report.Records) == 0 {
			return report, store.ErrNotFound
		}
		if o.DryRun {
			count(report.Counts, gone)
			return report, nil
		}
		err = o.erase(ctx, &report, gone)
		if !changed(err) || try == maxTries {
			return report, err
		}
	}
}

// changed says that a resource is not any more what was looked at.
func changed(err error) bool {
	return errors.Is(err, store.ErrPrecondition) || errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound)
}

// erase takes all of gone away, in order, in as few commits as the store allows;
// each has its own record.
func (o *Order) erase(ctx context.Context, report *Report, gone []store.Version) error {
	for size := perCommit; len(gone) > 0; {
		some := gone[:min(size, len(gone))]
		counts := map[string]int{}
		count(counts, some)
		record, err := audit.Erasure(audit.Erased{Request: o.Request, At: o.Now(), Counts: counts, Reason: o.Reason})
		if err != nil {
			return err
		}
		told, err := o.Whole.Erase(ctx, some, record)
		if errors.Is(err, store.ErrTooLarge) && len(some) > 1 {
			size = len(some) / 2
			continue
		}
		if err != nil {
			return err
		}
		count(report.Counts, some)
		report.Records = append(report.Records, told)
		gone = gone[len(some):]
	}
	return nil
}

func count(into map[string]int, some []store.Version) {
	for _, v := range some {
		into[v.Key.Type]++
	}
}
