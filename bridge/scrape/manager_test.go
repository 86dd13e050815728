package scrape_test

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/promscope/promscope/bridge/scrape"
	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/bridge/store"
)

// rig is a manager that runs, with the store behind it.
type rig struct {
	*scrape.Manager
	t        testing.TB
	store    *store.Store
	reg      *prometheus.Registry
	sets     chan map[string][]*targetgroup.Group
	logs     *logs
	stop     func()
	handOver func() // stops it for another manager
}

type logs struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start runs a manager that keeps what the selectors take. Without a network it
// scrapes real sockets.
func start(t testing.TB, n *network, jobs []*job.Config, opts scrape.Options, selectors ...string) *rig {
	t.Helper()
	return follow(t, nil, n, jobs, opts, selectors...)
}

// follow stops a manager and starts one that goes on where it has ended.
func follow(t testing.TB, old *rig, n *network, jobs []*job.Config, opts scrape.Options, selectors ...string) *rig {
	t.Helper()
	var list []store.Selector
	for i, s := range selectors {
		ms, err := parser.NewParser(parser.Options{}).ParseMetricSelector(s)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, store.Selector{Rule: i, Matchers: ms, Window: time.Minute})
	}
	if n != nil {
		opts.Dial = n.dial
	}
	sel := store.NewSelection(list)
	r := &rig{
		t:    t,
		reg:  prometheus.NewPedanticRegistry(),
		sets: make(chan map[string][]*targetgroup.Group, 1),
		logs: &logs{},
	}
	if old == nil {
		r.store = store.New(sel, store.Options{}, r.reg)
	} else {
		old.handOver()
		r.store = old.store
		r.store.Reconfigure(sel, store.Options{})
	}
	for _, job := range jobs {
		if err := job.Validate(); err != nil {
			t.Fatal(err)
		}
	}
	m, err := scrape.NewManager(jobs, r.store, sel, opts, slog.New(slog.NewTextHandler(r.logs, nil)), r.reg)
	if err != nil {
		t.Fatal(err)
	}
	r.Manager = m
	if old != nil {
		m.TakeOver(old.Manager)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := m.Run(ctx, r.sets); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	end := func(cause error) {
		cancel(cause)
		select {
		case <-done:
		case <-time.After(time.Second):
			t.Error("Run goes on a second after it was told to stop")
		}
	}
	r.stop = func() { end(nil) }
	r.handOver = func() { end(scrape.ErrHandedOver) }
	t.Cleanup(r.stop)
	return r
}

// job returns a job that scrapes ten times a second.
func jobNamed(name string) *job.Config {
	c := job.DefaultConfig(job.DefaultGlobal())
	c.JobName = name
	c.ScrapeInterval = model.Duration(100 * time.Millisecond)
	return &c
}

func group(addresses ...string) []*targetgroup.Group {
	g := &targetgroup.Group{}
	for _, a := range addresses {
		g.Targets = append(g.Targets, model.LabelSet{model.AddressLabel: model.LabelValue(a)})
	}
	return []*targetgroup.Group{g}
}

// newest returns the newest sample of each series that the selector takes;
// stale ones are "stale".
func (r *rig) newest(selector string) map[string]string {
	r.t.Helper()
	ms, err := parser.NewParser(parser.Options{}).ParseMetricSelector(selector)
	if err != nil {
		r.t.Fatal(err)
	}
	q, _ := r.store.Querier(0, math.MaxInt64)
	defer q.Close()
	got := map[string]string{}
	set := q.Select(context.Background(), true, nil, ms...)
	for set.Next() {
		it := set.At().Iterator(nil)
		for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
			name := set.At().Labels().String()
			if kind == chunkenc.ValFloatHistogram {
				_, h := it.AtFloatHistogram(nil)
				got[name] = h.String()
			} else if _, v := it.At(); value.IsStaleNaN(v) {
				got[name] = "stale"
			} else {
				got[name] = fmt.Sprint(v)
			}
		}
	}
	return got
}

// eventually waits for the selector to give these newest samples.
func (r *rig) eventually(selector string, want map[string]string) {
	r.t.Helper()
	var diff string
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if diff = cmp.Diff(want, r.newest(selector)); diff == "" {
			return
		}
	}
	r.t.Fatalf("%s (-want +got):\n%s\ntargets: %+v", selector, diff, r.Targets())
}

const text = "text/plain; version=0.0.4"

