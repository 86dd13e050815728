package ruletest

import (
	"cmp"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"go.yaml.in/yaml/v3"

	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/exposition"
	"github.com/promscope/promscope/bridge/plugin"
	"github.com/promscope/promscope/bridge/scrape"
	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/bridge/store"
	"github.com/promscope/promscope/mapping"
)

// TestBudgetOfAllPresets feeds every recorded exposition to all presets that are in use by
// default, at once. No node shows more than its budget, and an exporter, whose server is
// another process, no more than three metrics of its own.
func TestBudgetOfAllPresets(t *testing.T) {
	cfg, list := config.Default()
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	var selectors []store.Selector
	for _, s := range cfg.Rules.Selectors() {
		selectors = append(selectors, store.Selector(s))
	}
	st := store.New(store.NewSelection(selectors), store.Options{}, nil)
	rules := mapping.NewEvaluator(cfg.Rules, st.Live(), nil, nil, nil, cfg.Limits.Evaluator())
	report := plugin.NewReport(plugin.Options{ID: "p", Label: "p", Host: "vm", MaxSamples: 15, MaxAge: time.Minute, MaxNodes: 1000, MaxBytes: 1 << 24},
		cfg.Rules.Templates(), slog.New(slog.DiscardHandler), prometheus.NewRegistry())

	recorded := recordedScrapes(t)
	if len(recorded) < 50 {
		t.Fatalf("only %d expositions", len(recorded))
	}
	targets, exporters := map[string]*scrape.Replay{}, map[string]bool{}
	settings := job.DefaultConfig(job.DefaultGlobal())
	var at time.Time
	for _, s := range recorded {
		mapping.AssumeHost(s.Labels)
		l := labels.FromMap(s.Labels)
		if subject := s.Labels["target_subject_pid"]; subject != "" && subject != s.Labels["target_pid"] {
			exporters[s.Labels["target_pid"]] = true
		}
		if targets[l.String()] == nil {
			targets[l.String()] = scrape.NewReplay(&settings, l, mapping.TargetLabels(), st)
		}
		at = origin().Add(time.Duration(s.At))
		if _, err := targets[l.String()].Scrape(t.Context(), at, strings.NewReader(s.Text), exposition.MediaTypeOf([]byte(s.Text))); err != nil {
			continue // one that is wrong on purpose, or not the next one of its target
		}
	}
	for i := range cfg.Rules.Rules() {
		result, err := rules.Evaluate(t.Context(), i, at)
		if err != nil {
			t.Fatal(err)
		}
		report.Apply(result)
	}
	report.Publish(at)

	nodes := report.Snapshot().Nodes
	if len(nodes) < 20 {
		t.Errorf("only %d nodes", len(nodes))
	}
	for _, n := range nodes {
		if got, most := len(n.Metrics), n.Topology.Budget(); got > most {
			t.Errorf("%s shows %d metrics, more than %d", n.Key, got, most)
		}
		if exporters[n.ID] && n.Topology == mapping.Process && len(n.Metrics) > 3 {
			t.Errorf("the exporter %s shows %d metrics of its own", n.Key, len(n.Metrics))
		}
	}
}

// recordedScrapes returns the expositions of all tests of presets, in the order of time.
func recordedScrapes(t *testing.T) []rawScrape {
	t.Helper()
	files, err := filepath.Glob("testdata/presets/*.yml")
	if err != nil {
		t.Fatal(err)
	}
	var all []rawScrape
	pids := map[string]string{} // by test and pid
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var tests struct {
			Tests []struct{ Expositions []rawScrape }
		}
		if err := yaml.Unmarshal(content, &tests); err != nil {
			t.Fatal(err)
		}
		for i, test := range tests.Tests {
			var last model.Duration
			for _, s := range test.Expositions {
				last = max(last, s.At)
			}
			for _, s := range test.Expositions {
				// All end at the same time. Tests use the same targets and pids for
				// unlike things: here each has its own.
				test := filepath.Base(file) + string(rune('a'+i))
				s.At += model.Duration(time.Hour) - last
				s.Labels["instance"] += " " + test
				for _, label := range []string{"target_pid", "target_subject_pid"} {
					if pid := s.Labels[label]; pid != "" {
						key := test + " " + pid
						if pids[key] == "" {
							pids[key] = strconv.Itoa(1_000_000 + len(pids))
						}
						s.Labels[label] = pids[key]
					}
				}
				all = append(all, s)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b rawScrape) int { return cmp.Compare(a.At, b.At) })
	return all
}
