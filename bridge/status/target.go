package status

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/prometheus/common/model"

	"github.com/promscope/promscope/bridge/scrape"
	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/bridge/view"
	"github.com/promscope/promscope/mapping/secret"
)

// Dropped is a target that is not scraped, as the pages show it.
func Dropped(d *job.DroppedTarget) view.Target {
	return view.Target{
		Job:        d.Job,
		Labels:     view.Labels{},
		Discovered: secret.Labels(d.Discovered),
		Health:     view.HealthDropped,
		Error:      cmp.Or(droppedError(d), "dropped by relabel_configs"),
	}
}

// droppedError is why a target is not scraped. What the address was may not be
// said if it has a password in it.
func droppedError(d *job.DroppedTarget) string {
	if strings.Contains(d.Discovered.Get(model.AddressLabel), "@") {
		return "user info is no part of an address"
	}
	return secret.Text(d.Error)
}

// targetModel is a target as the pages show it.
func targetModel(t *scrape.TargetStatus) view.Target {
	return view.Target{
		Job:                 t.Job,
		URL:                 secret.Text(t.URL),
		Labels:              secret.Labels(t.Labels),
		Discovered:          secret.Labels(t.Discovered),
		Health:              view.Health(t.Health),
		Since:               t.Since,
		Error:               secret.Text(t.LastError),
		LastScrape:          t.LastScrape,
		LastDurationSeconds: t.LastDuration.Seconds(),
		IntervalSeconds:     t.Interval.Seconds(),
		TimeoutSeconds:      t.Timeout.Seconds(),
		Samples:             t.Samples,
		Kept:                t.Kept,
		Bytes:               t.Bytes,
		Format:              t.Format,
		Notes:               targetNotes(t),
	}
}

// targetNotes says what is not plain about the way in which a target is scraped.
func targetNotes(t *scrape.TargetStatus) []string {
	var notes []string
	if t.SubjectNote != "" {
		notes = append(notes, "Speaks of "+t.SubjectNote+".")
	}
	if t.ParsesAll != "" {
		notes = append(notes, "Every series is parsed: "+t.ParsesAll+".")
	}
	switch n := t.Narrowed; {
	case n == nil:
	case n.Query == "":
		notes = append(notes, "narrow could not be done: "+n.Reason+".")
	default:
		notes = append(notes, fmt.Sprintf("Asked with %s: %d samples in %d bytes instead of %d in %d.",
			n.Query, n.SamplesAfter, n.BytesAfter, n.SamplesBefore, n.BytesBefore))
	}
	return notes
}

// TargetRef names a target, and says how it is.
func TargetRef(t *scrape.TargetStatus) view.TargetRef {
	m := targetModel(t)
	return view.TargetRef{Job: m.Job, Instance: m.Instance(), URL: m.URL, Health: m.Health, Error: m.Error}
}