func TestScrape(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		addr := n.exporter(text, func() string {
			return "# TYPE a gauge\na{x=\"1\"} 1.5\na{x=\"2\"} 2\n# TYPE b counter\nb 3\nother{x=\"y\"} 4\n"
		})
		r := start(t, n, []*job.Config{jobNamed("j")}, scrape.Options{}, `a{x="1"}`, `b`, `up`, `scrape_samples_scraped`)
		r.sets <- map[string][]*targetgroup.Group{"j": group(addr)}
		r.eventually(`{__name__!=""}`, map[string]string{
			`{__name__="a", instance="` + addr + `", job="j", x="1"}`:               "1.5",
			`{__name__="b", instance="` + addr + `", job="j"}`:                      "3",
			`{__name__="up", instance="` + addr + `", job="j"}`:                     "1",
			`{__name__="scrape_samples_scraped", instance="` + addr + `", job="j"}`: "4",
		})
		if !r.Ready() {
			t.Error("not ready after the only target was scraped")
		}
		s := r.Targets()[0]
		if s.Health != scrape.HealthUp || s.Samples != 4 || s.Kept != 2 || s.URL != "http://"+addr+"/metrics" || s.Format != "text/plain" {
			t.Errorf("status: %+v", s)
		}
		if problems, err := testutil.GatherAndLint(r.reg); err != nil || len(problems) > 0 {
			t.Errorf("lint: %v %v", problems, err)
		}
	})
}

func TestStaleMarkers(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		var body atomic.Value
		body.Store("a{i=\"1\"} 1\na{i=\"2\"} 2\n")
		addr := n.exporter(text, func() string { return body.Load().(string) })
		other := n.exporter(text, func() string { return "a{i=\"3\"} 3\n" })
		name := func(addr, i string) string {
			return fmt.Sprintf(`{__name__="a", i="%s", instance="%s", job="j"}`, i, addr)
		}
		r := start(t, n, []*job.Config{jobNamed("j")}, scrape.Options{}, `a`, `up`)
		r.sets <- map[string][]*targetgroup.Group{"j": group(addr, other)}
		r.eventually(`a`, map[string]string{name(addr, "1"): "1", name(addr, "2"): "2", name(other, "3"): "3"})

		body.Store("a{i=\"1\"} 5\n")
		r.eventually(`a`, map[string]string{name(addr, "1"): "5", name(addr, "2"): "stale", name(other, "3"): "3"})
		body.Store("a{i=\"1\"} what\n")
		r.eventually(`a`, map[string]string{name(addr, "1"): "stale", name(addr, "2"): "stale", name(other, "3"): "3"})
		r.eventually(`up{instance="`+addr+`"}`, map[string]string{`{__name__="up", instance="` + addr + `", job="j"}`: "0"})
		body.Store("a{i=\"1\"} 6\n")
		r.eventually(`a`, map[string]string{name(addr, "1"): "6", name(addr, "2"): "stale", name(other, "3"): "3"})

		r.sets <- map[string][]*targetgroup.Group{"j": group(other)}
		r.eventually(`a`, map[string]string{name(addr, "1"): "stale", name(addr, "2"): "stale", name(other, "3"): "3"})
		r.eventually(`up{instance="`+addr+`"}`, map[string]string{`{__name__="up", instance="` + addr + `", job="j"}`: "stale"})

		r.stop()
		if got := r.newest(`a{i="3"}`)[name(other, "3")]; got != "3" {
			t.Errorf("shutdown wrote %q", got)
		}
		for _, want := range []string{`level=WARN msg="Target is down"`, `level=INFO msg="Target is up again"`} {
			if n := strings.Count(r.logs.String(), want); n != 1 {
				t.Errorf("%d lines with %s in\n%s", n, want, r.logs)
			}
		}
	})
}

