package http

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
)

// web returns a server that has answered two requests, in a second each. Process 1 was idle the longest.
func web(pid uint32, exited time.Duration) counted {
	c := counted{owner{TGID: pid, Role: roleServer, StartTime: uint64(pid)}, &process{
		Started: 2, Last: uint64(pid), Sum: 2e9, Exited: uint64(exited), Comm: [16]byte{'w', 'e', 'b'},
	}}
	c.Buckets[3], c.Codes[1] = 2, 2
	return c
}

func pids(all []counted) (pids []uint32) {
	for _, c := range all {
		pids = append(pids, c.TGID)
	}
	return pids
}

func TestInFlightOf(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*process)
		want   uint64
	}{
		{"all answered", func(*process) {}, 0},
		{"of six, two answered, one ended, one withdrawn", func(p *process) { p.Started, p.Unanswered, p.Withdrawn = 6, 1, 1 }, 2},
		{"an answer that was pipelined", func(p *process) { p.Started, p.Pipelined = 3, 1 }, 1},
		{"an answer whose request is not there yet", func(p *process) { p.Started = 1 }, 0},
	} {
		p := web(1, 0).process
		tt.change(p)
		if got := p.inFlight(); got != tt.want {
			t.Errorf("%s: %d", tt.name, got)
		}
	}
}

func TestExited(t *testing.T) {
	r := retention{keep: time.Minute, most: 16}
	exited := 10 * time.Second
	all := []counted{web(1, exited), web(2, 0)}
	for _, tt := range []struct {
		now      time.Duration
		reported []uint32
		gone     int
	}{
		{exited + time.Minute - 1, []uint32{1, 2}, 0},
		{exited + time.Minute, []uint32{2}, 1},
	} {
		if got := pids(r.reported(all, tt.now)); !slices.Equal(got, tt.reported) {
			t.Errorf("at %s: reported %v", tt.now, got)
		}
		gone, evicted := r.gone(all, tt.now, false)
		if len(gone) != tt.gone || evicted != 0 || tt.gone > 0 && gone[0].TGID != 1 {
			t.Errorf("at %s: gone %v, %d evicted", tt.now, gone, evicted)
		}
	}
}

// TestFull keeps processes that have exited only while there is room, and those that live anyway.
func TestFull(t *testing.T) {
	r := retention{keep: time.Hour, most: 32}
	exited := time.Minute
	var all []counted
	for pid := range uint32(28) {
		var at time.Duration
		if pid < 6 {
			at = exited - time.Duration(pid) // the last of them exited first
		}
		all = append(all, web(pid, at))
	}
	if gone, _ := r.gone(all, exited+keepAtLeast-6, false); len(gone) != 0 {
		t.Errorf("gone %v, of which no gather may have the last counts", gone)
	}
	gone, _ := r.gone(all, exited+keepAtLeast, false)
	slices.SortFunc(gone, func(a, b owner) int { return int(a.TGID) - int(b.TGID) })
	if len(gone) != 4 || gone[0].TGID != 2 || gone[3].TGID != 5 {
		t.Errorf("gone %v, and then a quarter of all are free", gone)
	}
	for i := range all {
		all[i].Exited = 0
	}
	if gone, _ := r.gone(all, exited, false); len(gone) != 0 {
		t.Errorf("taken from processes that live: %v", gone)
	}
}

func TestReusedPIDOf(t *testing.T) {
	r := retention{keep: time.Hour, most: 4}
	first, second, client := web(7, 1), web(7, 0), web(7, 1)
	second.StartTime, client.Role = 8, roleClient
	got := r.reported([]counted{first, second, client}, 5)
	if len(got) != 2 || got[0].StartTime != 8 || got[1].Role != roleClient {
		t.Errorf("%+v", got)
	}
}

func TestEviction(t *testing.T) {
	r := retention{keep: time.Hour, most: 32}
	var all []counted
	for pid := uint32(32); pid > 0; pid-- {
		all = append(all, web(pid, 0))
	}
	gone, evicted := r.gone(all, 0, true)
	if evicted != 2 || len(gone) != 2 || gone[0].TGID != 1 || gone[1].TGID != 2 {
		t.Errorf("%d evicted: %v", evicted, gone)
	}
	all[31].Started = 3
	if gone, evicted := r.gone(all, 0, true); evicted != 2 || gone[0].TGID != 2 || gone[1].TGID != 3 {
		t.Errorf("%d evicted: %v, of which one has a request that waits", evicted, gone)
	}
	for i := range all {
		all[i].Started = 3
	}
	if gone, evicted := r.gone(all, 0, true); evicted != 2 || gone[0].TGID != 1 || gone[1].TGID != 2 {
		t.Errorf("%d evicted: %v, and a request waits in each process", evicted, gone)
	}
	all[0].Exited = uint64(time.Second)
	if gone, evicted := r.gone(all, time.Minute, true); evicted != 0 || len(gone) != 1 {
		t.Errorf("%d evicted although one has exited: %v", evicted, gone)
	}
}

