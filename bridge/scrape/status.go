package scrape

import (
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// Health is what the last scrape of a target came to.
type Health string

// The healths of a target.
const (
	HealthUnknown Health = "unknown" // not scraped yet
	HealthUp      Health = "up"
	HealthDown    Health = "down"
)

// TargetStatus is what is known of a target. Nothing in it is secret.
type TargetStatus struct {
	Job string `json:"job"`
	// URL has no user info, and no value of a parameter whose name says that
	// it is secret. It is empty for targets of this process.
	URL string `json:"url"`
	// Labels are the labels on all series of the target, those of its origin
	// included.
	Labels labels.Labels `json:"labels"`
	// Discovered are the labels before relabelling.
	Discovered labels.Labels `json:"discovered_labels"`

	Interval time.Duration `json:"interval_nanoseconds"`
	Timeout  time.Duration `json:"timeout_nanoseconds"`

	Health Health `json:"health"`
	// LastError is the reason of HealthDown, redacted.
	LastError string `json:"last_error,omitempty"`
	// LastScrape is when the last scrape began, its duration includes parsing.
	LastScrape   time.Time     `json:"last_scrape"`
	LastDuration time.Duration `json:"last_duration_nanoseconds"`
	// Since is when Health last changed.
	Since time.Time `json:"since"`

	// Samples is how many samples the last good scrape exposed, Kept how many
	// of them some rule selects, Bytes the size of the uncompressed body.
	Samples int   `json:"samples"`
	Kept    int   `json:"kept"`
	Bytes   int64 `json:"bytes"`
	// Format is the media type of the last exposition.
	Format string `json:"format,omitempty"`
	// ParsesAll tells why series that no rule selects are parsed nevertheless;
	// empty if they are skipped.
	ParsesAll string `json:"parses_all,omitempty"`
	// Narrowed tells what the exporter was asked for, and what came of it.
	Narrowed *Narrowed `json:"narrowed,omitempty"`
}

// DroppedTarget is a target that relabelling dropped, or that could not be
// made sense of.
type DroppedTarget struct {
	Job        string        `json:"job"`
	Discovered labels.Labels `json:"discovered_labels"`
	// Error is empty for a target that was dropped by a rule.
	Error string `json:"error,omitempty"`
}

// Narrowed tells of a job with `narrow: true` what was asked of the target.
type Narrowed struct {
	// Query is the query string that narrows, empty if it could not be done.
	Query string `json:"query"`
	// Reason tells why it could not.
	Reason string `json:"reason,omitempty"`
	// Before and after: the last full and the last narrowed exposition.
	SamplesBefore int   `json:"samples_before"`
	BytesBefore   int64 `json:"bytes_before"`
	SamplesAfter  int   `json:"samples_after"`
	BytesAfter    int64 `json:"bytes_after"`
}
