// Package scrape fetches the expositions of targets on time, each independent of the
// others, and commits to the store those series that a mapping rule selects.
//
// A job is configured in Prometheus's own words ([Config]), and a scrape does
// what Prometheus's does: content negotiation, relabelling, limits, stale
// markers, `up` and the `scrape_*` series, hashed offsets, aligned timestamps.
// Gatherers of this process are targets like any other.
//
// What differs is the cost: package exposition skips the series that no rule selects
// before they are parsed. The files in the order of the data:
//
//	manager.go, pool.go, target.go     who is scraped
//	loop.go, collect.go, client.go     when and how
//	narrow.go                          what is asked for
//	append.go, cache.go, synthetic.go  what is kept
//	replay.go                          a scrape of expositions that are given
package scrape
