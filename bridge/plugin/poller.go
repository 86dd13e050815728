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

	// pollerSilence is after how long without a poll a poller is new again. It is
	// somewhat longer than a sample is in every answer.
	pollerSilence = 3 * time.Second
)

// Poller is a client that asks for the report.
type Poller struct {
	ProbeID   string // as it says; empty if it is no probe
	UserAgent string // as it says
	Peer      Peer   // as the kernel says

	Polls       uint64
	First, Last time.Time
	// LastDuration and LastBytes are of the last answer.
	LastDuration time.Duration
	LastBytes    int
}

// pollers remembers the pollers. A probe that broke off a poll comes over a new
// connection, so a connection is not what identifies it.
type pollers struct {
	mu   sync.Mutex
	list []*Poller // in order of their first poll
}

// turn returns the turn of the answer that a poller gets now.
func (p *pollers) turn(poller Poller, now time.Time) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.find(poller)
	switch {
	case poller.ProbeID == "":
		return allSamples
	case known == nil || now.Sub(known.Last) > pollerSilence:
		return lastSamples
	}
	return int(known.Polls % turns)
}

// record takes note of a poll.
func (p *pollers) record(poll Poller) {
	p.mu.Lock()
	defer p.mu.Unlock()
	poller := p.find(poll)
	if poller == nil {
		if len(p.list) >= maxPollers {
			p.evict()
		}
		poller = &Poller{
			// They are parts of the request.
			ProbeID:   strings.Clone(clip(poll.ProbeID)),
			UserAgent: strings.Clone(clip(poll.UserAgent)),
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
		if known.Peer == poll.Peer && known.ProbeID == clip(poll.ProbeID) && known.UserAgent == clip(poll.UserAgent) {
			return known
		}
	}
	return nil
}

// evict forgets the poller that has been silent for longest.
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
