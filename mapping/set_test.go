package mapping

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
)

// asPreset makes the rules those of a preset.
func asPreset(name string, rules []*Rule) []*Rule {
	for _, r := range rules {
		r.Preset = name
	}
	return rules
}

func TestNewSet(t *testing.T) {
	preset := asPreset("p", mustRules(t, `
- {metric: promscope_a, label: A, expr: x, node: host}
- {metric: promscope_b, label: B, expr: x, node: host}
- {metric: promscope_c, label: C, expr: x, node: host}
- {metric: promscope_a, label: A, expr: x, node: {process: pid}}
`))
	own := mustRules(t, `
- {metric: promscope_b, label: My B, expr: 'sum(x)', node: host}
- {metric: my_c, label: C, expr: 'sum(x)', node: host}
- {metric: first, label: First, expr: x, node: {process: pid}, priority: 0}
`)
	set, list := NewSet(append(preset, own...))
	want := `rules.yml:3:25: warning: label "C" is also that of metric "promscope_c" of the preset p, which is left out
    3 | - {metric: my_c, label: C, expr: 'sum(x)', node: host}
      |                         ^
name it "promscope_c" to replace the preset's metric, or give yours another label
rules.yml:3:12: remark: metric "my_c" hides behind "+N" on the host, whose details panel shows the first 3
    3 | - {metric: my_c, label: C, expr: 'sum(x)', node: host}
      |            ^
lower priorities come first; by default rules come third, in their order`
	if diff := cmp.Diff(want, joinErrors(list)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var got []string
	for _, r := range set.Rules() {
		got = append(got, fmt.Sprintf("%s %q %v %s", r, r.Label, r.Priority, r.Preset))
	}
	if diff := cmp.Diff([]string{
		`host/promscope_b "My B" 2.5 `,
		`host/my_c "C" 2.5001 `,
		`process/first "First" 0 `,
		`host/promscope_a "A" 2.5002 p`,
		`process/promscope_a "A" 2.5 p`,
	}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	templates := map[Topology][]Template{
		Host:    {{ID: "promscope_b", Label: "My B", Priority: 2.5}, {ID: "my_c", Label: "C", Priority: 2.5001}, {ID: "promscope_a", Label: "A", Priority: 2.5002}},
		Process: {{ID: "first", Label: "First"}, {ID: "promscope_a", Label: "A", Priority: 2.5}},
	}
	if diff := cmp.Diff(templates, set.Templates()); diff != "" {
		t.Errorf("templates (-want +got):\n%s", diff)
	}
	if preset[0].Priority != 0 || own[0].Priority != 0 {
		t.Error("the given rules were changed")
	}
}

// joinErrors prints diagnostics in the order they came in.
func joinErrors[E error](list []E) string {
	text := ""
	for i, err := range list {
		if i > 0 {
			text += "\n"
		}
		text += err.Error()
	}
	return text
}

// TestDefaultPriorities: they step aside for those that were asked for.
func TestDefaultPriorities(t *testing.T) {
	set := mustSet(t, `
- {metric: a, label: A, expr: x, node: host}
- {metric: b, label: B, expr: x, node: host}
- {metric: 'c_${l}', label: 'C ${l}', expr: x, node: host}
- {metric: d, label: D, expr: x, node: host}
- {metric: e, label: E, expr: x, node: host, priority: 2.5}
- {metric: f, label: F, expr: x, node: host, priority: 2.50025}
`)
	got := map[string]float64{}
	for _, r := range set.Rules() {
		got[r.Metric] = r.Priority
	}
	want := map[string]float64{"a": 2.5001, "b": 2.5002, "c_${l}": 2.5003, "d": 2.5004, "e": 2.5, "f": 2.50025}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSelectors(t *testing.T) {
	set := mustSet(t, `
- {metric: a, label: A, expr: 'rate(x_total[30s]) / rate(x_total[1m] offset 10s) + on () group_left () y{a="b"}', node: host}
- {metric: b, label: B, expr: 'time()', node: host}
- {metric: c, label: C, expr: 'max_over_time(rate(x_total[30s])[1m:5s])', node: host}
`)
	var got []string
	for _, s := range set.Selectors() {
		got = append(got, fmt.Sprintf("%d %v %s", s.Rule, s.Matchers, s.Window))
	}
	if diff := cmp.Diff([]string{
		`0 [__name__="x_total"] 1m25s`,
		`0 [a="b" __name__="y"] 15s`,
		`2 [__name__="x_total"] 1m45s`,
	}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got, want := set.Selectors()[1].Window, 3*5*time.Second; got != want {
		t.Errorf("a gauge is kept for %s, want the lookback of %s", got, want)
	}
}

func TestJudge(t *testing.T) {
	set := mustSet(t, `
- {metric: a, label: A, expr: 'x{mode="idle",cpu=~"0|1"} + y', node: host}
- {metric: b, label: B, expr: '{__name__=~"x|z",job!=""}', node: host}
`)
	for _, tc := range []struct {
		series labels.Labels
		want   []string
	}{
		{labels.FromStrings("__name__", "x", "mode", "idle", "cpu", "0", "job", "j"), []string{"0 []", "1 []"}},
		{labels.FromStrings("__name__", "x", "mode", "user", "cpu", "2"), []string{`0 [mode="idle" cpu=~"0|1"]`, `1 [job!=""]`}},
		{labels.FromStrings("__name__", "y"), []string{"0 []"}},
		{labels.FromStrings("__name__", "w", "job", "j"), nil},
	} {
		var got []string
		for _, v := range set.Judge(tc.series) {
			got = append(got, fmt.Sprintf("%d %v", v.Rule, v.Refused))
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.series, diff)
		}
	}
}

func TestLabelThatMeetsAPreset(t *testing.T) {
	preset := asPreset("p", mustRules(t, `
- {metric: promscope_idle, label: CPU idle, expr: x, node: host}
- {metric: promscope_other, label: CPU idle, expr: x, node: {process: pid}}
`))
	for label, meets := range map[string]bool{
		"CPU ${mode}":        true,
		"${mode}":            true,
		"C${mode}e":          true,
		"${mode} ${mode}":    true,
		"CPU time ${mode}":   false,
		"CPU ${mode} (%)":    false,
		"Load ${mode}":       false,
		"CPU ${mode} ${cpu}": false,
	} {
		metric := "own"
		for _, name := range []string{"mode", "cpu"} {
			if strings.Contains(label, "${"+name+"}") {
				metric += "_${" + name + "}"
			}
		}
		own := mustRules(t, fmt.Sprintf("- {metric: %q, label: %q, expr: x, node: host}", metric, label))
		_, list := NewSet(append(preset, own...))
		if err := list.Err(); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(list.Error(), "can become"); got != meets {
			t.Errorf("label %q: warned is %v, want %v: %v", label, got, meets, list)
		}
	}
}
