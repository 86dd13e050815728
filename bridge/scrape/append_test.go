package scrape

import (
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

// The expected names of labels that clash are Prometheus's.
func TestAddTargetLabels(t *testing.T) {
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
		b := labels.NewBuilder(tc.exposed)
		addTargetLabels(b, tc.exposed, tc.target, false)
		if got := b.Labels(); !labels.Equal(got, tc.want) {
			t.Errorf("%s on %s: got %s, want %s", tc.exposed, tc.target, got, tc.want)
		}
	}
}
