package scrape

import (
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/bridge/store"
)

// parsesAll tells why nothing of a job's expositions may be skipped unparsed;
// empty if it may.
//
// Skipping goes by the exposed name, and counts a skipped sample as left after
// relabelling. It is off for jobs in which either may be wrong and somebody may notice.
func parsesAll(config *job.Config, sel *store.Selection) string {
	drops := false
	for _, rc := range config.MetricRelabelConfigs {
		if writesName(rc) {
			return "metric_relabel_configs can write " + model.MetricNameLabel
		}
		switch rc.Action {
		case relabel.Drop, relabel.Keep, relabel.DropEqual, relabel.KeepEqual:
			drops = true
		default:
		}
	}
	switch {
	case drops && config.SampleLimit > 0 && config.SampleLimit < job.DefaultSampleLimit:
		return "metric_relabel_configs can drop series, and sample_limit counts those that are left"
	case drops && sel.Name([]byte("scrape_samples_post_metric_relabeling")):
		return "metric_relabel_configs can drop series, and a rule asks how many are left"
	default:
		return ""
	}
}

// writesName tells whether a rule might change or remove a metric's name.
func writesName(rc *relabel.Config) bool {
	switch rc.Action {
	case relabel.Replace:
		return rc.TargetLabel == model.MetricNameLabel || strings.Contains(rc.TargetLabel, "$")
	case relabel.HashMod, relabel.Lowercase, relabel.Uppercase:
		return rc.TargetLabel == model.MetricNameLabel
	case relabel.LabelMap:
		return rc.Replacement == model.MetricNameLabel || strings.Contains(rc.Replacement, "$")
	case relabel.LabelDrop:
		return rc.Regex.MatchString(model.MetricNameLabel)
	case relabel.LabelKeep:
		return !rc.Regex.MatchString(model.MetricNameLabel)
	default:
		return false
	}
}
