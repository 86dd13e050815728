package scrape_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/promscope/promscope/bridge/scrape"
	"github.com/promscope/promscope/bridge/scrape/job"
)

// collectors is an exporter in the manner of node_exporter: all metrics, or by
// collect[] those of some collectors; what the exporter says of itself always.
type collectors struct {
	mu       sync.Mutex
	metrics  map[string][]string // collector → metrics
	requests map[string]int      // by query
	byName   bool                // name[] instead of collect[]
	refuses  bool                // with a 400
	ignores  bool
}

func (c *collectors) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests[req.URL.RawQuery]++
	collect, names := req.URL.Query()["collect[]"], req.URL.Query()["name[]"]
	if c.refuses && len(collect)+len(names) > 0 {
		http.Error(w, "unknown parameter", http.StatusBadRequest)
		return
	}
	if c.byName || c.ignores {
		collect = nil
	}
	if !c.byName {
		names = nil
	}
	w.Header().Set("Content-Type", text)
	line := func(metric, labels string) {
		if names == nil || slices.Contains(names, metric) {
			fmt.Fprintf(w, "%s%s 1\n", metric, labels)
		}
	}
	line("go_goroutines", "")
	for _, name := range []string{"cpu", "disk", "load", "net"} {
		if collect != nil && !slices.Contains(collect, name) {
			continue
		}
		if !c.byName {
			line("x_scrape_collector_success", `{collector="`+name+`"}`)
		}
		for _, m := range c.metrics[name] {
			for i := range 10 {
				line(m, fmt.Sprintf(`{i="%d"}`, i))
			}
		}
	}
}

func (c *collectors) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	clear(c.requests)
}

func startNarrow(t *testing.T, n *network, c *collectors, selectors ...string) (r *rig, addr string) {
	t.Helper()
	c.requests = map[string]int{}
	if c.metrics == nil {
		c.metrics = map[string][]string{"cpu": {"x_cpu"}, "disk": {"x_disk", "x_io"}, "load": {"x_load"}, "net": {"x_net"}}
	}
	addr = n.serve(c)
	j := jobNamed("j")
	j.Narrow = true
	r = start(t, n, []*job.Config{j}, scrape.Options{}, selectors...)
	r.sets <- map[string][]*targetgroup.Group{"j": group(addr)}
	return r, addr
}

// eventuallyNarrowed waits for the target's status.
func (r *rig) eventuallyNarrowed(want scrape.Narrowed) {
	r.t.Helper()
	var diff string
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if all := r.Targets(); len(all) == 1 && all[0].Narrowed != nil {
			if diff = cmp.Diff(want, *all[0].Narrowed); diff == "" {
				return
			}
		}
	}
	r.t.Fatalf("narrowed (-want +got):\n%s", diff)
}

func TestNarrowByCollector(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		c := &collectors{}
		r, _ := startNarrow(t, n, c, `x_cpu{i="3"}`, `x_io`, `go_goroutines`, `up`, `absent`)
		r.eventuallyNarrowed(scrape.Narrowed{
			Query:         "collect%5B%5D=cpu&collect%5B%5D=disk",
			SamplesBefore: 55, BytesBefore: 962, SamplesAfter: 33, BytesAfter: 559,
		})
		if n := len(r.newest(`{__name__=~"x_cpu|x_io|go_goroutines"}`)); n != 12 {
			t.Errorf("%d series", n)
		}
		for _, g := range []struct {
			metric string
			want   float64
		}{{"promscope_scrape_narrow_series", 55 + 33}, {"promscope_scrape_narrow_bytes", 962 + 559}} {
			if got := sumOf(t, r, g.metric); got != g.want {
				t.Errorf("%s is %v", g.metric, got)
			}
		}
		if problems, err := testutil.GatherAndLint(r.reg); err != nil || len(problems) > 0 {
			t.Errorf("lint: %v %v", problems, err)
		}

		// A metric that a collector does not give any more: all is asked for once.
		c.change(func() { c.metrics["disk"] = []string{"x_disk"} })
		r.eventually(`x_io{i="1"}`, map[string]string{fmt.Sprintf(`{__name__="x_io", i="1", instance="%s", job="j"}`, r.Targets()[0].Labels.Get("instance")): "stale"})
		time.Sleep(300 * time.Millisecond)
		c.change(func() {
			if c.requests[""] != 1 {
				t.Errorf("requests: %v", c.requests)
			}
			// One that moves to another collector: it is found again.
			c.metrics["disk"], c.metrics["net"] = []string{"x_disk"}, []string{"x_net", "x_cpu"}
			c.metrics["cpu"] = nil
		})
		r.eventuallyNarrowed(scrape.Narrowed{
			Query:         "collect%5B%5D=net",
			SamplesBefore: 45, BytesBefore: 822, SamplesAfter: 22, BytesAfter: 362,
		})
		if got := r.newest(`x_cpu{i="3"}`); len(got) != 1 || slices.Contains(slices.Collect(maps.Values(got)), "stale") {
			t.Errorf("x_cpu: %v", got)
		}
	})
}

