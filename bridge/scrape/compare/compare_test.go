package compare

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	promscrape "github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"

	"github.com/promscope/promscope/bridge/scrape"
	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/bridge/store"
)

// serveEnv makes the test binary an exporter of that many series, so that what
// serving costs is not counted.
const serveEnv = "COMPARE_SERVE_SERIES"

// interval leaves each of the contestants time enough.
func interval(series int) time.Duration { return time.Duration(series) * 10 * time.Microsecond }

func TestMain(m *testing.M) {
	if n, err := strconv.Atoi(os.Getenv(serveEnv)); err == nil {
		serve(n)
		return
	}
	os.Exit(m.Run())
}

func serve(series int) {
	body := synthetic(series)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(body)
	z.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(ln.Addr())
	go func() {
		// Until the parent is gone.
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	panic(http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		answer := body
		if strings.Contains(req.Header.Get("Accept-Encoding"), "gzip") {
			w.Header().Set("Content-Encoding", "gzip")
			answer = packed.Bytes()
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		_, _ = w.Write(answer)
	})))
}

// exporter starts one in a process of its own and returns its address.
func exporter(b *testing.B, series int) string {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", serveEnv, series))
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func synthetic(series int) []byte {
	var b bytes.Buffer
	for f := range series / 100 {
		name := metric(f)
		fmt.Fprintf(&b, "# HELP %s A counter of the %dth kind, as exporters have them.\n# TYPE %s counter\n", name, f, name)
		for i := range 100 {
			fmt.Fprintf(&b, "%s{device=\"dev%d\",direction=\"%s\",path=\"/api/v1/resource/%d\"} %d\n",
				name, i%10, []string{"in", "out"}[i%2], i, f*i*17+i)
		}
	}
	return b.Bytes()
}

func metric(family int) string { return fmt.Sprintf("synthetic_subsystem_metric_%04d_total", family) }

// wanted are the metrics of 1 % of the series.
func wanted(series int) (names []string) {
	for f := 50; f < series/100; f += 100 {
		names = append(names, metric(f))
	}
	return names
}

func BenchmarkScrape(b *testing.B) {
	for _, series := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(series), func(b *testing.B) {
			addr := exporter(b, series)
			// What the pace costs: a process that is idle in between is woken.
			b.Run("nothing", func(b *testing.B) { measure(b, series, paced(interval(series), func() {})) })
			b.Run("discard", func(b *testing.B) { measure(b, series, discard(b, addr, series)) })
			b.Run("promscope", func(b *testing.B) { measure(b, series, promscope(b, addr, series)) })
			b.Run("prometheus", func(b *testing.B) { measure(b, series, prometheusManager(b, addr, series, false)) })
			b.Run("prometheus-gzip", func(b *testing.B) { measure(b, series, prometheusManager(b, addr, series, true)) })
			b.Run("expfmt", func(b *testing.B) { measure(b, series, parseText(b, addr, series)) })
		})
	}
}

