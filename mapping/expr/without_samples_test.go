package expr

import (
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
)

func TestNeedsNoSamples(t *testing.T) {
	for expr, want := range map[string]bool{
		`42`:                                 true,
		`vector(1)`:                          true,
		`time()`:                             true,
		`hour()`:                             true,
		`absent(a)`:                          true,
		`absent_over_time(a[5m])`:            true,
		`sum(a) or vector(0)`:                true,
		`count(absent(a))`:                   true,
		`-(vector(1) unless a)`:              true,
		`max_over_time(vector(1)[1m:10s])`:   true,
		`a`:                                  false,
		`a + 1`:                              false,
		`rate(a[5m])`:                        false,
		`a or b`:                             false,
		`a and vector(1)`:                    false,
		`vector(1) and a`:                    false,
		`a + time() * 0`:                     false,
		`hour(a)`:                            false,
		`sum(absent(a) * on() group_left b)`: false,
		`quantile(0.9, a)`:                   false,
		`histogram_quantile(0.9, a)`:         false,
		`label_replace(a, "x", "y", "", "")`: false,
	} {
		parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
		if err != nil {
			t.Fatal(err)
		}
		if got := NeedsNoSamples(parsed); got != want {
			t.Errorf("%s: %v, want %v", expr, got, want)
		}
	}
}
