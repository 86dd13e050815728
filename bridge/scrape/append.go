package scrape

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/model/textparse"

	"github.com/promscope/promscope/bridge/exposition"
	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/bridge/scrape/request"
	"github.com/promscope/promscope/bridge/store"
)

// maxAhead is how far in the future a timestamp of an exposition may lie.
const maxAhead = 10 * time.Minute

// appender turns the expositions of one target into samples of the store. What
// it does to a sample, and in what order, is what Prometheus does.
type appender struct {
	job    *job.Config
	store  *store.Store
	batch  *store.Batch
	cache  *cache
	target labels.Labels           // on all series of the target
	origin labels.Labels           // those of them that tell of the process that answers
	labels *exposition.Preselector // nil if relabelling may change labels
	pids   pidTranslator
	known  knownPIDs // in the scrape in progress
	// observe, if not nil, is told of each series that is not in the cache: its labels with
	// the target's, and after relabelling, empty if that drops it.
	observe func(before, after labels.Labels)
	learns  bool // which collectors the exposition names

	schema int32 // the finest resolution of native histograms
	lb     *labels.Builder
	lset   labels.Labels

	// Of the scrape in progress.
	at         int64
	counts     counts
	size       int // of the selected series, in the unit of the store's limit
	maxSize    int // 0 is no limit
	witness    witness
	collectors map[string]bool // if it learns
	failure    error
}

// counts are the samples of one scrape.
type counts struct {
	exposed    int
	relabelled int // left after relabelling, selected or not
	kept       int // selected
	added      int // kept, of series that the scrape before did not have
}

func newAppender(t *job.Target, s *shared) *appender {
	a := &appender{
		job:    t.Job,
		store:  s.store,
		batch:  s.store.Batch(),
		cache:  newCache(),
		target: t.Public,
		pids:   s.pids,
		known:  knownPIDs{},
		schema: schemaOf(t.Job.NativeHistogramMinBucketFactor),
		lb:     labels.NewBuilder(labels.EmptyLabels()),
	}
	if len(t.Job.MetricRelabelConfigs) == 0 {
		mayMatch := func(name []byte, value func(string) (string, bool)) bool {
			return s.sel.MayMatch(name, value) || testifies(name)
		}
		a.labels = exposition.NewPreselector(mayMatch, t.Job.HonorLabels, s.pidLabels)
		a.labels.SetTarget(t.Public, labels.EmptyLabels())
	}
	return a
}

// retarget changes the labels of the target, among which are those of its origin.
func (a *appender) retarget(l, origin labels.Labels) {
	a.target, a.origin = l, origin
	clear(a.known) // they were those of another exporter
	if a.labels != nil {
		a.labels.SetTarget(l, origin)
	}
	a.cache.relabel()
}

// takeOver goes on with what another appender of the same target knows, which is used no
// more.
func (a *appender) takeOver(old *appender) {
	a.target, a.origin, a.cache = old.target, old.origin, old.cache
	a.cache.reselect(a.store.Keeps)
	if a.labels != nil {
		a.labels.SetTarget(a.target, a.origin)
	}
}

// begin begins a scrape with the timestamp at.
func (a *appender) begin(at time.Time) {
	a.at, a.counts, a.failure = at.UnixMilli(), counts{}, nil
	a.size, a.maxSize = 0, a.store.MaxSeries()
	a.collectors = nil
	a.witness.begin()
	clear(a.known)
	a.cache.begin()
}

// exposition appends all that a reader hands on.
func (a *appender) exposition(ctx context.Context, r *exposition.Reader) error {
	before := 0
	for {
		p, err := r.Next()
		a.skip(r.Skipped() - before)
		before = r.Skipped()
		if errors.Is(err, io.EOF) {
			a.fit()
			return a.failure
		}
		if err != nil {
			return err
		}
		if err := a.piece(ctx, r, p); err != nil {
			return err
		}
	}
}

// skip counts n samples that were not parsed.
func (a *appender) skip(n int) {
	a.counts.exposed += n
	a.counts.relabelled += n
	a.limit()
}

// limit notes when there are too many samples. The exposition is read on, to
// tell how many it has.
func (a *appender) limit() {
	if l := int(a.job.SampleLimit); l > 0 && a.counts.relabelled > l && a.failure == nil {
		a.failure = request.NewError("sample_limit", fmt.Errorf("sample_limit of %d exceeded", l))
	}
}

// fit notes when the store has no room for all series of the scrape.
func (a *appender) fit() {
	if err := a.batch.Hold(); err != nil && a.failure == nil {
		a.failure = request.NewError("series_limit", err)
	}
}

// failed tells whether the scrape has failed by a limit, or by a sample that is none.
func (a *appender) failed() bool { return a.failure != nil }

// piece appends what a parser finds in a piece of an exposition.
func (a *appender) piece(ctx context.Context, r *exposition.Reader, p textparse.Parser) error {
	return eachSample(p, func(exposed []byte, ts *int64, v float64, h *histogram.FloatHistogram) error {
		return a.appendSample(ctx, r, p, exposed, ts, v, h)
	})
}