func TestBounds(t *testing.T) {
	all := bounds()
	if !slices.IsSorted(all[:]) {
		t.Error("not ascending:", all)
	}
	if all[0] != 90*time.Microsecond || all[bucketBounds-1] != 9*time.Second {
		t.Errorf("from %v to %v", all[0], all[bucketBounds-1])
	}
	// A round latency lies in the middle of its bucket, to 3 %.
	for _, round := range []time.Duration{1, 2, 5, 10, 20, 50, 100, 200, 500} {
		round *= time.Millisecond
		i, _ := slices.BinarySearch(all[:], round)
		middle := (all[i-1] + all[i]) / 2
		if off := math.Abs(float64(middle-round) / float64(round)); off > 0.03 {
			t.Errorf("%v is in (%v, %v], whose middle is off by %.3f", round, all[i-1], all[i], off)
		}
	}
}

// fakeCollector collects from counters that no kernel has counted.
type fakeCollector struct {
	series *series
	all    []counted
	rare   map[rareCode]uint64
}

func (c fakeCollector) Describe(ch chan<- *prometheus.Desc) { c.series.describe(ch) }

func (c fakeCollector) Collect(ch chan<- prometheus.Metric) {
	metrics, err := c.series.processes(c.all, func(each func(rareCode, *uint64)) error {
		for code, n := range c.rare {
			each(code, &n)
		}
		return nil
	}, true)
	if err != nil {
		panic(err) // the fake has none
	}
	for _, m := range append(metrics, c.series.own(map[string]uint64{"processes": 1})...) {
		ch <- m
	}
}

func TestSeries(t *testing.T) {
	p := web(1, 0)
	p.Buckets[0] += 3
	other := p.owner
	other.StartTime++ // the last process with that pid
	c := fakeCollector{newSeries(), []counted{p}, map[rareCode]uint64{{Owner: p.owner, Code: 299}: 2, {Owner: other, Code: 298}: 2}}
	if err := testutil.CollectAndCompare(c, strings.NewReader(`
# HELP promscope_http_requests_total HTTP requests that the process has answered.
# TYPE promscope_http_requests_total counter
promscope_http_requests_total{comm="web",pid="1"} 5
# HELP promscope_http_responses_total HTTP responses that the process has sent, without interim ones.
# TYPE promscope_http_responses_total counter
promscope_http_responses_total{code="200",comm="web",pid="1"} 2
promscope_http_responses_total{code="299",comm="web",pid="1"} 2
promscope_http_responses_total{code="other",comm="web",pid="1"} 1
# HELP promscope_http_requests_in_flight HTTP requests that the process has read and not answered yet.
# TYPE promscope_http_requests_in_flight gauge
promscope_http_requests_in_flight{comm="web",pid="1"} 0
# HELP promscope_http_connections_lost_total Connections that could not be tracked.
# TYPE promscope_http_connections_lost_total counter
promscope_http_connections_lost_total{reason="limit"} 0
promscope_http_connections_lost_total{reason="memory"} 0
# HELP promscope_http_processes Processes that are tracked, servers and clients.
# TYPE promscope_http_processes gauge
promscope_http_processes 1
`), "promscope_http_requests_total", "promscope_http_responses_total", "promscope_http_requests_in_flight",
		"promscope_http_connections_lost_total", "promscope_http_processes"); err != nil {
		t.Error(err)
	}
	problems, err := testutil.CollectAndLint(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var duration *dto.Histogram
	for _, family := range families {
		if family.GetName() == "promscope_http_request_duration_seconds" {
			duration = family.GetMetric()[0].GetHistogram()
		}
	}
	if duration.GetSampleCount() != 5 || duration.GetSampleSum() != 2 || len(duration.GetBucket()) != bucketBounds {
		t.Errorf("%v", duration)
	}
	if first := duration.GetBucket()[0]; first.GetUpperBound() != 0.00009 || first.GetCumulativeCount() != 3 {
		t.Errorf("%v", first)
	}
}

// BenchmarkGather gathers a collector whose kernel has counted for n processes.
func BenchmarkGather(b *testing.B) {
	for _, n := range []int{10, 1000, 10000} {
		b.Run(fmt.Sprintf("processes=%d", n), func(b *testing.B) {
			c := newCollector(b, Options{MaxProcesses: n + 1024})
			for pid := range uint32(n) {
				p := web(pid, 0)
				if err := c.Programs.Collection.Maps[mapProcesses].Put(p.owner, *p.process); err != nil {
					b.Fatal(err)
				}
			}
			registry := prometheus.NewRegistry()
			registry.MustRegister(c)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := registry.Gather(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("collect/processes=%d", n), func(b *testing.B) {
			c := newCollector(b, Options{MaxProcesses: n + 1024})
			for pid := range uint32(n) {
				p := web(pid, 0)
				if err := c.Programs.Collection.Maps[mapProcesses].Put(p.owner, *p.process); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Reader.Read(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
