package mapping

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// TestConcurrency evaluates rules at the same time, each once at a time, and explains
// all of them meanwhile. Of the rules that want the same ids only one gets each.
func TestConcurrency(t *testing.T) {
	set := mustSet(t, `
- {metric: 'm_${a}', label: 'M ${a}', expr: 'sum by (pid, a) (rate(x_total[$__rate_interval]))', node: {process: pid}}
- {metric: 'm_${b}', label: 'N ${b}', expr: 'label_replace(rate(x_total[$__rate_interval]), "b", "$1", "a", "(.*)")', node: {process: pid}}
- {metric: r, label: R, expr: x_total, node: {process: p, regex: 'pid-(\d+)'}}
- {metric: h, label: H, expr: 'sum(x_total)', node: host}
`)
	store := load(t, `
		x_total{pid="1",p="pid-1",a="u"} 0+5x20
		x_total{pid="2",p="pid-2",a="v"} 0+5x20`)
	e := NewEvaluator(set, store, nil, nil, prometheus.NewRegistry(), limits(EvaluatorOptions{}))
	at := start.Add(time.Minute)
	const rounds = 50
	var wg sync.WaitGroup
	for i := range set.Rules() {
		wg.Go(func() {
			for range rounds {
				if _, err := e.Evaluate(t.Context(), i, at); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range rounds {
				if _, err := e.Explain(t.Context(), i, at); err != nil {
					t.Error(err)
				}
				_ = e.Status()
				_ = set.Rules()[i].Expr.String()
			}
		})
	}
	wg.Wait()
	owners := map[string]int{}
	for i, status := range e.Status() {
		if status.Evaluations != rounds || status.Failures != 0 {
			t.Errorf("rule %d: %+v", i, status)
		}
		result, err := e.Evaluate(t.Context(), i, at)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range result.Points {
			owners[fmt.Sprint(p.Template.ID, " of ", p.ID)]++
		}
	}
	if want := 5; len(owners) != want { // u and v once each, two of r, one of h
		t.Errorf("%d metrics, want %d: %v", len(owners), want, owners)
	}
	for metric, n := range owners {
		if n != 1 {
			t.Errorf("%d rules have %s", n, metric)
		}
	}
}

// A gate in a context, under the key gateKey, stops the context's query.
type gate struct{ reached, open chan struct{} }

type gateKey struct{}

// hanging is a storage whose queries stop at gates.
type hanging struct{ storage.Queryable }

func (h hanging) Querier(mint, maxt int64) (storage.Querier, error) {
	q, err := h.Queryable.Querier(mint, maxt)
	return hangingQuerier{q}, err
}

type hangingQuerier struct{ storage.Querier }

func (q hangingQuerier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	if g, ok := ctx.Value(gateKey{}).(*gate); ok {
		g.reached <- struct{}{}
		select {
		case <-g.open:
		case <-ctx.Done():
		}
	}
	return q.Querier.Select(ctx, sorted, hints, matchers...)
}

// TestNoQueryHoldsAnotherUp: while one query hangs, the other rules are evaluated, and
// while a rule is explained, it is evaluated too. If it were not so, the first query
// would run out of time.
func TestNoQueryHoldsAnotherUp(t *testing.T) {
	set := mustSet(t, `
- {metric: 'm_${a}', label: 'M ${a}', expr: x, node: host}
- {metric: n, label: N, expr: x, node: host}
`)
	store := load(t, `x{a="u"} 1x10`)
	for _, tc := range []struct {
		name  string
		first func(ctx context.Context, e *Evaluator) error
		next  int // the rule that is evaluated meanwhile
	}{
		{"explained", func(ctx context.Context, e *Evaluator) error { _, err := e.Explain(ctx, 0, start); return err }, 0},
		{"evaluated", func(ctx context.Context, e *Evaluator) error { _, err := e.Evaluate(ctx, 0, start); return err }, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := NewEvaluator(set, hanging{store}, nil, nil, nil, limits(EvaluatorOptions{}))
			g := &gate{reached: make(chan struct{}, 10), open: make(chan struct{})}
			ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), gateKey{}, g), 5*time.Second)
			defer cancel()
			done := make(chan error)
			go func() { done <- tc.first(ctx, e) }()
			<-g.reached
			if points, _ := evaluate(t, e, tc.next, 0); len(points) != 1 {
				t.Errorf("got %v", points)
			}
			if n := e.Status()[tc.next].Evaluations; n != 1 {
				t.Errorf("%d evaluations", n)
			}
			close(g.open)
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestExplainTakesNothing: what Explain alone has seen has no id, and is not there for
// longer.
func TestExplainTakesNothing(t *testing.T) {
	set := mustSet(t, `
- {metric: 'd_${d}', label: 'X ${d}', expr: x, node: host}
- {metric: 'd_${e}', label: 'Y ${e}', expr: y, node: host}
`)
	store := load(t, `
		x{d="a"} 1 1 stale
		y{e="a"} 1 _x4 1 1 1 stale
		y{e="b"} _x13 1x3`)
	e := NewEvaluator(set, store, nil, nil, nil, limits(EvaluatorOptions{MaxMetricsPerRule: 1}))
	explain := func(rule int, after time.Duration) Element {
		t.Helper()
		elements, err := e.Explain(t.Context(), rule, start.Add(after))
		if err != nil || len(elements) != 1 {
			t.Fatalf("%v, %d elements", err, len(elements))
		}
		return elements[0]
	}
	for range 2 {
		if x := explain(0, 0); x.Point.Template.ID != "d_a" || x.Dropped != "" {
			t.Errorf("before the first evaluation: %+v", x)
		}
	}
	if points, dropped := evaluate(t, e, 1, 0); len(points) != 1 {
		t.Errorf("explaining took the id: dropped %v", dropped)
	}
	if x := explain(0, 0); x.Dropped != DropIDCollision {
		t.Errorf("after another rule took the id: %+v", x)
	}
	if x := explain(1, 30*time.Second); x.Point.Template.ID != "d_a" {
		t.Errorf("got %+v", x)
	}
	if points, dropped := evaluate(t, e, 1, 65*time.Second); len(points) != 1 || points[0] != "vm;<host> d_b = 1" {
		t.Errorf("explaining kept d_a from being replaced: %v, dropped %v", points, dropped)
	}
	for i, status := range e.Status() {
		if status.Evaluations != 2*i {
			t.Errorf("rule %d: %d evaluations", i, status.Evaluations)
		}
	}
}
