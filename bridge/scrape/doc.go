// Package scrape fetches the expositions of targets on time, each independent of the
// others, and commits to the store those series that a mapping rule selects.
//
// A job is configured in Prometheus's own words (package job), and a scrape does
// what Prometheus's does: content negotiation, relabelling, limits, stale
// markers, `up` and the `scrape_*` series, hashed offsets, aligned timestamps.
// Gatherers of this process are targets like any other.
//
// What differs is the cost: package exposition skips the series that no rule selects
// before they are parsed. The files in the order of the data:
//
//	manager.go, pool.go, takeover.go          who is scraped
//	loop.go, collect.go                       when
//	fetch.go, client.go, inprocess.go         how
//	narrow.go, narrow_names.go                what is asked for
//	whose.go, testimony.go, subject.go        who answers
//	each.go, append.go, cache.go, pid.go      what is kept
//	skip.go, synthetic.go                     and what is left out, and added
//	note.go, status.go, metrics.go            what is known of it
//	replay.go                                 a scrape of expositions that are given
package scrape
