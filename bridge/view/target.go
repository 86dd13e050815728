package view

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/scrape"
	"github.com/promscope/promscope/bridge/web"
	"github.com/promscope/promscope/mapping/secret"
)

// Dropped is a target that is not scraped, as the pages show it.
func Dropped(d *scrape.DroppedTarget) web.Target {
	return web.Target{
		Job:        d.Job,
		Labels:     web.Labels{},
		Discovered: secret.Labels(d.Discovered),
		Health:     web.HealthDropped,
		Error:      cmp.Or(droppedError(d), "dropped by relabel_configs"),
	}
}

// droppedError is why a target is not scraped. What the address was may not be
// said if it has a password in it.
func droppedError(d *scrape.DroppedTarget) string {
	if strings.Contains(d.Discovered.Get(model.AddressLabel), "@") {
		return "user info is no part of an address"
	}
	return secret.Text(d.Error)
}

// Target is a target as the pages show it.
func Target(t *scrape.TargetStatus) web.Target {
	return web.Target{
		Job:                 t.Job,
		URL:                 secret.Text(t.URL),
		Labels:              secret.Labels(t.Labels),
		Discovered:          secret.Labels(t.Discovered),
		Health:              web.Health(t.Health),
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

// targetOf finds the target that a series comes from: the one whose labels the
// series has, or that at least has the same job and instance. Nil if there is none.
func targetOf(series labels.Labels, targets []scrape.TargetStatus) *scrape.TargetStatus {
	var found *scrape.TargetStatus
	best := -1
	for i := range targets {
		t := &targets[i]
		if t.Labels.Get(model.InstanceLabel) != series.Get(model.InstanceLabel) || t.Labels.Get(model.JobLabel) != series.Get(model.JobLabel) {
			continue
		}
		shared := 0
		t.Labels.Range(func(l labels.Label) {
			if series.Get(l.Name) == l.Value {
				shared++
			}
		})
		if shared > best {
			found, best = t, shared
		}
	}
	return found
}

// TargetRef names a target, and says how it is.
func TargetRef(t *scrape.TargetStatus) web.TargetRef {
	m := Target(t)
	return web.TargetRef{Job: m.Job, Instance: m.Instance(), URL: m.URL, Health: m.Health, Error: m.Error}
}
