package analytics

import (
	"context"
	"log/slog"
	"time"
)

// longestPause is the longest wait between two tries of a failing run.
const longestPause = time.Minute

// Follow runs whenever something has changed, until ctx ends; then it returns
// nil. A run that fails is told to the log and tried again, with growing pauses.
func (r *Runner) Follow(ctx context.Context) error {
	pause := r.Settle
	for {
		report, err := r.Run(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end of ctx is how following is stopped, no failure
		}
		if err != nil {
			r.Log.ErrorContext(ctx, "analytics run failed; it will be tried again", slog.Any("error", err), slog.Duration("in", pause))
			if !sleep(ctx, pause) {
				return nil
			}
			pause = min(2*pause, longestPause)
			continue
		}
		pause = r.Settle
		if report.Written > 0 {
			r.Log.InfoContext(ctx, "analytics are current", slog.Int("subjects", report.Subjects),
				slog.Int("written", report.Written), slog.Int("unchanged", report.Unchanged))
		}
		if !r.await(ctx, report) || !sleep(ctx, r.Settle) {
			return nil
		}
	}
}

// await blocks until there is a change behind the last run. Our own results are
// changes too: the next run sees that they touch nobody and ends there. A feed
// that fails is told to the log, and the next run looks for itself.
func (r *Runner) await(ctx context.Context, last Report) bool {
	for _, err := range r.Store.Changes(ctx, last.To) {
		if err != nil && ctx.Err() == nil {
			r.Log.WarnContext(ctx, "the feed of changes failed; analytics will look again", slog.Any("error", err))
		}
		return ctx.Err() == nil
	}
	return ctx.Err() == nil
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
