package pipeline

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/promscope/promscope/bridge/attribution"
	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/plugin"
	"github.com/promscope/promscope/bridge/store"
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
	cfg, list := config.Flags{File: path}.Load()
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	st := &broken{}
	rules := mapping.NewEvaluator(cfg.Rules, st, nil, logger, nil, cfg.Limits.Evaluator())
	report := plugin.NewReport(ReportOptions(cfg, "vm"), cfg.Rules.Templates(), logger, prometheus.NewRegistry())
	e := newEvaluator(newSchedule(standing(cfg.Rules)), nil, rules, cfg.Rules, report, nil, attribution.Nodes{}, logger)
	for i := range 3 {
		e.evaluate(t.Context(), dueRule{rule: 0, at: time.Now().Add(time.Duration(i) * time.Second)})
	}
	if n := strings.Count(log.String(), "A rule fails"); n != 1 || st.n < 3 {
		t.Errorf("logged %d times of %d:\n%s", n, st.n, log.String())
	}
}

// stuck is a storage that finds one series of each metric. Of the metric "slow" it
// finds nothing before the query is given up.
type stuck struct {
	storage.Queryable
	tries []time.Time // of "slow"
	mu    sync.Mutex
}

func (s *stuck) Querier(mint, maxt int64) (storage.Querier, error) {
	q, err := s.Queryable.Querier(mint, maxt)
	return stuckQuerier{q, s}, err
}

type stuckQuerier struct {
	storage.Querier
	storage *stuck
}

func (q stuckQuerier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	if matchers[0].Value == "slow" || matchers[len(matchers)-1].Value == "slow" {
		q.storage.mu.Lock()
		q.storage.tries = append(q.storage.tries, time.Now())
		q.storage.mu.Unlock()
		<-ctx.Done()
		return storage.ErrSeriesSet(ctx.Err())
	}
	return q.Querier.Select(ctx, sorted, hints, matchers...)
}

// A rule that takes as long as it may keeps no other one waiting, and is tried ever
// less often.
func TestSlowRuleHoldsNobodyBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "promscope.yml")
	rules := "presets: []\nrules:\n- {metric: slow, label: Slow, expr: slow, node: host}\n- {metric: fast, label: Fast, expr: fast, node: host}\n"
	if err := os.WriteFile(path, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, list := config.Flags{File: path}.Load()
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		logger := slog.New(slog.DiscardHandler)
		schedule := newSchedule(standing(cfg.Rules))
		st := store.New(store.NewSelection(Selectors(cfg.Rules)), store.Options{MaxSeries: 10, OnCommit: schedule.commit}, nil)
		slow := &stuck{Queryable: st.Live()}
		evaluatorOfRules := mapping.NewEvaluator(cfg.Rules, slow, nil, logger, nil, cfg.Limits.Evaluator())
		report := plugin.NewReport(ReportOptions(cfg, "vm"), cfg.Rules.Templates(), logger, prometheus.NewRegistry())
		e := newEvaluator(schedule, st, evaluatorOfRules, cfg.Rules, report, nil, attribution.Nodes{}, logger)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- e.Run(ctx) }()

		start := time.Now()
		for i := range 120 {
			batch := st.Batch()
			for _, name := range []string{"slow", "fast"} {
				series, _ := st.Series(labels.FromStrings("__name__", name))
				batch.Append(series, time.Now().UnixMilli(), float64(i))
			}
			batch.Commit(time.Now(), time.Second)
			time.Sleep(time.Second - time.Millisecond)
			if published := string(report.JSON()); !strings.Contains(published, fmt.Sprintf(`"value":%d}`, i)) {
				t.Fatalf("%s after the start: value %d is not published: %s", time.Since(start), i, published)
			}
			time.Sleep(time.Millisecond)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		// 5 s until it times out, then 10, 20, 40 s of rest.
		var tries []int
		for _, at := range slow.tries {
			tries = append(tries, int(at.Sub(start).Seconds()))
		}
		if diff := cmp.Diff([]int{0, 15, 40, 85}, tries); diff != "" {
			t.Errorf("seconds of the tries (-want +got):\n%s", diff)
		}
	})
}