// TestTroubleStaysAlone has each kind of bad target beside a good one.
func TestTroubleStaysAlone(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		release := make(chan struct{})
		bad := map[string]http.HandlerFunc{
			"timeout": func(_ http.ResponseWriter, req *http.Request) {
				select {
				case <-release:
				case <-req.Context().Done():
				}
			},
			"timeout slow": func(w http.ResponseWriter, req *http.Request) {
				w.Header().Set("Content-Type", text)
				for req.Context().Err() == nil {
					_, _ = io.WriteString(w, "a 1\n")
					w.(http.Flusher).Flush()
					select {
					case <-release:
						return
					case <-time.After(time.Millisecond):
					}
				}
			},
			"body_size_limit": func(w http.ResponseWriter, req *http.Request) {
				w.Header().Set("Content-Type", text)
				line := strings.Repeat("# HELP a "+strings.Repeat("x", 1000)+"\n", 100)
				for req.Context().Err() == nil {
					if _, err := io.WriteString(w, line); err != nil {
						return
					}
				}
			},
			"status": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) },
			"content_type": func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, "<html><body>a 1</body></html>")
			},
			"parse": func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", text)
				_, _ = io.WriteString(w, "a 1\n\x80\xff garbage\n")
			},
			"truncated": func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", text)
				w.Header().Set("Content-Length", "100")
				_, _ = io.WriteString(w, "a 1\n")
			},
			"connection": func(w http.ResponseWriter, _ *http.Request) {
				conn, _, err := w.(http.Hijacker).Hijack()
				if err != nil {
					panic(err)
				}
				conn.Close()
			},
			"encoding": func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", text)
				w.Header().Set("Content-Encoding", "gzip")
				_, _ = io.WriteString(w, "# TYPE a gauge\na 1\n")
			},
		}
		j := jobNamed("bad")
		j.BodySizeLimit = 1 << 20
		var targets []string
		for _, h := range bad {
			targets = append(targets, n.serve(h))
		}
		t.Cleanup(func() { close(release) })
		good := n.exporter(text, func() string { return "a 1\n" })

		r := start(t, n, []*job.Config{j, jobNamed("good")}, scrape.Options{}, `a`, `up`)
		r.sets <- map[string][]*targetgroup.Group{"bad": group(targets...), "good": group(good)}
		for end := time.Now().Add(5 * time.Second); !r.Ready() && time.Now().Before(end); {
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Second)
		for _, s := range r.Targets() {
			if want := map[string]scrape.Health{"good": scrape.HealthUp, "bad": scrape.HealthDown}[s.Job]; s.Health != want {
				t.Errorf("%s is %s: %s", s.URL, s.Health, s.LastError)
			}
		}
		if got := r.newest(`a`); len(got) != 1 {
			t.Errorf("samples of bad targets: %v", got)
		}
		var reasons []string
		families, _ := r.reg.Gather()
		for _, mf := range families {
			for _, m := range mf.GetMetric() {
				switch mf.GetName() {
				case "promscope_scrape_failures_total":
					reasons = append(reasons, m.GetLabel()[1].GetValue())
				case "promscope_scrapes_total":
					if job := m.GetLabel()[0].GetValue(); job == "good" && m.GetCounter().GetValue() < 9 {
						t.Errorf("%v scrapes of the good target in a second", m.GetCounter().GetValue())
					}
				}
			}
		}
		want := []string{"body_size_limit", "connection", "content_type", "encoding", "parse", "status", "timeout", "truncated"}
		if diff := cmp.Diff(want, reasons); diff != "" {
			t.Errorf("reasons (-want +got):\n%s", diff)
		}
		if n := strings.Count(r.logs.String(), "Target is down"); n != len(bad) {
			t.Errorf("%d lines for %d targets that are down:\n%s", n, len(bad), r.logs)
		}
	})
}

