package scrape

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	"github.com/promscope/promscope/bridge/exposition"
)

// taken returns the metrics of which the scrape in progress has series that a rule
// selects, and those that say who its target is, if that has any for rules.
func (a *appender) taken() map[string]bool {
	names := a.cache.taken()
	if len(names) == 0 {
		return names
	}
	if a.witness.said.Nodename != "" {
		names[unameInfo] = true
	}
	if len(a.witness.said.Starts) > 0 {
		names[startTime] = true
	}
	if known := string(a.witness.known); known != "" {
		names[known] = true
	}
	return names
}

// taken returns the metrics of which the scrape in progress has series that a
// rule selects.
func (c *cache) taken() map[string]bool {
	names := make(map[string]bool)
	for _, e := range c.entries {
		if e.round == c.round && e.series != nil {
			names[e.series.Labels().Get(model.MetricNameLabel)] = true
		}
	}
	return names
}

// namesOf returns the metrics that rules may take of what a query gives.
func (l *loop) namesOf(ctx context.Context, query url.Values) (names map[string]bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.target.Timeout)
	defer cancel()
	a, err := l.scraper.scrape(ctx, time.Now(), query)
	if err != nil {
		return nil, err
	}
	defer a.close()
	r, release := l.shared.borrow()
	defer release()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("parsing panicked: %v", p)
		}
		l.read(r)
	}()
	r.Reset(a.body, a.mediaType, exposition.Options{Parser: l.target.Job.ParserOptions(), WantName: l.want})
	names = make(map[string]bool)
	var exposed labels.Labels
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names, nil
		}
		if err != nil {
			return nil, err
		}
		err = eachSample(p, func([]byte, *int64, float64, *histogram.FloatHistogram) error {
			p.Labels(&exposed)
			names[exposed.Get(model.MetricNameLabel)] = true
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
}

// collectorSeries is how the names of the series end that name collectors.
const collectorSeries = "_collector_success"

// isCollector tells whether series of the metric name collectors.
func isCollector(name []byte) bool { return bytes.HasSuffix(name, []byte(collectorSeries)) }

// hearCollector notes the collector that a series names, if it is one that does.
func (a *appender) hearCollector(p textparse.Parser, exposed []byte) {
	if !bytes.Contains(exposed, []byte(collectorSeries)) {
		return
	}
	p.Labels(&a.lset)
	name := a.lset.Get("collector")
	if name == "" || !isCollector([]byte(a.lset.Get(model.MetricNameLabel))) {
		return
	}
	if a.collectors == nil {
		a.collectors = map[string]bool{}
	}
	a.collectors[strings.Clone(name)] = true
}
