package probetest

import (
	"maps"
	"slices"
	"time"
)

// topologies returns the names of Scope's topologies: the Go field names of its
// report.Report. The published plugin guide's plurals do nothing.
func topologies() []string {
	return []string{
		"Container", "ContainerImage", "CronJob", "DaemonSet", "Deployment", "ECSService", "ECSTask", "Endpoint",
		"Host", "Job", "Namespace", "Overlay", "PersistentVolume", "PersistentVolumeClaim", "Pod", "Process",
		"ReplicaSet", "Service", "StatefulSet", "StorageClass", "SwarmService", "VolumeSnapshot", "VolumeSnapshotData",
	}
}

// decode reads a report strictly. What can be read is returned in any case.
func decode(body []byte) (*Report, violations) {
	report := &Report{Body: body, Topologies: make(map[string]*Topology)}
	var r reader
	tree, err := parse(body)
	if err != nil {
		r.add("", "the report %s", err)
	}
	if tree == nil && err != nil {
		return report, r.violations
	}
	known := map[string]func(string, any){
		"Plugins": func(path string, value any) {
			r.array(path, value, func(path string, value any) {
				report.Plugins = append(report.Plugins, r.plugin(path, value))
			})
		},
	}
	for _, name := range topologies() {
		known[name] = func(path string, value any) { report.Topologies[name] = r.topology(path, value) }
	}
	r.fields("", tree, known)
	return report, r.violations
}

func (r *reader) plugin(path string, value any) (p Plugin) {
	r.fields(path, value, map[string]func(string, any){
		"id":          func(path string, value any) { p.ID = r.string(path, value) },
		"label":       func(path string, value any) { p.Label = r.string(path, value) },
		"description": func(path string, value any) { p.Description = r.string(path, value) },
		"api_version": func(path string, value any) { p.APIVersion = r.string(path, value) },
		"interfaces": func(path string, value any) {
			r.array(path, value, func(path string, value any) {
				p.Interfaces = append(p.Interfaces, r.string(path, value))
			})
		},
	})
	return p
}

func (r *reader) topology(path string, value any) *Topology {
	t := &Topology{Templates: make(map[string]Template), Rows: make(map[string]Template), Nodes: make(map[string]*Node)}
	r.fields(path, value, map[string]func(string, any){
		"metric_templates": func(path string, value any) {
			r.object(path, value, func(key string, value any) {
				t.Templates[key] = r.template(join(path, key), value)
			})
		},
		"metadata_templates": func(path string, value any) {
			r.object(path, value, func(key string, value any) {
				t.Rows[key] = r.row(join(path, key), value)
			})
		},
		"table_templates": func(path string, value any) {
			r.records(path, value, "id", "label", "prefix", "type", "columns", "fixedRows")
		},
		"nodes": func(path string, value any) {
			r.object(path, value, func(key string, value any) {
				t.Nodes[key] = r.node(join(path, key), value)
			})
		},
	})
	return t
}

// records checks the keys of templates whose content is not looked into.
func (r *reader) records(path string, value any, keys ...string) {
	known := make(map[string]func(string, any))
	for _, key := range keys {
		known[key] = func(path string, value any) {
			if value == nil {
				r.mismatch(path, "a value", value)
			}
		}
	}
	r.object(path, value, func(key string, value any) { r.fields(join(path, key), value, known) })
}

func (r *reader) template(path string, value any) (t Template) {
	r.fields(path, value, map[string]func(string, any){
		"id":       func(path string, value any) { t.ID = r.string(path, value) },
		"label":    func(path string, value any) { t.Label = r.string(path, value) },
		"format":   func(path string, value any) { t.Format = r.string(path, value) },
		"priority": func(path string, value any) { t.Priority = r.number(path, value) },
	})
	return t
}

// row reads a metadata template. One that does not come "from" the latest of a node is
// not drawn.
func (r *reader) row(path string, value any) (t Template) {
	from := ""
	r.fields(path, value, map[string]func(string, any){
		"id":       func(path string, value any) { t.ID = r.string(path, value) },
		"label":    func(path string, value any) { t.Label = r.string(path, value) },
		"priority": func(path string, value any) { t.Priority = r.number(path, value) },
		"from":     func(path string, value any) { from = r.string(path, value) },
		"truncate": func(path string, value any) { r.number(path, value) },
		"dataType": func(path string, value any) { r.string(path, value) },
	})
	if from != "latest" {
		r.add(path, "is from %q, and not drawn: want \"latest\"", from)
	}
	return t
}

func (r *reader) node(path string, value any) *Node {
	n := &Node{Metrics: make(map[string]*Metric), Latest: make(map[string]string)}
	r.fields(path, value, map[string]func(string, any){
		"metrics": func(path string, value any) {
			r.object(path, value, func(key string, value any) {
				n.Metrics[key] = r.metric(join(path, key), value)
			})
		},
		"latest": func(path string, value any) {
			r.object(path, value, func(key string, value any) {
				n.Latest[key] = r.latest(join(path, key), value)
			})
		},
		"parents":  r.lists,
		"sets":     r.lists,
		"id":       r.forbidden("an id draws nodes that Scope does not know as ghosts, and hides those it does if it is not theirs"),
		"topology": r.forbidden("two plugins that give a node different ones crash the probe"),
	})
	return n
}

func (r *reader) forbidden(why string) func(string, any) {
	return func(path string, _ any) { r.add(path, "must not be sent: %s", why) }
}

// lists checks an object of arrays of strings.
func (r *reader) lists(path string, value any) {
	r.object(path, value, func(key string, value any) {
		r.array(join(path, key), value, func(path string, value any) { r.string(path, value) })
	})
}

func (r *reader) latest(path string, value any) (s string) {
	required := map[string]bool{"timestamp": true, "value": true}
	r.fields(path, value, map[string]func(string, any){
		"timestamp": func(path string, value any) { delete(required, "timestamp"); r.date(path, value) },
		"value":     func(path string, value any) { delete(required, "value"); s = r.string(path, value) },
	})
	r.missing(path, required)
	return s
}

func (r *reader) metric(path string, value any) *Metric {
	m := &Metric{}
	r.fields(path, value, map[string]func(string, any){
		"min": func(path string, value any) { m.Min = r.number(path, value) },
		"max": func(path string, value any) { m.Max = r.number(path, value) },
		"samples": func(path string, value any) {
			r.array(path, value, func(path string, value any) {
				m.Samples = append(m.Samples, r.sample(path, value))
			})
		},
	})
	return m
}

func (r *reader) sample(path string, value any) (s Sample) {
	required := map[string]bool{"date": true, "value": true}
	r.fields(path, value, map[string]func(string, any){
		"date":  func(path string, value any) { delete(required, "date"); s.Date = r.date(path, value) },
		"value": func(path string, value any) { delete(required, "value"); s.Value = r.number(path, value) },
	})
	r.missing(path, required)
	return s
}

func (r *reader) date(path string, value any) time.Time {
	text := r.string(path, value)
	date, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		r.add(path, "%q is no date as in RFC 3339, for which the probe drops the report", text)
	}
	return date
}

func (r *reader) missing(path string, required map[string]bool) {
	for _, key := range slices.Sorted(maps.Keys(required)) {
		r.add(path, "lacks %q", key)
	}
}
