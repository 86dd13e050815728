package plugin

import (
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// maxPollers is how many pollers are remembered. On most machines one probe
	// polls.
	maxPollers = 32

	// maxPollerText is how much is remembered of what a poller says of itself.
	maxPollerText = 128
)

// Poller is who asks for the report.
type Poller struct {
	ProbeID   string // as it says
	UserAgent string // as it says
	Peer      Peer   // as the kernel says

	Polls       uint64
	First, Last time.Time
	// LastDuration and LastBytes are of the last answer.
	LastDuration time.Duration
	LastBytes    int
}

// pollers remembers who polled.
type pollers struct {
	mu   sync.Mutex
	list []*Poller // in order of their first poll
}

// record takes note of a poll. Of a known poller's, it allocates nothing.
func (p *pollers) record(poll Poller) {
	poll.ProbeID, poll.UserAgent = clip(poll.ProbeID), clip(poll.UserAgent)
	p.mu.Lock()
	defer p.mu.Unlock()
	poller := p.find(poll)
	if poller == nil {
		if len(p.list) >= maxPollers {
			p.evict()
		}
		poller = &Poller{
			// They are parts of the request.
			ProbeID:   strings.Clone(poll.ProbeID),
			UserAgent: strings.Clone(poll.UserAgent),
			Peer:      poll.Peer,
			First:     poll.Last,
		}
		p.list = append(p.list, poller)
	}
	poller.Polls++
	poller.Last, poller.LastDuration, poller.LastBytes = poll.Last, poll.LastDuration, poll.LastBytes
}

func (p *pollers) find(poll Poller) *Poller {
	for _, known := range p.list {
		if known.Peer == poll.Peer && known.ProbeID == poll.ProbeID && known.UserAgent == poll.UserAgent {
			return known
		}
	}
	return nil
}

// evict forgets the poller that has not been seen for longest.
func (p *pollers) evict() {
	oldest := 0
	for i, poller := range p.list {
		if poller.Last.Before(p.list[oldest].Last) {
			oldest = i
		}
	}
	p.list = slices.Delete(p.list, oldest, oldest+1)
}

func (p *pollers) snapshot() []Poller {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]Poller, len(p.list))
	for i, poller := range p.list {
		list[i] = *poller
	}
	return list
}

func clip(s string) string { return s[:min(len(s), maxPollerText)] }

// queryValue returns the value of a key in a URL's query as it was sent. Unlike
// url.ParseQuery it allocates nothing.
func queryValue(query, key string) string {
	for pair := range strings.SplitSeq(query, "&") {
		if name, value, _ := strings.Cut(pair, "="); name == key {
			return value
		}
	}
	return ""
}
