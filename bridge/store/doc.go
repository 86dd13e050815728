// Package store keeps, in memory and bounded, the samples of those series that
// some mapping rule selects, for as long as that rule's windows need them.
//
// A [Selection] is made once from the selectors of all rules. It tells the
// scraper which metric names can be skipped unread, and for a whole label set
// which rules take it and how long its samples must be kept.
//
// Samples enter through a [Batch], one per scrape, and become visible all at
// once; the commit is then announced through [Options.OnCommit], so that the
// rules that read any of the series can be evaluated. Samples leave through
// the [Store]'s Querier, which is what Prometheus's PromQL engine asks for: a
// select copies what it matched, so an evaluation holds no lock. A select of
// [Store.Live] never sees half a scrape. An expression with two selectors, a / b,
// is two selects, and a commit may come between them.
//
// Timestamps are Unix milliseconds throughout, as in Prometheus.
package store
