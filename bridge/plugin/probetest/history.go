package probetest

import (
	"strconv"
	"time"
)

// checkStable compares with the reports before: Scope takes templates with every
// third report or so, and the newest sample for the value.
func (c *Checker) checkStable(v *violations, report *Report) {
	for _, topology := range sortedKeys(report.Topologies) {
		if c.templates[topology] == nil {
			c.templates[topology] = make(map[string]Template)
		}
	}
	for _, topology := range sortedKeys(c.templates) {
		var now map[string]Template
		if t := report.Topologies[topology]; t != nil {
			now = t.Templates
		}
		known, path := c.templates[topology], join(topology, "metric_templates")
		for _, id := range sortedKeys(known) {
			if t, found := now[id]; !found {
				v.add(join(path, id), "has vanished: templates must be in every report")
			} else if t != known[id] {
				v.add(join(path, id), "has changed from %+v to %+v", known[id], t)
			}
		}
		for id, t := range now {
			known[id] = t
		}
	}
	c.checkNewest(v, report)
}

// checkNewest sees to it that no metric goes back in time.
func (c *Checker) checkNewest(v *violations, report *Report) {
	newest := make(map[string]time.Time)
	for _, topology := range sortedKeys(report.Topologies) {
		t := report.Topologies[topology]
		if t == nil {
			continue
		}
		for _, key := range sortedKeys(t.Nodes) {
			for _, id := range sortedKeys(t.Nodes[key].Metrics) {
				samples := t.Nodes[key].Metrics[id].Samples
				if len(samples) == 0 {
					continue
				}
				path := join(join(join(join(topology, "nodes"), key), "metrics"), id)
				last := samples[len(samples)-1].Date
				if before := c.newest[path]; last.Before(before) {
					v.add(path, "ends at %s, and did at %s the time before",
						last.Format(time.RFC3339Nano), before.Format(time.RFC3339Nano))
				}
				newest[path] = last
			}
		}
	}
	c.newest = newest
}

// checkDead complains of processes that are reported although they have been dead
// for longer than it may take to notice.
func (c *Checker) checkDead(v *violations, report *Report) {
	processes := report.Topologies["Process"]
	dead := make(map[int]time.Time)
	if processes != nil {
		now := c.opts.Now()
		for _, key := range sortedKeys(processes.Nodes) {
			parts := pidKey.FindStringSubmatch(key)
			if parts == nil {
				continue
			}
			pid, err := strconv.Atoi(parts[2])
			if err != nil || c.opts.Alive(pid) {
				continue
			}
			since, known := c.dead[pid]
			if !known {
				since = now
			}
			dead[pid] = since
			if age := now.Sub(since); age > c.opts.DeadGrace {
				v.add(join("Process/nodes", key), "is dead for %v at least", age.Round(time.Millisecond))
			}
		}
	}
	c.dead = dead
}
