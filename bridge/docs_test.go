package bridge

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/promslog"

	"github.com/promscope/promscope/bridge/collectors"
	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/pipeline"
	"github.com/promscope/promscope/bridge/plugin"
)

var update = flag.Bool("update", false, "write the generated documentation")

// ownMetric is how promscope's metrics begin. Those of the Go runtime, of the
// process and of Prometheus's discovery are documented elsewhere.
const ownMetric = "promscope_"

// testRuntime is everything that runs without a socket, with the default
// configuration.
func testRuntime(t *testing.T) *pipeline.Runtime {
	t.Helper()
	cfg, diagnostics := config.Default()
	if err := diagnostics.Err(); err != nil {
		t.Fatal(err)
	}
	b, err := pipeline.NewRuntime(cfg, promslog.NewNopLogger())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	newLoads(nil, b.Registry)
	plugin.NewServer(b.Report, plugin.ServerOptions{}, b.Logger, b.Registry)
	return b
}

// docs/metrics.md is written from what is registered.
func TestDocs(t *testing.T) {
	b := testRuntime(t)
	const file = "../docs/metrics.md"
	got := `# Metrics

promscope's own metrics are on ` + "`/metrics`" + ` of its debug address. Beside them are the usual ` + "`go_*` and `process_*`" + `, and the
` + "`prometheus_sd_*`" + ` of Prometheus's service discovery. Rules select all of them by ` + "`{job=\"promscope\"}`" + `.

| Metric | Labels | |
|---|---|---|
` + strings.Join(metricRows(t, b), "\n") + "\n"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(without(b, string(want)), got); diff != "" {
		t.Errorf("%s is not up to date: run make docs (-file +registry):\n%s", file, diff)
	}
}

// without leaves the rows of collectors out that cannot run here, and whose
// metrics are therefore not registered.
func without(b *pipeline.Runtime, doc string) string {
	var lines []string
	for line := range strings.Lines(doc) {
		if !slices.ContainsFunc(b.Pipeline().Collectors, func(c *collectors.Collector) bool {
			return c.Err != nil && strings.HasPrefix(line, "| `"+ownMetric+c.Name+"_")
		}) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

var descPattern = regexp.MustCompile(`^Desc\{fqName: "([^"]*)", help: "(.*?)", unit: ".*", constLabels: \{.*\}, variableLabels: \{(.*)\}\}$`)

func metricRows(t *testing.T, b *pipeline.Runtime) []string {
	t.Helper()
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		p := b.Pipeline()
		b.Registry.Describe(descs)
		p.Registry.Describe(descs)
		for _, c := range p.Collectors {
			c.Registry.Describe(descs)
		}
	}()
	var rows []string
	for d := range descs {
		m := descPattern.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("cannot read %s", d)
		}
		if !strings.HasPrefix(m[1], ownMetric) {
			continue
		}
		var labels []string
		for _, l := range strings.Split(m[3], ",") {
			if l != "" {
				labels = append(labels, "`"+l+"`")
			}
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s | %s |", m[1], strings.Join(labels, " "), strings.ReplaceAll(m[2], `\"`, `"`)))
	}
	slices.Sort(rows)
	return slices.Compact(rows)
}

// What is on /metrics is as the linter of Prometheus wants it.
func TestMetricsLint(t *testing.T) {
	b := testRuntime(t)
	families, err := b.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, ownMetric) {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}
