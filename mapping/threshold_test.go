package mapping

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A metric with a threshold is there from when the mean over a minute has reached it, until
// it has not for five minutes. The mean is that of the load average: after t seconds of v it
// is v * (1 - e^(-t/60)), and t seconds after it was m, and with 0 since, m * e^(-t/60).
func TestThreshold(t *testing.T) {
	set := mustSet(t, `
- {metric: m, label: M, expr: x, node: {process: pid}, threshold: 1}
`)
	// A scrape each 5 s, which each stand for 5 s. 10 comes to 1 within 6.3 s: the second one. 1.5
	// does within 65.9 s: the 14th. 21 of 10 are a mean of 8.26, which is below 1 after 126.7 s: of
	// the scrapes after them the 25th is the last one that reaches it.
	e := NewEvaluator(set, load(t, `x{pid="1"} 10x20 0x120
		x{pid="2"} 0.9x140
		x{pid="3"} 1.5x140
		x{pid="4"} 0x50 14 0x90`), nil, nil, nil, limits(EvaluatorOptions{}))
	const last = 20 + 25
	for n := range 140 {
		at := time.Duration(5*n) * time.Second
		shown, _ := evaluate(t, e, 0, at)
		var want []string
		if 1 <= n && n < last+60 {
			value := "10"
			if n > 20 {
				value = "0"
			}
			want = append(want, "vm;1 m = "+value)
		}
		if n >= 13 {
			want = append(want, "vm;3 m = 1.5")
		}
		if 51 <= n && n < 51+1+60 { // 14 for 5 s is 1.12, which is 1 or more for 6.8 s: one more scrape
			value := "14"
			if n > 51 {
				value = "0"
			}
			want = append(want, "vm;4 m = "+value)
		}
		if diff := cmp.Diff(want, shown); diff != "" {
			t.Fatalf("scrape %d (-want +got):\n%s", n, diff)
		}
		if n%7 == 0 {
			if _, err := e.Explain(t.Context(), 0, start.Add(at+time.Minute)); err != nil { // which changes nothing
				t.Fatal(err)
			}
			reloaded := NewEvaluator(set, e.queryable, nil, nil, nil, limits(EvaluatorOptions{}))
			reloaded.TakeOver(e, map[int]int{0: 0})
			e = reloaded
		}
	}
}

// An element that was not there does not count for the time that it was away.
func TestThresholdAfterAGap(t *testing.T) {
	set := mustSet(t, `
- {metric: m, label: M, expr: x, node: {process: pid}, threshold: 1}
`)
	e := NewEvaluator(set, load(t, `x{pid="1"} 0 _x30 2 _x30 2`), nil, nil, nil, limits(EvaluatorOptions{}))
	for n := range 70 {
		if points, _ := evaluate(t, e, 0, time.Duration(5*n)*time.Second); len(points) > 0 {
			t.Fatalf("scrape %d: %v", n, points) // each 2 stands for 30 s at most: 0.79
		}
	}
}

// The sum of a container is held against the threshold, not its parts.
func TestThresholdOfASum(t *testing.T) {
	set := mustSet(t, `
- {metric: m, label: M, expr: sum by (c) (x), node: {process: c}, threshold: 1}
`)
	e := NewEvaluator(set, load(t, `x{pid="1",c="7"} 0.6x30
		x{pid="2",c="7"} 0.6x30`), nil, nil, nil, limits(EvaluatorOptions{}))
	var points []string
	for n := range 30 {
		points, _ = evaluate(t, e, 0, time.Duration(5*n)*time.Second)
	}
	if diff := cmp.Diff([]string{"vm;7 m = 1.2"}, points); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
