package collectors

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"github.com/promscope/promscope/bridge/attribution"
	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/mapping/cgroup"
)

// The labels by which collectors name processes, and cgroups: by their path below the root of
// the hierarchy.
const (
	labelPID    = "pid"
	labelCgroup = "cgroup"
)

// containersKept is how long the container and the pod of a process are remembered, and
// for longer if it has ended, while a series still has its pid. A pid that is used again
// within that time in another container is told wrong.
const containersKept = 10 * time.Second

// containerGatherer gives series with a pid the container and the pod of that
// process, so that rules can add up processes: Scope does not. Series with a cgroup
// get those that it belongs to.
type containerGatherer struct {
	gatherer prometheus.Gatherer
	lookUp   func(pid int) (container, pod string, err error)
	foreign  bool // the pids are of another pid namespace

	mu    sync.Mutex
	known map[string]group // by pid
	since time.Time
}

// group is the container and the pod of a process; empty where it has none.
type group struct{ container, pod string }

func newContainerGatherer(g prometheus.Gatherer, m *host.Machine) *containerGatherer {
	return &containerGatherer{gatherer: g, foreign: !m.KernelPIDs(), lookUp: m.ContainerOf}
}

// Gather implements prometheus.Gatherer.
func (g *containerGatherer) Gather() ([]*dto.MetricFamily, error) {
	families, err := g.gatherer.Gather()
	g.mu.Lock()
	defer g.mu.Unlock()
	var before map[string]group
	if time.Since(g.since) > containersKept {
		before, g.known, g.since = g.known, make(map[string]group), time.Now()
	}
	for _, family := range families {
		for _, metric := range family.Metric {
			if g.foreign {
				metric.Label = withoutPID(metric.Label)
			}
			of := g.groupOf(metric, before)
			metric.Label = withLabel(metric.Label, attribution.LabelContainer, of.container)
			metric.Label = withLabel(metric.Label, attribution.LabelPod, of.pod)
		}
	}
	return families, err
}

// groupOf returns the group of a metric. Of a process that can no longer be looked up it is
// the one that was known before.
func (g *containerGatherer) groupOf(metric *dto.Metric, before map[string]group) group {
	if path, ok := labelOf(metric, labelCgroup); ok {
		c := cgroup.Parse(path)
		return group{c.Container, c.Pod}
	}
	value, ok := labelOf(metric, labelPID)
	if !ok || g.foreign {
		return group{}
	}
	of, found := g.known[value]
	if found {
		return of
	}
	of = before[value]
	if pid, err := strconv.Atoi(value); err == nil {
		if container, pod, err := g.lookUp(pid); err == nil { // else it has ended, or is not to be seen
			of = group{container, pod}
		}
	}
	g.known[value] = of
	return of
}

func labelOf(metric *dto.Metric, name string) (value string, ok bool) {
	i := slices.IndexFunc(metric.Label, func(l *dto.LabelPair) bool { return l.GetName() == name })
	if i < 0 {
		return "", false
	}
	return metric.Label[i].GetValue(), true
}

// withoutPID returns the labels with a pid that is no process's here: the number is
// that of another process, or of none.
func withoutPID(pairs []*dto.LabelPair) []*dto.LabelPair {
	i := slices.IndexFunc(pairs, func(l *dto.LabelPair) bool { return l.GetName() == labelPID })
	if i < 0 {
		return pairs
	}
	pairs = slices.Clone(pairs)
	pairs[i] = &dto.LabelPair{Name: proto.String(labelPID), Value: proto.String(pairs[i].GetValue() + attribution.UnknownPID)}
	return pairs
}

// withLabel inserts a label in the order of names, unless its value is empty. It
// copies the slice, which metrics may share.
func withLabel(pairs []*dto.LabelPair, name, value string) []*dto.LabelPair {
	if value == "" {
		return pairs
	}
	i, _ := slices.BinarySearchFunc(pairs, name, func(l *dto.LabelPair, name string) int {
		return strings.Compare(l.GetName(), name)
	})
	return slices.Insert(slices.Clone(pairs), i, &dto.LabelPair{Name: proto.String(name), Value: proto.String(value)})
}
