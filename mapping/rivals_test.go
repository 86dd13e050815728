package mapping

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Each case is logged once, and explained with the elements side by side.
func TestRivalsAreTold(t *testing.T) {
	set := mustSet(t, `
- {metric: m, label: M, expr: x, node: host}
- {metric: n, label: N, expr: y, node: host}
`)
	var log strings.Builder
	e := NewEvaluator(set, load(t, `x{target_pid="1"} 1x20
		x{target_pid="2"} 2x20
		y{target_pid="3",target_container_id="c"} 1x20
		y{target_pid="4"} 2x20`), nil, slog.New(slog.NewTextHandler(&log, nil)), nil, limits(EvaluatorOptions{}))
	for rule := range 2 {
		for i := range 3 {
			evaluate(t, e, rule, time.Duration(i+10)*time.Second)
		}
	}
	for _, part := range []string{
		`level=WARN msg="Several elements of a rule's result have one node, and nothing says which counts: none is shown" rule=host/m node=host elements="[{__name__=\"x\", target_pid=\"1\"} {__name__=\"x\", target_pid=\"2\"}]"`,
		`level=INFO msg="Several elements of a rule's result have one node: one is shown" rule=host/n node=host elements="[{__name__=\"y\", target_container_id=\"c\", target_pid=\"3\"} {__name__=\"y\", target_pid=\"4\"}]"`,
	} {
		if n := strings.Count(log.String(), part); n != 1 {
			t.Errorf("%d times %s in\n%s", n, part, &log)
		}
	}
	elements, err := e.Explain(t.Context(), 1, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, element := range elements {
		var rivals []string
		for _, r := range element.Rivals {
			rivals = append(rivals, r.Get("target_pid"))
		}
		got[element.Labels.Get("target_pid")] = element.Dropped + " " + strings.Join(rivals, ",")
	}
	if diff := cmp.Diff(map[string]string{"3": "duplicate 3,4", "4": " 3,4"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
