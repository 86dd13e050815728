package scrape

import (
	"context"

	"github.com/prometheus/prometheus/model/labels"
)

// pidTranslator rewrites the labels of an exposed series that name processes,
// before the target's labels come to it.
type pidTranslator func(ctx context.Context, target labels.Labels, lb *labels.Builder)

// newPIDTranslator returns nil if there is nothing to translate.
//
// The translation is asked for when a series is first seen, not at each
// scrape: a pid that comes to mean another process comes as another series, or
// after the old one was gone.
func newPIDTranslator(opts Options) pidTranslator {
	if opts.PID == nil || len(opts.PIDLabels) == 0 {
		return nil
	}
	return func(ctx context.Context, target labels.Labels, lb *labels.Builder) {
		for _, name := range opts.PIDLabels {
			pid := lb.Get(name)
			if pid == "" {
				continue
			}
			if translated, ok := opts.PID(ctx, target, name, pid); ok {
				lb.Set(name, translated)
			}
		}
	}
}
