package scrape

import (
	"context"
	"net/http/httptrace"

	"github.com/prometheus/prometheus/model/labels"
)

// Subject is what a target speaks of.
type Subject struct {
	// Labels are those of the origin, with those that say of which process the target
	// speaks.
	Labels labels.Labels
	// Note says which process an exporter speaks of and why, to follow "speaks of"; empty
	// for other targets.
	Note string
}

// asked is a request that was sent to a process that is known.
type asked struct {
	origin labels.Labels
	about  chan func() Subject
}

// looking returns the context of a request, with which the process that answers is looked
// at from when the request is sent: some exporters connect to their server only for as
// long as they are asked.
func (c *client) looking(ctx context.Context) context.Context {
	c.asked.Store(nil)
	if c.about == nil {
		return ctx
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) {
		p := c.newest.Load()
		if p == nil || p.labels.IsEmpty() {
			return
		}
		a := &asked{origin: p.labels, about: make(chan func() Subject, 1)}
		c.asked.Store(a)
		// Not in the transport's goroutine, which has the answer to wait for.
		go func() { a.about <- c.about(ctx, a.origin, c.target.URL.RequestURI()) }()
	}})
}

// subjectOf returns what the target speaks of, when the answer has begun.
func (c *client) subjectOf(ctx context.Context, origin labels.Labels) Subject {
	if c.about == nil || origin.IsEmpty() {
		return Subject{Labels: origin}
	}
	if a := c.asked.Swap(nil); a != nil && labels.Equal(a.origin, origin) {
		return (<-a.about)()
	}
	return c.about(ctx, origin, c.target.URL.RequestURI())()
}
