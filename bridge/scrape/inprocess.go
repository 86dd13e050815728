package scrape

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/promscope/promscope/bridge/exposition"
	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/bridge/scrape/request"
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
	pending chan gathered // of a Gather that goes on; nil if none does
	since   time.Time     // when the last Gather began, whose samples are in the store
	// seen has what that Gather saw of metrics that were created after it began, by the time of
	// their creation in ns since 1970.
	seen map[int64]bool
	buf  bytes.Buffer
}

type gathered struct {
	began, ended time.Time
	families     []*dto.MetricFamily
	err          error
}

// newGatherer returns the gatherer of a target that was opened an interval ago at most.
func newGatherer(p InProcess) *gatherer {
	return &gatherer{g: p.Gatherer, since: time.Now().Add(-p.Interval)}
}

func (*gatherer) origin(context.Context) labels.Labels { return labels.EmptyLabels() }

func (*gatherer) note() string { return "" }

func (*gatherer) close() {}

// scrape gathers, within its time. What is gathered later is thrown away: at the time of this
// scrape or of the next its values would make wrong rates.
func (g *gatherer) scrape(ctx context.Context, at time.Time, _ url.Values) (answer, error) {
	// A Gather cannot be cancelled. One that hangs costs its goroutine and no more.
	if g.pending != nil {
		select {
		case <-g.pending:
		default:
			return answer{}, context.DeadlineExceeded
		}
	}
	g.pending = make(chan gathered, 1)
	go func(done chan<- gathered) {
		began := time.Now()
		families, err := gather(g.g)
		done <- gathered{began, time.Now(), families, err}
	}(g.pending)
	select {
	case <-ctx.Done():
		return answer{}, ctx.Err()
	case got := <-g.pending:
		g.pending = nil
		// Where this process was stopped, the time may have been over, too.
		if deadline, ok := ctx.Deadline(); ok && got.ended.After(deadline) {
			return answer{}, context.DeadlineExceeded
		}
		return g.expose(got, at)
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

func (g *gatherer) expose(got gathered, at time.Time) (answer, error) {
	g.addBirths(got, at)
	g.buf.Reset()
	enc := expfmt.NewEncoder(&g.buf, expfmt.NewFormat(expfmt.TypeProtoDelim))
	for _, mf := range got.families {
		if err := enc.Encode(mf); err != nil {
			return answer{}, request.NewError("gather", fmt.Errorf("encoding %s: %w", mf.GetName(), err))
		}
	}
	if got.err == nil {
		return answer{body: &g.buf, mediaType: exposition.MediaProto, close: func() {}}, nil
	}
	err := request.NewError("gather", got.err)
	if g.buf.Len() == 0 {
		return answer{}, err
	}
	return answer{body: &g.buf, mediaType: exposition.MediaProto, close: func() {}, partial: err}, nil
}

// addBirths puts a sample of zero before each counter, histogram and summary that was
// created since the last gathering, with the time of its creation. Without that sample rate
// would not see what was counted before the first gathering. Prometheus does the same with
// created timestamps, where it is told to. The sample that follows has the time of the
// scrape, as all others have: the rules are evaluated at that time, and would not see a
// later one. It says so itself, for of two samples in one exposition the second would not
// count without.
func (g *gatherer) addBirths(got gathered, at time.Time) {
	seen := map[int64]bool{}
	born := func(m *dto.Metric) bool {
		if createdOf(m) == nil {
			return false
		}
		created := createdOf(m).AsTime()
		if created.After(got.began) {
			seen[created.UnixNano()] = true
		}
		// One of the future was created before the clock was set back. It is not born again
		// when that time comes.
		return !created.Before(g.since) && !created.After(got.ended) && !g.seen[created.UnixNano()]
	}
	for _, mf := range got.families {
		mf.Metric = withBirths(mf.Metric, born, at)
	}
	g.since, g.seen = got.began, seen
}

// withBirths returns the metrics of a scrape at that time, with a sample of zero before
// each of those that are born.
func withBirths(metrics []*dto.Metric, born func(*dto.Metric) bool, at time.Time) []*dto.Metric {
	if !slices.ContainsFunc(metrics, born) {
		return metrics // as nearly always
	}
	all := make([]*dto.Metric, 0, 2*len(metrics))
	for _, m := range metrics {
		if born(m) {
			all = append(all, birth(m))
			m.TimestampMs = proto.Int64(at.UnixMilli())
		}
		all = append(all, m)
	}
	return all
}

func createdOf(m *dto.Metric) *timestamppb.Timestamp {
	switch {
	case m.Counter != nil:
		return m.Counter.CreatedTimestamp
	case m.Summary != nil:
		return m.Summary.CreatedTimestamp
	default:
		return m.GetHistogram().GetCreatedTimestamp()
	}
}

// birth returns the metric as it was when it was created.
func birth(m *dto.Metric) *dto.Metric {
	zero := &dto.Metric{Label: m.Label, TimestampMs: proto.Int64(createdOf(m).AsTime().UnixMilli())}
	switch {
	case m.Counter != nil:
		zero.Counter = &dto.Counter{Value: proto.Float64(0)}
	case m.Summary != nil: // its quantiles had no value yet
		zero.Summary = &dto.Summary{SampleCount: proto.Uint64(0), SampleSum: proto.Float64(0)}
	default:
		zero.Histogram = &dto.Histogram{SampleCount: proto.Uint64(0), SampleSum: proto.Float64(0)}
		for _, b := range m.Histogram.Bucket {
			zero.Histogram.Bucket = append(zero.Histogram.Bucket, &dto.Bucket{UpperBound: b.UpperBound, CumulativeCount: proto.Uint64(0)})
		}
	}
	return zero
}
