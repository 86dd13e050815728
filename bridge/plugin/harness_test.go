package plugin

import (
	"bytes"
	"log/slog"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/promscope/promscope/bridge/plugin/probetest"
	"github.com/promscope/promscope/mapping"
)

const (
	containerID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	podUID      = "01234567-89ab-cdef-0123-456789abcdef"
)

func start() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

func second(n int) time.Time { return start().Add(time.Duration(n) * time.Second) }

func options() Options {
	return Options{
		ID: "promscope", Label: "promscope", Description: "Prometheus metrics on Scope's nodes", Host: "vm",
		MaxSamples: 15, MaxAge: time.Minute, MaxNodes: 20_000, MaxBytes: 16 << 20,
	}
}

var (
	iowait = mapping.Template{ID: "promscope_cpu_iowait", Label: "CPU iowait", Format: mapping.FormatPercent, Priority: 2.5}
	load   = mapping.Template{ID: "node_load", Label: "Load", Priority: 2.6}
	heap   = mapping.Template{ID: "go_heap", Label: "Heap", Format: mapping.FormatFilesize, Priority: 2.5}
	fds    = mapping.Template{ID: "process_fds", Label: "Open files", Format: mapping.FormatInteger, Priority: 2.6}
)

func templates() map[mapping.Topology][]mapping.Template {
	return map[mapping.Topology][]mapping.Template{
		mapping.Host:    {iowait, load},
		mapping.Process: {heap, fds},
	}
}

// harness is a report whose every publication is checked against the contract.
type harness struct {
	*testing.T
	*Report
	reg     *prometheus.Registry
	checker *probetest.Checker
	now     time.Time
	log     *bytes.Buffer
}

func newHarness(t *testing.T, opts Options) *harness {
	t.Helper()
	h := &harness{T: t, reg: prometheus.NewRegistry(), now: start(), log: &bytes.Buffer{}}
	logger := slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	h.Report = NewReport(opts, templates(), logger, h.reg)
	h.newChecker()
	h.check()
	return h
}

// newChecker forgets what was checked before: at a reload, templates may change.
func (h *harness) newChecker() {
	h.checker = probetest.NewChecker("promscope", probetest.Options{
		Alive: func(int) bool { return true },
		Now:   func() time.Time { return h.now },
	})
}

// apply takes in a rule's result at a second.
func (h *harness) apply(rule, at int, points ...mapping.Point) {
	h.Apply(mapping.Result{Rule: rule, At: second(at), Points: points})
}

// publish publishes at a second and returns the checked report.
func (h *harness) publish(at int) *probetest.Report {
	h.Helper()
	h.now = second(at)
	h.Publish(h.now)
	return h.check()
}

func (h *harness) check() *probetest.Report {
	h.Helper()
	report, err := h.checker.Check(h.JSON())
	if err != nil {
		h.Fatalf("%v\nin %s", err, h.JSON())
	}
	return report
}

func (h *harness) drops(reason string) int {
	return int(testutil.ToFloat64(h.metrics.dropped.WithLabelValues(reason)))
}

func onHost(template mapping.Template, value float64) mapping.Point {
	return mapping.Point{Topology: mapping.Host, Template: template, Value: value}
}

func onProcess(pid int, template mapping.Template, value float64) mapping.Point {
	return mapping.Point{Topology: mapping.Process, ID: strconv.Itoa(pid), Template: template, Value: value}
}

// values returns the values of a metric's samples.
func values(m *probetest.Metric) []float64 {
	if m == nil {
		return nil
	}
	got := []float64{}
	for _, s := range m.Samples {
		got = append(got, s.Value)
	}
	return got
}

func keys[V any](m map[string]V) []string {
	list := []string{}
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}
