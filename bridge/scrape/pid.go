package scrape

import (
	"context"

	"github.com/prometheus/prometheus/model/labels"
)

// pidTranslator rewrites the labels of an exposed series that name processes,
// before the target's labels come to it. It is not settled if one of the processes
// was not found.
type pidTranslator func(ctx context.Context, target labels.Labels, lb *labels.Builder) (settled bool)

// newPIDTranslator returns nil if there is nothing to translate.
//
// A series is translated when it is first seen, not in each scrape. It is translated
// again only if a process was not found, as happens to processes that have just
// started. A process that was found stays for as long as the series is exposed: a pid
// that comes to mean another process meanwhile is not noticed.
func newPIDTranslator(opts Options) pidTranslator {
	if opts.PID == nil || len(opts.PIDLabels) == 0 {
		return nil
	}
	return func(ctx context.Context, target labels.Labels, lb *labels.Builder) (settled bool) {
		settled = true
		for _, name := range opts.PIDLabels {
			pid := lb.Get(name)
			if pid == "" {
				continue
			}
			translated, ok := opts.PID(ctx, target, name, pid)
			lb.Set(name, translated)
			settled = settled && ok
		}
		return settled
	}
}