// appendSample appends one sample, a float unless there is a histogram.
func (a *appender) appendSample(ctx context.Context, r *exposition.Reader, p textparse.Parser, exposed []byte, ts *int64, v float64, h *histogram.FloatHistogram) error {
	a.counts.exposed++
	a.witness.hear(p, exposed, v, &a.lset)
	if a.learns {
		a.hearCollector(p, exposed)
	}
	e := a.cache.get(exposed)
	known := e != nil
	if !known {
		// After a failure nothing more is kept, in the cache neither.
		if a.failed() || !r.Wants(exposed) {
			a.counts.relabelled++
			a.limit()
			return nil
		}
		var err error
		if e, err = a.resolve(ctx, p, exposed); err != nil {
			return err
		}
	} else if a.cache.due(e, exposed) {
		before := e.series
		if _, err := a.resolve(ctx, p, exposed); err != nil {
			return err
		}
		known = e.series == before
	}
	a.sample(e, known, ts, v, h)
	return nil
}

// take appends a sample of a series that the cache knows, without a parser. It returns
// false if there is something to parse.
func (a *appender) take(exposed []byte, v float64) bool {
	e := a.cache.get(exposed)
	if e == nil || a.cache.due(e, exposed) || speaks(exposed) {
		return false
	}
	a.counts.exposed++
	a.sample(e, true, nil, v, nil)
	return true
}

// sample appends one sample of an entry, which the cache knew before if it is known.
func (a *appender) sample(e *entry, known bool, ts *int64, v float64, h *histogram.FloatHistogram) {
	again := known && e.round == a.cache.round
	e.round = a.cache.round
	if e.outcome == dropped {
		return
	}
	a.counts.relabelled++
	a.limit()
	if e.outcome == unselected || a.failed() {
		return
	}
	if !again {
		a.size += store.Size(e.series.Labels())
	}
	if a.maxSize > 0 && a.size > a.maxSize {
		a.failure = request.NewError("series_limit", fmt.Errorf("limits.max_series of %d exceeded: rules select more of this target alone", a.maxSize))
		return
	}

	t, own := a.at, ts != nil && a.job.HonorTimestamps
	if own {
		if t = *ts; t > a.at+maxAhead.Milliseconds() {
			return
		}
	} else if again {
		// The same series twice in one exposition: the first one counts.
		return
	}
	if h == nil {
		a.batch.Append(e.series, t, v)
	} else {
		if a.reduce(h); a.failed() {
			return
		}
		// To compare histograms panics where they are none, and rules and the store compare them.
		if err := h.Validate(); err != nil {
			name := e.series.Labels().Get(model.MetricNameLabel)
			a.failure = request.NewError("parse", fmt.Errorf("native histogram %s: %w", name, err))
			return
		}
		a.batch.AppendHistogram(e.series, t, h)
	}
	a.counts.kept++
	if !known {
		a.counts.added++
	}
	e.ends = !own || a.job.TrackTimestampsStaleness
}

// resolve makes the cache's entry of a series. It does so again if the series's pids are
// due to be translated again.
func (a *appender) resolve(ctx context.Context, p textparse.Parser, exposed []byte) (*entry, error) {
	p.Labels(&a.lset)
	l, pids := a.mutate(ctx, a.lset)
	if l.IsEmpty() {
		return a.cache.put(exposed, nil, dropped, pids), nil
	}
	if !l.Has(model.MetricNameLabel) {
		return nil, request.NewError("relabel", errors.New("metric name is missing after relabelling"))
	}
	s, ok := a.store.Series(l)
	if !ok {
		return a.cache.put(exposed, nil, unselected, pids), nil
	}
	if !l.IsValid(a.job.MetricNameValidationScheme) {
		return nil, request.NewError("parse", fmt.Errorf("invalid metric name or label names: %s", l))
	}
	if name, twice := l.HasDuplicateLabelNames(); twice {
		return nil, request.NewError("parse", fmt.Errorf("label %s is there twice in %s", name, l))
	}
	if err := a.checkLabels(l); err != nil {
		return nil, request.NewError("label_limit", err)
	}
	return a.cache.put(exposed, s, kept, pids), nil
}

// mutate translates pids, adds the target's labels, and relabels. It returns empty
// labels for a series that relabelling drops, and how its pids were translated.
func (a *appender) mutate(ctx context.Context, exposed labels.Labels) (l labels.Labels, pids translation) {
	a.lb.Reset(exposed)
	if a.pids != nil {
		pids = a.pids(ctx, a.target, a.lb, a.known)
	}
	addTargetLabels(a.lb, exposed, a.target, a.job.HonorLabels)
	var before labels.Labels
	if a.observe != nil {
		before = a.lb.Labels()
	}
	if relabel.ProcessBuilder(a.lb, a.job.MetricRelabelConfigs...) {
		if ofOthers(a.lb, exposed, a.target, a.job.HonorLabels) {
			a.disown()
		}
		l = a.lb.Labels()
	}
	if a.observe != nil {
		a.observe(before, l)
	}
	return l, pids
}