// measure reports the CPU time of scrape, which does one scrape or waits for
// one to be done.
func measure(b *testing.B, series int, scrape func()) {
	for range 5 {
		scrape()
	}
	before := cpuTime(b)
	for b.Loop() {
		scrape()
	}
	per := float64(cpuTime(b)-before) / float64(b.N)
	b.ReportMetric(per/1000, "cpu-µs/scrape")
	b.ReportMetric(per/float64(series), "cpu-ns/series")
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func get(b *testing.B, addr string, read func(io.Reader)) {
	req, err := http.NewRequest(http.MethodGet, "http://"+addr+"/metrics", http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	read(resp.Body)
	resp.Body.Close()
}

func discard(b *testing.B, addr string, series int) func() {
	return paced(interval(series), func() {
		get(b, addr, func(r io.Reader) { _, _ = io.Copy(io.Discard, r) })
	})
}

func parseText(b *testing.B, addr string, series int) func() {
	return paced(interval(series), func() {
		get(b, addr, func(r io.Reader) {
			p := expfmt.NewTextParser(model.UTF8Validation)
			if _, err := p.TextToMetricFamilies(r); err != nil {
				b.Fatal(err)
			}
		})
	})
}

// paced does f once an interval, as the managers do.
func paced(interval time.Duration, f func()) func() {
	next := time.Now()
	return func() {
		time.Sleep(time.Until(next))
		next = time.Now().Add(interval)
		f()
	}
}

func group(addr string) []*targetgroup.Group {
	return []*targetgroup.Group{{Source: "x", Targets: []model.LabelSet{{model.AddressLabel: model.LabelValue(addr)}}}}
}

func promscope(b *testing.B, addr string, series int) func() {
	list := []store.Selector{{Rule: 1, Window: 5 * time.Second, Matchers: []*labels.Matcher{
		labels.MustNewMatcher(labels.MatchEqual, labels.MetricName, "up"),
	}}}
	for _, name := range wanted(series) {
		list = append(list, store.Selector{Window: 5 * time.Second, Matchers: []*labels.Matcher{
			labels.MustNewMatcher(labels.MatchEqual, labels.MetricName, name),
		}})
	}
	done := make(chan struct{}, 1000)
	sel := store.NewSelection(list)
	st := store.New(sel, store.Options{OnCommit: func(store.Commit) { done <- struct{}{} }}, nil)
	own := job.DefaultConfig(job.DefaultGlobal())
	own.JobName, own.ScrapeInterval = "j", model.Duration(interval(series))
	if err := own.Validate(); err != nil {
		b.Fatal(err)
	}
	m, err := scrape.NewManager([]*job.Config{&own}, st, sel, scrape.Options{}, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		b.Fatal(err)
	}
	sets := make(chan map[string][]*targetgroup.Group, 1)
	sets <- map[string][]*targetgroup.Group{"j": group(addr)}
	run(b, func(ctx context.Context) { _ = m.Run(ctx, sets) })
	b.Cleanup(func() {
		if t := m.Targets()[0]; t.Samples != series || t.Kept != series/100 {
			b.Errorf("%+v", t)
		}
	})
	return func() { <-done }
}

// prometheusManager asks for gzip or not; it does by default.
func prometheusManager(b *testing.B, addr string, series int, gzip bool) func() {
	cfg, err := config.Load(fmt.Sprintf(`
scrape_configs:
  - job_name: j
    scrape_interval: %s
    scrape_timeout: %s
    enable_compression: %t
    metric_relabel_configs:
      - {source_labels: [__name__], regex: '%s', action: keep}
`, model.Duration(interval(series)), model.Duration(interval(series)), gzip, strings.Join(wanted(series), "|")), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	app := &counting{done: make(chan int, 1000)}
	m, err := promscrape.NewManager(nil, slog.New(slog.DiscardHandler), nil, sink{app}, nil, prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	if err := m.ApplyConfig(cfg); err != nil {
		b.Fatal(err)
	}
	sets := make(chan map[string][]*targetgroup.Group, 1)
	sets <- map[string][]*targetgroup.Group{"j": group(addr)}
	run(b, func(ctx context.Context) {
		context.AfterFunc(ctx, m.Stop)
		_ = m.Run(sets)
	})
	return func() {
		// The samples kept, and the five that a scrape has about itself.
		if n := <-app.done; n != series/100+5 {
			b.Errorf("%d samples appended", n)
		}
	}
}

// run runs f until the benchmark ends.
func run(b *testing.B, f func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(ctx)
	}()
	b.Cleanup(func() {
		cancel()
		<-done
	})
}

// sink is a storage that costs nothing.
type sink struct{ app *counting }

func (s sink) Appender(context.Context) storage.Appender {
	s.app.n = 0
	return s.app
}

// counting is its appender. Methods that it lacks are not called.
type counting struct {
	storage.Appender
	done chan int
	n    int
	refs storage.SeriesRef
}

func (*counting) SetOptions(*storage.AppendOptions) {}
func (*counting) Rollback() error                   { return nil }

func (c *counting) Commit() error {
	c.done <- c.n
	return nil
}

func (c *counting) Append(ref storage.SeriesRef, _ labels.Labels, _ int64, v float64) (storage.SeriesRef, error) {
	if ref == 0 {
		c.refs++
		ref = c.refs
	}
	if !math.IsNaN(v) {
		c.n++
	}
	return ref, nil
}
