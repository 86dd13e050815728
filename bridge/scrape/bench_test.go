package scrape

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/bridge/exposition"
	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/bridge/store"
)

// generated is an exposition of families of 100 series each.
func generated(series int) []byte {
	var b bytes.Buffer
	for f := range series / 100 {
		name := fmt.Sprintf("synthetic_subsystem_metric_%04d_total", f)
		fmt.Fprintf(&b, "# HELP %s A counter of the %dth kind, as exporters have them.\n# TYPE %s counter\n", name, f, name)
		for i := range 100 {
			fmt.Fprintf(&b, "%s{device=\"dev%d\",direction=\"%s\",path=\"/api/v1/resource/%d\"} %d\n",
				name, i%10, []string{"in", "out"}[i%2], i, f*i*17+i)
		}
	}
	return b.Bytes()
}

// protobuf is a text exposition in protobuf.
func protobuf(tb testing.TB, text []byte) []byte {
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		tb.Fatal(err)
	}
	var b bytes.Buffer
	enc := expfmt.NewEncoder(&b, expfmt.NewFormat(expfmt.TypeProtoDelim))
	for _, line := range strings.Split(string(text), "\n") {
		if name, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, _, _ = strings.Cut(name, " ")
			if err := enc.Encode(families[name]); err != nil {
				tb.Fatal(err)
			}
		}
	}
	return b.Bytes()
}

type input struct {
	name      string
	text      []byte
	series    int
	selection []store.Selector // 1 % of the series
}

func inputs(tb testing.TB) []input {
	selector := func(name string, window time.Duration) store.Selector {
		return store.Selector{Window: window, Matchers: []*labels.Matcher{
			labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, name),
		}}
	}
	some := func(series int) (list []store.Selector) {
		for f := 50; f < series/100; f += 100 {
			list = append(list, selector(fmt.Sprintf("synthetic_subsystem_metric_%04d_total", f), time.Minute))
		}
		return list
	}
	return []input{
		{"node_exporter", recorded(tb, "node_exporter.txt"), 532, []store.Selector{
			selector("node_load1", time.Minute), selector("node_memory_MemAvailable_bytes", time.Minute),
			selector("node_memory_MemTotal_bytes", time.Minute), selector("node_boot_time_seconds", time.Minute),
			selector("node_forks_total", time.Minute),
		}},
		{"10k", generated(10_000), 10_000, some(10_000)},
		{"100k", generated(100_000), 100_000, some(100_000)},
	}
}

// BenchmarkParse measures parsing and selecting, from memory, in the steady
// state.
func BenchmarkParse(b *testing.B) {
	for _, in := range inputs(b) {
		b.Run(in.name, func(b *testing.B) {
			b.Run("newlines", func(b *testing.B) { perSeries(b, in, func() { newlines(in.text) }) })
			b.Run("text", func(b *testing.B) { benchFilter(b, in, in.text, exposition.MediaText) })
			b.Run("protobuf", func(b *testing.B) { benchFilter(b, in, protobuf(b, in.text), exposition.MediaProto) })
			b.Run("textparse", func(b *testing.B) {
				sel := store.NewSelection(in.selection)
				perSeries(b, in, func() { selectAfter(b, in.text, sel) })
			})
			b.Run("expfmt", func(b *testing.B) {
				sel := store.NewSelection(in.selection)
				perSeries(b, in, func() { selectExpfmt(b, in.text, sel) })
			})
		})
	}
}

// perSeries reports CPU time, which other load on the machine disturbs less
// than it does elapsed time.
func perSeries(b *testing.B, in input, f func()) {
	b.ReportAllocs()
	before := cpuTime(b)
	for b.Loop() {
		f()
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N)/float64(in.series), "cpu-ns/series")
}

// BenchmarkSelected measures the steady state where rules take all series: of lines that
// the cache knows, and of the same ones in a form that only the parser knows.
func BenchmarkSelected(b *testing.B) {
	in := input{series: 10_000, text: generated(10_000)}
	b.Run("known", func(b *testing.B) {
		scrape, _ := scrapeOf(b, in.text, exposition.MediaText, matching(labels.MatchRegexp, "synthetic_.*", "", ""))
		perSeries(b, in, scrape)
	})
	b.Run("parsed", func(b *testing.B) {
		odd := bytes.ReplaceAll(in.text, []byte("} "), []byte("}  "))
		scrape, _ := scrapeOf(b, odd, exposition.MediaText, matching(labels.MatchRegexp, "synthetic_.*", "", ""))
		perSeries(b, in, scrape)
	})
}

func cpuTime(tb testing.TB) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// newlines is the floor: nothing that reads lines can do less.
func newlines(text []byte) (n int) {
	for i := 0; ; n++ {
		k := bytes.IndexByte(text[i:], '\n')
		if k < 0 {
			return n
		}
		i += k + 1
	}
}

// bench is a target without a network.
func benchTarget(in input) (*appender, *store.Selection) {
	sel := store.NewSelection(in.selection)
	own := job.DefaultConfig(job.DefaultGlobal())
	t := &job.Target{Job: &own, Public: labels.FromStrings("job", "j", "instance", "i"), Interval: time.Second}
	return newAppender(t, &shared{store: store.New(sel, store.Options{}, nil), sel: sel}), sel
}

// scrapeOnce returns a function that scrapes an exposition, of which want are wanted.
func scrapeOnce(tb testing.TB, app *appender, want func([]byte) bool) func(at time.Time, body []byte, mediaType string) {
	var (
		r   exposition.Reader
		src bytes.Reader
	)
	return func(at time.Time, body []byte, mediaType string) {
		src.Reset(body)
		app.begin(at)
		r.Reset(&src, mediaType, exposition.Options{Parser: app.job.ParserOptions(), WantName: want, Labels: app.labels, Take: app.take})
		if err := app.exposition(context.Background(), &r); err != nil {
			tb.Fatal(err)
		}
		app.cache.succeed(app.stale)
		app.batch.Commit(at, time.Second)
	}
}

func benchFilter(b *testing.B, in input, body []byte, media string) {
	app, sel := benchTarget(in)
	at := time.Unix(1_700_000_000, 0)
	once := scrapeOnce(b, app, wanted(sel))
	scrape := func() {
		at = at.Add(time.Second)
		once(at, body, media)
		if app.counts.exposed != in.series || app.counts.kept != max(in.series/100, 5) {
			b.Fatalf("counts %+v", app.counts)
		}
	}
	for range 70 { // until the rings have their size
		scrape()
	}
	perSeries(b, in, scrape)
}

func selectAfter(b *testing.B, text []byte, sel *store.Selection) {
	st := store.New(sel, store.Options{}, nil)
	p, err := textparse.New(text, exposition.MediaText, nil, textparse.ParserOptions{})
	if err != nil {
		b.Fatal(err)
	}
	var l labels.Labels
	for {
		kind, err := p.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			b.Fatal(err)
		}
		if kind == textparse.EntrySeries {
			p.Labels(&l)
			st.Series(l)
		}
	}
}

func selectExpfmt(b *testing.B, text []byte, sel *store.Selection) {
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		b.Fatal(err)
	}
	kept := map[string]*dto.MetricFamily{}
	for name, mf := range families {
		if sel.Name([]byte(name)) {
			kept[name] = mf
		}
	}
}
