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
	Job string
	// URL has no user info, and no value of a parameter whose name says that
	// it is secret. It is empty for targets of this process.
	URL string
	// Labels are the labels on all series of the target, those of its origin
	// included.
	Labels labels.Labels
	// Withheld tells why the target has not got all labels of the process that accepts
	// its connections, as a clause whose subject is the target; empty if it has.
	Withheld string
	// SubjectNote says which process an exporter speaks of and why, to follow "speaks
	// of"; empty for other targets.
	SubjectNote string
	// Discovered are the labels before relabelling.
	Discovered labels.Labels

	Interval time.Duration
	Timeout  time.Duration

	Health Health
	// LastError is the reason of HealthDown, redacted.
	LastError string
	// LastScrape is when the last scrape began, its duration includes parsing.
	LastScrape   time.Time
	LastDuration time.Duration
	// Since is when Health last changed.
	Since time.Time

	// Samples is how many samples the last good scrape exposed, Kept how many
	// of them some rule selects, Bytes the size of the uncompressed body.
	Samples int
	Kept    int
	Bytes   int64
	// Format is the media type of the last exposition.
	Format string
	// ParsesAll tells why series that no rule selects are parsed nevertheless;
	// empty if they are skipped.
	ParsesAll string
	// Narrowed tells what the exporter was asked for, and what came of it.
	Narrowed *Narrowed
}

// Narrowed tells of a job with `narrow: true` what was asked of the target.
type Narrowed struct {
	// Query is the query string that narrows, empty if it could not be done.
	Query string
	// Reason tells why it could not.
	Reason string
	// Before and after: the last full and the last narrowed exposition.
	SamplesBefore int
	BytesBefore   int64
	SamplesAfter  int
	BytesAfter    int64
}
