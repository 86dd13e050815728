package plugin

import (
	"math"
	"slices"

	"github.com/promscope/promscope/mapping"
)

// sample is a value at a time in nanoseconds since the epoch.
type sample struct {
	at    int64
	value float64
	bytes int // of its JSON, after a comma
}

// metric is one metric of one node: the window of its last samples, ascending, and
// their JSON. A row has a text, and its samples only say when it was true.
//
// What is published shares samples, json and head. They are therefore only appended
// to and cut at the front. Where they are cut at the end, they are clipped too, so
// that the next append copies.
type metric struct {
	node     *node // nil once it has been removed
	template *mapping.Template
	result   *lastResult // that it is in; nil after a reload until it is in one
	round    uint64      // of the result
	turn     int         // in which an answer has the window

	samples []sample
	json    []byte // of the samples, each after a comma
	head    []byte // the JSON before the samples, after a comma; nil if there is none yet
	headMin float64
	headMax float64

	text            string  // of a row
	max             float64 // the rule's; 0 for none
	least, greatest float64 // of 0 and all values ever seen here
}

// add appends a sample of the time at, which is date in JSON. A second one for the
// same time replaces the first; one from before the last is refused.
func (m *metric) add(at int64, date []byte, value float64, opts Options) bool {
	if last := len(m.samples) - 1; last >= 0 {
		switch newest := m.samples[last].at; {
		case at == newest:
			m.keep(last)
		case at < newest:
			return false
		}
	}
	before := len(m.json)
	m.json = appendSample(m.json, date, value)
	m.samples = append(m.samples, sample{at: at, value: value, bytes: len(m.json) - before})
	m.drop(len(m.samples) - opts.MaxSamples)
	m.least = min(m.least, value)
	m.greatest = max(m.greatest, value)
	return true
}

// keep keeps the first n samples.
func (m *metric) keep(n int) {
	m.json = slices.Clip(m.json[:jsonBytes(m.samples[:n])])
	m.samples = slices.Clip(m.samples[:n])
}

// drop drops the first n samples, if n is positive.
func (m *metric) drop(n int) {
	if n > 0 {
		m.json = m.json[jsonBytes(m.samples[:n]):]
		m.samples = m.samples[n:]
	}
}

func jsonBytes(samples []sample) (n int) {
	for _, s := range samples {
		n += s.bytes
	}
	return n
}

// expire drops samples that are too old.
func (m *metric) expire(now int64, opts Options) {
	m.drop(len(m.samples) - opts.MaxSamples) // it may be less than it was
	for len(m.samples) > 0 && m.expires(opts) <= now {
		m.drop(1)
	}
}

// expires returns when the oldest sample is too old.
func (m *metric) expires(opts Options) int64 {
	if len(m.samples) == 0 {
		return math.MaxInt64
	}
	age := opts.MaxAge
	// The newest sample is what is true until the next one is due, also where a
	// rule's targets are scraped less often than the window is long.
	if len(m.samples) == 1 && m.result != nil {
		age = max(age, 3*m.result.interval)
	}
	return m.samples[0].at + int64(age) + 1
}

// shownMax returns the maximum that Scope gets. It is never 0: Scope divides by it.
func (m *metric) shownMax() float64 {
	switch {
	case m.max > 0:
		return m.max
	case m.template.Format == mapping.FormatPercent:
		return 100
	case m.greatest > 0:
		return m.greatest
	}
	return 1
}

// publish returns what an answer has on the metric.
func (m *metric) publish() publishedMetric {
	if shown := m.shownMax(); m.head == nil || m.headMin != m.least || m.headMax != shown {
		m.headMin, m.headMax = m.least, shown
		m.head = appendMetric(nil, m.template.ID, m.headMin, m.headMax)
	}
	p := publishedMetric{
		template: m.template,
		rule:     -1,
		max:      m.headMax,
		samples:  m.samples,
		head:     m.head,
		json:     m.json,
		turn:     noTurn,
		fill:     m.turn,
	}
	if m.result != nil {
		p.rule = m.result.rule
	}
	newest := m.samples[len(m.samples)-1].at
	old := slices.IndexFunc(m.samples, func(s sample) bool { return newest-s.at < int64(recentAge) })
	p.old = jsonBytes(m.samples[:old])
	if newest-m.samples[0].at > int64(appMemory) {
		p.turn = m.turn
	}
	return p
}

// publishRow returns what an answer has on the row.
func (m *metric) publishRow() publishedRow {
	p := publishedRow{template: m.template, rule: -1, text: m.text, at: m.samples[len(m.samples)-1].at}
	if m.result != nil {
		p.rule = m.result.rule
	}
	return p
}
