// Package scrape fetches the expositions of targets, on time and one
// independent of the other, and commits to the store those series that a
// mapping rule selects.
//
// A job is configured in Prometheus's own words ([Config]), and a scrape does
// what Prometheus's does: content negotiation, relabelling, limits, stale
// markers, `up` and the `scrape_*` series, hashed offsets, aligned timestamps.
// Gatherers of this process are targets like any other.
//
// What differs is the cost. Rules need one series in a hundred, and are known
// before the first scrape. So each exposition passes a filter that hands only
// what a rule might select to Prometheus's parser, in a bounded window, and
// skips the rest unread. The files in the order of the data:
//
//	manager.go, pool.go, target.go   who is scraped
//	loop.go, collect.go, client.go   when and how
//	text.go, labels.go, proto.go     what is skipped
//	append.go, cache.go, report.go   what is kept
//	narrow.go                        what is asked for
package scrape
