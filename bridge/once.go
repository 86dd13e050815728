package bridge

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/promscope/promscope/bridge/config"
)

const (
	// collectIntervals is how many scrapes Report waits for: a rate needs two,
	// and the first may come an interval late.
	collectIntervals = 3

	// maxCollect bounds the waiting if no duration was given.
	maxCollect = time.Minute
)

// Progress is told now and then how far a collection has come.
type Progress func(elapsed, total time.Duration)

// Report does what Run does for a while, but without a socket and a debug
// server, and returns the report as JSON. Zero stands for as long as three
// scrapes of every job take, at most a minute.
func Report(ctx context.Context, opts Options, duration time.Duration, progress Progress, logger *slog.Logger) (report []byte, err error) {
	cfg, _, err := loadConfig(opts, logger)
	if err != nil {
		return nil, err
	}
	if duration <= 0 {
		duration = min(collectIntervals*longestInterval(cfg), maxCollect)
	}
	b, err := newBase(cfg, logger)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()

	running, stop := context.WithTimeout(ctx, duration)
	defer stop()
	go tellProgress(running, progress, duration)
	if err := b.pipeline.Load().Run(running); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, errors.New("interrupted before the report was complete")
	}
	return b.report.JSON(), nil
}

// longestInterval is that of the slowest job.
func longestInterval(cfg *config.Config) time.Duration {
	longest := time.Second
	for _, job := range cfg.ScrapeJobs() {
		longest = max(longest, time.Duration(job.ScrapeInterval))
	}
	return longest
}

// tellProgress calls progress every five seconds.
func tellProgress(ctx context.Context, progress Progress, total time.Duration) {
	start := time.Now()
	progress(0, total)
	ticker := time.NewTicker(5 * time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			progress(time.Since(start), total)
		}
	}
}