func TestRequest(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]http.Header{}
	queries := map[string]string{}
	handler := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		mu.Lock()
		seen[req.URL.Path], queries[req.URL.Path] = req.Header, req.URL.RawQuery
		mu.Unlock()
		w.Header().Set("Content-Type", text)
		if strings.Contains(req.Header.Get("Accept-Encoding"), "gzip") {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = io.WriteString(z, "a 1\n")
			z.Close()
			return
		}
		_, _ = io.WriteString(w, "a 1\n")
	})
	srv := httptest.NewServer(handler)
	t.Cleanup(srv.Close)
	path := filepath.Join(t.TempDir(), "exporter.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	unix := &http.Server{Handler: handler}
	go func() { _ = unix.Serve(ln) }()
	t.Cleanup(func() { unix.Close() })

	loopback, remote, socket := jobNamed("loopback"), jobNamed("remote"), jobNamed("socket")
	loopback.Params = map[string][]string{"collect[]": {"cpu", "meminfo"}}
	loopback.MetricsPath = "/loopback"
	loopback.ScrapeNativeHistograms = true
	loopback.HTTPClientConfig.BasicAuth = &config.BasicAuth{Username: "u", Password: "swordfish"}
	remote.MetricsPath = "/remote"
	socket.MetricsPath = "/socket"
	addr := strings.TrimPrefix(srv.URL, "http://")
	opts := scrape.Options{Dial: func(ctx context.Context, target labels.Labels, network, address string) (net.Conn, error) {
		if target.Get("job") == "remote" {
			if address != "exporter.example:80" {
				t.Errorf("dialed %s for %s", address, target)
			}
			address = addr
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
	r := start(t, nil, []*job.Config{loopback, remote, socket}, opts, `a`)
	r.sets <- map[string][]*targetgroup.Group{
		"loopback": group(addr),
		"remote":   group("exporter.example"),
		"socket":   {{Targets: []model.LabelSet{{"__unix_socket__": model.LabelValue(path)}}}},
	}
	r.eventually(`a`, map[string]string{
		`{__name__="a", instance="` + addr + `", job="loopback"}`:   "1",
		`{__name__="a", instance="exporter.example", job="remote"}`: "1",
		`{__name__="a", instance="` + path + `", job="socket"}`:     "1",
	})
	mu.Lock()
	defer mu.Unlock()
	get := func(path, key string) string { return seen[path].Get(key) }
	for _, c := range [][3]string{
		{"/loopback", "Accept-Encoding", "identity"},
		{"/remote", "Accept-Encoding", "gzip"},
		{"/socket", "Accept-Encoding", "identity"},
		{"/loopback", "User-Agent", scrape.UserAgent()},
		{"/loopback", "X-Prometheus-Scrape-Timeout-Seconds", "0.1"},
		{"/loopback", "Authorization", "Basic dTpzd29yZGZpc2g="},
		{"/remote", "Accept", "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6," +
			"application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4," +
			"text/plain;version=0.0.4;q=0.3,*/*;q=0.2"},
		{"/loopback", "Accept", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6," +
			"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5," +
			"application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3," +
			"text/plain;version=0.0.4;q=0.2,*/*;q=0.1"},
	} {
		if got := get(c[0], c[1]); got != c[2] {
			t.Errorf("%s: %s: %s\nwant %s", c[0], c[1], got, c[2])
		}
	}
	if got := queries["/loopback"]; got != "collect%5B%5D=cpu&collect%5B%5D=meminfo" {
		t.Errorf("query %s", got)
	}
}

func TestOriginFollowsConnection(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		var pid atomic.Int64
		pid.Store(100)
		var asked atomic.Int64
		var drop atomic.Bool
		addr := n.serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if drop.Swap(false) {
				w.Header().Set("Connection", "close")
			}
			w.Header().Set("Content-Type", text)
			_, _ = io.WriteString(w, "a{pid=\"7\"} 1\n")
		}))
		opts := scrape.Options{
			Origin: func(_ context.Context, conn net.Conn) labels.Labels {
				asked.Add(1)
				if conn.RemoteAddr().String() != addr {
					t.Errorf("asked for the origin of %s", conn.RemoteAddr())
				}
				return labels.FromStrings("target_pid", fmt.Sprint(pid.Load()), "job", "not me")
			},
			PIDLabels: []string{"pid"},
			PID: func(_ context.Context, target labels.Labels, label, value string) scrape.PID {
				return scrape.PID{Value: label + value + "of" + target.Get("target_pid")}
			},
		}
		r := start(t, n, []*job.Config{jobNamed("j")}, opts, `a`, `up`)
		r.sets <- map[string][]*targetgroup.Group{"j": group(addr)}
		name := func(metric, pid string) string {
			if metric == "a" {
				return fmt.Sprintf(`{__name__="a", instance="%s", job="j", pid="pid7of%s", target_pid="%s"}`, addr, pid, pid)
			}
			return fmt.Sprintf(`{__name__="up", instance="%s", job="j", target_pid="%s"}`, addr, pid)
		}
		r.eventually(`{__name__!=""}`, map[string]string{name("a", "100"): "1", name("up", "100"): "1"})
		time.Sleep(300 * time.Millisecond)
		if n := asked.Load(); n != 1 {
			t.Errorf("asked %d times about one connection", n)
		}
		pid.Store(200)
		drop.Store(true)
		r.eventually(`{__name__!=""}`, map[string]string{
			name("a", "100"): "stale", name("up", "100"): "stale",
			name("a", "200"): "1", name("up", "200"): "1",
		})
		if got := r.Targets()[0].Labels.Get("target_pid"); got != "200" {
			t.Errorf("status says pid %s", got)
		}
	})
}

