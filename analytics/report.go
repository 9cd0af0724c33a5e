package analytics

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"candela/store"
)

// Report tells what a run did.
type Report struct {
	From, To  store.Seq
	Changes   int // versions read
	Subjects  int // patients looked at
	Written   int // results written
	Unchanged int // results that were there already
	Kept      int // results that somebody else took over, left as they are
	// Refused counts, per capability and reason, the patients without a result.
	Refused map[string]map[string]int
}

// Lines are the report for people.
func (r Report) Lines() []string {
	out := []string{
		fmt.Sprintf("analytics: %d changes (%d to %d) touched %d patients", r.Changes, r.From, r.To, r.Subjects),
		fmt.Sprintf("           %d results written, %d unchanged, %d kept as others left them", r.Written, r.Unchanged, r.Kept),
	}
	for _, capability := range slices.Sorted(maps.Keys(r.Refused)) {
		out = append(out, "no result from "+capability+":")
		reasons := r.Refused[capability]
		byCount := slices.SortedFunc(maps.Keys(reasons), func(a, b string) int {
			return cmp.Or(cmp.Compare(reasons[b], reasons[a]), cmp.Compare(a, b))
		})
		for _, reason := range byCount {
			out = append(out, fmt.Sprintf("  %6d  %s", reasons[reason], reason))
		}
	}
	return out
}

func (r *Report) refuse(capability string, reasons map[string]int) {
	for reason, n := range reasons {
		if r.Refused[capability] == nil {
			r.Refused[capability] = map[string]int{}
		}
		r.Refused[capability][reason] += n
	}
}
