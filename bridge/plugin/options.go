package plugin

import "time"

// Options says what a report claims to be, and how large it may become. All of them
// are required but Exporter. The configuration has their defaults and checks them; a limit of 0
// leaves no room for anything.
type Options struct {
	ID          string // the plugin's, and its socket's name
	Label       string // shown by Scope's list of plugins
	Description string // shown as its tooltip
	Host        string // the host's name as the probe knows it

	MaxSamples int           // per metric of a node
	MaxAge     time.Duration // of a sample; the last one of a slow rule may be older
	MaxNodes   int
	MaxBytes   int // of the report with all samples; the probe stops reading at 50 MiB

	// Exporter tells whether a process is an exporter, of which less is shown
	// (mapping.ExporterBudget). It is called while the report is published, now and then,
	// and must not call the report. Nil means that none is.
	Exporter func(pid string) bool
}
