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

	// fillings is how many answers a new poller gets that bring it short windows: each of
	// them twice, since an answer may be lost.
	fillings = 2 * turns
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
	list []*known // in order of their first poll
}

// known is a poller, and how often it has polled since it was new.
type known struct {
	Poller
	polls int
}

// silent tells whether the poller is new again.
func (k *known) silent(now time.Time) bool { return now.Sub(k.Last) > pollerSilence }

// turn returns the turn of the answer that a poller gets now.
func (p *pollers) turn(poller Poller, now time.Time) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch k := p.find(poller); {
	case poller.ProbeID == "":
		return allSamples
	case k == nil:
		return filling
	case k.silent(now) || k.polls < fillings:
		return filling + int(k.Polls%turns)
	default:
		return int(k.Polls % turns)
	}
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
		poller = &known{Poller: Poller{
			// They are parts of the request.
			ProbeID:   strings.Clone(clip(poll.ProbeID)),
			UserAgent: strings.Clone(clip(poll.UserAgent)),
			Peer:      poll.Peer,
			First:     poll.Last,
		}}
		p.list = append(p.list, poller)
	} else if poller.silent(poll.Last) {
		poller.polls = 0
	}
	poller.polls++
	poller.Polls++
	poller.Last, poller.LastDuration, poller.LastBytes = poll.Last, poll.LastDuration, poll.LastBytes
}

func (p *pollers) find(poll Poller) *known {
	for _, k := range p.list {
		if k.Peer == poll.Peer && k.ProbeID == clip(poll.ProbeID) && k.UserAgent == clip(poll.UserAgent) {
			return k
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
		list[i] = poller.Poller
	}
	return list
}

func clip(s string) string { return s[:min(len(s), maxPollerText)] }
