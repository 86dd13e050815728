package scrape

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/exposition"
	"github.com/promscope/promscope/bridge/scrape/job"
)

// InProcess is a target inside of this process. Its series carry the labels
// job="promscope" and instance=Name. Its histograms are there as native ones, and by
// their classic buckets for rules that ask for these.
type InProcess struct {
	Name     string
	Gatherer prometheus.Gatherer
	Interval time.Duration
	// Labels are added to its series.
	Labels labels.Labels
}

func (p InProcess) target() (*job.Target, error) {
	if p.Name == "" || p.Gatherer == nil || p.Interval <= 0 {
		return nil, fmt.Errorf("in-process target %q: a name, a gatherer and an interval are needed", p.Name)
	}
	config := job.DefaultConfig(job.DefaultGlobal())
	config.JobName = job.InProcess
	config.ScrapeInterval = model.Duration(p.Interval)
	config.ScrapeNativeHistograms = true
	config.ConvertClassicHistogramsToNHCB = true
	config.AlwaysScrapeClassicHistograms = true
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("in-process target %q: %w", p.Name, err)
	}
	lb := labels.NewBuilder(p.Labels)
	lb.Set(model.JobLabel, job.InProcess)
	lb.Set(model.InstanceLabel, p.Name)
	public := lb.Labels()
	return &job.Target{
		Job: &config, All: public, Public: public, Discovered: public,
		Interval: p.Interval, Timeout: p.Interval,
	}, nil
}

// gatherer asks a target of this process. What it gathers goes the way of all
// expositions, as protobuf, so that there is no second path.
type gatherer struct {
	g       prometheus.Gatherer
	pending chan gathered // of a Gather that outlasted its scrape
	buf     bytes.Buffer
}

type gathered struct {
	families []*dto.MetricFamily
	err      error
}

func (*gatherer) origin(context.Context) labels.Labels { return labels.EmptyLabels() }

func (*gatherer) note() string { return "" }

func (*gatherer) close() {}

func (g *gatherer) scrape(ctx context.Context, _ url.Values) (answer, error) {
	// A Gather cannot be cancelled. One that hangs costs its goroutine and no
	// more: it is waited for again by the next scrapes.
	if g.pending == nil {
		g.pending = make(chan gathered, 1)
		go func(done chan<- gathered) {
			families, err := gather(g.g)
			done <- gathered{families, err}
		}(g.pending)
	}
	select {
	case <-ctx.Done():
		return answer{}, ctx.Err()
	case got := <-g.pending:
		g.pending = nil
		return g.expose(got)
	}
}

// gather turns a collector's panic into an error.
func gather(g prometheus.Gatherer) (families []*dto.MetricFamily, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return g.Gather()
}

func (g *gatherer) expose(got gathered) (answer, error) {
	g.buf.Reset()
	enc := expfmt.NewEncoder(&g.buf, expfmt.NewFormat(expfmt.TypeProtoDelim))
	for _, mf := range got.families {
		if err := enc.Encode(mf); err != nil {
			return answer{}, &failure{"gather", fmt.Errorf("encoding %s: %w", mf.GetName(), err)}
		}
	}
	if got.err == nil {
		return answer{body: &g.buf, mediaType: exposition.MediaProto, close: func() {}}, nil
	}
	err := &failure{"gather", got.err}
	if g.buf.Len() == 0 {
		return answer{}, err
	}
	return answer{body: &g.buf, mediaType: exposition.MediaProto, close: func() {}, partial: err}, nil
}
