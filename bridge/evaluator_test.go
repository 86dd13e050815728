package bridge

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/storage"

	"github.com/promscope/promscope/bridge/plugin"
	"github.com/promscope/promscope/mapping"
)

// broken is a storage that fails with another text each time.
type broken struct{ n int }

func (b *broken) Querier(_, _ int64) (storage.Querier, error) {
	b.n++
	return nil, fmt.Errorf("failure %d", b.n)
}

// A rule that fails is logged once, however the error is worded.
func TestFailingRuleIsLoggedOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "promscope.yml")
	if err := os.WriteFile(path, []byte("presets: []\nrules: [{metric: a, label: A, expr: up, node: host}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	cfg, _, err := loadConfig(Options{ConfigFile: path}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	st := &broken{}
	rules := mapping.NewEvaluator(cfg.Rules, st, nil, logger, nil, mapping.EvaluatorOptions{MaxNodes: 1, MaxMetricsPerRule: 1, MaxSamples: 1, Timeout: time.Second})
	report := plugin.NewReport(reportOptions(cfg, "vm"), cfg.Rules.Templates(), logger, prometheus.NewRegistry())
	e := newEvaluator(newSchedule(standing(cfg.Rules)), nil, rules, cfg.Rules, report, nil, logger)
	for i := range 3 {
		e.evaluate(t.Context(), dueRule{rule: 0, at: time.Now().Add(time.Duration(i) * time.Second)})
	}
	if n := strings.Count(log.String(), "rule failed"); n != 1 || st.n < 3 {
		t.Errorf("logged %d times of %d:\n%s", n, st.n, log.String())
	}
}

func TestHostFlagIsChecked(t *testing.T) {
	_, _, err := loadConfig(Options{Host: "a;b"}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "--scope.host") {
		t.Errorf("error: %v", err)
	}
}
