package ruletest

import (
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

// TestTargetLabels: as Prometheus does it, whose names for what clashes are the
// expectation.
func TestTargetLabels(t *testing.T) {
	for _, tc := range []struct{ target, exposed, want labels.Labels }{
		{
			labels.FromStrings("job", "a"),
			labels.FromStrings("__name__", "x", "code", "200"),
			labels.FromStrings("__name__", "x", "code", "200", "job", "a"),
		},
		{
			labels.FromStrings("job", "a"),
			labels.FromStrings("__name__", "x", "job", "b"),
			labels.FromStrings("__name__", "x", "exported_job", "b", "job", "a"),
		},
		{
			labels.FromStrings("job", "a"),
			labels.FromStrings("__name__", "x", "job", "b", "exported_job", "c"),
			labels.FromStrings("__name__", "x", "exported_exported_job", "b", "exported_job", "c", "job", "a"),
		},
		{
			labels.FromStrings("exported_job", "d", "job", "a"),
			labels.FromStrings("__name__", "x", "job", "b", "exported_job", "c"),
			labels.FromStrings("__name__", "x", "exported_exported_exported_job", "c", "exported_exported_job", "b", "exported_job", "d", "job", "a"),
		},
	} {
		if got := (&target{labels: tc.target}).label(tc.exposed); !labels.Equal(got, tc.want) {
			t.Errorf("%s on %s: got %s, want %s", tc.exposed, tc.target, got, tc.want)
		}
	}
}
