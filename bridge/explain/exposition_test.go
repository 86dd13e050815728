package explain

import (
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

// A series has the labels here that a scrape would give it.
func TestExpositionLabels(t *testing.T) {
	target := &expositionTarget{labels: labels.FromStrings("job", "j")}
	exposed := labels.FromStrings("__name__", "a", "job", "x", "exported_job", "y")
	for honor, want := range map[bool]labels.Labels{
		true:  exposed,
		false: labels.FromStrings("__name__", "a", "job", "j", "exported_job", "y", "exported_exported_job", "x"),
	} {
		target.honorLabels = honor
		if got, _ := target.label(exposed); !labels.Equal(got, want) {
			t.Errorf("honor_labels %v: %s, want %s", honor, got, want)
		}
	}
}