// ofOthers tells whether a series speaks of somebody else than the process that answers:
// it was pushed, federated or collected elsewhere, and has a job or an instance of its
// own. A Pushgateway and /federate expose an empty instance where there is none. Who knows
// better drops these labels by metric_relabel_configs, or fills the empty one.
func ofOthers(series *labels.Builder, exposed, target labels.Labels, honor bool) bool {
	for _, name := range [...]string{model.JobLabel, model.InstanceLabel} {
		if series.Get(model.ExportedLabelPrefix+name) != "" {
			return true
		}
		own := exposed.Get(name) // stays what it is with honor_labels, also if it is empty
		if (own != "" || honor && exposed.Has(name)) && own != target.Get(name) && own == series.Get(name) {
			return true
		}
	}
	return false
}

// disown takes the labels of the process that answers off the series in the builder.
func (a *appender) disown() {
	a.origin.Range(func(l labels.Label) {
		if a.lb.Get(l.Name) == l.Value {
			a.lb.Del(l.Name)
		}
	})
}

// addTargetLabels puts the labels of a target on a series, as Prometheus does. With
// honor, a label that the series exposes stays. Without, it is renamed exported_NAME.
func addTargetLabels(b *labels.Builder, exposed, target labels.Labels, honor bool) {
	var clashes []labels.Label
	target.Range(func(l labels.Label) {
		if honor && exposed.Has(l.Name) {
			return
		}
		if v := b.Get(l.Name); v != "" {
			clashes = append(clashes, labels.Label{Name: l.Name, Value: v})
		}
		b.Set(l.Name, l.Value)
	})
	// A clash with exported_job, if that is exposed too, becomes
	// exported_exported_job: the shorter name first.
	slices.SortStableFunc(clashes, func(x, y labels.Label) int { return len(x.Name) - len(y.Name) })
	for _, l := range clashes {
		name := model.ExportedLabelPrefix + l.Name
		for b.Get(name) != "" {
			name = model.ExportedLabelPrefix + name
		}
		b.Set(name, l.Value)
	}
}

// checkLabels holds the labels that Prometheus would see against the job's limits.
func (a *appender) checkLabels(l labels.Labels) error {
	name := l.Get(model.MetricNameLabel)
	if limit := int(a.job.LabelLimit); limit > 0 && l.Len() > limit {
		n := 0
		l.Range(func(l labels.Label) {
			if !a.origin.Has(l.Name) {
				n++
			}
		})
		if n > limit {
			return fmt.Errorf("label_limit of %d exceeded: %.50s has %d labels", limit, name, n)
		}
	}
	return l.Validate(func(l labels.Label) error {
		if a.origin.Has(l.Name) {
			return nil
		}
		if n, limit := len(l.Name), int(a.job.LabelNameLengthLimit); limit > 0 && n > limit {
			return fmt.Errorf("label_name_length_limit of %d exceeded: a label of %.50s has a name of %d bytes, %.50s",
				limit, name, n, l.Name)
		}
		if n, limit := len(l.Value), int(a.job.LabelValueLengthLimit); limit > 0 && n > limit {
			return fmt.Errorf("label_value_length_limit of %d exceeded: the value of label %.50s of %.50s has %d bytes, %.50q",
				limit, l.Name, name, n, l.Value)
		}
		return nil
	})
}

// stale marks a series as gone.
func (a *appender) stale(s *store.Series) { a.batch.AppendStale(s, a.at) }

// reduce brings a histogram to the job's resolution and number of buckets, or
// notes that it cannot be done.
func (a *appender) reduce(h *histogram.FloatHistogram) {
	exponential := histogram.IsExponentialSchemaReserved(h.Schema)
	var err error
	if exponential && h.Schema > a.schema {
		err = h.ReduceResolution(a.schema)
	}
	limit := int(a.job.NativeHistogramBucketLimit)
	for err == nil && limit > 0 && len(h.PositiveBuckets)+len(h.NegativeBuckets) > limit {
		if !exponential || h.Schema <= histogram.ExponentialSchemaMin {
			err = fmt.Errorf("native_histogram_bucket_limit of %d exceeded", limit)
			break
		}
		err = h.ReduceResolution(h.Schema - 1)
	}
	if err != nil {
		a.failure = request.NewError("histogram_limit", err)
	}
}

// schemaOf returns the finest schema whose buckets grow by at least factor.
func schemaOf(factor float64) int32 {
	if factor <= 1 {
		return histogram.ExponentialSchemaMax
	}
	schema := math.Floor(-math.Log2(math.Log2(factor)))
	return int32(min(max(schema, float64(histogram.ExponentialSchemaMin)), float64(histogram.ExponentialSchemaMax)))
}
