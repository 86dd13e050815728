package pipeline

import (
	"context"
	"time"
)

// Progress is told now and then how far a command has come.
type Progress func(elapsed, total time.Duration)

// Tell tells the progress at once and every five seconds until ctx is done.
func (p Progress) Tell(ctx context.Context, total time.Duration) {
	start := time.Now()
	p(0, total)
	ticker := time.NewTicker(5 * time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			p(time.Since(start), total)
		}
	}
}
