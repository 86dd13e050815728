package bridge

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/pipeline"
)

const (
	// collectIntervals is how many scrapes Report waits for: a rate needs two,
	// and the first may come an interval late.
	collectIntervals = 3

	// maxCollect bounds the waiting if no duration was given.
	maxCollect = time.Minute
)

// Report does what Run does for a while, but without a socket and a debug
// server, and returns the report as JSON. Zero stands for as long as three
// scrapes of every job take, at most a minute.
func Report(ctx context.Context, flags config.Flags, duration time.Duration, progress pipeline.Progress, logger *slog.Logger) (report []byte, err error) {
	cfg, _, err := loadConfig(flags, logger)
	if err != nil {
		return nil, err
	}
	if duration <= 0 {
		duration = min(collectIntervals*cfg.LongestInterval(), maxCollect)
	}
	r, err := pipeline.NewRuntime(cfg, logger)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()

	running, stop := context.WithTimeout(ctx, duration)
	defer stop()
	go progress.Tell(running, duration)
	if err := r.Pipeline().Run(running); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, errors.New("interrupted before the report was complete")
	}
	return r.Report.JSON(), nil
}
