package plugin

import (
	"bufio"
	"bytes"
	"slices"
	"time"

	"github.com/promscope/promscope/mapping"
)

// What is in an answer, and why, is in the package comment.
const (
	// recentAge is how much older than the newest sample those are that are in every
	// answer.
	recentAge = 2500 * time.Millisecond

	// appMemory is for how long Scope's app keeps a report (app.window).
	appMemory = 15 * time.Second

	// turns is how many answers it takes until each long window was in one.
	turns = 7

	// allSamples stands for a turn in which an answer has all samples.
	allSamples = turns

	// filling is the first of as many turns for pollers that are new: in these an answer has
	// the short windows of the turn, too.
	filling = turns + 1

	// noTurn is the turn of metrics whose window the app has without it.
	noTurn = -1
)

// answerBytes are the sizes of the answers by turn, and of those with more samples.
type answerBytes [filling + turns]int

func (b *answerBytes) add(other *answerBytes) {
	for turn := range b {
		b[turn] += other[turn]
	}
}

func (b *answerBytes) addToAll(n int) {
	for turn := range b {
		b[turn] += n
	}
}

// published is what answers and snapshots are made of. It never changes.
type published struct {
	host       string
	opening    []byte // the JSON up to the first topology
	topologies []publishedTopology
	bytes      answerBytes
}

type publishedTopology struct {
	head  []byte // the JSON up to the first node
	nodes []*publishedNode
	fit   int // so many of them: the others are not in answers
}

type publishedNode struct {
	nodeRef
	key     string
	head    []byte // the JSON up to the first metric, after a comma
	metrics []publishedMetric
	rows    []publishedRow
	tail    []byte   // the JSON from the end of the metrics on
	beyond  []string // ids of metrics that are left out, since the node's budget is used up
	samples int
	bytes   answerBytes // without the comma
}

type publishedRow struct {
	template *mapping.Template
	rule     int // -1 if no rule has reported it since the last reload
	text     string
	at       int64
}

type publishedMetric struct {
	template *mapping.Template
	rule     int // -1 if no rule has reported it since the last reload
	max      float64
	samples  []sample
	head     []byte // the JSON up to the first sample, after a comma
	json     []byte // of the samples, each after a comma
	old      int    // bytes of json that not every answer has
	turn     int    // in which an answer has them, or noTurn
	fill     int    // in which an answer to a new poller has them
}

// What follows the parts.
const (
	metricEnd   = `]}`
	metricsEnd  = `}`
	rowsEnd     = `}`
	nodeEnd     = `}`
	topologyEnd = `}}` // of nodes and topology
	reportEnd   = `}`
)

// publish returns what an answer has on the node, which has metrics.
func (n *node) publish(now int64, opts Options) *publishedNode {
	shown := n.shown(now, opts)
	p := &publishedNode{
		nodeRef: n.nodeRef,
		key:     n.key,
		metrics: make([]publishedMetric, 0, len(shown)),
	}
	if before := n.published; before != nil && before.key == n.key {
		p.head = before.head
	} else {
		p.head = appendNode(nil, n.key)
	}
	if len(shown) < len(n.metrics) {
		for _, m := range n.metrics {
			if !slices.Contains(shown, m) {
				p.beyond = append(p.beyond, m.template.ID)
			}
		}
	}
	for _, m := range shown {
		if m.template.Row {
			p.rows = append(p.rows, m.publishRow())
			continue
		}
		metric := m.publish()
		p.metrics = append(p.metrics, metric)
		p.samples += len(m.samples)
		for turn := range p.bytes {
			p.bytes[turn] += metric.size(turn)
		}
	}
	p.tail = appendRows([]byte(metricsEnd), p.rows)
	p.bytes.addToAll(len(p.head) - 1 + len(p.tail))
	if len(p.metrics) > 0 {
		p.bytes.addToAll(-1) // the first metric has no comma
	}
	return p
}

// size returns the bytes of the metric in an answer.
func (m *publishedMetric) size(turn int) int {
	return len(m.head) + len(m.json) - m.skipped(turn) - 1 + len(metricEnd)
}

// skipped returns how many bytes of json the answer does not have.
func (m *publishedMetric) skipped(turn int) int {
	if turn == allSamples || turn == m.turn || turn == filling+m.fill {
		return 0
	}
	return m.old
}

// write writes the answer of a turn. Nothing follows the last }, for otherwise the
// probe would dial anew each second. Errors stay with the writer until its Flush.
//
// Putting 10,000 metrics together takes 1.7 ms, of the 80 ms that a client takes to
// decode them. Answers that are put together beforehand would take it at each
// publication, and for each turn.
func (p *published) write(w *bufio.Writer, turn int) {
	_, _ = w.Write(p.opening)
	for _, t := range p.topologies {
		_, _ = w.Write(t.head)
		for i, n := range t.nodes[:t.fit] {
			_, _ = w.Write(afterFirst(i, n.head))
			for j := range n.metrics {
				m := &n.metrics[j]
				_, _ = w.Write(afterFirst(j, m.head))
				_, _ = w.Write(m.json[m.skipped(turn)+1:])
				_, _ = w.WriteString(metricEnd)
			}
			_, _ = w.Write(n.tail)
		}
		_, _ = w.WriteString(topologyEnd)
	}
	_, _ = w.WriteString(reportEnd)
}

// afterFirst returns the JSON of an element of a list without its comma if it is the
// first.
func afterFirst(i int, json []byte) []byte {
	if i == 0 {
		return json[1:]
	}
	return json
}

// json returns the report with all samples.
func (p *published) json() []byte {
	var out bytes.Buffer
	out.Grow(p.bytes[allSamples])
	w := bufio.NewWriter(&out)
	p.write(w, allSamples)
	_ = w.Flush() // a Buffer takes everything
	return out.Bytes()
}