// The labels that promscope adds do not count against the job's limits.
func TestOriginIsNotLimited(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		opts := scrape.Options{Origin: func(context.Context, net.Conn) labels.Labels {
			return labels.FromStrings("target_container_id", strings.Repeat("a", 64), "target_pid", "100")
		}}
		addr := n.exporter(text, func() string { return "a{x=\"1\"} 1\n" })
		j := jobNamed("j")
		j.LabelLimit, j.LabelNameLengthLimit, j.LabelValueLengthLimit = 4, 8, 32
		r := start(t, n, []*job.Config{j}, opts, `a`)
		r.sets <- map[string][]*targetgroup.Group{"j": group(addr)}
		r.eventually(`{__name__!=""}`, map[string]string{
			`{__name__="a", instance="` + addr + `", job="j", target_container_id="` + strings.Repeat("a", 64) + `", target_pid="100", x="1"}`: "1",
		})
	})
}

// A process that is not found when the connection is made is found later.
func TestOriginIsAskedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		var asked atomic.Int64
		opts := scrape.Options{Origin: func(context.Context, net.Conn) labels.Labels {
			if asked.Add(1) < 3 {
				return labels.EmptyLabels()
			}
			return labels.FromStrings("target_pid", "100")
		}}
		addr := n.exporter(text, func() string { return "a 1\n" })
		r := start(t, n, []*job.Config{jobNamed("j")}, opts, `a`, `up`)
		r.sets <- map[string][]*targetgroup.Group{"j": group(addr)}
		common := `, instance="` + addr + `", job="j"`
		r.eventually(`{__name__!=""}`, map[string]string{
			`{__name__="a"` + common + `}`:                    "stale",
			`{__name__="up"` + common + `}`:                   "stale",
			`{__name__="a"` + common + `, target_pid="100"}`:  "1",
			`{__name__="up"` + common + `, target_pid="100"}`: "1",
		})
	})
}

func TestInProcess(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		reg := prometheus.NewRegistry()
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "promscope_a", Help: "A."}, []string{"x"})
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "promscope_h", Help: "H.", Buckets: []float64{1}, NativeHistogramBucketFactor: 2})
		classic := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "promscope_c", Help: "C.", Buckets: []float64{1, 5}})
		reg.MustRegister(g, h, classic)
		g.WithLabelValues("1").Set(4)
		h.Observe(3)
		classic.Observe(3)
		hung := make(chan struct{})
		t.Cleanup(func() { close(hung) })
		r := start(t, n, nil, scrape.Options{InProcess: []scrape.InProcess{
			{Name: "mine", Gatherer: reg, Interval: 50 * time.Millisecond, Labels: labels.FromStrings("zone", "z")},
			{Name: "hangs", Gatherer: prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { <-hung; return nil, nil }), Interval: 50 * time.Millisecond},
			{Name: "panics", Gatherer: prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { panic("oh") }), Interval: 50 * time.Millisecond},
		}}, `promscope_a`, `promscope_h`, `promscope_h_bucket`,
			`promscope_c`, `promscope_c_bucket`, `up`)
		common := `, instance="mine", job="promscope"`
		r.eventually(`{__name__!="", instance="mine"}`, map[string]string{
			`{__name__="promscope_a"` + common + `, x="1", zone="z"}`:            "4",
			`{__name__="promscope_h"` + common + `, zone="z"}`:                   `{count:1, sum:3, (2,4]:1}`,
			`{__name__="promscope_h_bucket"` + common + `, le="+Inf", zone="z"}`: "1",
			`{__name__="promscope_h_bucket"` + common + `, le="1.0", zone="z"}`:  "0",
			`{__name__="promscope_c"` + common + `, zone="z"}`:                   `{count:1, sum:3, (1,5]:1}`,
			`{__name__="promscope_c_bucket"` + common + `, le="+Inf", zone="z"}`: "1",
			`{__name__="promscope_c_bucket"` + common + `, le="5.0", zone="z"}`:  "1",
			`{__name__="promscope_c_bucket"` + common + `, le="1.0", zone="z"}`:  "0",
			`{__name__="up"` + common + `, zone="z"}`:                            "1",
		})
		r.eventually(`up{instance!="mine"}`, map[string]string{
			`{__name__="up", instance="hangs", job="promscope"}`:  "0",
			`{__name__="up", instance="panics", job="promscope"}`: "0",
		})
		if !r.Ready() {
			t.Error("not ready")
		}
	})
}