func TestNarrowByName(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		c := &collectors{byName: true}
		r, _ := startNarrow(t, n, c, `x_cpu`, `x_latency_bucket`, `up`)
		r.eventuallyNarrowed(scrape.Narrowed{
			Query:         "name%5B%5D=x_cpu&name%5B%5D=x_latency_bucket&name%5B%5D=x_latency",
			SamplesBefore: 51, BytesBefore: 776, SamplesAfter: 10, BytesAfter: 150,
		})
	})
}

func TestNarrowIsGivenUp(t *testing.T) {
	for _, c := range []struct {
		exporter *collectors
		selector string
		want     scrape.Narrowed
	}{
		{&collectors{refuses: true}, `x_cpu`, scrape.Narrowed{
			Reason: "the target refuses it: server returned HTTP status 400 Bad Request", SamplesBefore: 55, BytesBefore: 962}},
		{&collectors{ignores: true}, `x_cpu`, scrape.Narrowed{
			Reason: "the target does not know the parameters", SamplesBefore: 55, BytesBefore: 962}},
		{&collectors{}, `{__name__=~"x_.+"}`, scrape.Narrowed{
			Reason: "a rule takes metrics of more than one name", SamplesBefore: 55, BytesBefore: 962}},
		{&collectors{}, `y`, scrape.Narrowed{
			Reason: "no rule takes a series of it", SamplesBefore: 55, BytesBefore: 962}},
	} {
		t.Run(c.want.Reason, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *network) {
				r, addr := startNarrow(t, n, c.exporter, c.selector, `up`)
				r.eventuallyNarrowed(c.want)
				r.eventually(`up`, map[string]string{`{__name__="up", instance="` + addr + `", job="j"}`: "1"})
				time.Sleep(150 * time.Millisecond)
				c.exporter.change(func() {})
				time.Sleep(500 * time.Millisecond)
				c.exporter.change(func() {
					if n := len(c.exporter.requests); n != 1 || c.exporter.requests[""] < 3 {
						t.Errorf("requests: %v", c.exporter.requests)
					}
				})
				if down := strings.Contains(r.logs.String(), "down"); down {
					t.Errorf("logged:\n%s", r.logs)
				}
			})
		})
	}
}

// All that is read of expositions is counted, also while the narrower learns and where it
// asks for all again.
func TestNarrowCountsBytes(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		c := &collectors{requests: map[string]int{}, metrics: map[string][]string{"cpu": {"x_cpu"}, "disk": {"x_disk"}}}
		written := 0
		addr := n.serve(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			answer := httptest.NewRecorder()
			c.ServeHTTP(answer, req)
			written += answer.Body.Len()
			w.Header().Set("Content-Type", text)
			_, _ = answer.Body.WriteTo(w)
		}))
		j := jobNamed("j")
		j.Narrow = true
		r := start(t, n, []*job.Config{j}, scrape.Options{}, `x_cpu`)
		r.sets <- map[string][]*targetgroup.Group{"j": group(addr)}
		time.Sleep(time.Second)
		c.change(func() { c.metrics["cpu"] = nil })
		time.Sleep(time.Second)
		r.stop()
		if got := sumOf(t, r, "promscope_scrape_body_bytes_total"); got != float64(written) {
			t.Errorf("%v bytes, but the exporter wrote %d", got, written)
		}
	})
}

// An exporter that refuses once, as one does that is busy, is asked for less again when it is
// time to learn.
func TestNarrowIsTriedAgain(t *testing.T) {
	for _, selectors := range [][]string{{`x_cpu`}, {`x_cpu`, `x_scrape_collector_success`}} {
		bubble(t, func(t *testing.T, n *network) {
			c := &collectors{}
			r, _ := startNarrow(t, n, c, selectors...)
			want := scrape.Narrowed{
				Query:         "collect%5B%5D=cpu",
				SamplesBefore: 55, BytesBefore: 962, SamplesAfter: 12, BytesAfter: 212,
			}
			r.eventuallyNarrowed(want)
			c.change(func() { c.refuses = true })
			time.Sleep(time.Second)
			if got := r.Targets()[0].Narrowed; got.Query != "" || !strings.Contains(got.Reason, "refuses") {
				t.Errorf("refused: %+v", got)
			}
			c.change(func() { c.refuses = false })
			time.Sleep(10 * time.Minute)
			r.eventuallyNarrowed(want)
		})
	}
}

func TestNarrowNeedsNames(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		j := jobNamed("j")
		j.Narrow = true
		j.MetricRelabelConfigs = []*relabel.Config{{
			Action: relabel.Replace, TargetLabel: "__name__", Replacement: "x", Separator: ";", Regex: relabel.MustNewRegexp("(.*)"),
		}}
		addr := n.exporter(text, func() string { return "a 1\n" })
		r := start(t, n, []*job.Config{j}, scrape.Options{}, `x`)
		r.sets <- map[string][]*targetgroup.Group{"j": group(addr)}
		r.eventuallyNarrowed(scrape.Narrowed{Reason: "metric_relabel_configs can write __name__", SamplesBefore: 1, BytesBefore: 4})
		r.eventually(`x`, map[string]string{`{__name__="x", instance="` + addr + `", job="j"}`: "1"})
	})
}

func sumOf(t *testing.T, r *rig, metric string) (sum float64) {
	t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, mf := range families {
		for _, m := range mf.GetMetric() {
			if mf.GetName() == metric {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return sum
}
