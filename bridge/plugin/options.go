package plugin

import (
	"cmp"
	"time"
)

// Defaults of Options.
const (
	DefaultMaxSamples = 15
	DefaultMaxAge     = time.Minute

	// DefaultMaxNodes is far above what Scope can draw.
	DefaultMaxNodes = 20_000

	// DefaultMaxBytes is what a probe can decode within its 500 ms, and holds
	// 20,000 node metrics.
	DefaultMaxBytes = 16 << 20

	// maxBytes is where the probe stops reading and drops the report.
	maxBytes = 50<<20 - 1
)

// Options says what a report claims to be, and how large it may become. Zero
// values stand for the defaults.
type Options struct {
	ID          string // the plugin's, and its socket's name
	Label       string // shown by Scope's list of plugins; the ID if empty
	Description string // shown as its tooltip
	Host        string // the host's name as the probe knows it

	MaxSamples int           // per metric of a node
	MaxAge     time.Duration // of a sample; the last one of a slow rule may be older
	MaxNodes   int
	MaxBytes   int // of the report as JSON; below 50 MiB, where the probe stops
}

func (o Options) withDefaults() Options {
	o.Label = cmp.Or(o.Label, o.ID)
	o.MaxSamples = positiveOr(o.MaxSamples, DefaultMaxSamples)
	o.MaxAge = positiveOr(o.MaxAge, DefaultMaxAge)
	o.MaxNodes = positiveOr(o.MaxNodes, DefaultMaxNodes)
	o.MaxBytes = min(positiveOr(o.MaxBytes, DefaultMaxBytes), maxBytes)
	return o
}

func positiveOr[T cmp.Ordered](value, fallback T) T {
	var zero T
	if value > zero {
		return value
	}
	return fallback
}
