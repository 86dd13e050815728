// Package pipelinetest makes runtimes for tests that feed them samples themselves.
package pipelinetest

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/pipeline"
)

// New returns the runtime of a configuration on the host "vm". It does not scrape.
func New(t testing.TB, yaml string) *pipeline.Runtime {
	t.Helper()
	file := filepath.Join(t.TempDir(), "promscope.yml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, list := config.Flags{File: file, PluginsRoot: t.TempDir(), Host: "vm"}.Load()
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	r, err := pipeline.NewRuntime(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// Commit puts samples into the store, evaluates all rules and publishes the report.
// The keys are series as PromQL writes them. The values are float64 or
// *histogram.FloatHistogram.
func Commit(t testing.TB, r *pipeline.Runtime, at time.Time, samples map[string]any) {
	t.Helper()
	p := r.Pipeline()
	batch := p.Store.Batch()
	for text, v := range samples {
		l, err := parser.NewParser(parser.Options{}).ParseMetric(text)
		if err != nil {
			t.Fatal(err)
		}
		series, selected := p.Store.Series(l)
		if !selected {
			t.Fatalf("no rule selects %s", text)
		}
		switch v := v.(type) {
		case float64:
			batch.Append(series, at.UnixMilli(), v)
		case *histogram.FloatHistogram:
			batch.AppendHistogram(series, at.UnixMilli(), v)
		}
	}
	batch.Commit(at, time.Second)
	for i := range p.Config.Rules.Rules() {
		if result, err := p.Rules.Evaluate(t.Context(), i, at); err == nil {
			r.Report.Apply(result)
		}
	}
	r.Report.Publish(at)
}