func TestSecretsStayInside(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		j := jobNamed("j")
		j.HTTPClientConfig.Authorization = &config.Authorization{Type: "Bearer", Credentials: "tok-123456"}
		j.Params = map[string][]string{"token": {"par-123456"}, "module": {"tok-123456"}, "x": {"visible"}}
		j.MetricsPath = "/%zz tok-123456"
		addr := n.serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://u:tok-123456@127.0.0.1:1/?token=par-123456")
			w.WriteHeader(http.StatusFound)
		}))
		r := start(t, n, []*job.Config{j}, scrape.Options{}, `up`)
		r.sets <- map[string][]*targetgroup.Group{"j": group(addr)}
		r.eventually(`up`, map[string]string{`{__name__="up", instance="` + addr + `", job="j"}`: "0"})
		time.Sleep(50 * time.Millisecond)
		s := r.Targets()[0]
		s.Discovered = labels.EmptyLabels()
		shown := fmt.Sprintf("%+v\n%s", s, r.logs)
		if s.LastError == "" || !strings.Contains(s.URL, "visible") {
			t.Errorf("status: %+v", s)
		}
		for _, secret := range []string{"tok-123456", "par-123456"} {
			if strings.Contains(shown, secret) {
				t.Errorf("%s is shown in\n%s", secret, shown)
			}
		}
	})
}

func TestShutdownCancelsHangingScrape(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		hanging := make(chan struct{})
		addr := n.serve(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
			close(hanging)
			<-req.Context().Done()
		}))
		j := jobNamed("j")
		j.ScrapeInterval, j.ScrapeTimeout = model.Duration(30*time.Second), model.Duration(30*time.Second)
		r := start(t, n, []*job.Config{j}, scrape.Options{}, `up`)
		r.sets <- map[string][]*targetgroup.Group{"j": group(addr)}
		<-hanging
		began := time.Now()
		r.stop()
		if took := time.Since(began); took > 0 {
			t.Errorf("stopping took %v", took)
		}
	})
}

func TestTargets(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		srv := n.exporter(text, func() string { return "a 1\n" })
		j := jobNamed("j")
		j.TargetLimit = 2
		r := start(t, n, []*job.Config{j}, scrape.Options{}, `up`)
		g := group(srv)
		g[0].Labels = model.LabelSet{"zone": "z"}
		g[0].Targets = append(g[0].Targets,
			model.LabelSet{model.AddressLabel: "http://a/b"},
			model.LabelSet{"x": "y"},
			model.LabelSet{model.AddressLabel: "x", "__scrape_interval__": "0s"},
			g[0].Targets[0], // twice
		)
		r.sets <- map[string][]*targetgroup.Group{"j": g}
		r.eventually(`up`, map[string]string{`{__name__="up", instance="` + srv + `", job="j", zone="z"}`: "1"})
		var errs []string
		for _, d := range r.Dropped() {
			errs = append(errs, d.Error)
		}
		slices.Sort(errs)
		want := []string{`"http://a/b" is not a valid host name`, `no address`, `scrape interval: must not be 0`}
		if diff := cmp.Diff(want, errs); diff != "" {
			t.Errorf("dropped (-want +got):\n%s", diff)
		}
		for i := range 2 {
			g[0].Targets = append(g[0].Targets, model.LabelSet{model.AddressLabel: model.LabelValue(srv), "i": model.LabelValue(fmt.Sprint(i))})
		}
		r.sets <- map[string][]*targetgroup.Group{"j": g}
		rest := `instance="` + srv + `", job="j", zone="z"}`
		r.eventually(`up`, map[string]string{
			`{__name__="up", ` + rest: "0", `{__name__="up", i="0", ` + rest: "0", `{__name__="up", i="1", ` + rest: "0",
		})
		for _, s := range r.Targets() {
			if s.LastError != "target_limit of 2 exceeded: the job has 3 targets" {
				t.Errorf("%s: error %q", s.Labels, s.LastError)
			}
		}
		if n := strings.Count(r.logs.String(), "Target cannot be scraped"); n != len(want) {
			t.Errorf("%d targets were said not to be scraped, want %d, each once", n, len(want))
		}
	})
}
